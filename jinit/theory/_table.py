"""Reads the table of an activation's Gaussian moments over √q by interpolation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jinit.theory._interpolation import extrapolated, lagrange
from jinit.theory._namespace import namespace
from jinit.typing import Array

# Nodes are √q = unit · SCALE sinh(x) at equally spaced x: fine near 0, logarithmic beyond.
_SCALE, _LARGEST = 0.25, 1000.0
_STEP = math.asinh(_LARGEST / _SCALE) / 640
# Columns are interpolated through this many nodes, half of them on either side of √q. _BESIDE of
# them precede the last node ≤ √q.
_POINTS = 12
_BESIDE = _POINTS // 2 - 1
# Columns that may vanish by symmetry. The other columns are means of squares, which are ≥ 0.
SIGNED = [0, 2, 7, 8, 9]
_LOWEST = np.where(np.isin(np.arange(11), SIGNED), -np.inf, 0.0)


@dataclass(frozen=True, eq=False)
class MomentTable:
    """An activation with its Gaussian moments over √q.

    Attributes:
      name, function, kinks: those of the activation.
      at_zero: φ(0).
      kink_at_zero: (φ′(0+) − φ′(0−))/√(2π), which a kink at 0 adds to E d/√q (d = φ − φ(0)) and to
        E z φ′.
      slope_jumps: True if φ or φ′ jumps anywhere.
      jump: a point where φ jumps; None if there is none.
      unit: 1, or for a steep φ the power of two on whose scale φ curves near 0.
      values: ``(nodes, 11)``: (E d/√q − kink_at_zero)/√q; E dᵏ/√qᵏ for k = 2, 3, 4; E φ′²; E φ′⁴;
        E φ″²; E z d φ′/√q; (E z φ′ − kink_at_zero)/√q; E dᵏφ′²/√qᵏ for k = 1, 2. A column is NaN
        from the first √q at which it is not resolved.
      beyond: ``(4, 11)``, p, A, B and C: beyond the last node a column is √qᵖ (A + B/√q + C/q).
    """

    name: str
    function: Callable[[Array], Array]
    kinks: tuple[float, ...]
    at_zero: float
    kink_at_zero: float
    slope_jumps: bool
    jump: float | None
    unit: float
    values: np.ndarray
    beyond: np.ndarray

    def nodes(self) -> np.ndarray:
        """√q at the nodes, ascending from 0."""
        return nodes(self.unit)

    def second(self, mean: Array, square: Array) -> Array:
        """E φ² from E d and E d²; E d is not read if φ(0) = 0."""
        zero = self.at_zero
        return zero**2 + 2 * zero * mean + square if zero else square

    def seconds(self) -> tuple[np.ndarray, np.ndarray]:
        """√q at every fourth node and at decades beyond the last one, and E φ² there."""
        s, far = self.nodes()[::4], _LARGEST * 10.0 ** np.arange(1, 13)
        power, limit, first, second = self.beyond[:, :2]
        with np.errstate(over="ignore", invalid="ignore"):
            outside = far[:, None] ** power * (
                limit + (first + second / far[:, None]) / far[:, None]
            )
        s = np.concatenate([s, far])
        mean, square = np.concatenate([self.values[::4, :2], outside]).T * s**2
        return s, np.asarray(self.second(self.kink_at_zero * s + mean, square))

    def rows(self, s: Array) -> Array:
        """The columns at s = √q, ``(…, 11)``, by Lagrange interpolation through twelve nodes."""
        xp, (nodes, values) = namespace(s), self._grid
        x = xp.minimum(s, _LARGEST) / (self.unit * _SCALE)
        # This is arcsinh x for x ≥ 0. Only its absolute error matters, and the log compiles faster.
        place = xp.log(x + xp.sqrt(x**2 + 1)) / _STEP
        below = xp.clip(xp.floor(place).astype(np.int32), 0, len(self.values) - 2)
        # In float32 the distance from the node below keeps all digits; the distance from 0 cannot.
        # arcsinh x − arcsinh node = arcsinh(x√(node² + 1) − node√(x² + 1)), without cancellation:
        node = xp.asarray(nodes, s.dtype)[below]
        across = x * xp.sqrt(node**2 + 1) + node * xp.sqrt(x**2 + 1)
        tiny = np.finfo(s.dtype).tiny  # At 0 numerator and denominator vanish; the quotient is 1.
        distance = (x - node) * ((x + node + tiny) / (across + tiny))
        distance = xp.log1p(distance + distance**2 / (1 + xp.sqrt(distance**2 + 1))) / _STEP
        weights = lagrange(distance + _BESIDE, _POINTS)
        near = xp.asarray(values, s.dtype)[below[..., None] + np.arange(_POINTS)]
        lowest = xp.asarray(_LOWEST, s.dtype)
        inside = (weights[..., None] * near).sum(-2)
        # Interpolation error must not make a mean of squares negative near √q = 0. (Not maximum:
        # JAX 0.12's compiler makes the maximum of NaN and 0 a 0 here.)
        inside = xp.where(inside < lowest, lowest, inside)
        power, limit, first, second = xp.asarray(self.beyond, s.dtype)
        far = xp.maximum(s, _LARGEST)[..., None]
        outside = xp.exp(power * xp.log(far)) * (limit + (first + second / far) / far)
        columns: Array = xp.where(s[..., None] > _LARGEST, outside, inside)
        return columns

    @functools.cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """√q/(unit · SCALE) at the nodes, and ``values`` with extrapolated rows at both ends."""
        return self.nodes() / (self.unit * _SCALE), extrapolated(self.values, _POINTS)


def nodes(unit: float) -> np.ndarray:
    """√q at the nodes of a table with this unit, ascending from 0."""
    count = math.ceil(math.asinh(_LARGEST / (unit * _SCALE)) / _STEP - 1e-6) + 1
    return unit * _SCALE * np.sinh(_STEP * np.arange(count))
