"""Computes the studentized bootstrap of a mean: its interval and its p-values."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np

from jinit.stats._bootstrap import Interval
from jinit.stats._bounded_mean import BoundedMean, reach_of, student_end
from jinit.stats._grouped import grouped_sums

_RESAMPLES = 9999
# More values are resampled as groups of neighbours.
_MOST_SINGLE = 512
# With fewer values an end that resamples cannot give stays infinite: nothing else is sure there.
_FEWEST_BOUNDED = 6


class StudentizedMean:
    """The mean of a sample, judged by t* = (mean* − mean)/se* over resamples.

    A resample that misses the few values that differ has no spread, or nearly none: its t* is
    infinite or huge. Where more than 2.5 % of the resamples put an end of the interval farther than
    values are thought to reach (:func:`~jinit.stats._bounded_mean.reach_of`), t* says nothing of
    that side. Its end is then the farther one of Student's and of the bound of a mean whose values
    do not reach farther (:class:`~jinit.stats._bounded_mean.BoundedMean`). Fewer than six values
    keep the end that t* gives, infinite or not. The p-values are those of t* in any case: rare
    values of varied size deceive the bound on one sample in ten, and t* hardly ever.

    More than 512 values are resampled as some hundred groups of neighbours
    (:func:`~jinit.stats._grouped.grouped_sums`), whose law is that of single values up to less than
    the noise of 9,999 resamples, at a cost that does not grow with their number.

    Args:
      values: ``(n,)``; the mean of values that are not finite, or all alike, has no interval.
      seed: seed of the resampling.

    Reference: Efron & Tibshirani 1993, section 12.5; Hall 1992, section 3; Polansky 2000 (ends
    that a resample of little spread makes far too long); Gaffke 2005.

    >>> mean = StudentizedMean(np.arange(16.0))
    >>> mean.estimate, mean.interval(0.95).low < 5.2 < 9.8 < mean.interval(0.95).high
    (7.5, True)
    """

    def __init__(self, values: np.ndarray, seed: int = 0) -> None:
        self.values, self.seed, self._size = values, seed, values.size
        with np.errstate(invalid="ignore"):
            self.estimate = float(values.mean())
        self._error = 0.0
        if self._size > 1 and np.isfinite(values).all() and np.ptp(values) > 0:
            self._error = float(values.std(ddof=1)) / math.sqrt(self._size)
            self._sorted = np.sort(_studentized(values - self.estimate, seed))

    @property
    def known(self) -> bool:
        """False if the values are too few, not finite, or all alike."""
        return self._error > 0

    def interval(self, confidence: float) -> Interval:
        """The equal-tailed interval; its ends are NaN if the mean has none."""
        if not self.known:
            return Interval(self.estimate, math.nan, math.nan)
        tail = (1 - confidence) / 2
        return Interval(self.estimate, *(self._end(side, tail) for side in (-1, 1)))

    def lacks_spread(self, side: int) -> bool:
        """Whether too many resamples have too little spread to give the end on this side."""
        if not self.known or self._size < _FEWEST_BOUNDED:
            return False
        return side * (self._resampled_end(side, 0.025) - reach_of(self.values, side)) > 0

    def _end(self, side: int, tail: float) -> float:
        resampled = self._resampled_end(side, tail)
        if not self.lacks_spread(side):
            return resampled
        level = 1 - tail if side > 0 else tail
        bounds = (
            student_end(self.estimate, self._error, self._size - 1, level),
            BoundedMean(self.values, reach_of(self.values, side)).quantile(level),
        )
        return side * min(side * resampled, max(side * bound for bound in bounds))

    def _resampled_end(self, side: int, tail: float) -> float:
        level = tail if side > 0 else 1 - tail
        t = np.quantile(self._sorted, level, method="closest_observation")
        return self.estimate - self._error * float(t)

    def tails(self, bound: float = 0.0) -> tuple[float, float]:
        """The p-values of "the mean is below the bound" and "the mean is above"; or NaN."""
        if not self.known:
            return math.nan, math.nan
        t = (self.estimate - bound) / self._error
        below = int(np.searchsorted(self._sorted, t, "right"))
        above = self._sorted.size - int(np.searchsorted(self._sorted, t, "left"))
        return self._share(below, t), self._share(above, -t)

    def _share(self, count: int, t: float) -> float:
        share = (count + 1) / (self._sorted.size + 1)
        if count:
            return min(share, 1.0)
        from scipy import special

        # Beyond all resamples Student's law says how far.
        return min(share, float(special.stdtr(self._size - 1, t)))


def guarded_p(mean: StudentizedMean, side: int, margin: float = 0.0) -> float:
    """Two-sided p-value of "the mean is beyond the margin on this side", guarded.

    Few values of a skewed law often miss its long tail, and then even a studentized mean claims too
    much. So where the values reach farther against the claim than for it (by 15 %, from the
    median), one more value is added on that side, 1 + 20/n times as far out as the farthest
    (n ≥ 16; 2.25 times for fewer), unless that makes p smaller.
    ``tests/results/test_verdicts.py`` measures twelve equal arms.

    Args:
      mean: the mean that is claimed to be beyond the margin; NaN is returned if it has no interval.
      side: 1 for above the margin, −1 for below −margin.
      margin: ≥ 0.

    >>> mean = StudentizedMean(np.append(np.linspace(-1.1, -0.9, 15), 0.5))
    >>> 2 * mean.tails()[0] < 0.05 < guarded_p(mean, -1)
    True
    """
    if not mean.known:
        return math.nan
    seen = _with_unseen(mean.values, -side)
    both = [mean] if seen is mean.values else [mean, StudentizedMean(seen, mean.seed)]
    return min(1.0, 2 * max(each.tails(side * margin)[side > 0] for each in both))


def _with_unseen(values: np.ndarray, side: int) -> np.ndarray:
    """The values and, if they reach farther on this side of the median, one more there."""
    middle = float(np.median(values))
    with np.errstate(invalid="ignore"):
        reaches = [float((way * (values - middle)).max()) for way in (side, -side)]
    if not np.isfinite(values).all() or not reaches[0] > 1.15 * reaches[1]:
        return values
    far = 1 + 20 / max(values.size, 16)
    return np.append(values, middle + side * far * reaches[0])


def _studentized(gaps: np.ndarray, seed: int) -> np.ndarray:
    """``(resamples,)``: t* of gaps from the mean."""
    # In units of the largest gap, no square overflows, and those that vanish do not count.
    with np.errstate(under="ignore"):
        return _of_scaled(gaps / np.abs(gaps).max(), seed)


def _of_scaled(scaled: np.ndarray, seed: int) -> np.ndarray:
    n = scaled.size
    if n > _MOST_SINGLE:
        sums = grouped_sums(scaled, _RESAMPLES, seed)
    else:
        both = np.stack([scaled, scaled**2], axis=1)
        sums = np.concatenate([part.astype(np.float64) @ both for part in _weights(n, seed)])
    mean = sums[:, 0] / n
    variance = (sums[:, 1] / n - mean**2) * n / (n - 1)
    # Equal values have a computed variance of rounding errors.
    error = np.sqrt(np.where(variance > 1e-12 * mean**2, variance, 0.0) / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean == 0, 0.0, mean / error)


@functools.lru_cache(maxsize=4)
def _weights(n: int, seed: int) -> list[np.ndarray]:
    """Parts of ``(resamples, n)``: how often each value is in each resample."""
    # Whole numbers of one or two bytes: a sample of 512 keeps 10 MB.
    return [part.astype(np.uint8 if n < 256 else np.uint16) for part in _drawn(n, seed)]


def _drawn(n: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = max(1, 2**18 // n)
    for start in range(0, _RESAMPLES, rows):
        size = min(rows, _RESAMPLES - start)
        places = rng.integers(0, n, (size, n)) + np.arange(size)[:, None] * n
        yield np.bincount(places.ravel(), minlength=size * n).reshape(size, n)
