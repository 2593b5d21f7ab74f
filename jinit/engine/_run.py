"""Runs one pure function over many lanes: ``run``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinit.engine._choice import ExecutorLike
from jinit.engine._durable import FileStore
from jinit.engine._executors import WorkersLike
from jinit.engine._group import joined
from jinit.engine._interrupts import held
from jinit.engine._jobs import HANG_AFTER, Job, check_progress, run_many
from jinit.engine._schedule import Event
from jinit.engine._store import Store
from jinit.engine._stored_lanes import StoredLanes
from jinit.typing import PyTree


def run(
    fn: Callable[..., PyTree],
    lanes: PyTree,
    *shared: PyTree,
    tile: int | None = None,
    workers: WorkersLike | None = None,
    progress: Callable[[Event], None] | None = None,
    store: Store | FileStore | str | Path | None = None,
    executor: ExecutorLike | None = None,
    hang_after: float = HANG_AFTER,
) -> PyTree:
    """Runs ``fn(lane, *shared)`` for every lane, in tiles, on all cores.

    Args:
      fn: any pure, traceable function of one lane.
      lanes: a pytree of arrays with a common leading lane axis.
      *shared: arguments that all lanes share.
      tile: lanes per call, ≥ 2; None derives it from the platform and the bytes of a lane's state.
      workers: number of threads (CPU) or devices, default all; or the devices themselves:
        ``jax.local_devices()`` also uses all host devices of a CPU. With an executor, the number of
        tiles on their way; default two for each of its workers.
      progress: called with an :class:`Event` after each compile and each tile.
      store: ``"results.db"`` or a :class:`FileStore`: a file that keeps the result of each finished
        lane under a hash of the function's code, the lane and the machine, so that the same call
        again, in any process or with more lanes, computes what is missing. A :class:`MemoryStore`
        keeps tiles: to continue, pass the same store, function object and lanes.
      executor: runs the tiles in other processes: ``"ray"`` (the cluster that runs here, or a new
        one on this machine), ``"ray:host:port"``, or any
        :class:`concurrent.futures.Executor` whose processes do not fork: a pool with the start
        method ``"spawn"``, or ``client.get_executor()`` of Dask. The bits are those of this process
        alone. ``fn`` travels by pickle, or by cloudpickle where that is installed.
      hang_after: seconds without progress before :class:`jinit.errors.HangError`; default 900.

    Where ``jax.distributed`` connects several processes, all call this function alike: tiles go to
    the devices of all of them, the first one reports and writes the store, and all return the same.

    Returns:
      A pytree of NumPy arrays with the same lane axis. The bits of a lane's result do not depend
      on its position, its neighbours or the number of workers.

    Raises:
      ValueError: no lanes, leaves without a common lane axis, numbers beyond the dtype that JAX
        gives them, a tile below 2, a store that holds another job of the same name, a process that
        was forked from one in which JAX ran, workers with other versions or settings, a cluster
        that does not answer within 10 seconds.
      TypeError: lanes that hold no numbers, ``progress`` that is not callable, ``store`` that is
        not a store, a function that JAX cannot trace, text or PRNG keys as results, a function that
        cannot be pickled for an executor.
      HangError: no progress; the message names the program and the tile. Or another process of
        ``jax.distributed`` is lost.
      RuntimeError: another process of ``jax.distributed`` stopped.
      StoreError: the store's file cannot be written any more.

    >>> import numpy as np
    >>> run(lambda x, y: x * y, np.arange(5.0, dtype=np.float32), np.float32(2))
    array([0., 2., 4., 6., 8.], dtype=float32)
    """
    job = Job(fn, lanes, shared, getattr(fn, "__name__", "job"), tile)
    options: dict[str, Any] = {"workers": workers, "executor": executor, "hang_after": hang_after}
    with joined(alone=executor is not None) as group:
        if group is None:
            return _whole(job, store, progress, options)
        if group.first:
            return group.same(_whole(job, store, progress, options), hang_after)
        run_many([job], **options)
        return group.same(None, hang_after)


def _whole(
    job: Job,
    store: Store | FileStore | str | Path | None,
    progress: Callable[[Event], None] | None,
    options: dict[str, Any],
) -> PyTree:
    """The result of a job, some of which a store may hold."""
    if not isinstance(store, FileStore | str | Path):
        return run_many([job], progress=progress, store=store, **options)[0]
    check_progress(progress)
    lanes_of_file = StoredLanes(store if isinstance(store, FileStore) else FileStore(store))
    try:
        run_many(
            [job],
            progress=progress,
            store=lanes_of_file,
            narrowed=lanes_of_file.narrowed,
            **options,
        )
    except BaseException as error:
        with held():
            lanes_of_file.stop(error)
        raise
    with held() as noted:
        lanes_of_file.close()
    noted.let_go()
    return lanes_of_file.whole()
