"""Keeps finished tiles: the protocol of a store, a store in memory, and the arrays of one run."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Protocol

import jax
import numpy as np

from jinit import errors
from jinit.typing import PyTree


class Store(Protocol):
    """Keeps the finished tiles of a set of jobs, by job name and tile number.

    The engine calls all methods from one thread, ``claim`` first, once per job.

    >>> store: Store = MemoryStore()
    >>> store.put("job", 0, 1.0)
    >>> store.get("job", 0)
    1.0
    """

    def claim(self, job: str, identity: Hashable) -> None:
        """Raises ValueError if the kept tiles of this name have another identity."""
        ...

    def get(self, job: str, tile: int) -> PyTree | None:
        """The result of a tile, NumPy leaves ``(lanes, …)``; None if the store does not hold it."""
        ...

    def put(self, job: str, tile: int, result: PyTree) -> None:
        """Keeps the result of a finished tile."""
        ...


class MemoryStore:
    """A :class:`Store` in a dictionary; pass it again to continue after an interruption.

    >>> store = MemoryStore()
    >>> store.put("job", 0, {"loss": 1.0})
    >>> store.get("job", 0), store.get("job", 1)
    ({'loss': 1.0}, None)
    """

    def __init__(self) -> None:
        self._tiles: dict[tuple[str, int], PyTree] = {}
        self._identities: dict[str, Hashable] = {}

    def claim(self, job: str, identity: Hashable) -> None:
        """Checks that the kept tiles of this name came from the same job.

        Args:
          job: the name of the job.
          identity: the job's function, tile width, and digests of its lanes and shared arguments.

        Raises:
          ValueError: the kept tiles of that name came from another job.
        """
        if self._identities.setdefault(job, identity) != identity:
            raise errors.refusal(
                f"store of job {job!r}",
                "another function, other lanes, other arguments or another tile width",
                "the job that the store's finished tiles came from",
                "give the job another name, or use a fresh MemoryStore()",
            )

    def get(self, job: str, tile: int) -> PyTree | None:
        """The result of a tile, or None."""
        return self._tiles.get((job, tile))

    def put(self, job: str, tile: int, result: PyTree) -> None:
        """Keeps the result of a finished tile."""
        self._tiles[job, tile] = jax.tree.map(_owned, result)


def _owned(leaf: object) -> object:
    """The leaf itself, or a copy of a view.

    A view of a buffer of JAX keeps that buffer, which takes kilobytes beside a small array.
    """
    if isinstance(leaf, np.ndarray) and not leaf.flags.owndata:
        return leaf.copy()
    return leaf


class Gathered:
    """The :class:`Store` of one run: copies every finished tile into arrays of all lanes.

    A tile's memory is then free for the next tile, and nothing is concatenated at the end.

    Args:
      sizes: job name → number of lanes and tile width.

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
        """Accepts every job: this store starts empty."""

    def get(self, job: str, tile: int) -> PyTree | None:
        """The result of a tile, a view; None before the tile is finished."""
        if (job, tile) not in self._done:
            return None
        width = self._sizes[job][1]
        return jax.tree.map(lambda leaf: leaf[tile * width :][:width], self._whole[job])

    def put(self, job: str, tile: int, result: PyTree) -> None:
        """Copies a finished tile into the arrays of all lanes."""
        lanes, width = self._sizes[job]
        if job not in self._whole:
            self._whole[job] = jax.tree.map(
                lambda leaf: np.empty((lanes, *leaf.shape[1:]), leaf.dtype), result
            )

        def copy(lanes_of_job: np.ndarray, lanes_of_tile: np.ndarray) -> None:
            lanes_of_job[tile * width :][:width] = lanes_of_tile

        jax.tree.map(copy, self._whole[job], result)
        self._done.add((job, tile))

    def whole(self, job: str) -> PyTree:
        """The result of a job, NumPy leaves ``(lanes, …)``, once all its tiles are finished."""
        return self._whole[job]
