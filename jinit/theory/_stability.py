"""Finds all fixed points of the length and the correlation map, and their stability, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._float64 import in_float64
from jinit.activations import ActivationLike
from jinit.theory._checks import check_continuous, check_signal
from jinit.theory._moments import read_moments
from jinit.theory._pair import pair_moments
from jinit.theory._roots import TOLERANCE, read_in_float64, roots, unresolved
from jinit.theory._tabulate import moment_table
from jinit.typing import Array


@dataclass(frozen=True)
class FixedPoint:
    """A fixed point of a map.

    Attributes:
      value: the position q or c.
      slope: the slope of the map there; the point attracts if |slope| < 1.
      kind: ``"stable"``, ``"unstable"`` or ``"marginal"`` (|slope| = 1: distances to it fall as a
        power of the depth, or every nearby point is a fixed point too).
    """

    value: float
    slope: float
    kind: str


def length_fixed_points(
    activation: ActivationLike, sigma_w: float, sigma_b: float = 0.0
) -> tuple[FixedPoint, ...]:
    """All q with q = σ_w² E[φ(√q z)²] + σ_b², and their stability.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: standard deviation of the weights times √n, ≥ 0.
      sigma_b: standard deviation of the biases, ≥ 0.

    Returns:
      The fixed points, ascending: those in 1e-12 ≤ q ≤ 1e30 at which E φ² is resolved, and 0 if
      φ(0) = 0 and σ_b = 0. Two points closer than 5 % (20 % below 1e-5) may be missed. If every
      length is a fixed point (critical ReLU), the only point returned is 0, as marginal.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps; no fixed point is
        found and E φ² is not resolved everywhere. TypeError: an array or a tracer.

    Reference: Poole et al. 2016, section 3.

    >>> [(round(p.value, 4), p.kind) for p in length_fixed_points("tanh", 1.5)]
    [(0.0, 'unstable'), (0.7934, 'stable')]
    """
    sigma_w, sigma_b = _checked(sigma_w, sigma_b)
    table = moment_table(activation)
    check_continuous(table, "stability of lengths")

    def excess(q: np.ndarray) -> np.ndarray:
        return np.asarray(sigma_w**2 * read_in_float64(table, q).second + sigma_b**2 - q)

    def point(q: float) -> FixedPoint:
        return _point(q, float(sigma_w**2 * read_in_float64(table, q).growth))

    far = table.seconds()[0]
    fine = table.nodes()[1:]
    grid = np.concatenate([np.geomspace(1e-13, 1e-5, 100), fine**2, far[far > fine[-1]] ** 2])
    points = [point(q) for q in roots(excess, np.unique(grid))]
    if table.at_zero == 0 and sigma_b == 0:
        points = [point(0.0), *(fixed for fixed in points if fixed.value > 1e-12)]
    if not points and np.isnan(excess(grid)).any():
        raise unresolved(table, "fixed points")
    return tuple(points)


def correlation_fixed_points(
    activation: ActivationLike, sigma_w: float, sigma_b: float, q: float
) -> tuple[FixedPoint, ...]:
    """All c in [−1, 1] with c = C(c) at this variance, and their stability.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: as :func:`length_fixed_points`.
      q: the fixed point of the lengths, > 0.

    Returns:
      The fixed points, descending. The first is always 1. At σ_b = 0 an odd activation also has
      the fixed point −1.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps. TypeError: an array
        or a tracer.

    Reference: Poole et al. 2016, section 4.

    >>> [(round(p.value, 4), p.kind) for p in correlation_fixed_points("tanh", 2.0, 0.3, 2.5)]
    [(1.0, 'unstable'), (0.2452, 'stable')]
    """
    sigma_w, sigma_b = _checked(sigma_w, sigma_b)
    q = errors.check_scalar("q", q, low=0.0, open_low=True, fix="use length_fixed_point")
    check_signal(sigma_w, sigma_b)
    table = moment_table(activation)
    factor = sigma_w**2 * q / (sigma_w**2 * float(read_in_float64(table, q).second) + sigma_b**2)

    def at_gap(gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        def both() -> tuple[Array, Array]:
            at = read_moments(table, jnp.asarray(q))
            return pair_moments(table, at, jnp.asarray(math.sqrt(q)), jnp.asarray(gap))

        ratio, slope = in_float64(both)
        return factor * np.asarray(ratio), factor * np.asarray(slope)

    # The next gap is gap · ratio(gap). Below a gap of 1e-12 the ratio is its limit χ₁.
    gaps = np.concatenate([np.geomspace(1e-12, 0.5, 60), np.linspace(0.52, 2.0, 75)])
    points = [_point(1.0, float(factor * read_in_float64(table, q).slope_second))]
    for gap in roots(lambda gap: at_gap(gap)[0] - 1, gaps):
        if gap > 1e-9:
            points.append(_point(1 - gap, float(at_gap(np.asarray(gap))[1])))
    return tuple(points)


def _checked(sigma_w: float, sigma_b: float) -> tuple[float, float]:
    # Squares of larger numbers are infinite.
    return (
        errors.check_scalar("sigma_w", sigma_w, low=0.0, high=1e150, fix="use 1.0"),
        errors.check_scalar("sigma_b", sigma_b, low=0.0, high=1e150, fix="use 0.0"),
    )


def _point(value: float, slope: float) -> FixedPoint:
    size = abs(slope)
    kind = "marginal" if abs(size - 1) < TOLERANCE else "stable" if size < 1 else "unstable"
    return FixedPoint(value, slope, kind)
