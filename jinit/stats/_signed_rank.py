"""Computes the exact signed-rank law, its p-values, and the Hodges–Lehmann interval."""

from __future__ import annotations

import bisect
import functools
import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from jinit.stats._bootstrap import Interval

# More nonzero gaps than this have a normal law: its error is then far below the exact steps.
_MOST_EXACT = 300
# Up to this many gaps all their averages are sorted; beyond, order statistics are bisected.
_MOST_SORTED = 512
# The same for few different values that occur often, such as differences of accuracies.
_SQUARE_PER_VALUE = 8
# Values farther from the quartiles than so many distances of these do not widen a histogram's bins.
_REACH = 32
# So many averages per value are listed and sorted.
_MOST_LISTED = 8
# The rounding error of an average, relative to its summands.
_ROUNDING = 1e-15
# Stands for inf: larger than every float32, and half of it is still recognized.
_INFINITE = 1e300


def tied(gaps: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
    """Gives equal sizes to gaps that differ only by rounding, and 0 to gaps that are rounding.

    Args:
      gaps: ``(n,)``, inf allowed.
      resolutions: ``(n,)``, the rounding error of each pair. Two gaps are tied if their sizes
        differ by at most the larger of their resolutions, so one pair of huge values ties no
        others.

    >>> tied(np.array([1e-9, 0.1, -0.1000000001]), np.full(3, 1e-7)).tolist()
    [0.0, 0.1, -0.1]
    """
    sizes = np.where(np.abs(gaps) <= resolutions, 0.0, np.abs(gaps))
    order = np.argsort(sizes, kind="stable")
    ordered, errors = sizes[order], resolutions[order]
    equal = np.empty_like(sizes)
    equal[order] = _grouped(ordered, errors)
    return np.copysign(equal, gaps)


def _grouped(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The smallest size of each group of tied sizes, which are sorted."""
    with np.errstate(invalid="ignore"):
        steps = np.diff(sizes)
    # No group goes on over a step that is larger than all errors so far.
    near = (steps > 0) & (sizes[:-1] > 0) & (steps <= np.maximum.accumulate(errors)[1:])
    if not near.any():
        return sizes
    starts = np.append(0, np.flatnonzero((steps > 0) & ~near) + 1)
    lengths = np.diff(starts, append=sizes.size)
    equal = np.repeat(sizes[starts], lengths)
    with np.errstate(invalid="ignore"):
        far = sizes - equal > np.maximum(errors, np.repeat(errors[starts], lengths))
    for group in np.flatnonzero(np.logical_or.reduceat(far, starts)).tolist():
        part = slice(starts[group], starts[group] + lengths[group])
        equal[part] = _in_turn(sizes[part].tolist(), errors[part].tolist())
    return equal


def _in_turn(sizes: list[float], errors: list[float]) -> list[float]:
    """As :func:`_grouped`, size by size."""
    equal: list[float] = []
    while len(equal) < len(sizes):
        place = len(equal)
        first, own = sizes[place], errors[place]
        # The smallest size of a group stands for all of them, and every member is compared with
        # this one: were neighbours compared, many seeds would chain differences of any size.
        end = bisect.bisect_right(sizes, first + own, place + 1)
        while sizes[end - 1] - first > own:
            end -= 1
        while end < len(sizes) and sizes[end] - first <= max(own, errors[end]):
            end += 1
        equal += [first] * (end - place)
    return equal


def signed_rank_tails(gaps: np.ndarray) -> tuple[float, float]:
    """P(W ≤ w) and P(W ≥ w) of the rank sum of the positive gaps, if signs are fair coins.

    Zeros are left out first. Ties have their mean rank, and the law is that of these very ranks:
    exact up to 300 gaps, normal with a continuity correction beyond.

    >>> signed_rank_tails(np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]))
    (1.0, 0.03125)
    """
    gaps = gaps[gaps != 0]
    if not gaps.size:
        return 1.0, 1.0
    ranks = _doubled_ranks(np.abs(gaps))
    seen = int(ranks[gaps > 0].sum())
    if len(gaps) > _MOST_EXACT:
        centre, spread = ranks.sum() / 2, math.sqrt(float((ranks.astype(float) ** 2).sum()) / 4)
        normal = NormalDist(float(centre), spread)
        return normal.cdf(seen + 1), 1 - normal.cdf(seen - 1)
    below = _law(tuple(ranks.tolist()))
    # The law is symmetric: P(W ≥ w) = P(W ≤ total − w).
    return float(below[seen]), float(below[len(below) - 1 - seen])


def hodges_lehmann(gaps: np.ndarray, confidence: float) -> Interval:
    """The median of all averages (d_i + d_j)/2, i ≤ j, with the inverted signed-rank interval.

    Zeros are left out, as in the test. The interval excludes 0 exactly if the two-sided p is below
    1 − confidence, or touches 0 there. ±inf ends say that no confidence as high can be had from so
    few gaps; NaN ends, that all gaps are alike.

    Args:
      gaps: ``(n,)``, inf allowed, with the ties of :func:`tied`.
      confidence: nominal coverage, in (0, 1).

    Reference: Hodges & Lehmann 1963; Hollander, Wolfe & Chicken 2014, section 3.3.

    >>> hodges_lehmann(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 0.95)
    Interval(estimate=3.5, low=1.0, high=6.0)
    """
    gaps = gaps[gaps != 0]
    if not gaps.size:
        return Interval(0.0, math.nan, math.nan)
    values = np.sort(np.clip(gaps, -_INFINITE, _INFINITE))
    count = values.size * (values.size + 1) // 2
    places = [(count - 1) // 2, count // 2]
    critical = _critical(gaps, (1 - confidence) / 2)
    inside = critical is not None
    if critical is not None:
        places += [critical, count - 1 - critical]
    middle, above, *ends = (_as_infinite(v) for v in _averages(values, places))
    with np.errstate(invalid="ignore"):
        estimate = middle if middle == above else (middle + above) / 2
    if values[0] == values[-1] and values.size > 1:
        return Interval(estimate, math.nan, math.nan)
    return Interval(estimate, *(ends if inside else (-math.inf, math.inf)))


def _doubled_ranks(sizes: np.ndarray) -> np.ndarray:
    """Twice the mean ranks: whole numbers."""
    order = np.argsort(sizes)
    ordered = sizes[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    counts = np.diff(starts, append=sizes.size)
    ranks = np.empty(sizes.size, np.int64)
    ranks[order] = np.repeat(2 * starts + counts + 1, counts)
    return ranks


@functools.lru_cache(maxsize=64)
def _law(doubled_ranks: tuple[int, ...]) -> np.ndarray:
    """P(W ≤ w/2) for w = 0, 1, …, by convolution of one fair coin per rank."""
    law = np.ones(1)
    for rank in sorted(doubled_ranks):
        wider = np.zeros(len(law) + rank)
        wider[: len(law)] = law
        wider[rank:] += law
        law = wider / 2
    return np.minimum(np.cumsum(law), 1.0)


def _critical(gaps: np.ndarray, tail: float) -> int | None:
    """The largest k with P(W ≤ k) ≤ tail, rounded down; None if there is none."""
    ranks = _doubled_ranks(np.abs(gaps))
    if len(gaps) > _MOST_EXACT:
        spread = math.sqrt(float((ranks.astype(float) ** 2).sum()) / 4)
        return int(ranks.sum() / 2 + NormalDist().inv_cdf(tail) * spread - 1) // 2
    below = _law(tuple(ranks.tolist()))
    reached = int(np.searchsorted(below, tail * (1 + 1e-12), "right"))
    return None if not reached else (reached - 1) // 2


def _averages(values: np.ndarray, places: list[int]) -> list[float]:
    """The order statistics at ``places`` of all averages of two sorted values."""
    if values.size <= _MOST_SORTED:
        first, second = np.triu_indices(values.size)
        means = (values[first] + values[second]) / 2
        return [float(v) for v in np.partition(means, sorted(set(places)))[places]]
    different, counts = np.unique(values, return_counts=True)
    if different.size**2 <= _SQUARE_PER_VALUE * values.size:
        # An average of two values occurs as often as they can be paired.
        first, second = np.triu_indices(different.size)
        often = np.where(first == second, counts[first] * (counts[first] + 1) // 2,
                         counts[first] * counts[second])  # fmt: skip
        means = (different[first] + different[second]) / 2
        order = np.argsort(means)
        ends = np.cumsum(often[order])
        return [float(means[order[np.searchsorted(ends, place, "right")]]) for place in places]
    sizes = np.abs(values)
    largest = float(np.max(sizes, where=sizes < _INFINITE, initial=0.0)) or 1.0
    # Averages of 4 of the largest keep the order that those of 1e300 have, and lose no digits.
    finite = np.clip(values, -4 * largest, 4 * largest)
    found, sums = dict[int, float](), _Sums.of(finite)
    inside, below = np.empty(0), 0
    for place in sorted(set(places)):
        if not below <= place < below + inside.size:
            inside, below = _near(finite, sums, place)
        average = float(inside[place - below])
        far = abs(average) > 1.2 * largest
        found[place] = math.copysign(_INFINITE, average) if far else average
    return [found[place] for place in places]


def _near(values: np.ndarray, sums: _Sums, place: int) -> tuple[np.ndarray, int]:
    """A sorted part of all averages that holds the one at ``place``, and how many lie below it.

    Estimated bounds are narrowed by counting the averages below a bound, until what lies between is
    little enough to be sorted.

    Reference: Monahan 1984 (order statistics of averages by counting).
    """
    n = values.size
    low, high = sums.around(place)
    rows = _rows(values, low, high)
    below, upto = rows.below, rows.below + int(rows.sizes.sum())
    if not below <= place < upto:
        low, below = float(np.nextafter(values[0], -math.inf)), 0
        high, upto = float(values[-1]), n * (n + 1) // 2
    for step in range(200):
        if upto - below <= _MOST_LISTED * n:
            break
        bound = low + (high - low) * (place + 0.5 - below) / (upto - below)
        if step > 3:
            # So many averages so near each other are equal ones: is the middle one what is sought?
            bound = _rows(values, low, high).middle(values)
            less, most = (_count(values, bound, way) for way in (-_ROUNDING, _ROUNDING))
            if less <= place < most:
                return np.full(most - less, bound), less
        count = _count(values, bound)
        if count > place:
            high, upto = bound, count
        else:
            low, below = bound, count
    if (low, high) != rows.bounds:
        rows = _rows(values, low, high)
    return np.sort(rows.averages(values)), below


class _Rows(NamedTuple):
    """For each value, its partners that are not smaller and give averages between two bounds.

    Attributes:
      bounds: the averages are above the lower and at most the upper one.
      first: ``(m,)``, the place of the first partner of each value; those left out have none.
      sizes: ``(m,)``, the numbers of partners.
    """

    bounds: tuple[float, float]
    first: np.ndarray
    sizes: np.ndarray

    @property
    def below(self) -> int:
        """How many averages are at most the lower bound."""
        return int(self.first.sum()) - self.first.size * (self.first.size - 1) // 2

    def averages(self, values: np.ndarray) -> np.ndarray:
        """All averages between the bounds."""
        rows = np.repeat(np.arange(self.first.size), self.sizes)
        starts = np.cumsum(self.sizes) - self.sizes
        partners = np.arange(rows.size) + np.repeat(self.first - starts, self.sizes)
        return np.asarray((values[rows] + values[partners]) / 2)

    def middle(self, values: np.ndarray) -> float:
        """One of these averages, near the middle one."""
        ends = np.cumsum(self.sizes)
        row = int(np.searchsorted(ends, ends[-1] // 2, "right"))
        return float(values[row] + values[self.first[row] + self.sizes[row] // 2]) / 2


def _rows(values: np.ndarray, low: float, high: float) -> _Rows:
    smaller = values[: np.searchsorted(values, high, "right")]
    first = np.searchsorted(values, 2 * low - smaller, "right")
    first = np.maximum(first, np.arange(smaller.size))
    after = np.searchsorted(values, 2 * high - smaller, "right")
    return _Rows((low, high), first, np.maximum(after - first, 0))


class _Sums(NamedTuple):
    """Estimates order statistics of all averages of two values, from a histogram of the values.

    The histogram of the sums is the convolution of that of the values with itself.

    Attributes:
      least: the lower edge of the first bin.
      width: that of a bin.
      upto: ``(bins,)``, how many averages lie in the bins up to each one, which are half as wide.
      slack: by how many averages far values, which count in the outermost bins, may shift these.
    """

    least: float
    width: float
    upto: np.ndarray
    slack: int

    @classmethod
    def of(cls, values: np.ndarray) -> _Sums:
        """Those of sorted finite values ``(n,)``."""
        quarter = values.size // 4
        middle = values[quarter], values[-1 - quarter]
        reach = _REACH * (middle[1] - middle[0])
        least = max(float(values[0]), float(middle[0] - reach))
        largest = min(float(values[-1]), float(middle[1] + reach))
        outside = np.searchsorted(values, (least, largest))
        bins = 2 ** max(12, values.size.bit_length() - 1)
        width = (largest - least) / bins or 1.0
        places = ((np.clip(values, least, largest) - least) / width).astype(int)
        counts = np.bincount(np.minimum(places, bins - 1), minlength=bins)
        twice = np.fft.irfft(np.fft.rfft(counts, 2 * bins) ** 2, 2 * bins)[:-1]
        # Each pair of two values stands there twice, each value with itself once.
        twice[::2] += counts
        # An average of two far values on both sides may count in a wrong bin.
        slack = int(outside[0]) * int(values.size - outside[1]) + 1
        return cls(least, width, np.cumsum(twice / 2), slack)

    def around(self, place: int) -> tuple[float, float]:
        """Bounds that most likely have at most, and more than ``place`` averages up to them."""
        wanted = (place - self.slack, place + self.slack)
        below, above = np.searchsorted(self.upto, wanted, "right")
        # A bin holds sums of two values that were rounded down, each by less than a width.
        low, high = (self.least + self.width / 2 * float(at) for at in (below, above + 2))
        return low, high


def _count(values: np.ndarray, bound: float, rounding: float = 0.0) -> int:
    """How many averages of two sorted values are at most the bound.

    ``rounding`` is added to the bound, relative to the summands of each average.
    """
    partners = 2 * bound - values + rounding * (abs(bound) + np.abs(values))
    counts = np.searchsorted(values, partners, "right") - np.arange(values.size)
    return int(np.maximum(counts, 0).sum())


def _as_infinite(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= _INFINITE / 4 else value
