"""Keeps the runs of a sweep in a store on disk, and finds those that it holds already."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from jinit import _database as database
from jinit.engine import FileStore, Store, _identity
from jinit.engine._jobs import PreparedJob, check_store, only
from jinit.engine._store import MemoryStore
from jinit.sweep import _rows
from jinit.sweep._grid import CODE_AXES, NUMBER_AXES, Grid
from jinit.sweep._lanes import LaneIndex, NetworkLanes
from jinit.sweep._plan import Plan, PlannedProgram
from jinit.typing import PyTree

ENVIRONMENT = "environment"
Target: TypeAlias = Store | FileStore


@dataclass(frozen=True)
class Found:
    """What a store holds of a program.

    Attributes:
      runs: number of runs.
      failed: number of these that diverged.
      note: which runs of another environment or code it holds besides.
    """

    runs: int
    failed: int
    note: str


class Tiles(Protocol):
    """Where a sweep keeps its finished tiles."""

    @property
    def store(self) -> Store:
        """The store for the engine."""
        ...

    def narrowed(self, task: PreparedJob) -> tuple[PreparedJob, Found | None]:
        """The part of a job that has to run, and what a file holds of it."""
        ...

    def pieces(self, programs: Sequence[PlannedProgram]) -> list[_rows.Piece]:
        """The runs of these programs that are finished."""
        ...

    def close(self, state: str) -> None:
        """Ends the sweep: "complete" or "stopped"."""
        ...


def target(store: Store | FileStore | str | Path | None) -> Target:
    """The store that the user means; a path means a file.

    Raises:
      ValueError: a path that cannot be a store. TypeError: no store.
    """
    if store is None:
        return MemoryStore()
    if isinstance(store, str | Path):
        return FileStore(store)
    if not isinstance(store, FileStore):
        check_store(store)
    return store


def opened(store: Target, grid: Grid, planned: Plan, settings: Mapping[str, Any]) -> Tiles:
    """Opens a store for a sweep.

    Args:
      store: as :func:`target` returns it.
      grid, planned, settings: the sweep.
    """
    if isinstance(store, FileStore):
        return StoredSweep(store, grid, planned, settings)
    return InMemory(store, grid)


class InMemory:
    """A store of whole tiles, such as :class:`jinit.engine.MemoryStore`."""

    def __init__(self, store: Store, grid: Grid) -> None:
        self.store: Store = _OfGrid(store, grid)
        self._grid = grid

    def narrowed(self, task: PreparedJob) -> tuple[PreparedJob, Found | None]:
        """The whole job: the engine itself asks the store for tiles."""
        return task, None

    def pieces(self, programs: Sequence[PlannedProgram]) -> list[_rows.Piece]:
        """The runs of these programs that are finished."""
        return _rows.finished(self.store, self._grid, programs)

    def close(self, state: str) -> None:
        """Nothing is open."""


class _OfGrid:
    """The part of a store for the arms and seeds of one grid, so that batches may share a store."""

    def __init__(self, store: Store, grid: Grid) -> None:
        self._store = store
        axes = [grid.labels(axis) for axis in (*CODE_AXES, *NUMBER_AXES, "clip")]
        runs = repr((axes, grid.seed_values, grid.data_seed_values))
        self._runs = hashlib.blake2b(runs.encode(), digest_size=8).hexdigest()

    def claim(self, job: str, identity: Hashable) -> None:
        self._store.claim(self._name(job), identity)

    def get(self, job: str, tile: int) -> PyTree | None:
        return self._store.get(self._name(job), tile)

    def put(self, job: str, tile: int, result: PyTree) -> None:
        self._store.put(self._name(job), tile, result)

    def _name(self, job: str) -> str:
        return f"{job}, runs {self._runs}"


@dataclass
class _Known:
    """What the store knows of one program.

    Attributes:
      program: the program.
      digest: its identity, without lanes.
      identities: of all lanes, in lane order.
      missing: numbers of the lanes that are to run.
      found: the runs of the store, whose places are lane numbers.
      foreign: runs of another environment that were accepted, with a name for each.
      writer: makes rows; None before the first tile.
    """

    program: PlannedProgram
    digest: bytes
    identities: list[bytes]
    missing: np.ndarray
    found: list[_rows.Piece]
    writer: database.RunRows | None = None


class StoredSweep(MemoryStore):
    """The store of one sweep: in memory for its table, and on disk."""

    def __init__(
        self,
        store: FileStore,
        grid: Grid,
        planned: Plan,
        settings: Mapping[str, Any],
    ) -> None:
        """Opens the file and enters the sweep; see :func:`opened`.

        Raises:
          ValueError: a file that is no store, another writer.
          StoreError: the file cannot be written.
        """
        super().__init__()
        self._options, self._grid, self._settings = store, grid, settings
        self._programs = {program.name: program for program in planned.programs}
        self._known: dict[str, _Known] = {}
        self._environment = _identity.describe()
        self._machine = platform.node()[:32]
        self._writer = database.Writer(store.path, store.mirror)
        self._failed = False
        try:
            with self._writer.transaction() as connection:
                self._sweep = database.begin_sweep(
                    connection,
                    planned=planned.runs,
                    command=command(),
                    grid=json.dumps(settings["grid"]),
                    settings=json.dumps(settings),
                    machine=self._machine,
                )
                self._next = database.next_run(connection)
        except BaseException:
            self._writer.close()
            raise

    @property
    def store(self) -> Store:
        """This store: it has the engine's methods."""
        return self

    def narrowed(self, task: PreparedJob) -> tuple[PreparedJob, Found | None]:
        """The part of a job that the store lacks, and what it holds."""
        program = self._programs[task.name]
        assert isinstance(task.source, NetworkLanes)
        digest = self._digest(task, program)
        identities = _identities(digest, task.source, program.runs)
        known = _Known(program, digest, identities, np.arange(program.runs), [])
        self._known[task.name] = known
        with self._writer.transaction() as connection:
            layout = database.layout_of(connection, digest)
            if layout is not None:
                stored = database.find(connection, layout, identities)
                known.missing = np.setdiff1d(known.missing, stored.places)
                known.found.append(_piece(program, stored))
            notes = self._look_abroad(connection, known) if len(known.missing) else []
        failed = sum(int(piece.columns["diverged"].sum()) for piece in known.found)
        found = Found(program.runs - len(known.missing), failed, "; ".join(notes))
        return only(task, known.missing), found

    def put(self, job: str, tile: int, result: PyTree) -> None:
        """Keeps a tile in memory and hands its runs to the writer of the file."""
        super().put(job, tile, result)
        if self._failed:
            return  # the table has the tile; the file cannot be written any more
        known = self._known[job]
        numbers = known.missing[tile * known.program.tile :][: len(result["status"])]
        piece = _rows.piece(self._grid, known.program, numbers, result)
        if known.writer is None:
            known.writer = self._enter(known, piece)
        identities = [known.identities[number] for number in numbers]
        reasons = _reasons(known.program, piece.columns)
        rows = known.writer.rows(self._next, identities, piece.columns, piece.curves, reasons)
        self._next += len(numbers)
        try:
            self._writer.put(rows)
        except OSError:
            self._failed = True
            raise

    def pieces(self, programs: Sequence[PlannedProgram]) -> list[_rows.Piece]:
        """The runs of these programs, those that the store held and those that finished since."""
        pieces = []
        for program in programs:
            known = self._known.get(program.name)
            if known is None:
                continue
            pieces += [piece for piece in known.found if len(piece.numbers)]
            tiles = range(-(-len(known.missing) // program.tile))
            results = [(tile, self.get(program.name, tile)) for tile in tiles]
            finished = [
                (known.missing[tile * program.tile :][: program.tile], result)
                for tile, result in results
                if result is not None
            ]
            pieces += _rows.joined(self._grid, program, finished)
        return _rows.marked(pieces, ENVIRONMENT)

    def close(self, state: str) -> None:
        """Writes what is left and closes the file.

        Raises:
          StoreError: something could not be written.
        """
        self._writer.close(database.end_sweep(self._sweep, state))

    def _digest(self, task: PreparedJob, program: PlannedProgram) -> bytes:
        """What decides the numbers of a program's runs besides their lanes."""
        data = self._settings["data"][program.dataset.name]["fingerprint"]
        parts = [
            task.programs[0].fingerprint(), task.width, data,
            _identity.digest(self._environment).hex(),
        ]  # fmt: skip
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()

    def _label(self, program: PlannedProgram) -> bytes:
        """What a program trains, in the words of its settings: equal in every environment."""
        axes = (*CODE_AXES, *NUMBER_AXES, "clip", "seeds", "data_seeds")
        grid = {k: v for k, v in self._settings["grid"].items() if k not in axes}
        named = {key: self._settings[key] for key in ("model", "layers", "rules")}
        data = self._settings["data"][program.dataset.name]
        parts = [grid, named, data, {**program.labels, "clip": program.code["clip"]}]
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    def _enter(self, known: _Known, piece: _rows.Piece) -> database.RunRows:
        """Writes a program and its columns into the file, before its first runs."""
        steps = known.program.network.config.evaluation_steps()
        layout = database.Layout.of(piece.columns, piece.axes, tuple(piece.curves), steps)
        with self._writer.transaction() as connection:
            database.add_columns(connection, layout)
            environment = database.registered(
                connection, "environments", _identity.digest(self._environment),
                {"settings": json.dumps(self._environment)},
            )  # fmt: skip
            number = database.registered(
                connection, "programs", known.digest,
                {"environment": environment, "label": self._label(known.program),
                 "name": known.program.name[:2000], "tile": known.program.tile,
                 "layout": layout.text()},
            )  # fmt: skip
        return database.RunRows(layout, sweep=self._sweep, program=number, machine=self._machine)

    def _look_abroad(self, connection: database.Connection, known: _Known) -> list[str]:
        """Looks for the missing runs among those of other environments and other code.

        Returns:
          A note for each program whose runs are not used.
        """
        program, notes = known.program, list[str]()
        others = database.of_cells(connection, self._label(program))
        if not others:
            return notes
        index = LaneIndex(self._grid, program.numbers, program.tile)
        axes = _rows.axis_columns(index, program, known.missing)
        columns = [database.python_values(column) for column in axes.values()]
        lanes = dict(zip(zip(*columns, strict=True), known.missing.tolist(), strict=True))
        for other in others:
            if not set(axes) <= set(other.layout.names):
                continue
            runs = database.cells(connection, other.number, tuple(axes))
            common = {run: lanes[cell] for run, cell in runs if cell in lanes}
            if not common:
                continue
            words = _difference(self._environment, other.environment)
            if words and self._options.accept_environment:
                stored = database.by_number(connection, other.layout, list(common))
                piece = _piece(program, stored, np.array([*common.values()]), words)
                known.found.append(piece)
                known.missing = np.setdiff1d(known.missing, piece.numbers)
                lanes = {cell: lane for cell, lane in lanes.items() if lane in known.missing}
                continue
            name = words or "another code of the model, its training or its draws"
            notes.append(
                f"{len(common)} missing runs stand in {self._options.path} from {name}; they are "
                "not used" + (", unless --accept-environment asks for them" if words else "")
            )
        return notes


def command() -> str:
    """The command that goes on with this sweep; the name of the script outside the command line."""
    name = Path(sys.argv[0] or "python").name
    if name in ("jinit", "__main__.py", "-c", "-m"):
        return shlex.join(["jinit", *sys.argv[1:]])
    return f"python {shlex.quote(name)}"


def _identities(digest: bytes, lanes: NetworkLanes, count: int) -> list[bytes]:
    """16 bytes for every lane, from the code and everything that a lane holds."""
    bases = [hashlib.blake2b(digest + draw, digest_size=16) for draw in lanes.draws()]
    pairs, words = lanes.words(np.arange(count))
    found = []
    for pair, row in zip(pairs.tolist(), np.ascontiguousarray(words, "<u4"), strict=True):
        one = bases[pair].copy()
        one.update(row.tobytes())
        found.append(one.digest())
    return found


def _piece(
    program: PlannedProgram,
    stored: database.Stored,
    lanes: np.ndarray | None = None,
    source: str = "",
) -> _rows.Piece:
    numbers = stored.places if lanes is None else lanes
    return _rows.Piece(program, numbers, stored.columns, stored.layout.axes, stored.curves, source)


def _difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """How another environment differs from this one, in words; "" if it does not."""
    return ", ".join(
        f"{name} {_shown(name, theirs.get(name), mine.get(name))}"
        for name in sorted({*mine, *theirs})
        if mine.get(name) != theirs.get(name)
    )


def _shown(name: str, theirs: object, mine: object) -> str:
    """Two values of an environment; of the instructions those that only one of them has."""
    if name == "instructions":
        with_theirs, with_mine = set(str(theirs).split()), set(str(mine).split())
        more, less = sorted(with_theirs - with_mine), sorted(with_mine - with_theirs)
        return f"with {' '.join(more) or 'none'} and without {' '.join(less) or 'none'} of here"
    return f"{theirs!s} (here {mine!s})"[:200]


def _reasons(program: PlannedProgram, columns: Mapping[str, np.ndarray]) -> list[dict[str, str]]:
    """For every run, the numbers that it lacks and why."""
    diverged = columns["diverged"].tolist()
    reasons: list[dict[str, str]] = [{} for _ in diverged]
    for name, column in columns.items():
        if column.dtype.kind != "f" or not np.isnan(column).any():
            continue
        for place in np.flatnonzero(np.isnan(column)).tolist():
            reasons[place][name] = _reason(program, name, diverged[place])
    return reasons


def _reason(program: PlannedProgram, name: str, diverged: bool) -> str:
    if name == "clip_fraction" and program.code["clip"] is None:
        return "no clip"
    if "accuracy" in name and program.dataset.task == "regression":
        return "regression"
    return "diverged" if diverged else "not a number"
