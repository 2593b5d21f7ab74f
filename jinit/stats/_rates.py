"""Computes shares of runs with intervals, and metrics with and without diverged runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from jinit import errors
from jinit.stats._bootstrap import Interval, bootstrap
from jinit.stats._location import Statistic, flags, reals


@dataclass(frozen=True)
class WithDiverged:
    """A metric of an arm, computed with and without the arm's diverged runs.

    Attributes:
      rate: share of diverged runs, with its Wilson interval.
      as_worst: the statistic with diverged runs at the worst value.
      without: the statistic of the other runs; NaN if all diverged. This statistic favours an arm
        whose bad seeds diverged, so never report it alone.
    """

    rate: Interval
    as_worst: Interval
    without: Interval


def wilson(successes: float, trials: int, *, confidence: float = 0.95) -> Interval:
    """A share with its Wilson score interval.

    p̂ = successes/trials, and the ends are (p̂ + z²/2n ± z √(p̂(1 − p̂)/n + z²/4n²)) / (1 + z²/n).

    Args:
      successes: number of successes, 0 ≤ successes ≤ trials. Where several runs share a seed, the
        sum over seeds of each seed's share of successes, and trials is the number of seeds.
      trials: number of independent trials n, ≥ 1.
      confidence: nominal coverage, in (0, 1).

    Returns:
      An :class:`Interval` inside [0, 1]; its width is positive even for 0 successes.

    Raises:
      ValueError: numbers out of range. TypeError: not numbers.

    Reference: Wilson 1927, eq. 5 (``scipy.stats.binomtest``).

    >>> share = wilson(0, 64)
    >>> share.estimate, round(share.high, 3)
    (0.0, 0.057)
    """
    n = errors.check_integer("trials", trials, low=1, high=2**53, fix="count the runs")
    count = errors.check_scalar("successes", successes, low=0.0, fix="count the successes")
    if count > n:
        raise errors.refusal("successes", successes, f"at most {n} trials", "count the successes")
    errors.check_fraction("confidence", confidence, "use 0.95")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = count / n
    centre = share + z**2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    scale = 1 + z**2 / n
    # At 0 and at 1 rounding must not cross the end.
    low = (centre - half) / scale if share > 0 else 0.0
    high = (centre + half) / scale if share < 1 else 1.0
    return Interval(share, max(0.0, low), min(1.0, high))


def with_diverged(
    values: np.ndarray,
    diverged: np.ndarray,
    *,
    worst: float,
    statistic: Statistic = np.median,
    seed: int = 0,
) -> WithDiverged:
    """The share of diverged runs, and a metric with these runs as the worst case and without them.

    Args:
      values: ``(n,)``, the metric; values of diverged runs are not read.
      diverged: ``(n,)`` Booleans.
      worst: the value of a diverged run: 0 for an accuracy, inf for a loss or a time.
      statistic: as in :func:`bootstrap`.
      seed: seed of the resampling.

    Returns:
      A :class:`WithDiverged`.

    Raises:
      ValueError: lengths that differ, no runs, NaN in a run that did not diverge.
      TypeError: flags other than True and False, or 0 and 1.

    Reference: Agarwal et al. 2021, section 3 (no run may be dropped).

    >>> both = with_diverged(np.array([0.9, 0.8, np.nan]), np.array([False, False, True]), worst=0)
    >>> both.as_worst.estimate, round(both.without.estimate, 2)
    (0.8, 0.85)
    """
    values, diverged = reals(values), flags(diverged, "diverged")
    if values.shape != diverged.shape:
        raise errors.refusal("diverged", diverged.shape, f"{values.shape}", "one flag per run")
    of_diverged = reals(worst, "worst")
    if of_diverged.ndim:
        raise errors.wrong_type("worst", worst, "one number", "0.0 for an accuracy, inf for a loss")
    kept = values[~diverged]
    missing = Interval(np.nan, np.nan, np.nan)
    return WithDiverged(
        rate=wilson(int(diverged.sum()), int(diverged.size)),
        as_worst=bootstrap(np.where(diverged, of_diverged, values), statistic, seed=seed),
        without=bootstrap(kept, statistic, seed=seed) if kept.size else missing,
    )
