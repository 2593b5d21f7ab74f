"""Defines ``jinit sweep`` and ``jinit plan``."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jinit import errors
from jinit.cli._options import GridOptions, RunOptions
from jinit.cli._output import dump
from jinit.sweep._grid import Grid

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def sweep(grid: GridOptions, output: RunOptions = RunOptions()) -> int:
    """Trains every combination of the axes on every seed and reports which initializer wins.

    Example: jinit sweep --dataset digits --initializer glorot_uniform he_normal orthogonal
    --activation relu tanh --depth 8 16 --width 32 --seeds 64 --baseline glorot_uniform
    """
    whole_grid, baseline = _checked(grid, output)
    from jinit import report
    from jinit.results._metrics import metric_for
    from jinit.sweep import SweepInterrupted, run

    status = 0
    try:
        with report.SweepProgress(output.metric) as progress:
            table = run(
                whole_grid,
                progress=progress,
                workers=output.workers,
                tile=output.tile,
                hang_after=output.hang_after,
            )
    except SweepInterrupted as interrupted:
        print(interrupted, file=sys.stderr)
        if interrupted.table is None:
            return 130
        table, status = interrupted.table, 130
        if baseline not in table["initializer"]:
            baseline = None
    if output.json:
        dump(report.to_json(table, metric=output.metric, baseline=baseline))
    else:
        report.show(table, metric=output.metric, baseline=baseline)
    if output.out is not None:
        table.write(output.out)
        print(f"{len(table)} runs written to {output.out}", file=sys.stderr)
    if output.plots is not None:
        from jinit.report import plots

        metric = metric_for(table, output.metric)
        files = plots.save_all(table, output.plots, metric=metric, baseline=baseline)
        print(f"{len(files)} files written to {output.plots}/", file=sys.stderr)
        missing = [kind for kind in plots.KINDS if kind not in {file.stem for file in files}]
        if missing:
            print(
                f"not drawn, this sweep has no data for them: {', '.join(missing)}", file=sys.stderr
            )
    return status


def plan(grid: GridOptions, output: RunOptions = RunOptions()) -> int:
    """Prints the programs, FLOPs, memory and rough time of a sweep; trains nothing.

    Example: jinit plan --initializer he_normal orthogonal --depth 8 16 --seeds 64
    """
    whole_grid, _ = _checked(grid, output)
    from jinit import report
    from jinit.sweep import plan as make_plan

    the_plan = make_plan(whole_grid, tile=output.tile, workers=output.workers)
    if output.json:
        fields = ("name", "runs", "tile", "lane_bytes", "flops")
        programs = [{name: getattr(item, name) for name in fields} for item in the_plan.programs]
        totals = {
            name: getattr(the_plan, name) for name in ("runs", "flops", "result_bytes", "seconds")
        }
        dump({**totals, "workers": the_plan.workers, "programs": programs})
    else:
        report.show(the_plan)
    return 0


def _checked(grid: DataclassInstance, options: RunOptions) -> tuple[Grid, str | None]:
    """The grid and the canonical baseline; bad input is refused before any work on a device."""
    checked = _grid_of(grid)
    from jinit import data
    from jinit.results import check_output
    from jinit.results._arms import baseline_among
    from jinit.results._metrics import RANKABLE

    errors.check_choice("metric", options.metric, RANKABLE)
    if options.metric == "clip_fraction" and checked.clip is None:
        raise errors.refusal("metric", "clip_fraction", "a metric these runs have", "add --clip")
    tasks = [data.get(name).task for name in checked.values("dataset")]
    if options.metric == "train_accuracy" and set(tasks) == {"regression"}:
        raise errors.refusal("metric", options.metric, "a loss for regression", "use test_loss")
    errors.check_number(
        "hang_after", options.hang_after, low=0.0, open_low=True, fix="seconds, e.g. 900"
    )
    if options.out is not None:
        check_output(options.out)
    if options.plots is not None:
        _check_folder(options.plots)
    arms = checked.labels("initializer")
    if options.baseline is None and len(arms) < 2:
        return checked, None
    return checked, baseline_among(arms, "initializer", options.baseline)


def _check_folder(path: str) -> None:
    """Makes the folder of pictures, so that a bad path is refused before training."""
    if importlib.util.find_spec("matplotlib") is None:
        raise errors.missing_extra("matplotlib", "lab", "--plots")
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.refusal(
            "--plots", path, "a writable folder", f"choose another ({error.strerror})"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise errors.refusal("--plots", path, "a writable folder", "choose another")


def _grid_of(options: DataclassInstance) -> Grid:
    """The grid that the command line's options describe."""
    values = {item.name: getattr(options, item.name) for item in dataclasses.fields(options)}
    for name in ("loss", "clip"):
        values[name] = tuple(None if v.lower() == "none" else v for v in values[name]) or None
    for name in ("seeds", "data_seeds"):
        given = values[name]
        values[name] = given[0] if len(given) == 1 else given or None
    return Grid(**values)
