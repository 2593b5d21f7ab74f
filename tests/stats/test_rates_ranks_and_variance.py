"""Rates, ranks, performance profiles and variance components against oracles."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from jinit import stats


@pytest.mark.parametrize(("successes", "trials"), [(0, 64), (3, 64), (64, 64), (1, 2)])
def test_wilson_in_closed_form(successes, trials):
    z, p = scipy_stats.norm.ppf(0.975), successes / trials
    centre = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    found = stats.wilson(successes, trials)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_metrics_with_and_without_diverged_runs():
    values = np.array([0.9, 0.8, 0.7, np.nan, 0.1])
    found = stats.with_diverged(values, np.array([0, 0, 0, 1, 1], bool), worst=0)
    assert found.rate.estimate == 0.4
    assert (found.as_worst.estimate, found.without.estimate) == (0.7, 0.8)
    nobody_left = stats.with_diverged(values, np.ones(5, bool), worst=math.inf)
    assert math.isnan(nobody_left.without.estimate)
    assert nobody_left.as_worst.estimate == math.inf


# Demšar 2006, table 6: AUC of C4.5 and three variants of it on 14 data sets.
DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def test_friedman_and_nemenyi_of_a_textbook():
    found = stats.rank(DEMSAR)
    # Ranks 3.143, 2.000, 2.893, 1.964; the critical difference of four arms is 2.569 √(20/84).
    assert found.mean_ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=6e-4)
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(20 / 84), abs=1e-3)
    assert found.p_value == pytest.approx(scipy_stats.friedmanchisquare(*DEMSAR.T).pvalue)


def test_ranks_of_arms_that_never_differ_and_of_losses():
    assert stats.rank(np.ones((5, 3))).p_value == 1.0
    found = stats.rank(np.array([[1.0, 2.0, np.inf]] * 4), higher_is_better=False)
    assert found.mean_ranks.tolist() == [1, 2, 3]


def test_nemenyi_keeps_its_family_wise_error():
    rng = np.random.default_rng(0)
    ranks = rng.random((2000, 20, 6)).argsort(axis=2).mean(axis=1) + 1
    apart = ranks.max(1) - ranks.min(1) > stats.rank(rng.random((20, 6))).critical_difference
    assert apart.mean() < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_performance_profile_is_the_share_above():
    rng = np.random.default_rng(0)
    scores, thresholds = rng.random((30, 4)), np.linspace(-0.1, 1.1, 13)
    found = stats.performance_profile(scores, thresholds)
    np.testing.assert_allclose(found.share, [(scores > t).mean() for t in thresholds])
    assert (found.low <= found.share).all()
    assert (found.share <= found.high).all()
    assert found.low[0] == 1
    assert found.high[-1] == 0
    assert stats.performance_profile(np.array([-np.inf, 1.0]), np.zeros(1)).share[0] == 0.5
    # Above means above: a score at the threshold does not count.
    assert stats.performance_profile(np.array([0.5, 1.0]), np.array([0.5])).share[0] == 0.5
    # Resampling the runs of each task themselves gives the same band.
    drawn = scores[rng.integers(0, 30, (2000, 30, 4)), np.arange(4)]
    band = np.quantile((drawn > 0.5).mean((1, 2)), [0.025, 0.975])
    middle = stats.performance_profile(scores, np.array([0.5]))
    assert [middle.low[0], middle.high[0]] == pytest.approx(band, abs=0.02)


def crossed(rng, rows, columns, spreads):
    r, c, e = spreads
    return (
        r * rng.normal(size=(rows, 1)) + c * rng.normal(size=columns)
        + e * rng.normal(size=(rows, columns))
    )  # fmt: skip


def test_variance_components_are_the_analysis_of_variances():
    values = crossed(np.random.default_rng(0), 12, 9, (2.0, 1.0, 0.5))
    found = stats.variance_components(values)
    # Anova by projecting on the space of each factor.
    residual = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    mean_square = (residual**2).sum() / (11 * 8)
    assert found.residual.estimate == pytest.approx(mean_square)
    assert found.rows.estimate == pytest.approx(values.mean(1).var(ddof=1) - mean_square / 9)
    assert found.columns.estimate == pytest.approx(values.mean(0).var(ddof=1) - mean_square / 12)
    shares = [found.rows_share, found.columns_share, found.residual_share]
    assert sum(share.estimate for share in shares) == pytest.approx(1)
    swapped = stats.variance_components(values.T)
    assert swapped.rows.estimate == pytest.approx(found.columns.estimate)


@pytest.mark.slow
def test_coverage_of_variance_components():
    rng = np.random.default_rng(2)
    truth = np.array([4.0, 1.0, 0.25])
    hits = np.zeros(6)
    for trial in range(800):
        found = stats.variance_components(
            crossed(rng, 16, 12, np.sqrt(truth)), draws=2000, seed=trial
        )
        parts = (found.rows, found.columns, found.residual)
        shares = (found.rows_share, found.columns_share, found.residual_share)
        expected = [*truth, *truth / truth.sum()]
        hits += [i.low <= t <= i.high for i, t in zip((*parts, *shares), expected, strict=True)]
    assert (hits / 800 > 0.95 - 0.03).all(), hits / 800


def test_no_spread_at_all():
    found = stats.variance_components(np.ones((3, 3)))
    assert (found.rows.estimate, found.rows_share.estimate) == (0.0, 0.0)
