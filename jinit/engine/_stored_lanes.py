"""Keeps the results of one function's lanes in a store on disk."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _database as database
from jinit import errors
from jinit.engine import _identity
from jinit.engine._durable import FileStore
from jinit.engine._jobs import PreparedJob, only
from jinit.engine._store import MemoryStore
from jinit.typing import PyTree


class StoredLanes(MemoryStore):
    """The store of one job: in memory for the result, and on disk."""

    def __init__(self, store: FileStore) -> None:
        """Opens the file.

        Raises:
          ValueError: a file that is no store, another writer, an option for sweeps.
        """
        super().__init__()
        if store.accept_environment:
            raise errors.refusal(
                "accept_environment", True, "False: lanes have no column to mark", "leave it out"
            )
        self._writer = database.Writer(store.path, store.mirror)
        self._failed = False

    def narrowed(self, task: PreparedJob) -> PreparedJob:
        """The part of the job that the store lacks."""
        try:
            return self._narrowed(task)
        except BaseException:
            self._writer.close()
            raise

    def _narrowed(self, task: PreparedJob) -> PreparedJob:
        environment = _identity.describe()
        shared = next(iter(task.shared.values()))
        parts = [
            task.programs[0].fingerprint(),
            task.width,
            _digest(shared),
            _identity.digest(environment).hex(),
        ]
        digest = hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
        self._task, self._results = task, task.programs[0].results
        self._hashes = _identities(digest, task)
        leaves = jax.tree_util.tree_leaves_with_path(self._results)
        layout = [[jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape[1:])]
                  for path, leaf in leaves]  # fmt: skip
        size = sum(math.prod(leaf.shape[1:]) * leaf.dtype.itemsize for _, leaf in leaves)
        with self._writer.transaction() as connection:
            number = database.registered(
                connection, "environments", _identity.digest(environment),
                {"settings": json.dumps(environment)},
            )  # fmt: skip
            self._job = database.registered(
                connection, "jobs", digest,
                {"environment": number, "name": task.name[:2000], "tile": task.width,
                 "layout": json.dumps(layout)},
            )  # fmt: skip
            self._known = database.find_results(connection, self._hashes, size)
        missing = [lane for lane, one in enumerate(self._hashes) if one not in self._known]
        self._missing = np.array(missing, np.int64)
        return only(task, self._missing)

    def put(self, job: str, tile: int, result: PyTree) -> None:
        """Keeps a tile in memory and hands its lanes to the writer of the file."""
        super().put(job, tile, result)
        if self._failed:
            return
        leaves = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(result)]
        lanes = self._lanes(tile)[: len(leaves[0])] if leaves else self._lanes(tile)
        rows = [
            (self._hashes[lane], b"".join(leaf[place].tobytes() for leaf in leaves))
            for place, lane in enumerate(lanes.tolist())
        ]
        try:
            self._writer.put(database.result_rows(self._job, rows))
        except OSError:
            self._failed = True
            raise

    def whole(self) -> PyTree:
        """The results of all lanes, NumPy leaves ``(lanes, …)``."""
        shapes, tree = jax.tree.flatten(self._results)
        count = len(self._hashes)
        arrays = [np.empty((count, *leaf.shape[1:]), leaf.dtype) for leaf in shapes]
        for lane, identity in enumerate(self._hashes):
            if identity in self._known:
                _unpack(self._known[identity], arrays, lane)
        width = self._task.width
        for tile in range(-(-len(self._missing) // width)):
            lanes = self._lanes(tile)
            result = jax.tree.leaves(self.get(self._task.name, tile))
            for array, leaf in zip(arrays, result, strict=True):
                array[lanes] = leaf
        return jax.tree.unflatten(tree, arrays)

    def stop(self, error: BaseException) -> None:
        """Closes the file after an error, which is raised in any case."""
        try:
            self._writer.close()
        except OSError as other:
            if other is not error:
                error.add_note(str(other))

    def close(self) -> None:
        """Writes what is left and closes the file.

        Raises:
          StoreError: something could not be written.
        """
        self._writer.close()

    def _lanes(self, tile: int) -> np.ndarray:
        """The numbers of the lanes of a tile."""
        return self._missing[tile * self._task.width :][: self._task.width]


def _unpack(data: bytes, arrays: Sequence[np.ndarray], lane: int) -> None:
    """Copies the bytes of a lane into the arrays of all lanes."""
    start = 0
    for array in arrays:
        shape = array.shape[1:]
        size = math.prod(shape) * array.dtype.itemsize
        array[lane] = np.frombuffer(data[start : start + size], array.dtype).reshape(shape)
        start += size


def _digest(tree: PyTree) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(tree):
        array = _host(leaf)
        digest.update(f"{array.shape}{array.dtype}".encode() + array.tobytes())
    return digest.hexdigest()


def _identities(digest: bytes, task: PreparedJob) -> list[bytes]:
    """16 bytes for every lane, from the code and what the lane holds."""
    identities = []
    for tile in task.tiles:
        taken = task.source.take(np.arange(tile.start, tile.stop), None)
        leaves = [_host(leaf) for leaf in jax.tree.leaves(taken)]
        for place in range(tile.stop - tile.start):
            one = hashlib.blake2b(digest, digest_size=16)
            for leaf in leaves:
                one.update(np.ascontiguousarray(leaf[place]).tobytes())
            identities.append(one.digest())
    return identities


def _host(leaf: np.ndarray | jax.Array) -> np.ndarray:
    """A leaf as a NumPy array; PRNG keys as their words."""
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.ascontiguousarray(jax.random.key_data(leaf) if is_key else leaf)
