"""Runs any pure function over many lanes: ``run`` for one function, ``run_many`` for several."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.engine import _executors
from jinit.engine import _tiles as tiles
from jinit.engine._cost import carried_bytes
from jinit.engine._program import Program, cached
from jinit.engine._schedule import Event, run_tasks
from jinit.engine._store import Gathered, Store
from jinit.engine._tiles import Tile
from jinit.typing import PyTree

HANG_AFTER = 900.0


@runtime_checkable
class LaneSource(Protocol):
    """Lanes made tile by tile instead of held in memory all at once.

    Attributes:
      count: how many lanes there are.
      lane: one lane's ``jax.ShapeDtypeStruct`` tree.
    """

    count: int
    lane: PyTree

    def programs(self, width: int) -> Sequence[Program]:
        """Programs that ``take`` calls at this width, to be compiled ahead."""
        ...

    def take(self, numbers: np.ndarray, device: Any) -> PyTree:
        """The lanes with these numbers, leaves ``(len(numbers), …)``."""
        ...


@dataclass(frozen=True)
class Job:
    """One pure function over many lanes.

    Attributes:
      fn: ``fn(lane, *shared) -> result``, pure and traceable.
      lanes: a pytree with a leading lane axis, or a :class:`LaneSource`.
      shared: arguments common to all lanes.
      name: unique among the jobs of one run; progress, errors and the store use it.
      tile: lanes per call; None lets :func:`jinit.engine._tiles.tile_width` decide.
    """

    fn: Callable[..., PyTree]
    lanes: PyTree | LaneSource
    shared: tuple[PyTree, ...] = ()
    name: str = "job"
    tile: int | None = None


def run(
    fn: Callable[..., PyTree],
    lanes: PyTree,
    *shared: PyTree,
    tile: int | None = None,
    workers: int | None = None,
    progress: Callable[[Event], None] | None = None,
    store: Store | None = None,
    hang_after: float = HANG_AFTER,
) -> PyTree:
    """Runs ``fn(lane, *shared)`` for every lane, in tiles, on all cores.

    Args:
      fn: any pure function of one lane.
      lanes: a pytree of arrays with a common leading lane axis.
      *shared: arguments common to all lanes.
      tile: lanes per call, ≥ 2; default from the bytes a lane carries and the platform.
      workers: threads (CPU) or devices; default all.
      progress: called after each compile and tile with an :class:`Event`.
      store: keeps finished tiles; pass the same one, with the same function object and lanes, to
        go on after an interruption.
      hang_after: seconds without progress before :class:`jinit.errors.HangError`.

    Returns:
      A NumPy pytree with the same lane axis. A lane's result is bitwise the same at any position,
      with any neighbours and any number of workers.

    Raises:
      ValueError: no lanes, lanes without a common axis, a bad tile, a store that holds another
        job of that name.
      HangError: no progress; it says which program and tile.

    >>> run(lambda x, y: x * y, np.arange(5.0, dtype=np.float32), np.float32(2))
    array([0., 2., 4., 6., 8.], dtype=float32)
    """
    job = Job(fn, lanes, shared, getattr(fn, "__name__", "job"), tile)
    return run_many([job], workers=workers, progress=progress, store=store, hang_after=hang_after)[
        0
    ]


def run_many(
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    progress: Callable[[Event], None] | None = None,
    store: Store | None = None,
    hang_after: float = HANG_AFTER,
) -> list[PyTree]:
    """Runs several jobs; each program compiles in the background while others run.

    Args:
      jobs: most urgent first.
      workers, progress, store, hang_after: as :func:`run`.

    Returns:
      One result per job, in order.

    Raises:
      ValueError: two jobs of one name, or as :func:`run`.
      HangError: as :func:`run`.

    >>> double = Job(lambda x: 2 * x, np.arange(3), name="double")
    >>> square = Job(lambda x: x * x, np.arange(3), name="square")
    >>> [result.tolist() for result in run_many([double, square])]
    [[0, 2, 4], [0, 1, 4]]
    """
    names = [job.name for job in jobs]
    if len(set(names)) != len(names):
        raise errors.refusal("job names", names, "each name once", "give every job its own name")
    errors.check_number("hang_after", hang_after, low=0.0, open_low=True, fix="seconds, e.g. 900")
    machine = _executors.local(workers)
    tasks = [prepare(job, machine) for job in jobs]
    gathered = Gathered({task.name: (task.source.count, task.width) for task in tasks})
    if store is not None:
        for job, task in zip(jobs, tasks, strict=True):
            store.claim(job.name, (job.fn, task.width, *map(_digest, (job.lanes, job.shared))))
    run_tasks(
        tasks,
        gathered if store is None else store,
        devices=machine.devices,
        compiler=machine.compiler,
        hang_after=hang_after,
        progress=progress,
    )
    if store is None:
        return [gathered.whole(task.name) for task in tasks]
    return [collect(task, store) for task in tasks]


@dataclass(frozen=True)
class PreparedJob:
    """A job cut into tiles, with its programs made but not yet compiled.

    Attributes:
      name: the job's.
      programs: what has to be compiled before the first tile; the job's own, which takes longest,
        comes first.
      tiles: the tiles.
      source: where lanes come from.
      shared: the arguments common to all lanes, by device.
    """

    name: str
    programs: tuple[Program, ...]
    tiles: tuple[Tile, ...]
    source: LaneSource
    shared: dict[Any, tuple[PyTree, ...]]

    @property
    def width(self) -> int:
        """Lanes per call."""
        return self.programs[0].width

    def run_tile(self, tile: Tile, device: Any) -> PyTree:
        """Makes the tile's lanes, runs the program, drops the padding."""
        lanes = self.source.take(tiles.padded(tile, self.width), device)
        result = self.programs[0](lanes, self.shared[device], device)
        real = tile.stop - tile.start
        # The last tile is copied: a view of its real lanes would keep the padding alive.
        return result if real == self.width else jax.tree.map(lambda x: x[:real].copy(), result)


def prepare(job: Job, machine: _executors.Workers) -> PreparedJob:
    """Decides the tile width and makes the programs; compiles nothing.

    >>> prepare(Job(lambda x: x, np.arange(5)), _executors.local()).width
    16
    """
    source = job.lanes if isinstance(job.lanes, LaneSource) else _ArrayLanes(job.lanes)
    shared = jax.tree.map(_shape, job.shared)
    if job.tile is not None:
        width = tiles.check_tile(job.tile)
    else:
        width = tiles.tile_width(
            carried_bytes(job.fn, source.lane, shared),
            machine.platform,
            count=source.count,
            memory_bytes=machine.memory_bytes,
        )
    main = cached(job.fn, source.lane, shared, width=width, name=job.name)
    return PreparedJob(
        name=job.name,
        programs=(main, *source.programs(width)),
        tiles=tuple(tiles.cut(source.count, width)),
        source=source,
        shared={device: jax.device_put(job.shared, device) for device in set(machine.devices)},
    )


def collect(task: PreparedJob, store: Store) -> PyTree:
    """The finished tiles of a job put end to end, NumPy leaves ``(lanes, …)``.

    Tiles that the store does not hold are left out; None if it holds none.

    >>> from jinit.engine import MemoryStore
    >>> task, store = prepare(Job(abs, np.arange(5)), _executors.local(1)), MemoryStore()
    >>> collect(task, store) is None
    True
    """
    found = [store.get(task.name, tile.index) for tile in task.tiles]
    done = [result for result in found if result is not None]
    if not done:
        return None
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *done)


def _digest(tree: PyTree) -> Any:
    """What tells one set of arrays from another; other lane sources by themselves."""
    if isinstance(tree, LaneSource):
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(_host, tree))
    parts = [f"{leaf.shape}{leaf.dtype}".encode() + leaf.tobytes() for leaf in leaves]
    return structure, hashlib.blake2b(b"".join(parts)).hexdigest()


def _host(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array; PRNG keys as the words they are made of."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


class _ArrayLanes:
    """Lanes that are arrays in memory."""

    def __init__(self, lanes: PyTree) -> None:
        self.count = tiles.lane_count(lanes)
        self.lane = jax.tree.map(
            lambda leaf: _shape(leaf[0] if _is_key(leaf) else np.asarray(leaf)[0]), lanes
        )
        self._lanes = jax.tree.map(_host, lanes)
        self._impls = jax.tree.map(
            lambda leaf: str(jax.random.key_impl(leaf)) if _is_key(leaf) else "", lanes
        )

    def programs(self, width: int) -> Sequence[Program]:
        return ()

    def take(self, numbers: np.ndarray, device: Any) -> PyTree:
        def chosen(leaf: np.ndarray, one: jax.ShapeDtypeStruct, impl: Any) -> Any:
            if impl:
                return jax.random.wrap_key_data(leaf[numbers], impl=impl)
            return leaf[numbers].astype(one.dtype, copy=False)

        return jax.tree.map(chosen, self._lanes, self.lane, self._impls)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    array = np.asarray(leaf)
    return jax.ShapeDtypeStruct(array.shape, jax.dtypes.canonicalize_dtype(array.dtype))
