"""Does a 30-layer ReLU network train from He's initialization where Xavier's stalls?"""

from __future__ import annotations

import numpy as np

import jinit
from experiments.harness import FAILS, HOLDS, Scale, Verdict, sweep, text
from jinit import stats
from jinit.report import plots

NUMBER = None
PAPER = "He et al. 2015"
TITLE = "Thirty ReLU layers train from He's initialization and stall from Xavier's"
WHERE = "figures 2 and 3"
CLAIM = (
    "A 22-layer ReLU network converges with both initializations, He's sooner; a 30-layer one "
    "converges with He's and completely stalls with Xavier's."
)
TEST = (
    "ReLU, width 64, digits, SGD, batches of 64, 600 steps, rates .003, .01, .03 and .1, zero "
    "biases, shared seeds. (a) 30 hidden layers: Xavier (fan_in_normal, k = 1) ends with a loss of "
    "2.29 or more (chance: ln 10 = 2.303) at every rate on every seed; He's median loss at its "
    "best rate is .6 or less; (b) 5 hidden layers: at rate .1 the median loss of both is below "
    ".05. Holds if both; else not. "
    "(Five stand for the paper's 22: a signal that falls by 2^-11 in 22 layers of 64 is beyond "
    "600 steps, where the paper's networks train for epochs.)"
)
RATES = (0.003, 0.01, 0.03, 0.1)
ARMS = {"He": "fan_in_normal(k=2.0)", "Xavier": "fan_in_normal(k=1.0)"}


def measure(scale: Scale) -> dict:
    seeds, rows = scale(12, 32), []  # Seed 10 is the first to leave the plateau.
    for depth, rates in ((5, scale((0.1,), RATES)), (30, scale((0.01, 0.03), RATES))):
        grid = jinit.Grid(
            initializer=tuple(ARMS.values()), activation="relu", depth=depth, width=64, steps=600,
            batch_size=64, learning_rate=rates, evaluations=6, seeds=seeds,
        )  # fmt: skip
        table = sweep(grid)
        for name, arm in ARMS.items():
            for rate in grid.learning_rate:
                part = table.select(initializer=arm, learning_rate=rate)
                loss = np.nan_to_num(part["train_loss"].astype(float), nan=np.inf)
                curves = np.nan_to_num(part.curves["train_loss"], nan=np.inf)
                rows.append({
                    "depth": depth, "arm": name, "rate": rate, "least": loss.min(),
                    "learns": int(np.sum(loss < 2.29)),
                    "median": stats.bootstrap(np.minimum(loss, 10.0), np.median),
                    "diverged": int(np.sum(~np.isfinite(loss))), "curve": np.median(curves, 0),
                })  # fmt: skip
    return {"rows": rows, "seeds": seeds, "steps": table.curve_steps}


def _best(numbers: dict, depth: int, arm: str) -> dict:
    rows = [row for row in numbers["rows"] if (row["depth"], row["arm"]) == (depth, arm)]
    return min(rows, key=lambda row: row["median"]["estimate"])


def decide(numbers: dict) -> Verdict:
    deep = [row for row in numbers["rows"] if row["depth"] == 30 and row["arm"] == "Xavier"]
    shallow = [row for row in numbers["rows"] if row["depth"] == 5 and row["rate"] == 0.1]
    least, best = min(row["least"] for row in deep), _best(numbers, 30, "He")
    learns, runs = sum(row["learns"] for row in deep), len(deep) * numbers["seeds"]
    passed = learns == 0 and best["median"]["estimate"] <= 0.6
    passed &= all(row["median"]["estimate"] < 0.05 for row in shallow)
    losses = ", ".join(f"{row['arm']} {text(row['median'])}" for row in shallow)
    answer = (
        f"30 layers: He at its best rate {best['rate']}: median loss {text(best['median'])}; "
        f"Xavier {text(_best(numbers, 30, 'Xavier')['median'])}, below 2.29 in {learns} of {runs} "
        f"runs, the least {least:.3f}. 5 layers at rate .1: {losses}"
    )
    return Verdict(HOLDS if passed else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes(5.6, 3.6)
    for arm, colour in (("He", plots.COLORS["blue"]), ("Xavier", plots.COLORS["vermilion"])):
        for depth, style in ((30, "-"), (5, "--")):
            best = _best(numbers, depth, arm)
            name = f"{arm}, {depth} layers, rate {best['rate']}"
            ax.plot(numbers["steps"], best["curve"], color=colour, ls=style, lw=1.8, label=name)
            plots.record(ax, name, np.array(numbers["steps"]), np.array(best["curve"]))
    ax.axhline(np.log(10), color=plots.COLORS["grey"], ls=":", lw=1.2, label="chance, ln 10")
    ax.set(xlabel="step", ylabel="median training loss", yscale="log")
    ax.legend(frameon=False, fontsize=8)
    return ax
