"""Is the difference real? Paired comparisons on shared seeds, with multiplicity correction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from jinit import errors
from jinit.stats._bootstrap import Interval, bootstrap
from jinit.stats._location import reals
from jinit.stats._power import more_pairs


@dataclass(frozen=True)
class Paired:
    """One paired comparison, before correction for how many were made.

    Attributes:
      pairs: number of pairs.
      difference: mean of (treatment − baseline) with its 95 % interval; the median where some
        differences are inf.
      p_value: two-sided; 1 where no pair differs.
      probability_of_improvement: share of pairs in which the treatment is better, ties half.
      more_pairs: about how many further pairs would settle it at 80 % power; infinite gaps count
        as twice the largest finite one. inf where the mean difference is 0, NaN for a single pair.
    """

    pairs: int
    difference: Interval
    p_value: float
    probability_of_improvement: float
    more_pairs: float


@dataclass(frozen=True)
class Pair:
    """Two arms out of many.

    Attributes:
      treatment, baseline: names of the arms.
      result: the paired comparison, uncorrected.
      p_value: Holm-corrected over all pairs of the call.
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

    Gaps that are equal up to float32's rounding (1e-6 of the largest value) count as equal, and as
    0 below that: accuracies are counts over a number of examples.

    Args:
      treatment, baseline: ``(n,)``, same seed at the same place; inf for "never".
      higher_is_better: direction of improvement.
      alpha: two-sided error that ``more_pairs`` is reckoned for.
      test: ``"wilcoxon"`` (:func:`signed_rank_p`), ``"sign"`` (:func:`sign_p`) or
        ``"permutation"`` (:func:`permutation_p`).
      seed: of the bootstrap and the permutations.

    Returns:
      A :class:`Paired`.

    Raises:
      ValueError: lengths that differ, no pairs, NaN, an unknown test.

    Reference: Wilcoxon 1945; Bouthillier et al. 2021, section 4 (probability of improvement).

    >>> paired(np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0])).difference.estimate
    2.0
    """
    errors.check_choice("test", test, tuple(_TESTS))
    errors.check_bool("higher_is_better", higher_is_better)
    treatment, baseline = reals(treatment, "treatment"), reals(baseline, "baseline")
    if treatment.shape != baseline.shape or treatment.ndim != 1 or not treatment.size:
        raise errors.refusal(
            "paired arms", (treatment.shape, baseline.shape), "two equal lengths >= 1", "pair seeds"
        )
    for name, arm in (("treatment", treatment), ("baseline", baseline)):
        if np.isnan(arm).any():
            raise errors.refusal(name, f"{np.isnan(arm).sum()} NaN", "no NaN", "inf for 'never'")
    with np.errstate(invalid="ignore"):
        gaps = np.where(treatment == baseline, 0.0, treatment - baseline)
    sizes = np.abs([treatment, baseline])
    # Metrics are float32: gaps that differ in its last digits are one.
    resolution = 1e-6 * float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
    tied = _tied(gaps, resolution)
    better = tied > 0 if higher_is_better else tied < 0
    finite = bool(np.isfinite(gaps).all())
    return Paired(
        pairs=gaps.size,
        difference=bootstrap(gaps, np.mean if finite else np.median, seed=seed),
        p_value=_TESTS[test](tied, seed, resolution),
        probability_of_improvement=float(np.mean(np.where(tied == 0, 0.5, better))),
        more_pairs=more_pairs(_finite(gaps), alpha=alpha),
    )


def all_pairs(
    arms: Mapping[str, np.ndarray],
    *,
    higher_is_better: bool = True,
    test: str = "wilcoxon",
    seed: int = 0,
) -> list[Pair]:
    """Every arm against every other, on shared seeds, with Holm's correction over all pairs.

    Args:
      arms: name → ``(n,)``, the same seed at the same place; inf for "never".
      higher_is_better, test, seed: as :func:`paired`.

    Returns:
      A :class:`Pair` for each of the k(k−1)/2 pairs; the later arm is the treatment.

    Raises:
      ValueError: fewer than two arms; as :func:`paired`. TypeError: no mapping.

    Reference: Holm 1979; Demšar 2006, section 3.2.2.

    >>> seeds = np.arange(12.0)
    >>> found = all_pairs({"a": seeds, "b": seeds + 1, "c": seeds + 3})
    >>> [(pair.treatment, pair.baseline, round(pair.p_value, 4)) for pair in found]
    [('b', 'a', 0.0015), ('c', 'a', 0.0015), ('c', 'b', 0.0015)]
    """
    if not isinstance(arms, Mapping):
        raise errors.wrong_type("arms", arms, "names with their values", "{'he': values, …}")
    if len(arms) < 2:
        raise errors.refusal("arms", list(arms), "at least two", "name what is compared")
    names = list(combinations(arms, 2))
    alpha = 0.05 / len(names)
    results = [
        paired(
            arms[treatment], arms[baseline],
            higher_is_better=higher_is_better, alpha=alpha, test=test, seed=seed,
        )
        for baseline, treatment in names
    ]  # fmt: skip
    corrected = holm([result.p_value for result in results])
    return [
        Pair(treatment, baseline, result, p_value)
        for (baseline, treatment), result, p_value in zip(names, results, corrected, strict=True)
    ]


def signed_rank_p(gaps: np.ndarray) -> float:
    """Two-sided p of the Wilcoxon signed-rank test; inf ranks above every number.

    Args:
      gaps: ``(n,)`` paired differences; zeros are dropped, all zeros give 1.

    Raises:
      ValueError: no gaps, NaN, another rank.

    Reference: Wilcoxon 1945 (``scipy.stats.wilcoxon``).

    >>> round(signed_rank_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])), 5)
    0.03125
    """
    gaps = _checked(gaps)
    if not np.any(gaps):
        return 1.0
    from scipy import stats

    return float(stats.wilcoxon(_finite(gaps), zero_method="wilcox", method="auto").pvalue)


def sign_p(gaps: np.ndarray) -> float:
    """Two-sided p of the sign test: only the direction of each difference counts; ties are dropped.

    Args: and Raises: as :func:`signed_rank_p`.

    Reference: Conover 1999, section 3.4 (``scipy.stats.binomtest``).

    >>> sign_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.inf]))
    0.03125
    """
    gaps = _checked(gaps)
    if not np.any(gaps):
        return 1.0
    from scipy import stats

    return float(stats.binomtest(int((gaps > 0).sum()), int((gaps != 0).sum())).pvalue)


def permutation_p(
    gaps: np.ndarray, *, resamples: int = 9999, seed: int = 0, resolution: float = 0.0
) -> float:
    """Two-sided p of the mean difference when each pair may be swapped; inf at twice the largest.

    Exact where 2^n ≤ resamples; 1 for a single pair.

    Args:
      gaps: ``(n,)`` paired differences.
      resamples: random swaps where there are too many to try all.
      seed: of the swaps.
      resolution: means closer than this are equal, in the unit of the gaps.

    Raises:
      ValueError: as :func:`signed_rank_p`.

    Reference: Fisher 1935, section 21 (``scipy.stats.permutation_test``).

    >>> permutation_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    0.03125
    """
    gaps = _checked(gaps)
    errors.check_integer("resamples", resamples, low=1, fix="use 9999")
    errors.check_seed(seed)
    errors.check_scalar("resolution", resolution, low=0.0, fix="use 1e-6")
    if gaps.size < 2 or not np.any(gaps):
        return 1.0
    from scipy import stats

    found = stats.permutation_test(
        (_finite(gaps),), np.mean, permutation_type="samples", vectorized=True,
        n_resamples=resamples, rng=np.random.default_rng(seed),
    )  # fmt: skip
    means, own = found.null_distribution, found.statistic
    close = max(resolution, 1e-12 * float(np.abs(means).max()))
    # The pairs as they are count among random swaps, but stand among all of them already.
    more = 0 if 2**gaps.size <= resamples else 1
    tails = [(means <= own + close).sum(), (means >= own - close).sum()]
    return float(min(1.0, 2 * (min(tails) + more) / (means.size + more)))


def effect_size(gaps: np.ndarray, *, seed: int = 0) -> Interval:
    """Hedges' g of paired differences: their mean in units of their own spread.

    g = J · mean / s with s the sample standard deviation and J = 1 − 3/(4(n−1) − 1).

    Args:
      gaps: ``(n,)`` differences, finite, n ≥ 3.
      seed: of the bootstrap.

    Returns:
      g with a 95 % BCa interval; ±inf where all differences are equal and not 0. An end is inf
      where resamples of few distinct differences often have no spread.

    Raises:
      ValueError: fewer than 3 differences, or not finite.

    Reference: Hedges 1981, eq. 6e; Cohen 1988, section 2.3 (d_z).

    >>> round(effect_size(np.array([1.0, 2.0, 3.0, 2.0])).estimate, 2)
    1.78
    """
    gaps = reals(gaps, "gaps")
    if gaps.ndim != 1 or gaps.size < 3 or not np.isfinite(gaps).all():
        raise errors.refusal(
            "gaps", f"shape {gaps.shape}, {int((~np.isfinite(gaps)).sum())} not finite",
            "one dimension, at least 3, finite", "probability_of_improvement takes inf",
        )  # fmt: skip
    small_sample = 1 - 3 / (4 * (gaps.size - 1) - 1)

    def standardized(values: np.ndarray, axis: int) -> np.ndarray:
        mean, spread = values.mean(axis), values.std(axis, ddof=1)
        # Equal values have a spread of rounding.
        spread = np.where(spread > 1e-12 * np.abs(mean), spread, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(mean == 0, 0.0, small_sample * mean / spread)

    return bootstrap(gaps, standardized, method="bca", seed=seed)


def probability_of_improvement(
    treatment: np.ndarray, baseline: np.ndarray, *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """P(X > Y) + P(X = Y)/2 for a run X of one arm and an independent run Y of the other.

    The Mann-Whitney U over n·m; runs of each arm are resampled by themselves (95 % percentile
    interval: short for few runs, and of no width where one arm wins every time). For arms that
    share seeds :attr:`Paired.probability_of_improvement` compares within pairs instead.

    Args:
      treatment, baseline: ``(n,)`` and ``(m,)``, higher is better; inf allowed.
      resamples: bootstrap samples.
      seed: of the resampling.

    Raises:
      ValueError: an empty arm, NaN.

    Reference: Mann & Whitney 1947; Agarwal et al. 2021, section 4.3.

    >>> probability_of_improvement(np.array([3.0, 4.0]), np.array([1.0, 2.0])).estimate
    1.0
    """
    errors.check_integer("resamples", resamples, low=1, fix="use 2000")
    errors.check_seed(seed)
    arms = [reals(arm, "arm") for arm in (treatment, baseline)]
    for arm in arms:
        if arm.ndim != 1 or not arm.size or np.isnan(arm).any():
            raise errors.refusal(
                "arm", f"shape {arm.shape}, {int(np.isnan(arm).sum())} NaN",
                "one dimension, at least one value, no NaN", "use -inf for a diverged run",
            )  # fmt: skip
    mine = arms[0][:, None]
    wins = np.where(mine == arms[1], 0.5, mine > arms[1])
    rng = np.random.default_rng(seed)
    # Resampling runs is weighting the rows and columns of the table of wins.
    n, m = wins.shape
    rows = rng.multinomial(n, np.full(n, 1 / n), resamples) / n
    columns = rng.multinomial(m, np.full(m, 1 / m), resamples) / m
    replicates = np.einsum("ri,ij,rj->r", rows, wins, columns, optimize=True)
    low, high = np.quantile(replicates, [0.025, 0.975])
    return Interval(float(wins.mean()), float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: family-wise error at most α if adjusted p < α.

    Args:
      p_values: one dimension, each in [0, 1].

    Raises:
      ValueError: another shape, NaN, out of range.

    Reference: Holm 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = reals(p_values, "p_values")
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise errors.refusal("p_values", p_values, "a list of numbers in [0, 1]", "leave NaN out")
    order = np.argsort(p, kind="stable")
    adjusted, running = np.empty(len(p)), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * float(p[index])))
        adjusted[index] = running
    return [float(p) for p in adjusted]


def _checked(gaps: np.ndarray) -> np.ndarray:
    gaps = reals(gaps, "gaps")
    if gaps.ndim != 1 or not gaps.size or np.isnan(gaps).any():
        raise errors.refusal(
            "gaps", f"shape {gaps.shape}, {int(np.isnan(gaps).sum())} NaN",
            "one dimension, at least one, no NaN", "use inf for 'never'",
        )  # fmt: skip
    return gaps


def _tied(gaps: np.ndarray, resolution: float) -> np.ndarray:
    """Gaps whose sizes lie within the resolution of the next smaller one get its size."""
    sizes = np.abs(gaps)
    order = np.argsort(sizes, kind="stable")
    ordered = np.concatenate([[0.0], sizes[order]])
    with np.errstate(invalid="ignore"):
        new = ~(np.diff(ordered) <= resolution)
    # The first of each run of close sizes; 0 begins the first.
    starts = np.maximum.accumulate(np.where(new, np.arange(1, len(ordered)), 0))
    tied = np.empty_like(sizes)
    tied[order] = ordered[starts]
    return np.copysign(tied, gaps)


def _finite(gaps: np.ndarray) -> np.ndarray:
    """Infinite gaps at twice the largest finite one: their rank, without their size."""
    top = np.max(np.abs(gaps[np.isfinite(gaps)]), initial=0.0) * 2
    return np.clip(gaps, -(top or 1.0), top or 1.0)


_TESTS: dict[str, Callable[[np.ndarray, int, float], float]] = {
    "wilcoxon": lambda gaps, seed, resolution: signed_rank_p(gaps),
    "sign": lambda gaps, seed, resolution: sign_p(gaps),
    "permutation": lambda gaps, seed, resolution: permutation_p(
        gaps, seed=seed, resolution=resolution
    ),
}
