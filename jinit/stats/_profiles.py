"""Computes performance profiles, which show the whole distribution of scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jinit import errors
from jinit.stats._bootstrap import MOST_RESAMPLES
from jinit.stats._location import reals


@dataclass(frozen=True)
class PerformanceProfile:
    """The share of runs above each threshold.

    Attributes:
      thresholds: ``(k,)`` scores τ.
      share: ``(k,)``, the share of runs with a score above τ, averaged over tasks.
      low, high: ``(k,)``, ends of the pointwise bootstrap band.
    """

    thresholds: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def performance_profile(
    scores: np.ndarray,
    thresholds: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PerformanceProfile:
    """F(τ) = mean over tasks of the share of runs with score > τ, with a stratified band.

    An arm whose curve lies above another's everywhere is better at every quantile.

    Args:
      scores: ``(runs,)`` or ``(runs, tasks)``, higher is better (negate losses and times); −inf for
        a diverged run.
      thresholds: ``(k,)`` scores τ.
      confidence: nominal coverage of the pointwise band, in (0, 1).
      resamples: number of bootstrap samples, drawn within each task.
      seed: seed of the resampling.

    Returns:
      A :class:`PerformanceProfile`.

    Raises:
      ValueError: no runs, NaN, wrong shapes, a confidence outside (0, 1).

    Reference: Agarwal et al. 2021, section 4.3 and appendix A.3; Dolan & Moré 2002.

    >>> performance_profile(np.array([0.2, 0.6, 0.9]), np.array([0.0, 0.5])).share.round(2)
    array([1.  , 0.67])
    """
    scores, thresholds = reals(scores, "scores"), reals(thresholds, "thresholds")
    errors.check_fraction("confidence", confidence, "use 0.95")
    errors.check_integer("resamples", resamples, low=1, high=MOST_RESAMPLES, fix="use 2000")
    if scores.ndim not in (1, 2) or not scores.size or np.isnan(scores).any():
        raise errors.refusal(
            "scores",
            f"shape {scores.shape}, {int(np.isnan(scores).sum())} NaN",
            "(runs,) or (runs, tasks), at least one run, no NaN",
            "use -inf for a diverged run",
        )
    if thresholds.ndim != 1 or not thresholds.size or np.isnan(thresholds).any():
        raise errors.refusal(
            "thresholds",
            f"shape {thresholds.shape}, {int(np.isnan(thresholds).sum())} NaN",
            "(k,), no NaN",
            "np.linspace(0, 1, 101)",
        )
    scores = scores.reshape(len(scores), -1)
    share = (scores[:, :, None] > thresholds).mean(0)
    # Of n runs drawn with replacement, the number above a threshold is binomial.
    errors.check_seed(seed)
    runs, rng = len(scores), np.random.default_rng(seed)
    replicates = rng.binomial(runs, share, (resamples, *share.shape)).mean(1) / runs
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    return PerformanceProfile(thresholds, share.mean(0), low, high)
