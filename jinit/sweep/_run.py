"""Runs a sweep: trains every network of a grid."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jinit import engine
from jinit.data import DataLike
from jinit.engine._jobs import HANG_AFTER, Job, run_many
from jinit.results import Table
from jinit.sweep import _rows
from jinit.sweep._grid import Grid
from jinit.sweep._lanes import NetworkLanes
from jinit.sweep._plan import Plan, plan
from jinit.sweep._rules import RulesFor
from jinit.typing import ModelLike


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep; carries the finished runs.

    Attributes:
      table: the finished runs; None if no run is finished.
      planned: number of runs that the grid asks for.

    >>> str(SweepInterrupted(None, 64))
    'interrupted after 0 of 64 runs'
    """

    def __init__(self, table: Table | None, planned: int) -> None:
        super().__init__(
            f"interrupted after {0 if table is None else len(table)} of {planned} runs"
        )
        self.table = table
        self.planned = planned


@dataclass(frozen=True)
class SweepEvent:
    """A progress report of :func:`run`.

    Attributes:
      kind: ``"plan"`` (first), ``"compiled"`` (a program), ``"tile"`` (some runs are finished) or
        ``"program"`` (all runs of a program are finished).
      plan: the :class:`Plan` of the sweep.
      runs: number of runs that this event finished, for ``"tile"``; else 0.
      failed: number of these runs that diverged.
      table: all runs of the program, for ``"program"``; else None.

    >>> kinds = []
    >>> grid = Grid(dataset="xor", depth=1, steps=2, seeds=2)
    >>> table = run(grid, progress=lambda event: kinds.append(event.kind))
    >>> kinds[0], kinds[-1]
    ('plan', 'program')
    """

    kind: Literal["plan", "compiled", "tile", "program"]
    plan: Plan
    runs: int = 0
    failed: int = 0
    table: Table | None = None


def run(
    grid: Grid,
    *,
    model: ModelLike | None = None,
    data: DataLike | None = None,
    rules: RulesFor | None = None,
    progress: Callable[[SweepEvent], None] | None = None,
    workers: int | None = None,
    tile: int | None = None,
    hang_after: float = HANG_AFTER,
) -> Table:
    """Trains every network of the grid.

    Args:
      grid: a :class:`Grid`.
      model: your own network instead of the built-in MLP: a linen module, ``(shapes, apply)`` or a
        :class:`jinit.models.Model`; ``activation``, ``depth``, ``width``, ``residual`` and
        ``layer_norm`` of the grid must then have their defaults.
      data: your own arrays instead of a named data set: ``(x, y)``,
        ``(x_train, y_train, x_test, y_test)`` or a :class:`jinit.data.Dataset`.
      rules: ``rules(initializer, bias_initializer) -> rules`` for :func:`jinit.initialize`; by
        default the initializer draws kernels, the bias initializer biases; scales are 1, shifts 0.
      progress: called with a :class:`SweepEvent`.
      workers: number of threads (CPU) or devices; default all.
      tile: networks per call, ≥ 2; by default derived from the size of a network.
      hang_after: seconds without progress that count as a hang; default 900.

    Returns:
      A :class:`jinit.results.Table`, rows in the order of the grid. The bits of a run's numbers do
      not depend on the other runs of the grid.

    Raises:
      ValueError, TypeError: bad input, before anything runs on a device.
      SweepInterrupted: Ctrl-C; carries the finished runs.
      HangError: no progress; the message names the program and the tile.

    >>> table = run(Grid(dataset="xor", initializer=("zeros", "he_normal"), seeds=4, steps=100))
    >>> len(table), bool((table.select(initializer="zeros")["test_accuracy"] < 0.7).all())
    (8, True)
    """
    planned = plan(grid, model=model, data=data, rules=rules, tile=tile, workers=workers)
    report = progress or (lambda event: None)
    report(SweepEvent("plan", planned))
    store = engine.MemoryStore()
    jobs = [
        Job(item.network, NetworkLanes(grid, item), (item.dataset,), item.name, item.tile)
        for item in planned.programs
    ]

    def forward(event: engine.Event) -> None:
        if event.kind == "compiled":
            report(SweepEvent("compiled", planned))
        elif event.kind == "tile" and event.tile is not None:
            failed = int(np.count_nonzero(event.result["status"]))
            report(SweepEvent("tile", planned, event.tile.stop - event.tile.start, failed))
        else:
            results = _rows.finished(store, planned.programs[event.job : event.job + 1])
            report(SweepEvent("program", planned, table=_rows.table(grid, results, None)))

    start = time.perf_counter()
    try:
        run_many(jobs, workers=workers, progress=forward, store=store, hang_after=hang_after)
    except KeyboardInterrupt:
        seconds, results = time.perf_counter() - start, _rows.finished(store, planned.programs)
        table = _rows.table(grid, results, seconds) if results else None
        raise SweepInterrupted(table, planned.runs) from None
    return _rows.table(grid, _rows.finished(store, planned.programs), time.perf_counter() - start)
