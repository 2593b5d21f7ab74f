"""Traces the edge of chaos (the critical line χ₁ = 1) in NumPy float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jinit import errors
from jinit.activations import ActivationLike
from jinit.theory._checks import check_continuous
from jinit.theory._roots import GRID, TOLERANCE, read_in_float64, roots, unresolved
from jinit.theory._stability import length_fixed_points
from jinit.theory._table import MomentTable
from jinit.theory._tabulate import moment_table

# A smaller σ_b² is rounding error of q − σ_w² E φ² on the grid.
_NO_BIAS = 3e-8


def edge_of_chaos(activation: ActivationLike, sigma_b: float = 0.0) -> float:
    """σ_w on the critical line: χ₁ = 1 at the fixed point q*(σ_w, σ_b).

    The line is parameterized by q: σ_w = 1/√E[φ′(√q z)²] and σ_b² = q − σ_w² E[φ(√q z)²]. The
    answer is σ_w at the smallest q that has the given σ_b and whose fixed point is stable.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_b: standard deviation of the biases, ≥ 0.

    Returns:
      σ_w, dimensionless (weights are N(0, σ_w²/n)); relative error about 1e-9. A σ_b below 3e-8
      counts as 0.

    Raises:
      ValueError: no critical point at this σ_b, or none whose q* is stable (gelu and silu at small
        σ_b); a negative σ_b; an unknown activation, one that jumps.
      TypeError: a σ_b that is an array or traced.

    Reference: Poole et al. 2016, equation 5; Schoenholz et al. 2017, section 3.

    >>> round(edge_of_chaos("tanh", 0.05**0.5) ** 2, 6)
    1.760955
    """
    sigma_b = errors.check_scalar("sigma_b", sigma_b, low=0.0, high=1e150, fix="use 0.0")
    table = moment_table(activation)
    check_continuous(table, "edge of chaos")
    at_zero = float(read_in_float64(table, 0.0).slope_second)
    if sigma_b < _NO_BIAS and table.at_zero == 0 and at_zero > 0:
        # Signals die out (q* ≈ 0), or keep any length q if φ′(√q z) does not depend on q.
        sigma_w = 1 / math.sqrt(at_zero)
        return _require_stable(
            table, sigma_w, 0.0, sigma_b, growth=_growth_over(table, sigma_w, 1e-3)
        )
    points = roots(lambda q: _bias_variance(table, q) - sigma_b**2, GRID)
    if not points:
        raise _no_critical_point(table, f"sigma_b={sigma_b:g}", _bias_variance(table, GRID))
    answers = [(1 / math.sqrt(float(read_in_float64(table, q).slope_second)), q) for q in points]
    slopes = [sigma_w**2 * float(read_in_float64(table, q).growth) for sigma_w, q in answers]
    best = _first_stable(slopes)
    return _require_stable(table, *answers[best], sigma_b, growth=slopes[best] - 1)


def critical_sigma_b(activation: ActivationLike, sigma_w: float) -> float:
    """σ_b on the critical line at this σ_w: the inverse of :func:`edge_of_chaos`.

    If the line passes this σ_w more than once (gelu, silu, sin), the answer belongs to the smallest
    q whose fixed point is stable.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: standard deviation of the weights times √n, > 0.

    Returns:
      σ_b ≥ 0; relative error about 1e-9.

    Raises:
      ValueError: no critical point at this σ_w, or none whose q* is stable; a σ_w that is not
        positive; an unknown activation, one that jumps.
      TypeError: a σ_w that is an array or traced.

    Reference: Poole et al. 2016, equation 5.

    >>> round(critical_sigma_b("tanh", 1.760955**0.5) ** 2, 6)
    0.05
    """
    sigma_w = errors.check_scalar("sigma_w", sigma_w, low=0.0, open_low=True, fix="use 1.5")
    table = moment_table(activation)
    check_continuous(table, "edge of chaos")
    at_zero = float(read_in_float64(table, 0.0).slope_second)
    if table.at_zero == 0 and abs(sigma_w**2 * at_zero - 1) < TOLERANCE:
        _require_stable(table, sigma_w, 0.0, 0.0, growth=_growth_over(table, sigma_w, 1e-3))
        return 0.0
    points = roots(
        lambda q: np.asarray(sigma_w**2 * read_in_float64(table, q).slope_second - 1), GRID
    )
    # A σ_b² slightly below 0 is rounding error.
    points = [q for q in points if float(_bias_variance(table, q)) >= -1e-12 * q]
    if not points:
        raise _no_critical_point(table, f"sigma_w={sigma_w:g}", _bias_variance(table, GRID))
    slopes = [sigma_w**2 * float(read_in_float64(table, q).growth) for q in points]
    best = _first_stable(slopes)
    sigma_b = math.sqrt(max(0.0, float(_bias_variance(table, points[best]))))
    _require_stable(table, sigma_w, points[best], sigma_b, growth=slopes[best] - 1)
    return sigma_b


@dataclass(frozen=True, eq=False)
class CriticalLine:
    """Stable critical points in the order of q; float64 arrays ``(points,)``, empty if none exist.

    Attributes:
      q: the fixed point q*, a variance of pre-activations.
      sigma_w: standard deviation of the weights times √n, with χ₁ = 1 at q*.
      sigma_b: standard deviation of the biases, with fixed point q*.
    """

    q: np.ndarray
    sigma_w: np.ndarray
    sigma_b: np.ndarray


def critical_line(activation: ActivationLike) -> CriticalLine:
    """The edge of chaos as a curve over q: σ_w² = 1/E φ′² and σ_b² = q − σ_w² E φ².

    Args:
      activation: a name, a spec string or an elementwise callable.

    Returns:
      :class:`CriticalLine` on 10⁻⁶ ≤ q ≤ 10⁴, 200 points per decade, without points at which the
      fixed point of the length map is unstable. ReLU has the same σ_w and σ_b at every q.

    Raises:
      ValueError: an unknown activation, one that jumps.

    Reference: Poole et al. 2016, equation 5; Schoenholz et al. 2017, section 3.

    >>> line = critical_line("tanh")
    >>> at = np.searchsorted(line.q, 0.57)
    >>> round(float(line.sigma_w[at] ** 2), 2), round(float(line.sigma_b[at] ** 2), 2)
    (1.77, 0.05)
    """
    table = moment_table(activation)
    check_continuous(table, "edge of chaos")
    q = np.geomspace(1e-6, 1e4, 2001)
    at, bias_variance = read_in_float64(table, q), _bias_variance(table, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = at.growth / at.slope_second
    # Growth tends to 1 as q tends to 0, stable or not, so growth − 1 is compared with q.
    stable = (bias_variance >= -1e-9 * q) & (growth <= 1 + 1e-3 * np.minimum(q, 1e-3))
    sigma_b = np.sqrt(np.maximum(bias_variance[stable], 0.0))
    return CriticalLine(q[stable], 1 / np.sqrt(at.slope_second[stable]), sigma_b)


def critical_rate(activation: ActivationLike, sigma_b: float = 0.0) -> float:
    """The rate β of 1 − c_l ≈ β/l, for large l, on the edge of chaos of a smooth activation.

    c_l is the correlation of two inputs in layer l.

    β = 2 E[φ′²] / (q* E[φ″²]).

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_b: standard deviation of the biases, ≥ 0, such that q* > 0.

    Returns:
      β; 0.0 if φ′ jumps, because 1 − c_l then falls as 1/l² (9π²/(2l²) for ReLU).

    Raises:
      ValueError: as :func:`edge_of_chaos`, or q* = 0. TypeError: as :func:`edge_of_chaos`.

    Reference: Hayou et al. 2019, proposition 3.

    >>> round(critical_rate("tanh", 0.05**0.5), 4)
    6.1711
    """
    sigma_w = edge_of_chaos(activation, sigma_b)
    table = moment_table(activation)
    if table.slope_jumps:
        return 0.0
    points = length_fixed_points(activation, sigma_w, sigma_b)
    stable = [point.value for point in points if point.kind == "stable"]
    if not stable or stable[0] == 0:
        raise errors.refusal(
            f"critical rate of {table.name}",
            f"q* = 0 at sigma_b={sigma_b:g}",
            "a fixed point q* > 0",
            "use sigma_b > 0",
        )
    q = stable[0]
    at = read_in_float64(table, q)
    return float(2 * at.slope_second / (q * at.curvature_second))


def _bias_variance(table: MomentTable, q: np.ndarray | float) -> np.ndarray:
    """σ_b² of the critical point whose fixed point is q; −inf if E φ′² = 0."""
    at = read_in_float64(table, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        return q - np.where(at.slope_second == 0, np.inf, at.second / at.slope_second)


def _first_stable(slopes: list[float]) -> int:
    """Index of the first stable fixed point; 0 if none is stable."""
    return next((i for i, slope in enumerate(slopes) if slope < 1 + TOLERANCE), 0)


def _require_stable(
    table: MomentTable, sigma_w: float, q: float, sigma_b: float, *, growth: float
) -> float:
    """Returns σ_w; raises ValueError if lengths near the fixed point q grow away from it."""
    if growth > 1e-5:
        raise errors.refusal(
            f"edge of chaos of {table.name}",
            f"an unstable fixed point q*={q:.3g} at sigma_b={sigma_b:g}",
            "a critical point whose length map is stable",
            "raise sigma_b, or use scaled_for, which keeps the length at q = 1",
        )
    return sigma_w


def _growth_over(table: MomentTable, sigma_w: float, q: float) -> float:
    """V(q)/q − 1 for a network without biases."""
    return sigma_w**2 * float(read_in_float64(table, q).second) / q - 1


def _no_critical_point(table: MomentTable, where: str, searched: np.ndarray) -> ValueError:
    """The error for a missing critical point; another one if moments on the grid are NaN."""
    if np.isnan(searched).any():
        return unresolved(table, f"a critical point at {where}")
    return errors.refusal(
        f"edge of chaos of {table.name}",
        f"no critical point at {where}",
        "an activation and a sigma with chi_1 = 1 somewhere",
        "change it, or use scaled_for, which keeps the length at q = 1",
    )
