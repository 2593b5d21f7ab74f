"""Interpolates tables with equally spaced nodes by Lagrange polynomials."""

from __future__ import annotations

import math

import numpy as np

from jinit.theory._namespace import namespace
from jinit.typing import Array


def lagrange(place: Array, order: int) -> Array:
    """Weights ``(…, order)`` of the values at nodes 0 … order − 1 that interpolate at ``place``.

    >>> abs(lagrange(np.asarray(2.0), 6)).tolist()
    [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    xp, nodes = namespace(place), np.arange(order)
    distance = place[..., None] - xp.asarray(nodes, place.dtype)
    # A node's weight is a product over the other nodes; the factor of the node itself is set to 1.
    own = np.eye(order, dtype=bool)
    factors = xp.where(own, 1.0, distance[..., None, :])
    divisors = np.where(own, 1.0, nodes[:, None] - nodes).prod(-1)
    weights: Array = factors.prod(-1) / xp.asarray(divisors, place.dtype)
    return weights


def extrapolated(values: np.ndarray, order: int) -> np.ndarray:
    """Adds order/2 − 1 rows at either end by extrapolating the outermost ``order`` rows.

    Every place between two original rows then has order/2 nodes on either side. One-sided
    interpolation has large weights, which amplify float32 rounding.

    >>> extrapolated(np.arange(6.0)[:, None] ** 2, 6).ravel().round(9).tolist()
    [4.0, 1.0, 0.0, 1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 49.0]
    """
    weights = np.array([-((-1) ** k) * math.comb(order, k) for k in range(1, order + 1)], float)
    for _ in range(order // 2 - 1):
        before, after = weights @ values[:order], weights @ values[: -order - 1 : -1]
        values = np.concatenate([before[None], values, after[None]])
    return values
