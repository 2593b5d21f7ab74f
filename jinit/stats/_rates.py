"""Computes shares of runs with intervals, and metrics with and without diverged runs."""

from __future__ import annotations

from dataclasses import dataclass

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


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """A share with its Wilson score interval.

    Args:
      successes: number of successes, 0 ≤ successes ≤ trials.
      trials: number of trials, ≥ 1.
      confidence: nominal coverage, in (0, 1).

    Returns:
      An :class:`Interval` inside [0, 1]; its width is positive even for 0 successes.

    Raises:
      ValueError: numbers out of range.

    Reference: Wilson 1927, eq. 5 (``scipy.stats.binomtest``).

    >>> share = wilson(0, 64)
    >>> share.estimate, round(share.high, 3)
    (0.0, 0.057)
    """
    trials = errors.check_integer("trials", trials, low=1, fix="count the runs")
    successes = errors.check_integer(
        "successes", successes, low=0, high=trials, fix="at most the number of runs"
    )
    errors.check_fraction("confidence", confidence, "use 0.95")
    from scipy import stats

    ends = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(successes / trials, float(ends.low), float(ends.high))


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
    kept = values[~diverged]
    missing = Interval(np.nan, np.nan, np.nan)
    return WithDiverged(
        rate=wilson(int(diverged.sum()), int(diverged.size)),
        as_worst=bootstrap(np.where(diverged, worst, values), statistic, seed=seed),
        without=bootstrap(kept, statistic, seed=seed) if kept.size else missing,
    )
