"""Reduces runs to independent observations: one number per seed."""

from __future__ import annotations

import numpy as np

from jinit.results._table import Table, Value

SEED = "seed"


def per_seed(rows: Table, values: np.ndarray) -> np.ndarray:
    """The mean of each seed's values, because runs that share a seed are not independent.

    A table without the axis ``seed`` has one observation per run.

    Args:
      rows: the runs.
      values: ``(runs,)`` or ``(runs, k)``.

    Returns:
      ``(seeds,)`` or ``(seeds, k)``, in the order of first appearance.

    >>> rows = Table({"seed": np.array([7, 7, 3])}, ("seed",), {}, np.array([]))
    >>> per_seed(rows, np.array([1.0, 2.0, 5.0])).tolist()
    [1.5, 5.0]
    """
    return values if SEED not in rows.axes else averaged(values, rows[SEED].tolist())


def averaged(values: np.ndarray, groups: list[Value]) -> np.ndarray:
    """The mean of each group, in the order of first appearance."""
    if len(set(groups)) == len(groups):
        return values
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[group] for group in groups])
    sums = np.zeros((len(numbers), *values.shape[1:]))
    with np.errstate(invalid="ignore"):
        np.add.at(sums, index, values)
    counts = np.bincount(index).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(sums / counts)
