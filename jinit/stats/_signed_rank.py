"""Computes the exact signed-rank law, its p-values, and the Hodges–Lehmann interval."""

from __future__ import annotations

import bisect
import functools
import math
from statistics import NormalDist

import numpy as np

from jinit.stats._averages import INFINITE, as_infinite, order_statistics
from jinit.stats._bootstrap import Interval

# More nonzero gaps than this have a normal law: its error is then far below the exact steps.
_MOST_EXACT = 300


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
    exact up to 300 gaps; beyond, normal with a continuity correction of half the step between
    two rank sums, which ties make larger.

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
        half = int(np.gcd.reduce(ranks)) / 2
        return normal.cdf(seen + half), normal.cdf(2 * float(centre) - seen + half)
    below = _law(tuple(ranks.tolist()))
    # The law is symmetric: P(W ≥ w) = P(W ≤ total − w).
    return float(below[seen]), float(below[len(below) - 1 - seen])


def hodges_lehmann(gaps: np.ndarray, confidence: float) -> Interval:
    """The median of all averages (d_i + d_j)/2, i ≤ j, with the inverted signed-rank interval.

    Zeros are left out, as in the test. If the two-sided p is below 1 − confidence, 0 is outside the
    interval or one of its ends. ±inf ends say that no confidence as high can be had from so
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
    values = np.sort(np.clip(gaps, -INFINITE, INFINITE))
    count = values.size * (values.size + 1) // 2
    places = [(count - 1) // 2, count // 2]
    critical = _critical(gaps, (1 - confidence) / 2)
    inside = critical is not None
    if critical is not None:
        places += [critical, count - 1 - critical]
    middle, above, *ends = (as_infinite(v) for v in order_statistics(values, places))
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
        step = int(np.gcd.reduce(ranks))
        reach = ranks.sum() / 2 + NormalDist().inv_cdf(tail) * spread - step / 2
        # P(W ≤ k) stays the same up to the next rank sum.
        return (math.floor(reach / step) * step + step - 1) // 2
    below = _law(tuple(ranks.tolist()))
    reached = int(np.searchsorted(below, tail * (1 + 1e-12), "right"))
    return None if not reached else (reached - 1) // 2
