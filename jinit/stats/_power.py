"""Estimates how many more pairs would settle a comparison."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from jinit import errors
from jinit.stats._location import reals


def more_pairs(gaps: np.ndarray, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Further pairs needed to distinguish the observed mean difference from 0.

    Total pairs n = ((z_{1−α/2} + z_power) · s / |mean|)², but at least log₂(2/α), because a
    signed-rank test cannot reject with fewer; the existing pairs are subtracted. The estimate is
    rough, because mean and standard deviation s are the observed ones.

    Args:
      gaps: ``(n,)`` paired differences, finite.
      alpha: two-sided error rate, in (0, 1).
      power: probability of rejecting the null hypothesis, in (0, 1).

    Returns:
      A whole number ≥ 0 as float; inf if the observed mean is 0, NaN if n < 2.

    Raises:
      ValueError: alpha or power outside (0, 1); gaps that are not finite.

    Reference: Lehr 1992; Cohen 1988, section 2.3.

    >>> more_pairs(np.array([1.0, -1.0, 1.0, 1.0]))
    28.0
    """
    for name, value in (("alpha", alpha), ("power", power)):
        errors.check_fraction(name, value, "use alpha=0.05, power=0.8")
    gaps = reals(gaps, "gaps")
    if gaps.ndim != 1 or not np.isfinite(gaps).all():
        raise errors.refusal(
            "gaps",
            f"shape {gaps.shape}, {int((~np.isfinite(gaps)).sum())} not finite",
            "one dimension, finite",
            "give paired differences",
        )
    if gaps.size < 2:
        return math.nan
    # A mean that is 0 up to rounding error counts as 0.
    if abs(gaps.mean()) <= 1e-12 * np.abs(gaps).max():
        return math.inf
    quantile = _upper(alpha) + NormalDist().inv_cdf(power)
    needed = (quantile * gaps.std(ddof=1) / abs(gaps.mean())) ** 2
    if not math.isfinite(needed):
        return math.inf
    return float(max(0, math.ceil(max(needed, math.log2(2 / max(alpha, 1e-300)))) - gaps.size))


def fewest_pairs(comparisons: int, *, alpha: float = 0.05) -> int:
    """The fewest pairs with which Holm's first step can reject: 2/2ⁿ < alpha / comparisons.

    >>> [fewest_pairs(count) for count in (1, 24)]
    [6, 10]
    """
    return math.floor(1 + math.log2(comparisons / alpha)) + 1


def more_signed_rank_pairs(gaps: np.ndarray, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Further pairs with which the signed-rank test would settle the observed difference.

    Needed are n = (z_{1−α/2} + z_power)² / (3 (p − ½)²) pairs that differ, where p is the share of
    sums d_i + d_j (i < j) that are positive; at least log₂(2/α). Zeros are left out of p, and the
    share of zeros is expected to stay.

    Args:
      gaps: ``(n,)`` paired differences, inf allowed.
      alpha, power: as :func:`more_pairs`.

    Returns:
      A whole number ≥ 0 as float; inf if p is ½ or fewer than two pairs differ; NaN if n < 2.

    Reference: Noether 1987, section 3.

    >>> more_signed_rank_pairs(np.array([1.0, 2.0, 3.0, 4.0]))
    7.0
    """
    differing = np.sort(gaps[gaps != 0])
    if gaps.size < 2:
        return math.nan
    n = differing.size
    if n < 2:
        return math.inf
    nexts, opposite = np.arange(1, n + 1), -differing
    above = n - np.maximum(np.searchsorted(differing, opposite, "right"), nexts)
    level = n - np.maximum(np.searchsorted(differing, opposite, "left"), nexts)
    edge = float(above.sum() + level.sum()) / (n * (n - 1)) - 0.5
    if not edge:
        return math.inf
    quantile = _upper(alpha) + NormalDist().inv_cdf(power)
    needed = max(quantile**2 / (3 * edge**2), math.log2(2 / max(alpha, 1e-300))) * gaps.size / n
    return float(max(0, math.ceil(needed) - gaps.size))


def _upper(alpha: float) -> float:
    """The two-sided normal quantile; the nearest number below 1 stands for 1, which has none."""
    return NormalDist().inv_cdf(1 - max(alpha / 2, 2**-53))
