"""Runs a plan: weights by small programs, training by one program per shape, rows as results."""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import clipping, engine
from jinit.calibrate._registry import split
from jinit.engine._jobs import HANG_AFTER
from jinit.engine._program import Program
from jinit.engine._tiles import cut
from jinit.results._table import CURVES, Table
from jinit.sweep._calibrated import CalibratedWeights
from jinit.sweep._grid import Grid, settings
from jinit.sweep._network import LANE_NUMBERS, RulesFor, lane_shapes
from jinit.sweep._plan import Plan, PlannedProgram, plan
from jinit.sweep._weights import Weights
from jinit.train import FitConfig, Status
from jinit.typing import PyTree


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep; what was finished is in ``table`` (None if nothing was).

    Attributes:
      table: the finished runs.
      planned: how many there would have been.
    """

    def __init__(self, table: Table | None, planned: int) -> None:
        super().__init__(
            f"interrupted after {0 if table is None else len(table)} of {planned} runs"
        )
        self.table = table
        self.planned = planned


@dataclass(frozen=True)
class SweepEvent:
    """Progress of a sweep, after each compile, tile and program.

    Attributes:
      kind: ``"plan"``, ``"compiled"``, ``"tile"`` or ``"program"``.
      plan: what is being run.
      runs: finished networks in this event.
      failed: how many of them diverged.
      table: all runs of the program, for ``"program"``.
    """

    kind: str
    plan: Plan
    runs: int = 0
    failed: int = 0
    table: Table | None = None


def run(
    grid: Grid,
    *,
    model: Any = None,
    data: Any = None,
    rules: RulesFor | None = None,
    progress: Callable[[SweepEvent], None] | None = None,
    workers: int | None = None,
    tile: int | None = None,
    hang_after: float = HANG_AFTER,
) -> Table:
    """Trains every network of the grid.

    Args:
      grid: the recipe.
      model: your own network instead of the built-in MLP: a linen module, ``(shapes, apply)`` or
        :class:`jinit.models.Model`; the grid's model axes must then stay at their defaults.
      data: your own arrays instead of a named data set: ``(x, y)``, four arrays or a ``Dataset``.
      rules: ``rules(initializer, bias_initializer)`` for :func:`jinit.initialize`; by default
        kernels take the initializer, biases the bias initializer, scales 1.
      progress: called with a :class:`SweepEvent`.
      workers: threads (CPU) or devices; default all.
      tile: networks per call; default from their size.
      hang_after: seconds without progress that count as a hang.

    Returns:
      A :class:`Table`, rows in the grid's order. A run's numbers are bitwise the same whatever else
      the grid holds.

    Raises:
      ValueError, TypeError: bad input, before any device work.
      SweepInterrupted: Ctrl-C; carries the finished runs.
      HangError: no progress; says which program and tile.

    >>> table = run(Grid(dataset="xor", initializer=("zeros", "he_normal"), seeds=4, steps=100))
    >>> len(table), bool((table.select(initializer="zeros")["test_accuracy"] < 0.7).all())
    (8, True)
    """
    planned = plan(grid, model=model, data=data, rules=rules, tile=tile, workers=workers)
    report = progress or (lambda event: None)
    report(SweepEvent("plan", planned))
    store = engine.MemoryStore()
    jobs = [
        engine.Job(item.network, NetworkLanes(grid, item), (item.dataset,), item.name, item.tile)
        for item in planned.programs
    ]

    def forward(event: engine.Event) -> None:
        if event.kind == "compiled":
            report(SweepEvent("compiled", planned))
        elif event.kind == "tile" and event.tile is not None:
            failed = int(np.count_nonzero(event.result["status"]))
            report(SweepEvent("tile", planned, event.tile.stop - event.tile.start, failed))
        else:
            done = _finished(store, planned.programs[event.job : event.job + 1])
            report(SweepEvent("program", planned, table=_table(grid, done)))

    start = time.perf_counter()
    try:
        engine.run_many(jobs, workers=workers, progress=forward, store=store, hang_after=hang_after)
    except KeyboardInterrupt:
        seconds, done = time.perf_counter() - start, _finished(store, planned.programs)
        raise SweepInterrupted(
            _table(grid, done, seconds) if done else None, planned.runs
        ) from None
    return _table(grid, _finished(store, planned.programs), time.perf_counter() - start)


_Part = tuple[PlannedProgram, list[tuple[engine.Tile, PyTree]]]


def _finished(store: engine.Store, programs: Sequence[PlannedProgram]) -> list[_Part]:
    """The finished tiles of each program that has any."""
    parts = []
    for program in programs:
        tiles = cut(program.runs, program.tile)
        found = [(tile, store.get(program.name, tile.index)) for tile in tiles]
        kept = [(tile, result) for tile, result in found if result is not None]
        if kept:
            parts.append((program, kept))
    return parts


class NetworkLanes:
    """Lanes of one training program, drawn tile by tile: memory does not grow with the runs."""

    def __init__(self, grid: Grid, program: PlannedProgram) -> None:
        self.count = program.runs
        self.lane = lane_shapes(program.shapes)
        self._index = LaneIndex(grid, program.numbers)
        labels = itertools.product(grid.labels("initializer"), grid.labels("bias_initializer"))
        self._weights = [
            _weights(program, pair, _salt(grid, names))
            for pair, names in zip(self._index.initializers, labels, strict=True)
        ]

    def programs(self, width: int) -> Sequence[Program]:
        """The small programs that draw weights, each once."""
        every = [program for weights in self._weights for program in weights.programs(width)]
        return list(dict.fromkeys(every))

    def take(self, numbers: np.ndarray, device: Any) -> PyTree:
        """Draws the weights of these lanes and puts their numbers beside them."""
        lanes = self._index.lanes(numbers)
        seeds = lanes["seed"].astype(np.uint32)
        found: Any = None
        for code, weights in enumerate(self._weights):
            chosen = lanes["pair"] == code
            if chosen.any():
                drawn = weights.draw(seeds, device)
                found = drawn if found is None else _merged(chosen, drawn, found)
        params, calibrated = found
        scalars = {name: lanes[name].astype(np.float32) for name in LANE_NUMBERS}
        return {
            "params": params,
            "calibrated": calibrated,
            "data_seed": lanes["data_seed"].astype(np.uint32),
            **scalars,
        }


def _weights(
    program: PlannedProgram, pair: tuple[Any, Any], salt: str
) -> Weights | CalibratedWeights:
    kernel, calibration = split(pair[0])
    weights = Weights(program.shapes, program.rules(kernel, pair[1]), salt)
    if calibration is None:
        return weights
    network = program.network
    return CalibratedWeights(
        weights, calibration, network.model, program.shapes, program.dataset, network.loss
    )


class LaneIndex:
    """Lane number → the value of every number axis; the seed varies fastest."""

    def __init__(self, grid: Grid, numbers: Mapping[str, tuple[Any, ...]]) -> None:
        self.axes: dict[str, Sequence[Any]] = dict(numbers)
        data_seeds = grid.data_seed_values
        self._tied = data_seeds is None
        if data_seeds is not None:
            self.axes["data_seed"] = data_seeds
        self.axes["seed"] = grid.seed_values
        self._labels = {
            axis: np.array(grid.labels(axis), object)
            for axis in ("initializer", "bias_initializer")
        }
        biases = self.axes["bias_initializer"]
        self.initializers = [
            (kernel, bias) for kernel in self.axes["initializer"] for bias in biases
        ]
        self._shape = tuple(len(values) for values in self.axes.values())

    def positions(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Per axis, the positions of these lanes' values."""
        return dict(zip(self.axes, np.unravel_index(numbers, self._shape), strict=True))

    def lanes(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Per axis, the values of these lanes; initializers as one code per (kernel, bias) pair."""
        at = self.positions(numbers)
        values = {
            name: _pick(self.axes[name], at[name])
            for name in at
            if name not in ("initializer", "bias_initializer")
        }
        if self._tied:
            values["data_seed"] = values["seed"]
        biases = len(self.axes["bias_initializer"])
        values["pair"] = at["initializer"] * biases + at["bias_initializer"]
        return values

    def columns(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Per axis, what a table shows."""
        at = self.positions(numbers)
        columns = {
            name: self._labels[name][at[name]]
            if name in self._labels
            else _pick(self.axes[name], at[name])
            for name in at
        }
        if self._tied:
            columns["data_seed"] = columns["seed"]
        return columns


def _salt(grid: Grid, pair: tuple[str, str]) -> str:
    return "" if grid.pairing == "common" else f"|{pair[0]}|{pair[1]}"


def _merged(chosen: np.ndarray, drawn: PyTree, rest: PyTree) -> PyTree:
    def choose(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        return np.where(chosen.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, drawn, rest)


def _pick(values: Sequence[Any], positions: np.ndarray) -> np.ndarray:
    if isinstance(values, range):
        return values.start + positions.astype(np.int64)
    return np.asarray(values)[positions]


def _table(
    grid: Grid,
    parts: list[_Part],
    seconds: float | None = None,
) -> Table:
    config = FitConfig(steps=grid.steps, evaluations=grid.evaluations)
    columns: dict[str, list[np.ndarray]] = {}
    curves: dict[str, list[np.ndarray]] = {}
    axes: dict[str, None] = {}
    for program, done in sorted(parts, key=lambda part: part[0].position):
        numbers = np.concatenate([np.arange(tile.start, tile.stop) for tile, _ in done])
        result = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[r for _, r in done])
        found = _axis_columns(grid, program, numbers)
        axes.update(dict.fromkeys(found))
        for name, column in (found | _metric_columns(result)).items():
            columns.setdefault(name, []).append(column)
        for name in CURVES:
            curves.setdefault(name, []).append(result[f"curve_{name}"])
    return Table(
        columns={name: np.concatenate(found) for name, found in columns.items()},
        axes=tuple(axes),
        curves={name: np.concatenate(found) for name, found in curves.items()},
        curve_steps=np.asarray(config.evaluation_steps()),
        settings=_settings(grid, seconds),
    )


def _axis_columns(
    grid: Grid, program: PlannedProgram, numbers: np.ndarray
) -> dict[str, np.ndarray]:
    found = LaneIndex(grid, program.numbers).columns(numbers)
    thresholds = found.pop("clip_threshold")
    rule = program.code["clip"]
    columns = {axis: np.full(len(numbers), value, None) for axis, value in program.labels.items()}
    clips = [clipping.label(rule, threshold) for threshold in thresholds]
    columns = {k: c.astype(object) if c.dtype.kind == "U" else c for k, c in columns.items()}
    return columns | {"clip": np.array(clips, object)} | found


def _metric_columns(result: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
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
        "calibrated": result["calibrated"],
    }


def _settings(grid: Grid, seconds: float | None) -> dict[str, Any]:
    import flax
    import optax

    import jinit

    return {
        "grid": settings(grid),
        "seconds": seconds,
        "versions": {
            "jinit": jinit.__version__,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            "optax": optax.__version__,
            "numpy": np.__version__,
        },
        "backend": jax.default_backend(),
        "matmul_precision": "highest",
        "x64": bool(jax.config.read("jax_enable_x64")),
    }
