"""Ties are a matter of the pair and of the lattice of ranks; equal values have no false band."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from jinit import stats
from jinit.stats._signed_rank import hodges_lehmann, signed_rank_tails


def test_one_huge_pair_does_not_tie_the_means_of_the_others():
    baseline = np.r_[np.linspace(0, 1, 12), 2e7]
    treatment = np.r_[np.linspace(0, 1, 12) - 0.1, 2e7]
    found = stats.paired(treatment, baseline, test="permutation")
    # All 12 differ in one direction: 2 of 2^12 swaps are as extreme, within the noise of 9,999.
    assert found.p_value == pytest.approx(2 / 2**12, abs=6e-4)


@pytest.mark.parametrize(("pairs", "above"), [(301, 168), (400, 220), (501, 220)])
def test_many_gaps_of_equal_size_have_the_law_of_the_sign_test(pairs, above):
    gaps = np.where(np.arange(pairs) < above, 1.0, -1.0)
    below, over = signed_rank_tails(gaps)
    assert below == pytest.approx(scipy_stats.binom.cdf(above, pairs, 0.5), rel=0.02)
    assert over == pytest.approx(scipy_stats.binom.sf(above - 1, pairs, 0.5), rel=0.02)
    found = hodges_lehmann(gaps, 0.95)
    p = scipy_stats.binomtest(above, pairs).pvalue
    assert (found.low > 0 or found.high < 0) <= (p < 0.05)


def test_a_curve_without_runs_left_has_no_band():
    found = stats.kaplan_meier(np.array([7.0]), horizon=9)
    assert found.share.tolist() == [0]
    assert math.isnan(found.low[0])
    assert math.isnan(found.high[0])
