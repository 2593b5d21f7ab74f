"""Tabulates the moments of two correlated inputs for programs that need them at many points."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jinit._float64 import in_float64
from jinit.theory._interpolation import lagrange
from jinit.theory._moments import Moments, read_moments
from jinit.theory._pair import PairReader, pair_moments
from jinit.theory._table import MomentTable
from jinit.typing import Array

# Nodes: √q = unit · 0.25 sinh(x) up to at least 30, and angle θ = sinh(t)/30 up to π.
_SCALE, _LARGEST, _ANGLE = 0.25, 30.0, 30.0
_ANGLES = 96
_STEP_S = math.asinh(_LARGEST / _SCALE) / 63
_STEP_T = math.asinh(math.pi * _ANGLE) / (_ANGLES - 1)


@functools.lru_cache(32)
def _pair_table(table: MomentTable) -> np.ndarray:
    """``(lengths, angles, 2)``: :func:`pair_moments` divided by E φ′², at nodes of √q and angle."""
    scale = table.unit * _SCALE
    lengths = math.ceil(math.asinh(_LARGEST / scale) / _STEP_S - 1e-6) + 1
    s = np.maximum(scale * np.sinh(_STEP_S * np.arange(lengths)), table.unit * 1e-6)
    angle = np.sinh(_STEP_T * np.arange(_ANGLES)) / _ANGLE
    gap = 2 * np.sin(angle / 2) ** 2

    def row(s: Array) -> Array:
        at = read_moments(table, s**2)
        return jnp.stack(pair_moments(table, at, s, jnp.asarray(gap)), -1) / at.slope_second

    values = in_float64(lambda: jax.jit(lambda s: jax.lax.map(row, s))(jnp.asarray(s))).copy()
    # At angle 0 the quotient is 0 / 0; its limit is 1.
    values[:, 0] = np.where(np.isnan(values[:, 0]), np.nan, 1.0)
    return values


def tabulated_pair_moments(table: MomentTable) -> PairReader:
    """:func:`pair_moments` of one activation by interpolation through six by six nodes."""
    values = _pair_table(table)

    def read_pair(at: Moments, s: Array, gap: Array) -> tuple[Array, Array]:
        s, gap = jnp.broadcast_arrays(s, gap)
        angle = 2 * jnp.arcsin(jnp.sqrt(jnp.clip(gap / 2, 0.0, 1.0)))
        x = jnp.minimum(s, _LARGEST) / (table.unit * _SCALE)
        rows, row_weights = _neighbours(jnp.arcsinh(x) / _STEP_S, len(values))
        columns, column_weights = _neighbours(jnp.arcsinh(angle * _ANGLE) / _STEP_T, _ANGLES)
        near = jnp.asarray(values, s.dtype)[rows[..., None], columns[..., None, :]]
        ratios = jnp.einsum("...i,...j,...ijk->...k", row_weights, column_weights, near)
        return ratios[..., 0] * at.slope_second, ratios[..., 1] * at.slope_second

    return read_pair


def _neighbours(place: Array, nodes: int) -> tuple[Array, Array]:
    """Indices and weights of the six nodes around each place, among nodes 0 … nodes − 1."""
    first = jnp.clip(jnp.floor(place).astype(jnp.int32) - 2, 0, nodes - 6)
    return first[..., None] + jnp.arange(6), lagrange(place - first, 6)
