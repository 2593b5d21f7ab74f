"""Do zero weights keep hidden units identical, and is the network no better than linear?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, follow, text
from jinit import models, stats
from jinit.report import plots
from jinit.train import FitConfig

NUMBER = 1
TITLE = "Zero weights keep hidden units symmetric; no better than a linear model"
WHERE = "Zero Initialization"
CLAIM = (
    "If all the weights are initialized with zero, … all weights have the same value in subsequent "
    "iterations. This makes hidden units symmetric … i.e. setting weights to zero does not make it "
    "better than a linear model."
)
TEST = (
    "Digits, 2 hidden layers of 32 units, SGD at rate 0.1, the same seeds for the linear model "
    "(depth 0, also from zeros). Holds if, for every activation, all hidden units have equal "
    "incoming weights at every evaluation of every seed, to 1 % of the layer's largest (some "
    "processors sum some columns of a product in another order, and round differently), and the "
    "95 % interval of the paired difference in test accuracy to the linear model does not reach "
    "above 0. It holds with a limit if all those intervals lie below −.05: then 'no better than "
    "linear' says too little."
)
ROUNDING = 0.01
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "gelu", "sigmoid", "softplus")


def measure(scale: Scale) -> dict:
    seeds, steps = scale(8, 64), scale(100, 500)
    config = FitConfig(steps=steps, evaluations=12)
    optimizer, zeros = optax.sgd(0.1), {"*": "zeros"}
    linear = follow(models.MLP(features=(10,)), zeros, lambda p: 0.0, optimizer, seeds=seeds,
                    config=config)["test_accuracy"]  # fmt: skip
    activations = scale(ACTIVATIONS[::2], ACTIVATIONS)
    numbers = {"linear": stats.bootstrap(linear, np.mean), "steps": steps, "seeds": seeds,
             "activations": activations, "curve_steps": config.evaluation_steps()}  # fmt: skip
    for activation in activations:
        model = models.MLP(features=(32, 32, 10), activation=activation)

        def watch(params):
            leaves = {
                jax.tree_util.keystr(path): leaf
                for path, leaf in jax.tree_util.tree_leaves_with_path(params)
            }
            hidden = [leaf for path, leaf in leaves.items() if "hidden" in path]
            spreads = [
                jnp.ptp(leaf, axis=-1).max() / jnp.maximum(jnp.abs(leaf).max(), 1e-30)
                for leaf in hidden
            ]
            return {
                "spread": jnp.stack(spreads).max(),
                "moved": {path: jnp.abs(leaf).max() for path, leaf in leaves.items()},
            }

        run = follow(model, zeros, watch, optimizer, seeds=seeds, config=config)
        moved = {path: float(value[:, -1].max()) for path, value in run["watched"]["moved"].items()}
        numbers[activation] = {
            "spread": float(run["watched"]["spread"].max()),
            "accuracy": stats.bootstrap(run["test_accuracy"], np.mean),
            "difference": stats.bootstrap(run["test_accuracy"] - linear, np.mean),
            "leaves_that_moved": [path for path, size in moved.items() if size > 0],
            "curve": np.median(run["curve_test_accuracy"], axis=0),
        }
    return numbers


def decide(numbers: dict) -> Verdict:
    rows = {name: numbers[name] for name in numbers["activations"]}
    output_only = [n for n, row in rows.items() if len(row["leaves_that_moved"]) == 1]
    spread = max(row["spread"] for row in rows.values())
    symmetric = spread <= ROUNDING
    not_better = all(row["difference"]["high"] <= 0 for row in rows.values())
    far_below = all(row["difference"]["high"] < -0.05 for row in rows.values())
    best = max(rows, key=lambda name: rows[name]["accuracy"]["estimate"])
    answer = (
        f"units equal at every step: {'all' if symmetric else 'not all'} activations "
        f"{f'(to {spread:.0e} of the largest weight)' if spread else '(exactly)'}; only the output "
        f"bias ever moves for {', '.join(output_only) or 'none'}. Accuracy: linear "
        f"{text(numbers['linear'])}, best zero network ({best}) {text(rows[best]['accuracy'])}"
        + (": far worse than linear, not equal to it" if far_below else "")
    )
    if not (symmetric and not_better):
        return Verdict(FAILS, answer)
    return Verdict(LIMITED if far_below else HOLDS, answer)


def draw(numbers: dict):
    ax = plots.new_axes()
    for number, name in enumerate(numbers["activations"]):
        # The curves coincide, so each curve has markers at different steps.
        ax.plot(numbers["curve_steps"], numbers[name]["curve"], markevery=(number, 6),
                label=f"zeros, {name}", **plots.line_style(number))  # fmt: skip
        plots.record(ax, name, numbers["curve_steps"], numbers[name]["curve"])
    ax.axhline(
        numbers["linear"]["estimate"],
        color=plots.COLORS["grey"],
        lw=1,
        label="linear model, at the end",
    )
    ax.set(xlabel="step", ylabel="test accuracy (median)", xscale="log", ylim=(0, 1))
    ax.legend(frameon=False, fontsize=8)
    return ax
