"""Does the random-walk gain remove the drift of a deep network's log-length?"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import FAILS, HOLDS, Scale, Verdict, text
from jinit import engine, initializers, stats, theory
from jinit.report import plots

NUMBER = None
PAPER = "Sussillo & Abbott 2014"
TITLE = "A gain a little above √2 makes the log-length of a deep ReLU network an unbiased walk"
WHERE = "section 2, figure 2"
CLAIM = (
    "In very deep networks the logarithm of the norm of what is propagated does a random walk over "
    "the layers; the right scaling of the weights, g, makes its steps average to zero."
)
DEPTH, WIDTH = 200, 100
TEST = (
    "ReLU, 200 layers of 100 units. The mean over networks of ln(|h_L|²/|h_0|²) lies within four "
    "standard errors of (a) 0 for the exact g, (b) 200 · 2 ln(fit/g) for the paper's fit "
    "(initializer random_walk), (c) the exact -5.084 for He's √2; and (d) its standard error is "
    "below .15 (so that He's drift stands out thirtyfold). Holds if all; else not."
)


def _walk(spec: str, seed: jax.Array) -> jax.Array:
    """ln(|h_l|²/|h_0|²) of one network, layer by layer."""
    init = initializers.get(spec)

    def layer(h: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jax.nn.relu(h @ init(key, (WIDTH, WIDTH)))
        size = jnp.sum(h**2)
        return h / jnp.sqrt(size), jnp.log(size)

    keys = jax.random.split(jax.random.key(seed), DEPTH)
    _, steps = jax.lax.scan(layer, jnp.full(WIDTH, WIDTH**-0.5), keys)
    return jnp.cumsum(steps)


def measure(scale: Scale) -> dict:
    networks = scale(192, 2048)
    drift, _ = theory.log_length("relu", WIDTH)
    exact = math.sqrt(2.0 * math.exp(-drift))  # keeps the mean log squared length
    fit = 2**0.5 * np.exp(1.2 / (WIDTH - 2.4))
    arms = {
        "exact g": (f"fan_in_normal(k={exact**2!r})", 0.0),
        "random_walk": ("random_walk", DEPTH * 2 * np.log(fit / exact)),
        "He": ("fan_in_normal(k=2.0)", DEPTH * drift),
    }
    rows = {}
    for name, (spec, expected) in arms.items():
        run = functools.partial(_walk, spec)
        logs = np.asarray(engine.run(run, np.arange(networks, dtype=np.uint32)), np.float64)
        rows[name] = {
            "mean": stats.bootstrap(logs[:, -1], np.mean), "expected": expected,
            "error": logs[:, -1].std(ddof=1) / networks**0.5, "by_layer": logs.mean(0)[4::5],
            "walks": logs[:8, 4::5],
        }  # fmt: skip
    return {"rows": rows, "seeds": networks, "gain": exact, "most": scale(0.3, 0.15)}


def decide(numbers: dict) -> Verdict:
    rows = numbers["rows"]
    passed = all(
        abs(row["mean"]["estimate"] - row["expected"]) <= 4 * row["error"]
        and row["error"] < numbers["most"]
        for row in rows.values()
    )
    each = ", ".join(
        f"{name} {text(row['mean'], sign=True)} (exact {row['expected']:+.3f})"
        for name, row in rows.items()
    )
    answer = (
        f"g = {numbers['gain']:.5f}; mean of ln(|h_200|²/|h_0|²), {numbers['seeds']:,} networks"
    )
    return Verdict(HOLDS if passed else FAILS, f"{answer}: {each}")


def draw(numbers: dict):
    ax = plots.new_axes(5.6, 3.6)
    for name, colour in (("exact g", plots.COLORS["blue"]), ("He", plots.COLORS["vermilion"])):
        row = numbers["rows"][name]
        layer = np.arange(5, DEPTH + 1, 5)
        for walk in row["walks"]:
            ax.plot(layer, walk, color=colour, lw=0.7, alpha=0.35)
        ax.plot(layer, row["by_layer"], color=colour, lw=2.2, label=f"{name}: mean")
        exact = row["expected"] * layer / DEPTH
        ax.plot(layer, exact, color="black", ls=":", lw=1.4)
        plots.record(ax, f"{name}, mean", layer, np.array(row["by_layer"]))
    ax.plot([], [], color="black", ls=":", label="theory")
    ax.set(xlabel="layer l", ylabel="ln(|h_l|²/|h_0|²)")
    ax.legend(frameon=False, fontsize=8)
    return ax
