"""Defines ``jinit sweep`` and ``jinit plan``."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import io
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jinit import errors
from jinit.cli import _last
from jinit.cli._compare import print_result
from jinit.cli._devices import workers_of, writes
from jinit.cli._options import CompareOptions, GridOptions, RunOptions
from jinit.cli._output import dump
from jinit.cli._signals import seconds, time_limit
from jinit.cli._stores import how_to_go_on, store_of
from jinit.sweep._grid import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _typeshed import DataclassInstance

    from jinit.results import Table
    from jinit.sweep import Halving, Settle
    from jinit.sweep._plan import Plan

# Axes that no arm can tune.
_UNTUNED = ("initializer", "seeds", "data_seeds")
_ACCURACIES = ("train_accuracy", "best_test_accuracy")


def sweep(grid: GridOptions, output: RunOptions = RunOptions()) -> int:
    """Trains every combination of the axes on every seed and reports which initializer wins.

    Example: jinit sweep --dataset digits --initializer glorot_uniform he_normal orthogonal
    --activation relu tanh --depth 8 16 --width 32 --seeds 64 --baseline glorot_uniform

    As many seeds as the question needs: jinit sweep --initializer he_normal orthogonal --seeds 16
    --until-settled --margin 0.01 --most-seeds 256

    Many settings, most of them soon dropped: jinit sweep --initializer he_normal orthogonal
    --learning-rate 0.001 0.01 0.1 1 --seeds 81 --halving 3

    On 4 of the accelerators, or on 4 host devices of a CPU: jinit sweep --devices 4

    In two processes: jinit sweep --distributed 127.0.0.1:8476/2/0 and, at the same time,
    jinit sweep --distributed 127.0.0.1:8476/2/1

    On a Ray cluster: jinit sweep --initializer he_normal orthogonal --executor ray --address
    127.0.0.1:6379
    """
    workers = workers_of(output)
    whole_grid, baseline = _checked(grid, output)
    if output.no_cache:
        os.environ["JINIT_NO_CACHE"] = "1"  # processes that this one starts inherit the variable
    from jinit import report
    from jinit.sweep import SweepInterrupted, run, run_halving, run_until_settled

    store = store_of(output) if writes() else None
    if store is not None:
        _last.say(how_to_go_on())
    ended: BaseException | None = None
    try:
        shown = None if writes() else io.StringIO()
        asked = _asked(whole_grid, output)
        with (
            report.SweepProgress(output.metric, shown, asked=asked) as progress,
            time_limit(output.time_limit if writes() else None),  # one clock for all processes
        ):
            train = functools.partial(
                run,
                progress=progress,
                workers=workers,
                tile=output.tile,
                hang_after=output.hang_after,
                executor=output.workers_elsewhere,
                store=store,
                tracker=output.tracker,
            )
            if output.until_settled:
                settle = _settle(output, baseline)
                table = run_until_settled(whole_grid, settle, run=train, note=progress.note)
            elif output.halving is not None:
                halving = _halving(output, baseline)
                table = run_halving(whole_grid, halving, run=train, note=progress.note)
            else:
                table = train(whole_grid)
    except (Exception, KeyboardInterrupt) as error:
        finished: Table | None = getattr(error, "table", None)
        if finished is None:
            raise
        ended, table = error, finished
        if baseline not in table["initializer"]:
            baseline = None
    if not writes():
        return 0
    # The file comes first: printing fails where the reader has gone or the terminal is closed.
    code = _write(table, output)
    if isinstance(ended, KeyboardInterrupt):
        said = str(ended) if isinstance(ended, SweepInterrupted) else "interrupted"
        print(said, file=sys.stderr)
    with _instead_of(ended, len(table)):
        print_result(table, _question(output, baseline), as_json=output.json)
    with _instead_of(ended, len(table)):
        code = max(code, _draw(table, output, baseline))
    if ended is None:
        _last.say("")
        return code
    if isinstance(ended, KeyboardInterrupt):
        return 130  # main knows which signal it was
    raise ended


def _asked(grid: Grid, output: RunOptions) -> Callable[[Plan], str]:
    """What says of a plan that its seeds cannot settle what this command compares."""
    from jinit.report._plan import seeds_line

    if output.halving is not None:  # few configurations are left at the end
        return lambda plan: ""
    settings = math.prod(len(grid.values(axis)) for axis in output.tune)
    seeds = output.most_seeds if output.until_settled else None
    return functools.partial(seeds_line, settings=settings, seeds=seeds)


@contextlib.contextmanager
def _instead_of(ended: BaseException | None, runs: int) -> Iterator[None]:
    """A refusal is only said if something else has ended the sweep, which says more.

    The runs that are finished may not answer the question.
    """
    try:
        yield
    except errors.Refusal as refused:
        if ended is None:
            raise
        print(f"jinit: of the {runs} finished runs: {refused}", file=sys.stderr)


def _settle(output: RunOptions, baseline: str | None) -> Settle:
    """The comparisons of ``--until-settled``."""
    from jinit.sweep import Settle

    return Settle(
        most_seeds=output.most_seeds,
        metric=output.metric,
        baseline=baseline,
        margin=output.margin,
        tune=output.tune,
    )


def _halving(output: RunOptions, baseline: str | None) -> Halving:
    """How ``--halving`` drops configurations; a baseline that was named is never dropped."""
    from jinit.sweep import Halving

    assert output.halving is not None
    kept = {"initializer": baseline} if baseline and output.baseline else {}
    return Halving(factor=output.halving, metric=output.metric, keep=kept)


def _question(output: RunOptions, baseline: str | None) -> CompareOptions:
    return CompareOptions(output.metric, baseline, margin=output.margin, tune=output.tune)


def _write(table: Table, output: RunOptions) -> int:
    """Writes ``--out``; no signal but SIGKILL stops the writing. Returns the exit code."""
    if output.out is None:
        return 0
    from jinit.engine._interrupts import held

    try:
        with held():
            table.write(output.out)
    except (OSError, MemoryError) as error:
        print(f"jinit: cannot write: {error}", file=sys.stderr)
        return 1
    print(f"{len(table)} runs written to {output.out}", file=sys.stderr)
    return 0


def _draw(table: Table, output: RunOptions, baseline: str | None) -> int:
    """Draws ``--plots``; returns the exit code."""
    if output.plots is None:
        return 0
    from jinit.report import plots
    from jinit.results._metrics import metric_for

    metric = metric_for(table, output.metric)
    try:
        files = plots.save_all(table, output.plots, metric=metric, baseline=baseline)
    except OSError as error:
        print(f"jinit: cannot write: {error}", file=sys.stderr)
        return 1
    print(f"{len(files)} files written to {output.plots}/", file=sys.stderr)
    missing = [kind for kind in plots.KINDS if kind not in {file.stem for file in files}]
    if missing:
        print(f"not drawn, this sweep has no data for them: {', '.join(missing)}", file=sys.stderr)
    return 0


def plan(grid: GridOptions, output: RunOptions = RunOptions()) -> int:
    """Prints the programs, FLOPs, memory and rough time of a sweep; trains nothing.

    Takes the options of `jinit sweep`, so that `sweep` becomes `plan` in any command. Nothing is
    written: `--out`, `--plots` and `--store` are checked only.

    Example: jinit plan --initializer he_normal orthogonal --depth 8 16 --seeds 64
    """
    workers = workers_of(output)
    whole_grid, _ = _checked(grid, output)
    from jinit.report._plan import print_plan
    from jinit.sweep import plan as make_plan

    the_plan = make_plan(whole_grid, tile=output.tile, workers=workers)
    if output.json:
        fields = ("name", "runs", "tile", "tiles", "lane_bytes", "tile_bytes", "flops")
        programs = [{name: getattr(item, name) for name in fields} for item in the_plan.programs]
        names = ("runs", "tiles", "devices", "flops", "result_bytes", "seconds", "seeds_needed")
        totals = {name: getattr(the_plan, name) for name in names}
        dump({**totals, "workers": the_plan.workers, "programs": programs})
    else:
        print_plan(the_plan, asked=_asked(whole_grid, output))
    return 0


def _checked(grid: DataclassInstance, options: RunOptions) -> tuple[Grid, str | None]:
    """The grid and the canonical baseline; bad input is refused before any work on a device."""
    checked = _grid_of(grid)
    if options.share is not None:
        checked = checked.share(*_share(options.share))
    from jinit import data
    from jinit.engine._choice import check_executor
    from jinit.results import check_output
    from jinit.results._arms import baseline_among
    from jinit.results._metrics import RANKABLE

    errors.check_choice("metric", options.metric, RANKABLE)
    check_executor(options.workers_elsewhere)
    tasks = [data.get(name).task for name in checked.values("dataset")]
    _check_metric(checked, tasks, options.metric)
    _check_question(checked, options)
    _check_batches(options)
    errors.check_number(
        "hang_after", options.hang_after, low=0.0, open_low=True, fix="seconds, e.g. 900"
    )
    store_of(options)
    seconds(options.time_limit)
    if options.out is not None:
        check_output(options.out)
    if options.plots is not None:
        _check_folder(options.plots)
    arms = checked.labels("initializer")
    if options.baseline is None and len(arms) < 2:
        return checked, None
    return checked, baseline_among(arms, "initializer", options.baseline)


def _check_metric(grid: Grid, tasks: Sequence[str], metric: str) -> None:
    """Refuses a metric that no run would have."""
    from jinit.data import _arrays
    from jinit.results import _metrics

    if metric in _ACCURACIES and set(tasks) == {"regression"}:
        raise errors.refusal("metric", metric, "a loss for regression", "use test_loss")
    fix = ""
    if metric == "clip_fraction" and grid.clip is None:
        fix = "add --clip"
    elif metric.startswith("best_") and not grid.validation:
        fix = "add --validation 0.2"
    elif metric in _metrics.REGRESSION and "regression" not in tasks:
        fix = f"no dataset is a regression: use {metric.rpartition('_')[0]}_accuracy"
    elif metric in _metrics.CLASSES and not {*tasks} & {*_arrays.CLASSES}:
        fix = "no dataset has classes: use test_loss"
    if fix:
        raise errors.refusal("metric", metric, "a metric these runs have", fix)


def _check_question(grid: Grid, options: RunOptions) -> None:
    """Refuses a margin and tuned axes that :func:`jinit.compare` would refuse after training."""
    errors.check_number("margin", options.margin, low=0.0, fix="use 0.01")
    allowed = [axis for axis, size in grid.sizes.items() if size > 1 and axis not in _UNTUNED]
    for axis in options.tune:
        if axis not in allowed:
            raise errors.unknown_name("tuned axis", axis, allowed)
    if options.tune and len(grid.seed_values) < 2:
        raise errors.refusal("seeds", grid.seeds, "at least 2 with --tune", "--seeds 16")


def _check_batches(options: RunOptions) -> None:
    """Refuses ``--halving`` with options that need the same seeds of all arms.

    ``--most-seeds`` is an option of ``--until-settled``.
    """
    if options.most_seeds != RunOptions.most_seeds and not options.until_settled:
        allowed, fix = "an option of --until-settled", "add --until-settled"
        raise errors.refusal("--most-seeds", options.most_seeds, allowed, fix)
    if options.halving is None:
        return
    errors.check_integer("halving", options.halving, low=2, high=1000, fix="--halving 3")
    for name in ("until_settled", "tune", "share"):
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise errors.refusal("--halving", options.halving, f"none with {flag}", f"drop {flag}")


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


def _share(text: str) -> tuple[int, int]:
    """``3/16`` as two numbers."""
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal()):
        raise errors.refusal("--share", text, "NUMBER/SHARES", "--share 3/16")
    return int(number), int(of)


def _numbers_of(texts: tuple[str, ...]) -> str | tuple[float, ...]:
    """Numbers, or the first text that is none."""
    try:
        return tuple(map(float, texts))
    except ValueError:
        return texts[0]


def _grid_of(options: DataclassInstance) -> Grid:
    """The grid that the command line's options describe."""
    values = {item.name: getattr(options, item.name) for item in dataclasses.fields(options)}
    for name in ("loss", "clip"):
        values[name] = tuple(None if v.lower() == "none" else v for v in values[name]) or None
    weights = values["class_weights"]
    values["class_weights"] = _numbers_of(weights) or None
    for name in ("seeds", "data_seeds"):
        given = values[name]
        values[name] = given[0] if len(given) == 1 else given or None
    return Grid(**values)
