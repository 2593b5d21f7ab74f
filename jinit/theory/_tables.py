"""Gaussian moments of an activation over √q, tabulated once in float64, read by interpolation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._float64 import in_float64
from jinit._quadrature import find_kinks, merged
from jinit.activations import ActivationLike, check_alike, elementwise
from jinit.activations import get as get_activation
from jinit.theory._interpolation import continued, lagrange
from jinit.theory._namespace import namespace
from jinit.typing import Array

# √q = unit · SCALE sinh(x): fine near 0, where x = √q / (unit · SCALE), and logarithmic beyond.
_SCALE, _LARGEST = 0.25, 1000.0
_STEP = math.asinh(_LARGEST / _SCALE) / 640
# The value at 0 of the polynomial through the next six points.
_TOWARDS_ZERO = np.array([6.0, -15.0, 20.0, -15.0, 6.0, -1.0])
# Points that a column is interpolated through, as many on either side, and how many of them lie
# before the last node that is not larger.
_POINTS = 12
_BESIDE = _POINTS // 2 - 1
# A Gauss–Legendre rule of lower order and shorter reach that differs by more: the activation varies
# faster than the rules resolve, or its mass lies where they do not reach.
_RESOLVED, _REACH, _SHORTER = 1e-7, 12.0, 10.0
# Columns that may vanish by symmetry, and the means of squares that bound each (Cauchy's
# inequality): what is left of one that vanishes is rounding error of that size.
_SIGNED, _BOUNDS = [0, 2, 7, 8, 9], [[1, 1], [1, 3], [1, 4], [4, 4], [10, 4]]
# Where φ has to be a number.
_ORDINARY = np.linspace(-8.1, 8.1, 17)
# φ′ of an activation whose unit is 1 changes by less than a share of its largest value up to here.
_STRAIGHT, _CHANGE = 0.25, 0.3
_LOWEST = np.where(np.isin(np.arange(11), _SIGNED), -np.inf, 0.0)


@dataclass(frozen=True, eq=False)
class Table:
    """An activation with its moments over √q.

    Attributes:
      name, function, kinks: of the activation.
      at_zero: φ(0).
      bend: (φ′(0+) − φ′(0−))/√(2π), what a kink at 0 adds to E φ/√q and to E z φ′.
      bends: whether φ′ jumps somewhere.
      jump: where φ itself jumps; None: nowhere.
      unit: 1, or the power of two on whose scale a steeper φ bends beside 0.
      values: ``(points, 11)`` over x, √q = unit · SCALE sinh(x): (E d/√q − bend)/√q for
        d = φ − φ(0), E dᵏ/√qᵏ for k = 2, 3, 4, E φ′², E φ′⁴, E φ″², E z d φ′/√q,
        (E z φ′ − bend)/√q, E dᵏφ′²/√qᵏ for k = 1, 2; NaN from where a column is not resolved.
      beyond: ``(4, 11)``, p, A, B and C: past the table a column goes on as
        √qᵖ (A + B/√q + C/q).
    """

    name: str
    function: Callable[[Array], Array]
    kinks: tuple[float, ...]
    at_zero: float
    bend: float
    bends: bool
    jump: float | None
    unit: float
    values: np.ndarray
    beyond: np.ndarray

    def nodes(self) -> np.ndarray:
        """√q at the points of the table."""
        return _nodes(self.unit)

    def second(self, mean: Array, square: Array) -> Array:
        """E φ² from E d and E d²; where φ(0) = 0 it does not need to know E d."""
        zero = self.at_zero
        return zero**2 + 2 * zero * mean + square if zero else square

    def seconds(self) -> tuple[np.ndarray, np.ndarray]:
        """√q at every fourth point of the table and at decades beyond it, and E φ² there."""
        s, far = self.nodes()[::4], _LARGEST * 10.0 ** np.arange(1, 13)
        power, limit, first, second = self.beyond[:, :2]
        with np.errstate(over="ignore", invalid="ignore"):
            outside = far[:, None] ** power * (
                limit + (first + second / far[:, None]) / far[:, None]
            )
        s = np.concatenate([s, far])
        mean, square = np.concatenate([self.values[::4, :2], outside]).T * s**2
        return s, np.asarray(self.second(self.bend * s + mean, square))

    def rows(self, s: Array) -> Array:
        """The columns at s = √q, ``(…, 11)``: Lagrange interpolation through twelve points."""
        xp, (nodes, values) = namespace(s), self._grid
        x = xp.minimum(s, _LARGEST) / (self.unit * _SCALE)
        # arcsinh of what is not negative: the absolute error counts, and it compiles faster.
        place = xp.log(x + xp.sqrt(x**2 + 1)) / _STEP
        below = xp.clip(xp.floor(place).astype(np.int32), 0, len(self.values) - 2)
        # Counted from a node float32 has every digit of the distance, counted from 0 few.
        node = xp.asarray(nodes, s.dtype)[below]
        across = x * xp.sqrt(node**2 + 1) + node * xp.sqrt(x**2 + 1)
        tiny = np.finfo(s.dtype).tiny  # Both are 0 at 0, where the quotient is 1.
        apart = (x - node) * ((x + node + tiny) / (across + tiny))
        apart = xp.log1p(apart + apart**2 / (1 + xp.sqrt(apart**2 + 1))) / _STEP
        weights = lagrange(apart + _BESIDE, _POINTS)
        near = xp.asarray(values, s.dtype)[below[..., None] + np.arange(_POINTS)]
        lowest = xp.asarray(_LOWEST, s.dtype)
        inside = (weights[..., None] * near).sum(-2)
        # Means of squares that vanish at √q = 0 do not fall below it by an interpolation's error.
        # (JAX 0.12's compiler makes the maximum of NaN and 0 a 0 here.)
        inside = xp.where(inside < lowest, lowest, inside)
        power, limit, first, second = xp.asarray(self.beyond, s.dtype)
        far = xp.maximum(s, _LARGEST)[..., None]
        outside = xp.exp(power * xp.log(far)) * (limit + (first + second / far) / far)
        found: Array = xp.where(s[..., None] > _LARGEST, outside, inside)
        return found

    @functools.cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """√q/(unit · SCALE) at the points of the table; its rows, continued at both ends."""
        return self.nodes() / (self.unit * _SCALE), continued(self.values, _POINTS)


def _nodes(unit: float) -> np.ndarray:
    points = math.ceil(math.asinh(_LARGEST / (unit * _SCALE)) / _STEP - 1e-6) + 1
    return unit * _SCALE * np.sinh(_STEP * np.arange(points))


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
    try:
        return _table(activation)
    except TypeError:
        if isinstance(activation, Hashable):
            raise
        return _table.__wrapped__(activation)


@functools.lru_cache(64)
def _named(name: str) -> Table:
    found = get_activation(name)
    # Those of the catalogue say where they have kinks, and bend gently.
    return in_float64(_tabulated, found.name, found.function, found.kinks, 1.0)


@functools.lru_cache(64)
def _table(activation: ActivationLike) -> Table:
    found = elementwise(activation)
    unit, kinks = in_float64(_unit, found.function), found.kinks
    if kinks is None:
        kinks = find_kinks(found.function)
        near = find_kinks(lambda z: found.function(unit * z) / unit) if unit < 1 else ()
        kinks = merged([*kinks, *(unit * kink for kink in near)], 1e-5 * unit)
    return in_float64(_tabulated, found.name, found.function, kinks, unit)


def _unit(function: Callable[[Array], Array]) -> float:
    """1, or for a steeper activation the power of two on whose scale it bends beside 0."""
    apart = 2.0 ** np.arange(-20, 0.25, 0.25)
    x = np.concatenate([[1e-12], apart, [-1e-12], -apart]).reshape(2, -1)
    slope = np.asarray(jax.jvp(function, (jnp.asarray(x),), (jnp.ones(x.shape),))[1])
    changes = np.abs(slope[:, 1:] - slope[:, :1]).max(0) > _CHANGE * np.abs(slope).max()
    first = apart[changes].min(initial=1.0)
    return 2.0 ** min(math.floor(math.log2(first / _STRAIGHT)), 0)


def _tabulated(
    name: str, function: Callable[[Array], Array], kinks: tuple[float, ...], unit: float
) -> Table:
    s = _nodes(unit)
    # Whether φ and φ′ step at a kink shows at two points close by.
    near = [np.asarray(kinks) + side for side in (3e-6, -3e-6)]
    points = np.concatenate([[0.0, 1e-12, -1e-12], *near, _ORDINARY])
    (value, slope, curvature, alone), (coarse, fine) = _moments_at(
        function, kinks, s[1:], unit, (16, 24), points
    )
    _check_values(name, points, value, alone)
    at_zero = float(value[0])
    if not math.isfinite(at_zero):
        raise errors.refusal(
            f"{name}(0)", at_zero, "a finite number", "use an activation that is defined there"
        )
    sides = (x[3 : -len(_ORDINARY)].reshape(2, -1) for x in (value, slope))
    steps, turns = (abs(x[0] - x[1]) > 1e-4 for x in sides)
    jump = next((kink for kink, step in zip(kinks, steps, strict=True) if step), None)
    bend = float(slope[1] - slope[2]) / math.sqrt(2 * math.pi) if 0.0 in kinks else 0.0
    for each in (coarse, fine):
        each[:, [0, 8]] = (each[:, [0, 8]] - bend) / s[1:, None]
    # A column is lost from the first √q on at which the rules part.
    size = _sizes(s[1:], unit, fine, at_zero)
    with np.errstate(invalid="ignore"):
        parted = ~(np.abs(coarse - fine) <= _RESOLVED * size)
    parted[:, _SIGNED] |= parted[:, _BOUNDS].any(-1)
    fine[np.maximum.accumulate(parted, 0)] = np.nan
    # And about 0, if it does not tend to its limit there.
    limit = _limits(*slope[1:3], *curvature[1:3])
    tends = np.abs(_TOWARDS_ZERO @ fine[:6] - limit) <= 1e-3 * size[:6].max(0)
    fine = np.concatenate([np.where(tends, limit, np.nan)[None], fine])
    return Table(
        name, function, kinks, at_zero, bend, jump is not None or bool(turns.any()), jump, unit,
        fine, _beyond(s, unit, fine),
    )  # fmt: skip


def _check_values(name: str, points: np.ndarray, value: np.ndarray, alone: np.ndarray) -> None:
    """The function gives a number at ordinary points, and the same one whatever stands beside."""
    check_alike(name, value, alone)
    if np.isnan(value).any():
        raise errors.refusal(
            f"{name}({points[np.isnan(value)][-1]:g})", "NaN", "a number for every z",
            "use an activation that is defined on both sides of 0",
        )  # fmt: skip


def _limits(right: float, left: float, bent_right: float, bent_left: float) -> np.ndarray:
    """The columns as √q → 0, from φ′ and φ″ on either side of 0."""
    square, fourth = (right**2 + left**2) / 2, (right**4 + left**4) / 2
    # E |z|³ and E |z| over half of the line.
    odd, curvature = right**3 - left**3, (bent_right + bent_left) / 2
    first, third = odd / math.sqrt(2 * math.pi), odd * math.sqrt(2 / math.pi)
    squared = (bent_right**2 + bent_left**2) / 2
    return np.array(
        [curvature / 2, square, third, 3 * fourth, square, fourth, squared, square, curvature,
         first, fourth]
    )  # fmt: skip


def _sizes(s: np.ndarray, unit: float, values: np.ndarray, at_zero: float) -> np.ndarray:
    """The size of each column at each √q, against which its errors count."""
    # Far below the value that a column has at √q = 1 it is tails, or rounding errors of φ(0).
    ordinary = np.nan_to_num(np.abs(values[s <= unit])).max(0)
    s = s[:, None]
    noise = np.zeros_like(ordinary)
    noise[1], noise[3] = at_zero**2, at_zero**4
    powers = np.array([0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0])
    floor = np.maximum(1e-10 * ordinary, noise * (2e-8 / s) ** powers)
    size = np.maximum(np.abs(values), np.maximum(floor, 1e-300))
    roots = np.sqrt(size[:, _BOUNDS])
    roots[:, [0, 3], 1] = 1 / s
    size[:, _SIGNED] = roots.prod(-1)
    return size


def _beyond(s: np.ndarray, unit: float, values: np.ndarray) -> np.ndarray:
    """p, A, B and C of s^p (A + B/s + C/s²) through the last point and those at s/2 and s/4."""
    at = [*(int(np.searchsorted(s, s[-1] / part)) for part in (4, 2)), -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.round(np.log(values[-1] / values[at[1]]) / math.log(s[-1] / s[at[1]]))
        power = np.where(np.isfinite(power), power, 0.0)
    terms = np.linalg.solve((1 / s[at, None]) ** np.arange(3), values[at] / s[at, None] ** power)
    # A column that is zero by symmetry is rounding error, and stays zero.
    nothing = np.abs(values[-1]) < 1e-12 * _sizes(s[1:], unit, values[1:], 0.0)[-1]
    return np.concatenate([power[None], np.where(nothing, 0.0, terms)])


def _moments_at(
    function: Callable[[Array], Array],
    kinks: tuple[float, ...],
    s: np.ndarray,
    unit: float,
    orders: tuple[int, ...],
    points: np.ndarray,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """φ, φ′, φ″ and φ of one number alone at points, 0 first; the columns at each s, by rule.

    Every rule but that of the highest order stops at a shorter reach.
    """
    powers = 2.0 ** np.arange(math.log2(unit) - 1, 10)
    bends = np.concatenate([kinks, -powers, [0.0], powers])
    edges = np.concatenate(
        [np.broadcast_to(np.arange(-24, 25) / 2, (len(s), 49)), bends / s[:, None]], 1
    )
    edges = np.sort(np.clip(edges, -_REACH, _REACH), 1)
    centre, half = (edges[:, 1:] + edges[:, :-1]) / 2, (edges[:, 1:] - edges[:, :-1]) / 2

    def first(x: Array) -> tuple[Array, Array]:
        return jax.jvp(function, (x,), (jnp.ones_like(x),))

    def second(x: Array) -> tuple[Array, Array, Array]:
        (value, slope), (_, curvature) = jax.jvp(first, (x,), (jnp.ones_like(x),))
        return value, slope, curvature

    @jax.jit
    def sums(s: Array, z: Array, w: Array) -> tuple[tuple[Array, ...], Array]:
        ends = *second(at := jnp.asarray(points, s.dtype)), jax.vmap(function)(at)
        value, slope, curvature = second(s[:, None] * z)
        d = (value - ends[0][0]) / s[:, None]
        terms = [d, d**2, d**3, d**4, slope**2, slope**4, curvature**2, z * d * slope, z * slope]
        terms += [d * slope**2, (d * slope) ** 2]
        # One reduction of all, which computes φ once.
        columns = jax.lax.reduce(
            [w * term for term in terms],
            [np.zeros((), s.dtype)] * len(terms),
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
        if order != max(orders):
            w = np.where(np.abs(z) < _SHORTER, w, 0.0)
        ends, columns = sums(s, z, w)
        found.append(np.array(columns))
    return [np.asarray(end) for end in ends], found


def floating(x: Any, what: str = "an argument") -> Array:
    """As an array of floats, float32 or wider; whole numbers take JAX's default float dtype.

    Raises:
      TypeError: not numbers.

    >>> str(floating(2).dtype)
    'float32'
    """
    try:
        x = jnp.asarray(x)
    except (TypeError, ValueError):
        raise errors.wrong_type(what, x, "numbers or an array of them", "pass an array") from None
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise errors.wrong_type(what, str(x.dtype), "real numbers", "pass the real part")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(jnp.result_type(float))
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def check_continuous(known: Table, what: str) -> None:
    """φ does not jump.

    Raises:
      ValueError: it does.

    >>> check_continuous(table("relu"), "correlations")
    """
    if known.jump is not None:
        raise errors.refusal(
            f"{what} under {known.name}", f"a jump at {known.jump:g}",
            "a continuous activation: chi_1 is infinite at a jump", "smooth the jump",
        )  # fmt: skip


def check_shapes(**arrays: Any) -> None:
    """Arrays and numbers broadcast against each other.

    Raises:
      ValueError: they do not.

    >>> check_shapes(q=1.0, sigma_w=2.0)
    """
    shapes = tuple(np.shape(value) for value in arrays.values())
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise errors.refusal(
            f"shapes of {', '.join(arrays)}", shapes, "shapes that broadcast",
            f"{next(iter(arrays))}[:, None]",
        ) from None  # fmt: skip
