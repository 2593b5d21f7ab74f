"""Turns finished tiles into the rows of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import _database as database
from jinit.clipping import _rules as clip_rules
from jinit.engine import Store
from jinit.engine._tiles import cut
from jinit.results._metrics import BEST
from jinit.results._table import CURVES, Table
from jinit.sweep._grid import Grid
from jinit.sweep._lanes import LaneIndex
from jinit.sweep._plan import PlannedProgram
from jinit.train import Status
from jinit.typing import PyTree

# How the user's own metrics begin in the results of a run.
_FURTHER = ("test_", "best_test_")
# The source of runs that this environment computed.
HERE = "this"


@dataclass(frozen=True)
class Piece:
    """Finished runs of one program.

    Attributes:
      program: the program.
      numbers: their lane numbers, ``(runs,)``.
      columns: name → array ``(runs,)``: axes, then metrics.
      axes: the names of those that are axes.
      curves: name → array ``(runs, evaluations)``.
      source: the environment that computed them, if it is another than this one.
    """

    program: PlannedProgram
    numbers: np.ndarray
    columns: Mapping[str, np.ndarray]
    axes: Sequence[str]
    curves: Mapping[str, np.ndarray]
    source: str = ""


def piece(
    grid: Grid, program: PlannedProgram, numbers: np.ndarray, result: Mapping[str, np.ndarray]
) -> Piece:
    """Runs with what :func:`jinit.train.fit` returned for them.

    Args:
      grid: the sweep.
      program: one of its programs.
      numbers: lane numbers, ``(runs,)``.
      result: arrays ``(runs, …)``.
    """
    index = LaneIndex(grid, program.numbers, program.tile)
    axes = axis_columns(index, program, numbers)
    columns = axes | _metric_columns(result)
    further = [name.removeprefix("curve_") for name in result if name.startswith("curve_")]
    names = dict.fromkeys((*CURVES, *sorted(further)))
    curves = {name: result[f"curve_{name}"] for name in names}
    return Piece(program, numbers, columns, tuple(axes), curves)


def joined(
    grid: Grid, program: PlannedProgram, tiles: Sequence[tuple[np.ndarray, PyTree]]
) -> list[Piece]:
    """The runs of tiles, as one piece; no piece if there is no tile.

    Args:
      grid: the sweep.
      program: one of its programs.
      tiles: lane numbers and results.
    """
    if not tiles:
        return []
    numbers = np.concatenate([numbers for numbers, _ in tiles])
    result = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[r for _, r in tiles])
    return [piece(grid, program, numbers, result)]


def finished(store: Store, grid: Grid, programs: Sequence[PlannedProgram]) -> list[Piece]:
    """The finished runs of every program that has some."""
    pieces = []
    for program in programs:
        tiles = cut(program.runs, program.tile)
        stored = [(tile, store.get(program.name, tile.index)) for tile in tiles]
        kept = [
            (np.arange(tile.start, tile.stop), result)
            for tile, result in stored
            if result is not None
        ]
        pieces += joined(grid, program, kept)
    return pieces


def marked(pieces: Sequence[Piece], column: str) -> list[Piece]:
    """The pieces with their source in a column of its own, if one of them has a source."""
    if not any(each.source for each in pieces):
        return list(pieces)
    return [
        dataclasses.replace(
            each,
            columns={
                **each.columns,
                column: np.full(len(each.numbers), each.source or HERE, object),
            },
        )
        for each in pieces
    ]


def table(grid: Grid, pieces: Sequence[Piece], settings: Mapping[str, Any]) -> Table:
    """The finished runs as a table, in the order of the grid.

    Args:
      grid: the sweep.
      pieces: at least one.
      settings: everything that changes the numbers, and the duration.
    """
    columns: dict[str, list[np.ndarray]] = {}
    curves: dict[str, list[np.ndarray]] = {}
    axes: dict[str, None] = {}
    steps = np.asarray(pieces[0].program.network.config.evaluation_steps())
    # Tasks have metrics of their own, and a probe curves for the layers of each architecture.
    ordered = sorted(pieces, key=lambda each: each.program.position)
    names = dict.fromkeys(name for each in ordered for name in each.columns)
    of_curves = dict.fromkeys(name for each in pieces for name in each.curves)
    for position in sorted({each.program.position for each in pieces}):
        mine = [each for each in pieces if each.program.position == position]
        program = mine[0].program
        index = LaneIndex(grid, program.numbers, program.tile)
        numbers = np.concatenate([each.numbers for each in mine])
        rows = np.argsort(index.order(numbers))
        axes.update(dict.fromkeys(mine[0].axes))
        for name in names:
            whole = np.concatenate([_column(each, name, ordered) for each in mine])
            columns.setdefault(name, []).append(whole[rows])
        for name in of_curves:
            whole = np.concatenate([_curve(each, name, len(steps)) for each in mine])
            curves.setdefault(name, []).append(whole[rows])
    return Table(
        columns={name: _same_floats(np.concatenate(parts)) for name, parts in columns.items()},
        axes=tuple(axes),
        curves={name: np.concatenate(parts) for name, parts in curves.items()},
        curve_steps=steps,
        settings=settings,
    )


def _column(each: Piece, name: str, pieces: Sequence[Piece]) -> np.ndarray:
    """A column of a piece; NaN, or None for text, if only other pieces have the column."""
    if name in each.columns:
        return each.columns[name]
    other = next(piece.columns[name] for piece in pieces if name in piece.columns)
    return database.missing(other, len(each.numbers))


def _curve(each: Piece, name: str, points: int) -> np.ndarray:
    """A curve of a piece; NaN if only other pieces have the curve."""
    if name in each.curves:
        return each.curves[name]
    return np.full((len(each.numbers), points), np.nan, np.float32)


def _same_floats(column: np.ndarray) -> np.ndarray:
    """The column with one NaN and one zero, as a store gives them back."""
    if column.dtype.kind != "f":
        return column
    return np.where(np.isnan(column), column.dtype.type(np.nan), column + column.dtype.type(0))


def axis_columns(
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
        **{name: result[name] for name in sorted(result) if name.startswith(_FURTHER)},
    }
