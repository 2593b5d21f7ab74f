"""Where lengths and angles of an infinitely wide network settle: the searches, on tables."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jinit.theory._moments import Moments, pair, read
from jinit.theory._namespace import compiled, constant, namespace, scan
from jinit.theory._tables import Table
from jinit.typing import Array

# q* = 0 and ∞ stand for limits: maps are evaluated this close to them.
_SMALL, _LARGE = 1e-12, {4: 1e12, 8: 1e30}
# Steps of safeguarded Newton iterations; convergence is quadratic once the bracket is narrow.
_NEWTON = 12
_Bracket: TypeAlias = tuple[Array, Array, Array]
_Search: TypeAlias = tuple[Array, Array, Array, Array]
_PairAt: TypeAlias = Callable[[Moments, Array, Array], tuple[Array, Array]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DepthScales:
    """Where an infinitely wide network settles and how fast; all arrays of one shape.

    Attributes:
      q_star: variance of deep layers' pre-activations; 0 where the signal dies, inf where it grows.
      c_star: correlation of deep layers' pre-activations of two different inputs, from c = 0.
      chi_1: growth of a squared gradient a layer.
      xi_q: layers in which the distance to q_star falls by e.
      xi_c: layers in which the distance to c_star falls by e; inf on the edge of chaos.
      xi_gradient: 1/ln χ₁, layers in which a squared gradient grows by e; negative: it vanishes.
        NaN where q_star is inf and χ₁ tends to 1 only as lengths grow (softplus and gelu at σ_w² =
        2): gradients then change as a power of the depth.
      trainable_depth: 6 ξ_c (Schoenholz et al. 2017, section 5), in layers; 6/|ln χ₁| where q_star
        is 0 or inf, NaN with it.
    """

    q_star: Array
    c_star: Array
    chi_1: Array
    xi_q: Array
    xi_c: Array
    xi_gradient: Array
    trainable_depth: Array


@compiled((0,))
def settled_scales(known: Table, sigma_w: Array, sigma_b: Array, start: Array) -> DepthScales:
    """:func:`depth_scales` from a table that is at hand, unchecked.

    >>> from jinit.theory._tables import table
    >>> round(float(settled_scales(table("relu"), *map(jnp.asarray, (1.0, 1.0, 1.0))).q_star), 5)
    2.0
    """
    q = settled_length(known, sigma_w, sigma_b, start)
    gap, slope = settled_gaps(known, sigma_w, sigma_b, q)
    return scales(known, namespace(q).broadcast_to(sigma_w, q.shape), q, gap, slope)


@compiled((0,))
def settled_gaps(known: Table, sigma_w: Array, sigma_b: Array, q: Array) -> tuple[Array, Array]:
    """:func:`settled_gap` by integration, of arrays of one shape.

    >>> from jinit.theory._tables import table
    >>> gap, _ = settled_gaps(table("tanh"), *(jnp.asarray(x) for x in (2.0, 0.3, 2.5)))
    >>> round(1 - float(gap), 4)
    0.2452
    """
    solve = functools.partial(settled_gap, functools.partial(pair, known), known)
    solve = namespace(q).vectorize(solve, signature="(),(),()->(),()")
    found: tuple[Array, Array] = solve(sigma_w, sigma_b, q)
    return found


def settled_gap(
    pair_at: _PairAt,
    known: Table,
    sigma_w: Array,
    sigma_b: Array,
    q: Array,
) -> tuple[Array, Array]:
    """1 − c* and C′(c*) at one point; ``pair_at`` is ``moments.pair`` of this table.

    The gap obeys gap = gap · h(gap) with h = σ_w² q P/V(q) falling in gap: Newton's method on
    h = 1, inside a bracket.

    >>> from jinit.theory._tables import table
    >>> known = table("tanh")
    >>> point = jnp.asarray(2.0), jnp.asarray(0.5), jnp.asarray(1.0)
    >>> gap, slope = settled_gap(functools.partial(pair, known), known, *point)
    >>> 0 < float(gap) < 1, float(slope) < 1
    (True, True)
    """
    xp = namespace(q)
    length, q = q, xp.clip(q, _SMALL, _LARGE[q.dtype.itemsize])
    found = read(known, q)
    # Without biases the angle does not depend on σ_w, nor on whether it is 0.
    biases = sigma_b**2 / xp.maximum(sigma_w**2, 1e-30)
    factor = q / (found.second + biases)
    # An activation that is linear far out keeps the angle of nearly parallel inputs there.
    linear = xp.isinf(length) & (known.beyond[0, 1] == 0)
    at_one = xp.where(linear, 1.0, factor * found.slope_second)
    # Rounding of the table must not make a chaotic phase of a critical one.
    chaotic = at_one > 1 + (1e-9 if q.dtype == np.float64 else 1e-4)
    # The derivative's rule would make JAX's arrays of NumPy's, which need none.
    search = _search_gap if xp is np else _gap
    gap, slope = search(pair_at, chaotic, factor, found, xp.sqrt(q))
    unknown = xp.where(xp.isnan(at_one), np.nan, 0.0)
    return xp.where(chaotic, gap, unknown), xp.where(chaotic, slope, at_one)


def _search_gap(
    pair_at: _PairAt, chaotic: Array, factor: Array, found: Moments, s: Array
) -> tuple[Array, Array]:
    """The gap at which factor · P is 1 and factor · E φ′φ′ there; ½ where not chaotic."""
    xp = namespace(s)

    def step(state: _Search, nothing: None) -> tuple[_Search, None]:
        low, high, gap, _ = state
        share, slope = (factor * value for value in pair_at(found, s, gap))
        low, high = xp.where(share > 1, gap, low), xp.where(share > 1, high, gap)
        newton = gap * (1 - (share - 1) / xp.minimum(slope - share, -1e-300))
        inside = (newton > low) & (newton < high)
        # Gaps span decades: the middle is the geometric one.
        return (low, high, xp.where(inside, newton, xp.sqrt(low * high)), slope), None

    tiny, one = xp.full_like(s, np.finfo(s.dtype).eps), xp.ones_like(s)
    # The last step's slope is that at the fixed point: the step before it has arrived there.
    (_, _, gap, slope), _ = scan(step, (tiny, one, one / 2, one), None, length=_NEWTON + 1)
    return xp.where(chaotic, gap, 0.5), xp.where(chaotic, slope, 0.0)


_gap = jax.custom_jvp(_search_gap, nondiff_argnums=(0,))


@_gap.defjvp
def _gap_jvp(pair_at: _PairAt, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """By the implicit function theorem, as the search itself has no useful derivative."""
    gap, slope = _gap(pair_at, *primals)

    def at(factor: Array, found: Moments, s: Array, gap: Array) -> tuple[Array, Array]:
        share, slope = pair_at(found, s, gap)
        return factor * share, factor * slope

    point, still = (*primals[1:], gap), jax.tree.map(jnp.zeros_like, primals[1:])
    _, direct = jax.jvp(at, point, (*tangents[1:], jnp.zeros_like(gap)))
    _, along = jax.jvp(at, point, (*still, jnp.ones_like(gap)))
    moved = -direct[0] / along[0]
    return (gap, slope), (moved, direct[1] + along[1] * moved)


def scales(known: Table, sigma_w: Array, q: Array, gap: Array, slope: Array) -> DepthScales:
    """Depth scales from a fixed point: q*, 1 − c* and C′(c*); arrays of one shape.

    >>> from jinit.theory._tables import table
    >>> one = jnp.asarray(1.0)
    >>> float(scales(table("identity"), one, one, 0 * one, one).xi_c)
    inf
    """
    xp = namespace(q)
    at = xp.clip(q, _SMALL, _LARGE[q.dtype.itemsize])
    found = read(known, at)
    growth = sigma_w**2 * found.growth
    chi_1 = sigma_w**2 * found.slope_second
    interior = (q > 0) & xp.isfinite(q)
    xi_c = _depth(slope)
    xi_gradient = -_depth(chi_1)
    # Lengths grow for ever and χ₁ tends to 1 with them, as a power of the depth: no scale.
    fades = abs(known.beyond[2, 4]) > 1e-4 * abs(known.beyond[1, 4])
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
    """−1/ln |slope|; inf at 1, negative where the point repels."""
    xp, critical = namespace(slope), _is_one(slope)
    # A number in its place, or the derivative would be NaN wherever this is not chosen.
    depth: Array = xp.where(critical, np.inf, -1 / xp.log(xp.abs(xp.where(critical, 0.5, slope))))
    return depth


def _is_one(x: Array) -> Array:
    return abs(x - 1) < (1e-10 if x.dtype == np.float64 else 1e-5)


@compiled((0,))
def settled_length(known: Table, sigma_w: Array, sigma_b: Array, start: Array) -> Array:
    """:func:`length_fixed_point` from a table that is at hand, unchecked.

    >>> from jinit.theory._tables import table
    >>> round(float(settled_length(table("relu"), *map(jnp.asarray, (1.0, 1.0, 1.0)))), 5)
    2.0
    """
    find = namespace(start).vectorize(functools.partial(_settled_length, known))
    found: Array = find(sigma_w, sigma_b, start)
    return found


def _settled_length(known: Table, sigma_w: Array, sigma_b: Array, start: Array) -> Array:
    xp, (roots, seconds) = namespace(start), known.seconds()
    # Lengths that float32 cannot hold are beyond its reach.
    over = np.abs(seconds) >= np.finfo(start.dtype).max
    reach = int(np.argmax(over)) if over.any() else len(roots)
    nodes, at_nodes = (xp.asarray(x[:reach], start.dtype) for x in (roots**2, seconds))
    at_nodes = sigma_w**2 * at_nodes + sigma_b**2 - nodes
    at_start = sigma_w**2 * read(known, start).second + sigma_b**2 - start
    up = at_start > 0
    # Upwards the first node at which V no longer exceeds q; downwards the last at which it does.
    # Where V is unknown, that may be the one: then q ends as NaN, as the moments there.
    rounding = (1e-9 if start.dtype == np.float64 else 1e-6) * nodes
    # Far out the table is a power law, known less well: growth by a constant is lost in it.
    rounding = xp.where(roots[:reach] > known.nodes()[-1], 100 * rounding, rounding)
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
        return value, q - value / constant(xp.where(slope == 0, 1.0, slope))

    def step(state: _Bracket, _: None) -> tuple[_Bracket, tuple[Array, ...]]:
        low, high, q = state
        found = read(known, q)
        value, following = newton(q, found.second, found.growth)
        low, high = xp.where(value > 0, q, low), xp.where(value > 0, high, q)
        inside = (following >= low) & (following <= high)
        following = xp.where(inside, following, (low + high) / 2)
        return (low, high, following), (q, found.second, found.growth)

    _, seen = scan(step, (low, high, (low + high) / 2), None, length=_NEWTON + 1)
    # The last step again, of constants: dq*/dσ by the implicit function theorem.
    _, q = newton(*(constant(x[-1]) for x in seen))
    # Newton's method ends close to a fixed point at 0, not on it.
    q = xp.where(q < 1e-20, 0.0, q)
    tolerance = 1e-12 if start.dtype == np.float64 else 1e-6
    q = xp.where(crosses, q, xp.where(up, np.inf, 0.0))
    return xp.where(xp.abs(at_start) <= tolerance * start, start, q)
