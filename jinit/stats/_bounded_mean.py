"""Bounds the mean of values that reach no farther than a given value."""

from __future__ import annotations

import functools
import math

import numpy as np

_DRAWS = 9999
# Equal values share one weight; beyond this many different values, neighbours share one, too.
_MOST_WEIGHTS = 1024


class BoundedMean:
    """Judges the mean of a law whose values lie on one side of a reach.

    With the sample in any order, b the reach and D uniform on the simplex of n + 1 weights,

        M = D_1 x_1 + … + D_n x_n + D_{n+1} b

    is a law for the mean: its 1 − α quantile is an upper bound of level 1 − α if no value of the
    law exceeds b. For two values, of which b is one, this is the bound of Clopper & Pearson; that
    the level holds for all laws is proved for those and is Gaffke's conjecture for others.

    Args:
      values: ``(n,)``, finite.
      reach: b; at least the greatest value for an upper bound, at most the least for a lower one.

    Reference: Gaffke 2005; Learned-Miller & Thomas 2020, section 3; Clopper & Pearson 1934.

    >>> mean = BoundedMean(np.array([0.0] * 15 + [1.0]), 1.0)
    >>> 0.29 < mean.quantile(0.975) < 0.31  # Clopper & Pearson: 0.302
    True
    """

    def __init__(self, values: np.ndarray, reach: float) -> None:
        self._values, self._reach = np.sort(values), reach
        different, counts = np.unique(values, return_counts=True)
        if different.size > _MOST_WEIGHTS:
            starts = np.linspace(0, different.size, _MOST_WEIGHTS, endpoint=False).astype(int)
            sums = np.add.reduceat(different * counts, starts)
            counts = np.add.reduceat(counts, starts)
            different = sums / counts
        weights = _weights(tuple(counts.tolist()))
        self._sorted = np.sort(weights @ np.append(different, reach))

    def quantile(self, level: float) -> float:
        """The quantile of M at this level."""
        return float(np.quantile(self._sorted, level, method="closest_observation"))

    def tail(self, bound: float, side: int) -> float:
        """P(M ≥ bound) for side 1, P(M ≤ bound) for side −1; never less than it is."""
        if side > 0:
            count = _DRAWS - int(np.searchsorted(self._sorted, bound, "left"))
        else:
            count = int(np.searchsorted(self._sorted, bound, "right"))
        share = (count + 1) / (_DRAWS + 1)
        return share if count else min(share, self._far_tail(bound, side))

    def _far_tail(self, bound: float, side: int) -> float:
        """The least tail of two-valued samples that reach farther than the values do.

        For a value c, the i nearer ones become c and all others the reach b, whose weights sum to
        Beta(n − i + 1, i).
        """
        from scipy import special

        n, nearer = self._values.size, np.sort(side * self._values)
        nearer = nearer[nearer < min(side * bound, side * self._reach)]
        share = np.minimum((side * bound - nearer) / (side * self._reach - nearer), 1.0)
        places = np.arange(1, nearer.size + 1)
        far = special.betainc(places, n + 1 - places, 1 - share)
        return float(np.min(far, initial=1.0))


@functools.lru_cache(maxsize=4)
def _weights(counts: tuple[int, ...]) -> np.ndarray:
    """``(draws, groups + 1)``: the sums of uniform simplex weights over groups of values."""
    # Only its law matters, so the seed need not be that of the resampling.
    drawn = np.random.default_rng(0).standard_gamma((*counts, 1), (_DRAWS, len(counts) + 1))
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))


def reach_of(values: np.ndarray, side: int) -> float:
    """How far values may reach on a side: 1 + 20/n times as far from the median as the farthest.

    The farthest value of either side counts; for fewer than 16 values the factor is 2.25.

    >>> reach_of(np.array([0.0] * 19 + [1.0]), -1)
    -2.0
    """
    middle = float(np.median(values))
    return middle + side * (1 + 20 / max(values.size, 16)) * float(np.abs(values - middle).max())


def student_end(estimate: float, error: float, freedom: int, level: float) -> float:
    """The quantile of Student's law about an estimate."""
    from scipy import special

    return estimate + error * float(special.stdtrit(freedom, level))


def student_tail(estimate: float, error: float, freedom: int, bound: float, side: int) -> float:
    """Student's p-value of "the mean is beyond the bound" on the other side."""
    from scipy import special

    if not error > 0:
        return math.nan
    return float(special.stdtr(freedom, side * (estimate - bound) / error))
