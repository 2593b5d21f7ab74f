"""Ranks arms over many blocks (data sets, depths, seeds)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jinit import errors
from jinit.stats._location import reals


@dataclass(frozen=True)
class Ranking:
    """Mean ranks, and the smallest significant difference of two mean ranks.

    Attributes:
      mean_ranks: ``(arms,)``, 1 is best; tied arms share their mean rank.
      p_value: p-value of Friedman's test that all arms are equal; 1 if all scores are tied.
      critical_difference: two arms differ significantly if their mean ranks differ by more.
    """

    mean_ranks: np.ndarray
    p_value: float
    critical_difference: float


def rank(scores: np.ndarray, *, higher_is_better: bool = True, alpha: float = 0.05) -> Ranking:
    """Ranks arms with Friedman's test and Nemenyi's critical difference.

    CD = q_α √(k(k+1) / (6N)) for k arms and N blocks, where q_α is the 1 − α quantile of the
    studentized range of k normal variables, divided by √2.

    Args:
      scores: ``(blocks, arms)``, every arm in every block (data set, seed); inf is allowed, NaN is
        not.
      higher_is_better: direction of improvement.
      alpha: family-wise error of the critical difference, in (0, 1).

    Returns:
      A :class:`Ranking`.

    Raises:
      ValueError: fewer than 2 blocks or 3 arms, NaN, alpha outside (0, 1).

    Reference: Friedman 1937; Nemenyi 1963; Demšar 2006, section 3.2.2.

    >>> ranking = rank(np.array([[0.9, 0.8, 0.1], [0.7, 0.6, 0.5], [0.9, 0.5, 0.4]]))
    >>> ranking.mean_ranks, round(ranking.critical_difference, 2)
    (array([1., 2., 3.]), 1.91)
    """
    scores = reals(scores, "scores")
    errors.check_fraction("alpha", alpha, "use 0.05")
    errors.check_bool("higher_is_better", higher_is_better)
    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] < 3 or np.isnan(scores).any():
        raise errors.refusal(
            "scores",
            f"shape {scores.shape}, {int(np.isnan(scores).sum())} NaN",
            "(blocks >= 2, arms >= 3), no NaN",
            "for two arms use stats.paired",
        )
    from scipy import stats

    ranks = stats.rankdata(-scores if higher_is_better else scores, axis=1)
    blocks, arms = scores.shape
    all_tied = (ranks == ranks[:, :1]).all()
    return Ranking(
        mean_ranks=ranks.mean(0),
        p_value=1.0 if all_tied else float(stats.friedmanchisquare(*ranks.T).pvalue),
        critical_difference=float(
            stats.studentized_range.ppf(1 - alpha, arms, np.inf)  # type: ignore[attr-defined]
            / math.sqrt(2)
            * math.sqrt(arms * (arms + 1) / (6 * blocks))
        ),
    )
