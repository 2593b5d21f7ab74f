"""Compares arms that share seeds: differences, p-values, and the number of pairs still needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from jinit import errors
from jinit.stats._bootstrap import Interval, bootstrap
from jinit.stats._location import reals
from jinit.stats._power import more_pairs
from jinit.stats._tests import TESTS, cap_infinite, holm


@dataclass(frozen=True)
class Paired:
    """One paired comparison, not corrected for multiple comparisons.

    Attributes:
      pairs: number of pairs.
      difference: mean of (treatment − baseline) with its 95 % interval; the median if some
        differences are inf.
      p_value: two-sided; 1 if no pair differs.
      probability_of_improvement: share of pairs in which the treatment is better; ties count ½.
      more_pairs: estimated number of further pairs that settle the comparison with 80 % power. An
        infinite difference counts as twice the largest finite one. inf if the mean difference is
        0, NaN for a single pair.
    """

    pairs: int
    difference: Interval
    p_value: float
    probability_of_improvement: float
    more_pairs: float


@dataclass(frozen=True)
class Pair:
    """The comparison of two arms out of many.

    Attributes:
      treatment, baseline: names of the arms.
      result: the paired comparison, with its uncorrected p-value.
      p_value: corrected by Holm's method over all pairs of arms.
    """

    treatment: str
    baseline: str
    result: Paired
    p_value: float


def paired(
    treatment: np.ndarray,
    baseline: np.ndarray,
    *,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    test: str = "wilcoxon",
    seed: int = 0,
) -> Paired:
    """Compares two arms that share seeds.

    Differences that agree up to float32 rounding (1e-6 of the largest value) count as equal, and
    smaller differences count as 0: accuracies are counts divided by a number of examples, so true
    ties are frequent.

    Args:
      treatment, baseline: ``(n,)``, with equal seeds at equal positions; inf for "never".
      higher_is_better: direction of improvement.
      alpha: two-sided error rate for which ``more_pairs`` is computed, in (0, 1).
      test: ``"wilcoxon"`` (signed ranks; inf ranks highest), ``"sign"`` (only the direction of each
        difference) or ``"permutation"`` (the mean under swaps within pairs: all swaps if at most
        9,999, else as many random ones).
      seed: seed of the bootstrap and the random swaps.

    Returns:
      A :class:`Paired`.

    Raises:
      ValueError: lengths that differ, no pairs, NaN, an unknown test.

    Reference: Wilcoxon 1945; Conover 1999, section 3.4 (sign test); Fisher 1935, section 21
    (permutations); Bouthillier et al. 2021, section 4 (probability of improvement).

    >>> paired(np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0])).difference.estimate
    2.0
    """
    errors.check_choice("test", test, tuple(TESTS))
    errors.check_bool("higher_is_better", higher_is_better)
    treatment, baseline = reals(treatment, "treatment"), reals(baseline, "baseline")
    if treatment.shape != baseline.shape or treatment.ndim != 1 or not treatment.size:
        raise errors.refusal(
            "paired arms",
            (treatment.shape, baseline.shape),
            "two equal lengths >= 1",
            "run both arms on the same seeds",
        )
    for name, arm in (("treatment", treatment), ("baseline", baseline)):
        if np.isnan(arm).any():
            raise errors.refusal(name, f"{np.isnan(arm).sum()} NaN", "no NaN", "inf for 'never'")
    with np.errstate(invalid="ignore"):
        gaps = np.where(treatment == baseline, 0.0, treatment - baseline)
    sizes = np.abs([treatment, baseline])
    # Metrics are float32: gaps that differ only in the last digits are equal.
    resolution = 1e-6 * float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
    tied = _tied(gaps, resolution)
    better = tied > 0 if higher_is_better else tied < 0
    finite = bool(np.isfinite(gaps).all())
    return Paired(
        pairs=gaps.size,
        difference=bootstrap(gaps, np.mean if finite else np.median, seed=seed),
        p_value=TESTS[test](tied, seed, resolution),
        probability_of_improvement=float(np.mean(np.where(tied == 0, 0.5, better))),
        more_pairs=more_pairs(cap_infinite(gaps), alpha=alpha),
    )


def all_pairs(
    arms: Mapping[str, np.ndarray],
    *,
    higher_is_better: bool = True,
    test: str = "wilcoxon",
    seed: int = 0,
) -> list[Pair]:
    """Compares every pair of arms on shared seeds, with Holm's correction over all pairs.

    Args:
      arms: name → ``(n,)``, with equal seeds at equal positions; inf for "never".
      higher_is_better, test, seed: as :func:`paired`.

    Returns:
      A :class:`Pair` for each of the k(k−1)/2 pairs; the later arm is the treatment.

    Raises:
      ValueError: fewer than two arms, or as :func:`paired`.
      TypeError: ``arms`` is not a mapping.

    Reference: Holm 1979; Demšar 2006, section 3.2.2.

    >>> seeds = np.arange(12.0)
    >>> pairs = all_pairs({"a": seeds, "b": seeds + 1, "c": seeds + 3})
    >>> [(pair.treatment, pair.baseline, round(pair.p_value, 4)) for pair in pairs]
    [('b', 'a', 0.0015), ('c', 'a', 0.0015), ('c', 'b', 0.0015)]
    """
    if not isinstance(arms, Mapping):
        raise errors.wrong_type("arms", arms, "a mapping from names to values", "{'he': values, …}")
    if len(arms) < 2:
        raise errors.refusal("arms", list(arms), "at least two", "pass the values of two arms")
    names = list(combinations(arms, 2))
    alpha = 0.05 / len(names)
    results = [
        paired(
            arms[treatment],
            arms[baseline],
            higher_is_better=higher_is_better,
            alpha=alpha,
            test=test,
            seed=seed,
        )
        for baseline, treatment in names
    ]
    corrected = holm([result.p_value for result in results])
    return [
        Pair(treatment, baseline, result, p_value)
        for (baseline, treatment), result, p_value in zip(names, results, corrected, strict=True)
    ]


def _tied(gaps: np.ndarray, resolution: float) -> np.ndarray:
    """Gives close gaps one size: a |gap| within ``resolution`` of the next smaller is a tie."""
    sizes = np.abs(gaps)
    order = np.argsort(sizes, kind="stable")
    ordered = np.concatenate([[0.0], sizes[order]])
    with np.errstate(invalid="ignore"):
        new = ~(np.diff(ordered) <= resolution)
    # Index of the smallest size in each group of ties; the first group begins with size 0.
    starts = np.maximum.accumulate(np.where(new, np.arange(1, len(ordered)), 0))
    tied = np.empty_like(sizes)
    tied[order] = ordered[starts]
    return np.copysign(tied, gaps)
