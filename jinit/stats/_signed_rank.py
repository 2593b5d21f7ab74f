"""Computes the exact signed-rank law, its p-values, and the Hodges–Lehmann interval."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

import numpy as np

from jinit.stats._bootstrap import Interval

# More nonzero gaps than this have a normal law: its error is then far below the exact steps.
_MOST_EXACT = 300
# Up to this many gaps all their averages are sorted; beyond, order statistics are bisected.
_MOST_SORTED = 512
# The same for few different values that occur often, such as differences of accuracies.
_SQUARE_PER_VALUE = 8
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
    equal = np.empty_like(sizes)
    start, own = 0.0, 0.0
    # The smallest size of a group stands for all of them, and every member is compared with this
    # one: were neighbours compared, many seeds would chain differences of any size together.
    for place, size, error in zip(
        order.tolist(), sizes[order].tolist(), resolutions[order].tolist(), strict=True
    ):
        if not (size == start or (start > 0 and size - start <= max(own, error))):
            start, own = size, error
        equal[place] = start
    return np.copysign(equal, gaps)


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
    ordered = np.sort(sizes)
    return np.asarray(
        np.searchsorted(ordered, sizes, "left") + np.searchsorted(ordered, sizes, "right") + 1
    )


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
    found, few = dict[int, float](), _some_averages(finite)
    inside, below = np.empty(0), 0
    for place in sorted(set(places)):
        if not below <= place < below + inside.size:
            inside, below = _near(finite, few, place)
        average = float(inside[place - below])
        far = abs(average) > 1.2 * largest
        found[place] = math.copysign(_INFINITE, average) if far else average
    return [found[place] for place in places]


def _near(values: np.ndarray, few: np.ndarray, place: int) -> tuple[np.ndarray, int]:
    """A sorted part of all averages that holds the one at ``place``, and how many lie below it.

    Bounds from a few averages are narrowed by counting the averages below a bound, until what lies
    between is little enough to be sorted.

    Reference: Monahan 1984 (order statistics of averages by counting).
    """
    n, rounding = values.size, 1e-15 * float(np.abs(values).max())
    low, below, high, upto = _bracket(values, few, place)
    for step in range(200):
        if upto - below <= 4 * n:
            break
        bound = low + (high - low) * (place + 0.5 - below) / (upto - below)
        if step > 3:
            # So many averages so near each other are equal ones: is the middle one what is sought?
            bound = _between(values, low, high, upto - below)
            less, most = (_count(values, bound + way * rounding) for way in (-1, 1))
            if less <= place < most:
                return np.full(most - less, bound), less
        count = _count(values, bound)
        if count > place:
            high, upto = bound, count
        else:
            low, below = bound, count
    first, sizes = _rows(values, low, high)
    rows = np.repeat(np.arange(n), sizes)
    offsets = np.arange(rows.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort((values[rows] + values[first[rows] + offsets]) / 2), below


def _rows(values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """For each value, the first partner whose average exceeds ``low``, and how many up to high."""
    first = np.searchsorted(values, 2 * low - values, "right")
    first = np.maximum(first, np.arange(values.size))
    return first, np.maximum(np.searchsorted(values, 2 * high - values, "right") - first, 0)


def _between(values: np.ndarray, low: float, high: float, count: int) -> float:
    """An average between two bounds, which have ``count`` averages between them."""
    first, sizes = _rows(values, low, high)
    row = int(np.searchsorted(np.cumsum(sizes), count // 2, "right"))
    return float(values[row] + values[first[row] + sizes[row] // 2]) / 2


def _some_averages(values: np.ndarray) -> np.ndarray:
    few = values[:: max(1, values.size // 100)]
    first, second = np.triu_indices(few.size)
    return np.sort((few[first] + few[second]) / 2)


def _bracket(values: np.ndarray, few: np.ndarray, place: int) -> tuple[float, int, float, int]:
    """A bound with at most, and one with more than ``place`` averages up to it; these numbers."""
    n = values.size
    middle = min(int(place / (n * (n + 1) / 2) * few.size), few.size - 1)
    low, high = float(np.nextafter(values[0], -math.inf)), float(values[-1])
    below, upto = 0, n * (n + 1) // 2
    for reach in (few.size // 100 + 1, few.size // 20 + 1):
        for at in (middle - reach, middle + reach):
            bound = float(few[min(max(at, 0), few.size - 1)])
            if low < bound < high:
                count = _count(values, bound)
                if count > place:
                    high, upto = bound, count
                else:
                    low, below = bound, count
        if below and upto < n * (n + 1) // 2:
            break
    return low, below, high, upto


def _count(values: np.ndarray, bound: float) -> int:
    """How many averages of two sorted values are at most the bound."""
    counts = np.searchsorted(values, 2 * bound - values, "right") - np.arange(values.size)
    return int(np.maximum(counts, 0).sum())


def _as_infinite(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= _INFINITE / 4 else value
