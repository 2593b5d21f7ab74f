"""Does norm clipping rescue diverging runs, of gradients or of W as the article prints it?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jinit
from experiments.harness import FAILS, LIMITED, Scale, Verdict, follow, sweep, text
from jinit import models, stats
from jinit.report import plots
from jinit.train import FitConfig

NUMBER = 8
TITLE = "Clipping W to a norm, W · threshold/‖W‖₂, deals with exploding gradients"
WHERE = "Gradient Clipping"
CLAIM = (
    "We reset the value of the gradients when its L2 norm exceeds the threshold value (if "
    "l2_norm(W) > threshold): W = W * threshold / l2_norm(W)."
)
TEST = (
    "ReLU, σ_w² = 3, 20 hidden layers of 64, digits. At rate 0.1 and threshold 1, an arm rescues "
    "if no clip leaves most runs diverged (Wilson interval above .5) and the 95 % interval of the "
    "arm's median accuracy lies above .50, five times chance. If clipping weights as printed "
    "rescues, the claim holds; if only clipping gradients does, by the norm of each weight's or "
    "of the whole gradient, it holds with a limit (act on gradients); if neither, it does not."
)
SPEC = "variance_scaling(scale=3.0, mode=fan_in, distribution=normal)"


def clip_weights(threshold: float) -> optax.GradientTransformation:
    """Scales each kernel whose norm exceeds the threshold down to it, as the article prints."""

    def update(updates, state, params):
        def cut(step, weight):
            if weight.ndim < 2:
                return step
            new = weight + step
            norm = jnp.linalg.norm(new)
            return jnp.where(norm > threshold, new * (threshold / norm), new) - weight

        return jax.tree.map(cut, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def measure(scale: Scale) -> dict:
    seeds, steps = scale(12, 64), scale(300, 400)
    grid = jinit.Grid(
        initializer=SPEC, depth=20, width=64, steps=steps, seeds=seeds,
        learning_rate=scale((0.1,), (0.003, 0.01, 0.03, 0.1, 0.3)),
        clip=(None, "global_norm(1.0)",
              *(f"leaf_norm({size})" for size in scale((1.0,), (0.01, 0.1, 1.0, 10.0)))),
    )  # fmt: skip
    table, rows = sweep(grid), []
    for rate in grid.values("learning_rate"):
        for clip in dict.fromkeys(table["clip"].tolist()):
            mine = table.select(learning_rate=rate, clip=clip)
            diverged = mine["diverged"].astype(bool)
            summary = stats.with_diverged(mine["test_accuracy"].astype(float), diverged, worst=0)
            rows.append({"rate": rate, "clip": clip, "accuracy": summary.as_worst,
                         "diverged": summary.rate, "without": summary.without})  # fmt: skip
    weights = follow(
        models.MLP(features=(*[64] * 20, 10)), {"*/kernel": SPEC, "*/bias": "zeros"},
        lambda params: 0.0, optax.chain(optax.sgd(0.1), clip_weights(1.0)), seeds=seeds,
        config=FitConfig(steps=steps, evaluations=20),
    )  # fmt: skip
    accuracy = np.nan_to_num(weights["test_accuracy"])
    # The small scale takes fewer steps and learns less, hence its lower threshold.
    return {
        "seeds": seeds,
        "rows": rows,
        "weights": stats.bootstrap(accuracy),
        "bar": scale(0.4, 0.5),
    }


def decide(numbers: dict) -> Verdict:
    cells = {(row["rate"], row["clip"]): row for row in numbers["rows"]}
    plain, leaf, whole = (cells[0.1, name] for name in ("none", "leaf_norm(1)", "global_norm(1)"))
    explodes = plain["diverged"]["low"] > 0.5
    weights_rescue = explodes and numbers["weights"]["low"] > numbers["bar"]
    gradients_rescue = explodes and max(
        leaf["accuracy"]["low"], whole["accuracy"]["low"]) > numbers["bar"]  # fmt: skip
    high = [row for (rate, clip), row in cells.items() if rate == 0.3 and clip == "leaf_norm(1)"]
    answer = (
        f"no clip: {plain['diverged']['estimate']:.0%} of runs diverge; gradients clipped at 1: "
        f"accuracy {text(whole['accuracy'])} by the whole norm, {text(leaf['accuracy'])} by each "
        f"weight's, {leaf['diverged']['estimate']:.0%} diverge; weights clipped at 1 as printed: "
        f"{text(numbers['weights'])}"
        + "".join(f"; at rate 0.3 only {text(row['accuracy'])} by each weight's" for row in high)
    )
    if weights_rescue:
        return Verdict("holds", answer)
    return Verdict(LIMITED if gradients_rescue else FAILS, answer)


def draw(numbers: dict):
    rates = sorted({row["rate"] for row in numbers["rows"]})
    clips = list(dict.fromkeys(row["clip"] for row in numbers["rows"]))
    cells = {(row["rate"], row["clip"]): row for row in numbers["rows"]}
    values = np.array(
        [[cells[rate, clip]["accuracy"]["estimate"] for rate in rates] for clip in clips]
    )
    ax = plots.new_axes(6.2, 3.4)
    image = ax.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, clip in enumerate(clips):
        for column, rate in enumerate(rates):
            cell = cells[rate, clip]
            shown = f"{values[row, column]:.2f}\n{cell['diverged']['estimate']:.0%} div."
            ax.text(column, row, shown, ha="center", va="center", fontsize=8,
                    color="black" if values[row, column] > 0.5 else "white")  # fmt: skip
            plots.record(ax, clip, [rate], [values[row, column]])
    ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    ax.set_yticks(range(len(clips)), ["no clip" if clip == "none" else clip for clip in clips])
    ax.set(xlabel="learning rate")
    ax.figure.colorbar(image, ax=ax, label="median test accuracy")
    return ax
