"""Is the difference real? Paired comparisons on shared seeds, with multiplicity correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jinit import errors
from jinit.stats.bootstrap import Interval, bootstrap
from jinit.stats.power import more_pairs


@dataclass(frozen=True)
class Paired:
    """One paired comparison, before correction for how many were made.

    Attributes:
      pairs: number of pairs.
      difference: mean of (treatment − baseline) with its 95 % interval; the median where some
        values are inf.
      p_value: two-sided Wilcoxon signed-rank test; 1 where no pair differs.
      probability_of_improvement: share of pairs in which the treatment is better, ties half.
      more_pairs: about how many further pairs would settle it at 80 % power; infinite gaps count
        as twice the largest finite one. inf where nothing differs, NaN for a single pair.
    """

    pairs: int
    difference: Interval
    p_value: float
    probability_of_improvement: float
    more_pairs: float


def paired(
    treatment: np.ndarray,
    baseline: np.ndarray,
    *,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    seed: int = 0,
) -> Paired:
    """Compares two arms that share seeds.

    Args:
      treatment, baseline: ``(n,)``, same seed at the same place; inf for "never".
      higher_is_better: direction of improvement.
      alpha: two-sided error that ``more_pairs`` is reckoned for.
      seed: of the bootstrap.

    Returns:
      A :class:`Paired`.

    Raises:
      ValueError: lengths that differ, no pairs, NaN.

    Reference: Wilcoxon 1945; Bouthillier et al. 2021, section 4 (probability of improvement).

    >>> paired(np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0])).difference.estimate
    2.0
    """
    treatment, baseline = np.asarray(treatment, float), np.asarray(baseline, float)
    if treatment.shape != baseline.shape or treatment.ndim != 1 or not treatment.size:
        raise errors.refusal(
            "paired arms", (treatment.shape, baseline.shape), "two equal lengths >= 1", "pair seeds"
        )
    with np.errstate(invalid="ignore"):
        gaps = np.where(treatment == baseline, 0.0, treatment - baseline)
    better = gaps > 0 if higher_is_better else gaps < 0
    finite = bool(np.isfinite(gaps).all())
    return Paired(
        pairs=gaps.size,
        difference=bootstrap(gaps, np.mean if finite else np.median, seed=seed),
        p_value=signed_rank_p(gaps),
        probability_of_improvement=float(np.mean(np.where(gaps == 0, 0.5, better))),
        more_pairs=more_pairs(_finite(gaps), alpha=alpha),
    )


def signed_rank_p(gaps: np.ndarray) -> float:
    """Two-sided p of the Wilcoxon signed-rank test; inf ranks above every number.

    >>> round(signed_rank_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])), 5)
    0.03125
    """
    if not np.any(gaps):
        return 1.0
    from scipy import stats

    return float(stats.wilcoxon(_finite(gaps), zero_method="wilcox", method="auto").pvalue)


def _finite(gaps: np.ndarray) -> np.ndarray:
    """Infinite gaps at twice the largest finite one: their rank, without their size."""
    top = np.max(np.abs(gaps[np.isfinite(gaps)]), initial=0.0) * 2
    return np.clip(gaps, -(top or 1.0), top or 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: family-wise error at most α if adjusted p < α.

    Reference: Holm 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, running = np.empty(len(p_values)), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return [float(p) for p in adjusted]
