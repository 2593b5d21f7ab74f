"""Computes E[f(z)²], z ~ N(0, 1), by piecewise Gauss–Legendre, and finds the kinks of f.

The pieces must meet at the kinks, because each quadrature rule needs a smooth f. Everything is
computed eagerly: the result is a Python float, which can be used while JAX traces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jinit._float64 import in_float64
from jinit.typing import Array

# N(0, 1) has mass 4e-33 beyond ±12. If f² grows fast, the integrand may still matter at ±36.
_REACH, _FAR = 12.0, 36.0
_RESOLVED = 1e-7


def mean_square(function: Callable[[Array], Array], kinks: tuple[float, ...] = ()) -> float:
    """E[f(z)²] for z ~ N(0, 1).

    The line [−36, 36] is cut into panels of width 1/8 and at every kink. Each panel uses a 24-point
    Gauss–Legendre rule (exact for polynomials up to degree 47). If the 16-point rule differs by
    more than 10⁻⁷ of the integral, all panels are halved, up to five times.

    Args:
      function: an elementwise JAX function; evaluated in float64.
      kinks: points where f or a derivative of f jumps. A missing kink costs halvings, or makes the
        result NaN.

    Returns:
      A Python float with relative error of about 10⁻⁷ or far less. NaN if the two rules still
      differ after five halvings, or if the integrand is not negligible at ±36 or where f² overflows
      float64. Then f varies on a scale below about 1/500, jumps at a point that is not in
      ``kinks``, or has an infinite E f².

    Reference: Davis & Rabinowitz 1984, *Methods of Numerical Integration*, section 2.7.

    >>> round(mean_square(lambda z: z), 12), round(mean_square(jax.nn.relu, kinks=(0.0,)), 12)
    (1.0, 0.5)
    """
    for halvings in range(3, 9):
        fine, coarse = (_mean_square(function, kinks, halvings, order) for order in (24, 16))
        if abs(fine - coarse) <= _RESOLVED * fine:
            return fine
    return math.nan


def _mean_square(
    function: Callable[[Array], Array], kinks: tuple[float, ...], halvings: int, order: int
) -> float:
    nodes, weights = _rule(kinks, 2.0**-halvings, order)
    values = in_float64(lambda: function(jnp.asarray(nodes)))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        terms = np.asarray(values, np.float64) ** 2 * weights
    far = np.abs(nodes)
    # f² may overflow where N(0, 1) has hardly any mass; the integral then stops at that point.
    end = float(far[~np.isfinite(terms)].min(initial=_FAR))
    total = float(terms[far < end].sum())
    return total if float(terms[(far < end) & (far > end - 1)].sum()) <= 1e-9 * total else math.nan


def find_kinks(function: Callable[[Array], Array], reach: float = _REACH) -> tuple[float, ...]:
    """The points of (−reach, reach) where f, f′ or f″ jumps, by bisection.

    Every interval of a grid of step 1/16 is halved 40 times, each time keeping the half across
    which f (or f′, f″) changes more. The change of a smooth function shrinks with the interval; the
    jump at a kink does not. The search misses the second of two kinks in one interval, and jumps
    below 10⁻³ of the derivative's scale.

    Args:
      function: an elementwise JAX function that can be differentiated.
      reach: half the width of the interval.

    Returns:
      Kinks in ascending order, exact if they are multiples of 2⁻¹⁰, otherwise to about 10⁻¹³.

    >>> find_kinks(lambda x: jnp.where(x > 0.5, x, 0.1 * x)), find_kinks(jnp.tanh)
    ((0.5,), ())
    """
    return in_float64(_search, function, reach)


def _search(function: Callable[[Array], Array], reach: float) -> tuple[float, ...]:
    def value(point: Array) -> Array:
        return jnp.sum(function(point))

    @jax.jit
    def stacked(points: Array) -> Array:
        orders = (value, jax.grad(value), jax.grad(jax.grad(value)))
        return jnp.stack([jax.vmap(order)(points) for order in orders])

    def derivatives(x: np.ndarray) -> np.ndarray:
        return np.nan_to_num(np.asarray(stacked(jnp.asarray(x)), np.float64))

    # The offset keeps the edges off round numbers, where kinks are likely.
    edges = np.arange(-reach, reach, 1 / 16) + 0.0217
    ends = edges + 1 / 16
    low, high = derivatives(edges), derivatives(ends)
    threshold = 1e-3 * np.maximum(1.0, np.abs(low).max(axis=1))
    points: list[float] = []
    for order in range(3):
        left, right, at_left, at_right = edges, ends, low[order], high[order]
        for _ in range(40):
            middle = (left + right) / 2
            at_middle = derivatives(middle)[order]
            first = np.abs(at_middle - at_left) >= np.abs(at_right - at_middle)
            left, right = np.where(first, left, middle), np.where(first, middle, right)
            at_left = np.where(first, at_left, at_middle)
            at_right = np.where(first, at_middle, at_right)
        jumped = np.abs(at_right - at_left) > threshold[order]
        points += [_rounded(point) for point in (left[jumped] + right[jumped]) / 2]
    # One kink may appear in several derivatives, at points that differ by rounding.
    return merged(points, 1e-5)


def merged(points: Iterable[float], distance: float) -> tuple[float, ...]:
    """The points in ascending order, without those within ``distance`` of the previous point.

    >>> merged([2.0, 1.0, 1.0 + 1e-9], 1e-5)
    (1.0, 2.0)
    """
    points = sorted(points)
    return tuple(p for i, p in enumerate(points) if not i or p - points[i - 1] > distance)


def _rounded(point: float) -> float:
    """The nearest multiple of 2⁻¹⁰ if it is within 10⁻¹¹, else the point."""
    near = round(point * 1024) / 1024
    return near if abs(near - point) < 1e-11 else float(point)


def _rule(kinks: tuple[float, ...], width: float, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes z (n,) and weights w (n,) with Σ w f(z) ≈ E[f(z)], float64."""
    base = np.arange(-_FAR, _FAR + width, width)
    edges = np.unique(np.concatenate([base, np.asarray(kinks, float)]))
    edges = edges[(edges >= -_FAR) & (edges <= _FAR)]
    centre, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    points, weights = np.polynomial.legendre.leggauss(order)
    nodes = (centre[:, None] + half[:, None] * points).ravel()
    density = np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi)
    return nodes, (half[:, None] * weights).ravel() * density
