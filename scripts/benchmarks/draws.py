"""Draws batches of kernels with jinit, JAX and PyTorch, which `bench.py init` times.

A contender takes an initializer, a square size and a number of lanes, and returns a function that
draws all lanes once and returns the seconds. jinit draws one lane under `jit`, many small lanes
under `jit(vmap)` and many large lanes in tiles on every core with `engine.run`. (Orthogonal draws
by QR gain nothing from threads and stay under `jit(vmap)`.) JAX draws under `jit(vmap)`, torch in a
loop, in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import numpy as np

from jinit import engine, initializers

Draw = Callable[[], float]
# Initializer → (jinit spec, jax.nn.initializers, torch.nn.init).
KINDS = {
    "he_normal": (
        "he_normal",
        lambda: jax.nn.initializers.he_normal(),
        lambda torch, w: torch.nn.init.kaiming_normal_(w),
    ),
    "truncated_normal": (
        "truncated_normal(stddev=0.02)",
        lambda: jax.nn.initializers.truncated_normal(0.02),
        lambda torch, w: torch.nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04),
    ),
    "orthogonal": (
        "orthogonal",
        lambda: jax.nn.initializers.orthogonal(),
        lambda torch, w: torch.nn.init.orthogonal_(w),
    ),
    "orthogonal, householder": (
        "orthogonal(method=householder)",
        lambda: jax.nn.initializers.orthogonal(),
        lambda torch, w: torch.nn.init.orthogonal_(w),
    ),
}


def jinit_draw(kind: str, size: int, lanes: int) -> Draw:
    """The fastest of jinit's ways for this size; see the module docstring."""
    init = initializers.get(KINDS[kind][0])

    def draw(seed):
        return init(jax.random.key(seed), (size, size))

    if lanes == 1:
        return _jitted(draw)
    seeds = np.arange(lanes, dtype=np.uint32)
    if size <= 64 or kind == "orthogonal":
        mapped = jax.jit(jax.vmap(draw))
        return _timed(lambda: jax.block_until_ready(mapped(seeds)))
    return _timed(lambda: engine.run(draw, seeds, tile=16 if size <= 256 else 2))


def jax_draw(kind: str, size: int, lanes: int) -> Draw:
    """`jit` of JAX's initializer, vmapped over the lanes."""
    init = KINDS[kind][1]()

    def draw(seed):
        return init(jax.random.key(seed), (size, size))

    if lanes == 1:
        return _jitted(draw)
    mapped = jax.jit(jax.vmap(draw))
    seeds = np.arange(lanes, dtype=np.uint32)
    return _timed(lambda: jax.block_until_ready(mapped(seeds)))


def torch_draw(kind: str, size: int, lanes: int) -> Draw:
    """A loop that fills existing tensors."""
    import torch

    fill = KINDS[kind][2]
    weights = [torch.empty(size, size) for _ in range(lanes)]

    def all_of_them() -> None:
        for weight in weights:
            fill(torch, weight)

    return _timed(all_of_them)


def _jitted(draw: Callable) -> Draw:
    jitted = jax.jit(draw)
    return _timed(lambda: jax.block_until_ready(jitted(0)))


def _timed(work: Callable[[], object]) -> Draw:
    """Times the mean of up to a hundred calls, as many as fit in a fifth of a second."""
    work()
    start = time.perf_counter()
    work()
    repeats = max(1, min(100, int(0.2 / (time.perf_counter() - start))))

    def run() -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            work()
        return (time.perf_counter() - begin) / repeats

    return run
