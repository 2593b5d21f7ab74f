"""Do He's and Xavier's rules keep the variance from layer to layer, forward and backward?"""

from __future__ import annotations

import numpy as np

import jinit
from experiments.harness import (
    FAILS,
    HOLDS,
    LIMITED,
    Scale,
    Verdict,
    formatted,
    interval,
    profile,
    sweep,
)
from jinit import stats
from jinit.report import plots

NUMBER = 7
TITLE = (
    "He (k = 2) for ReLU, Xavier (k = 1) for tanh and sigmoid, 2/(n_in + n_out): variance is kept"
)
WHERE = "Using heuristics for weight initialization"
CLAIM = (
    "Xavier proposed this heuristic …, where the weights such as the variance of the activations "
    "are the same across every layer. This will prevent the gradient from exploding or vanishing."
)
TEST = (
    "20 hidden layers, untruncated normal weights of variance k/n, digits. Per layer: the factor "
    "of E z² forward, of the variance of z over inputs, and of E‖∂L/∂z‖² backward; geometric "
    "means over layers 2 to 20, then over seeds. A factor is kept if its 95 % interval lies in "
    "[0.8, 1.25]. 2/(n_in + n_out) is k = 1 where widths are equal, so there widths of 512 and 128 "
    "take turns. Holds if all three are kept for He with ReLU, Xavier with tanh and with sigmoid, "
    "and 2/(n_in + n_out) with tanh; with a limit if for at least one; else not. Steps to 80 % "
    "accuracy (8 × 64, SGD at 0.1, runs that never arrive counted at the horizon) stand beside it."
)
EQUAL = {"k = 2": "fan_in_normal(k=2.0)", "k = 1": "fan_in_normal(k=1.0)"}
RULES = EQUAL | {"2/(n+m)": "fan_avg_normal"}
CLAIMED = ("relu, k = 2", "tanh, k = 1", "sigmoid, k = 1", "tanh, 2/(n+m)")
LOW, HIGH = 0.8, 1.25


def measure(scale: Scale) -> dict:
    seeds, depth = scale(8, 64), scale(10, 20)
    numbers: dict = {"seeds": seeds, "factors": {}, "steps": {}, "horizon": scale(100, 800)}
    chosen = {
        f"{activation}, {rule}": (activation, spec)
        for activation in ("relu", "tanh", "sigmoid") for rule, spec in RULES.items()
    }  # fmt: skip
    for name, (activation, spec) in chosen.items():
        if scale.name == "small" and name not in CLAIMED:
            continue
        width = scale(128, 512) if spec in EQUAL.values() else scale((128, 32), (512, 128))
        seen = profile(spec, activation, depth=depth, width=width, seeds=seeds)
        numbers["factors"][name] = {
            what: stats.bootstrap(_factor(getattr(seen, field), power, depth, sign), np.mean)
            for what, field, power, sign in (
                ("forward", "second_moment", 1, 1), ("inputs", "input_variance", 1, 1),
                ("backward", "gradient_norm", 2, -1),
            )
        }  # fmt: skip
    for activation in scale((), ("relu", "tanh", "sigmoid")):
        grid = jinit.Grid(
            initializer=tuple(EQUAL.values()), activation=activation, depth=8,
            steps=numbers["horizon"], evaluations=80, target_accuracy=0.8, seeds=seeds,
        )  # fmt: skip
        table = sweep(grid)
        for rule, spec in EQUAL.items():
            times = table.select(initializer=spec)["steps_to_target"]
            mean = stats.restricted_mean(times, horizon=numbers["horizon"])
            numbers["steps"][f"{activation}, {rule}"] = mean
    return numbers


def _factor(values, power: int, depth: int, sign: int) -> np.ndarray:
    """The geometric mean factor per layer, ``(seeds,)``; backward goes from last to first."""
    logs = power * np.log(np.maximum(np.asarray(values, float)[:, :depth], 1e-38))
    return np.exp(sign * (logs[:, -1] - logs[:, 1]) / (depth - 2))


def _steps_text(row: dict, horizon: int) -> str:
    return formatted(row, ".0f") + (" (never)" if row["low"] >= horizon else "")


def decide(numbers: dict) -> Verdict:
    def kept(name: str) -> bool:
        rows = numbers["factors"][name].values()
        return all(row["low"] >= LOW and row["high"] <= HIGH for row in rows)

    good = [name for name in CLAIMED if kept(name)]
    answer = "factor per layer forward, between inputs, backward: " + "; ".join(
        f"{name}: " + ", ".join(formatted(row, ".3g") for row in numbers["factors"][name].values())
        for name in CLAIMED
    )
    if numbers["steps"]:
        answer += ". Mean steps to 80 %: " + ", ".join(
            f"{name} {_steps_text(numbers['steps'][name], numbers['horizon'])}"
            for name in CLAIMED if name in numbers["steps"]
        )  # fmt: skip
    if len(good) == len(CLAIMED):
        return Verdict(HOLDS, answer)
    return Verdict(LIMITED if good else FAILS, answer + f". Kept: {', '.join(good) or 'nowhere'}")


def draw(numbers: dict):
    names = list(numbers["factors"])
    ax = plots.new_axes(7.0, 1.0 + 0.5 * len(names))
    rows, intervals, styles = [], [], []
    for name in names:
        for number, (what, row) in enumerate(numbers["factors"][name].items()):
            rows.append(f"{name}: {what}")
            intervals.append(interval(row))
            styles.append(plots.line_style(number))
    plots.forest(ax, rows, intervals, styles)
    ax.axvspan(LOW, HIGH, color=plots.COLORS["grey"], alpha=0.2, lw=0)
    ax.set(xscale="log", xlabel="factor per layer [95 %] (grey: kept)")
    return ax
