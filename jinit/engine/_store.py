"""Where finished tiles go. In memory for now; a durable store takes the same three calls."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Protocol

import jax
import numpy as np

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


class Gathered:
    """The :class:`Store` of one run: every tile is copied into arrays of all lanes as it comes.

    The memory that a tile was made in serves the next one, while others run, and no copy is left to
    be made at the end.

    Args:
      sizes: for each job its number of lanes and its tile width.

    >>> store = Gathered({"job": (3, 2)})
    >>> store.put("job", 1, np.array([5.0]))
    >>> store.put("job", 0, np.array([3.0, 4.0]))
    >>> store.get("job", 1), store.whole("job")
    (array([5.]), array([3., 4., 5.]))
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        self._sizes = sizes
        self._whole: dict[str, PyTree] = {}
        self._done: set[tuple[str, int]] = set()

    def claim(self, job: str, identity: Hashable) -> None:
        """Nothing to refuse: it starts empty."""

    def get(self, job: str, tile: int) -> PyTree | None:
        """The tile's result, a view; None if it has not come."""
        if (job, tile) not in self._done:
            return None
        width = self._sizes[job][1]
        return jax.tree.map(lambda leaf: leaf[tile * width :][:width], self._whole[job])

    def put(self, job: str, tile: int, result: PyTree) -> None:
        """Copies a finished tile to its place."""
        lanes, width = self._sizes[job]
        if job not in self._whole:
            self._whole[job] = jax.tree.map(
                lambda leaf: np.empty((lanes, *leaf.shape[1:]), leaf.dtype), result
            )

        def copy(whole: np.ndarray, part: np.ndarray) -> None:
            whole[tile * width :][:width] = part

        jax.tree.map(copy, self._whole[job], result)
        self._done.add((job, tile))

    def whole(self, job: str) -> PyTree:
        """All lanes of a job whose tiles have all come."""
        return self._whole[job]
