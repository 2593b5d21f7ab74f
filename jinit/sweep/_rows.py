"""Turns finished tiles into the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from jinit.clipping import _rules as clip_rules
from jinit.engine import Store
from jinit.engine._tiles import Tile, cut
from jinit.results._metrics import BEST
from jinit.results._table import CURVES, Table
from jinit.sweep._grid import Grid
from jinit.sweep._lanes import LaneIndex
from jinit.sweep._plan import PlannedProgram
from jinit.train import Status
from jinit.typing import PyTree

Finished: TypeAlias = tuple[PlannedProgram, list[tuple[Tile, PyTree]]]
"""A program with its finished tiles and their results."""

# How the user's own metrics begin in the results of a run.
_FURTHER = ("test_", "best_test_")


def finished(store: Store, programs: Sequence[PlannedProgram]) -> list[Finished]:
    """The finished tiles of every program that has at least one."""
    results = []
    for program in programs:
        tiles = cut(program.runs, program.tile)
        stored = [(tile, store.get(program.name, tile.index)) for tile in tiles]
        kept = [(tile, result) for tile, result in stored if result is not None]
        if kept:
            results.append((program, kept))
    return results


def table(grid: Grid, results: Sequence[Finished], settings: Mapping[str, Any]) -> Table:
    """The finished runs as a table, in the order of the grid.

    Args:
      grid: the sweep.
      results: at least one program.
      settings: everything that changes the numbers, and the duration.
    """
    columns: dict[str, list[np.ndarray]] = {}
    curves: dict[str, list[np.ndarray]] = {}
    axes: dict[str, None] = {}
    for program, tiles in sorted(results, key=lambda item: item[0].position):
        numbers = np.concatenate([np.arange(tile.start, tile.stop) for tile, _ in tiles])
        result = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[r for _, r in tiles])
        index = LaneIndex(grid, program.numbers, program.tile)
        rows = np.argsort(index.order(numbers))
        of_axes = _axis_columns(index, program, numbers)
        axes.update(dict.fromkeys(of_axes))
        for name, column in (of_axes | _metric_columns(result)).items():
            columns.setdefault(name, []).append(column[rows])
        further = [name.removeprefix("curve_") for name in result if name.startswith("curve_")]
        for name in dict.fromkeys((*CURVES, *sorted(further))):
            curves.setdefault(name, []).append(result[f"curve_{name}"][rows])
    return Table(
        columns={name: np.concatenate(pieces) for name, pieces in columns.items()},
        axes=tuple(axes),
        curves={name: np.concatenate(pieces) for name, pieces in curves.items()},
        curve_steps=np.asarray(results[0][0].network.config.evaluation_steps()),
        settings=settings,
    )


def _axis_columns(
    index: LaneIndex, program: PlannedProgram, numbers: np.ndarray
) -> dict[str, np.ndarray]:
    """Axis → column: the code axes, which are constant in a program, then the number axes."""
    of_lanes = index.columns(numbers)
    thresholds = of_lanes.pop("clip_threshold")
    rule = program.code["clip"]
    columns = {axis: np.full(len(numbers), value, None) for axis, value in program.labels.items()}
    clips = [clip_rules.label(rule, threshold) for threshold in thresholds]
    columns = {k: c.astype(object) if c.dtype.kind == "U" else c for k, c in columns.items()}
    return columns | {"clip": np.array(clips, object)} | of_lanes


def _metric_columns(result: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Metric → column, from what :func:`jinit.train.fit` returns."""
    steps = result["steps_to_target"].astype(np.float64)
    where = {
        Status.RUNNING: "",
        Status.LOSS_NOT_FINITE: "loss",
        Status.GRADIENT_NOT_FINITE: "gradient",
    }
    return {
        **{
            name: result[name]
            for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
        },
        "steps_to_target": np.where(steps < 0, np.inf, steps),
        "diverged": result["status"] != Status.RUNNING,
        "first_bad_step": result["first_bad_step"],
        "where": np.array([where[Status(s)] for s in result["status"].tolist()], object),
        "gradient_norm": result["gradient_norm"],
        "clip_fraction": result["clip_fraction"],
        "skipped": result["skipped"],
        "calibrated": result["calibrated"],
        **{name: result[name] for name in BEST if name in result},
        **{
            name: result[name]
            for name in sorted(result)
            if name.startswith(("test_", "best_test_"))
        },
    }
