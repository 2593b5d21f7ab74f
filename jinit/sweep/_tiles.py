"""Says how a sweep keeps its finished tiles, and keeps them in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from jinit.engine import Store
from jinit.engine._jobs import PreparedJob
from jinit.sweep import _rows
from jinit.sweep._grid import CODE_AXES, NUMBER_AXES, Grid
from jinit.sweep._plan import PlannedProgram
from jinit.typing import PyTree


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
