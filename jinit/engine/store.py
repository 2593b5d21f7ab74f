"""Where finished tiles go. In memory for now; a durable store takes the same two calls."""

from __future__ import annotations

from typing import Protocol

from jinit.typing import PyTree


class Store(Protocol):
    """Finished tiles of one set of jobs, by job name and tile number.

    ``get`` returns None for a tile that is not there. Both are called from one thread.
    """

    def get(self, job: str, tile: int) -> PyTree | None: ...

    def put(self, job: str, tile: int, result: PyTree) -> None: ...


class MemoryStore:
    """A :class:`Store` in a dictionary; pass the same one again to go on after an interruption.

    >>> store = MemoryStore()
    >>> store.put("job", 0, {"loss": 1.0})
    >>> store.get("job", 0), store.get("job", 1)
    ({'loss': 1.0}, None)
    """

    def __init__(self) -> None:
        self._tiles: dict[tuple[str, int], PyTree] = {}

    def get(self, job: str, tile: int) -> PyTree | None:
        """The tile's result, or None."""
        return self._tiles.get((job, tile))

    def put(self, job: str, tile: int, result: PyTree) -> None:
        """Keeps a finished tile's result."""
        self._tiles[job, tile] = result
