"""Splits the variance of runs into parts due to initial weights, data order and the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jinit import errors
from jinit.stats._bootstrap import MOST_RESAMPLES, Interval
from jinit.stats._location import reals


@dataclass(frozen=True)
class VarianceComponents:
    """Variance components of a crossed design, and their shares of the total variance.

    Attributes:
      rows: variance due to the rows (initial weights).
      columns: variance due to the columns (order of the data).
      residual: variance of the interaction and of all other causes.
      rows_share, columns_share, residual_share: shares of the total variance, in [0, 1].
    """

    rows: Interval
    columns: Interval
    residual: Interval
    rows_share: Interval
    columns_share: Interval
    residual_share: Interval


def variance_components(
    values: np.ndarray, *, confidence: float = 0.95, draws: int = 20_000, seed: int = 0
) -> VarianceComponents:
    """Variance components of two-way random effects: y_ij = μ + r_i + c_j + e_ij.

    The estimates come from the analysis of variance: σ̂²_r = (MS_r − MS_e)/columns, at least 0,
    where MS is a mean square and MS_e that of the residual; columns likewise.
    Intervals are generalized confidence intervals: each mean square is replaced by draws of SS/χ²,
    where SS is the sum of squares. For normal effects the interval of the residual is exact and the
    others are approximate.

    Args:
      values: ``(init seeds, data seeds)``, finite, one run for each pair.
      confidence: nominal coverage, in (0, 1).
      draws: number of draws of the χ² variables, ≥ 100.
      seed: seed of the draws.

    Returns:
      A :class:`VarianceComponents`, in the square of the values' unit; ends are NaN if all values
      are alike.

    Raises:
      ValueError: fewer than 2 rows or columns, values that are not finite.

    Reference: Searle, Casella & McCulloch 1992, section 4.3; Weerahandi 1993 (intervals).

    >>> components = variance_components(np.array([[1.0, 1.1], [5.0, 5.2], [9.0, 9.0]]))
    >>> components.rows_share.estimate > 0.99
    True
    """
    values = reals(values)
    errors.check_fraction("confidence", confidence, "use 0.95")
    errors.check_integer("draws", draws, low=100, high=MOST_RESAMPLES, fix="use 20_000")
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise errors.refusal(
            "values",
            f"shape {values.shape}, {int((~np.isfinite(values)).sum())} not finite",
            "(init seeds >= 2, data seeds >= 2), finite",
            "use 0 as the accuracy of a diverged run",
        )
    rows, columns = values.shape
    by_row, by_column, mean = values.mean(1), values.mean(0), values.mean()
    squares = np.array(
        [
            columns * ((by_row - mean) ** 2).sum(),
            rows * ((by_column - mean) ** 2).sum(),
            ((values - by_row[:, None] - by_column + mean) ** 2).sum(),
        ]
    )
    freedom = np.array([rows - 1, columns - 1, (rows - 1) * (columns - 1)])
    # Row 0 holds the observed mean squares, the other rows the draws.
    errors.check_seed(seed)
    chi_squared = np.random.default_rng(seed).chisquare(freedom, (draws, 3))
    mean_squares = np.concatenate([[squares / freedom], squares / chi_squared])
    residual = mean_squares[:, 2]
    components = np.stack(
        [
            np.maximum(0, (mean_squares[:, 0] - residual) / columns),
            np.maximum(0, (mean_squares[:, 1] - residual) / rows),
            residual,
        ],
        axis=1,
    )
    total = components.sum(1, keepdims=True)
    shares = np.divide(components, total, out=np.zeros_like(components), where=total > 0)
    tail = (1 - confidence) / 2

    def interval(column: np.ndarray) -> Interval:
        low, high = np.quantile(column[1:], [tail, 1 - tail]) if np.ptp(values) else (np.nan,) * 2
        return Interval(float(column[0]), float(low), float(high))

    return VarianceComponents(*(interval(column) for column in (*components.T, *shares.T)))
