"""Do ReLU and leaky ReLU keep gradients from vanishing, and do their units die?"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, follow, profile, text
from jinit import data, frameworks, models, probes, stats
from jinit.report import plots
from jinit.train import FitConfig

NUMBER = 6
TITLE = "ReLU and leaky ReLU do not let gradients vanish; leaky units never die"
WHERE = "Using ReLu or Leaky ReLu as Activation functions"
CLAIM = (
    "With ReLu vanishing gradients are generally not a problem as the gradient is 0 for negative "
    "(and zero) inputs and 1 for positive inputs. In the case of leaky ReLu, they never have 0 "
    "gradient. Thus they never die and training continues."
)
TEST = (
    "Each activation with the article's heuristic (He for ReLUs, Xavier for tanh and sigmoid), "
    "width 128. Let R be the ratio of ‖∂L/∂z‖, first over last hidden layer. Gradients do not "
    "vanish if the 95 % interval of log10 R over seeds lies above −1 at depth 8 and at depth 32. "
    "A unit is dead after training (4 × 64, SGD at rates 0.1 and 0.5) if φ′ = 0 on all of 256 "
    "training examples; networks that diverge are counted apart. Holds if gradients vanish for "
    "neither ReLU, sink below 10^−3 for sigmoid at the greater depth, and no unit of either ReLU "
    "dies on any seed; with a limit if plain ReLU units die; does not hold if a leaky unit dies or "
    "a ReLU's gradient vanishes."
)
HEURISTIC = {"relu": "he_normal", "leaky_relu": "he_normal", "tanh": "glorot_uniform",
             "sigmoid": "glorot_uniform"}  # fmt: skip


def measure(scale: Scale) -> dict:
    seeds, depths = scale(8, 64), scale((8,), (8, 32))
    numbers: dict = {"seeds": seeds, "depths": depths, "ratio": {}, "dead": {}}
    for activation, heuristic in HEURISTIC.items():
        for depth in depths:
            seen = profile(heuristic, activation, depth=depth, width=scale(64, 128), seeds=seeds)
            # Gradients that underflow float32 are 0; the ratio is then a bound.
            norms = np.log10(np.maximum(np.asarray(seen.gradient_norm, float), 1e-38))[:, :depth]
            numbers["ratio"][f"{activation}, depth {depth}"] = {
                "log10": stats.bootstrap(norms[:, 0] - norms[:, -1], np.mean),
                "by_layer": np.median(norms, axis=0),
            }
    digits = data.get("digits")
    x, labels = jnp.asarray(digits.x_train[:256]), jnp.asarray(digits.y_train[:256])
    for activation in ("relu", "leaky_relu"):
        model = models.MLP(features=(64, 64, 64, 64, 10), activation=activation)
        look = functools.partial(
            probes.propagation, frameworks.capture(model, x), x=x, activation=activation,
            loss=probes.cross_entropy(labels),
        )  # fmt: skip
        for rate in scale((0.5,), (0.1, 0.5)):
            run = follow(
                model, {"*/kernel": "he_normal", "*/bias": "zeros"},
                lambda params, look=look: look(params).dead[:-1].mean(), optax.sgd(rate),
                seeds=seeds, config=FitConfig(steps=scale(60, 400), evaluations=2),
            )  # fmt: skip
            finite = run["status"] == 0
            numbers["dead"][f"{activation}, rate {rate:g}"] = {
                "before": stats.bootstrap(run["start"], np.mean),
                "after": stats.bootstrap(run["watched"][finite, -1], np.mean),
                "diverged": int((~finite).sum()),
            }
    return numbers


def decide(numbers: dict) -> Verdict:
    ratio = {name: row["log10"] for name, row in numbers["ratio"].items()}
    kept = all(row["low"] > -1 for name, row in ratio.items() if "relu" in name)
    deep = numbers["depths"][-1]
    sigmoid_vanishes = ratio[f"sigmoid, depth {deep}"]["high"] < -3
    dead = {name: row["after"] for name, row in numbers["dead"].items()}
    diverged = {
        name: f" ({row['diverged']} of {numbers['seeds']} networks diverge)"
        if row["diverged"]
        else ""
        for name, row in numbers["dead"].items()
    }
    leaky_lives = all(row["high"] == 0 for name, row in dead.items() if name.startswith("leaky"))
    relu_dies = any(row["estimate"] > 0 for name, row in dead.items() if name.startswith("relu"))
    answer = (
        f"log10 of the gradient, first over last hidden layer of {deep}: "
        + ", ".join(f"{name} {text(ratio[f'{name}, depth {deep}'], True)}" for name in HEURISTIC)
        + ". Dead units after training: "
        + ", ".join(f"{name} {text(row)}{diverged[name]}" for name, row in dead.items())
    )
    if not (kept and sigmoid_vanishes and leaky_lives):
        return Verdict(FAILS, answer)
    return Verdict(LIMITED if relu_dies else HOLDS, answer)


def draw(numbers: dict):
    ax = plots.new_axes()
    for number, activation in enumerate(HEURISTIC):
        values = np.array(
            numbers["ratio"][f"{activation}, depth {numbers['depths'][-1]}"]["by_layer"]
        )
        layer = np.arange(1, len(values) + 1)
        ax.plot(layer, values - values[-1], ms=3, label=f"{activation}, {HEURISTIC[activation]}",
                **plots.line_style(number))  # fmt: skip
        plots.record(ax, activation, layer, values - values[-1])
    ax.set(xlabel="hidden layer", ylabel="log10 ‖∂L/∂z‖, relative to the last")
    ax.legend(frameon=False, fontsize=8)
    return ax
