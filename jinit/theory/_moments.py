"""Gaussian moments of an activation: what every wide network's theory is made of.

E[φ(u)^k], E[φ′(u)^k] for u ~ N(0, q) are tabulated over √q once an activation, in float64, and read
by local interpolation; E[φ(u₁)φ(u₂)] of two correlated inputs is integrated in two dimensions, with
panels that end on the kinks. Both are ordinary JAX functions of q and of the correlation.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.activations import ActivationLike
from jinit.theory._namespace import compiled, namespace
from jinit.theory._tables import Table, check_continuous, check_shapes, floating, table
from jinit.typing import Array

# Points where smooth activations bend, beside their kinks; steep ones also at these times unit.
_BENDS = np.array([-5.0, -2.0, 0.0, 2.0, 5.0])
_REACH_2D, _PANELS_2D = 8.5, 6
_NODES_2D, _WEIGHTS_2D = np.polynomial.legendre.leggauss(12)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Moments:
    """Moments of φ(u), u ~ N(0, q); every array has the shape of q.

    Attributes:
      mean: E φ.
      second: E φ².
      fourth: E φ⁴.
      slope_second: E φ′²; inf where φ jumps.
      slope_fourth: E φ′⁴; inf where φ jumps.
      curvature_second: E φ″²; inf where φ′ jumps.
      mixed: E φ² φ′²; inf where φ jumps.
      growth: d E φ² / dq; right for kinks too, where it is not E[φ′² + φφ″]; NaN where φ jumps.
    """

    mean: Array
    second: Array
    fourth: Array
    slope_second: Array
    slope_fourth: Array
    curvature_second: Array
    mixed: Array
    growth: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CrossMoments:
    """Moments of two inputs u₁, u₂ ~ N(0, q) with correlation c.

    Attributes:
      value: E φ(u₁)φ(u₂).
      slope: E φ′(u₁)φ′(u₂) = d value / d(qc) (Price's theorem).
      difference: ½ E (φ(u₁) − φ(u₂))² = E φ² − value, without the cancellation.
    """

    value: Array
    slope: Array
    difference: Array


def moments(activation: ActivationLike, q: Any) -> Moments:
    """Moments of φ and its derivatives under N(0, q).

    Args:
      activation: a name, a spec string or any elementwise callable, kinks included.
      q: variance of the pre-activations, ≥ 0, any shape; may be traced.

    Returns:
      :class:`Moments` in q's dtype, float32 or wider. Relative error 1e-8 in float64 and 2e-6 in
      float32 for q ≤ 10⁶; beyond, the power law that holds there goes on. Where a moment vanishes
      with q, as E φ′² of ``cos``, and where φ is 0 up to a kink, errors are relative to the moment
      at q = 1. NaN where the activation varies faster than the quadrature resolves (``sin`` at
      √q > 30), where what counts lies beyond 10 √q (E e⁴ˣ at q > 2), and where a moment is
      infinite.

    Raises:
      ValueError: a negative q, an unknown activation. TypeError: not elementwise.

    Reference: Poole et al. 2016, equations 3 and 5.

    >>> found = moments("relu", 4.0)
    >>> round(float(found.second), 5), round(float(found.slope_second), 5)
    (2.0, 0.5)
    """
    errors.check_number("q", q, low=0.0, fix="a variance is >= 0")
    return read(table(activation), floating(q))


@compiled((0,))
def read(known: Table, q: Array) -> Moments:
    """:func:`moments` from a table that is at hand, unchecked.

    >>> round(float(read(table("relu"), jnp.asarray(4.0)).second), 5)
    2.0
    """
    xp = namespace(q)
    s = xp.sqrt(xp.maximum(q, 1e-30))
    columns = xp.moveaxis(known.rows(s), -1, 0)
    m1, m2, m3, m4, slope_second, slope_fourth, curvature, growth, tilt, mix1, mix2 = columns
    zero, s = known.at_zero, xp.where(q > 0, s, 0.0)
    # In q where √q would do: at q = 0 these have derivatives.
    d1, d2, d3, d4 = known.bend * s + q * m1, q * m2, s**3 * m3, q**2 * m4
    mean, second, fourth, mixed = d1, known.second(d1, d2), d4, q * mix2
    if zero:
        mean = zero + d1
        fourth = zero**4 + 4 * zero**3 * d1 + 6 * zero**2 * d2 + 4 * zero * d3 + d4
        mixed = zero**2 * slope_second + 2 * zero * s * mix1 + mixed
        growth = growth + zero * (tilt + (known.bend / s if known.bend else 0.0))
    infinite = xp.full_like(s, np.inf)
    found = Moments(
        mean=mean,
        second=second,
        fourth=fourth,
        slope_second=slope_second,
        slope_fourth=slope_fourth,
        curvature_second=infinite if known.bends else curvature,
        mixed=mixed,
        growth=growth,
    )
    if known.jump is None:
        return found
    # φ′ has a point mass there, whose square is not integrable.
    return dataclasses.replace(
        found, slope_second=infinite, slope_fourth=infinite, mixed=infinite, growth=infinite * 0
    )


def cross_moments(activation: ActivationLike, q: Any, c: Any) -> CrossMoments:
    """Moments of φ at two inputs of variance q and correlation c.

    u₁ = √q(a x + b y), u₂ = √q(a x − b y), a² = (1+c)/2, b² = (1−c)/2, x, y ~ N(0, 1): a kink of
    either factor is a line, along which the inner integral is cut; where two lines cross, the outer
    one is. Every panel is then smooth and takes a Gauss–Legendre rule.

    Args:
      activation: a name, a spec string or any elementwise callable, kinks included.
      q: variance, > 0; c: correlation in [−1, 1]; broadcast against each other, may be traced.

    Returns:
      :class:`CrossMoments`; error 1e-8 in float64 and 1e-5 in float32 of the moment at c = 1 (of
      ``difference``: of itself) where φ has no features that are narrow for their distance from 0,
      other than kinks, and √q ≤ 5 for one that oscillates; else NaN, as where φ is 0 but for a kink
      more than 5 √q away.

    Raises:
      ValueError: numbers out of range, an unknown activation, one that jumps (then E φ′² is
        infinite). TypeError: not elementwise.

    Reference: Poole et al. 2016, equations 4 and 5; Cho & Saul 2009 for ReLU.

    >>> float(cross_moments("relu", 1.0, 0.0).value)  # 1 / (2 pi)
    0.159154...
    """
    errors.check_number("c", c, low=-1.0, high=1.0, fix="a correlation is in [-1, 1]")
    errors.check_number("q", q, low=0.0, open_low=True, fix="a variance is > 0")
    check_shapes(q=q, c=c)
    return _cross_moments(table(activation), *jnp.broadcast_arrays(floating(q), floating(c)))


@functools.partial(jax.jit, static_argnums=0)
def _cross_moments(known: Table, q: Array, c: Array) -> CrossMoments:
    at = read(known, q)
    shares = pair(known, at, jnp.sqrt(q), 1 - c)
    difference = q * (1 - c) * shares[0]
    return CrossMoments(at.second - difference, shares[1], difference)


def pair(known: Table, at: Moments, s: Array, gap: Array) -> tuple[Array, Array]:
    """½E(φ(u₁)−φ(u₂))²/(q·gap) and E φ′(u₁)φ′(u₂), at √q = s and correlation 1 − gap.

    ``at`` is ``read(known, q)``, which callers have at hand.

    Both tend to E φ′² as the gap closes, and keep their relative accuracy there. NaN where the rule
    does not give E φ² of one input alone: the activation varies faster than it resolves.

    Raises:
      ValueError: an activation that jumps.

    >>> line, q = table("identity"), jnp.asarray(4.0)
    >>> first, second = pair(line, read(line, q), jnp.sqrt(q), jnp.asarray(0.3))
    >>> round(float(first), 5), round(float(second), 5)
    (1.0, 1.0)
    """
    xp = namespace(s, gap, at.second)
    s, gap, second = xp.broadcast_arrays(s, gap, at.second)
    # Always compiled, as the activation is JAX's, and in float64 where JAX computes in it.
    found = integrate_pair(known, second, s, None, gap)
    difference, slope = (xp.asarray(x) for x in found[:2])
    # Where the gap is below rounding error, φ(u₁) − φ(u₂) is too, and the limit is meant.
    return difference / (s**2 * xp.maximum(gap, 2 * _floor(s) ** 2)), slope


@functools.partial(jax.jit, static_argnums=0)
def integrate_pair(
    known: Table, second: Array, s_1: Array, s_2: Array | None, gap: Array
) -> tuple[Array, Array, Array]:
    """½E(φ(u₁)−φ(u₂))², E φ′(u₁)φ′(u₂), E φ(u₁)φ(u₂) for uᵢ ~ N(0, sᵢ²), correlation 1 − gap.

    Args:
      known: the activation.
      second: E φ(u₁)², which the rule must give again.
      s_1, s_2, gap: of one shape, as second; s_2 None: both lengths are s_1.

    Raises:
      ValueError: an activation that jumps.

    >>> one = jnp.asarray(1.0)
    >>> found = integrate_pair(table("identity"), one, one, 2 * one, 0.5 * one)
    >>> [round(float(x), 5) for x in found]
    [1.5, 1.0, 1.0]
    """
    check_continuous(known, "correlations")
    found = jax.vmap(functools.partial(_integrate_pair, known))(
        second.ravel(), s_1.ravel(), None if s_2 is None else s_2.ravel(), gap.ravel()
    )
    return tuple(x.reshape(s_1.shape) for x in found)  # type: ignore[return-value]


def _floor(s: Array) -> float:
    """The smallest b = √(gap/2) at which φ(u₁) − φ(u₂) still has digits."""
    return 1e-10 if s.dtype == jnp.float64 else 3e-5


def _integrate_pair(
    known: Table, second: Array, s_1: Array, s_2: Array | None, gap: Array
) -> tuple[Array, ...]:
    dtype = s_1.dtype
    ends = (s_1,) if s_2 is None else (s_1, s_2)
    s_2 = ends[-1]
    kinks = jnp.asarray(known.kinks, dtype)
    places = np.concatenate([known.kinks, _BENDS, known.unit * _BENDS])
    bends = jnp.asarray(np.unique(places), dtype)
    floor = _floor(s_1)
    # Floors below the roots: at equal and at opposite inputs these have no derivative.
    b = jnp.sqrt(jnp.maximum(gap / 2, floor**2))
    a = jnp.sqrt(jnp.maximum(1 - gap / 2, floor**2))
    # The inner integral runs over the variable with the larger factor: its cuts stay in reach.
    large, small = jnp.maximum(a, b), jnp.minimum(a, b)
    sign = jnp.where(a >= b, 1.0, -1.0).astype(dtype)
    crossings = (kinks / s_1)[:, None] - sign * kinks / s_2
    cuts = jnp.concatenate([crossings.ravel() / 2, *[bends / s for s in ends]])
    r, at_r = _panels(cuts / jnp.maximum(small, floor))

    def both(x: Array) -> tuple[Array, Array]:
        return jax.jvp(known.function, (x,), (jnp.ones_like(x),))

    def panel(sums: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
        def inner(r: Array) -> Array:
            cuts = [(bends / s_1 - small * r) / large, (sign * bends / s_2 + small * r) / large]
            p, at_p = (x.ravel() for x in _panels(jnp.concatenate(cuts)))
            u = [s_1 * (large * p + small * r), sign * s_2 * (large * p - small * r)]
            (value_1, value_2), (slope_1, slope_2) = both(jnp.stack(u))
            # In units of the lengths: squares of small ones would leave float32.
            one, two = value_1 / s_1, value_2 / s_1
            return jnp.stack([(one - two) ** 2, slope_1 * slope_2, one * two, one**2]) @ at_p

        r, at_r = node
        return sums + at_r @ jax.vmap(inner)(r), None

    sums, _ = jax.lax.scan(panel, jnp.zeros(4, dtype), (r, at_r))
    alone = second / s_1**2
    resolved = jnp.abs(sums[3] - alone) <= (1e-7 if dtype == jnp.float64 else 1e-4) * alone
    scale = jnp.stack([s_1**2 / 2, jnp.ones_like(s_1), s_1**2])
    return tuple(jnp.where(resolved, x, jnp.nan) for x in sums[:3] * scale)


def _panels(cuts: Array) -> tuple[Array, Array]:
    """Nodes and weights of N(0, 1), ``(panels, 12)``, on panels that end at the cuts."""
    base = jnp.asarray(np.linspace(-_REACH_2D, _REACH_2D, _PANELS_2D + 1), cuts.dtype)
    edges = jnp.sort(jnp.concatenate([base, jnp.clip(cuts, -_REACH_2D, _REACH_2D)]))
    centre, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    nodes = centre[:, None] + half[:, None] * jnp.asarray(_NODES_2D, cuts.dtype)
    density = jnp.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    return nodes, half[:, None] * jnp.asarray(_WEIGHTS_2D, cuts.dtype) * density
