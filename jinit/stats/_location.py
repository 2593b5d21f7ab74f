"""Computes robust measures of location, which a few bad runs cannot dominate, along any axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from jinit import errors

Statistic: TypeAlias = Callable[..., np.ndarray]
"""``statistic(array, axis=…) -> array``, such as ``np.median``."""


def reals(values: ArrayLike, what: str = "values") -> np.ndarray:
    """The values as a float64 array.

    Raises:
      TypeError: the values are not real numbers, or some are masked.
    """
    if np.ma.is_masked(values):
        raise errors.wrong_type(what, "a masked array", "all values", "values.compressed()")
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "buifO":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise errors.wrong_type(what, values, "real numbers", "np.array([0.9, 0.8])") from None


def flags(values: ArrayLike, what: str) -> np.ndarray:
    """The values as a Boolean array.

    Raises:
      TypeError: values other than True, False, 0 and 1.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # PRNG keys, lists of several lengths
        array = np.array([None])
    if array.dtype.kind not in "buif" or not np.isin(array, (0, 1)).all():
        raise errors.wrong_type(what, values, "True or False for each run", "status != 0")
    return array.astype(bool)


def iqm(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The interquartile mean: the mean of the middle half.

    ⌊n/4⌋ values are cut at each end. For normal scores the interquartile mean is nearly as
    efficient as the mean, and it is robust: even if a quarter of the runs is arbitrarily bad, the
    result is a mean of other runs.

    Args:
      values: any shape, finite or inf ("never", "worst").
      axis: the axis of the sample; None pools all values.

    Returns:
      ``values.shape`` without ``axis``; float64; NaN if −inf and inf are both in the middle part.

    Raises:
      ValueError: no values along the axis, NaN. TypeError: not real numbers.

    Reference: Agarwal et al. 2021, section 4.2.

    >>> float(iqm(np.array([0.0, 1.0, 2.0, 90.0])))
    1.5
    """
    return trimmed_mean(values, axis, cut=0.25)


def trimmed_mean(values: np.ndarray, axis: int | None = None, *, cut: float = 0.1) -> np.ndarray:
    """The mean without the lowest and the highest ⌊cut · n⌋ values.

    Args:
      values: any shape, finite or inf.
      axis: the axis of the sample; None pools all values.
      cut: share cut at each end, in [0, 0.5). cut · n is computed in floats and rounded down, so
        0.29 of 100 values are 28.

    Returns:
      ``values.shape`` without ``axis``; float64; NaN if −inf and inf are both in the middle part.

    Raises:
      ValueError: no values along the axis, NaN; a cut outside [0, 0.5). TypeError: not real
        numbers.

    Reference: Tukey 1962, section 14.

    >>> float(trimmed_mean(np.arange(10.0), cut=0.2))
    4.5
    """
    errors.check_number("cut", cut, low=0.0, high=0.499999, fix="use 0.1")
    values = reals(values)
    if np.isnan(values).any():
        raise errors.refusal("values", "NaN", "numbers, inf allowed", "use inf for 'never'")
    if axis is None:
        values, axis = values.ravel(), 0
    errors.check_integer(
        "axis", axis, low=-values.ndim, high=values.ndim - 1, fix="one axis; reshape for several"
    )
    count = values.shape[axis]
    if not count:
        raise errors.refusal("values", values.shape, "at least one value", "give a sample")
    low = int(cut * count)
    ordered = np.sort(values, axis=axis) if low else values
    middle = ordered.take(np.arange(low, count - low), axis=axis) if low else ordered
    with np.errstate(invalid="ignore"):
        return np.asarray(middle.mean(axis=axis))


def optimality_gap(scores: np.ndarray, target: float = 1.0, axis: int | None = None) -> np.ndarray:
    """How far scores fall short of a target on average: the mean of max(target − score, 0).

    Scores above the target do not make up for others below; 0 says that all reach the target.

    Args:
      scores: any shape, higher is better; −inf ("worst") gives inf.
      target: the score γ that is good enough, e.g. 1 for normalized scores.
      axis: the axis of the sample; None pools all scores.

    Returns:
      ``scores.shape`` without ``axis``; float64, ≥ 0. A statistic for :func:`bootstrap`:
      ``lambda values, axis: optimality_gap(values, 0.9, axis)``.

    Raises:
      ValueError: no scores along the axis, NaN, a target that is not finite.
      TypeError: not real numbers.

    Reference: Agarwal et al. 2021, section 4.3 (optimality gap).

    >>> float(optimality_gap(np.array([0.5, 0.75, 1.0, 4.0])))
    0.1875
    """
    target = errors.check_scalar("target", target, fix="use 1.0")
    short = np.maximum(target - reals(scores, "scores"), 0.0)
    return trimmed_mean(short, axis, cut=0.0)
