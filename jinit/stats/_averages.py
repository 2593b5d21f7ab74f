"""Finds order statistics of all averages of two values; of many values it lists only a few."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

# Up to this many values all their averages are sorted; beyond, bounds are narrowed by counting.
_MOST_SORTED = 512
# The same for few different values that occur often, such as differences of accuracies: their
# averages lie so near each other that bounds would have to be narrowed a hundred times.
_SQUARE_PER_VALUE = 8
_MOST_DIFFERENT = 1024
# Values more than this many interquartile ranges beyond a quartile do not widen the bins.
_REACH = 32
# At most this many averages per value are listed and sorted.
_MOST_LISTED = 8
# The rounding error of an average, relative to its summands.
_ROUNDING = 1e-15
# Stands for inf: larger than every float32, and half of it is still recognized.
INFINITE = 1e300


def order_statistics(values: np.ndarray, places: list[int]) -> list[float]:
    """The order statistics at ``places`` of all averages of two values.

    Args:
      values: ``(n,)``, sorted; ±1e300 stands for ±inf.
      places: from 0 to n(n + 1)/2 − 1.

    >>> order_statistics(np.array([1.0, 2.0, 4.0]), [0, 2, 5])
    [1.0, 2.0, 4.0]
    """
    if values.size <= _MOST_SORTED:
        first, second = np.triu_indices(values.size)
        means = (values[first] + values[second]) / 2
        return [float(v) for v in np.partition(means, sorted(set(places)))[places]]
    different, counts = np.unique(values, return_counts=True)
    if _occur_often(different.size, values.size):
        # An average of two values occurs as often as they can be paired.
        first, second = np.triu_indices(different.size)
        often = np.where(first == second, counts[first] * (counts[first] + 1) // 2,
                         counts[first] * counts[second])  # fmt: skip
        means = (different[first] + different[second]) / 2
        order = np.argsort(means)
        ends = np.cumsum(often[order])
        return [float(means[order[np.searchsorted(ends, place, "right")]]) for place in places]
    sizes = np.abs(values)
    largest = float(np.max(sizes, where=sizes < INFINITE, initial=0.0)) or 1.0
    # Averages with ±4 · largest sort as averages with ±1e300 do, and lose no digits.
    finite = np.clip(values, -4 * largest, 4 * largest)
    found, sums = dict[int, float](), _Sums.of(finite)
    inside, below = np.empty(0), 0
    for place in sorted(set(places)):
        if not below <= place < below + inside.size:
            inside, below = _near(finite, sums, place)
        average = float(inside[place - below])
        far = abs(average) > 1.2 * largest
        found[place] = math.copysign(INFINITE, average) if far else average
    return [found[place] for place in places]


def _occur_often(different: int, n: int) -> bool:
    """Whether all averages of the different values among n are few enough to be sorted."""
    return different**2 <= _SQUARE_PER_VALUE * n or different <= min(_MOST_DIFFERENT, n // 4)


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
      width: of a bin.
      upto: ``(2 bins − 1,)``, how many averages lie at or below each half-wide bin.
      slack: the largest error of ``upto``, from far values counted in the outermost bins.
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


def as_infinite(value: float) -> float:
    """The average, or ±inf for one of a value that stands for ±inf."""
    return math.copysign(math.inf, value) if abs(value) >= INFINITE / 4 else value
