"""Do zero biases harm a network whose weights are random?"""

from __future__ import annotations

import numpy as np

import jinit
from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, interval, sweep, text
from jinit import stats
from jinit.report import plots

NUMBER = 2
TITLE = "Zero biases do no harm when weights are random"
WHERE = "Zero Initialization, last sentence"
CLAIM = (
    "Setting bias to zero will not have any effect as non-zero weights take care of breaking the "
    "symmetry."
)
MARGIN = 0.01
TEST = (
    "An equivalence test (two one-sided tests at 5 %), not a failure to reject: zero biases are "
    "equivalent to other biases if the 90 % interval of the mean paired difference in test "
    f"accuracy lies within ±{MARGIN}. ReLU with He and tanh with Xavier weights, 2 and 8 hidden "
    "layers of 64, digits, SGD at 0.1. Holds if zero biases are equivalent to every alternative "
    "in every cell, or better; with a limit if that fails only for the largest alternative, N(0, "
    "1); otherwise it does not."
)
OTHERS = ("normal(stddev=0.1)", "fan_in_uniform", "constant(value=0.1)", "normal(stddev=1.0)")


def measure(scale: Scale) -> dict:
    seeds, rows = scale(16, 64), []
    for activation, weights in (("relu", "he_normal"), ("tanh", "glorot_uniform")):
        grid = jinit.Grid(
            initializer=weights, activation=activation, depth=scale((2,), (2, 8)),
            bias_initializer=("zeros", *OTHERS), steps=scale(150, 600), seeds=seeds,
        )  # fmt: skip
        table = sweep(grid)
        for depth in grid.values("depth"):
            cell = table.select(depth=depth)
            zeros = cell.select(bias_initializer="zeros")["test_accuracy"]
            for other in OTHERS:
                theirs = cell.select(bias_initializer=other)["test_accuracy"]
                rows.append({
                    "activation": activation, "depth": depth, "other": other,
                    "difference": stats.bootstrap(zeros - theirs, np.mean, confidence=0.9),
                    "accuracy": stats.bootstrap(zeros, np.mean),
                })  # fmt: skip
    # The small scale has fewer seeds and wider intervals, hence its wider margin.
    return {"seeds": seeds, "rows": rows, "margin": scale(0.03, MARGIN)}


def decide(numbers: dict) -> Verdict:
    margin = numbers["margin"]

    def harmless(row: dict) -> bool:
        return row["difference"]["low"] > -margin

    def equivalent(row: dict) -> bool:
        return harmless(row) and row["difference"]["high"] < margin

    rows = numbers["rows"]
    broken = [row for row in rows if not harmless(row)]
    same = sum(map(equivalent, rows))
    worst = min(rows, key=lambda row: row["difference"]["low"])
    answer = (
        f"zero biases are worse by {margin} or more in {len(broken)} of {len(rows)} cells, "
        f"equivalent within ±{margin} in {same}; least favourable: "
        f"{text(worst['difference'], sign=True)} against {worst['other']} ({worst['activation']}, "
        f"depth {worst['depth']}; 90 % interval)"
    )
    if not broken:
        return Verdict(HOLDS, answer)
    only_large = all(row["other"] == OTHERS[-1] for row in broken)
    return Verdict(LIMITED if only_large else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes(7.0, 0.8 + 0.22 * len(numbers["rows"]))
    names = [
        f"{r['activation']}, depth {r['depth']}: zeros − {r['other']}" for r in numbers["rows"]
    ]
    entries = [interval(row["difference"]) for row in numbers["rows"]]
    plots.forest(ax, names, entries)
    for edge in (-numbers["margin"], numbers["margin"]):
        ax.axvline(edge, color=plots.COLORS["vermilion"], lw=0.9, ls=(0, (4, 2)))
    ax.set_xlabel("difference in test accuracy [90 %]; dashed: margin of equivalence")
    return ax
