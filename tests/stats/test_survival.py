"""Times to target against published tables, scipy, and simulated experiments."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from jinit import stats

# Weeks of remission under 6-mercaptopurine and placebo; Freireich et al. 1963, as tabulated by
# Kalbfleisch & Prentice 2002 (table 1.1). Twelve of the treated were still
# in remission when last seen.
TREATED = np.array([6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35.0])
STILL_WELL = np.arange(21) >= 9
PLACEBO = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23.0])


def test_kaplan_meier_of_a_textbook():
    found = stats.kaplan_meier(TREATED, horizon=35, censored=STILL_WELL)
    assert found.times.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert found.at_risk.tolist() == [21, 17, 15, 12, 11, 7, 6]
    published = [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert found.share == pytest.approx(published, abs=6e-4)
    assert found.median == 23
    assert stats.kaplan_meier(PLACEBO, horizon=35).median == 8


def test_kaplan_meier_and_its_band_are_scipys():
    rng = np.random.default_rng(1)
    times = np.ceil(rng.exponential(30, size=40))
    censored = rng.random(40) < 0.3
    found = stats.kaplan_meier(times, horizon=1e9, censored=censored)
    data = scipy_stats.CensoredData(uncensored=times[~censored], right=times[censored])
    curve = scipy_stats.ecdf(data).sf
    with np.errstate(divide="ignore", invalid="ignore"):
        band = curve.confidence_interval(0.95, method="log-log")
    np.testing.assert_allclose(found.share, curve.evaluate(found.times))
    inner = found.share > 0
    np.testing.assert_allclose(found.low[inner], band.low.evaluate(found.times[inner]), rtol=1e-9)
    np.testing.assert_allclose(found.high[inner], band.high.evaluate(found.times[inner]), rtol=1e-9)


def test_log_rank_of_a_textbook():
    # Chi-squared 16.79 on 1 degree of freedom (Kalbfleisch & Prentice 2002, section 1.5), with all
    # follow-up cut at 35 weeks and patients still well counted as never.
    data = [
        scipy_stats.CensoredData(uncensored=TREATED[~STILL_WELL], right=TREATED[STILL_WELL]),
        scipy_stats.CensoredData(uncensored=PLACEBO),
    ]
    assert scipy_stats.logrank(*data).statistic ** 2 == pytest.approx(16.79, abs=0.01)
    never = np.where(STILL_WELL, np.inf, TREATED)
    found = stats.compare_times(never, PLACEBO, horizon=35)
    reference = scipy_stats.logrank(
        scipy_stats.CensoredData(uncensored=TREATED[~STILL_WELL], right=np.full(12, 35.0)), data[1]
    )
    assert found.p_value == pytest.approx(reference.pvalue)
    assert found.restricted_mean_difference.low > 0


def test_restricted_mean_without_censoring_is_the_mean():
    times = np.random.default_rng(0).exponential(20, size=200)
    found = stats.restricted_mean(times, horizon=1e9)
    assert found.estimate == pytest.approx(times.mean())
    expected = scipy_stats.ttest_1samp(times, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_runs_that_never_arrive_stay_in():
    found = stats.restricted_mean(np.array([10.0, np.inf, np.inf]), horizon=100)
    assert found.estimate == pytest.approx((10 + 100 + 100) / 3)
    never = np.full(5, np.inf)
    curve = stats.kaplan_meier(never, horizon=100)
    assert (curve.times.size, curve.median) == (0, math.inf)
    nobody = stats.compare_times(never, never, horizon=100)
    assert (nobody.p_value, nobody.restricted_mean_difference.estimate) == (1.0, 0.0)
    everyone = stats.compare_times(np.full(5, 7.0), np.full(5, 7.0), horizon=100)
    assert everyone.p_value == 1.0


def test_the_median_counts_arrivals_and_does_not_multiply():
    for n in range(2, 130, 2):
        times = np.arange(1.0, n + 1)
        assert stats.kaplan_meier(times, horizon=1000).median == n / 2
        half = np.where(times > n / 2, np.inf, times)
        assert stats.kaplan_meier(half, horizon=1000).median == n / 2
        fewer = np.where(times > n / 2 - 1, np.inf, times)
        assert stats.kaplan_meier(fewer, horizon=1000).median == math.inf


def test_shares_beside_censored_runs_are_products_of_exact_fractions():
    from fractions import Fraction

    rng = np.random.default_rng(5)
    for _ in range(40):
        times = rng.integers(1, 12, 30).astype(float)
        censored = rng.random(30) < 0.4
        found = stats.kaplan_meier(times, horizon=100, censored=censored)
        share, halves = Fraction(1), []
        for t in found.times:
            at_risk = int((times >= t).sum())
            share *= 1 - Fraction(int((times[~censored] == t).sum()), at_risk)
            halves.append(share <= Fraction(1, 2))
        assert found.share[-1] == pytest.approx(float(share), abs=1e-12)
        expected = found.times[halves]
        assert found.median == (expected[0] if expected.size else math.inf)


def test_log_rank_of_censored_arms():
    # R's survdiff: p = .008542873404.
    a = np.array([8.0, 12, 26, 14, 21, 27, 8, 32, 20, 40])
    b = np.array([33.0, 28, 41, 48, 48, 25, 37, 48, 25, 43])
    stopped = np.arange(10) >= 6, np.arange(10) >= 3
    found = stats.compare_times(a, b, horizon=48, censored=stopped)
    assert found.p_value == pytest.approx(0.008542873404, abs=1e-9)
    means = [
        stats.restricted_mean(x, horizon=48, censored=c).estimate
        for x, c in zip((a, b), stopped, strict=True)
    ]
    assert found.restricted_mean_difference.estimate == pytest.approx(means[0] - means[1])
    one = stats.compare_times(a, b, horizon=48, censored=(stopped[0], None))
    assert one.p_value != found.p_value
    with pytest.raises(TypeError, match="censored"):
        stats.compare_times(a, b, horizon=48, censored=stopped[0])
    with pytest.raises(TypeError, match="horizon"):
        stats.restricted_mean(a, horizon=np.array([]))


@pytest.mark.full
def test_coverage_with_censoring():
    rng = np.random.default_rng(3)
    true_mean, true_share = 50 * (1 - math.exp(-2)), math.exp(-30 / 50)
    mean = share = false = 0
    for _ in range(1500):
        times = rng.exponential(50, size=(2, 48))
        found = stats.restricted_mean(times[0], horizon=100)
        mean += found.low <= true_mean <= found.high
        curve = stats.kaplan_meier(times[0], horizon=100)
        last = np.searchsorted(curve.times, 30, side="right") - 1
        share += curve.low[last] <= true_share <= curve.high[last]
        false += stats.compare_times(*times, horizon=100).p_value < 0.05
    assert 0.92 < mean / 1500 < 0.97
    assert 0.93 < share / 1500 < 0.97
    assert false / 1500 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)
