"""Does a critical tanh network of 100 layers learn faster from orthogonal weights than Gaussian?"""

from __future__ import annotations

import numpy as np

import jinit
from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, sweep, text
from jinit import stats, theory
from jinit.report import plots

NUMBER = None
PAPER = "Pennington et al. 2017; Xiao et al. 2018"
TITLE = "Dynamical isometry: orthogonal critical tanh learns at depth 100, Gaussian lags"
WHERE = "figures on learning speed"
CLAIM = (
    "Deep tanh networks at criticality with orthogonal weights, whose Jacobian has all its "
    "singular values near 1, learn orders of magnitude faster than with Gaussian weights."
)
TEST = (
    "tanh, 100 hidden layers of 64, digits, SGD at .01, batches of 64, 500 steps; σ_w² = 1.05, "
    "σ_b² = 2.01e-5 (q* = 1/64) for both; same seeds. (a) orthogonal: the training loss at the end "
    "is ≤ .3 on every seed; (b) Gaussian: at least twice the orthogonal loss on every seed. Holds "
    "if both; with a limit if only (b) and the interval of the median ratio lies above 2; else not."
)
WEIGHT, BIAS = 1.05, 2.01e-5


def measure(scale: Scale) -> dict:
    seeds, depth = scale(3, 32), scale(60, 100)
    numbers = {"seeds": seeds, "depth": depth, "losses": {}, "curves": {}}
    for name, arm in (
        ("orthogonal", f"orthogonal({WEIGHT**0.5:.6f})"),
        ("Gaussian", f"fan_in_normal(k={WEIGHT})"),
    ):
        grid = jinit.Grid(
            initializer=arm, bias_initializer=f"normal({BIAS**0.5:.6f})", activation="tanh",
            depth=depth, width=64, batch_size=64, learning_rate=0.01, steps=500, evaluations=10,
            seeds=seeds,
        )  # fmt: skip
        table = sweep(grid)
        losses = np.nan_to_num(table["train_loss"].astype(float), nan=np.inf)
        numbers["losses"][name] = losses
        numbers["curves"][name] = np.median(table.curves["train_loss"], 0)
        numbers["steps"] = table.curve_steps
    ratio = numbers["losses"]["Gaussian"] / numbers["losses"]["orthogonal"]
    spread = {
        weights: float(theory.jacobian_spectrum("tanh", WEIGHT**0.5, 1 / 64, depth=depth,
                                                weights=weights).variance)
        for weights in ("orthogonal", "gaussian")
    }  # fmt: skip
    return numbers | {"ratio": stats.bootstrap(ratio, np.median), "spread": spread,
                    "least": float(ratio.min())}  # fmt: skip


def decide(numbers: dict) -> Verdict:
    worst = max(numbers["losses"]["orthogonal"])
    twice = numbers["least"] >= 2
    limited = numbers["ratio"]["low"] > 2
    answer = (
        f"training loss: orthogonal {np.median(numbers['losses']['orthogonal']):.3f} (worst "
        f"{worst:.3f}), Gaussian {np.median(numbers['losses']['Gaussian']):.3f}; ratio "
        f"{text(numbers['ratio'])}, least {numbers['least']:.2f}. Variance of squared singular "
        f"values by theory: {numbers['spread']['orthogonal']:.2f} and "
        f"{numbers['spread']['gaussian']:.0f}"
    )
    kind = HOLDS if worst <= 0.3 and twice else LIMITED if limited else FAILS
    return Verdict(kind, answer)


def draw(numbers: dict):
    ax = plots.new_axes(5.4, 3.6)
    for name, colour, style in (
        ("orthogonal", plots.COLORS["blue"], "-"),
        ("Gaussian", plots.COLORS["vermilion"], "--"),
    ):
        curve = np.array(numbers["curves"][name], float)
        steps = np.array(numbers["steps"])
        ax.plot(steps, curve, color=colour, ls=style, lw=1.8, label=name)
        plots.record(ax, name, steps, curve)
    ax.set(xlabel="step", ylabel="median training loss", ylim=(0, None))
    ax.legend(frameon=False, fontsize=8)
    return ax
