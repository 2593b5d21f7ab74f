"""Mean field theory of wide networks: how lengths, angles and gradients change layer by layer.

A layer with weights N(0, σ_w²/n) and biases N(0, σ_b²) maps the pre-activations' variance q to
V(q) = σ_w² E[φ(√q z)²] + σ_b², two inputs' correlation c to C(c), and multiplies squared gradients
by χ₁ = σ_w² E[φ′(√q z)²]. Numbers go in as arrays or tracers; every map jits, vmaps and is
differentiable.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.activations import ActivationLike
from jinit.theory.moments import Moments, cross_moments, moments, pair, read
from jinit.theory.tables import Table, floating, table
from jinit.typing import Array

# q* = 0 and ∞ stand for limits: maps are evaluated this close to them.
_SMALL, _LARGE = 1e-12, 1e12
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
      trainable_depth: 6 ξ_c (Schoenholz et al. 2017, section 5), in layers; 6/|ln χ₁| where q_star
        is 0 or inf.
    """

    q_star: Array
    c_star: Array
    chi_1: Array
    xi_q: Array
    xi_c: Array
    xi_gradient: Array
    trainable_depth: Array


def length_map(activation: ActivationLike, q: Any, sigma_w: Any, sigma_b: Any = 0.0) -> Array:
    """V(q) = σ_w² E[φ(√q z)²] + σ_b²: the variance of the next layer's pre-activations.

    Args:
      activation: a name, a spec string or any elementwise callable.
      q: variance of this layer's pre-activations, ≥ 0.
      sigma_w, sigma_b: standard deviations, weights times √n; ≥ 0. All broadcast, may be traced.

    Returns:
      V(q), shaped as the arguments broadcast; accuracy as :func:`jinit.theory.moments`.

    Raises:
      ValueError: a number out of range, an unknown activation.

    Reference: Poole et al. 2016, equation 3.

    >>> float(length_map("relu", 3.0, 2**0.5))  # doctest: +ELLIPSIS
    3.0...
    """
    check_sigmas(sigma_w, sigma_b)
    return jnp.square(sigma_w) * moments(activation, q).second + jnp.square(sigma_b)


def correlation_map(
    activation: ActivationLike, c: Any, q: Any, sigma_w: Any, sigma_b: Any = 0.0
) -> Array:
    """C(c) = (σ_w² E[φ(u₁)φ(u₂)] + σ_b²) / V(q): the correlation of two inputs one layer on.

    Args:
      activation: a name, a spec string or any elementwise callable.
      c: correlation of the two pre-activations, in [−1, 1].
      q: their variance, > 0.
      sigma_w, sigma_b: as :func:`length_map`. All broadcast, may be traced.

    Returns:
      The next correlation; accuracy as :func:`jinit.theory.cross_moments`.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Poole et al. 2016, equation 5.

    >>> round(float(correlation_map("relu", 0.0, 1.0, 2**0.5)), 5)  # 1 / pi
    0.31831
    """
    errors.check_number("q", q, low=0.0, open_low=True, fix="use 1.0")
    difference = cross_moments(activation, q, c).difference
    length = length_map(activation, q, sigma_w, sigma_b)
    return 1 - jnp.square(sigma_w) * difference / length


def susceptibility(activation: ActivationLike, sigma_w: Any, q: Any) -> Array:
    """χ₁ = σ_w² E[φ′(√q z)²], z ~ N(0, 1): growth of a squared gradient through one layer.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: standard deviation of the weights times √n, ≥ 0.
      q: variance of the pre-activations, ≥ 0.

    Returns:
      χ₁, dimensionless; below 1 ordered (gradients vanish), above 1 chaotic (they explode).

    Raises:
      ValueError: a negative number, an unknown activation.

    Reference: Poole et al. 2016, equation 5.

    >>> round(float(susceptibility("relu", 2**0.5, 1.0)), 6)
    1.0
    """
    check_sigmas(sigma_w, 0.0)
    return jnp.square(sigma_w) * moments(activation, q).slope_second


def length_fixed_point(
    activation: ActivationLike, sigma_w: Any, sigma_b: Any = 0.0, *, start: Any = 1.0
) -> Array:
    """q*, where q = V(q): the variance that deep layers settle at.

    The first fixed point in the direction in which V moves the start: bracketed on the grid of
    tabulated moments, then Newton's method inside the bracket. Differentiable where 0 < q* < ∞.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: ≥ 0, any shapes that broadcast; may be traced.
      start: variance of the first layer's pre-activations, > 0; decides between fixed points.

    Returns:
      q*; 0.0 where the signal dies, inf where it grows for ever, the start where V keeps it.

    Raises:
      ValueError: a number out of range, an unknown activation.

    Reference: Poole et al. 2016, equation 3.

    >>> round(float(length_fixed_point("tanh", 1.760955**0.5, 0.05**0.5)), 3)
    0.57
    """
    check_sigmas(sigma_w, sigma_b)
    errors.check_number("start", start, low=0.0, open_low=True, fix="use 1.0")
    known = table(activation)
    return settled_length(known, *(floating(x) for x in (sigma_w, sigma_b, start)))


def correlation_fixed_point(
    activation: ActivationLike, sigma_w: Any, sigma_b: Any, q: Any
) -> Array:
    """c*, where deep layers' correlation settles from c ≥ 0: below 1 in the chaotic phase.

    C is a power series with coefficients ≥ 0: on [0, 1] it has one fixed point below 1 where its
    slope at 1 exceeds 1, and none where it does not.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: as :func:`length_map`.
      q: the variance at which lengths have settled, > 0.

    Returns:
      c*, in [0, 1]; 1.0 in the ordered phase.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Poole et al. 2016, equation 5.

    >>> round(float(correlation_fixed_point("tanh", 2.0, 0.3, 2.5)), 4)
    0.2452
    """
    check_sigmas(sigma_w, sigma_b)
    errors.check_number("q", q, low=0.0, open_low=True, fix="use length_fixed_point")
    gap, _ = _settled_gaps(table(activation), *(floating(x) for x in (sigma_w, sigma_b, q)))
    return 1 - gap


def depth_scales(
    activation: ActivationLike, sigma_w: Any, sigma_b: Any = 0.0, *, start: Any = 1.0
) -> DepthScales:
    """Fixed points, χ₁ and the depths over which a signal, an angle and a gradient change.

    ξ_q = −1/ln V′(q*), ξ_c = −1/ln C′(c*), ξ_gradient = 1/ln χ₁. At q* = 0 or ∞ the limits of the
    maps there are meant.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: ≥ 0, any shapes that broadcast; may be traced. For grids of many points
        :func:`jinit.theory.phase_diagram` is faster.
      start: variance of the first layer's pre-activations, > 0.

    Returns:
      :class:`DepthScales`.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Schoenholz et al. 2017, equations 6 to 9.

    >>> found = depth_scales("tanh", 1.0, 0.05**0.5)
    >>> round(float(found.trainable_depth), 1)
    21.8
    """
    check_sigmas(sigma_w, sigma_b)
    errors.check_number("start", start, low=0.0, open_low=True, fix="use 1.0")
    known = table(activation)
    return settled_scales(known, *(floating(x) for x in (sigma_w, sigma_b, start)))


@functools.partial(jax.jit, static_argnums=0)
def settled_scales(known: Table, sigma_w: Array, sigma_b: Array, start: Array) -> DepthScales:
    """:func:`depth_scales` from a table that is at hand, unchecked.

    >>> round(float(settled_scales(table("relu"), *map(jnp.asarray, (1.0, 1.0, 1.0))).q_star), 5)
    2.0
    """
    q = settled_length(known, sigma_w, sigma_b, start)
    gap, slope = _settled_gaps(known, sigma_w, sigma_b, q)
    return scales(known, jnp.broadcast_to(sigma_w, q.shape), q, gap, slope)


@functools.partial(jax.jit, static_argnums=0)
def _settled_gaps(known: Table, sigma_w: Array, sigma_b: Array, q: Array) -> tuple[Array, Array]:
    solve = functools.partial(settled_gap, functools.partial(pair, known), known)
    found: tuple[Array, Array] = jnp.vectorize(solve, signature="(),(),()->(),()")(
        sigma_w, sigma_b, q
    )
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

    >>> known = table("tanh")
    >>> point = jnp.asarray(2.0), jnp.asarray(0.5), jnp.asarray(1.0)
    >>> gap, slope = settled_gap(functools.partial(pair, known), known, *point)
    >>> 0 < float(gap) < 1, float(slope) < 1
    (True, True)
    """
    length, q = q, jnp.clip(q, _SMALL, _LARGE)
    found = read(known, q)
    # Without biases the angle does not depend on σ_w, nor on whether it is 0.
    biases = sigma_b**2 / jnp.maximum(sigma_w**2, 1e-30)
    factor = q / (found.second + biases)
    # An activation that is linear far out keeps the angle of nearly parallel inputs there.
    linear = jnp.isinf(length) & (known.beyond[0, 1] == 0)
    at_one = jnp.where(linear, 1.0, factor * found.slope_second)
    # Rounding of the table must not make a chaotic phase of a critical one.
    chaotic = at_one > 1 + (1e-9 if q.dtype == jnp.float64 else 1e-4)
    gap, slope = _gap(pair_at, chaotic, factor, found, jnp.sqrt(q))
    unknown = jnp.where(jnp.isnan(at_one), jnp.nan, 0.0)
    return jnp.where(chaotic, gap, unknown), jnp.where(chaotic, slope, at_one)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _gap(
    pair_at: _PairAt, chaotic: Array, factor: Array, found: Moments, s: Array
) -> tuple[Array, Array]:
    """The gap at which factor · P is 1 and factor · E φ′φ′ there; ½ where not chaotic."""

    def step(state: _Search, nothing: None) -> tuple[_Search, None]:
        low, high, gap, _ = state
        share, slope = (factor * value for value in pair_at(found, s, gap))
        low, high = jnp.where(share > 1, gap, low), jnp.where(share > 1, high, gap)
        newton = gap * (1 - (share - 1) / jnp.minimum(slope - share, -1e-300))
        inside = (newton > low) & (newton < high)
        # Gaps span decades: the middle is the geometric one.
        return (low, high, jnp.where(inside, newton, jnp.sqrt(low * high)), slope), None

    tiny, one = jnp.full_like(s, np.finfo(s.dtype).eps), jnp.ones_like(s)
    # The last step's slope is that at the fixed point: the step before it has arrived there.
    (_, _, gap, slope), _ = jax.lax.scan(step, (tiny, one, one / 2, one), None, length=_NEWTON + 1)
    return jnp.where(chaotic, gap, 0.5), jnp.where(chaotic, slope, 0.0)


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

    >>> one = jnp.asarray(1.0)
    >>> float(scales(table("identity"), one, one, 0 * one, one).xi_c)
    inf
    """
    at = jnp.clip(q, _SMALL, _LARGE)
    found = read(known, at)
    growth = sigma_w**2 * found.growth
    chi_1 = sigma_w**2 * found.slope_second
    interior = (q > 0) & jnp.isfinite(q)
    xi_c = _depth(slope)
    xi_gradient = -_depth(chi_1)
    return DepthScales(
        q_star=q,
        c_star=1 - gap,
        chi_1=chi_1,
        xi_q=_depth(growth),
        xi_c=xi_c,
        xi_gradient=xi_gradient,
        trainable_depth=6 * jnp.where(interior, xi_c, jnp.abs(xi_gradient)),
    )


def _depth(slope: Array) -> Array:
    """−1/ln |slope|; inf at 1, negative where the point repels."""
    critical = _is_one(slope)
    # A number in its place, or the derivative would be NaN wherever this is not chosen.
    return jnp.where(critical, jnp.inf, -1 / jnp.log(jnp.abs(jnp.where(critical, 0.5, slope))))


def _is_one(x: Array) -> Array:
    return jnp.abs(x - 1) < (1e-10 if x.dtype == jnp.float64 else 1e-5)


@functools.partial(jax.jit, static_argnums=0)
def settled_length(known: Table, sigma_w: Array, sigma_b: Array, start: Array) -> Array:
    """:func:`length_fixed_point` from a table that is at hand, unchecked.

    >>> round(float(settled_length(table("relu"), *map(jnp.asarray, (1.0, 1.0, 1.0)))), 5)
    2.0
    """
    find = jnp.vectorize(functools.partial(_settled_length, known))
    found: Array = find(sigma_w, sigma_b, start)
    return found


def _settled_length(known: Table, sigma_w: Array, sigma_b: Array, start: Array) -> Array:
    nodes = jnp.asarray(known.nodes()[::4] ** 2, start.dtype)
    at_nodes = sigma_w**2 * read(known, nodes).second + sigma_b**2 - nodes
    at_start = sigma_w**2 * read(known, start).second + sigma_b**2 - start
    up = at_start > 0
    # Upwards the first node at which V no longer exceeds q; downwards the last at which it does.
    # Where V is unknown, that may be the one.
    above = (nodes > start) & ~(at_nodes > 0)
    below = (nodes < start) & ~(at_nodes < 0)
    crosses = jnp.where(up, above.any(), below.any())
    at_or_over, at_or_under = jnp.argmax(above), len(nodes) - 1 - jnp.argmax(below[::-1])
    unknown = crosses & jnp.isnan(at_nodes[jnp.where(up, at_or_over, at_or_under)])
    low = jnp.where(up, jnp.maximum(nodes[at_or_over - 1], start), nodes[at_or_under])
    high = jnp.where(up, nodes[at_or_over], jnp.minimum(nodes[at_or_under + 1], start))

    def newton(q: Array, second: Array, growth: Array) -> tuple[Array, Array]:
        value, slope = sigma_w**2 * second + sigma_b**2 - q, sigma_w**2 * growth - 1
        return value, q - value / jax.lax.stop_gradient(jnp.where(slope == 0, 1.0, slope))

    def step(state: _Bracket, _: None) -> tuple[_Bracket, tuple[Array, ...]]:
        low, high, q = state
        found = read(known, q)
        value, following = newton(q, found.second, found.growth)
        low, high = jnp.where(value > 0, q, low), jnp.where(value > 0, high, q)
        inside = (following >= low) & (following <= high)
        following = jnp.where(inside, following, (low + high) / 2)
        return (low, high, following), (q, found.second, found.growth)

    _, seen = jax.lax.scan(step, (low, high, (low + high) / 2), None, length=_NEWTON + 1)
    # The last step again, of constants: dq*/dσ by the implicit function theorem.
    _, q = newton(*(jax.lax.stop_gradient(x[-1]) for x in seen))
    # Newton's method ends close to a fixed point at 0, not on it.
    q = jnp.where(q < 1e-20, 0.0, q)
    tolerance = 1e-12 if start.dtype == jnp.float64 else 1e-6
    q = jnp.where(crosses, q, jnp.where(up, jnp.inf, 0.0))
    q = jnp.where(jnp.abs(at_start) <= tolerance * start, start, q)
    return jnp.where(unknown | jnp.isnan(at_start), jnp.nan, q)


def check_sigmas(sigma_w: Any, sigma_b: Any) -> None:
    """Standard deviations are finite, not negative, and of shapes that broadcast.

    >>> check_sigmas(1.0, 0.0)
    """
    errors.check_number("sigma_w", sigma_w, low=0.0, fix="use 1.0")
    errors.check_number("sigma_b", sigma_b, low=0.0, fix="use 0.0")
    shapes = np.shape(sigma_w), np.shape(sigma_b)
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise errors.refusal(
            "shapes of sigma_w and sigma_b", shapes, "two that broadcast", "sigma_w[:, None]"
        ) from None
