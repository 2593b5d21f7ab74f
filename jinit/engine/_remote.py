"""Runs tiles in other processes, by any executor; this process alone collects what they return.

A tile is a task. At most a window of tiles is on its way, so that an interruption waits for few. A
task whose worker is lost is sent again; tiles are pure, so running one twice changes nothing.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import pickle
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from jinit import _registry, errors
from jinit.engine import _environment
from jinit.engine._interrupts import held
from jinit.engine._schedule import PATIENCE, Event, Task
from jinit.engine._serve import Envelope, Part, Reply, Request, here, serve
from jinit.engine._shipping import Packer
from jinit.engine._store import Store
from jinit.engine._tiles import Tile

# Tiles on their way for each worker: one runs, one waits, so that no worker waits for this process.
_PER_WORKER = 2
# If the executor does not say how many workers it has.
_WINDOW = 64
# How often a tile is sent before its executor is given up.
_ATTEMPTS = 4


class Executor(Protocol):
    """What the engine needs of an executor: that of :class:`concurrent.futures.Executor`."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]: ...


@dataclass(frozen=True)
class JobTile:
    """A tile that is sent, or waits to be sent.

    Attributes:
      job: position of the job.
      tile: the tile.
    """

    job: int
    tile: Tile


@dataclass(frozen=True)
class _PackedJob:
    """A job that is ready to be sent: its digest, those of its arrays, and digest → part."""

    digest: str
    arrays: tuple[str, ...]
    parts: dict[str, bytes | Part]


_Inbox: TypeAlias = "queue.SimpleQueue[Future[Any]]"


def run_remote(
    jobs: Sequence[Any],
    tasks: Sequence[Task],
    store: Store,
    executor: Executor,
    *,
    prepare: Callable[..., Any],
    window: int | None,
    hang_after: float,
    progress: Callable[[Event], None] | None,
) -> None:
    """Runs every tile of every task that the store does not hold yet, in the executor's workers.

    Args:
      jobs: what is sent, with the tile width fixed.
      tasks: the same jobs, prepared here; their programs are not compiled here.
      store: receives each finished tile, in this thread.
      executor: where tiles run.
      prepare: prepares a job in a worker.
      window: tiles on their way; None: twice the number of workers.
      hang_after: seconds without a finished tile that count as a hang.
      progress: called in this thread after each event.

    Raises:
      ValueError: a worker with other versions or settings.
      TypeError: a job that cannot be pickled.
      HangError: nothing finished for ``hang_after`` seconds.
      Exception: the exception of a tile; that of an executor that has lost its workers.
    """
    run = _Run(jobs, tasks, store, executor, prepare, progress or (lambda event: None))
    workers = _workers(executor)
    limit = window or (_PER_WORKER * workers if workers else _WINDOW)
    try:
        run.fill(limit)
        last = time.monotonic()
        while run.sent:
            try:
                # A short wait keeps Ctrl-C responsive.
                future = run.inbox.get(timeout=min(0.25, hang_after))
            except queue.Empty:
                if time.monotonic() - last > hang_after:
                    raise run.hang(hang_after) from None
                continue
            last = time.monotonic()
            run.receive(future)
            run.fill(limit)
    except errors.HangError:
        run.cancel(spared=0)
        raise
    except BaseException as error:
        if isinstance(error, concurrent.futures.BrokenExecutor):
            error.add_note(
                "a worker process ended abruptly, for lack of memory perhaps, and its pool with "
                "it; finished tiles are kept: pass a new executor and the same store"
            )
        run.drain(getattr(error, "patience", PATIENCE), workers or limit)
        raise


class _Run:
    """The tiles that wait, the tiles on their way, and what to do with answers."""

    def __init__(
        self,
        jobs: Sequence[Any],
        tasks: Sequence[Task],
        store: Store,
        executor: Executor,
        prepare: Callable[..., Any],
        report: Callable[[Event], None],
    ) -> None:
        self.sent: dict[Future[Any], JobTile] = {}
        self.inbox: _Inbox = queue.SimpleQueue()
        self._jobs, self._tasks, self._store = jobs, tasks, store
        self._executor, self._prepare, self._report = executor, prepare, report
        self._waiting = deque(
            JobTile(job, tile)
            for job, task in enumerate(tasks)
            for tile in task.tiles
            if store.get(task.name, tile.index) is None
        )
        self._unfinished = Counter(sent.job for sent in self._waiting)
        self._losses: Counter[JobTile] = Counter()
        self._packer = Packer()
        self._parcels: dict[int, _PackedJob] = {}
        self._environment = _environment.environment()
        # A job contains its data set.
        added = {kind: x for kind, x in _registry.additions().items() if kind != "dataset"}
        self._registered = self._packer.pack(added, apart=False).body

    def fill(self, limit: int) -> None:
        """Sends tiles until the window is full."""
        while self._waiting and len(self.sent) < limit:
            self._send(self._waiting.popleft())

    def receive(self, future: Future[Any]) -> None:
        """Stores the result of a tile, sends the tile again, or raises."""
        sent = self.sent.pop(future)
        try:
            reply: Reply = future.result()
        except concurrent.futures.BrokenExecutor:
            raise
        except (ImportError, AttributeError, TypeError, pickle.PickleError) as error:
            error.add_note("while sending a tile to a worker, which needs jinit and your modules")
            raise
        except Exception:
            self._losses[sent] += 1
            if self._losses[sent] >= _ATTEMPTS:
                raise
            self._send(sent)
            return
        if reply.difference:
            raise errors.refusal(
                "workers of the executor",
                reply.difference,
                "the versions and settings of this process, which decide the numbers",
                "install the same versions there, and set the same switches and variables",
            )
        if reply.missing:
            self._send(sent, reply.missing)
        elif reply.error is not None:
            reply.error.add_note(f"of program {self._tasks[sent.job].name!r}, in a worker")
            raise reply.error
        else:
            self._finish(sent, reply)

    def drain(self, patience: float, workers: int) -> None:
        """After an interruption, waits for the running tiles and stores them.

        Args:
          patience: seconds to wait at most; another Ctrl-C ends the wait.
          workers: tiles that may be running, if the executor does not say which ones are.
        """
        deadline = time.monotonic() + patience
        with held() as noted:
            self.cancel(spared=workers)
            while any(not future.done() for future in self.sent):
                if noted.signals or time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            for future, sent in self.sent.items():
                if not future.done() or future.cancelled() or future.exception() is not None:
                    continue
                reply: Reply = future.result()
                if not (reply.missing or reply.difference or reply.error):
                    self._put(sent, reply)

    def cancel(self, spared: int) -> None:
        """Takes back the tiles that no worker has begun.

        Futures of Ray and Dask are never running: they can be cancelled while their tile runs on,
        and its result would be lost.

        Args:
          spared: the oldest unfinished tiles that are left alone if none is said to be running.
        """
        unfinished = [future for future in self.sent if not future.done()]
        told = any(future.running() for future in unfinished)
        for future in unfinished if told else unfinished[spared:]:
            future.cancel()

    def hang(self, hang_after: float) -> errors.HangError:
        """The error for a hang; its message lists tiles on their way."""
        where = [
            f"tile {sent.tile.index} of program {self._tasks[sent.job].name!r}"
            for sent in self.sent.values()
        ]
        more = f" and {len(where) - 4} more" if len(where) > 4 else ""
        return errors.HangError(
            f"no tile came back from the executor for {hang_after:g} s: {', '.join(where[:4])}"
            f"{more}; fix: check that the executor has workers, or raise hang_after"
        )

    def _send(self, sent: JobTile, missing: Sequence[str] = ()) -> None:
        parcel = self._parcel(sent.job)
        # A shared object store has every part already, and a worker fetches what it lacks.
        stored = hasattr(self._executor, "put")
        parts = parcel.parts if stored else {name: parcel.parts[name] for name in missing}
        request = Request(parcel.digest, parcel.arrays, sent.tile, here(), parts)
        future = self._executor.submit(serve, request)
        self.sent[future] = sent
        future.add_done_callback(self.inbox.put)

    def _parcel(self, job: int) -> _PackedJob:
        if job not in self._parcels:
            packed = self._packer.pack((self._jobs[job], self._prepare))
            envelope = Envelope(self._environment, self._registered, packed.body)
            body = pickle.dumps(envelope)
            digest = hashlib.blake2b(body, digest_size=16).hexdigest()
            parts: dict[str, bytes | Part] = {digest: body, **packed.arrays}
            put = getattr(self._executor, "put", None)
            if put is not None:
                parts = {name: put(name, content) for name, content in parts.items()}
            self._parcels[job] = _PackedJob(digest, tuple(packed.arrays), parts)
        return self._parcels[job]

    def _finish(self, sent: JobTile, reply: Reply) -> None:
        self._put(sent, reply)
        self._unfinished[sent.job] -= 1
        for _ in range(reply.compiled):
            self._report(Event("compiled", sent.job))
        self._report(Event("tile", sent.job, sent.tile, reply.result))
        if not self._unfinished[sent.job]:
            self._parcels.pop(sent.job, None)
            self._report(Event("job", sent.job))

    def _put(self, sent: JobTile, reply: Reply) -> None:
        self._store.put(self._tasks[sent.job].name, sent.tile.index, reply.result)


def _workers(executor: Executor) -> int | None:
    """How many workers the executor has; None if it does not say."""
    workers = getattr(executor, "_max_workers", None)
    threads = getattr(getattr(executor, "_client", None), "nthreads", None)
    if workers is None and threads is not None:
        workers = sum(threads().values())
    return workers if isinstance(workers, int) and workers > 0 else None
