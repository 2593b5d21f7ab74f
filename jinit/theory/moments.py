"""Gaussian moments of an activation: what every wide network's theory is made of.

E[φ(u)^k], E[φ′(u)^k] for u ~ N(0, q) are tabulated over √q once an activation, in float64, and read
by local interpolation; E[φ(u₁)φ(u₂)] of two correlated inputs is integrated in two dimensions, with
panels that end on the kinks. Both are ordinary JAX functions of q and of the correlation.
"""

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
# Two Gauss–Legendre orders that differ by more have not resolved the activation.
_RESOLVED = 1e-7
# Points where smooth activations bend, beside their kinks.
_BENDS = (-5.0, -2.0, 0.0, 2.0, 5.0)
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
      slope_second: E φ′².
      slope_fourth: E φ′⁴.
      curvature_second: E φ″²; inf where φ′ jumps.
      mixed: E φ² φ′².
      growth: d E φ² / dq; right for kinks too, where it is not E[φ′² + φφ″].
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
      :class:`Moments` in q's dtype. Relative error 1e-9 in float64 and 1e-5 in float32 for
      q ≤ 10⁶; beyond, the power law that holds there goes on. NaN where the activation varies
      faster than the quadrature resolves (``sin`` at √q > 40) or overflows.

    Raises:
      ValueError: a negative q, an unknown activation. TypeError: not elementwise.

    Reference: Poole et al. 2016, equations 3 and 5.

    >>> found = moments("relu", 4.0)
    >>> float(found.second), float(found.slope_second)
    (2.0, 0.5)
    """
    errors.check_number("q", q, low=0.0, fix="a variance is >= 0")
    return read(table(activation), floating(q))


def read(known: Table, q: Array) -> Moments:
    """:func:`moments` from a table that is at hand, unchecked.

    >>> float(read(table("relu"), jnp.asarray(4.0)).second)
    2.0
    """
    s = jnp.sqrt(jnp.maximum(q, 1e-30))
    columns = jnp.moveaxis(known.rows(s), -1, 0)
    m1, m2, m3, m4, slope_second, slope_fourth, curvature, growth, tilt, mix1, mix2 = columns
    zero = known.at_zero
    if zero:
        growth = growth + zero * tilt / s
    d1, d2, d3, d4 = s * m1, s**2 * m2, s**3 * m3, s**4 * m4
    return Moments(
        mean=zero + d1,
        second=zero**2 + 2 * zero * d1 + d2,
        fourth=zero**4 + 4 * zero**3 * d1 + 6 * zero**2 * d2 + 4 * zero * d3 + d4,
        slope_second=slope_second,
        slope_fourth=slope_fourth,
        curvature_second=jnp.full_like(s, jnp.inf) if known.bends else curvature,
        mixed=zero**2 * slope_second + 2 * zero * s * mix1 + s**2 * mix2,
        growth=growth,
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
      :class:`CrossMoments`; relative error 1e-8 in float64 and 1e-5 in float32 where φ has no
      features narrower than about 1 other than kinks, and √q ≤ 5 for one that oscillates.

    Raises:
      ValueError: numbers out of range, an unknown activation, one that jumps (then E φ′² is
        infinite). TypeError: not elementwise.

    Reference: Poole et al. 2016, equations 4 and 5; Cho & Saul 2009 for ReLU.

    >>> float(cross_moments("relu", 1.0, 0.0).value)  # 1 / (2 pi)
    0.159154...
    """
    errors.check_number("c", c, low=-1.0, high=1.0, fix="a correlation is in [-1, 1]")
    errors.check_number("q", q, low=0.0, open_low=True, fix="a variance is > 0")
    known = table(activation)
    q, c = jnp.broadcast_arrays(floating(q), floating(c))
    shares = pair(known, jnp.sqrt(q), 1 - c)
    difference = q * (1 - c) * shares[0]
    return CrossMoments(read(known, q).second - difference, shares[1], difference)


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
    weights = []
    for j in range(6):
        others = [k for k in range(6) if k != j]
        scale = math.prod(j - k for k in others)
        product = functools.reduce(lambda a, b: a * b, [apart[..., k] for k in others])
        weights.append(product / scale)
    return first, jnp.stack(weights, -1)


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
    slope = jax.grad(lambda x: jnp.sum(function(x)))
    at_zero = float(function(jnp.zeros(())))
    if not math.isfinite(at_zero):
        raise errors.refusal(
            f"{name}(0)", at_zero, "a finite number", "use an activation that is defined there"
        )
    jump = next((k for k in kinks if _step(function, k, 1e-9) > 1e-6), None)
    bends = jump is not None or any(_step(slope, k, 1e-6) > 1e-4 for k in kinks)
    s = Table.nodes()
    coarse, fine = (_moments_at(function, kinks, s[1:], order) for order in (16, 24))
    coarse, fine = (np.concatenate([_AT_ZERO @ each[:6], each]) for each in (coarse, fine))
    size = np.maximum(np.abs(fine), 1e-30)
    with np.errstate(invalid="ignore"):
        unresolved = ~(np.abs(coarse - fine) <= _RESOLVED * np.maximum(size, 1e-9 * size[:, 4:5]))
    unresolved = unresolved[:, [1, 3, 4]].any(1)
    if unresolved.any():
        fine[np.argmax(unresolved) :] = np.nan
    return Table(name, function, kinks, at_zero, bends, jump, fine, _beyond(s, fine))


def _step(function: Callable[[Array], Array], at: float, apart: float) -> float:
    """|f(x + δ) − f(x − δ)|."""
    ends = [float(function(jnp.asarray(at + side * apart))) for side in (1, -1)]
    return abs(ends[0] - ends[1])


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
    function: Callable[[Array], Array], kinks: tuple[float, ...], s: np.ndarray, order: int
) -> np.ndarray:
    """The columns of the table at each s, by a rule of this order on every panel."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    bends = np.concatenate([kinks, *[(-(2.0**k), 2.0**k) for k in range(-1, 10)], [0.0]])
    edges = np.concatenate(
        [np.broadcast_to(np.arange(-24, 25) / 2, (len(s), 49)), bends / s[:, None]], 1
    )
    edges = np.sort(np.clip(edges, -12, 12), 1)
    centre, half = (edges[:, 1:] + edges[:, :-1]) / 2, (edges[:, 1:] - edges[:, :-1]) / 2
    z = (centre[..., None] + half[..., None] * nodes).reshape(len(s), -1)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    w = (half[..., None] * weights).reshape(len(s), -1) * density

    def first(x: Array) -> tuple[Array, Array]:
        return jax.jvp(function, (x,), (jnp.ones_like(x),))

    @jax.jit
    def sums(s: Array, z: Array, w: Array) -> Array:
        x = s[:, None] * z
        (value, slope), (_, curvature) = jax.jvp(first, (x,), (jnp.ones_like(x),))
        d = (value - function(jnp.zeros(()))) / s[:, None]
        powers = [d, d**2, d**3, d**4, slope**2, slope**4, curvature**2, z * d * slope, z * slope]
        powers += [d * slope**2, (d * slope) ** 2]
        return jnp.stack([(w * power).sum(1) for power in powers], 1)

    return np.array(sums(jnp.asarray(s), jnp.asarray(z), jnp.asarray(w)))


def pair(known: Table, s: Array, gap: Array) -> tuple[Array, Array]:
    """½E(φ(u₁)−φ(u₂))²/(q·gap) and E φ′(u₁)φ′(u₂), at √q = s and correlation 1 − gap.

    Both tend to E φ′² as the gap closes, and keep their relative accuracy there. NaN where the rule
    does not give E φ² of one input alone: the activation varies faster than it resolves.

    Raises:
      ValueError: an activation that jumps.

    >>> first, second = pair(table("identity"), jnp.asarray(2.0), jnp.asarray(0.3))
    >>> round(float(first), 5), round(float(second), 5)
    (1.0, 1.0)
    """
    s, gap = jnp.broadcast_arrays(s, gap)
    difference, slope, _ = integrate_pair(known, s, s, gap)
    # Where the gap is below rounding error, φ(u₁) − φ(u₂) is too, and the limit is meant.
    return difference / (s**2 * jnp.maximum(gap, 2 * _floor(s) ** 2)), slope


def integrate_pair(known: Table, s_1: Array, s_2: Array, gap: Array) -> tuple[Array, Array, Array]:
    """½E(φ(u₁)−φ(u₂))², E φ′(u₁)φ′(u₂), E φ(u₁)φ(u₂) for uᵢ ~ N(0, sᵢ²), correlation 1 − gap.

    Args:
      known: the activation.
      s_1, s_2, gap: of one shape.

    Raises:
      ValueError: an activation that jumps.

    >>> one = jnp.asarray(1.0)
    >>> [round(float(x), 5) for x in integrate_pair(table("identity"), one, 2 * one, 0.5 * one)]
    [1.5, 1.0, 1.0]
    """
    if known.jump is not None:
        raise errors.refusal(
            f"correlations under {known.name}", f"a jump at {known.jump:g}",
            "a continuous activation: chi_1 is infinite at a jump", "smooth the jump",
        )  # fmt: skip
    found = jax.vmap(functools.partial(_integrate_pair, known))(
        s_1.ravel(), s_2.ravel(), gap.ravel()
    )
    return tuple(x.reshape(s_1.shape) for x in found)  # type: ignore[return-value]


def _floor(s: Array) -> float:
    """The smallest b = √(gap/2) at which φ(u₁) − φ(u₂) still has digits."""
    return 1e-9 if s.dtype == jnp.float64 else 3e-5


def _integrate_pair(known: Table, s_1: Array, s_2: Array, gap: Array) -> tuple[Array, ...]:
    dtype = s_1.dtype
    kinks = jnp.asarray(known.kinks, dtype)
    bends = jnp.asarray(np.unique(np.concatenate([known.kinks, _BENDS])), dtype)
    floor = _floor(s_1)
    b = jnp.maximum(jnp.sqrt(gap / 2), floor)
    a = jnp.sqrt(jnp.maximum(1 - gap / 2, 0.0))
    # The inner integral runs over the variable with the larger factor: its cuts stay in reach.
    large, small = jnp.maximum(a, b), jnp.minimum(a, b)
    sign = jnp.where(a >= b, 1.0, -1.0).astype(dtype)
    crossings = (kinks / s_1)[:, None] - sign * kinks / s_2
    cuts = jnp.concatenate([crossings.ravel() / 2, bends / s_1, bends / s_2])
    r, at_r = _panels(cuts / jnp.maximum(small, floor))
    both = jax.vmap(jax.value_and_grad(lambda x: jnp.sum(known.function(x))))

    def panel(sums: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
        def inner(r: Array) -> Array:
            cuts = [(bends / s_1 - small * r) / large, (sign * bends / s_2 + small * r) / large]
            p, at_p = (x.ravel() for x in _panels(jnp.concatenate(cuts)))
            value_1, slope_1 = both(s_1 * (large * p + small * r))
            value_2, slope_2 = both(sign * s_2 * (large * p - small * r))
            # In units of the lengths: squares of small ones would leave float32.
            one, two = value_1 / s_1, value_2 / s_1
            return jnp.stack([(one - two) ** 2, slope_1 * slope_2, one * two, one**2]) @ at_p

        r, at_r = node
        return sums + at_r @ jax.vmap(inner)(r), None

    sums, _ = jax.lax.scan(panel, jnp.zeros(4, dtype), (r, at_r))
    alone = read(known, s_1**2).second / s_1**2
    resolved = jnp.abs(sums[3] - alone) <= (1e-7 if dtype == jnp.float64 else 1e-4) * alone
    scale = jnp.stack([s_1**2 / 2, jnp.ones_like(s_1), s_1**2])
    return tuple(jnp.where(resolved, x, jnp.nan) for x in sums[:3] * scale)


def _panels(cuts: Array) -> tuple[Array, Array]:
    """Nodes and weights of N(0, 1), ``(panels, 12)``, on panels that end at the cuts."""
    base = jnp.linspace(-_REACH_2D, _REACH_2D, _PANELS_2D + 1, dtype=cuts.dtype)
    edges = jnp.sort(jnp.concatenate([base, jnp.clip(cuts, -_REACH_2D, _REACH_2D)]))
    centre, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    nodes = centre[:, None] + half[:, None] * jnp.asarray(_NODES_2D, cuts.dtype)
    density = jnp.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    return nodes, half[:, None] * jnp.asarray(_WEIGHTS_2D, cuts.dtype) * density


def floating(x: Any) -> Array:
    """As an array of floats; whole numbers take JAX's default float dtype.

    >>> str(floating(2).dtype)
    'float32'
    """
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))
