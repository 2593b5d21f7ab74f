"""Runs a sweep: trains every network of a grid."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jinit import errors
from jinit._switches import own_switches
from jinit._warn import warn
from jinit.data import DataLike
from jinit.engine import FileStore, Store
from jinit.engine._choice import ExecutorLike, check_executor
from jinit.engine._executors import WorkersLike
from jinit.engine._group import joined
from jinit.engine._interrupts import held
from jinit.engine._jobs import HANG_AFTER, Job, PreparedJob, check_progress, run_many
from jinit.engine._schedule import Event
from jinit.frameworks import Layers
from jinit.results import Table
from jinit.sweep import _rows, _settings, _stored
from jinit.sweep._first_loss import check_failed, check_first_loss
from jinit.sweep._grid import Grid
from jinit.sweep._kept_parameters import Keep, checked_keep, with_parameters
from jinit.sweep._lanes import NetworkLanes
from jinit.sweep._line import default_progress
from jinit.sweep._models import ModelArms, Models
from jinit.sweep._objectives import with_objective
from jinit.sweep._plan import Plan, PlannedProgram, plan
from jinit.sweep._rules import RulesFor
from jinit.sweep._start import Start
from jinit.sweep._tiles import Tiles
from jinit.sweep._trackers import Tracker, check_tracker, tracked
from jinit.train._own import OptimizerFor
from jinit.train._own_loss import MetricFunction, OwnLossFunction
from jinit.typing import PyTree


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C or a signal to end during a sweep; carries the finished runs.

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
      kind: ``"plan"`` (first), ``"stored"`` (what the store holds of a program), ``"compiled"`` (a
        program), ``"tile"`` (some runs are finished) or ``"program"`` (all runs of a program are
        finished).
      plan: the :class:`Plan` of the sweep.
      runs: number of runs that this event finished or found, for ``"tile"`` and ``"stored"``.
      failed: number of these runs that diverged.
      note: for ``"stored"``, which runs of another environment or code the store holds; usually "".
      table: all runs of the program, for ``"program"``; else None.

    >>> kinds = []
    >>> grid = Grid(dataset="xor", depth=1, steps=2, seeds=2)
    >>> table = run(grid, progress=lambda event: kinds.append(event.kind))
    >>> kinds[0], kinds[-1]
    ('plan', 'program')
    """

    kind: Literal["plan", "stored", "compiled", "tile", "program"]
    plan: Plan
    runs: int = 0
    failed: int = 0
    table: Table | None = None
    note: str = ""


def run(
    grid: Grid,
    *,
    model: Models | None = None,
    data: DataLike | None = None,
    rules: RulesFor | None = None,
    layers: Layers | None = None,
    optimizer: OptimizerFor | None = None,
    loss: OwnLossFunction | Mapping[str, OwnLossFunction | str] | None = None,
    metrics: Mapping[str, MetricFunction] | None = None,
    start: Start | None = None,
    progress: Callable[[SweepEvent], None] | Literal[False] | None = None,
    workers: WorkersLike | None = None,
    tile: int | None = None,
    hang_after: float = HANG_AFTER,
    store: Store | FileStore | str | Path | None = None,
    executor: ExecutorLike | None = None,
    tracker: Tracker | None = None,
    keep: Keep | None = None,
) -> Table:
    """Trains every network of the grid.

    Args:
      grid: a :class:`Grid`.
      model: your own network instead of the built-in MLP, whatever
        :func:`jinit.frameworks.as_model` takes: a linen, nnx or Equinox module, a Haiku transform
        or a Keras model, with state (BatchNorm) and noise (dropout) where it has them,
        ``(shapes, apply)`` or ``(shapes, apply, state)``. Or a factory of such models that takes
        any of the grid's ``depth``, ``width``, ``activation`` (a function), ``residual`` and
        ``layer_norm`` by name: each combination is a program of its own. Or a mapping of names to
        models and factories, the arms of a column ``model``. Axes that a model does not take must
        have their defaults.
      data: your own arrays instead of a named data set: ``(x, y)``, ``(x_train, y_train, x_test,
        y_test)``, a mapping of the arguments of :func:`jinit.data.from_arrays`, a
        :class:`jinit.data.Dataset`, or ``draw(key, size) -> (x, y)``, see
        :func:`jinit.data.generated`.
      rules: ``rules(initializer, bias_initializer) -> rules`` for :func:`jinit.initialize`; by
        default the initializer draws kernels, the bias initializer biases. Leaves without a rule
        keep the model's own start; ``report.show`` of the plan prints what draws each leaf.
      layers: pattern → layer kind, as for :func:`jinit.initialize`, for layers that jinit does not
        know. What the model's own layers are, :func:`jinit.frameworks.layers` asks the model.
      optimizer: your own optimizer instead of a named one: ``optimizer(learning_rate, **numbers)``
        returns an optax transform, e.g. ``lambda learning_rate, **numbers:
        optax.lion(learning_rate)``. The numbers are those of ``momentum`` and ``weight_decay`` that
        the function takes, traced, as all arms share one program. Under a ``schedule`` the learning
        rate is a function of the step, which optax's optimizers take, too. A clip of the grid acts
        first. The grid's ``optimizer`` must then have its default. The same function as a value of
        the grid's ``optimizer`` compares it with others, and lets ``momentum`` vary.
      loss, metrics: your own objective, as the fields of the grid of these names, which must then
        have their defaults.
      start: parameters from which training starts: arrays in the framework's own tree, such as
        ``variables["params"]``, ``nnx.state(model, nnx.Param)`` or an Equinox module; or
        ``(params, state)``. ``rules`` then draws the leaves that it names, such as a new head, and
        all others keep these values. Without ``rules`` nothing is drawn.
      progress: called with a :class:`SweepEvent`. Default: one line, in a terminal or a notebook;
        False: nothing.
      workers: number of threads (CPU) or devices, default all; or the devices themselves:
        ``jax.local_devices()`` also uses all host devices of a CPU.
      tile: networks per call, ≥ 2; by default derived from the size of a network.
      hang_after: seconds without progress that count as a hang; default 900.
      store: ``"runs.db"``, or a :class:`jinit.engine.FileStore` with options: a file that keeps
        every finished run. The same call again, in any process, computes only what the file lacks:
        after a crash, or with more seeds or arms. In memory: ``jinit.engine.MemoryStore()``.
      executor: runs the tiles in other processes, on this machine or on many: ``"ray"``,
        ``"ray:host:port"``, or any :class:`concurrent.futures.Executor`; see
        :func:`jinit.engine.run`. ``workers`` is then the number of tiles on their way.
      tracker: gets a record of every finished tile and program: ``"runs.jsonl"``, a line of JSON
        each; ``"tensorboard:FOLDER"``, ``"wandb:PROJECT"``, ``"mlflow:EXPERIMENT"`` or
        ``"trackio:PROJECT"``, one run for the whole sweep; or a function of the record, a dict. A
        tracker has a thread of its own: if it fails or hangs, a warning at the end says so, and no
        run is delayed or lost.
      keep: the runs whose final parameters the table keeps, as ``table.parameters[row]``:
        ``"best of each arm"`` (per combination of axes but seeds: the least final validation loss,
        or training loss without ``validation``), seeds such as ``(0, 1)``, or ``"all"``. These
        runs are trained once more, with the same bits, and only their parameters are copied to the
        host. Default: none.

    Returns:
      A :class:`jinit.results.Table`, rows in the order of the grid. The bits of a run's numbers do
      not depend on the other runs of the grid.

    Raises:
      ValueError, TypeError: bad input, before anything runs on a device; no run of any arm with a
        finite first loss, after the first tile at the latest.
      SweepInterrupted: Ctrl-C.
      HangError: no progress; the message names the program and the tile. Or another process of
        ``jax.distributed`` is lost.
      RuntimeError: another process of ``jax.distributed`` stopped.
      StoreError: the store's file cannot be written any more.
      Exception: any exception of the model, of ``progress``, or of the device.

    Where ``jax.distributed`` connects several processes, all call this function alike: tiles go to
    the devices of all of them, the first one reports, tracks and writes the store, and all return
    the same table.

    Every exception after training has begun has an attribute ``table`` with the finished runs, or
    None. Arms of a program advance together, seed by seed within a tile; of arms in other tiles or
    programs fewer seeds may be finished.

    >>> table = run(Grid(dataset="xor", initializer=("zeros", "he_normal"), seeds=4, steps=100))
    >>> len(table), bool((table.select(initializer="zeros")["test_accuracy"] < 0.7).all())
    (8, True)
    """
    with own_switches():
        grid = with_objective(grid, loss, metrics)
        check_progress(progress or None)
        check_tracker(tracker)
        target = _stored.target(store)
        check_executor(executor)
        planned = plan(
            grid,
            model=model,
            data=data,
            rules=rules,
            layers=layers,
            optimizer=optimizer,
            start=start,
            tile=tile,
            workers=workers,
        )
        kept = checked_keep(keep, grid, planned)
        given = (rules, None if layers is None else tuple(layers.items()))
        jobs = _jobs(grid, planned, given)
        check_first_loss(planned.programs, jobs)
        settings = _settings.describe(
            grid,
            planned,
            model=ModelArms.of(grid, model),
            own_data=data is not None,
            rules=rules,
            layers=layers,
        )
        options: dict[str, Any] = {"executor": executor, "hang_after": hang_after}
        options |= {"workers": workers}
        with joined(alone=executor is not None) as group:
            _check_alone(kept, group is not None)
            if group is not None and not group.first:
                run_many(jobs, **options)
                return group.same(None, hang_after)
            tiles = _stored.opened(target, grid, planned, settings)
            with _carrying(planned.runs) as finished:
                with tracked(tracker, settings, _reported(progress)) as report:
                    sweep = _Sweep(grid, planned, settings, tiles, report, jobs, finished)
                    options |= {"progress": sweep.forward, "store": tiles.store}
                    options |= {"narrowed": sweep.narrowed}
                    table = sweep.collected(lambda: run_many(jobs, **options))
                if kept is not None:
                    del options["progress"], options["store"], options["narrowed"]
                    again = functools.partial(run_many, **options)
                    return with_parameters(table, kept, grid, planned, jobs, again)
                return table if group is None else group.same(table, hang_after)


def _check_alone(kept: str | tuple[int, ...] | None, grouped: bool) -> None:
    if kept is not None and grouped:
        allowed, fix = "None with several processes of jax.distributed", "keep= in one process"
        raise errors.refusal("keep", kept, allowed, fix)


@contextlib.contextmanager
def _carrying(planned: int) -> Iterator[list[Table | None]]:
    """Whatever ends the block carries the table that the block has put into the list, if any.

    A tracker that is closed, parameters that are kept, and other processes of ``jax.distributed``
    take time after the last run; a signal or an error may come then.
    """
    finished: list[Table | None] = []
    try:
        yield finished
    except BaseException as error:
        if not finished or hasattr(error, "table"):
            raise
        if isinstance(error, KeyboardInterrupt):
            raise SweepInterrupted(finished[0], planned) from None
        _attach(error, finished[0], planned)
        raise


@dataclass(frozen=True)
class _Sweep:
    """A sweep that runs: makes tables of what is finished and reports progress."""

    grid: Grid
    planned: Plan
    settings: dict[str, Any]
    tiles: Tiles
    report: Callable[[SweepEvent], None]
    jobs: Sequence[Job]
    finished: list[Table | None]
    first_tile_checked: list[bool] = field(default_factory=list)

    def table(self, programs: Sequence[PlannedProgram], seconds: float | None) -> Table | None:
        """The finished runs of some programs."""
        pieces = self.tiles.pieces(programs)
        if not pieces:
            return None
        return _rows.table(self.grid, pieces, self.settings | {"seconds": seconds})

    def narrowed(self, task: PreparedJob) -> PreparedJob:
        """The part of a job that the store lacks; reports what it holds."""
        narrow, found = self.tiles.narrowed(task)
        if found is not None:
            self.report(
                SweepEvent("stored", self.planned, found.runs, found.failed, None, found.note)
            )
        return narrow

    def forward(self, event: Event) -> None:
        """Reports an event of the engine."""
        if event.kind == "compiled":
            self.report(SweepEvent("compiled", self.planned))
        elif event.kind == "tile" and event.tile is not None:
            failed = int(np.count_nonzero(event.result["status"]))
            runs = event.tile.stop - event.tile.start
            self.report(SweepEvent("tile", self.planned, runs, failed))
            if not self.first_tile_checked:
                self.first_tile_checked.append(True)
                check_failed(self.planned.programs, self.jobs, event.result)
        else:
            of_program = self.table(self.planned.programs[event.job : event.job + 1], None)
            self.report(SweepEvent("program", self.planned, table=of_program))

    def collected(self, train: Callable[[], list[PyTree]]) -> Table:
        """Trains, and returns the table; whatever ends the training early carries its table."""
        programs, runs, start = self.planned.programs, self.planned.runs, time.perf_counter()
        try:
            self.report(SweepEvent("plan", self.planned))
            train()
        except BaseException as error:
            with held():
                finished = self.table(programs, time.perf_counter() - start)
                self.finished.append(finished)
                _close(self.tiles, error)
                if isinstance(error, KeyboardInterrupt):
                    raise SweepInterrupted(finished, runs) from None
                _attach(error, finished, runs)
            raise
        with held() as noted:
            finished = self.table(programs, time.perf_counter() - start)
            self.finished.append(finished)
            try:
                self.tiles.close("complete")
            except OSError as failure:
                _attach(failure, finished, planned=runs)
                raise
        try:
            noted.let_go()
        except KeyboardInterrupt:
            raise SweepInterrupted(finished, runs) from None
        if finished is None:
            raise SweepInterrupted(finished, runs)
        return finished


def _reported(
    progress: Callable[[SweepEvent], None] | Literal[False] | None,
) -> Callable[[SweepEvent], None]:
    """What is called with each event."""
    if progress:
        return progress
    line = default_progress() if progress is None else None

    def told(event: SweepEvent) -> None:
        _note(event)
        if line is not None:
            line(event)

    return told


def _note(event: SweepEvent) -> None:
    """What a sweep without a progress callback says: only what must not go unnoticed."""
    if event.note:
        warn(event.note)


def _close(tiles: Tiles, error: BaseException) -> None:
    """Closes the store of a sweep that ends with this error."""
    try:
        tiles.close("stopped")
    except OSError as other:
        if other is not error:
            error.add_note(str(other))


def _jobs(grid: Grid, planned: Plan, given: Hashable) -> list[Job]:
    """A job of the engine per program; ``given`` are the rules and layers of the user."""
    lanes = functools.partial(NetworkLanes, grid, given=given)
    return [
        Job(item.network, lanes(item), (item.dataset,), item.name, item.tile)
        for item in planned.programs
    ]


def _attach(error: BaseException, table: Table | None, planned: int) -> None:
    """Gives an exception the attribute ``table`` and a note that says so."""
    # An exception may be a frozen dataclass, which refuses ordinary assignment.
    vars(error)["table"] = table
    runs = 0 if table is None else len(table)
    error.add_note(f"{runs} of {planned} runs are finished: the exception's .table has them")
