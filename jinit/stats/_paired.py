"""Compares arms that share seeds: differences, p-values, and the number of pairs still needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from jinit import errors
from jinit.stats._bootstrap import Interval
from jinit.stats._location import reals
from jinit.stats._power import more_pairs, more_signed_rank_pairs
from jinit.stats._signed_rank import hodges_lehmann, signed_rank_tails, tied
from jinit.stats._studentized import StudentizedMean, guarded_p
from jinit.stats._tests import cap_infinite, holm, permutation_p, sign_interval, sign_p, two_sided

_TESTS = ("wilcoxon", "sign", "permutation")
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Paired:
    """One paired comparison, not corrected for multiple comparisons.

    Attributes:
      pairs: number of pairs.
      better, worse: numbers of pairs in which the treatment is better and worse; the others tie.
      difference: treatment − baseline over the pairs that differ, with the 95 % interval of the
        test: the Hodges–Lehmann estimate, the median of all averages of two differences, with the
        inverted signed-rank test. Ends are ±inf where so few pairs allow no 95 %, NaN where all
        differences are alike.
      mean: the mean of all differences with its studentized 95 % interval; ends are NaN where some
        difference is infinite or all are alike.
      p_value: two-sided; 1 if no pair differs. With a margin, of a difference beyond the margin.
      mean_p_value: two-sided p-value of the mean, for the side on which the difference lies; NaN
        where the mean has no interval.
      equivalence_p_value: the largest of four one-sided p-values: that difference and mean are
        above −margin and below margin; NaN without a margin.
      probability_of_improvement: share of pairs in which the treatment is better; ties count ½.
      more_pairs: estimated number of further pairs that settle the comparison with 80 % power, by
        the signed-rank test and by the mean. An infinite difference counts as twice the largest
        finite one. inf if nothing differs or if difference and mean point apart, NaN for one pair.
    """

    pairs: int
    better: int
    worse: int
    difference: Interval
    mean: Interval
    p_value: float
    mean_p_value: float
    equivalence_p_value: float
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
    margin: float = 0.0,
    seed: int = 0,
) -> Paired:
    """Compares two arms that share seeds.

    The interval of the difference and the p-value come from the same test. A tie is a matter of the
    pair: values that agree up to float32 rounding (1e-6 of the larger of the two) are equal, and so
    are two differences that agree up to the rounding of their own pairs. Accuracies are counts
    divided by a number of examples, so true ties are frequent.

    Args:
      treatment, baseline: ``(n,)``, with equal seeds at equal positions; inf for "never".
      higher_is_better: direction of improvement.
      alpha: two-sided error rate for which ``more_pairs`` is computed, in (0, 1).
      test: ``"wilcoxon"`` (signed ranks, Hodges–Lehmann; inf ranks highest), ``"sign"`` (only the
        direction of each difference, their median) or ``"permutation"`` (the mean under swaps
        within pairs: all swaps if at most 9,999, else as many random ones).
      margin: the smallest difference that matters, ≥ 0, in the unit of the values; only with
        ``"wilcoxon"``.
      seed: seed of the bootstrap and the random swaps.

    Returns:
      A :class:`Paired`.

    Raises:
      ValueError: lengths that differ, no pairs, NaN, an unknown test, a margin with another test.

    Reference: Wilcoxon 1945; Hodges & Lehmann 1963; Hall 1992, section 3 (studentized mean);
    Schuirmann 1987 (equivalence); Conover 1999, section 3.4 (sign test); Fisher 1935, section 21
    (permutations); Bouthillier et al. 2021, section 4 (probability of improvement).

    >>> found = paired(np.array([3.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    >>> found.difference.estimate, found.mean.estimate, found.p_value
    (2.25, 2.3333333333333335, 0.25)
    """
    gaps, resolutions = _gaps(treatment, baseline)
    errors.check_choice("test", test, _TESTS)
    errors.check_bool("higher_is_better", higher_is_better)
    errors.check_fraction("alpha", alpha, "use 0.05")
    errors.check_seed(seed)
    margin = errors.check_scalar(
        "margin", margin, low=0.0, fix="the smallest difference that matters"
    )
    if margin and test != "wilcoxon":
        raise errors.refusal("margin", margin, "0 with this test", "test='wilcoxon'")
    equal = tied(gaps, resolutions)
    mean = StudentizedMean(equal, seed)
    p_value, difference = _tested(test, equal, gaps, resolutions, margin, mean, seed)
    up, down = int((equal > 0).sum()), int((equal < 0).sum())
    better, worse = (up, down) if higher_is_better else (down, up)
    return Paired(
        pairs=gaps.size,
        better=better,
        worse=worse,
        difference=difference,
        mean=mean.interval(_CONFIDENCE),
        p_value=p_value,
        mean_p_value=guarded_p(mean, 1 if difference.estimate > 0 else -1, margin),
        equivalence_p_value=_equivalence(gaps, resolutions, mean, margin) if margin else math.nan,
        probability_of_improvement=(better + (gaps.size - up - down) / 2) / gaps.size,
        more_pairs=_more(equal, difference.estimate, alpha),
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


def _gaps(treatment: np.ndarray, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The differences, and the rounding error of each pair."""
    arms = {"treatment": reals(treatment, "treatment"), "baseline": reals(baseline, "baseline")}
    first, second = arms.values()
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise errors.refusal(
            "paired arms",
            (first.shape, second.shape),
            "two equal lengths >= 1",
            "run both arms on the same seeds",
        )
    for name, arm in arms.items():
        if np.isnan(arm).any():
            raise errors.refusal(name, f"{np.isnan(arm).sum()} NaN", "no NaN", "inf for 'never'")
    with np.errstate(invalid="ignore"):
        gaps = np.where(first == second, 0.0, first - second)
    sizes = np.maximum(np.abs(first), np.abs(second))
    return gaps, 1e-6 * np.where(np.isfinite(sizes), sizes, 0.0)


def _tested(
    test: str,
    equal: np.ndarray,
    gaps: np.ndarray,
    resolutions: np.ndarray,
    margin: float,
    mean: StudentizedMean,
    seed: int,
) -> tuple[float, Interval]:
    """The p-value of a test and the interval that belongs to it."""
    if test == "sign":
        return sign_p(equal), sign_interval(equal, _CONFIDENCE)
    if test == "permutation":
        return permutation_p(equal, seed=seed), mean.interval(_CONFIDENCE)
    difference = hodges_lehmann(equal, _CONFIDENCE)
    if not margin:
        return two_sided(signed_rank_tails(equal)), difference
    return two_sided(_beyond(gaps, resolutions, margin)), difference


def _beyond(gaps: np.ndarray, resolutions: np.ndarray, margin: float) -> tuple[float, float]:
    """The signed-rank p-values of "below −margin" and "above margin"."""
    return (
        signed_rank_tails(tied(gaps + margin, resolutions))[0],
        signed_rank_tails(tied(gaps - margin, resolutions))[1],
    )


def _equivalence(
    gaps: np.ndarray, resolutions: np.ndarray, mean: StudentizedMean, margin: float
) -> float:
    """The largest p-value of the tests that difference and mean lie within ± margin."""
    ranks = (
        signed_rank_tails(tied(gaps - margin, resolutions))[0],
        signed_rank_tails(tied(gaps + margin, resolutions))[1],
    )
    if not mean.known:
        # All alike: the mean has no spread of its own. Infinite: never within the margin.
        return max(ranks) if abs(mean.estimate) < margin else 1.0
    return max(*ranks, mean.tails(margin)[0], mean.tails(-margin)[1])


def _more(equal: np.ndarray, difference: float, alpha: float) -> float:
    capped = cap_infinite(equal)
    mean = float(capped.mean())
    if mean * difference <= 0 and equal.size > 1:
        return math.inf
    return max(more_signed_rank_pairs(equal, alpha=alpha), more_pairs(capped, alpha=alpha))
