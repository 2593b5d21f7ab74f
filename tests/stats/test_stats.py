"""Statistics against scipy and against simulated experiments."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from jinit import stats


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(0).lognormal(size=64)
    ours = stats.bootstrap(values, np.mean, resamples=20_000)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", random_state=1
    ).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, rel=0.02)
    assert ours.high == pytest.approx(theirs.high, rel=0.02)


def test_bootstrap_with_never():
    half = np.array([5.0] * 20 + [math.inf] * 4)
    found = stats.bootstrap(half)
    assert (found.estimate, found.low) == (5.0, 5.0)
    assert stats.bootstrap(np.full(5, math.inf)).high == math.inf
    assert not np.isnan([found.low, found.high]).any()


@pytest.mark.slow
@pytest.mark.parametrize("statistic", [np.median, np.mean])
def test_coverage_of_nominal_95_percent(statistic):
    rng = np.random.default_rng(7)
    covered = [
        (lambda i: i.low <= 0 <= i.high)(
            stats.bootstrap(rng.normal(size=64), statistic, resamples=600)
        )
        for _ in range(1000)
    ]
    # Standard error 0.7 %; the percentile interval is known to run slightly short.
    assert 0.92 < np.mean(covered) < 0.975


def test_paired_difference_uses_the_pairing():
    rng = np.random.default_rng(0)
    base = rng.normal(size=64) * 10
    found = stats.paired(base + 0.1 + 0.05 * rng.normal(size=64), base)
    assert found.difference.low > 0
    assert found.p_value < 1e-6
    assert found.probability_of_improvement > 0.9
    worse = stats.paired(base + 0.1, base, higher_is_better=False)
    assert worse.probability_of_improvement == 0.0


def test_p_value_is_scipys():
    gaps = np.random.default_rng(3).normal(0.2, 1, size=40)
    found = stats.paired(gaps, np.zeros(40))
    assert found.p_value == pytest.approx(scipy_stats.wilcoxon(gaps).pvalue)


def test_arms_that_never_arrive():
    never = np.full(10, math.inf)
    same = stats.paired(never, never, higher_is_better=False)
    assert (same.difference.estimate, same.p_value) == (0.0, 1.0)
    faster = stats.paired(np.full(10, 7.0), never, higher_is_better=False)
    assert faster.difference.estimate == -math.inf
    assert faster.p_value < 0.01
    assert faster.probability_of_improvement == 1.0


def test_holm_against_the_definition():
    p = [0.001, 0.02, 0.03, 0.5]
    assert stats.holm(p) == pytest.approx([0.004, 0.06, 0.06, 0.5])
    assert stats.holm([]) == []
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.slow
def test_family_wise_error_of_null_sweeps():
    rng = np.random.default_rng(11)
    false = 0
    for _ in range(400):
        arms = rng.normal(size=(6, 32))
        p = [stats.paired(arm, arms[0]).p_value for arm in arms[1:]]
        false += min(stats.holm(p)) < 0.05
    # 5 % of 400 is 20; 35 is more than three standard errors above.
    assert false <= 33


def test_more_pairs_settles_it_at_the_stated_power():
    rng = np.random.default_rng(2)
    gaps = rng.normal(0.3, 1.0, size=16)
    n = int(16 + stats.more_pairs(gaps))
    assert n > 16
    # Simulate at the observed effect: about 80 % of experiments of that size reject.
    draws = rng.normal(gaps.mean(), gaps.std(ddof=1), size=(2000, n))
    rejected = scipy_stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert 0.72 < rejected.mean() < 0.88
    assert stats.more_pairs(np.zeros(5)) == math.inf


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: stats.bootstrap(np.array([])), "at least one value"),
        (lambda: stats.bootstrap(np.array([np.nan])), "no NaN"),
        (lambda: stats.bootstrap(np.ones(3), confidence=2), "confidence"),
        (lambda: stats.paired(np.ones(3), np.ones(4)), "equal lengths"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()
