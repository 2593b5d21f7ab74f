"""Finds roots of functions of the moments, in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._float64 import in_float64
from jinit.theory._moments import Moments, read_moments
from jinit.theory._table import MomentTable

# Slopes closer to 1 than this count as 1. A tabulated moment has an error of 1e-9, which is less.
TOLERANCE = 1e-7
# Variances q between which critical points are searched.
GRID = np.geomspace(1e-6, 1e4, 400)


def read_in_float64(table: MomentTable, q: np.ndarray | float) -> Moments:
    """The moments at q as NumPy arrays."""
    return in_float64(lambda: read_moments(table, jnp.asarray(q, jnp.float64)))


def roots(function: Callable[[np.ndarray], np.ndarray], grid: np.ndarray) -> list[float]:
    """Roots between the nodes of an ascending grid > 0, by bisection to a relative 1e-13."""
    values = function(grid)
    crossing = np.isfinite(values[:-1]) & np.isfinite(values[1:])
    # Values within rounding error count as 0. Where a function is 0 along an interval, only the
    # start of the interval counts as a root, and not even that at the first node.
    size = 1e-10 * np.maximum(1e-12, np.abs(grid))
    signs = np.where(np.abs(values) <= size, 0.0, np.sign(values))
    crossing &= (signs[:-1] * signs[1:] < 0) | ((signs[:-1] != 0) & (signs[1:] == 0))
    low, high = grid[:-1][crossing], grid[1:][crossing]
    if not len(low):
        return []
    sign = signs[:-1][crossing]
    for _ in range(55):
        middle = np.sqrt(low * high)
        same = np.sign(function(middle)) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return [float(root) for root in np.sqrt(low * high)]


def unresolved(table: MomentTable, what: str) -> ValueError:
    """The error for a point that may exist where the moments are NaN."""
    at = read_in_float64(table, GRID)
    unknown = GRID[np.isnan(at.second + at.slope_second)]
    limit = f"q < {unknown.min():.3g}" if unknown.size else "at least up to q = 1e4"
    return errors.refusal(
        f"{what} of {table.name}",
        f"none where its moments are known ({limit})",
        "an activation whose moments can be integrated at larger q too",
        "use one that varies or grows less, or name its kinks: Activation(…, kinks=(…))",
    )
