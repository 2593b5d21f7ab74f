"""Do small random weights shrink gradients backwards for any activation, and stop training?"""

from __future__ import annotations

import numpy as np
import optax

from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, follow, profile, text
from jinit import models, stats
from jinit.report import plots
from jinit.train import FitConfig

NUMBER = 4
TITLE = "Very small weights: |dW| shrinks backwards for any activation, and training stops"
WHERE = "Random Initialization, vanishing gradients"
CLAIM = (
    "If the weights initialized are very small then in case of deep networks, for any activation "
    "function, absolute value of (dW) will get smaller and smaller as we go backwards with every "
    "layer … The earlier layers are the slowest to train … this may completely stop the neural "
    "network from training further."
)
TEST = (
    "N(0, 0.01²), 8 hidden layers of 64, digits. Let R be the ratio, first over last hidden "
    "layer, of the norm of the kernel's gradient at the start. |dW| shrinks for an activation if "
    "the 95 % interval of the mean of log10 R over seeds lies below −0.5. Training stops if the "
    "interval of the accuracy after the run lies below .2. Holds if both are true for every "
    "activation; with a limit if for some; does not hold if |dW| shrinks for none or training "
    "stops for none."
)
ACTIVATIONS = ("identity", "relu", "tanh", "gelu", "sigmoid", "softplus")
SMALL = "normal(stddev=0.01)"


def measure(scale: Scale) -> dict:
    seeds, depth = scale(8, 64), 8
    numbers: dict = {"seeds": seeds, "activations": scale(ACTIVATIONS[1:5:3], ACTIVATIONS)}
    for activation in numbers["activations"]:
        seen = profile(SMALL, activation, depth=depth, width=64, seeds=seeds)
        kernel = np.log10(np.asarray(seen.kernel_gradient_norm, float)[:, :depth])
        signal = np.log10(np.maximum(np.asarray(seen.gradient_norm, float)[:, :depth], 1e-38))
        run = follow(
            models.MLP(features=(*[64] * depth, 10), activation=activation),
            {"*/kernel": SMALL, "*/bias": "zeros"},
            lambda params: [params[f"hidden_{layer}"]["kernel"] for layer in (0, depth - 1)],
            optax.sgd(0.1), seeds=seeds, config=FitConfig(steps=scale(60, 400), evaluations=2),
        )  # fmt: skip
        moved = [
            np.linalg.norm((after[:, -1] - before).reshape(seeds, -1), axis=1)
            for after, before in zip(run["watched"], run["start"], strict=True)
        ]
        numbers[activation] = {
            "log10_ratio": stats.bootstrap(kernel[:, 0] - kernel[:, -1], np.mean),
            "log10_ratio_of_z": stats.bootstrap(signal[:, 0] - signal[:, -1], np.mean),
            "moved_ratio": stats.bootstrap(moved[0] / np.maximum(moved[1], 1e-38), np.median),
            "accuracy": stats.bootstrap(run["test_accuracy"], np.mean),
            "kernel_by_layer": np.median(kernel, axis=0),
            "z_by_layer": np.median(signal, axis=0),
        }
    return numbers


def decide(numbers: dict) -> Verdict:
    rows = {name: numbers[name] for name in numbers["activations"]}
    shrinks = [name for name, row in rows.items() if row["log10_ratio"]["high"] < -0.5]
    stops = [name for name, row in rows.items() if row["accuracy"]["high"] < 0.2]
    others = [name for name in rows if name not in shrinks]
    both = [name for name in shrinks if name in stops]
    sinks = all(row["log10_ratio_of_z"]["high"] < -0.5 for row in rows.values())
    answer = (
        "log10 |dW|, first over last hidden layer: "
        + ", ".join(f"{name} {text(row['log10_ratio'], True)}" for name, row in rows.items())
        + f". Training stops for {len(stops)} of {len(rows)}"
    )
    if sinks and others:
        answer += (
            ". The gradient of z sinks backwards for all, but dW is its product with the "
            f"activations, which shrink forwards: it is even for {', '.join(others)}"
        )
    if not both:
        return Verdict(FAILS, answer)
    return Verdict(HOLDS if len(both) == len(rows) else LIMITED, answer)


def draw(numbers: dict):
    axes = plots.new_axes(9.0, 3.6, panels=2, sharey=True)
    for ax, key, title in zip(
        axes,
        ("kernel_by_layer", "z_by_layer"),
        ("|dW|", "gradient of pre-activations"),
        strict=True,
    ):
        for number, name in enumerate(numbers["activations"]):
            style, values = plots.line_style(number), np.array(numbers[name][key])
            layer = np.arange(1, len(values) + 1)
            ax.plot(layer, values - values[-1], ms=4, label=name, **style)
            plots.record(ax, name, layer, values - values[-1])
        ax.set(xlabel="hidden layer")
        ax.set_title(title, loc="left", fontsize=9)
    axes[0].set_ylabel("log10, relative to the last hidden layer")
    axes[0].legend(frameon=False, fontsize=8)
    return axes
