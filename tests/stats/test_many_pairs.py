"""Many pairs: the bootstrap of groups is that of single values, and no average is sorted twice."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from jinit.stats._averages import as_infinite, order_statistics
from jinit.stats._grouped import group_sizes, grouped_sums
from jinit.stats._signed_rank import hodges_lehmann, tied
from jinit.stats._studentized import StudentizedMean, _studentized

RNG = np.random.default_rng(0)
LAWS = {
    "normal": RNG.normal(size=900),
    "lognormal": RNG.lognormal(size=900),
    "student of 3": RNG.standard_t(3, 900),
    "rare": (RNG.random(900) < 0.05) * RNG.lognormal(size=900) + 1e-3 * RNG.normal(size=900),
    "accuracies": np.round(RNG.normal(size=900), 1),
}


def resampled(values, count=4000):
    """t* of plain resamples of single values, with a generator of its own."""
    rng, n, parts = np.random.default_rng(1), values.size, []
    for _ in range(8):
        drawn = values[rng.integers(0, n, (count // 8, n))]
        parts.append((drawn.mean(1) - values.mean()) / (drawn.std(1, ddof=1) / math.sqrt(n)))
    return np.concatenate(parts)


@pytest.mark.parametrize("law", list(LAWS))
def test_the_law_of_grouped_resamples_is_that_of_single_values(law):
    values = LAWS[law]
    grouped = _studentized(values - values.mean(), 0)
    # Two samples of one law have p below 1e-3 once in a thousand.
    assert scipy_stats.ks_2samp(grouped, resampled(values)).pvalue > 1e-3


def test_up_to_512_values_are_resampled_one_by_one():
    for n, grouped in ((512, False), (513, True)):
        values = np.random.default_rng(2).lognormal(size=n)
        gaps = values - values.mean()
        sums = grouped_sums(gaps / np.abs(gaps).max(), 9999, 0)
        mean = sums[:, 0] / n
        found = _studentized(gaps, 0)
        assert bool(np.array_equal(np.sign(found), np.sign(mean))) == grouped


@pytest.mark.parametrize("n", [2, 3, 47, 48, 513, 1000, 99_999])
def test_groups_are_all_values_and_grow_from_both_ends(n):
    sizes = group_sizes(n)
    assert sizes.sum() == n
    assert sizes.min() >= 1
    assert sizes.max() <= max(1, n / 40 + 1)
    assert len(sizes) < 200
    if n > 48:
        assert set(sizes[:24]) == set(sizes[-24:]) == {1}


def test_the_interval_of_very_many_normal_values_is_students():
    values = np.random.default_rng(3).normal(0.1, 1, 100_000)
    found = StudentizedMean(values).interval(0.95)
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.95)
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.04 * width)
    assert found.high == pytest.approx(expected.high, abs=0.04 * width)


@pytest.mark.slow
@pytest.mark.parametrize(
    "law",
    [
        "normal",
        "tiny",
        "tenths",
        "whole",
        "alike",
        "infinite",
        "mostly infinite",
        "all sizes",
        "diverged",
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_order_statistics_of_averages_are_those_of_all_averages(law, listed, monkeypatch):
    monkeypatch.setattr("jinit.stats._averages._occur_often", lambda different, n: listed)
    rng, n = np.random.default_rng(4), 700
    values = {
        "normal": lambda: rng.normal(size=n),
        "tiny": lambda: 1e-6 * rng.lognormal(size=n),
        "tenths": lambda: np.round(rng.normal(size=n), 1),
        "whole": lambda: rng.integers(-3, 4, n) * 1.0,
        "alike": lambda: np.r_[np.full(n - 2, 0.5), 0.1, 0.7],
        "infinite": lambda: np.r_[rng.normal(size=n - 3), 1e300, 1e300, -1e300],
        # Ends that a tolerance relative to the largest value would find at once, and wrong.
        "all sizes": lambda: rng.normal(size=n) * 10 ** rng.uniform(0, 30, n),
        "diverged": lambda: rng.normal(size=n) * np.where(rng.random(n) < 0.02, 1e30, 1),
        "mostly infinite": lambda: rng.choice([-1e300, 1e300, 3.0], n),
    }[law]()
    values = np.sort(values[values != 0])
    first, second = np.triu_indices(values.size)
    means = np.sort((values[first] + values[second]) / 2)
    count = means.size
    places = [(count - 1) // 2, count // 2, int(0.48 * count), int(0.52 * count), 5, 0, count - 1]
    for found, expected in zip(order_statistics(values, places), means[places], strict=True):
        found, expected = as_infinite(found), as_infinite(float(expected))
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-15 * np.median(np.abs(values)))


def test_averages_of_differences_of_float32_accuracies_are_listed(monkeypatch):
    """Rounding spreads equal averages: to count them between narrowing bounds would take long."""
    rng = np.random.default_rng(5)
    one, other = (rng.integers(200, 361, 3000) / 360 for _ in range(2))
    gaps = one.astype(np.float32).astype(float) - other.astype(np.float32)
    equal = tied(gaps, np.full(gaps.size, 2e-7))
    monkeypatch.setattr("jinit.stats._averages._near", None)
    found = hodges_lehmann(equal, 0.95)
    monkeypatch.undo()
    monkeypatch.setattr("jinit.stats._averages._occur_often", lambda different, n: False)
    counted = hodges_lehmann(equal, 0.95)
    assert (found.estimate, found.low, found.high) == pytest.approx(
        (counted.estimate, counted.low, counted.high), abs=1e-12
    )


def tied_one_by_one(gaps, resolutions):
    """The rule itself: the smallest size of a group stands for all that it reaches."""
    sizes = np.where(np.abs(gaps) <= resolutions, 0.0, np.abs(gaps))
    equal, start, own = np.empty_like(sizes), 0.0, 0.0
    for place in np.argsort(sizes, kind="stable"):
        size, error = sizes[place], resolutions[place]
        if not (size == start or (start > 0 and size - start <= max(own, error))):
            start, own = size, error
        equal[place] = start
    return np.copysign(equal, gaps)


@pytest.mark.parametrize("seed", range(6))
def test_ties_of_many_gaps_are_those_of_one_after_the_other(seed):
    rng = np.random.default_rng(seed)
    for law in (
        lambda n: rng.normal(size=n),
        lambda n: rng.integers(-9, 9, n) / 360 + 1e-9 * rng.normal(size=n),
        lambda n: np.where(rng.random(n) < 0.1, np.inf, rng.standard_cauchy(n)),
        lambda n: np.round(rng.normal(size=n), 3),
    ):
        for n in (1, 2, 40, 700):
            gaps = law(n)
            for errors in (np.full(n, 1e-6), 10 ** rng.uniform(-9, -2) * rng.random(n)):
                assert np.array_equal(tied(gaps, errors), tied_one_by_one(gaps, errors))


def test_the_shift_of_very_many_values_is_found():
    values = np.random.default_rng(5).normal(0.02, 1, 50_000)
    found = hodges_lehmann(values, 0.95)
    # The estimate of a normal law has the variance π/3 σ²/n.
    error = math.sqrt(math.pi / 3 / 50_000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.03)
    assert abs(found.estimate - 0.02) < 4 * error
