"""Tabulates the Gaussian moments of an activation over √q, once per activation, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._float64 import in_float64
from jinit._quadrature import find_kinks, merged
from jinit.activations import _BUILT_IN, Activation, ActivationLike, check_alike, elementwise
from jinit.activations import get as get_activation
from jinit.engine._described import described
from jinit.engine._traced import Recall, Signature, Traced
from jinit.theory._table import SIGNED, MomentTable, nodes
from jinit.typing import Array

# Weights that extrapolate the values at the next six nodes to the node 0.
_TOWARDS_ZERO = np.array([6.0, -15.0, 20.0, -15.0, 6.0, -1.0])
# Two Gauss–Legendre rules differ in order and reach (in units of √q). Where their results differ by
# more than _RESOLVED, the activation varies too fast for them, or mass lies beyond their reach.
_RESOLVED, _REACH, _SHORTER = 1e-7, 12.0, 10.0
# For each column that may vanish by symmetry, the two columns (means of squares) that bound it by
# Cauchy–Schwarz. A column that vanishes has rounding errors relative to this bound.
_BOUNDS = [[1, 1], [1, 3], [1, 4], [4, 4], [10, 4]]
# Points at which φ must not be NaN.
_ORDINARY = np.linspace(-8.1, 8.1, 17)
# An activation has unit 1 if, for |z| < _STRAIGHT, φ′ changes by less than _CHANGE of its largest
# absolute value.
_STRAIGHT, _CHANGE = 0.25, 0.3


# By what an activation reads: of a user's, the trace says whether it still computes the same.
_KEPT = Recall[MomentTable](each=32)


def moment_table(activation: ActivationLike) -> MomentTable:
    """The table of an activation, made at the first call and kept.

    A function of the user is traced at each call, because what it reads may have changed.

    Raises:
      ValueError: an unknown name, an activation that is not finite at 0 or NaN elsewhere.
      TypeError: the activation is not elementwise.
    """
    phi = get_activation(activation)
    known = described(phi)
    if known is None:
        return in_float64(_of_users, elementwise(phi))
    table = _KEPT.find(known, ())
    if table is None:
        # Built-in activations list their kinks and have unit 1.
        listed = phi.kinks is not None and phi.name.partition("(")[0] in _BUILT_IN
        table = _made(elementwise(phi), 1.0 if listed else None)
        _KEPT.keep(known, (), table)
    return table


def _of_users(phi: Activation) -> MomentTable:
    """The table of an activation that may have changed since the last call."""
    key = phi.name, tuple(phi.kinks or ()), phi.kinks is None
    traced = Traced(phi.function)
    traced.code(Signature.of((jnp.zeros(3),), {}))
    table = _KEPT.find(key, (traced,))
    # Programs call the function of the table later; another function of this trace may differ then.
    if table is not None and table.function is not phi.function:
        again = _KEPT.find(key, (Traced(table.function),))
        table = table if again is table else None
    if table is None:
        table = _made(phi)
        _KEPT.keep(key, (traced,), table)
    return table


def _made(phi: Activation, unit: float | None = None) -> MomentTable:
    """The table of an activation, whose unit is found if it is not given."""
    unit, kinks = unit or in_float64(_unit, phi.function), phi.kinks
    if kinks is None:  # a registered activation need not list its kinks
        kinks = find_kinks(phi.function)
        near = find_kinks(lambda z: phi.function(unit * z) / unit) if unit < 1 else ()
        kinks = merged([*kinks, *(unit * kink for kink in near)], 1e-5 * unit)
    return in_float64(_tabulated, phi.name, phi.function, kinks, unit)


def _unit(function: Callable[[Array], Array]) -> float:
    """1, or for a steeper activation the power of two on whose scale φ curves near 0."""
    distance = 2.0 ** np.arange(-20, 0.25, 0.25)
    x = np.concatenate([[1e-12], distance, [-1e-12], -distance]).reshape(2, -1)
    slope = np.asarray(jax.jvp(function, (jnp.asarray(x),), (jnp.ones(x.shape),))[1])
    changes = np.abs(slope[:, 1:] - slope[:, :1]).max(0) > _CHANGE * np.abs(slope).max()
    first = distance[changes].min(initial=1.0)
    return 2.0 ** min(math.floor(math.log2(first / _STRAIGHT)), 0)


def _tabulated(
    name: str, function: Callable[[Array], Array], kinks: tuple[float, ...], unit: float
) -> MomentTable:
    s = nodes(unit)
    # A point on either side of each kink shows whether φ or φ′ jumps there.
    beside = [np.asarray(kinks) + side for side in (3e-6, -3e-6)]
    points = np.concatenate([[0.0, 1e-12, -1e-12], *beside, _ORDINARY])
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
    value_jumps, slope_jumps = (abs(x[0] - x[1]) > 1e-4 for x in sides)
    jump = next((kink for kink, jumps in zip(kinks, value_jumps, strict=True) if jumps), None)
    kink_at_zero = float(slope[1] - slope[2]) / math.sqrt(2 * math.pi) if 0.0 in kinks else 0.0
    for columns in (coarse, fine):
        columns[:, [0, 8]] = (columns[:, [0, 8]] - kink_at_zero) / s[1:, None]
    # A column is NaN from the first √q at which the two rules differ.
    size = _sizes(s[1:], unit, fine, at_zero)
    with np.errstate(invalid="ignore"):
        differ = ~(np.abs(coarse - fine) <= _RESOLVED * size)
    differ[:, SIGNED] |= differ[:, _BOUNDS].any(-1)
    fine[np.maximum.accumulate(differ, 0)] = np.nan
    # A column is NaN at √q = 0 if it does not tend to its limit there.
    limit = _limits(*slope[1:3], *curvature[1:3])
    tends = np.abs(_TOWARDS_ZERO @ fine[:6] - limit) <= 1e-3 * size[:6].max(0)
    fine = np.concatenate([np.where(tends, limit, np.nan)[None], fine])
    return MomentTable(
        name=name,
        function=function,
        kinks=kinks,
        at_zero=at_zero,
        kink_at_zero=kink_at_zero,
        slope_jumps=jump is not None or bool(slope_jumps.any()),
        jump=jump,
        unit=unit,
        values=fine,
        beyond=_beyond(s, unit, fine),
    )


def _check_values(name: str, points: np.ndarray, value: np.ndarray, alone: np.ndarray) -> None:
    """Checks that φ is not NaN, and that its value at a point does not depend on other points."""
    check_alike(name, value, alone)
    if np.isnan(value).any():
        raise errors.refusal(
            f"{name}({points[np.isnan(value)][-1]:g})",
            "NaN",
            "a number for every z",
            "use an activation that is defined on both sides of 0",
        )


def _limits(right: float, left: float, curvature_right: float, curvature_left: float) -> np.ndarray:
    """The columns as √q → 0, from φ′ and φ″ on either side of 0."""
    square, fourth = (right**2 + left**2) / 2, (right**4 + left**4) / 2
    # Half-line integrals of |z|³ and |z|.
    odd, curvature = right**3 - left**3, (curvature_right + curvature_left) / 2
    first, third = odd / math.sqrt(2 * math.pi), odd * math.sqrt(2 / math.pi)
    squared = (curvature_right**2 + curvature_left**2) / 2
    return np.array(
        [curvature / 2, square, third, 3 * fourth, square, fourth, squared, square, curvature,
         first, fourth]
    )  # fmt: skip


def _sizes(s: np.ndarray, unit: float, values: np.ndarray, at_zero: float) -> np.ndarray:
    """The size of each column at each √q; errors are relative to this size."""
    # Values far below the largest at √q ≤ unit are tails of the distribution or rounding errors of
    # φ(0).
    ordinary = np.nan_to_num(np.abs(values[s <= unit])).max(0)
    s = s[:, None]
    noise = np.zeros_like(ordinary)
    noise[1], noise[3] = at_zero**2, at_zero**4
    powers = np.array([0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0])
    floor = np.maximum(1e-10 * ordinary, noise * (2e-8 / s) ** powers)
    size = np.maximum(np.abs(values), np.maximum(floor, 1e-300))
    roots = np.sqrt(size[:, _BOUNDS])
    roots[:, [0, 3], 1] = 1 / s
    size[:, SIGNED] = roots.prod(-1)
    return size


def _beyond(s: np.ndarray, unit: float, values: np.ndarray) -> np.ndarray:
    """p, A, B and C of s^p (A + B/s + C/s²) through the last node s and the nodes near s/2, s/4."""
    at = [*(int(np.searchsorted(s, s[-1] / divisor)) for divisor in (4, 2)), -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.round(np.log(values[-1] / values[at[1]]) / math.log(s[-1] / s[at[1]]))
        power = np.where(np.isfinite(power), power, 0.0)
    terms = np.linalg.solve((1 / s[at, None]) ** np.arange(3), values[at] / s[at, None] ** power)
    # A column that vanishes by symmetry holds rounding errors; its extrapolation is 0.
    vanishes = np.abs(values[-1]) < 1e-12 * _sizes(s[1:], unit, values[1:], 0.0)[-1]
    return np.concatenate([power[None], np.where(vanishes, 0.0, terms)])


def _moments_at(
    function: Callable[[Array], Array],
    kinks: tuple[float, ...],
    s: np.ndarray,
    unit: float,
    orders: tuple[int, ...],
    points: np.ndarray,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Evaluates φ at ``points``, and the columns at ``s``, by one quadrature rule per order.

    Returns φ, φ′, φ″ and φ computed point by point, at the points, of which the first is 0; and a
    list with one array of columns ``(len(s), 11)`` per order. Only the rule of the highest order
    has the full reach.
    """
    powers = 2.0 ** np.arange(math.log2(unit) - 1, 10)
    breaks = np.concatenate([kinks, -powers, [0.0], powers])
    edges = np.concatenate(
        [np.broadcast_to(np.arange(-24, 25) / 2, (len(s), 49)), breaks / s[:, None]], 1
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
        # A single reduction for all columns evaluates φ only once.
        columns = jax.lax.reduce(
            [w * term for term in terms],
            [np.zeros((), s.dtype)] * len(terms),
            lambda one, other: [a + b for a, b in zip(one, other, strict=True)],
            (1,),
        )
        return ends, jnp.stack(columns, 1)

    by_rule = []
    for order in orders:
        rule_nodes, weights = np.polynomial.legendre.leggauss(order)
        # Padding with nodes of weight 0 lets all rules share one program.
        padding = max(orders) - order
        rule_nodes = np.append(rule_nodes, rule_nodes[:padding])
        weights = np.pad(weights, (0, padding))
        z = (centre[..., None] + half[..., None] * rule_nodes).reshape(len(s), -1)
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        w = (half[..., None] * weights).reshape(len(s), -1) * density
        if order != max(orders):
            w = np.where(np.abs(z) < _SHORTER, w, 0.0)
        ends, columns = sums(s, z, w)
        by_rule.append(np.array(columns))
    return [np.asarray(end) for end in ends], by_rule
