"""Tests whether paired differences are 0, and corrects p-values for multiple comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jinit import errors
from jinit.stats._bootstrap import MOST_RESAMPLES, Interval
from jinit.stats._location import reals


def two_sided(tails: tuple[float, float]) -> float:
    """Twice the smaller of two one-sided p-values, at most 1.

    >>> two_sided((0.01, 0.99))
    0.02
    """
    return min(1.0, 2 * min(tails))


def sign_p(gaps: np.ndarray) -> float:
    """Two-sided p-value of the sign test, which uses only the signs of the nonzero gaps.

    Args:
      gaps: ``(n,)`` paired differences, inf allowed; all zeros give 1.

    Raises:
      ValueError: no gaps, NaN, an array that is not one-dimensional.

    Reference: Conover 1999, section 3.4 (``scipy.stats.binomtest``).

    >>> sign_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.inf]))
    0.03125
    """
    gaps = _checked(gaps)
    if not np.any(gaps):
        return 1.0
    from scipy import stats

    return float(stats.binomtest(int((gaps > 0).sum()), int((gaps != 0).sum())).pvalue)


def sign_interval(gaps: np.ndarray, confidence: float) -> Interval:
    """The median of the nonzero gaps with the interval that inverts the sign test.

    The ends are the k-th smallest and the k-th largest gap, with the largest k that leaves the
    coverage; ±inf where there is none, NaN where all gaps are alike.

    Reference: Conover 1999, section 3.2.

    >>> sign_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 0.95)
    Interval(estimate=3.5, low=1.0, high=6.0)
    """
    gaps = np.sort(gaps[gaps != 0])
    if not gaps.size:
        return Interval(0.0, math.nan, math.nan)
    with np.errstate(invalid="ignore"):
        middle = float(np.median(gaps))
    if gaps[0] == gaps[-1] and gaps.size > 1:
        return Interval(middle, math.nan, math.nan)
    from scipy import special

    tail = (1 - confidence) / 2
    below = special.bdtr(np.arange(gaps.size // 2 + 1), gaps.size, 0.5)
    out = int((below <= tail * (1 + 1e-12)).sum())
    if not out:
        return Interval(middle, -math.inf, math.inf)
    return Interval(middle, float(gaps[out - 1]), float(gaps[-out]))


def permutation_p(
    gaps: np.ndarray, *, resamples: int = 9999, seed: int = 0, resolution: float = 0.0
) -> float:
    """Two-sided p-value of the mean difference under random swaps within pairs.

    Exact if 2^n ≤ resamples; 1 for a single pair. inf counts as twice the largest finite gap.

    Args:
      gaps: ``(n,)`` paired differences.
      resamples: number of random swaps, if there are too many to try all.
      seed: seed of the random swaps.
      resolution: means that differ by at most this count as equal, in the unit of the gaps.

    Raises:
      ValueError: as :func:`sign_p`.

    Reference: Fisher 1935, section 21 (``scipy.stats.permutation_test``).

    >>> permutation_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    0.03125
    """
    gaps = _checked(gaps)
    errors.check_integer("resamples", resamples, low=1, high=MOST_RESAMPLES, fix="use 9999")
    errors.check_seed(seed)
    errors.check_scalar("resolution", resolution, low=0.0, fix="use 1e-6")
    if gaps.size < 2 or not np.any(gaps):
        return 1.0
    from scipy import stats

    result = stats.permutation_test(
        (cap_infinite(gaps),),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    means, own = result.null_distribution, result.statistic
    close = max(resolution, 1e-12 * float(np.abs(means).max()))
    # The observed signs count as one more resample; the list of all swaps already contains them.
    more = 0 if 2**gaps.size <= resamples else 1
    tails = [(means <= own + close).sum(), (means >= own - close).sum()]
    return float(min(1.0, 2 * (min(tails) + more) / (means.size + more)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: rejecting adjusted p < α has family-wise error at most α.

    Args:
      p_values: ``(m,)``, each in [0, 1].

    Returns:
      The m adjusted p-values, in the order given.

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


def cap_infinite(gaps: np.ndarray) -> np.ndarray:
    """Replaces ±inf by ± twice the largest finite |gap| (±1 if that is 0), so that ranks stay."""
    top = np.max(np.abs(gaps[np.isfinite(gaps)]), initial=0.0) * 2
    return np.clip(gaps, -(top or 1.0), top or 1.0)


def _checked(gaps: np.ndarray) -> np.ndarray:
    gaps = reals(gaps, "gaps")
    if gaps.ndim != 1 or not gaps.size or np.isnan(gaps).any():
        raise errors.refusal(
            "gaps",
            f"shape {gaps.shape}, {int(np.isnan(gaps).sum())} NaN",
            "one dimension, at least one, no NaN",
            "use inf for 'never'",
        )
    return gaps
