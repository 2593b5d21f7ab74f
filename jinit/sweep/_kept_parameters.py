"""Keeps the final parameters of chosen runs: trains these runs once more, with the same bits.

Which runs are the best is known only at the end. A run does not depend on its neighbours, so that
training the chosen ones again costs less than bringing the parameters of all runs to the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import jax
import numpy as np

from jinit import errors
from jinit._warn import warn
from jinit.engine import _executors
from jinit.engine._jobs import Chosen, Job
from jinit.results import Table
from jinit.sweep._checks import COPIES
from jinit.sweep._grid import Grid
from jinit.sweep._lanes import LaneIndex
from jinit.sweep._plan import Plan, PlannedProgram
from jinit.sweep._values import checked_seeds
from jinit.typing import PyTree

Keep: TypeAlias = str | Sequence[int] | np.ndarray
"""``"best of each arm"``, ``"all"``, or seeds."""

BEST, ALL = "best of each arm", "all"


def checked_keep(keep: Keep | None, grid: Grid, planned: Plan) -> str | tuple[int, ...] | None:
    """The runs to keep; refuses seeds that the grid lacks, and more bytes than the memory has.

    Raises:
      ValueError: another text, a seed that is not in the grid, too many parameters.
      TypeError: neither text nor seeds.
    """
    if keep is None:
        return None
    allowed = f"{BEST!r}, {ALL!r}, or seeds of the grid"
    if isinstance(keep, str):
        errors.check_choice("keep", keep, (BEST, ALL))
        chosen: str | tuple[int, ...] = keep
    else:
        seeds = None if isinstance(keep, int) else checked_seeds("keep", keep)
        if not isinstance(seeds, tuple):
            raise errors.wrong_type("keep", keep, allowed, "keep=(0,)")
        missing = [seed for seed in seeds if seed not in grid.seed_values]
        if missing:
            raise errors.refusal("keep", missing, allowed, f"keep=({grid.seed_values[0]},)")
        chosen = seeds
    _check_memory(chosen, grid, planned)
    return chosen


def _check_memory(keep: str | tuple[int, ...], grid: Grid, planned: Plan) -> None:
    arms = planned.runs // (len(grid.seed_values) * len(grid.data_seed_values or (0,)))
    share = {BEST: arms, ALL: planned.runs}
    runs = planned.runs // len(grid.seed_values) * len(keep) if isinstance(keep, tuple) else 0
    runs = runs if isinstance(keep, tuple) else share[keep]
    size = max(
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((p.shapes, p.state)))
        for p in planned.programs
    )
    memory = _executors.host_memory()
    needed = COPIES * (runs * size + planned.result_bytes)
    if memory is not None and needed > memory:
        raise errors.refusal(
            f"memory of the parameters of {runs:,} runs, and of the results",
            f"{needed / 2**30:,.1f} GiB",
            f"at most the {memory / 2**30:,.1f} GiB that this process may use",
            f"keep={BEST!r}",
        )


def with_parameters(
    table: Table,
    keep: str | tuple[int, ...],
    grid: Grid,
    planned: Plan,
    jobs: Sequence[Job],
    train: Callable[[list[Job]], list[PyTree]],
) -> Table:
    """The table with the final parameters of the chosen runs.

    Args:
      table: all runs of the sweep.
      keep: from :func:`checked_keep`.
      grid, planned, jobs: of the sweep.
      train: runs jobs of the engine.

    Warns:
      UserWarning: a run whose losses are not those of the table, because its row comes from another
        environment.
    """
    lanes = {job.name: job.lanes for job in jobs}
    parts = list(_parts(grid, planned.programs, _rows(table, keep)))
    again = [
        Job(
            dataclasses.replace(program.network, keeps=True),
            Chosen(lanes[program.name], numbers),
            (program.dataset,),
            f"{program.name}, parameters",
            program.tile,
        )
        for program, _, numbers in parts
    ]
    kept: dict[int, PyTree] = {}
    for (_, rows, _), result in zip(parts, train(again) if again else [], strict=True):
        _check_same(table, rows, result)
        for place, row in enumerate(rows.tolist()):
            kept[row] = jax.tree.map(lambda leaf, at=place: leaf[at], result["parameters"])
    return dataclasses.replace(table, parameters=dict(sorted(kept.items())))


def _rows(table: Table, keep: str | tuple[int, ...]) -> np.ndarray:
    """The numbers of the chosen rows, ascending."""
    if keep == ALL:
        return np.arange(len(table))
    if isinstance(keep, tuple):
        return np.flatnonzero(np.isin(table["seed"].astype(np.int64), keep))
    axes = [axis for axis in table.axes if axis not in ("seed", "data_seed")]
    arms = list(zip(*(table[axis].tolist() for axis in axes), strict=True))
    losses = np.where(table["diverged"].astype(bool), np.nan, _final_losses(table))
    best = dict[tuple[object, ...], int]()
    for row, arm in enumerate(arms):
        better = arm not in best or losses[row] < losses[best[arm]]
        if np.isfinite(losses[row]) and better:
            best[arm] = row
    return np.sort(np.array(list(best.values()), int))


def _final_losses(table: Table) -> np.ndarray:
    """The last validation loss of each run, or its training loss; the test set never chooses."""
    if "validation_loss" not in table.curves:
        return table["train_loss"]
    curves = table.curves["validation_loss"]
    last = np.where(np.isnan(curves), -1, np.arange(curves.shape[1])).max(axis=1)
    return np.where(last < 0, np.nan, curves[np.arange(len(curves)), last])


def _parts(
    grid: Grid, programs: Sequence[PlannedProgram], rows: np.ndarray
) -> Iterator[tuple[PlannedProgram, np.ndarray, np.ndarray]]:
    """Program, rows and lane numbers of the chosen runs, by program in the order of the table."""
    start = 0
    for program in sorted(programs, key=lambda program: program.position):
        index = LaneIndex(grid, program.numbers, program.tile)
        lane_of_row = np.argsort(index.order(np.arange(program.runs)))
        mine = rows[(rows >= start) & (rows < start + program.runs)]
        if mine.size:
            yield program, mine, lane_of_row[mine - start]
        start += program.runs


def _check_same(table: Table, rows: np.ndarray, result: PyTree) -> None:
    for name in ("train_loss", "test_loss"):
        if not np.array_equal(table[name][rows], result[name], equal_nan=True):
            warn(
                f"the kept parameters give another {name} than the table for some of the rows "
                f"{rows[:5].tolist()}: these rows come from another environment"
            )
            return
