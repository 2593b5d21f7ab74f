"""Fixed points and the edge of chaos in float64: host-side numbers, never traced."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._float64 import in_float64
from jinit.activations import ActivationLike
from jinit.theory._mean_field import check_signal
from jinit.theory._moments import Moments, pair, read
from jinit.theory._tables import Table, check_continuous, table
from jinit.typing import Array

# Wider than the error of a tabulated moment, 1e-9.
_TOLERANCE = 1e-7
# Where critical points are looked for.
_GRID = np.geomspace(1e-6, 1e4, 400)
# σ_b² that is rounding error of q − σ_w² E φ² on that grid.
_NO_BIAS = 3e-8


@dataclass(frozen=True)
class FixedPoint:
    """A fixed point of a map.

    Attributes:
      value: where it is.
      slope: the map's slope there; below 1 in size the point attracts.
      kind: ``"stable"``, ``"unstable"`` or ``"marginal"`` (slope 1: algebraic, or a whole line of
        fixed points).
    """

    value: float
    slope: float
    kind: str


def length_fixed_points(
    activation: ActivationLike, sigma_w: float, sigma_b: float = 0.0
) -> tuple[FixedPoint, ...]:
    """All q with q = σ_w² E[φ(√q z)²] + σ_b², and whether they attract.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: standard deviations, weights times √n; ≥ 0.

    Returns:
      Ascending, looked for in 1e-12 ≤ q ≤ 1e30 as far as E φ² is known, and 0 where φ(0) = 0 and
      σ_b = 0; two closer than 5 % (20 % below 1e-5) are not told apart. Where every length is a
      fixed point (critical ReLU) only 0, marginal.

    Raises:
      ValueError: a number out of range, an unknown activation; none found, and E φ² not known
        everywhere. TypeError: an array or a tracer.

    Reference: Poole et al. 2016, section 3.

    >>> [(round(p.value, 4), p.kind) for p in length_fixed_points("tanh", 1.5)]
    [(0.0, 'unstable'), (0.7934, 'stable')]
    """
    sigma_w, sigma_b = _checked(sigma_w, sigma_b)
    known = table(activation)
    check_continuous(known, "stability of lengths")

    def excess(q: np.ndarray) -> np.ndarray:
        return np.asarray(sigma_w**2 * _read(known, q).second + sigma_b**2 - q)

    def point(q: float) -> FixedPoint:
        return _point(q, float(sigma_w**2 * _read(known, q).growth))

    far = known.seconds()[0]
    fine = known.nodes()[1:]
    grid = np.concatenate([np.geomspace(1e-13, 1e-5, 100), fine**2, far[far > fine[-1]] ** 2])
    found = [point(q) for q in _roots(excess, np.unique(grid))]
    if known.at_zero == 0 and sigma_b == 0:
        found = [point(0.0), *(each for each in found if each.value > 1e-12)]
    if not found and np.isnan(excess(grid)).any():
        raise _unknown(known, "fixed points")
    return tuple(found)


def correlation_fixed_points(
    activation: ActivationLike, sigma_w: float, sigma_b: float, q: float
) -> tuple[FixedPoint, ...]:
    """All c in [−1, 1] with c = C(c) at this variance, and whether they attract.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: as :func:`length_fixed_points`.
      q: the variance at which lengths have settled, > 0.

    Returns:
      Descending from 1, which always is one. At σ_b = 0 an odd activation has −1 too.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps. TypeError: an array
        or a tracer.

    Reference: Poole et al. 2016, section 4.

    >>> [(round(p.value, 4), p.kind) for p in correlation_fixed_points("tanh", 2.0, 0.3, 2.5)]
    [(1.0, 'unstable'), (0.2452, 'stable')]
    """
    sigma_w, sigma_b = _checked(sigma_w, sigma_b)
    q = errors.check_scalar("q", q, low=0.0, open_low=True, fix="use length_fixed_point")
    check_signal(sigma_w, sigma_b)
    known = table(activation)
    factor = sigma_w**2 * q / (sigma_w**2 * float(_read(known, q).second) + sigma_b**2)

    def shares(gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        def both() -> tuple[Array, Array]:
            at = read(known, jnp.asarray(q))
            return pair(known, at, jnp.asarray(math.sqrt(q)), jnp.asarray(gap))

        share, slope = in_float64(both)
        return factor * np.asarray(share), factor * np.asarray(slope)

    # gap' = gap · share(gap): below a gap of 1e-12 the limit χ₁ is meant.
    gaps = np.concatenate([np.geomspace(1e-12, 0.5, 60), np.linspace(0.52, 2.0, 75)])
    found = [_point(1.0, float(factor * _read(known, q).slope_second))]
    for gap in _roots(lambda gap: shares(gap)[0] - 1, gaps):
        if gap > 1e-9:
            found.append(_point(1 - gap, float(shares(np.asarray(gap))[1])))
    return tuple(found)


def edge_of_chaos(activation: ActivationLike, sigma_b: float = 0.0) -> float:
    """σ_w on the critical line: χ₁ = 1 at the fixed point q*(σ_w, σ_b).

    The line is traced by q: σ_w = 1/√E[φ′(√q z)²], and then σ_b² = q − σ_w² E[φ(√q z)²]. The
    answer is the σ_w of the smallest q at which σ_b² is the one asked for and lengths near q come
    back to it.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_b: standard deviation of the biases, ≥ 0.

    Returns:
      σ_w, dimensionless (weights are N(0, σ_w²/n)); relative error about 1e-9. A σ_b below 3e-8
      counts as 0.

    Raises:
      ValueError: no critical point at this σ_b, or only one whose q* is not stable (gelu and silu
        at small σ_b); a negative σ_b; an unknown activation.
      TypeError: a σ_b that is an array or traced.

    Reference: Poole et al. 2016, equation 5; Schoenholz et al. 2017, section 3.

    >>> round(edge_of_chaos("tanh", 0.05**0.5) ** 2, 6)
    1.760955
    """
    sigma_b = errors.check_scalar("sigma_b", sigma_b, low=0.0, fix="use 0.0")
    known = table(activation)
    check_continuous(known, "edge of chaos")
    at_zero = float(_read(known, 0.0).slope_second)
    if sigma_b < _NO_BIAS and known.at_zero == 0 and at_zero > 0:
        # The length dies out or stays: q* ≈ 0, or any q where φ′ does not depend on scale.
        sigma_w = 1 / math.sqrt(at_zero)
        return _stable(known, sigma_w, 0.0, sigma_b, growth=_growth_over(known, sigma_w, 1e-3))
    roots = _roots(lambda q: critical_bias_variance(known, q) - sigma_b**2, _GRID)
    if not roots:
        raise _nowhere(known, f"sigma_b={sigma_b:g}", critical_bias_variance(known, _GRID))
    answers = [(1 / math.sqrt(float(_read(known, q).slope_second)), q) for q in roots]
    slopes = [sigma_w**2 * float(_read(known, q).growth) for sigma_w, q in answers]
    best = _first_stable(slopes)
    return _stable(known, *answers[best], sigma_b, growth=slopes[best] - 1)


def critical_sigma_b(activation: ActivationLike, sigma_w: float) -> float:
    """σ_b on the critical line at this σ_w: an inverse of :func:`edge_of_chaos`.

    Where the line passes this σ_w more than once (gelu, silu, sin), the σ_b of the smallest q at
    which lengths come back, as there; :func:`critical_line` has all.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: standard deviation of the weights times √n, > 0.

    Returns:
      σ_b ≥ 0; relative error about 1e-9.

    Raises:
      ValueError: no critical point at this σ_w, or one whose q* is not stable; a σ_w that is not
        positive; an unknown activation.

    Reference: Poole et al. 2016, equation 5.

    >>> round(critical_sigma_b("tanh", 1.760955**0.5) ** 2, 6)
    0.05
    """
    sigma_w = errors.check_scalar("sigma_w", sigma_w, low=0.0, open_low=True, fix="use 1.5")
    known = table(activation)
    check_continuous(known, "edge of chaos")
    at_zero = float(_read(known, 0.0).slope_second)
    if known.at_zero == 0 and abs(sigma_w**2 * at_zero - 1) < _TOLERANCE:
        _stable(known, sigma_w, 0.0, 0.0, growth=_growth_over(known, sigma_w, 1e-3))
        return 0.0
    roots = _roots(lambda q: np.asarray(sigma_w**2 * _read(known, q).slope_second - 1), _GRID)
    # A little below 0 is rounding error.
    roots = [q for q in roots if float(critical_bias_variance(known, q)) >= -1e-12 * q]
    if not roots:
        raise _nowhere(known, f"sigma_w={sigma_w:g}", critical_bias_variance(known, _GRID))
    slopes = [sigma_w**2 * float(_read(known, q).growth) for q in roots]
    best = _first_stable(slopes)
    sigma_b = math.sqrt(max(0.0, float(critical_bias_variance(known, roots[best]))))
    _stable(known, sigma_w, roots[best], sigma_b, growth=slopes[best] - 1)
    return sigma_b


def _first_stable(slopes: list[float]) -> int:
    """The first point to which lengths come back; the first of all if there is none."""
    return next((i for i, slope in enumerate(slopes) if slope < 1 + _TOLERANCE), 0)


@dataclass(frozen=True, eq=False)
class CriticalLine:
    """Stable critical points, ascending in q; float64 arrays ``(points,)``, empty where none is.

    Attributes:
      q: q*, the variance of the pre-activations there.
      sigma_w: where χ₁ = 1 at it. sigma_b: where it is the fixed point.
    """

    q: np.ndarray
    sigma_w: np.ndarray
    sigma_b: np.ndarray


def critical_line(activation: ActivationLike) -> CriticalLine:
    """The edge of chaos, traced by q: σ_w² = 1/E φ′² and σ_b² = q − σ_w² E φ².

    Args:
      activation: a name, a spec string or an elementwise callable.

    Returns:
      :class:`CriticalLine` on 10⁻⁶ ≤ q ≤ 10⁴, 200 points a decade, without those at which the
      length map repels. ReLU's is one point at every q.

    Raises:
      ValueError: an unknown activation.

    Reference: Poole et al. 2016, equation 5; Schoenholz et al. 2017, section 3.

    >>> line = critical_line("tanh")
    >>> at = np.searchsorted(line.q, 0.57)
    >>> round(float(line.sigma_w[at] ** 2), 2), round(float(line.sigma_b[at] ** 2), 2)
    (1.77, 0.05)
    """
    known = table(activation)
    check_continuous(known, "edge of chaos")
    q = np.geomspace(1e-6, 1e4, 2001)
    at, bias_variance = _read(known, q), critical_bias_variance(known, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = at.growth / at.slope_second
    # Growth tends to 1 as q does to 0, stable or not: what counts is growth − 1 against q.
    stable = (bias_variance >= -1e-9 * q) & (growth <= 1 + 1e-3 * np.minimum(q, 1e-3))
    sigma_b = np.sqrt(np.maximum(bias_variance[stable], 0.0))
    return CriticalLine(q[stable], 1 / np.sqrt(at.slope_second[stable]), sigma_b)


def critical_bias_variance(known: Table, q: Any) -> np.ndarray:
    """σ_b² of the critical point whose fixed point is q; −inf where φ has no slope.

    >>> found = critical_bias_variance(table("relu"), np.array([1.0]))
    >>> bool(abs(found[0]) < 1e-12)
    True
    """
    found = _read(known, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        return q - np.where(found.slope_second == 0, np.inf, found.second / found.slope_second)


def critical_rate(activation: ActivationLike, sigma_b: float = 0.0) -> float:
    """β with 1 − c_l → β/l on the edge of chaos of a smooth activation, l the layer.

    β = 2 E[φ′²] / (q* E[φ″²]).

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_b: standard deviation of the biases, > 0 or where q* > 0.

    Returns:
      β; 0.0 where φ′ jumps: then 1 − c_l falls as 1/l² (9π²/(2l²) for ReLU).

    Raises:
      ValueError: as :func:`edge_of_chaos`; q* = 0.

    Reference: Hayou et al. 2019, proposition 3.

    >>> round(critical_rate("tanh", 0.05**0.5), 4)
    6.1711
    """
    sigma_w = edge_of_chaos(activation, sigma_b)
    known = table(activation)
    if known.bends:
        return 0.0
    settled = [p for p in length_fixed_points(activation, sigma_w, sigma_b) if p.kind == "stable"]
    if not settled or settled[0].value == 0:
        raise errors.refusal(
            f"critical rate of {known.name}", f"q* = 0 at sigma_b={sigma_b:g}",
            "a fixed point q* > 0", "use sigma_b > 0",
        )  # fmt: skip
    q = settled[0].value
    found = _read(known, q)
    return float(2 * found.slope_second / (q * found.curvature_second))


def _checked(sigma_w: float, sigma_b: float) -> tuple[float, float]:
    return (
        errors.check_scalar("sigma_w", sigma_w, low=0.0, fix="use 1.0"),
        errors.check_scalar("sigma_b", sigma_b, low=0.0, fix="use 0.0"),
    )


def _stable(known: Table, sigma_w: float, q: float, sigma_b: float, *, growth: float) -> float:
    """σ_w, if the length map brings lengths near q back: it does not grow them."""
    if growth > 1e-5:
        raise errors.refusal(
            f"edge of chaos of {known.name}",
            f"an unstable fixed point q*={q:.3g} at sigma_b={sigma_b:g}",
            "a critical point whose length map is stable",
            "raise sigma_b, or use scaled_for, which keeps the length at q = 1",
        )
    return sigma_w


def _growth_over(known: Table, sigma_w: float, q: float) -> float:
    """V(q)/q − 1 without bias."""
    return sigma_w**2 * float(_read(known, q).second) / q - 1


def _nowhere(known: Table, where: str, searched: np.ndarray) -> ValueError:
    """Why there is no critical point, unless it may lie where the moments are not known."""
    if np.isnan(searched).any():
        return _unknown(known, f"a critical point at {where}")
    return errors.refusal(
        f"edge of chaos of {known.name}",
        f"no critical point at {where}",
        "an activation and a sigma with chi_1 = 1 somewhere",
        "change it, or use scaled_for, which keeps the length at q = 1",
    )


def _unknown(known: Table, what: str) -> ValueError:
    first = _GRID[np.isnan(_read(known, _GRID).second + _read(known, _GRID).slope_second)]
    return errors.refusal(
        f"{what} of {known.name}",
        f"none where its moments are known; they are not from q = {first.min():.3g} on",
        "an activation whose moments can be integrated up to q = 1e4",
        "use one that varies or grows less, or split its kinks by naming them",
    )


def _point(value: float, slope: float) -> FixedPoint:
    size = abs(slope)
    kind = "marginal" if abs(size - 1) < _TOLERANCE else "stable" if size < 1 else "unstable"
    return FixedPoint(value, slope, kind)


def _read(known: Table, q: Any) -> Moments:
    """The moments in NumPy."""
    return in_float64(lambda: read(known, jnp.asarray(q, jnp.float64)))


def _roots(function: Callable[[np.ndarray], np.ndarray], grid: np.ndarray) -> list[float]:
    """Roots between neighbours of an ascending grid > 0, all bisected at once to 1e-13."""
    values = function(grid)
    crossing = np.isfinite(values[:-1]) & np.isfinite(values[1:])
    # Zero along a line is no crossing, up to rounding.
    size = 1e-10 * np.maximum(1e-12, np.abs(grid))
    signs = np.where(np.abs(values) <= size, 0.0, np.sign(values))
    crossing &= (signs[:-1] * signs[1:] < 0) | ((signs[:-1] != 0) & (signs[1:] == 0))
    low, high = grid[:-1][crossing], grid[1:][crossing]
    if not len(low):
        return []
    sign = signs[:-1][crossing]
    for _ in range(55):
        middle = np.sqrt(low * high)
        same = np.sign(function(middle)) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return [float(root) for root in np.sqrt(low * high)]
