"""Does 2/fan_in keep the second moment through ReLU layers, where Xavier's 1/fan_in halves it?"""

from __future__ import annotations

import numpy as np

from experiments.harness import FAILS, HOLDS, Scale, Verdict, profile
from jinit import stats, theory
from jinit.report import plots

NUMBER = None
PAPER = "He et al. 2015"
TITLE = "n Var W / 2 = 1 for ReLU; Xavier halves the variance at every layer"
WHERE = "equations 7 to 14, section 2.2"
CLAIM = (
    "A proper initialization avoids reducing or magnifying the magnitudes of input signals "
    "exponentially: ½ n Var[w] = 1. With Xavier's 1/n the signal of a 30-layer ReLU network is "
    "multiplied by 2^-15 in standard deviation."
)
TEST = (
    "ReLU, 30 hidden layers of 512, digits, zero biases, seeds as stated. The factor by which E z² "
    "changes per layer (mean over layers 2 to 30 and seeds of its ratio) is 1.00 ± .02 for He and "
    "0.50 ± .01 for Xavier (fan_in_normal, k = 1); the mean over seeds of E z² at layer 30 over "
    "layer 1 is 2^-29 within 15 % for Xavier. Holds if all; else not."
)


def measure(scale: Scale) -> dict:
    seeds, width, depth = scale(16, 64), scale(128, 512), scale(12, 30)
    numbers = {"seeds": seeds, "width": width, "slack": scale(4.0, 1.0)}
    for name, kernel in (("he", "fan_in_normal(k=2.0)"), ("xavier", "fan_in_normal(k=1.0)")):
        seen = profile(kernel, "relu", depth=depth, width=width, seeds=seeds, batch=scale(16, 32))
        square = np.asarray(seen.second_moment, np.float64)[:, :depth]
        ratios = (square[:, 1:] / square[:, :-1]).mean(1)
        numbers[name] = {
            "ratio": stats.bootstrap(ratios, np.mean),
            "whole": stats.bootstrap(square[:, -1] / square[:, 0], np.mean),
            "by_layer": square.mean(0) / square[:, 0].mean(),
            "theory": float(theory.length_map("relu", 1.0, {"he": 2**0.5, "xavier": 1.0}[name])),
        }
    return numbers


def decide(numbers: dict) -> Verdict:
    he, xavier, slack = numbers["he"], numbers["xavier"], numbers["slack"]
    layers = len(xavier["by_layer"]) - 1
    whole = xavier["whole"]["estimate"] * 2.0**layers
    passed = (
        abs(he["ratio"]["estimate"] - 1) <= 0.02 * slack
        and abs(xavier["ratio"]["estimate"] - 0.5) <= 0.01 * slack
        and abs(whole - 1) <= 0.15 * slack
    )
    answer = (
        f"factor per layer: He {he['ratio']['estimate']:.4f} [{he['ratio']['low']:.4f}, "
        f"{he['ratio']['high']:.4f}], Xavier {xavier['ratio']['estimate']:.4f} "
        f"[{xavier['ratio']['low']:.4f}, {xavier['ratio']['high']:.4f}]; over {layers} layers "
        f"Xavier {whole:.3f} · 2^-{layers}"
    )
    return Verdict(HOLDS if passed else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes(5.6, 3.6)
    for name, colour, style, label in (
        ("he", plots.COLORS["blue"], "-", "He, k = 2"),
        ("xavier", plots.COLORS["vermilion"], "--", "Xavier, k = 1"),
    ):
        values = np.array(numbers[name]["by_layer"])
        layer = np.arange(1, len(values) + 1)
        ax.plot(layer, values, color=colour, ls=style, lw=1.8, label=label)
        ax.plot(layer, numbers[name]["theory"] ** (layer - 1), ".", color=colour, ms=4)
        plots.record(ax, label, layer, values)
    ax.set(xlabel="hidden layer", ylabel="E z² over the first layer's", yscale="log")
    ax.plot([], [], ".", color=plots.COLORS["grey"], label="theory")
    ax.legend(frameon=False, fontsize=8)
    return ax
