"""Bounds the mean of values that reach no farther than a given value."""

from __future__ import annotations

import functools

import numpy as np

_DRAWS = 9999
# Equal values share one weight; beyond this many different values, neighbours share one, too.
_MOST_WEIGHTS = 1024


class BoundedMean:
    """Judges the mean of a law whose values lie on one side of a reach.

    With the sample in any order, b the reach and D uniform on the simplex of n + 1 weights,

        M = D_1 x_1 + … + D_n x_n + D_{n+1} b

    is a law for the mean: its 1 − α quantile is an upper bound of level 1 − α if no value of the
    law exceeds b. For two values, of which b is one, this is the bound of Clopper & Pearson, whose
    level is proved; for all other laws the level is Gaffke's conjecture.

    Args:
      values: ``(n,)``, finite.
      reach: b; at least the greatest value for an upper bound, at most the least for a lower one.

    Reference: Gaffke 2005; Learned-Miller & Thomas 2020, section 3; Clopper & Pearson 1934.

    >>> mean = BoundedMean(np.array([0.0] * 15 + [1.0]), 1.0)
    >>> 0.29 < mean.quantile(0.975) < 0.31  # Clopper & Pearson: 0.302
    True
    """

    def __init__(self, values: np.ndarray, reach: float) -> None:
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
