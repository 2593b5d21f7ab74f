"""Exact signed ranks, their interval and the studentized mean against enumeration and scipy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from jinit import stats
from jinit.stats._power import fewest_pairs, more_signed_rank_pairs
from jinit.stats._signed_rank import hodges_lehmann, signed_rank_tails, tied
from jinit.stats._studentized import StudentizedMean, guarded_p
from jinit.stats._tests import sign_interval, two_sided


def signed_rank_p(gaps):
    return two_sided(signed_rank_tails(np.asarray(gaps, float)))


def enumerated(gaps):
    """P(W ≤ w), P(W ≥ w) over all signs of the nonzero gaps, with mean ranks."""
    gaps = np.asarray(gaps, float)
    gaps = gaps[gaps != 0]
    ranks = scipy_stats.rankdata(np.abs(gaps))
    sums = np.array(list(itertools.product((0, 1), repeat=len(ranks)))) @ ranks
    seen = ranks[gaps > 0].sum()
    return (sums <= seen + 1e-9).mean(), (sums >= seen - 1e-9).mean()


@pytest.mark.parametrize(
    "gaps",
    [
        [1] * 5 + [0] * 9,
        [0, *range(1, 14)],
        [0, 1, 2, 3, 4, 5, 6],
        [1, 1, 1, 2, 2, -1, 3, 3],
        [1] * 9 + [2] * 4 + [-1] * 3,
        [0.5, -np.inf, np.inf, np.inf, 2, -3],
        [0] * 8 + [1, 1, 1, 2, 2, 3, -1, 4, 4],
    ],
)
def test_signed_ranks_are_exact_with_zeros_and_ties(gaps):
    assert signed_rank_tails(np.array(gaps, float)) == pytest.approx(enumerated(gaps), abs=1e-12)
    assert signed_rank_p(gaps) == pytest.approx(min(1.0, 2 * min(enumerated(gaps))), abs=1e-12)


@pytest.mark.parametrize("n", [14, 30, 50])
def test_without_ties_the_law_is_scipys_exact_one(n):
    gaps = np.random.default_rng(n).normal(0.2, 1, n)
    exact = scipy_stats.wilcoxon(gaps, method="exact").pvalue
    assert signed_rank_p(gaps) == pytest.approx(exact, rel=1e-12)


def test_many_gaps_have_the_normal_law():
    gaps = np.random.default_rng(0).normal(0.1, 1, 500)
    expected = scipy_stats.wilcoxon(gaps, method="approx", correction=True).pvalue
    assert signed_rank_p(gaps) == pytest.approx(expected, rel=1e-9)


def averages(gaps):
    first, second = np.triu_indices(len(gaps))
    return np.sort((gaps[first] + gaps[second]) / 2)


def test_hodges_lehmann_inverts_the_test():
    gaps = np.random.default_rng(1).normal(0.3, 1, 20)
    found = hodges_lehmann(gaps, 0.95)
    assert found.estimate == pytest.approx(np.median(averages(gaps)))
    # In tables of the test P(W ≤ 52) = .0242 for n = 20, so the ends are the 53rd averages.
    assert (found.low, found.high) == (averages(gaps)[52], averages(gaps)[-53])
    for end in (found.low, found.high):
        inward = 1e-9 if end == found.low else -1e-9
        assert scipy_stats.wilcoxon(gaps - end - inward, method="exact").pvalue > 0.05
        assert scipy_stats.wilcoxon(gaps - end + inward, method="exact").pvalue <= 0.05


def test_the_interval_excludes_0_exactly_if_p_is_small():
    rng = np.random.default_rng(2)
    for _ in range(300):
        gaps = rng.integers(-3, 6, rng.integers(6, 16)).astype(float)
        found, p = hodges_lehmann(gaps, 0.95), signed_rank_p(gaps)
        if math.isnan(found.low):
            assert len(set(gaps[gaps != 0])) <= 1
        elif p <= 0.05:
            assert found.low >= 0 or found.high <= 0
        else:
            assert found.low <= 0 <= found.high


def test_few_or_equal_gaps_have_no_finite_interval():
    five = hodges_lehmann(np.arange(1.0, 6), 0.95)
    assert (five.estimate, five.low, five.high) == (3.0, -math.inf, math.inf)
    for alike in (np.full(16, 0.1), np.full(5, 0.1), np.zeros(9)):
        assert math.isnan(hodges_lehmann(alike, 0.95).low)
        assert math.isnan(StudentizedMean(alike).interval(0.95).low)
        assert math.isnan(stats.bootstrap(alike, np.mean).low)
    assert math.isnan(stats.bootstrap(np.array([0.4])).high)
    assert math.isnan(stats.restricted_mean(np.full(4, 7.0), horizon=9).low)


def test_infinite_gaps_rank_highest():
    gaps = np.array([np.inf] * 6 + [1.0, -2.0])
    found = hodges_lehmann(gaps, 0.95)
    assert found.estimate == math.inf
    both = hodges_lehmann(np.array([np.inf, np.inf, -np.inf, -np.inf, 1.0, -1.0]), 0.9)
    assert both.estimate == 0


def test_large_samples_count_averages_instead_of_sorting_them():
    gaps = np.round(np.random.default_rng(3).normal(0.05, 1, 1700), 3)
    gaps = gaps[gaps != 0]
    found = hodges_lehmann(gaps, 0.95)
    spread = math.sqrt((scipy_stats.rankdata(np.abs(gaps)) ** 2).sum() / 4)
    count = gaps.size * (gaps.size + 1) / 2
    place = math.floor(count / 2 - scipy_stats.norm.ppf(0.975) * spread - 0.5)
    ordered = averages(gaps)
    assert found.estimate == pytest.approx(np.median(ordered), abs=1e-12)
    assert found.low == pytest.approx(ordered[place], abs=1e-3)
    assert found.high == pytest.approx(ordered[-1 - place], abs=1e-3)


@pytest.mark.slow
def test_coverage_of_the_interval_with_ties():
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(1500):
        # Symmetric about 2 on whole numbers, so the pseudo-median is 2.
        found = hodges_lehmann(2.0 + rng.integers(-4, 5, 18), 0.95)
        hits += found.low <= 2 <= found.high
    assert hits / 1500 > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 1500)


def test_the_sign_test_and_its_interval_agree():
    rng = np.random.default_rng(5)
    for _ in range(200):
        gaps = rng.normal(0.5, 1, rng.integers(6, 30))
        found = sign_interval(gaps, 0.95)
        excludes = found.low > 0 or found.high < 0
        p = scipy_stats.binomtest(int((gaps > 0).sum()), len(gaps)).pvalue
        assert excludes == (p <= 0.05)
    assert found.estimate == np.median(gaps)


def test_a_tie_is_a_matter_of_the_pair():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.5, 32)
    alone = stats.paired(base + 0.1, base, higher_is_better=False)
    beside = stats.paired(np.append(base + 0.1, 2e6), np.append(base, 1e6), higher_is_better=False)
    assert alone.p_value < 1e-8
    assert beside.p_value < 1e-8
    assert beside.probability_of_improvement == 0
    # Sizes a hair apart do not chain to one tie over many seeds.
    sizes = np.linspace(0.1, 0.2, 200)
    assert np.unique(tied(sizes, np.full(200, 6e-4))).size > 50
    assert tied(np.array([0.1, 0.1 + 1e-9, -1e-9]), np.full(3, 1e-7)).tolist() == [0.1, 0.1, 0]


def test_the_direction_of_a_paired_comparison_is_that_of_the_ranks():
    rng = np.random.default_rng(0)
    base = np.r_[np.full(54, 0.8), np.full(10, 0.1)]
    new = np.r_[0.79 - 0.001 * rng.random(54), np.full(10, 0.9)]
    found = stats.paired(new, base)
    assert found.difference.high < 0 < found.mean.low
    assert (found.better, found.worse) == (10, 54)
    assert found.p_value == pytest.approx(
        scipy_stats.wilcoxon(new - base, method="approx", correction=True).pvalue, rel=0.2
    )
    assert found.more_pairs == math.inf
    assert found.mean_p_value > 0.9


def test_the_studentized_mean_of_normal_values_is_students():
    values = np.random.default_rng(6).normal(0.4, 1, 200)
    mean = StudentizedMean(values)
    expected = scipy_stats.ttest_1samp(values, 0)
    interval = expected.confidence_interval(0.95)
    width = interval.high - interval.low
    found = mean.interval(0.95)
    assert found.low == pytest.approx(interval.low, abs=0.06 * width)
    assert found.high == pytest.approx(interval.high, abs=0.06 * width)
    p = scipy_stats.ttest_1samp(values, 0.25).pvalue
    assert 2 * min(mean.tails(0.25)) == pytest.approx(p, rel=0.3)
    # Far out no resample reaches: Student's law says how far.
    far = scipy_stats.ttest_1samp(values, -3, alternative="greater").pvalue
    assert mean.tails(-3)[1] == pytest.approx(far, rel=1e-6)


def test_the_studentized_mean_is_the_bootstrap_t_of_resamples():
    values = np.random.default_rng(7).lognormal(size=20)
    rng = np.random.default_rng(8)
    drawn = values[rng.integers(0, 20, (40_000, 20))]
    t = (drawn.mean(1) - values.mean()) / (drawn.std(1, ddof=1) / math.sqrt(20))
    low, high = np.quantile(t, [0.025, 0.975])
    error = values.std(ddof=1) / math.sqrt(20)
    found = StudentizedMean(values).interval(0.95)
    assert found.low == pytest.approx(values.mean() - high * error, abs=0.06 * error)
    assert found.high == pytest.approx(values.mean() - low * error, abs=0.25 * error)


@pytest.mark.slow
@pytest.mark.parametrize(("law", "least"), [("normal", 0.93), ("lognormal", 0.91)])
@pytest.mark.full
def test_coverage_of_the_studentized_mean(law, least):
    rng = np.random.default_rng(9)
    truth = {"normal": 0.0, "lognormal": math.exp(0.5)}[law]
    hits = 0
    for _ in range(600):
        found = StudentizedMean(getattr(rng, law)(size=32)).interval(0.95)
        hits += found.low <= truth <= found.high
    assert hits / 600 > least - 3 * math.sqrt(0.05 * 0.95 / 600)


def test_a_long_tail_against_a_claim_guards_it():
    one_away = StudentizedMean(np.append(np.linspace(-1.1, -0.9, 15), 0.5))
    assert 2 * one_away.tails()[0] < 0.05 < guarded_p(one_away, -1)
    balanced = StudentizedMean(np.linspace(0.5, 1.5, 16))
    assert guarded_p(balanced, 1) == 2 * balanced.tails()[1]
    # The long tail on the side of the claim changes nothing.
    gains = StudentizedMean(np.append(np.linspace(0.9, 1.1, 15), 3.0))
    assert guarded_p(gains, 1) == 2 * gains.tails()[1]


def test_a_margin_makes_equivalence_a_verdict_of_two_tests():
    rng = np.random.default_rng(10)
    base = rng.normal(size=40)
    close = base + 0.001 + 0.002 * rng.normal(size=40)
    found = stats.paired(close, base, margin=0.01)
    ranks = [
        scipy_stats.wilcoxon(close - base - 0.01, alternative="less", method="exact").pvalue,
        scipy_stats.wilcoxon(close - base + 0.01, alternative="greater", method="exact").pvalue,
    ]
    assert max(ranks) <= found.equivalence_p_value < 1e-3
    assert found.p_value == 1
    far = stats.paired(base + 0.02 + 0.001 * rng.normal(size=40), base, margin=0.01)
    assert far.p_value < 1e-6
    assert far.equivalence_p_value > 0.9
    assert math.isnan(stats.paired(close, base).equivalence_p_value)
    same = stats.paired(base, base, margin=0.01)
    assert same.equivalence_p_value == pytest.approx(2.0**-40)


def test_further_pairs_give_the_signed_rank_test_its_power():
    rng = np.random.default_rng(11)
    gaps = rng.normal(0.5, 1, 4000)
    # The share of positive sums of N(μ, 1) is Φ(√2 μ).
    share = scipy_stats.norm.cdf(math.sqrt(2) * 0.5)
    expected = (1.959964 + 0.841621) ** 2 / (3 * (share - 0.5) ** 2)
    draws = rng.normal(0.5, 1, (1500, math.ceil(expected)))
    rejected = scipy_stats.wilcoxon(draws, axis=1).pvalue < 0.05
    assert 0.72 < rejected.mean() < 0.88
    few = gaps[:24]
    sums = averages_of_two(few)
    by_hand = (1.959964 + 0.841621) ** 2 / (3 * ((sums > 0).mean() - 0.5) ** 2)
    assert more_signed_rank_pairs(few) == max(0, math.ceil(by_hand) - 24)
    assert more_signed_rank_pairs(np.array([1.0, -1.0])) == math.inf
    assert [fewest_pairs(m) for m in (1, 11, 24)] == [6, 9, 10]
    for m in (1, 11, 24, 66):
        assert 2.0 ** (1 - fewest_pairs(m)) < 0.05 / m <= 2.0 ** (2 - fewest_pairs(m))


def averages_of_two(gaps):
    first, second = np.triu_indices(len(gaps), 1)
    return gaps[first] + gaps[second]


def test_optimality_gap():
    scores = np.random.default_rng(12).random((50, 3)) * 1.4
    expected = 1.0 - np.mean(np.minimum(scores, 1.0))
    assert stats.optimality_gap(scores) == pytest.approx(expected)
    by_task = stats.optimality_gap(scores, 0.8, axis=0)
    np.testing.assert_allclose(by_task, 0.8 - np.minimum(scores, 0.8).mean(0))
    assert stats.optimality_gap(np.array([-np.inf, 1.0])) == math.inf
    interval = stats.bootstrap(scores[:, 0], lambda v, axis: stats.optimality_gap(v, 1.0, axis))
    assert interval.low < interval.estimate < interval.high
    with pytest.raises(ValueError, match="target"):
        stats.optimality_gap(scores, math.inf)
    with pytest.raises(ValueError, match="NaN"):
        stats.optimality_gap(np.array([np.nan]))


def test_wilson_takes_shares_of_seeds():
    assert stats.wilson(2.5, 8).estimate == 0.3125
    lower, upper = stats.wilson(2, 8), stats.wilson(3, 8)
    between = stats.wilson(2.5, 8)
    assert lower.low < between.low < upper.low
    with pytest.raises(ValueError, match="successes"):
        stats.wilson(8.5, 8)


@pytest.mark.parametrize("test", ["sign", "permutation"])
def test_interval_and_p_come_from_one_test(test):
    rng = np.random.default_rng(13)
    gaps = rng.normal(0.5, 1, 15)
    found = stats.paired(gaps, np.zeros(15), test=test)
    centre = {"sign": np.median, "permutation": np.mean}[test](gaps)
    assert found.difference.estimate == pytest.approx(centre, rel=1e-5)
    with pytest.raises(ValueError, match="margin"):
        stats.paired(gaps, np.zeros(15), test=test, margin=0.1)
