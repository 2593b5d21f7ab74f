"""Computes with NumPy and SciPy what jinit's theory computes; ``bench.py theory`` times both."""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import numpy as np
from scipy import optimize

from jinit import theory

_Z, _W = np.polynomial.hermite_e.hermegauss(80)
_W = _W / _W.sum()


def _mean(function: Callable[[np.ndarray], np.ndarray], q: float) -> float:
    return float(_W @ function(np.sqrt(q) * _Z))


def _product(function: Callable[[np.ndarray], np.ndarray], q: float, c: float) -> float:
    first = np.sqrt(q) * _Z[:, None]
    second = np.sqrt(q) * (c * _Z[:, None] + np.sqrt(max(1 - c * c, 0.0)) * _Z)
    return float(_W @ (function(first) * function(second)) @ _W)


def loop_phase(sigma_w: np.ndarray, sigma_b: np.ndarray) -> np.ndarray:
    """c* of tanh on a grid: fixed points by iteration and brentq, 80-point Gauss–Hermite."""
    c_star = np.ones((len(sigma_b), len(sigma_w)))
    for i, b in enumerate(sigma_b):
        for j, w in enumerate(sigma_w):
            q = 1.0
            for _ in range(200):
                q = w**2 * _mean(lambda x: np.tanh(x) ** 2, q) + b**2
            chi = w**2 * _mean(lambda x: np.cosh(x) ** -4.0, q)
            if chi > 1 + 1e-6:
                c_star[i, j] = optimize.brentq(
                    lambda c, w=w, b=b, q=q: (w**2 * _product(np.tanh, q, c) + b**2) / q - c,
                    -1e-3, 1 - 1e-6, xtol=1e-8,
                )  # fmt: skip
    return c_star


def loop_layers(sigma_w: np.ndarray, depth: int) -> np.ndarray:
    """c of tanh at every layer, ``(points, depth)``, one point after the other."""
    correlation = np.empty((len(sigma_w), depth))
    for j, w in enumerate(sigma_w):
        q, c = 1.0, 0.5
        for layer in range(depth):
            correlation[j, layer] = c
            following = w**2 * _mean(lambda x: np.tanh(x) ** 2, q) + 0.05
            c = (w**2 * _product(np.tanh, q, c) + 0.05) / following
            q = following
    return correlation


def _relu_kernels(value: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sine = np.sqrt(np.maximum(sizes**2 - value**2, 0.0))
    angle = np.arctan2(sine, value)
    return (sine + (np.pi - angle) * value) / (2 * np.pi), (np.pi - angle) / (2 * np.pi)


def _erf_kernels(value: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # neural-tangents' arcsine and its slope; sizes are √((1 + 2 k_ii)(1 + 2 k_jj)).
    slope = 4 / np.pi / np.sqrt(np.maximum(sizes**2 - 4 * value**2, 1e-30))
    return 2 / np.pi * np.arcsin(np.clip(2 * value / sizes, -1.0, 1.0)), slope


def closed_kernels(name: str, x: np.ndarray, depth: int, w2: float) -> np.ndarray:
    """The NTK by neural-tangents' closed forms, one NumPy operation after the other."""
    nngp = w2 * x @ x.T / x.shape[1]
    ntk = nngp
    for _ in range(depth):
        diagonal = np.diagonal(nngp) if name == "relu" else 1 + 2 * np.diagonal(nngp)
        sizes = np.sqrt(np.outer(diagonal, diagonal))
        value, slope = (_relu_kernels if name == "relu" else _erf_kernels)(nngp, sizes)
        nngp = w2 * value
        ntk = nngp + w2 * slope * ntk
    return ntk


def seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """The median seconds of a few calls, after a first call that compiles."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure() -> list[tuple[str, float, float]]:
    """Rows of label, jinit's seconds, the loop's seconds (scaled up from a part of the grid)."""
    w, b = np.sqrt(np.linspace(1.0, 4.0, 200)), np.sqrt(np.linspace(0.01, 0.5, 200))
    rows = []
    mine = seconds(lambda: theory.phase_diagram("tanh", w, b).scales.xi_c)
    start = time.perf_counter()
    part = loop_phase(w[::25], b[::25])
    rows.append(("phase diagram, 200 × 200", mine, (time.perf_counter() - start) * 40_000 / 64))
    same = theory.phase_diagram("tanh", w[::25], b[::25]).scales.c_star
    assert np.abs(same - part).max() < 1e-4
    points = np.sqrt(np.linspace(1.0, 4.0, 1000)).astype(np.float32)
    run = jax.jit(
        lambda w: theory.propagate("tanh", w, 0.05**0.5, depth=1000, c=0.5, tabulated=True)
    )
    mine = seconds(lambda: run(points))
    start = time.perf_counter()
    part = loop_layers(points[::250], 50)
    rows.append(("1,000 points × 1,000 layers", mine, (time.perf_counter() - start) * 1e6 / 200))
    assert np.abs(np.asarray(run(points).correlation)[::250, :50] - part).max() < 1e-3
    return rows + [_kernels(name) for name in ("relu", "erf")]


def _kernels(name: str) -> tuple[str, float, float]:
    x = np.random.default_rng(0).standard_normal((1024, 64)).astype(np.float32)
    run = jax.jit(lambda x: theory.kernels(name, x, depth=20, sigma_w=2**0.5).ntk)
    loop = closed_kernels(name, x, 20, 2.0)
    assert np.abs(np.asarray(run(x)) / loop - 1).max() < 1e-2
    return (
        f"{name} NTK, 1,024 inputs × 20 layers",
        seconds(lambda: run(x)),
        seconds(lambda: closed_kernels(name, x, 20, 2.0)),
    )
