"""Summarizes the runs of each arm in each cell of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jinit import errors
from jinit.results._metrics import (
    check_metric,
    undefined,
    with_blown_up,
    worst_for_nonfinite,
)
from jinit.results._table import Table, Value, check_table
from jinit.results._units import per_seed
from jinit.stats import Interval, bootstrap, wilson

_UNDEFINED = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Summary:
    """One arm in one cell.

    Attributes:
      cell: axis → value, for each ``by`` axis.
      arm: the arm's name, e.g. the initializer.
      runs, diverged: number of runs, and number of diverged runs; a run with a finite loss above
        10⁶ · max(1, least loss of its data set) counts as diverged.
      diverged_rate: share of runs that diverged, with its Wilson interval over seeds.
      metric: median over seeds of the metric with a 95 % bootstrap interval. Runs of one seed are
        averaged first, because they are not independent. Diverged runs are included, and a value
        that is not finite counts as the worst. NaN if the task has no such metric; NaN ends for one
        seed, or if all seeds are alike.
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
    metric: str | None = None,
    *,
    by: tuple[str, ...] | None = None,
    across: str = "initializer",
    higher_is_better: bool | None = None,
) -> list[Summary]:
    """Summarizes every arm in every cell: runs, diverged runs, medians with intervals.

    Args:
      table: the runs.
      metric: any numeric column that is no axis; default the test accuracy, or the test loss for a
        task without accuracy. A value that is not finite counts as the worst.
      by: the axes whose values make the cells; default all axes that vary, except the arms and
        seeds.
      across: the axis whose values are the arms.
      higher_is_better: the direction of a column of your own; needed if it has values that are not
        finite.

    Returns:
      One :class:`Summary` per cell and arm, in the order of the table.

    Raises:
      ValueError: an unknown column or metric. TypeError: ``table`` is not a Table, names that are
        not text.

    Reference: Efron 1979 (bootstrap); Wilson 1927 (interval of a rate).

    >>> columns = {"initializer": np.array(["a", "a"]), "test_accuracy": np.array([0.4, 0.6]),
    ...            "diverged": np.zeros(2, bool), "steps_to_target": np.array([5.0, np.inf])}
    >>> summary = summarize(Table(columns, ("initializer",), {}, np.array([])))[0]
    >>> summary.metric.estimate, summary.steps_to_target
    (0.5, inf)
    """
    check_table(table)
    metric = check_metric(table, metric, higher_is_better)
    by = cell_axes(table, by, across)
    return [
        _summary(cell, arm, rows.select(**{across: arm}), metric, higher_is_better)
        for cell, rows in cells(with_blown_up(table), by)
        for arm in unique(rows[across])
    ]


def _summary(
    cell: dict[str, Value], arm: str, rows: Table, metric: str, higher_is_better: bool | None
) -> Summary:
    diverged = rows["diverged"].astype(bool)
    median = without_diverged = _UNDEFINED
    if not undefined(rows, metric):
        values = worst_for_nonfinite(np.asarray(rows[metric], float), metric, higher_is_better)
        median = bootstrap(per_seed(rows, values))
        if not diverged.all():
            without_diverged = bootstrap(per_seed(rows.take(~diverged), values[~diverged]))
    shares = per_seed(rows, diverged.astype(float))
    return Summary(
        cell=cell,
        arm=arm,
        runs=len(rows),
        diverged=int(diverged.sum()),
        diverged_rate=wilson(float(shares.sum()), len(shares)),
        metric=median,
        without_diverged=without_diverged,
        steps_to_target=_median_steps(rows),
    )


def _median_steps(rows: Table) -> float:
    """The median of ``steps_to_target``; NaN for a task without accuracy, which has no target."""
    if "steps_to_target" not in rows.columns or undefined(rows, "steps_to_target"):
        return math.nan
    return float(np.median(rows["steps_to_target"]))


def cell_axes(
    table: Table, by: tuple[str, ...] | None, across: str, leave_out: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """The axes of cells: ``by``, or all that vary except ``across``, seeds and ``leave_out``.

    Raises:
      ValueError: an unknown axis. TypeError: names that are not text.
    """
    if by is not None and not isinstance(by, tuple | list):
        raise errors.wrong_type("by", by, "a tuple of names of axes", "('depth',)")
    for axis in (*(by or ()), across):
        if not isinstance(axis, str):
            raise errors.wrong_type("axis", axis, "the name of an axis", "'depth'")
        if axis not in table.axes:
            raise errors.unknown_name("axis", axis, table.axes, "table.axes")
    if by is None:
        return table.varying(leave_out=(across, "seed", "data_seed", *leave_out))
    return tuple(by)


def cells(table: Table, by: tuple[str, ...]) -> Iterator[tuple[dict[str, Value], Table]]:
    """Yields (axis → value, rows) for every cell, in the order of the table."""
    if not by:
        yield {}, table
        return
    # Rows of a sweep are in order: few rows differ from the row before.
    changed = np.arange(len(table)) == 0
    for axis in by:
        changed[1:] |= table[axis][1:] != table[axis][:-1]
    starts = np.flatnonzero(changed)
    numbers: dict[tuple[Value, ...], int] = {}
    blocks = zip(*(table[axis][starts].tolist() for axis in by), strict=True)
    cell = [numbers.setdefault(values, len(numbers)) for values in blocks]
    place = np.repeat(cell, np.diff(starts, append=len(table)))
    parts = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    for values, part in zip(numbers, parts, strict=True):
        yield dict(zip(by, values, strict=True)), table.take(part)


def unique(values: np.ndarray) -> list[str]:
    """The values without repetitions, in the order of first appearance."""
    return list(dict.fromkeys(values.tolist()))
