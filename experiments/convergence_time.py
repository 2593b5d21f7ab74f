"""Does a good initialization shorten the time to converge?"""

from __future__ import annotations

import dataclasses
import time

import jax
import numpy as np

import jinit
from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, formatted
from jinit import models, stats
from jinit.report import plots

NUMBER = 14
TITLE = "A good initialization shortens the time to converge"
WHERE = "The importance of effective weight initialization"
CLAIM = (
    "Initialization of weight seeks to assist in establishing a stable neural network learning "
    "bias and shorten convergence time. … Training the network without a useful weight "
    "initialization can lead to a very slow convergence or an inability to converge."
)
TEST = (
    "8 hidden layers of 64, digits, SGD at 0.1, target 90 % test accuracy. Runs that never arrive "
    "stay in, censored at the horizon. The heuristic (He for ReLU, Xavier for tanh) shortens the "
    "time against an arm if the 95 % interval of the difference of restricted mean steps lies "
    "below 0 and the log-rank p, Holm-corrected over all comparisons, is below 5 %. Holds if so "
    "against N(0, 1), N(0, 0.01²) and U[±1/√n] for both activations; with a limit if against "
    "some; else not."
)
SHORT = {"normal(stddev=1.0)": "N(0, 1)", "normal(stddev=0.01)": "N(0, .01²)",
         "fan_in_uniform": "U[±1/√n]"}  # fmt: skip
NAIVE = tuple(SHORT)
HEURISTIC = {"relu": "he_normal", "tanh": "glorot_uniform"}


def measure(scale: Scale) -> dict:
    seeds, horizon = scale(12, 64), scale(200, 1500)
    rows, curves, seconds = [], {}, {}
    for activation in scale(("relu",), ("relu", "tanh")):
        good = HEURISTIC[activation]
        arms = (*NAIVE, good, *scale((), ("orthogonal",)))
        grid = jinit.Grid(initializer=arms, activation=activation, depth=8, steps=horizon,
                          evaluations=scale(30, 120), seeds=seeds,
                          target_accuracy=scale(0.7, 0.9))  # fmt: skip
        jinit.run(grid)  # The first run compiles; the second times one program that holds all arms.
        start, table = time.perf_counter(), jinit.run(grid)
        per_step = (time.perf_counter() - start) / (len(table) * horizon)
        times = {arm: table.select(initializer=arm)["steps_to_target"] for arm in arms}
        for arm in arms:
            curve = stats.kaplan_meier(times[arm], horizon=horizon)
            curves[name := f"{activation}, {arm}"] = dataclasses.asdict(curve)
            row = {"activation": activation, "arm": arm,
                   "mean": stats.restricted_mean(times[arm], horizon=horizon)}  # fmt: skip
            if arm in NAIVE:
                gap = stats.compare_times(times[good], times[arm], horizon=horizon)
                row |= {"difference": gap.restricted_mean_difference, "p": gap.p_value}
            rows.append(row)
            seconds[name] = row["mean"].estimate * per_step
    corrected = iter(stats.holm([row["p"] for row in rows if "p" in row]))
    rows = [row | ({"p": next(corrected)} if "p" in row else {}) for row in rows]
    return {"seeds": seeds, "rows": rows, "curves": curves, "horizon": horizon,
            "seconds": seconds, "drawing": _drawing()}  # fmt: skip


def _drawing() -> dict[str, float]:
    """Seconds to draw one network's weights, in a compiled program of 64 networks."""
    x, seconds = np.zeros((1, 64), np.float32), {}
    shapes = models.as_model(models.MLP(features=(*[64] * 8, 10))).shapes(x)
    for arm in ("he_normal", "orthogonal"):
        rules = {"*/kernel": arm, "*/bias": "zeros"}
        draw = jax.jit(jax.vmap(lambda key, rules=rules: jinit.initialize(key, shapes, rules)))
        keys = jax.random.split(jax.random.key(0), 64)
        jax.block_until_ready(draw(keys))
        start = time.perf_counter()
        jax.block_until_ready(draw(keys))
        seconds[arm] = (time.perf_counter() - start) / 64
    return seconds


def decide(numbers: dict) -> Verdict:
    compared = [row for row in numbers["rows"] if "p" in row]
    faster = [row for row in compared if row["p"] < 0.05 and row["difference"]["high"] < 0]
    means = {f"{row['activation']}, {row['arm']}": row["mean"] for row in numbers["rows"]}
    names = [f"{activation}, {arm}" for activation, arm in HEURISTIC.items()]
    seconds = numbers["seconds"]
    parts = [
        f"{n} {formatted(means[n], '.0f')} ({seconds[n] * 1e3:.3g} ms)" for n in names if n in means
    ]
    gaps = "; ".join(f"{formatted(row['difference'], '.0f')} "
                     f"({row['activation']}, {SHORT[row['arm']]})"
                     for row in compared)  # fmt: skip
    he, q = (numbers["drawing"][arm] * 1e3 for arm in ("he_normal", "orthogonal"))
    answer = (
        f"mean steps to the target: {', '.join(parts)}; against naive arms, counted at the horizon "
        f"of {numbers['horizon']} where they never arrive: {gaps}; faster in {len(faster)} of "
        f"{len(compared)}. Drawing one network's weights: He {he:.2g} ms, orthogonal {q:.2g} ms"
    )
    kind = HOLDS if len(faster) == len(compared) else LIMITED if faster else FAILS
    return Verdict(kind, answer)


def draw(numbers: dict):
    activations = sorted({row["activation"] for row in numbers["rows"]})
    count = len(activations)
    axes = plots.new_axes(4.6 * count, 3.6, panels=count, sharey=True)
    for ax, activation in zip(axes, activations, strict=True):
        for number, row in enumerate(r for r in numbers["rows"] if r["activation"] == activation):
            curve = numbers["curves"][f"{activation}, {row['arm']}"]
            curve = stats.Survival(**{name: np.array(values) for name, values in curve.items()})
            style = plots.line_style(number)
            plots.survival_curve(ax, curve, numbers["horizon"], label=row["arm"], style=style)
        ax.set(xlabel="step", xscale="log", ylim=(-0.02, 1.02))
        ax.set_title(activation, loc="left", fontsize=9)
        ax.legend(frameon=False, fontsize=7)
    axes[0].set_ylabel("share of runs not yet at the target")
    return axes
