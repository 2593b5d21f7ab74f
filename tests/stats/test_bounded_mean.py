"""Means of differences that are nearly all alike: finite ends, and no claim beside an open end."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

import jinit
from jinit import stats
from jinit.results import Table
from jinit.stats._bounded_mean import BoundedMean, reach_of
from jinit.stats._studentized import StudentizedMean, _studentized, guarded_p


def rare(n, k, common=0.5, other=-0.2):
    return np.r_[np.full(n - k, common), np.full(k, other)]


@pytest.mark.parametrize(("n", "k"), [(8, 1), (16, 2), (32, 3), (200, 1)])
@pytest.mark.parametrize("side", [1, -1])
def test_two_values_have_the_bound_of_clopper_and_pearson(n, k, side):
    values = side * rare(n, k, 0.0, 1.0)
    mean = BoundedMean(values, side * 1.0)
    exact = scipy_stats.binomtest(k, n).proportion_ci(0.95, method="exact").high
    found = side * mean.quantile(0.975 if side > 0 else 0.025)
    assert found == pytest.approx(exact, rel=0.04)


@pytest.mark.slow
def test_the_level_holds_where_no_value_exceeds_the_reach():
    rng, wrong = np.random.default_rng(0), {"uniform": 0, "beta": 0}
    for _ in range(400):
        for law, values, truth in (("uniform", rng.random(8), 0.5),
                                   ("beta", rng.beta(0.2, 0.8, 8), 0.2)):  # fmt: skip
            wrong[law] += BoundedMean(values, 1.0).quantile(0.95) < truth
    assert max(wrong.values()) <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
@pytest.mark.parametrize("side", [1, -1])
def test_a_few_values_apart_leave_both_ends_finite(side, noise):
    values = side * rare(32, 3) + noise * np.random.default_rng(2).normal(size=32)
    mean = StudentizedMean(values)
    assert mean.lacks_spread(-side)
    assert not mean.lacks_spread(side)
    found = mean.interval(0.95)
    assert reach_of(values, -1) < found.low < mean.estimate < found.high < reach_of(values, 1)
    # No share of rare values that their count allows, .25 of 32, moves the mean beyond the end.
    worst = 0.5 - 0.7 * scipy_stats.binomtest(3, 32).proportion_ci(0.95, method="exact").high
    assert (side * found.low if side > 0 else side * found.high) < worst + 0.01
    # The other end is that of the resamples.
    t = np.quantile(_studentized(values - mean.estimate, 0), 0.025 if side > 0 else 0.975,
                    method="closest_observation")  # fmt: skip
    error = values.std(ddof=1) / math.sqrt(32)
    other = found.high if side > 0 else found.low
    assert other == mean.estimate - error * float(t)


def test_a_spread_sample_keeps_the_ends_of_its_resamples():
    rng = np.random.default_rng(3)
    for values in (rng.normal(size=16), rng.lognormal(size=32), np.arange(6.0)):
        mean = StudentizedMean(values)
        error = values.std(ddof=1) / math.sqrt(values.size)
        t = np.sort(_studentized(values - values.mean(), 0))
        low, high = np.quantile(t, [0.025, 0.975], method="closest_observation")
        found = mean.interval(0.95)
        assert (found.low, found.high) == (
            mean.estimate - error * float(high), mean.estimate - error * float(low),
        )  # fmt: skip


def test_so_few_values_that_nothing_is_sure_keep_an_open_end():
    found = StudentizedMean(np.array([0.1, 0.2, 0.3])).interval(0.95)
    assert (found.low, found.high) == (-math.inf, math.inf)


@pytest.mark.slow
def test_a_mean_is_never_claimed_beside_an_interval_that_holds_the_bound():
    rng = np.random.default_rng(4)
    claimed = 0
    for _ in range(150):
        n = int(rng.integers(6, 40))
        values = rng.choice([-0.3, 0.1, 0.5], n, p=rng.dirichlet([0.3, 0.3, 1.0]))
        mean = StudentizedMean(values)
        if not mean.known:
            continue
        found = mean.interval(0.95)
        assert math.isfinite(found.low)
        assert math.isfinite(found.high)
        for side, end in ((1, found.low), (-1, -found.high)):
            if guarded_p(mean, side) < 0.049:
                claimed += 1
                assert end > 0, values
    assert claimed > 30


def test_the_guard_never_makes_a_claim_easier():
    rng = np.random.default_rng(5)
    for _ in range(60):
        mean = StudentizedMean(rng.choice([-0.2, 0.5, 0.6], 12, p=[0.3, 0.4, 0.3]))
        if mean.known:
            assert guarded_p(mean, 1) >= min(1.0, 2 * mean.tails()[1])


def test_a_claim_beside_rare_losses_waits_for_more_of_them():
    """Three of 32 pairs against the claim: one resample in 22 has none of them; four: one in 72."""
    base = np.full(32, 0.4)
    for k, verdict in ((3, "not settled"), (4, "wins")):
        columns = {
            "initializer": np.repeat(np.array(["a", "b"], object), 32),
            "seed": np.tile(np.arange(32), 2),
            "test_accuracy": np.r_[base, base + rare(32, k)],
            "diverged": np.zeros(64, bool),
        }
        table = Table(columns, ("initializer", "seed"), {}, np.array([]))
        (found,) = jinit.compare(table, baseline="a")
        assert found.verdict == verdict
        mean = found.result.mean
        assert 0 < mean.low < mean.estimate < mean.high < 0.5
    without = [(29 / 32) ** 32, (28 / 32) ** 32]
    assert 2 * without[0] > 0.05 > 2 * without[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "share", "sizes", "most"),
    [(16, 0.1, "equal", 0.025), (32, 0.05, "equal", 0.025), (16, 0.2, "lognormal", 0.08)],
)
@pytest.mark.sampled(3)
def test_the_end_that_resamples_cannot_give_is_rarely_missed(n, share, sizes, most):
    """Rare values of one size are missed as promised; of lognormal size .04 to .09 (open: 0)."""
    rng, trials, missed, failed = np.random.default_rng(6), 300, 0, 0
    for _ in range(trials):
        values = (rng.random(n) < share) * (rng.lognormal(size=n) if sizes != "equal" else 1.0)
        mean = StudentizedMean(values)
        truth = share * (math.exp(0.5) if sizes != "equal" else 1.0)
        missed += mean.known and mean.interval(0.95).high < truth
        failed += mean.lacks_spread(1)
    assert failed > 0.4 * trials
    assert missed <= most * trials + 3 * math.sqrt(most * trials)


def test_a_loss_may_win_with_its_own_long_tail():
    gaps = rare(16, 2, -0.5, -1.0)
    found = stats.paired(1.0 + gaps, np.ones(16), higher_is_better=False)
    assert -0.9 < found.mean.low < -0.56 < found.mean.high < 0
