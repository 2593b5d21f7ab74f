"""Where finished tiles go. In memory for now; a durable store takes the same three calls."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from jinit import errors
from jinit.typing import PyTree


class Store(Protocol):
    """Finished tiles of one set of jobs, by job name and tile number.

    ``claim`` is called once per job before anything else and refuses a job whose name already
    stands for another one; ``get`` returns None for a tile that is not there. All are called from
    one thread.
    """

    def claim(self, job: str, identity: Hashable) -> None: ...

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
        self._identities: dict[str, Hashable] = {}

    def claim(self, job: str, identity: Hashable) -> None:
        """Refuses a function, lanes or tile width other than those the kept tiles came from.

        Raises:
          ValueError: the name is another job's.
        """
        if self._identities.setdefault(job, identity) != identity:
            raise errors.refusal(
                f"store of job {job!r}",
                "another function, other lanes, other arguments or another tile width",
                "what its finished tiles came from",
                "give the job another name, or use a fresh MemoryStore()",
            )

    def get(self, job: str, tile: int) -> PyTree | None:
        """The tile's result, or None."""
        return self._tiles.get((job, tile))

    def put(self, job: str, tile: int, result: PyTree) -> None:
        """Keeps a finished tile's result."""
        self._tiles[job, tile] = result
