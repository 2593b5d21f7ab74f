"""Do the modes of a deep linear network learn along the sigmoidal curves of the exact solution?"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import FAILS, HOLDS, Scale, Verdict
from jinit.report import plots

NUMBER = None
PAPER = "Saxe, McClelland & Ganguli 2013"
TITLE = "Modes of a linear network learn one after the other, along exact sigmoids"
WHERE = "equations 6 to 8, figure 3"
CLAIM = (
    "From balanced weights aligned with the singular vectors of the data every mode of a deep "
    "linear network follows its own sigmoid, with time constant 1/s: large singular values first."
)
TEST = (
    "Formula: u(t) = s e^{2st}/(e^{2st} − 1 + s/a₀). A linear network 32-32-32 of two weight "
    "matrices, Y = A X with X white and singular values "
    "3, 2, 1, .5; weights start balanced and aligned at strength a₀ = .01; gradient descent at "
    "rate 1e-3. (a) the largest distance of a mode's strength from the formula is below 1 % of s; "
    "(b) the time at which a mode is half learnt is within 1 % of ln(s/a₀ − 1)/(2s). Holds if "
    "both, on every one of 32 draws of the singular vectors; else not."
)
MODES, START, RATE, SIZE = (3.0, 2.0, 1.0, 0.5), 0.01, 1e-3, 32


def _start(seed: int) -> tuple[np.ndarray, ...]:
    """Draws a target, two weight matrices and the singular vectors."""
    rng = np.random.default_rng(seed)
    left, right, middle = (np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0] for _ in range(3))
    s = np.zeros(SIZE)
    s[: len(MODES)] = MODES
    root = np.diag(np.where(s > 0, START**0.5, 0.0))
    return left @ np.diag(s) @ right.T, middle @ root @ right.T, left @ root @ middle.T, left, right


def _strengths(target, first, second, left, right, blocks: int, every: int) -> jax.Array:
    """Strength of each mode after every ``every`` steps, ``(blocks, modes)``."""

    def step(state, nothing):
        first, second = state
        error = second @ first - target
        return (first - RATE * second.T @ error, second - RATE * error @ first.T), None

    def block(state, nothing):
        state, _ = jax.lax.scan(step, state, None, length=every)
        return state, jnp.diagonal(left.T @ state[1] @ state[0] @ right)[: len(MODES)]

    return jax.lax.scan(block, (first, second), None, length=blocks)[1]


def measure(scale: Scale) -> dict:
    seeds, steps, every = scale(4, 32), 12_000, 40
    draws = [
        jnp.asarray(np.stack(parts), jnp.float32)
        for parts in zip(*(_start(seed) for seed in range(seeds)), strict=True)
    ]
    with jax.default_matmul_precision("highest"):
        run = functools.partial(_strengths, blocks=steps // every, every=every)
        strengths = np.asarray(jax.jit(jax.vmap(run))(*draws), np.float64)
    time = RATE * every * np.arange(1, steps // every + 1)
    rows = []
    for number, s_k in enumerate(MODES):
        grown = np.exp(2 * s_k * time)
        exact = s_k * grown / (grown - 1 + s_k / START)
        mine = strengths[:, :, number]
        halves = [float(np.interp(s_k / 2, strength, time)) for strength in mine]
        rows.append({
            "s": s_k, "strength": mine.mean(0)[::5], "exact": exact[::5],
            "error": np.abs(mine - exact).max() / s_k, "half": [min(halves), max(halves)],
            "half_exact": float(np.log(s_k / START - 1) / (2 * s_k)),
        })  # fmt: skip
    return {"seeds": seeds, "rows": rows, "time": time[::5]}


def decide(numbers: dict) -> Verdict:
    rows = numbers["rows"]
    passed = all(
        row["error"] < 0.01
        and max(abs(half / row["half_exact"] - 1) for half in row["half"]) < 0.01
        for row in rows
    )
    parts = [
        f"s = {row['s']:g}: half at {row['half'][0]:.4f} to {row['half'][1]:.4f} (exact "
        f"{row['half_exact']:.4f}), largest error {100 * row['error']:.2f} %"
        for row in rows
    ]
    return Verdict(HOLDS if passed else FAILS, "; ".join(parts))


def draw(numbers: dict):
    ax = plots.new_axes(5.6, 3.6)
    for number, row in enumerate(numbers["rows"]):
        style = plots.line_style(number)
        ax.plot(numbers["time"], row["exact"], color=style["color"], lw=3, alpha=0.35)
        ax.plot(numbers["time"], row["strength"], color=style["color"], ls=style["linestyle"],
                label=f"s = {row['s']:g}")  # fmt: skip
        plots.record(ax, f"s = {row['s']:g}", numbers["time"], row["strength"])
    ax.set(xlabel="time = rate × steps", ylabel="strength of the mode", xlim=(0, None))
    ax.legend(frameon=False, fontsize=8, title="thin: measured, wide: exact", title_fontsize=8)
    return ax
