"""Expectations under a standard normal, E[f(z)], z ~ N(0, 1), by piecewise Gauss–Legendre.

Host-side and eager: the answer is a Python float, usable at trace time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from jinit.typing import Array

# Mass of N(0, 1) beyond 12 is 4e-33: nothing that float64 can see.
_REACH = 12.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


def expectation(function: Callable[[Array], Array], kinks: tuple[float, ...] = ()) -> float:
    """E[f(z)] for z ~ N(0, 1).

    The line [−12, 12] is cut into unit panels and at every kink; each panel takes a 24-point
    Gauss–Legendre rule (exact for polynomials up to degree 47), summed in float64.

    Args:
      function: elementwise, any callable JAX function; evaluated in JAX's default float dtype.
      kinks: points where a derivative of f jumps; a missed kink costs accuracy.

    Returns:
      A Python float. Relative error about 1e-7 (float32 evaluation) or 1e-14 (x64).

    Reference: Davis & Rabinowitz 1984, *Methods of Numerical Integration*, section 2.7.

    >>> round(expectation(lambda z: z**2), 6)
    1.0
    >>> round(expectation(jax.nn.relu, kinks=(0.0,)), 6)  # 1 / sqrt(2 pi)
    0.398942
    """
    nodes, weights = _rule(kinks)
    with jax.ensure_compile_time_eval():
        values = function(jnp.asarray(nodes))
    if isinstance(values, jax.core.Tracer):
        # JAX before 0.9 stages functions with custom derivatives even so; a new thread does not.
        with ThreadPoolExecutor(1) as fresh:
            values = fresh.submit(lambda: function(jnp.asarray(nodes))).result()
    return float(np.sum(np.asarray(values, np.float64) * weights))


def _rule(kinks: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes z (n,) and weights w (n,) with Σ w f(z) ≈ E[f(z)], float64."""
    edges = np.unique(np.concatenate([np.arange(-_REACH, _REACH + 1), np.asarray(kinks, float)]))
    edges = edges[(edges >= -_REACH) & (edges <= _REACH)]
    centre, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    nodes = (centre[:, None] + half[:, None] * _NODES).ravel()
    density = np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi)
    return nodes, (half[:, None] * _WEIGHTS).ravel() * density
