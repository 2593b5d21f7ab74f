"""Gaussian moments of an activation over √q, tabulated once in float64, read by interpolation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.activations import ActivationLike, elementwise
from jinit.activations import get as get_activation
from jinit.quadrature import find_kinks, in_float64
from jinit.typing import Array

# √q = SCALE sinh(x): fine near 0, where x = √q / SCALE, and logarithmic beyond.
_SCALE, _LARGEST, _POINTS = 0.25, 1000.0, 641
_STEP = math.asinh(_LARGEST / _SCALE) / (_POINTS - 1)
# The value at 0 of the polynomial through the next six points; there, d/√q would be 0/0.
_AT_ZERO = np.array([[6.0, -15.0, 20.0, -15.0, 6.0, -1.0]])
# Π (j − k) over k ≠ j: what each Lagrange polynomial of six points is divided by.
_LAGRANGE = np.array([math.prod(j - k for k in range(6) if k != j) for j in range(6)], float)
# Two Gauss–Legendre orders that differ by more have not resolved the activation.
_RESOLVED = 1e-7


@dataclass(frozen=True, eq=False)
class Table:
    """An activation with its moments over √q.

    Attributes:
      name, function, kinks: of the activation.
      at_zero: φ(0).
      bends: whether φ′ jumps somewhere.
      jump: where φ itself jumps; None: nowhere.
      values: ``(points, 11)`` over x, √q = SCALE sinh(x): E dᵏ/√qᵏ for d = φ − φ(0) and k = 1 … 4,
        E φ′², E φ′⁴, E φ″², E z d φ′/√q, E z φ′, E dᵏφ′²/√qᵏ for k = 1, 2.
      beyond: ``(3, 11)``, p, A and B: past the table a column goes on as √qᵖ (A + B/√q).
    """

    name: str
    function: Callable[[Array], Array]
    kinks: tuple[float, ...]
    at_zero: float
    bends: bool
    jump: float | None
    values: np.ndarray
    beyond: np.ndarray

    @staticmethod
    def nodes() -> np.ndarray:
        """√q at the points of the table."""
        return _SCALE * np.sinh(_STEP * np.arange(_POINTS))

    def second(self) -> np.ndarray:
        """E φ² at the points of the table."""
        s = self.nodes()
        square: np.ndarray = self.values[:, 1] * s**2
        return self.at_zero**2 + 2 * self.at_zero * self.values[:, 0] * s + square

    def rows(self, s: Array) -> Array:
        """The columns at s = √q, ``(…, 11)``: Lagrange interpolation through six points."""
        place = jnp.arcsinh(jnp.minimum(s, _LARGEST) / _SCALE) / _STEP
        first, weights = lagrange(place, _POINTS)
        values = jnp.asarray(self.values, s.dtype)
        near = values[first[..., None] + jnp.arange(6)]
        inside = jnp.einsum("...k,...kc->...c", weights, near)
        power, limit, slope = jnp.asarray(self.beyond, s.dtype)
        far = jnp.maximum(s, _LARGEST)[..., None]
        return jnp.where(s[..., None] > _LARGEST, far**power * (limit + slope / far), inside)


def lagrange(place: Array, points: int) -> tuple[Array, Array]:
    """The first of six neighbours of each place on a grid 0 … points − 1, and their weights.

    >>> first, weights = lagrange(jnp.asarray(10.0), 20)
    >>> int(first), abs(weights).tolist()
    (8, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    """
    first = jnp.clip(jnp.floor(place).astype(jnp.int32) - 2, 0, points - 6)
    apart = (place - first)[..., None] - jnp.arange(6, dtype=place.dtype)
    # Every weight is a product over the other five: the node's own factor is 1.
    factors = jnp.where(np.eye(6, dtype=bool), 1.0, apart[..., None, :])
    return first, factors.prod(-1) / jnp.asarray(_LAGRANGE, place.dtype)


def table(activation: ActivationLike) -> Table:
    """The moments of an activation, made at the first call and kept.

    Raises:
      ValueError: an unknown name, an activation that is not finite at 0. TypeError: not
        elementwise.

    >>> table("relu").kinks
    (0.0,)
    """
    if isinstance(activation, str):
        # Two activations of one name are the same function, but not the same object.
        return _named(get_activation(activation).name)
    return _table(activation)


@functools.lru_cache(64)
def _named(name: str) -> Table:
    return _table.__wrapped__(get_activation(name))


@functools.lru_cache(64)
def _table(activation: ActivationLike) -> Table:
    found = elementwise(activation)
    kinks = find_kinks(found.function) if found.kinks is None else found.kinks
    return in_float64(_tabulated, found.name, found.function, kinks)


def _tabulated(name: str, function: Callable[[Array], Array], kinks: tuple[float, ...]) -> Table:
    s = Table.nodes()
    # Whether φ and φ′ step at a kink shows at two points close by.
    near = [np.asarray(kinks) + side for apart in (1e-9, 1e-6) for side in (apart, -apart)]
    (value, slope), (coarse, fine) = _moments_at(
        function, kinks, s[1:], (16, 24), np.concatenate([[0.0], *near])
    )
    at_zero = float(value[0])
    if not math.isfinite(at_zero):
        raise errors.refusal(
            f"{name}(0)", at_zero, "a finite number", "use an activation that is defined there"
        )
    (right, left, *_), (*_, rising, falling) = (x[1:].reshape(4, -1) for x in (value, slope))
    jumps = [k for k, step in zip(kinks, abs(right - left), strict=True) if step > 1e-6]
    bends = bool(jumps) or bool((abs(rising - falling) > 1e-4).any())
    coarse, fine = (np.concatenate([_AT_ZERO @ each[:6], each]) for each in (coarse, fine))
    size = np.maximum(np.abs(fine), 1e-30)
    with np.errstate(invalid="ignore"):
        unresolved = ~(np.abs(coarse - fine) <= _RESOLVED * np.maximum(size, 1e-9 * size[:, 4:5]))
    unresolved = unresolved[:, [1, 3, 4]].any(1)
    if unresolved.any():
        fine[np.argmax(unresolved) :] = np.nan
    return Table(
        name, function, kinks, at_zero, bends, next(iter(jumps), None), fine, _beyond(s, fine)
    )


def _beyond(s: np.ndarray, values: np.ndarray) -> np.ndarray:
    """p, A and B of s^p (A + B/s) through the last point of each column and one at half its s."""
    half = int(np.searchsorted(s, s[-1] / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.log(values[-1] / values[half]) / math.log(s[-1] / s[half])
        # A column that is zero by symmetry is rounding error, and has no power.
        power = np.where(np.isfinite(power) & (np.abs(values[-1]) > 1e-14), np.round(power), 0.0)
        ends = values[[half, -1]] / s[[half, -1], None] ** power
    slope = (ends[0] - ends[1]) / (1 / s[half] - 1 / s[-1])
    return np.stack([power, ends[1] - slope / s[-1], slope])


def _moments_at(
    function: Callable[[Array], Array],
    kinks: tuple[float, ...],
    s: np.ndarray,
    orders: tuple[int, ...],
    points: np.ndarray,
) -> tuple[tuple[np.ndarray, np.ndarray], list[np.ndarray]]:
    """φ and φ′ at points, 0 first, and the columns at each s by rules of these orders."""
    bends = np.concatenate([kinks, *[(-(2.0**k), 2.0**k) for k in range(-1, 10)], [0.0]])
    edges = np.concatenate(
        [np.broadcast_to(np.arange(-24, 25) / 2, (len(s), 49)), bends / s[:, None]], 1
    )
    edges = np.sort(np.clip(edges, -12, 12), 1)
    centre, half = (edges[:, 1:] + edges[:, :-1]) / 2, (edges[:, 1:] - edges[:, :-1]) / 2

    def first(x: Array) -> tuple[Array, Array]:
        return jax.jvp(function, (x,), (jnp.ones_like(x),))

    @jax.jit
    def sums(s: Array, z: Array, w: Array) -> tuple[tuple[Array, Array], Array]:
        ends, x = first(jnp.asarray(points, s.dtype)), s[:, None] * z
        (value, slope), (_, curvature) = jax.jvp(first, (x,), (jnp.ones_like(x),))
        d = (value - ends[0][0]) / s[:, None]
        powers = [d, d**2, d**3, d**4, slope**2, slope**4, curvature**2, z * d * slope, z * slope]
        powers += [d * slope**2, (d * slope) ** 2]
        # One reduction of all, which computes φ once.
        columns = jax.lax.reduce(
            [w * power for power in powers],
            [np.zeros((), s.dtype)] * len(powers),
            lambda one, other: [a + b for a, b in zip(one, other, strict=True)],
            (1,),
        )
        return ends, jnp.stack(columns, 1)

    found = []
    for order in orders:
        nodes, weights = np.polynomial.legendre.leggauss(order)
        # One program for all rules: nodes that only fill up weigh nothing.
        filling = max(orders) - order
        nodes, weights = np.append(nodes, nodes[:filling]), np.pad(weights, (0, filling))
        z = (centre[..., None] + half[..., None] * nodes).reshape(len(s), -1)
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        w = (half[..., None] * weights).reshape(len(s), -1) * density
        ends, columns = sums(s, z, w)
        found.append(np.array(columns))
    return (np.asarray(ends[0]), np.asarray(ends[1])), found


def floating(x: Any) -> Array:
    """As an array of floats; whole numbers take JAX's default float dtype.

    >>> str(floating(2).dtype)
    'float32'
    """
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))
