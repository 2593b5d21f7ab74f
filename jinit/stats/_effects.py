"""Computes dimensionless sizes of the difference between two arms."""

from __future__ import annotations

import numpy as np

from jinit import errors
from jinit.stats._bootstrap import MOST_RESAMPLES, Interval, bootstrap
from jinit.stats._location import reals


def effect_size(gaps: np.ndarray, *, seed: int = 0) -> Interval:
    """Hedges' g of paired differences: their mean in units of their standard deviation.

    g = J · mean / s with s the sample standard deviation and J = 1 − 3/(4(n−1) − 1).

    Args:
      gaps: ``(n,)`` differences, finite, n ≥ 3.
      seed: seed of the bootstrap.

    Returns:
      g with a 95 % BCa interval; ±inf if all differences are equal and not 0. With few distinct
      differences, many resamples have standard deviation 0 and an end may be inf.

    Raises:
      ValueError: fewer than 3 differences, or differences that are not finite.

    Reference: Hedges 1981, eq. 6e; Cohen 1988, section 2.3 (d_z).

    >>> round(effect_size(np.array([1.0, 2.0, 3.0, 2.0])).estimate, 2)
    1.78
    """
    gaps = reals(gaps, "gaps")
    if gaps.ndim != 1 or gaps.size < 3 or not np.isfinite(gaps).all():
        raise errors.refusal(
            "gaps",
            f"shape {gaps.shape}, {int((~np.isfinite(gaps)).sum())} not finite",
            "one dimension, at least 3, finite",
            "use probability_of_improvement, which accepts inf",
        )
    small_sample = 1 - 3 / (4 * (gaps.size - 1) - 1)

    def standardized(values: np.ndarray, axis: int) -> np.ndarray:
        mean, spread = values.mean(axis), values.std(axis, ddof=1)
        # Equal values can have a tiny computed standard deviation, which is only rounding error.
        spread = np.where(spread > 1e-12 * np.abs(mean), spread, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(mean == 0, 0.0, small_sample * mean / spread)

    return bootstrap(gaps, standardized, method="bca", seed=seed)


def probability_of_improvement(
    treatment: np.ndarray, baseline: np.ndarray, *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """P(X > Y) + P(X = Y)/2 for independent runs X of the treatment and Y of the baseline.

    This is the Mann–Whitney U divided by n·m. The 95 % percentile interval resamples the runs of
    each arm separately. The interval is too short for few runs, and its ends are NaN if one arm
    always wins or nothing varies. For arms that share seeds, use
    :attr:`Paired.probability_of_improvement`.

    Args:
      treatment, baseline: ``(n,)`` and ``(m,)``, higher is better; inf allowed.
      resamples: number of bootstrap samples.
      seed: seed of the resampling.

    Returns:
      The probability with its interval, in [0, 1].

    Raises:
      ValueError: an empty arm, NaN.

    Reference: Mann & Whitney 1947; Agarwal et al. 2021, section 4.3.

    >>> probability_of_improvement(np.array([3.0, 4.0]), np.array([1.0, 2.0])).estimate
    1.0
    """
    errors.check_integer("resamples", resamples, low=1, high=MOST_RESAMPLES, fix="use 2000")
    errors.check_seed(seed)
    arms = [reals(arm, "arm") for arm in (treatment, baseline)]
    for arm in arms:
        if arm.ndim != 1 or not arm.size or np.isnan(arm).any():
            raise errors.refusal(
                "arm",
                f"shape {arm.shape}, {int(np.isnan(arm).sum())} NaN",
                "one dimension, at least one value, no NaN",
                "use -inf for a diverged run",
            )
    first = arms[0][:, None]
    wins = np.where(first == arms[1], 0.5, first > arms[1])
    rng = np.random.default_rng(seed)
    # Resampling runs is the same as weighting the rows and columns of the table of wins.
    n, m = wins.shape
    rows = rng.multinomial(n, np.full(n, 1 / n), resamples) / n
    columns = rng.multinomial(m, np.full(m, 1 / m), resamples) / m
    replicates = np.einsum("ri,ij,rj->r", rows, wins, columns, optimize=True)
    low, high = np.quantile(replicates, [0.025, 0.975]) if np.ptp(wins) else (np.nan, np.nan)
    return Interval(float(wins.mean()), float(low), float(high))
