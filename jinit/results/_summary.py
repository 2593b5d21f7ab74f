"""Summarizes the runs of each arm in each cell of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jinit import errors
from jinit.results._metrics import check_metric, undefined, worst_for_nonfinite
from jinit.results._table import Table, Value, check_table
from jinit.stats import Interval, bootstrap, wilson

_UNDEFINED = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Summary:
    """One arm in one cell.

    Attributes:
      cell: axis → value, for each ``by`` axis.
      arm: the arm's name, e.g. the initializer.
      runs, diverged: number of runs, and number of diverged runs.
      diverged_rate: share of runs that diverged, with its Wilson interval.
      metric: median of the metric with a 95 % bootstrap interval. Diverged runs are included, and a
        value that is not finite counts as the worst. NaN if the task has no such metric.
      without_diverged: the same median over the runs that did not diverge; NaN if there are none.
        Never read it alone: it flatters an arm whose bad seeds diverged.
      steps_to_target: median number of steps; inf if at least half of the runs never reached the
        target, NaN for a task without accuracy.
    """

    cell: dict[str, Value]
    arm: str
    runs: int
    diverged: int
    diverged_rate: Interval
    metric: Interval
    without_diverged: Interval
    steps_to_target: float


def summarize(
    table: Table,
    metric: str = "test_accuracy",
    *,
    by: tuple[str, ...] | None = None,
    across: str = "initializer",
) -> list[Summary]:
    """Summarizes every arm in every cell: runs, diverged runs, medians with intervals.

    Args:
      table: the runs.
      metric: a metric column; a value that is not finite counts as the worst.
      by: the axes whose values make the cells; default all axes that vary, except the arms and
        seeds.
      across: the axis whose values are the arms.

    Returns:
      One :class:`Summary` per cell and arm, in the order of the table.

    Raises:
      ValueError: an unknown column or metric. TypeError: ``table`` is not a Table.

    Reference: Efron 1979 (bootstrap); Wilson 1927 (interval of a rate).

    >>> columns = {"initializer": np.array(["a", "a"]), "test_accuracy": np.array([0.4, 0.6]),
    ...            "diverged": np.zeros(2, bool), "steps_to_target": np.array([5.0, np.inf])}
    >>> summary = summarize(Table(columns, ("initializer",), {}, np.array([])))[0]
    >>> summary.metric.estimate, summary.steps_to_target
    (0.5, inf)
    """
    check_table(table)
    check_metric(table, metric)
    return [
        _summary(cell, arm, rows.select(**{across: arm}), metric)
        for cell, rows in cells(table, cell_axes(table, by, across))
        for arm in unique(rows[across])
    ]


def _summary(cell: dict[str, Value], arm: str, rows: Table, metric: str) -> Summary:
    diverged = rows["diverged"].astype(bool)
    median = without_diverged = _UNDEFINED
    if not undefined(rows, metric):
        values = worst_for_nonfinite(np.asarray(rows[metric], float), metric)
        median = bootstrap(values)
        if not diverged.all():
            without_diverged = bootstrap(values[~diverged])
    return Summary(
        cell=cell,
        arm=arm,
        runs=len(rows),
        diverged=int(diverged.sum()),
        diverged_rate=wilson(int(diverged.sum()), len(rows)),
        metric=median,
        without_diverged=without_diverged,
        steps_to_target=_median_steps(rows),
    )


def _median_steps(rows: Table) -> float:
    """The median of ``steps_to_target``; NaN for a task without accuracy, which has no target."""
    if "test_accuracy" in rows.columns and undefined(rows, "test_accuracy"):
        return math.nan
    return float(np.median(rows["steps_to_target"]))


def cell_axes(table: Table, by: tuple[str, ...] | None, across: str) -> tuple[str, ...]:
    """The axes that make cells: ``by``, or all that vary except ``across`` and the seeds.

    Raises:
      ValueError: an unknown axis.
    """
    if by is None:
        return table.varying(leave_out=(across, "seed", "data_seed"))
    for axis in (*by, across):
        if axis not in table.axes:
            raise errors.unknown_name("axis", axis, table.axes, "table.axes")
    return tuple(by)


def cells(table: Table, by: tuple[str, ...]) -> Iterator[tuple[dict[str, Value], Table]]:
    """Yields (axis → value, rows) for every cell, in the order of the table."""
    combinations = list(zip(*(table[axis].tolist() for axis in by), strict=True)) or [()]
    for values in dict.fromkeys(combinations):
        cell = dict(zip(by, values, strict=True))
        yield cell, table.select(**cell) if cell else table


def unique(values: np.ndarray) -> list[str]:
    """The values without repetitions, in the order of first appearance."""
    return list(dict.fromkeys(values.tolist()))
