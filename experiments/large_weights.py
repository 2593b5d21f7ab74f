"""Do large random weights cause exploding gradients, oscillation and divergence?"""

from __future__ import annotations

import numpy as np

import jinit
from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, profile, sweep, text
from jinit import stats
from jinit.report import plots

NUMBER = 5
TITLE = "Large weights: exploding gradients, oscillation, no learning"
WHERE = "Random Initialization, exploding gradients"
CLAIM = (
    "Consider you have non-negative and large weights and small activations A (as can be the case "
    "for sigmoid(z)). … the gradients are also going to be large. … This may result in "
    "oscillating around the minima or even overshooting the optimum … and the model won't be able "
    "to learn."
)
TEST = (
    "8 hidden layers of 64, digits, SGD at 0.1; N(0, 1) and, as the article says, non-negative "
    "U[0, 2), against the activation's heuristic (He or Xavier). Gradients explode if the 95 % "
    "interval of log10 of ‖∂L/∂z‖, first over last hidden layer, lies above 1. Learning fails if "
    "most runs diverge (Wilson interval above .5) or the interval of the paired difference in "
    "test accuracy lies below −.1. Holds if both are true for both laws and all three "
    "activations; with a limit if somewhere; does not hold if nowhere."
)
LARGE = ("normal(stddev=1.0)", "uniform_range(low=0.0, high=2.0)")
HEURISTIC = {"relu": "he_normal", "tanh": "glorot_uniform", "sigmoid": "glorot_uniform"}


def measure(scale: Scale) -> dict:
    seeds, rows = scale(12, 64), []
    for activation in scale(("relu", "sigmoid"), tuple(HEURISTIC)):
        heuristic = HEURISTIC[activation]
        grid = jinit.Grid(
            initializer=(*LARGE, heuristic), activation=activation, depth=8, evaluations=30,
            steps=scale(60, 400), seeds=seeds,
        )  # fmt: skip
        table = sweep(grid)
        good = table.select(initializer=heuristic)
        for arm in (*LARGE, heuristic):
            mine = table.select(initializer=arm)
            seen = profile(arm, activation, depth=8, width=64, seeds=seeds)
            norms = np.log10(np.maximum(np.asarray(seen.gradient_norm, float), 1e-38))[:, :8]
            rises = np.diff(np.nan_to_num(mine.curves["test_loss"], nan=1e30, posinf=1e30)) > 0
            accuracy = np.nan_to_num(mine["test_accuracy"].astype(float))
            rows.append({
                "activation": activation, "arm": arm,
                "explosion": stats.bootstrap(norms[:, 0] - norms[:, -1], np.mean),
                "by_layer": np.median(norms, axis=0),
                "diverged": stats.wilson(int(mine["diverged"].sum()), seeds),
                "rises": stats.bootstrap(rises.mean(1), np.mean),
                "accuracy": stats.bootstrap(accuracy, np.mean),
                "difference": stats.bootstrap(accuracy - good["test_accuracy"], np.mean),
            })  # fmt: skip
    return {"rows": rows, "seeds": seeds}


def decide(numbers: dict) -> Verdict:
    rows = [row for row in numbers["rows"] if row["arm"] in LARGE]
    explodes = [row["explosion"]["low"] > 1 for row in rows]
    fails = [row["diverged"]["low"] > 0.5 or row["difference"]["high"] < -0.1 for row in rows]
    both = sum(a and b for a, b in zip(explodes, fails, strict=True))
    parts = []
    for row in rows:
        law = "N(0, 1)" if row["arm"] == LARGE[0] else "U[0, 2)"
        grows = f"gradient ×10^{text(row['explosion'], True)}"
        if row["by_layer"][-1] < -37:
            grows = "no gradient at all"
        lost = f", {row['diverged']['estimate']:.0%} diverge" if row["diverged"]["estimate"] else ""
        parts.append(f"{row['activation']} {law}: {grows}{lost}, accuracy {text(row['accuracy'])}")
    large, usual = (
        [row["rises"]["estimate"] for row in numbers["rows"] if (row["arm"] in LARGE) == which]
        for which in (True, False)
    )
    answer = (
        f"both in {both} of {len(rows)} networks. {'; '.join(parts)}. Oscillation: the test loss "
        f"rises at {min(large):.0%} to {max(large):.0%} of evaluations, with the heuristics at "
        f"{min(usual):.0%} to {max(usual):.0%}"
    )
    if both == len(rows):
        return Verdict(HOLDS, answer)
    return Verdict(LIMITED if both else FAILS, answer)


def draw(numbers: dict):
    activations = list(dict.fromkeys(row["activation"] for row in numbers["rows"]))
    count = len(activations)
    axes = plots.new_axes(3.0 * count, 3.4, panels=count, sharey=True)
    for ax, activation in zip(axes, activations, strict=True):
        for number, row in enumerate(r for r in numbers["rows"] if r["activation"] == activation):
            values = np.array(row["by_layer"]) - row["by_layer"][-1]
            layer, name = np.arange(1, len(values) + 1), row["arm"].replace("_range", "")
            if row["by_layer"][-1] < -37:
                values, name = values * np.nan, f"{name}: none at all"
            ax.plot(layer, values, ms=4, label=name, **plots.line_style(number))
            plots.record(ax, row["arm"], layer, values)
        ax.set(xlabel="hidden layer")
        ax.set_title(activation, loc="left", fontsize=9)
        ax.legend(frameon=False, fontsize=7)
    axes[0].set_ylabel("log10 ‖∂L/∂z‖, relative to the last")
    return axes
