"""Do bias gradients depend on their own layer alone, and never vanish or explode?"""

from __future__ import annotations

import numpy as np

from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, profile, text
from jinit import stats
from jinit.report import plots

NUMBER = 13
TITLE = "Bias gradients neither vanish nor explode"
WHERE = "last paragraph"
CLAIM = (
    "The gradients with respect to bias depend only on the linear activation of that layer, and "
    "not on the gradients of the deeper layers. Therefore they do not have the usual problem of "
    "vanishing and exploding gradients."
)
TEST = (
    "30 hidden layers of 512, digits. Let R be the ratio of the squared norm of the bias "
    "gradient, first over last hidden layer. It neither vanishes nor explodes for a network if "
    "the 95 % interval of the mean of log2 R over seeds lies within ±6.6 (a factor of 100). Holds "
    "if so for all five networks; with a limit if for all but one; else not."
)
NETWORKS = {
    "ReLU, Xavier": ("relu", "glorot_normal"),
    "ReLU, He": ("relu", "he_normal"),
    "tanh, Xavier": ("tanh", "glorot_normal"),
    "sigmoid, Xavier": ("sigmoid", "glorot_normal"),
    "tanh, σ_w = 2": ("tanh", "variance_scaling(scale=4.0, mode=fan_in, distribution=normal)"),
}
LIMIT = 6.6


def measure(scale: Scale) -> dict:
    seeds, depth, width = scale(8, 64), scale(16, 30), scale(64, 512)
    chosen = scale(("ReLU, Xavier", "sigmoid, Xavier"), tuple(NETWORKS))
    numbers: dict = {"networks": {}, "seeds": seeds, "depth": depth}
    for name in chosen:
        activation, initializer = NETWORKS[name]
        seen = profile(initializer, activation, depth=depth, width=width, seeds=seeds)
        norms = np.asarray(seen.bias_gradient_norm, float)[:, :depth]
        bias = 2 * np.log2(np.maximum(norms, 1e-38))
        numbers["networks"][name] = {
            "log2_ratio": stats.bootstrap(bias[:, 0] - bias[:, -1], np.mean),
            "by_layer": np.median(bias, axis=0),
        }
    return numbers


def decide(numbers: dict) -> Verdict:
    rows = numbers["networks"]
    steady = [
        name for name, row in rows.items()
        if row["log2_ratio"]["low"] >= -LIMIT and row["log2_ratio"]["high"] <= LIMIT
    ]  # fmt: skip
    answer = (
        f"log2 of the squared bias gradient, first over last of {numbers['depth']} layers: "
        + ", ".join(f"{name} {text(row['log2_ratio'], True)}" for name, row in rows.items())
    )
    if len(steady) == len(rows):
        return Verdict(HOLDS, answer)
    return Verdict(LIMITED if len(steady) == len(rows) - 1 > 1 else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes()
    for number, (name, row) in enumerate(numbers["networks"].items()):
        values = np.array(row["by_layer"]) - row["by_layer"][-1]
        layer = np.arange(1, len(values) + 1)
        ax.plot(layer, values, ms=3, label=name, **plots.line_style(number))
        plots.record(ax, name, layer, values)
    ax.axhspan(-LIMIT, LIMIT, color=plots.COLORS["grey"], alpha=0.15, lw=0)
    ax.set(xlabel="hidden layer", ylabel="log2 ‖∂L/∂b‖², relative to the last")
    ax.set_yscale("symlog", linthresh=10)
    ticks = (-100, -30, -10, -5, 0, 5, 10)
    ax.set_yticks(ticks, [f"{tick}".replace("-", "−") for tick in ticks], minor=False)
    ax.set_yticks([], minor=True)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax
