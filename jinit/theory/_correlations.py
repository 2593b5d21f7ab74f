"""Correlations of two inputs, read from a table of ``_moments.pair``: for many points."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jinit._float64 import in_float64
from jinit.theory._interpolation import lagrange
from jinit.theory._moments import Moments, pair, read
from jinit.theory._tables import Table
from jinit.typing import Array

# √q = unit · 0.25 sinh(x) up to 30 or more, and the angle θ = sinh(t)/30 up to π.
_SCALE, _LARGEST, _ANGLE = 0.25, 30.0, 30.0
_ANGLES = 96
_STEP_S = math.asinh(_LARGEST / _SCALE) / 63
_STEP_T = math.asinh(math.pi * _ANGLE) / (_ANGLES - 1)


@functools.lru_cache(32)
def correlations(known: Table) -> np.ndarray:
    """``(lengths, angles, 2)``: what :func:`pair` gives over E φ′², on a grid of √q and the angle.

    >>> from jinit.theory._tables import table
    >>> bool(abs(correlations(table("identity")) - 1).max() < 1e-9)
    True
    """
    scale = known.unit * _SCALE
    lengths = math.ceil(math.asinh(_LARGEST / scale) / _STEP_S - 1e-6) + 1
    s = np.maximum(scale * np.sinh(_STEP_S * np.arange(lengths)), known.unit * 1e-6)
    angle = np.sinh(_STEP_T * np.arange(_ANGLES)) / _ANGLE
    gap = 2 * np.sin(angle / 2) ** 2

    def row(s: Array) -> Array:
        at = read(known, s**2)
        return jnp.stack(pair(known, at, s, jnp.asarray(gap)), -1) / at.slope_second

    found = in_float64(lambda: jax.jit(lambda s: jax.lax.map(row, s))(jnp.asarray(s))).copy()
    # The limit itself, for the difference of two equal numbers.
    found[:, 0] = np.where(np.isnan(found[:, 0]), np.nan, 1.0)
    return found


def reader(known: Table) -> Callable[[Moments, Array, Array], tuple[Array, Array]]:
    """``pair_at(read(known, q), √q, gap)`` from the table: six points by six.

    >>> from jinit.theory._tables import table
    >>> one = jnp.asarray(1.0)
    >>> first, second = reader(table("relu"))(read(table("relu"), one), one, one)
    >>> round(float(first), 5), round(float(second), 5)  # (1 − 1/π)/2, 1/4
    (0.34085, 0.25)
    """
    values = correlations(known)

    def pair_at(at: Moments, s: Array, gap: Array) -> tuple[Array, Array]:
        s, gap = jnp.broadcast_arrays(s, gap)
        angle = 2 * jnp.arcsin(jnp.sqrt(jnp.clip(gap / 2, 0.0, 1.0)))
        x = jnp.minimum(s, _LARGEST) / (known.unit * _SCALE)
        row, across = _neighbours(jnp.arcsinh(x) / _STEP_S, len(values))
        column, down = _neighbours(jnp.arcsinh(angle * _ANGLE) / _STEP_T, _ANGLES)
        near = jnp.asarray(values, s.dtype)[row[..., None], column[..., None, :]]
        shares = jnp.einsum("...i,...j,...ijk->...k", across, down, near)
        return shares[..., 0] * at.slope_second, shares[..., 1] * at.slope_second

    return pair_at


def _neighbours(place: Array, points: int) -> tuple[Array, Array]:
    """Six neighbours of each place on a grid 0 … points − 1, and their weights."""
    first = jnp.clip(jnp.floor(place).astype(jnp.int32) - 2, 0, points - 6)
    return first[..., None] + jnp.arange(6), lagrange(place - first, 6)
