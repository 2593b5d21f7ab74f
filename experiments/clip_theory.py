"""Where does gradient descent on x⁴ diverge, does clipping help, and what bias does it add?"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import FAILS, HOLDS, Scale, Verdict
from jinit import clipping, engine
from jinit.report import plots

NUMBER = None
PAPER = "Zhang et al. 2020; Koloskova et al. 2023"
TITLE = (
    "Clipping makes x⁴ converge from anywhere; with skewed noise it converges to the wrong place"
)
WHERE = "example of x⁴ (2020); lower bound on the bias (2023)"
CLAIM = (
    "Gradient descent with a fixed step diverges on x⁴ when η x₀² is too large, clipped descent "
    "converges; but stochastic gradients that are clipped have a bias that no step size removes."
)
TEST = (
    "(a) f = x⁴, η = .01: from 7.07 plain descent converges (|x| < .5 after 5,000 steps), from "
    "7.08 it diverges (the exact border is η x₀² = ½); (b) clipped at 100 it converges from 50; "
    "(c) f = x²/2 with gradient noise +9 (probability .1) and −1, clipped at 1: the mean of x over "
    "time and seeds is within 2 % of b − pc/(1 − p) = 8/9. Holds if all; else not."
)


def _descend(threshold: float | None, x: jax.Array, steps: int = 5000) -> jax.Array:
    clip = optax.identity() if threshold is None else clipping.clip_by_global_norm(threshold)

    def step(x: jax.Array, nothing: None) -> tuple[jax.Array, jax.Array]:
        gradient, _ = clip.update({"x": 4 * x**3}, clip.init({"x": x}))
        following = x - 0.01 * gradient["x"]
        return following, following

    return jax.lax.scan(step, x, None, length=steps)[1]


def _noisy(steps: int, seed: jax.Array) -> jax.Array:
    """Mean of x over the second half of a clipped SGD run."""
    clip = clipping.clip_by_global_norm(1.0)

    def step(x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        noise = jnp.where(jax.random.bernoulli(key, 0.1), 9.0, -1.0)
        gradient, _ = clip.update({"x": x + noise}, clip.init({"x": x}))
        x = x - 0.002 * gradient["x"]
        return x, x

    keys = jax.random.split(jax.random.key(seed), steps)
    path = jax.lax.scan(step, jnp.float32(0.0), keys)[1]
    return path[steps // 2 :].mean()


def measure(scale: Scale) -> dict:
    paths = {
        f"{start}{'' if threshold is None else ', clipped'}": np.asarray(
            jax.jit(functools.partial(_descend, threshold))(jnp.float32(start))
        )
        for start, threshold in ((7.07, None), (7.08, None), (50.0, 100.0))
    }
    steps, seeds = scale(20_000, 40_000), scale(16, 256)
    means = np.asarray(
        engine.run(functools.partial(_noisy, steps), np.arange(seeds, dtype=np.uint32))
    )
    return {
        "ends": {name: float(path[-1]) for name, path in paths.items()},
        "paths": {name: path[:200:4] for name, path in paths.items()},
        "bias": float(means.mean()), "error": float(means.std(ddof=1) / seeds**0.5),
        "expected": 1 - 0.1 / 0.9, "seeds": seeds,
    }  # fmt: skip


def decide(numbers: dict) -> Verdict:
    below, above, clipped = (abs(end) for end in numbers["ends"].values())
    off = abs(numbers["bias"] / numbers["expected"] - 1)
    passed = below < 0.5 and not above < 1e3 and clipped < 0.5 and off <= 0.02
    far = "diverges" if not above < 1e3 else f"ends at {above:.2g}"
    answer = (
        f"x₀ = 7.07 ends at {below:.2g}, 7.08 {far}, 50 clipped at {clipped:.2g}; bias "
        f"{numbers['bias']:.4f} ± {numbers['error']:.4f} (exact {numbers['expected']:.4f})"
    )
    return Verdict(HOLDS if passed else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes(5.6, 3.6)
    for number, (name, path) in enumerate(numbers["paths"].items()):
        style = plots.line_style(number)
        steps = 1 + 4 * np.arange(len(path))
        shown = np.abs(np.array(path, float))
        shown = np.where(np.isfinite(shown) & (shown < 1e6), shown, np.nan)
        ax.plot(steps, shown, color=style["color"], ls=style["linestyle"], label=f"x₀ = {name}")
        plots.record(ax, f"x0 = {name}", steps, shown)
    ax.set(xlabel="step", ylabel="|x|", yscale="log")
    ax.legend(frameon=False, fontsize=8)
    return ax
