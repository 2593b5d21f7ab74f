"""Finds the fixed points of lengths and angles of an infinitely wide network, in JAX or NumPy.

The functions take the moment table of an activation and arrays, and do not check them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jinit.theory._moments import Moments, read_moments
from jinit.theory._namespace import jit_unless_numpy, namespace, scan, stop_gradient
from jinit.theory._pair import PairReader, pair_moments
from jinit.theory._table import MomentTable
from jinit.typing import Array

# q* = 0 and q* = ∞ are limits: maps are evaluated at these q instead (_LARGE by dtype itemsize).
_SMALL, _LARGE = 1e-12, {4: 1e12, 8: 1e30}
# Steps of safeguarded Newton iterations; convergence is quadratic once the bracket is narrow.
_NEWTON = 12
_Bracket: TypeAlias = tuple[Array, Array, Array]
_Search: TypeAlias = tuple[Array, Array, Array, Array]
_GapArguments: TypeAlias = tuple[Array, Array, Moments, Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DepthScales:
    """The fixed point of an infinitely wide network and the depths over which it is approached.

    All arrays have one shape.

    Attributes:
      q_star: variance of deep layers' pre-activations; 0 if the signal dies, inf if it grows
        without bound.
      c_star: correlation of deep layers' pre-activations of two inputs, starting from c = 0.
      chi_1: factor by which a squared gradient grows per layer.
      xi_q: layers in which the distance to q_star falls by a factor e.
      xi_c: layers in which the distance to c_star falls by a factor e; inf on the edge of chaos.
      xi_gradient: 1/ln χ₁, layers in which a squared gradient grows by a factor e; negative if
        gradients vanish, −inf if χ₁ = 1. NaN if q_star is inf and χ₁ tends to 1 only as lengths
        grow (softplus and gelu at σ_w² = 2): gradients then change as a power of the depth.
      trainable_depth: 6 ξ_c (Schoenholz et al. 2017, section 5), in layers; 6/|ln χ₁| if q_star is
        0 or inf, NaN if xi_gradient is NaN there.
    """

    q_star: Array
    c_star: Array
    chi_1: Array
    xi_q: Array
    xi_c: Array
    xi_gradient: Array
    trainable_depth: Array


def depth_formula(scales: DepthScales) -> str:
    """The formula of ``trainable_depth`` at one point.

    >>> from jinit import theory
    >>> [depth_formula(theory.depth_scales("relu", w)) for w in (1.0, 2**0.5)]
    ['6/|ln chi_1|', '6 xi_c']
    """
    return "6 xi_c" if 0 < float(scales.q_star) < np.inf else "6/|ln chi_1|"


@jit_unless_numpy((0,))
def depth_scales_from_table(
    table: MomentTable, sigma_w: Array, sigma_b: Array, start: Array
) -> DepthScales:
    """:func:`jinit.theory.depth_scales` from a table."""
    q = solve_length(table, sigma_w, sigma_b, start)
    gap, slope = solve_gaps(table, sigma_w, sigma_b, q)
    return depth_scales_at(table, namespace(q).broadcast_to(sigma_w, q.shape), q, gap, slope)


@jit_unless_numpy((0,))
def solve_gaps(table: MomentTable, sigma_w: Array, sigma_b: Array, q: Array) -> tuple[Array, Array]:
    """:func:`solve_gap` by integration, at every entry of arrays that broadcast."""
    solve = functools.partial(solve_gap, functools.partial(pair_moments, table), table)
    solve = namespace(q).vectorize(solve, signature="(),(),()->(),()")
    gap, slope = solve(sigma_w, sigma_b, q)
    return gap, slope


def solve_gap(
    read_pair: PairReader, table: MomentTable, sigma_w: Array, sigma_b: Array, q: Array
) -> tuple[Array, Array]:
    """1 − c* and C′(c*) at one point; ``read_pair`` is :func:`pair_moments` of this table.

    A layer maps the gap 1 − c to gap · h(gap), where h = σ_w² q · ratio/V(q) decreases with the
    gap. Newton's method inside a bracket solves h = 1.
    """
    xp = namespace(q)
    length, q = q, xp.clip(q, _SMALL, _LARGE[q.dtype.itemsize])
    at = read_moments(table, q)
    # Without biases the angle does not depend on σ_w, not even at σ_w = 0.
    biases = sigma_b**2 / xp.maximum(sigma_w**2, 1e-30)
    factor = q / (at.second + biases)
    # At q = ∞, an activation that is linear at infinity keeps the angle of nearly parallel inputs.
    linear = xp.isinf(length) & (table.beyond[0, 1] == 0)
    at_one = xp.where(linear, 1.0, factor * at.slope_second)
    # Rounding errors of the table must not turn a critical point into a chaotic one.
    chaotic = at_one > 1 + (1e-9 if q.dtype == np.float64 else 1e-4)
    # The custom derivative rule would turn NumPy arrays into JAX arrays.
    search = _search_gap if xp is np else _gap
    gap, slope = search(read_pair, chaotic, factor, at, xp.sqrt(q))
    unresolved = xp.where(xp.isnan(at_one), np.nan, 0.0)
    return xp.where(chaotic, gap, unresolved), xp.where(chaotic, slope, at_one)


def _search_gap(
    read_pair: PairReader, chaotic: Array, factor: Array, at: Moments, s: Array
) -> tuple[Array, Array]:
    """The gap at which factor · ratio is 1, and factor · E φ′φ′ there; ½ and 0 if not chaotic."""
    xp = namespace(s)

    def step(state: _Search, _: None) -> tuple[_Search, None]:
        low, high, gap, _slope = state
        ratio, slope = (factor * value for value in read_pair(at, s, gap))
        low, high = xp.where(ratio > 1, gap, low), xp.where(ratio > 1, high, gap)
        newton = gap * (1 - (ratio - 1) / xp.minimum(slope - ratio, -1e-300))
        inside = (newton > low) & (newton < high)
        # Gaps span decades, so the bracket is halved at its geometric mean.
        return (low, high, xp.where(inside, newton, xp.sqrt(low * high)), slope), None

    tiny, one = xp.full_like(s, np.finfo(s.dtype).eps), xp.ones_like(s)
    # The last step computes the slope at the gap of the step before, which has converged.
    (_, _, gap, slope), _ = scan(step, (tiny, one, one / 2, one), None, length=_NEWTON + 1)
    return xp.where(chaotic, gap, 0.5), xp.where(chaotic, slope, 0.0)


_gap = jax.custom_jvp(_search_gap, nondiff_argnums=(0,))


@_gap.defjvp
def _gap_jvp(
    read_pair: PairReader, primals: _GapArguments, tangents: _GapArguments
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Differentiates the solution by the implicit function theorem, not through the search."""
    gap, slope = _gap(read_pair, *primals)

    def at_gap(factor: Array, at: Moments, s: Array, gap: Array) -> tuple[Array, Array]:
        ratio, slope = read_pair(at, s, gap)
        return factor * ratio, factor * slope

    point, zeros = (*primals[1:], gap), jax.tree.map(jnp.zeros_like, primals[1:])
    _, by_arguments = jax.jvp(at_gap, point, (*tangents[1:], jnp.zeros_like(gap)))
    _, by_gap = jax.jvp(at_gap, point, (*zeros, jnp.ones_like(gap)))
    gap_tangent = -by_arguments[0] / by_gap[0]
    return (gap, slope), (gap_tangent, by_arguments[1] + by_gap[1] * gap_tangent)


def depth_scales_at(
    table: MomentTable, sigma_w: Array, q: Array, gap: Array, slope: Array
) -> DepthScales:
    """Depth scales at a fixed point q*, 1 − c* with slope C′(c*); arrays of one shape."""
    xp = namespace(q)
    at = read_moments(table, xp.clip(q, _SMALL, _LARGE[q.dtype.itemsize]))
    growth = sigma_w**2 * at.growth
    chi_1 = sigma_w**2 * at.slope_second
    interior = (q > 0) & xp.isfinite(q)
    xi_c = _depth(slope)
    xi_gradient = -_depth(chi_1)
    # If χ₁ tends to 1 as lengths diverge, gradients change as a power of the depth, and there is no
    # depth scale.
    fades = abs(table.beyond[2, 4]) > 1e-4 * abs(table.beyond[1, 4])
    fades = fades & xp.isinf(q) & (xp.abs(chi_1 - 1) < 1e-6)
    xi_gradient = xp.where(fades, np.nan, xi_gradient)
    return DepthScales(
        q_star=q,
        c_star=1 - gap,
        chi_1=chi_1,
        xi_q=xp.where(fades, np.inf, _depth(growth)),
        xi_c=xi_c,
        xi_gradient=xi_gradient,
        trainable_depth=6 * xp.where(interior, xi_c, xp.abs(xi_gradient)),
    )


def _depth(slope: Array) -> Array:
    """−1/ln |slope|; inf at 1, negative if the fixed point repels."""
    xp, critical = namespace(slope), _is_one(slope)
    # ½ replaces a critical slope inside the log: otherwise the derivative of the branch that
    # where() does not select would be NaN.
    depth: Array = xp.where(critical, np.inf, -1 / xp.log(xp.abs(xp.where(critical, 0.5, slope))))
    return depth


def _is_one(x: Array) -> Array:
    return abs(x - 1) < (1e-10 if x.dtype == np.float64 else 1e-5)


@jit_unless_numpy((0,))
def solve_length(table: MomentTable, sigma_w: Array, sigma_b: Array, start: Array) -> Array:
    """:func:`jinit.theory.length_fixed_point` from a table."""
    solve = namespace(start).vectorize(functools.partial(_solve_length, table))
    q: Array = solve(sigma_w, sigma_b, start)
    return q


def _solve_length(table: MomentTable, sigma_w: Array, sigma_b: Array, start: Array) -> Array:
    xp, (roots, seconds) = namespace(start), table.seconds()
    # Nodes at which E φ² overflows the dtype are left out.
    overflows = np.abs(seconds) >= np.finfo(start.dtype).max
    reach = int(np.argmax(overflows)) if overflows.any() else len(roots)
    nodes, at_nodes = (xp.asarray(x[:reach], start.dtype) for x in (roots**2, seconds))
    at_nodes = sigma_w**2 * at_nodes + sigma_b**2 - nodes
    at_start = sigma_w**2 * read_moments(table, start).second + sigma_b**2 - start
    up = at_start > 0
    # An upward search brackets q* by the first node with V(q) ≤ q, a downward search by the last
    # node with V(q) ≥ q. If V is NaN at that node, q* becomes NaN too.
    rounding = (1e-9 if start.dtype == np.float64 else 1e-6) * nodes
    # Beyond the table V is a power law. It is less accurate and can lose growth by a constant.
    rounding = xp.where(roots[:reach] > table.nodes()[-1], 100 * rounding, rounding)
    above = (nodes > start) & ~(at_nodes > -rounding)
    below = (nodes < start) & ~(at_nodes < 0)
    crosses = xp.where(up, above.any(), below.any())
    at_or_over, at_or_under = xp.argmax(above), len(nodes) - 1 - xp.argmax(below[::-1])
    last_up = xp.where((at_nodes > 0) & (nodes < nodes[at_or_over]), nodes, 0.0).max()
    low = xp.where(up, xp.maximum(last_up, start), nodes[at_or_under])
    next_up = nodes[xp.minimum(at_or_under + 1, len(nodes) - 1)]
    high = xp.where(up, nodes[at_or_over], xp.minimum(next_up, start))

    def newton(q: Array, second: Array, growth: Array) -> tuple[Array, Array]:
        value, slope = sigma_w**2 * second + sigma_b**2 - q, sigma_w**2 * growth - 1
        return value, q - value / stop_gradient(xp.where(slope == 0, 1.0, slope))

    def step(state: _Bracket, _: None) -> tuple[_Bracket, tuple[Array, Array, Array]]:
        low, high, q = state
        at = read_moments(table, q)
        value, following = newton(q, at.second, at.growth)
        low, high = xp.where(value > 0, q, low), xp.where(value > 0, high, q)
        inside = (following >= low) & (following <= high)
        following = xp.where(inside, following, (low + high) / 2)
        return (low, high, following), (q, at.second, at.growth)

    _, steps = scan(step, (low, high, (low + high) / 2), None, length=_NEWTON + 1)
    # Repeating the last step with constant moments gives dq*/dσ by the implicit function theorem.
    _, q = newton(*(stop_gradient(x[-1]) for x in steps))
    # Newton's method ends close to a fixed point at 0, but not exactly there.
    q = xp.where(q < 1e-20, 0.0, q)
    tolerance = 1e-12 if start.dtype == np.float64 else 1e-6
    q = xp.where(crosses, q, xp.where(up, np.inf, 0.0))
    return xp.where(xp.abs(at_start) <= tolerance * start, start, q)
