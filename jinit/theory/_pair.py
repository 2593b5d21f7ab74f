"""Integrates the moments of an activation at two correlated Gaussian inputs.

The integral is two-dimensional, with panels that end on the kinks of the activation.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jinit import errors
from jinit.activations import ActivationLike
from jinit.theory._checks import check_continuous, check_shapes, floating
from jinit.theory._moments import Moments, read_moments
from jinit.theory._namespace import namespace
from jinit.theory._table import MomentTable
from jinit.theory._tabulate import moment_table
from jinit.typing import Array

PairReader: TypeAlias = Callable[[Moments, Array, Array], tuple[Array, Array]]
""":func:`pair_moments` of one activation: ``(moments at q, √q, gap) -> (ratio, slope)``."""

# Smooth activations curve most at these points, steep ones at these points times their unit. Panels
# end there too.
_CURVED = np.array([-5.0, -2.0, 0.0, 2.0, 5.0])
_REACH, _PANELS = 8.5, 6
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CrossMoments:
    """Moments of two inputs u₁, u₂ ~ N(0, q) with correlation c; arrays of the broadcast shape.

    Attributes:
      value: E φ(u₁)φ(u₂).
      slope: E φ′(u₁)φ′(u₂) = d value / d(qc) (Price's theorem).
      difference: ½ E (φ(u₁) − φ(u₂))² = E φ² − value, computed without cancellation.
    """

    value: Array
    slope: Array
    difference: Array


def cross_moments(activation: ActivationLike, q: ArrayLike, c: ArrayLike) -> CrossMoments:
    """Moments of φ at two inputs of variance q and correlation c.

    u₁ = √q(a x + b y), u₂ = √q(a x − b y), a² = (1+c)/2, b² = (1−c)/2, x, y ~ N(0, 1). In the
    plane of x and y a kink of either factor is a line. Panels of the inner integral end on these
    lines, panels of the outer integral where two lines cross. The integrand is then smooth on each
    panel and takes a Gauss–Legendre rule.

    Args:
      activation: a name, a spec string or any elementwise callable, with or without kinks.
      q: variance, > 0; may be traced.
      c: correlation in [−1, 1], broadcast against q; may be traced.

    Returns:
      :class:`CrossMoments`. Errors are 1e-8 in float64 and 1e-5 in float32, relative to the moment
      at c = 1 (``difference``: relative to itself). This holds if features of φ other than kinks
      are not narrow for their distance from 0, and if √q ≤ 5 for an oscillating φ. Otherwise NaN;
      also NaN if φ is 0 except beyond a kink more than 5 √q away.

    Raises:
      ValueError: numbers out of range, an unknown activation, one that jumps (E φ′² is then
        infinite). TypeError: the activation is not elementwise.

    Reference: Poole et al. 2016, equations 4 and 5; Cho & Saul 2009 for ReLU.

    >>> float(cross_moments("relu", 1.0, 0.0).value)  # 1 / (2 pi)
    0.159154...
    """
    errors.check_numbers("c", c, low=-1.0, high=1.0, fix="a correlation is in [-1, 1]")
    errors.check_numbers("q", q, low=0.0, open_low=True, fix="a variance is > 0")
    check_shapes(q=q, c=c)
    return _cross_moments(moment_table(activation), *jnp.broadcast_arrays(floating(q), floating(c)))


@functools.partial(jax.jit, static_argnums=0)
def _cross_moments(table: MomentTable, q: Array, c: Array) -> CrossMoments:
    at = read_moments(table, q)
    ratio, slope = pair_moments(table, at, jnp.sqrt(q), 1 - c)
    difference = q * (1 - c) * ratio
    return CrossMoments(at.second - difference, slope, difference)


def pair_moments(table: MomentTable, at: Moments, s: Array, gap: Array) -> tuple[Array, Array]:
    """½E(φ(u₁)−φ(u₂))²/(q·gap) and E φ′(u₁)φ′(u₂), at √q = s and correlation 1 − gap.

    ``at`` is ``read_moments(table, q)``. Both results tend to E φ′² as the gap goes to 0 and keep
    their relative accuracy there. They are NaN if the quadrature does not reproduce E φ² of one
    input, because the activation varies too fast. An activation that jumps raises ValueError.
    """
    xp = namespace(s, gap, at.second)
    s, gap, second = xp.broadcast_arrays(s, gap, at.second)
    # Always compiled, because the activation is a JAX function; in float64 if JAX computes in it.
    difference, slope = (xp.asarray(x) for x in integrate_pair(table, second, s, None, gap)[:2])
    # Below the gap 2 floor², φ(u₁) − φ(u₂) is rounding error, so the ratio is taken at that gap.
    return difference / (s**2 * xp.maximum(gap, 2 * _floor(s) ** 2)), slope


@functools.partial(jax.jit, static_argnums=0)
def integrate_pair(
    table: MomentTable, second: Array, s_1: Array, s_2: Array | None, gap: Array
) -> tuple[Array, Array, Array]:
    """½E(φ(u₁)−φ(u₂))², E φ′(u₁)φ′(u₂), E φ(u₁)φ(u₂) for uᵢ ~ N(0, sᵢ²), correlation 1 − gap.

    Args:
      table: of an activation without jumps.
      second: E φ(u₁)², which the quadrature must reproduce.
      s_1, s_2, gap: arrays of the shape of ``second``; with s_2 = None both lengths are s_1.
    """
    check_continuous(table, "correlations")
    moments = jax.vmap(functools.partial(_integrate_pair, table))(
        second.ravel(), s_1.ravel(), None if s_2 is None else s_2.ravel(), gap.ravel()
    )
    difference, slope, value = (x.reshape(s_1.shape) for x in moments)
    return difference, slope, value


def _floor(s: Array) -> float:
    """The smallest b = √(gap/2) at which φ(u₁) − φ(u₂) still has significant digits."""
    return 1e-10 if s.dtype == jnp.float64 else 3e-5


def _integrate_pair(
    table: MomentTable, second: Array, s_1: Array, s_2: Array | None, gap: Array
) -> tuple[Array, ...]:
    dtype = s_1.dtype
    ends = (s_1,) if s_2 is None else (s_1, s_2)
    s_2 = ends[-1]
    kinks = jnp.asarray(table.kinks, dtype)
    points = np.concatenate([table.kinks, _CURVED, table.unit * _CURVED])
    breaks = jnp.asarray(np.unique(points), dtype)
    floor = _floor(s_1)
    # Equal or opposite inputs would give √0, which has no derivative; the floors avoid this.
    b = jnp.sqrt(jnp.maximum(gap / 2, floor**2))
    a = jnp.sqrt(jnp.maximum(1 - gap / 2, floor**2))
    # The inner variable has the larger factor, so that its breaks stay within reach.
    large, small = jnp.maximum(a, b), jnp.minimum(a, b)
    sign = jnp.where(a >= b, 1.0, -1.0).astype(dtype)
    crossings = (kinks / s_1)[:, None] - sign * kinks / s_2
    cuts = jnp.concatenate([crossings.ravel() / 2, *[breaks / s for s in ends]])
    r, at_r = _panels(cuts / jnp.maximum(small, floor))

    def both(x: Array) -> tuple[Array, Array]:
        return jax.jvp(table.function, (x,), (jnp.ones_like(x),))

    def panel(sums: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
        def inner(r: Array) -> Array:
            cuts = [(breaks / s_1 - small * r) / large, (sign * breaks / s_2 + small * r) / large]
            p, at_p = (x.ravel() for x in _panels(jnp.concatenate(cuts)))
            u = [s_1 * (large * p + small * r), sign * s_2 * (large * p - small * r)]
            (value_1, value_2), (slope_1, slope_2) = both(jnp.stack(u))
            # Divided by the length, because squares of small values underflow in float32.
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
    """Nodes and weights ``(panels, 12)`` of N(0, 1), with panels that end at the cuts."""
    base = jnp.asarray(np.linspace(-_REACH, _REACH, _PANELS + 1), cuts.dtype)
    edges = jnp.sort(jnp.concatenate([base, jnp.clip(cuts, -_REACH, _REACH)]))
    centre, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    nodes = centre[:, None] + half[:, None] * jnp.asarray(_NODES, cuts.dtype)
    density = jnp.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    return nodes, half[:, None] * jnp.asarray(_WEIGHTS, cuts.dtype) * density
