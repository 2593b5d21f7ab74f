"""Percentile bootstrap intervals for arrays in which inf means "never"."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jinit import errors


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, in the unit of the data.

    Attributes:
      estimate: the statistic of the data.
      low, high: ends of the interval; equal to the estimate for fewer than two values.
    """

    estimate: float
    low: float
    high: float


def bootstrap(
    values: np.ndarray,
    statistic: Callable[..., np.ndarray] = np.median,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The percentile bootstrap interval of a statistic.

    Args:
      values: ``(n,)``, finite or inf; no NaN.
      statistic: ``statistic(array, axis) -> array``, e.g. ``np.median`` or ``np.mean``.
      confidence: nominal coverage, in (0, 1).
      resamples: bootstrap samples of size n.
      seed: of the resampling; one seed, one answer.

    Returns:
      An :class:`Interval`.

    Raises:
      ValueError: no values, NaN, a confidence outside (0, 1).

    Reference: Efron & Tibshirani 1993, section 13.3.

    >>> bootstrap(np.array([1.0, 1.0, 1.0]))
    Interval(estimate=1.0, low=1.0, high=1.0)
    """
    values = np.asarray(values, np.float64)
    most = math.nextafter(1.0, 0.0)
    errors.check_number("confidence", confidence, low=0.0, high=most, open_low=True, fix="use 0.95")
    errors.check_integer("resamples", resamples, low=1, fix="use 2000")
    if values.ndim != 1 or not values.size or np.isnan(values).any():
        raise errors.refusal(
            "values", f"shape {values.shape}, {int(np.isnan(values).sum())} NaN",
            "one dimension, at least one value, no NaN", "use inf for 'never'",
        )  # fmt: skip
    drawn = np.random.default_rng(seed).integers(0, values.size, size=(resamples, values.size))
    with np.errstate(invalid="ignore"):
        replicates = statistic(values[drawn], axis=1)
        estimate = float(statistic(values[None], axis=1)[0])
    tail = (1 - confidence) / 2
    # Nearest-rank quantiles: interpolating between a number and inf would give NaN.
    low, high = np.quantile(replicates, [tail, 1 - tail], method="closest_observation")
    return Interval(estimate, float(low), float(high))
