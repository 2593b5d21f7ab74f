"""Statistics against scipy and against simulated experiments."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats

from jinit import stats
from jinit.stats._power import more_pairs
from jinit.stats._signed_rank import signed_rank_tails
from jinit.stats._tests import permutation_p, sign_p, two_sided


def widened(confidence, n, freedom):
    """Hesterberg's tails as a confidence level, which scipy does not widen by itself."""
    t = scipy_stats.t.ppf((1 + confidence) / 2, freedom)
    return 1 - 2 * scipy_stats.norm.cdf(-math.sqrt(n / freedom) * t)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("statistic", [np.mean, stats.iqm, np.std])
def test_bootstrap_agrees_with_scipy(statistic, method):
    values = np.random.default_rng(0).lognormal(size=64)
    ours = stats.bootstrap(values, statistic, resamples=20_000, method=method.lower())
    theirs = scipy_stats.bootstrap(
        (values,), statistic, n_resamples=20_000, method=method, random_state=1,
        confidence_level=widened(0.95, 64, 63),
    ).confidence_interval  # fmt: skip
    assert ours.estimate == pytest.approx(statistic(values))
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_strata_keep_their_sizes_as_in_scipys_many_samples(method):
    rng = np.random.default_rng(4)
    samples = [rng.lognormal(mean, 0.5, size) for mean, size in ((0, 20), (3, 12), (5, 30))]

    def joined(*parts, axis=-1):
        return stats.iqm(np.concatenate(parts, axis=axis), axis=axis)

    ours = stats.bootstrap(
        np.concatenate(samples), stats.iqm, resamples=20_000, method=method.lower(),
        strata=np.repeat([0, 1, 2], [20, 12, 30]),
    )  # fmt: skip
    theirs = scipy_stats.bootstrap(
        samples, joined, n_resamples=20_000, method=method, vectorized=True, random_state=1,
        confidence_level=widened(0.95, 62, 59),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)
    # Without strata the mixture of the tasks varies too, and the interval is far wider.
    mixed = stats.bootstrap(np.concatenate(samples), stats.iqm)
    assert mixed.high - mixed.low > 2 * width


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(arrays(float, st.integers(1, 40), elements=st.floats(-1e6, 1e6)), st.floats(0, 0.49))
def test_trimmed_means_are_scipys(values, cut):
    expected = scipy_stats.trim_mean(values, cut)
    assert stats.trimmed_mean(values, cut=cut) == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert stats.iqm(values) == pytest.approx(scipy_stats.trim_mean(values, 0.25), abs=1e-6)
    table = np.stack([values, values + 1])
    np.testing.assert_allclose(stats.iqm(table, axis=1), stats.iqm(table.T, axis=0))


def test_iqm_does_not_see_a_quarter_of_diverged_runs():
    scores = np.concatenate([np.full(12, 0.9), np.full(4, -np.inf)])
    assert stats.iqm(scores) == pytest.approx(0.9)
    assert stats.iqm(np.append(scores, [-np.inf] * 5)) == -np.inf


def test_bootstrap_with_never():
    half = np.array([5.0] * 20 + [math.inf] * 4)
    found = stats.bootstrap(half)
    assert (found.estimate, found.low) == (5.0, 5.0)
    assert stats.bootstrap(np.full(5, math.inf)).estimate == math.inf
    assert not np.isnan([found.low, found.high]).any()


DISTRIBUTIONS = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0),
    "bimodal": (lambda rng, n: rng.normal(size=n) / 2 + 3 * (rng.random(n) < 0.3), 0.9),
    "lognormal": (lambda rng, n: rng.lognormal(size=n), math.exp(0.5)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.sampled(3)
def test_coverage_of_nominal_95_percent(name, method):
    draw, mean = DISTRIBUTIONS[name]
    rng = np.random.default_rng(7)
    found = [
        stats.bootstrap(draw(rng, 32), np.mean, resamples=800, method=method, seed=i)
        for i in range(1000)
    ]
    covered = np.mean([interval.low <= mean <= interval.high for interval in found])
    # 93 to 97 % with three standard errors of 0.7 %; the mean of a skewed law is known to be hard.
    low = 0.86 if name == "lognormal" else 0.93 - 0.02
    assert low < covered < 0.97 + 0.016


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
    for wrong in ([0.1, float("nan")], [-0.1, 0.2], [1.5], [[0.1, 0.2]]):
        with pytest.raises(ValueError, match="p_values"):
            stats.holm(wrong)
    with pytest.raises(TypeError, match="p_values: got 'x'"):
        stats.holm("x")
    with pytest.raises(ValueError, match="axis: got 9"):
        stats.iqm(np.arange(24.0), axis=9)
    with pytest.raises(ValueError, match="draws: got 0"):
        stats.variance_components(np.eye(3), draws=0)


@pytest.mark.parametrize(
    ("test", "reference"),
    [
        ("wilcoxon", lambda gaps: scipy_stats.wilcoxon(gaps).pvalue),
        ("sign", lambda gaps: scipy_stats.binomtest(int((gaps > 0).sum()), len(gaps)).pvalue),
        ("permutation", lambda gaps: np.mean(np.abs(SIGNS @ gaps) >= abs(gaps.sum()) - 1e-12)),
    ],
)
def test_every_test_of_a_pair_against_its_definition(test, reference):
    gaps = np.random.default_rng(3).normal(0.4, 1, size=11)
    found = stats.paired(gaps, np.zeros(11), test=test)
    assert found.p_value == pytest.approx(reference(gaps))


SIGNS = 1 - 2 * ((np.arange(2**11)[:, None] >> np.arange(11)) & 1)


@pytest.mark.parametrize("test", ["wilcoxon", "sign", "permutation"])
@pytest.mark.full
def test_false_alarms_of_each_test_without_a_difference(test):
    rng = np.random.default_rng(5)
    gaps = rng.standard_t(2, size=(150 if test == "permutation" else 600, 20))
    rejected = np.mean([stats.paired(row, np.zeros(20), test=test).p_value < 0.05 for row in gaps])
    assert rejected < 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(gaps))


def test_all_pairs_are_corrected_together():
    rng = np.random.default_rng(0)
    arms = {name: rng.normal(size=24) for name in "abcd"} | {"e": rng.normal(3, 1, size=24)}
    pairs = stats.all_pairs(arms)
    assert [(p.baseline, p.treatment) for p in pairs] == [
        (x, y) for i, x in enumerate("abcde") for y in "abcde"[i + 1 :]
    ]
    assert [p.p_value for p in pairs] == stats.holm([p.result.p_value for p in pairs])
    settled = {(p.baseline, p.treatment) for p in pairs if p.p_value < 0.05}
    assert settled == {(x, "e") for x in "abcd"}


@pytest.mark.slow
def test_family_wise_error_of_null_sweeps():
    rng = np.random.default_rng(11)
    false = 0
    for _ in range(400):
        # A common seed effect makes the arms alike, as shared seeds do.
        arms = rng.normal(size=(6, 32)) + 2 * rng.normal(size=32)
        gaps = [arms[i] - arms[j] for i in range(6) for j in range(i)]
        p = [two_sided(signed_rank_tails(gap)) for gap in gaps]
        false += min(stats.holm(p)) < 0.05
    # 5 % of 400 is 20; three standard errors above is 33.
    assert false <= 33


def test_effect_size_in_closed_form_and_without_bias():
    rng = np.random.default_rng(0)
    draws = rng.normal(0.5, 1, size=(4000, 8))
    found = np.mean([
        (1 - 3 / 27) * row.mean() / row.std(ddof=1) for row in draws
    ])  # fmt: skip
    assert found == pytest.approx(0.5, abs=0.02)
    one = stats.effect_size(draws[0])
    assert one.estimate == pytest.approx((1 - 3 / 27) * draws[0].mean() / draws[0].std(ddof=1))
    assert one.low < one.estimate < one.high
    assert stats.effect_size(np.full(5, 2.0)).estimate == math.inf
    assert stats.effect_size(np.zeros(5)).estimate == 0


@pytest.mark.slow
def test_probability_of_improvement_is_mann_whitneys():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 30).astype(float), rng.integers(0, 5, 20).astype(float)
    found = stats.probability_of_improvement(x, y)
    assert found.estimate == pytest.approx(scipy_stats.mannwhitneyu(x, y).statistic / 600)
    drawn = [
        (scipy_stats.mannwhitneyu(rng.choice(x, 30), rng.choice(y, 20)).statistic / 600)
        for _ in range(1500)
    ]
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)
    diverged = stats.probability_of_improvement(np.full(4, -np.inf), np.full(4, -np.inf))
    assert diverged.estimate == 0.5


def test_more_pairs_settles_it_at_the_stated_power():
    rng = np.random.default_rng(2)
    gaps = rng.normal(0.3, 1.0, size=16)
    n = int(16 + more_pairs(gaps))
    assert n > 16
    # Simulate at the observed effect: about 80 % of experiments of that size reject.
    draws = rng.normal(gaps.mean(), gaps.std(ddof=1), size=(2000, n))
    rejected = scipy_stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert 0.72 < rejected.mean() < 0.88
    assert more_pairs(np.zeros(5)) == math.inf
    assert more_pairs([0.1, 0.2, -0.3]) == math.inf


@pytest.mark.parametrize("test", ["wilcoxon", "permutation", "sign"])
@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.full)])
@pytest.mark.slow
def test_accuracies_tie_as_their_counts_do(test, dtype):
    """k/360 and m/360 differ by rounding where k and m differ equally."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        counts = rng.integers(300, 340, 12)
        other = counts + rng.choice([-1, 0, 1, 2], 12)
        shares = ((x / 360).astype(dtype) for x in (counts, other))
        found = stats.paired(*shares, test=test)
        exact = stats.paired(counts, other, test=test)
        assert found.p_value == pytest.approx(exact.p_value, rel=1e-9)
        assert found.probability_of_improvement == exact.probability_of_improvement
        assert found.difference.estimate == pytest.approx(exact.difference.estimate / 360, abs=1e-7)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: stats.bootstrap(np.ma.masked_array([1, 2, 9.0], [0, 0, 1])), "masked"),
        (lambda: stats.bootstrap(["1", "2"]), "real numbers"),
        (lambda: stats.bootstrap([10**400, 1]), "real numbers"),
        (lambda: stats.bootstrap(np.ones(3), "median"), "statistic"),
        (lambda: stats.bootstrap(np.ones(3), lambda x: x), "statistic"),
        (lambda: stats.bootstrap(np.ones(3), seed="a"), "seed"),
        (lambda: stats.with_diverged([0.9, 0.8], ["False", "True"], worst=0), "diverged"),
        (lambda: stats.with_diverged([0.9, 0.8], [-1, -1], worst=0), "diverged"),
        (lambda: stats.kaplan_meier([1, 2], horizon=9, censored=[np.nan, 0]), "censored"),
        (lambda: stats.paired([1.0], [2.0], higher_is_better="no"), "higher_is_better"),
        (lambda: stats.rank(np.ones((2, 3)), higher_is_better=np.ones(2)), "higher_is_better"),
        (lambda: stats.bootstrap([1.0, 2.0, 3.0], strata=[[1], [1, 2], 3]), "strata"),
        (lambda: stats.bootstrap([1.0, 2.0, 3.0], strata=[None, "a", 1]), "strata"),
        (lambda: stats.all_pairs([[1, 2], [2, 3]]), "arms"),
        (lambda: stats.iqm(np.ones(3), axis="a"), "axis"),
        (lambda: stats.probability_of_improvement([1], [1], resamples=1.5), "resamples"),
    ],
)
def test_what_python_would_take_for_something_else(call, match):
    with pytest.raises(TypeError, match=match):
        call()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: stats.bootstrap(np.array([])), "at least one value"),
        (lambda: stats.bootstrap(np.ones(3), lambda x, axis: x), "one number per row"),
        (lambda: stats.bootstrap(np.ones(3), seed=-1), "seed"),
        (lambda: permutation_p([1.0, 2.0], seed=-1), "seed"),
        (lambda: stats.variance_components(np.ones((3, 3)), seed=-1), "seed"),
        (lambda: stats.probability_of_improvement([1], [1], resamples=0), "resamples"),
        (lambda: stats.iqm(np.ones(3), axis=1), "axis"),
        (lambda: stats.bootstrap(np.array([np.nan])), "no NaN"),
        (lambda: stats.bootstrap(np.ones(3), confidence=2), "confidence"),
        (lambda: stats.wilson(1, 2, confidence=1), r"\(0, 1\)"),
        (lambda: stats.bootstrap(np.arange(3), strata=np.arange(3)), "several values in some"),
        (lambda: stats.paired(np.ones(2), np.array([1.0, np.nan])), "baseline: got '1 NaN'"),
        (lambda: stats.bootstrap(np.ones(3), method="basic"), "percentile, bca"),
        (lambda: stats.bootstrap(np.array([1.0, np.inf]), method="bca"), "percentile"),
        (lambda: stats.bootstrap(np.ones(3), strata=np.ones(2)), "one label per value"),
        (lambda: stats.paired(np.ones(3), np.ones(4)), "equal lengths"),
        (lambda: stats.paired(np.ones(3), np.ones(3), test="t"), "wilcoxon"),
        (lambda: stats.all_pairs({"a": np.ones(3)}), "at least two"),
        (lambda: stats.trimmed_mean(np.ones(3), cut=0.5), "cut"),
        (lambda: stats.iqm(np.array([])), "at least one"),
        (lambda: stats.iqm(np.array([1.0, np.nan])), "NaN"),
        (lambda: stats.paired([1.0, np.nan], [0.0, 0.0]), "NaN"),
        (lambda: sign_p([np.nan]), "NaN"),
        (lambda: permutation_p([np.nan, 1, 2, 3, 4]), "NaN"),
        (lambda: more_pairs([np.nan, 1.0]), "not finite"),
        (lambda: stats.restricted_mean([1.0], horizon=5), "at least two"),
        (lambda: stats.restricted_mean([1.0, 2.0], horizon=5, confidence=95), "confidence"),
        (lambda: stats.compare_times([1.0], [2.0], horizon=5), "at least two"),
        (lambda: stats.effect_size(np.array([1.0, 2.0])), "at least 3"),
        (lambda: stats.probability_of_improvement(np.array([np.nan]), np.ones(2)), "NaN"),
        (lambda: stats.kaplan_meier(np.array([-1.0]), horizon=5), "negative"),
        (lambda: stats.kaplan_meier(np.ones(2), horizon=0), "horizon"),
        (lambda: stats.restricted_mean(np.array([np.nan]), horizon=5), "NaN"),
        (lambda: stats.wilson(5, 4), "successes"),
        (lambda: stats.wilson(1, 10**400), "trials"),
        (lambda: stats.bootstrap(np.ones(3), resamples=2**32), "resamples"),
        (lambda: stats.with_diverged(np.ones(2), np.ones(3), worst=0), "one flag"),
        (lambda: stats.rank(np.ones((3, 2))), "arms >= 3"),
        (lambda: stats.performance_profile(np.array([np.nan]), np.ones(1)), "NaN"),
        (lambda: stats.performance_profile(np.ones(2), np.array([])), "linspace"),
        (lambda: stats.performance_profile(np.ones(2), np.array([np.nan])), "no NaN"),
        (lambda: stats.variance_components(np.ones((1, 4))), ">= 2"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("values", [np.ones(3) + 1j, "abc", ["a", "b"], [[1.0], [1.0, 2.0]]])
def test_what_is_not_real_is_refused_and_never_cut_to_its_real_part(values):
    for call in (stats.iqm, stats.bootstrap, sign_p, more_pairs):
        with pytest.raises(TypeError, match="real numbers"):
            call(values)


def test_the_middle_of_both_infinities_is_unknown():
    assert np.isnan(stats.iqm(np.array([-np.inf, np.inf])))


def test_few_and_equal_values():
    assert stats.paired([1.0], [0.0], test="permutation").p_value == 1
    assert stats.paired([1, 2, 3, 4, 5, 6], [0] * 6).p_value == 2 / 2**6
    assert stats.effect_size([0.1] * 7).estimate == math.inf
    # Resamples without any spread must not break the interval of the others.
    found = stats.effect_size([0.02, 0.02, 0.02, 0.03, 0.02])
    assert found.low <= found.estimate <= found.high
    for values in ([1.0, 2.0], [1.0, 1.0, 5.0]):
        found = stats.bootstrap(values, np.mean, method="bca", confidence=0.999)
        assert min(values) <= found.low <= found.high <= max(values)
    labelled = stats.bootstrap([1.0, 2.0, 3.0], np.mean, strata=[np.nan, np.nan, 1])
    assert labelled.estimate == 2
