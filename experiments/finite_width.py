"""Does a ReLU network's log-length vary with the sum of its inverse widths, as theory says?"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import FAILS, HOLDS, Scale, Verdict
from jinit import engine, theory
from jinit.report import plots

NUMBER = None
PAPER = "Hanin & Rolnick 2018; Hanin & Nica 2018"
TITLE = "Mean length needs 2/fan_in; its logarithm varies with Σ 1/n, not with depth alone"
WHERE = "theorems 5 and 6"
CLAIM = (
    "For a ReLU network with weights of variance 2/fan_in the mean of the normalized squared "
    "length is constant; its variance is exponential in the sum of the reciprocals of the widths."
)
TEST = (
    "Bias-free He ReLU networks on one input, widths and depths (50, 10), (100, 20), (25, 5), "
    "(50, 25). (a) the mean of ln(|h_L|²/|h_0|²) is within .03 of the exact sum over "
    "layers of E ln((2/n) χ²_k), k ~ Bin(n, ½); (b) its variance within 4 %; (c) where 5 Σ 1/n ≤ "
    "1 the ratio E|h|⁴/(E|h|²)² is within 10 % of Π (1 + 5/n). Holds if all; else not."
)
SETTINGS = ((50, 10), (100, 20), (25, 5), (50, 25))


def _log_length(width: int, depth: int, seed: jax.Array) -> jax.Array:
    """ln(|h_L|²/|h_0|²) of one network."""

    def layer(h: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        w = jax.random.normal(key, (width, width)) * (2 / width) ** 0.5
        h = jax.nn.relu(h @ w)
        size = jnp.sum(h**2)
        return h / jnp.sqrt(size), jnp.log(size)

    start = jnp.full(width, width**-0.5)
    keys = jax.random.split(jax.random.key(seed), depth)
    return jnp.sum(jax.lax.scan(layer, start, keys)[1])


def measure(scale: Scale) -> dict:
    networks, rows = scale(4000, 20_000), []
    for width, depth in scale(SETTINGS[:2], SETTINGS):
        run = functools.partial(_log_length, width, depth)
        logs = np.asarray(engine.run(run, np.arange(networks, dtype=np.uint32)), np.float64)
        mean, variance = theory.log_length("relu", width)
        rows.append({
            "width": width, "depth": depth, "mean": logs.mean(), "variance": logs.var(ddof=1),
            "fourth": np.mean(np.exp(2 * logs)) / np.mean(np.exp(logs)) ** 2,
            "mean_theory": depth * mean, "variance_theory": depth * variance,
            "fourth_theory": (1 + 5 / width) ** depth,
        })  # fmt: skip
    return {"rows": rows, "seeds": networks, "slack": scale(2.5, 1.0)}


def decide(numbers: dict) -> Verdict:
    passed, parts, slack = [], [], numbers["slack"]
    for row in numbers["rows"]:
        passed.append(abs(row["mean"] - row["mean_theory"]) <= 0.03 * slack)
        passed.append(abs(row["variance"] / row["variance_theory"] - 1) <= 0.04 * slack)
        text = (
            f"n {row['width']}, L {row['depth']}: mean {row['mean']:.3f} "
            f"({row['mean_theory']:.3f}), variance {row['variance']:.3f} "
            f"({row['variance_theory']:.3f})"
        )
        if 5 * row["depth"] / row["width"] <= 1:
            passed.append(abs(row["fourth"] / row["fourth_theory"] - 1) <= 0.10 * slack)
            text += f", 4th moment {row['fourth']:.2f} ({row['fourth_theory']:.2f})"
        parts.append(text)
    answer = f"{numbers['seeds']:,} networks each (theory): " + "; ".join(parts)
    return Verdict(HOLDS if all(passed) else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes(5.2, 3.8)
    rows = numbers["rows"]
    total = [row["depth"] / row["width"] for row in rows]
    order = np.argsort(total)
    x = np.array(total)[order]
    theory_line = np.array([row["variance_theory"] for row in rows])[order]
    measured = np.array([row["variance"] for row in rows])[order]
    ax.plot(
        [0, x.max() * 1.05],
        [0, 5 * x.max() * 1.05],
        color=plots.COLORS["grey"],
        ls="--",
        label="5 Σ 1/n",
    )
    ax.plot(x, theory_line, "s", mfc="none", color=plots.COLORS["blue"], ms=9, label="exact")
    ax.plot(x, measured, "o", color=plots.COLORS["vermilion"], ms=5, label="measured")
    ax.set(xlabel="Σ 1/n over layers", ylabel="variance of ln |h|²", xlim=(0, None), ylim=(0, None))
    ax.legend(frameon=False, fontsize=8)
    plots.record(ax, "measured", x, measured)
    plots.record(ax, "exact", x, theory_line)
    return ax
