"""Computes bootstrap intervals of statistics of values that may be inf ("never")."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from jinit import errors
from jinit.stats._location import Statistic, reals

# Replicates are computed in chunks of about this many numbers, which fit in cache.
_CHUNK = 2**18
# More resamples than this need gigabytes and hours, and change no digit that matters.
MOST_RESAMPLES = 10_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, in the unit of the data.

    Attributes:
      estimate: the statistic of the data.
      low, high: ends of the interval; NaN where the data give none: for one value, or if all values
        are alike, because equal values say nothing about the spread of further ones.
    """

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"

    def _repr_html_(self) -> str:
        return str(self)


def bootstrap(
    values: np.ndarray,
    statistic: Statistic = np.median,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: str = "percentile",
    strata: np.ndarray | None = None,
) -> Interval:
    """The bootstrap interval of a statistic.

    Both methods take quantiles of the replicates, at a tail probability that is adjusted for small
    samples: Φ(−√(n/(n−s)) · t_{1−α/2, n−s}) for s strata (s = 1 without strata). Plain percentile
    intervals are too short, because they use n instead of n − 1 and a normal instead of a t
    quantile. ``"bca"`` also corrects for the bias of the replicates and for a standard error that
    changes with the parameter (acceleration).

    Args:
      values: ``(n,)``, finite or inf; no NaN.
      statistic: ``statistic(array, axis=…) -> array``, e.g. ``np.median``, ``np.mean``, ``iqm``.
      confidence: nominal coverage, in (0, 1).
      resamples: number of bootstrap samples of size n.
      seed: seed of the resampling; the same seed gives the same interval.
      method: ``"percentile"``, or ``"bca"``, which is better for skewed statistics and needs finite
        values. The acceleration comes from the jackknife, which is inaccurate for medians.
      strata: ``(n,)`` labels; each stratum (a task, a data set) is resampled separately and keeps
        its size.

    Returns:
      An :class:`Interval`; both ends are NaN for fewer than two different values, and if the
      statistic of a replicate is NaN, for example the mean of inf and −inf. Measured coverage of
      95 % intervals (``experiments/interval_calibration.py``): 94 to 97 % for normal, lognormal and
      bimodal values at n = 16, 32 and 64, but 87 to 92 % for the mean of lognormal values.

    Raises:
      ValueError: no values, NaN, a confidence outside (0, 1), an unknown method, infinite values
        with ``"bca"``, strata of another length or of one value each, a negative seed.
      TypeError: values that are not real numbers, a statistic that is not callable.

    Reference: Efron 1987, eq. 2.3 (BCa); Davison & Hinkley 1997, section 3.2 (strata); Hesterberg
    2015, section 5.3 (tails).

    >>> bootstrap(np.array([1.0, 2.0, 3.0, 4.0]), np.mean, confidence=0.8)
    Interval(estimate=2.5, low=1.5, high=3.5)
    >>> bootstrap(np.array([1.0, 1.0, 1.0]))
    Interval(estimate=1.0, low=nan, high=nan)
    """
    values = reals(values)
    errors.check_fraction("confidence", confidence, "use 0.95")
    errors.check_integer("resamples", resamples, low=1, high=MOST_RESAMPLES, fix="use 2000")
    errors.check_choice("method", method, ("percentile", "bca"))
    errors.check_seed(seed)
    if not callable(statistic):
        raise errors.wrong_type("statistic", statistic, "statistic(array, axis=…)", "np.median")
    if values.ndim != 1 or not values.size or np.isnan(values).any():
        raise errors.refusal(
            "values",
            f"shape {values.shape}, {int(np.isnan(values).sum())} NaN",
            "one dimension, at least one value, no NaN",
            "use inf for 'never'",
        )
    if method == "bca" and not np.isfinite(values).all():
        raise errors.refusal("values", "inf", "finite values for 'bca'", "method='percentile'")
    groups = _groups(values, strata)
    with np.errstate(invalid="ignore"):
        estimate = _estimate(statistic, values)
        if (values == values[0]).all():
            return Interval(estimate, math.nan, math.nan)
        replicates = _replicates(groups, statistic, resamples, seed)
    if (replicates == replicates[0]).all():
        return Interval(estimate, float(replicates[0]), float(replicates[0]))
    tails = _widened(confidence, values.size, values.size - len(groups))
    if method == "bca":
        tails = _accelerated(tails, estimate, replicates, groups, statistic)
    # Nearest-rank quantiles, because interpolation between a number and inf gives NaN.
    low, high = np.quantile(replicates, tails, method="closest_observation")
    return Interval(estimate, float(low), float(high))


def _estimate(statistic: Statistic, values: np.ndarray) -> float:
    try:
        estimate = np.asarray(statistic(values[None], axis=1))
    except TypeError as problem:
        raise errors.wrong_type(
            "statistic", str(problem), "statistic(array, axis=…)", "np.median"
        ) from problem
    if estimate.shape != (1,):
        raise errors.refusal(
            "statistic",
            f"shape {estimate.shape} for (1, {values.size}) and axis=1",
            "one number per row",
            "reduce over axis",
        )
    return float(estimate[0])


def _groups(values: np.ndarray, strata: np.ndarray | None) -> list[np.ndarray]:
    if strata is None:
        return [values]
    try:
        strata = np.asarray(strata)
        labels, which = np.unique(strata, return_inverse=True)
    except (ValueError, TypeError):
        raise errors.wrong_type("strata", strata, "labels of one kind", "[0, 0, 1, 1]") from None
    if strata.shape != values.shape:
        raise errors.refusal("strata", strata.shape, f"{values.shape}", "one label per value")
    if len(labels) == values.size > 1:
        raise errors.refusal("strata", "one value in each", "several values in some", "strata=None")
    return [values[which == number] for number in range(len(labels))]


def _replicates(
    groups: list[np.ndarray], statistic: Statistic, resamples: int, seed: int
) -> np.ndarray:
    """``(resamples,)``: the statistic of samples drawn with replacement within each group."""
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // sum(group.size for group in groups))
    replicates = []
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        # 32-bit indices are drawn and gathered faster than 64-bit ones.
        drawn = [
            group.take(rng.integers(0, group.size, size=(size, group.size), dtype=np.uint32))
            for group in groups
        ]
        replicates.append(statistic(np.concatenate(drawn, axis=1), axis=1))
    return np.concatenate(replicates)


def _widened(confidence: float, size: int, freedom: int) -> tuple[float, float]:
    if freedom < 1:
        return (1 - confidence) / 2, (1 + confidence) / 2
    from scipy import special

    t = special.stdtrit(freedom, (1 + confidence) / 2)
    tail = NormalDist().cdf(-math.sqrt(size / freedom) * t)
    return tail, 1 - tail


def _accelerated(
    tails: tuple[float, float],
    estimate: float,
    replicates: np.ndarray,
    groups: list[np.ndarray],
    statistic: Statistic,
) -> tuple[float, float]:
    normal = NormalDist()
    share = (np.mean(replicates < estimate) + np.mean(replicates <= estimate)) / 2
    edge = 0.5 / replicates.size
    bias = normal.inv_cdf(float(np.clip(share, edge, 1 - edge)))
    # Jackknife: the influence of a value comes from the statistic of all other values.
    cubes = squares = 0.0
    for number, group in enumerate(groups):
        if group.size < 2:
            continue
        others = np.concatenate([*groups[:number], *groups[number + 1 :], np.empty(0)])
        without = group[(np.arange(group.size)[:, None] + np.arange(1, group.size)) % group.size]
        left = statistic(
            np.concatenate([without, np.broadcast_to(others, (group.size, others.size))], axis=1),
            axis=1,
        )
        with np.errstate(invalid="ignore"):
            influence = (group.size - 1) * (left.mean() - left) / group.size
        cubes, squares = cubes + (influence**3).sum(), squares + (influence**2).sum()
    acceleration = cubes / (6 * squares**1.5) if 0 < squares < math.inf else 0.0

    def moved(tail: float) -> float:
        z = bias + normal.inv_cdf(min(max(tail, 1e-12), 1 - 1e-12))
        # Beyond the pole, acceleration · z > 1, the formula changes sign: the tail is 0 or 1 there.
        slope = 1 - acceleration * z
        return normal.cdf(bias + z / slope) if slope > 0 else float(z > 0)

    return moved(tails[0]), moved(tails[1])
