"""Do random weights break the symmetry, and beat zeros?"""

from __future__ import annotations

import numpy as np

import jinit
from experiments.harness import (
    FAILS,
    HOLDS,
    LIMITED,
    Scale,
    Verdict,
    interval,
    profile,
    sweep,
    text,
)
from jinit.report import plots

NUMBER = 3
TITLE = "Random weights break the symmetry and beat zeros"
WHERE = "Random Initialization"
CLAIM = (
    "This technique in general helps to break the symmetry … and this technique performs better "
    "than zero initialization."
)
TEST = (
    "Digits, width 64, SGD at 0.1. The symmetry is broken if, at the start, no two units of a "
    "layer have equal weights, on any seed. An arm beats zeros if `compare` says so (Wilcoxon on "
    "shared seeds, Holm over all cells, p < .05). Holds if every random arm does both in every "
    "cell (3 activations × 2 depths); with a limit if the activation's own heuristic (He for "
    "ReLU, Xavier for tanh) does so at both depths; otherwise it does not."
)
SHORT = {"normal(stddev=0.01)": "N(0, .01²)", "normal(stddev=1.0)": "N(0, 1)",
         "fan_in_uniform": "U[±1/√n]", "glorot_uniform": "Xavier", "he_normal": "He"}  # fmt: skip
ARMS = tuple(SHORT)


def measure(scale: Scale) -> dict:
    seeds = scale(12, 64)
    grid = jinit.Grid(
        initializer=("zeros", *ARMS),
        activation=scale(("relu", "tanh"), ("relu", "tanh", "sigmoid")),
        depth=(2, 8), steps=scale(100, 400), seeds=seeds,
    )  # fmt: skip
    rows = [
        {
            "arm": item.arm, **item.cell, "difference": item.result.difference,
            "p": item.p_value, "verdict": item.verdict, "diverged": item.diverged,
        }
        for item in jinit.compare(sweep(grid), baseline="zeros")
    ]  # fmt: skip
    equal = {
        arm: float(np.max(profile(arm, "relu", depth=2, width=64, seeds=seeds).duplicates))
        for arm in ARMS
    }
    return {"seeds": seeds, "rows": rows, "equal_units": equal}


def decide(numbers: dict) -> Verdict:
    rows = numbers["rows"]
    wins = [row for row in rows if row["verdict"] == "wins"]
    heuristic = [
        row["verdict"] for row in rows
        if (row["arm"], row["activation"]) in (("he_normal", "relu"), ("glorot_uniform", "tanh"))
    ]  # fmt: skip
    broken = all(share == 0 for share in numbers["equal_units"].values())
    rest: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] != "wins":
            rest.setdefault(f"{row['activation']} {row['depth']}", []).append(SHORT[row["arm"]])
    he = [row for row in rows if (row["arm"], row["activation"]) == ("he_normal", "relu")]
    answer = (
        f"equal units: {'none in any random arm' if broken else 'some'}; random beats zeros in "
        f"{len(wins)} of {len(rows)} cells (He, ReLU: "
        f"{', '.join(text(row['difference'], True) for row in he)})"
        + "".join(f"; not at {cell} layers: {', '.join(arms)}" for cell, arms in rest.items())
    )
    if not broken or set(heuristic) != {"wins"}:
        return Verdict(FAILS, answer)
    return Verdict(HOLDS if len(wins) == len(rows) else LIMITED, answer)


def draw(numbers: dict):
    rows = numbers["rows"]
    ax = plots.new_axes(7.0, 0.8 + 0.19 * len(rows))
    names = [f"{row['activation']}, depth {row['depth']}: {row['arm']}" for row in rows]
    plots.forest(
        ax, names, [interval(row["difference"]) for row in rows],
        hollow=[row["verdict"] == "not settled" for row in rows],
    )  # fmt: skip
    ax.set_xlabel("test accuracy − that of zeros [95 %] (hollow: not settled)")
    return ax
