"""Keeps the runs of a sweep in a store on disk, and finds those that it holds already."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from jinit import _database as database
from jinit.engine import FileStore, Store, _identity
from jinit.engine._jobs import PreparedJob, check_store, only
from jinit.engine._store import MemoryStore
from jinit.sweep import _identified, _marks, _rows, _stored_batches
from jinit.sweep._grid import Grid
from jinit.sweep._lanes import LaneIndex, NetworkLanes
from jinit.sweep._plan import Plan, PlannedProgram
from jinit.sweep._tiles import Found, InMemory, Tiles
from jinit.typing import PyTree

ENVIRONMENT = database.ENVIRONMENT
Target: TypeAlias = Store | FileStore


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


@dataclass
class _Known:
    """What the store knows of one program.

    Attributes:
      task: the whole job.
      program: the program.
      digest: its identity, without lanes.
      identities: of all lanes, in lane order.
      missing: numbers of the lanes that are to run.
      found: the runs of the store, whose places are lane numbers.
      writer: makes rows; None before the first tile.
    """

    task: PreparedJob
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
        self._writer, before = _stored_batches.opened(store)
        ended = [] if before is None else database.end_sweep(before, "complete")
        self._failed = False
        try:
            with self._writer.transaction() as connection:
                for statement, rows in ended:
                    connection.executemany(statement, rows)
                self._sweep = database.begin_sweep(
                    connection,
                    planned=planned.runs,
                    command=command(),
                    grid=json.dumps(settings["grid"]),
                    settings=json.dumps({**settings, **_marks.marks()}),
                    machine=self._machine,
                )
                self._next = database.next_run(connection)
        except BaseException:
            self._writer.close(ended)
            raise

    @property
    def store(self) -> Store:
        """This store: it has the engine's methods."""
        return self

    def narrowed(self, task: PreparedJob) -> tuple[PreparedJob, Found | None]:
        """The part of a job that the store lacks, and what it holds."""
        program = self._programs[task.name]
        assert isinstance(task.source, NetworkLanes)
        mine = _identity.digest(self._environment)
        digest = _identified.digest(task, program, self._settings, mine)
        identities = _identified.identities(digest, task.source, program.runs)
        known = _Known(task, program, digest, identities, np.arange(program.runs), [])
        self._known[task.name] = known
        with self._writer.transaction() as connection:
            layout = database.layout_of(connection, digest)
            if layout is not None:
                stored = database.find(connection, layout, identities)
                known.missing = np.setdiff1d(known.missing, stored.places)
                known.found.append(self._piece(program, stored, stored.places))
            notes = self._in_other_environments(connection, known) if len(known.missing) else []
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
        reasons = _identified.reasons(known.program, piece.columns)
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
        """Writes what is left and closes the file, but for that of a batch that is not the last.

        Raises:
          StoreError: something could not be written.
        """
        _stored_batches.closed(self._options, self._writer, self._sweep, state)

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
                {"environment": environment,
                 "label": _identified.label(known.program, self._settings),
                 "name": known.program.name[:2000], "tile": known.program.tile,
                 "layout": layout.text()},
            )  # fmt: skip
        return database.RunRows(layout, sweep=self._sweep, program=number, machine=self._machine)

    def _in_other_environments(self, connection: database.Connection, known: _Known) -> list[str]:
        """Looks for the missing runs among those of other environments and other code.

        Returns:
          A note for each program whose runs are not used, or whose code cannot be compared.
        """
        program, notes = known.program, list[str]()
        index = LaneIndex(self._grid, program.numbers, program.tile)
        for other in database.programs_of(connection, _identified.label(program, self._settings)):
            runs = self._runs_there(connection, known, other, index)
            if not runs:
                continue
            here, there = self._environment, other.environment
            words = database.difference(here, there)
            same = self._of_same_code(known, other, runs) if words else {}
            lowered = [name for name in {*here, *there} if name not in _identity.AFTER_LOWERING]
            comparable = all(here.get(name) == there.get(name) for name in lowered)
            # Code of other versions of JAX is written otherwise, so that only equality says much.
            taken = same or ({} if comparable else runs)
            if not words or not taken:
                also = f", and from {words}" if words else ""
                notes.append(
                    f"{self._options.path} has {len(runs)} of the missing runs, but from other "
                    f"code of the model, its training or its draws{also}; they are not used"
                )
            elif not self._options.accept_environment:
                notes.append(
                    f"{self._options.path} has {len(taken)} of the missing runs, but from {words}; "
                    "they are not used, unless --accept-environment asks for them"
                )
            else:
                mark = words if same else f"{words}; its code cannot be compared"
                if not same:
                    notes.append(
                        f"{len(taken)} runs from {words} are used; their code may have changed"
                    )
                stored = database.by_number(connection, other.layout, list(taken))
                lanes = np.array([lane for lane, _ in taken.values()])
                piece = self._piece(program, stored, lanes, mark)
                known.found.append(piece)
                known.missing = np.setdiff1d(known.missing, piece.numbers)
        return notes

    def _piece(
        self, program: PlannedProgram, stored: database.Stored, lanes: np.ndarray, source: str = ""
    ) -> _rows.Piece:
        """Runs that were found, with the values of the axes that this sweep asks for.

        A number of the same run may have been given with more digits then: a run knows float32.
        """
        index = LaneIndex(self._grid, program.numbers, program.tile)
        columns = {**stored.columns, **_rows.axis_columns(index, program, lanes)}
        return _rows.Piece(program, lanes, columns, stored.layout.axes, stored.curves, source)

    def _runs_there(
        self,
        connection: database.Connection,
        known: _Known,
        other: database.StoredProgram,
        index: LaneIndex,
    ) -> dict[int, tuple[int, bytes]]:
        """Number of a run of another program → the missing lane with its axes, its identity."""
        axes = _rows.axis_columns(index, known.program, known.missing)
        if not set(axes) <= set(other.layout.names):
            return {}
        columns = [database.python_values(column) for column in axes.values()]
        lanes = dict(zip(zip(*columns, strict=True), known.missing.tolist(), strict=True))
        found = database.axis_values(connection, other.number, tuple(axes))
        return {run: (lanes[cell], identity) for run, identity, cell in found if cell in lanes}

    def _of_same_code(
        self, known: _Known, other: database.StoredProgram, runs: Mapping[int, tuple[int, bytes]]
    ) -> dict[int, tuple[int, bytes]]:
        """The runs whose identity is the one that this code would give them there."""
        there = _identified.digest(
            known.task, known.program, self._settings, other.environment_digest
        )
        if there != other.digest:
            return {}
        assert isinstance(known.task.source, NetworkLanes)
        mine = _identified.identities(there, known.task.source, known.program.runs)
        return {run: (lane, theirs) for run, (lane, theirs) in runs.items() if theirs == mine[lane]}


def command() -> str:
    """The command that goes on with this sweep; the name of the script outside the command line."""
    name = Path(sys.argv[0] or "python").name
    if name in ("jinit", "__main__.py", "-c", "-m"):
        return shlex.join(["jinit", *sys.argv[1:]])
    return f"python {shlex.quote(name)}"
