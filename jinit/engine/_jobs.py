"""Runs several pure functions over many lanes: ``run_many``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeGuard, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jinit import errors
from jinit.engine import _executors
from jinit.engine import _tiles as tiles
from jinit.engine._choice import ExecutorLike, check_executor, opened
from jinit.engine._cost import lane_bytes
from jinit.engine._group import current
from jinit.engine._numbers import check_numbers
from jinit.engine._program import Program, cached
from jinit.engine._remote import run_remote
from jinit.engine._schedule import Event, run_tasks
from jinit.engine._spread import Work, run_spread
from jinit.engine._store import Gathered, Store
from jinit.engine._tiles import Tile
from jinit.engine._traceable import refusing
from jinit.typing import PyTree

T = TypeVar("T")

HANG_AFTER = 900.0


@runtime_checkable
class LaneSource(Protocol):
    """Makes lanes tile by tile, so that memory does not grow with the number of lanes.

    Attributes:
      count: number of lanes.
      lane: the ``jax.ShapeDtypeStruct`` tree of one lane, without the lane axis.

    >>> class Squares:
    ...     count, lane = 5, jax.ShapeDtypeStruct((), "int32")
    ...     programs = lambda self, width: ()
    ...     take = lambda self, numbers, device: (numbers**2).astype("int32")
    >>> run_many([Job(lambda x: x + 1, Squares())])[0].tolist()
    [1, 2, 5, 10, 17]
    """

    count: int
    lane: PyTree

    def programs(self, width: int) -> Sequence[Program]:
        """Programs that ``take`` calls for tiles of this width, compiled in advance; usually ()."""
        ...

    def take(self, numbers: np.ndarray, device: jax.Device | None) -> PyTree:
        """The lanes with these numbers, leaves ``(len(numbers), …)``.

        Args:
          numbers: lane numbers, (width,) int64; padding repeats the last one.
          device: where the lanes are used; None is the default device.
        """
        ...


@dataclass(frozen=True)
class Job:
    """One pure function over many lanes.

    Attributes:
      fn: ``fn(lane, *shared) -> result``, pure and traceable.
      lanes: a pytree with a leading lane axis, or a :class:`LaneSource`.
      shared: arguments that all lanes share; default none.
      name: unique among the jobs of one run; progress, errors and the store use it.
      tile: lanes per call, ≥ 2; None derives it from the platform and the bytes of a lane's state.

    >>> Job(lambda x: 2 * x, np.arange(3), name="double").tile is None
    True
    """

    fn: Callable[..., PyTree]
    lanes: PyTree | LaneSource
    shared: tuple[PyTree, ...] = ()
    name: str = "job"
    tile: int | None = None


def run_many(
    jobs: Sequence[Job],
    *,
    workers: _executors.WorkersLike | None = None,
    progress: Callable[[Event], None] | None = None,
    store: Store | None = None,
    executor: ExecutorLike | None = None,
    hang_after: float = HANG_AFTER,
    narrowed: Callable[[PreparedJob], PreparedJob] | None = None,
) -> list[PyTree]:
    """Runs several jobs; programs compile in the background while tiles of other jobs run.

    Args:
      jobs: most urgent first, with different names.
      workers, progress, store, executor, hang_after: as in :func:`jinit.engine.run`.
      narrowed: leaves out lanes whose results are known; default none.

    Returns:
      One result per job, in the order of ``jobs``; nothing in a process that only helps another.

    Raises:
      ValueError: two jobs with the same name, or as in :func:`jinit.engine.run`.
      HangError: as in :func:`jinit.engine.run`.

    >>> double = Job(lambda x: 2 * x, np.arange(3), name="double")
    >>> square = Job(lambda x: x * x, np.arange(3), name="square")
    >>> [result.tolist() for result in run_many([double, square])]
    [[0, 2, 4], [0, 1, 4]]
    """
    names = [job.name for job in jobs]
    if len(set(names)) != len(names):
        raise errors.refusal("job names", names, "each name once", "give every job its own name")
    for job in jobs:
        if not callable(job.fn):
            raise errors.wrong_type("fn", job.fn, "a function of a lane", "lambda lane: …")
    errors.check_number("hang_after", hang_after, low=0.0, open_low=True, fix="seconds, e.g. 900")
    group = current()
    if group is not None and workers is not None:
        raise errors.refusal(
            "workers",
            workers,
            "None where jax.distributed connects processes: tiles go to all their devices",
            "leave workers out",
        )
    check_progress(progress)
    check_store(store)
    check_executor(executor)
    machine = _executors.local(workers)
    tasks = [prepare(job, machine) for job in jobs]
    if narrowed is not None:
        tasks = [narrowed(task) for task in tasks]
        jobs = [replace(job, lanes=task.source) for job, task in zip(jobs, tasks, strict=True)]
    gathered = Gathered({task.name: (task.source.count, task.width) for task in tasks})
    if store is not None:
        for job, task in zip(jobs, tasks, strict=True):
            store.claim(job.name, (job.fn, task.width, *map(_digest, (job.lanes, job.shared))))
    into = gathered if store is None else store
    if group is not None:
        works = [Work(task, job.fn, job.shared) for job, task in zip(jobs, tasks, strict=True)]
        run_spread(works, into, group, only=only, hang_after=hang_after, progress=progress)
    elif executor is None:
        run_tasks(
            tasks,
            into,
            devices=machine.devices,
            compiler=machine.compiler,
            hang_after=hang_after,
            progress=progress,
        )
    else:
        with opened(executor, machine.platform) as workers_elsewhere:
            run_remote(
                [replace(job, tile=task.width) for job, task in zip(jobs, tasks, strict=True)],
                tasks,
                into,
                workers_elsewhere,
                prepare=prepare,
                window=None if workers is None or isinstance(workers, Sequence) else int(workers),
                hang_after=hang_after,
                progress=progress,
            )
    if group is not None and not group.first:
        return []
    if store is None:
        return [gathered.whole(task.name) for task in tasks]
    return [collect(task, store) for task in tasks]


@dataclass(frozen=True)
class PreparedJob:
    """A job cut into tiles, with its programs not yet compiled.

    Attributes:
      name: the job's name.
      programs: all programs that a tile calls; the job's own program, the slowest to compile, is
        first.
      tiles: all tiles.
      source: makes the lanes.
      shared: device → the arguments that all lanes share, on that device.
    """

    name: str
    programs: tuple[Program, ...]
    tiles: tuple[Tile, ...]
    source: LaneSource
    shared: dict[jax.Device | None, tuple[PyTree, ...]]

    @property
    def width(self) -> int:
        """Lanes per call."""
        return self.programs[0].width

    def run_tile(self, tile: Tile, device: jax.Device | None) -> PyTree:
        """Makes the lanes of a tile, runs the program, and drops the padding."""
        lanes = self.source.take(tiles.padded(tile, self.width), device)
        result = self.programs[0](lanes, self.shared[device], device)
        real = tile.stop - tile.start
        # A view of the real lanes would keep the padding in memory.
        return result if real == self.width else jax.tree.map(lambda x: x[:real].copy(), result)


class Chosen:
    """A :class:`LaneSource` of some lanes of another one."""

    def __init__(self, source: LaneSource, numbers: np.ndarray) -> None:
        """Args:
        source: all lanes.
        numbers: the numbers of those to run, ``(count,)``.
        """
        self.count = len(numbers)
        self.lane = source.lane
        self.numbers = numbers
        self._source = source

    def programs(self, width: int) -> Sequence[Program]:
        """Those of the other source."""
        return self._source.programs(width)

    def take(self, numbers: np.ndarray, device: jax.Device | None) -> PyTree:
        """Lanes by their place among the chosen ones."""
        return self._source.take(self.numbers[numbers], device)


def only(task: PreparedJob, numbers: np.ndarray) -> PreparedJob:
    """The same job for some of its lanes, in tiles of the same width."""
    return replace(
        task,
        source=Chosen(task.source, numbers),
        tiles=tuple(tiles.cut(len(numbers), task.width)),
    )


def prepare(job: Job, machine: _executors.Workers) -> PreparedJob:
    """Chooses the tile width and makes the programs; compiles nothing."""
    if not callable(job.fn):
        raise errors.wrong_type("fn", job.fn, "a function of one lane", "lambda lane: lane")
    source = job.lanes if isinstance(job.lanes, LaneSource) else _ArrayLanes(job.lanes)
    check_numbers("shared arguments", job.shared)
    shared = jax.tree.map(_shape, job.shared)
    if job.tile is not None:
        width = tiles.check_tile(job.tile)
    else:
        with refusing(job.name):
            memory = lane_bytes(job.fn, source.lane, shared)
        width = tiles.tile_width(memory, machine.platform)
    main = cached(job.fn, source.lane, shared, width=width, name=job.name)
    return PreparedJob(
        name=job.name,
        programs=(main, *source.programs(width)),
        tiles=tuple(tiles.cut(source.count, width)),
        source=source,
        shared={device: jax.device_put(job.shared, device) for device in set(machine.devices)},
    )


def check_progress(progress: Callable[[T], None] | None) -> None:
    """Raises TypeError if ``progress`` cannot be called."""
    if progress is not None and not callable(progress):
        raise errors.wrong_type("progress", progress, "a function of one event, or None", "print")


def check_store(store: Store | None) -> None:
    """Raises TypeError if ``store`` lacks a method of :class:`Store`."""
    if store is not None and not all(
        callable(getattr(store, name, None)) for name in ("claim", "get", "put")
    ):
        raise errors.wrong_type(
            "store", store, "None, or an object with claim, get and put", "engine.MemoryStore()"
        )


def collect(task: PreparedJob, store: Store) -> PyTree:
    """The result of a finished job: its tiles, concatenated to NumPy leaves ``(lanes, …)``."""
    results = [store.get(task.name, tile.index) for tile in task.tiles]
    if not results:
        return None
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *results)


def _digest(tree: PyTree | LaneSource) -> Hashable | LaneSource:
    """Identifies arrays by structure and content; a lane source identifies itself."""
    if isinstance(tree, LaneSource):
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(_host, tree))
    contents = [f"{leaf.shape}{leaf.dtype}".encode() + leaf.tobytes() for leaf in leaves]
    return structure, hashlib.blake2b(b"".join(contents)).hexdigest()


def _host(leaf: ArrayLike) -> np.ndarray:
    """A leaf as a NumPy array; typed PRNG keys as their uint32 words."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _is_key(leaf: ArrayLike | jax.ShapeDtypeStruct) -> TypeGuard[jax.Array]:
    """Whether a leaf is an array of typed PRNG keys."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


class _ArrayLanes:
    """A :class:`LaneSource` of arrays in memory."""

    def __init__(self, lanes: PyTree) -> None:
        for leaf in jax.tree.leaves(lanes):
            if isinstance(leaf, jax.ShapeDtypeStruct | type):
                raise errors.wrong_type("lanes", leaf, "arrays with a lane axis", "np.arange(64)")
        self.count = tiles.lane_count(lanes)
        check_numbers("lanes", lanes)
        self.lane = jax.tree.map(
            lambda leaf: _shape(leaf[0] if _is_key(leaf) else np.asarray(leaf)[0]), lanes
        )
        self._lanes = jax.tree.map(_host, lanes)
        self._impls = jax.tree.map(
            lambda leaf: str(jax.random.key_impl(leaf)) if _is_key(leaf) else "", lanes
        )

    def programs(self, width: int) -> Sequence[Program]:
        return ()

    def take(self, numbers: np.ndarray, device: jax.Device | None) -> PyTree:
        def chosen(
            leaf: np.ndarray, one: jax.ShapeDtypeStruct, impl: str
        ) -> np.ndarray | jax.Array:
            if impl:
                return jax.random.wrap_key_data(leaf[numbers], impl=impl)
            return leaf[numbers].astype(one.dtype, copy=False)

        return jax.tree.map(chosen, self._lanes, self.lane, self._impls)


def _shape(leaf: ArrayLike | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a leaf, with the dtype that JAX would give it."""
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    array = np.asarray(leaf)
    return jax.ShapeDtypeStruct(array.shape, jax.dtypes.canonicalize_dtype(array.dtype))
