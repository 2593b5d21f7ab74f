"""Lagrange interpolation in tables at equal distances."""

from __future__ import annotations

import math

import numpy as np

from jinit.theory._namespace import namespace
from jinit.typing import Array


def lagrange(place: Array, order: int) -> Array:
    """The weights of the values at 0 … order − 1 in the value of their polynomial at each place.

    >>> abs(lagrange(np.asarray(2.0), 6)).tolist()
    [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    xp, nodes = namespace(place), np.arange(order)
    apart = place[..., None] - xp.asarray(nodes, place.dtype)
    # Every weight is a product over the others: the node's own factor is 1.
    own = np.eye(order, dtype=bool)
    factors = xp.where(own, 1.0, apart[..., None, :])
    divisors = np.where(own, 1.0, nodes[:, None] - nodes).prod(-1)
    weights: Array = factors.prod(-1) / xp.asarray(divisors, place.dtype)
    return weights


def continued(values: np.ndarray, order: int) -> np.ndarray:
    """With order/2 − 1 rows at both ends where the polynomials through the outermost points go on.

    So that every place has as many points on either side: the weights of points that all lie on
    one side are large, and what float32 rounds with them.

    >>> continued(np.arange(6.0)[:, None] ** 2, 6).ravel().round(9).tolist()
    [4.0, 1.0, 0.0, 1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 49.0]
    """
    towards = np.array([-((-1) ** k) * math.comb(order, k) for k in range(1, order + 1)], float)
    for _ in range(order // 2 - 1):
        before, after = towards @ values[:order], towards @ values[: -order - 1 : -1]
        values = np.concatenate([before[None], values, after[None]])
    return values
