"""Where a sample lies: statistics that a few bad runs cannot carry away, along any axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from jinit import errors

Statistic: TypeAlias = Callable[..., np.ndarray]


def reals(values: Any, what: str = "values") -> np.ndarray:
    """As an array of float64.

    Raises:
      TypeError: not real numbers, text included; a mask that hides some.

    >>> reals([1, 2])
    array([1., 2.])
    """
    if np.ma.is_masked(values):
        raise errors.wrong_type(what, "a masked array", "all values", "values.compressed()")
    try:
        found = np.asarray(values)
        if found.dtype.kind not in "buifO":
            raise TypeError
        return found.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise errors.wrong_type(what, values, "real numbers", "np.array([0.9, 0.8])") from None


def flags(values: Any, what: str) -> np.ndarray:
    """As an array of truth values.

    Raises:
      TypeError: neither those nor 0 and 1.

    >>> flags([0, 1], "diverged")
    array([False,  True])
    """
    found = np.asarray(values)
    if found.dtype.kind not in "buif" or not np.isin(found, (0, 1)).all():
        raise errors.wrong_type(what, values, "True or False for each run", "status != 0")
    return found.astype(bool)


def iqm(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The interquartile mean: the mean of the middle half.

    ⌊n/4⌋ values are cut at each end. Nearly as efficient as the mean for normal scores, and robust:
    however bad a quarter of the runs is, it moves no further than to the mean of other runs.

    Args:
      values: any shape, finite or inf ("never", "worst").
      axis: the axis of the sample; None takes all values together.

    Returns:
      ``values.shape`` without ``axis``; float64; NaN where −inf and inf are both in the middle.

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
      axis: the axis of the sample; None takes all values together.
      cut: share cut at each end, in [0, 0.5); cut · n is rounded down as a float (0.29 · 100 cuts
        28).

    Returns:
      ``values.shape`` without ``axis``; float64; NaN where −inf and inf are both in the middle.

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
