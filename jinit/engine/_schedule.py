"""Runs many programs on few threads: compiles in the background while tiles of others run.

Every worker thread takes, again and again, the most useful thing to do: compile a program (one at a
time once there are tiles to run) or run a tile. So no core waits for a compiler, and the first
program starts as soon as it can. The calling thread keeps the books: it stores finished tiles,
reports progress, and watches for a hang.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from jinit import errors
from jinit.engine._program import Program
from jinit.engine._store import Store
from jinit.engine._tiles import Tile
from jinit.typing import PyTree


class Task(Protocol):
    """A prepared job: programs to compile, then tiles to run in any order, on any worker."""

    @property
    def name(self) -> str: ...

    @property
    def programs(self) -> Sequence[Program]: ...

    @property
    def tiles(self) -> Sequence[Tile]: ...

    def run_tile(self, tile: Tile, device: Any) -> PyTree: ...


@dataclass(frozen=True)
class Event:
    """What just happened.

    Attributes:
      kind: a program was compiled, a tile finished, or the last tile of a job did.
      job: position of the job in the list given to ``run_many``.
      tile: the finished tile, for ``"tile"``.
      result: that tile's result, NumPy leaves ``(lanes, …)``.
      seconds: how long the compile or the tile took.
    """

    kind: Literal["compiled", "tile", "job"]
    job: int
    tile: Tile | None = None
    result: PyTree = None
    seconds: float = 0.0


@dataclass
class _Pending:
    """What is left of one job."""

    programs: list[Program]
    tiles: list[Tile]
    compiling: int = 0
    unfinished: int = 0


@dataclass
class _Work:
    """The shared list of things to do, guarded by one lock."""

    pending: list[_Pending]
    workers: int
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopped: bool = False

    def next(self, *, runs: bool) -> tuple[int, Program | Tile] | None:
        """Blocks for the next task; None when nothing is left for this worker."""
        with self.changed:
            while not self.stopped:
                compiling = sum(job.compiling for job in self.pending)
                ready = [
                    i
                    for i, job in enumerate(self.pending)
                    if job.tiles and not job.programs and not job.compiling
                ]
                waiting = [i for i, job in enumerate(self.pending) if job.programs]
                alone = self.workers == 1 and runs
                if waiting and (not ready or not runs or (compiling == 0 and not alone)):
                    job = self.pending[waiting[0]]
                    job.compiling += 1
                    return waiting[0], job.programs.pop(0)
                if ready and runs:
                    return ready[0], self.pending[ready[0]].tiles.pop(0)
                if not any(job.tiles for job in self.pending) or (not runs and not waiting):
                    return None
                self.changed.wait()
        return None

    def compiled(self, job: int) -> None:
        with self.changed:
            self.pending[job].compiling -= 1
            self.changed.notify_all()

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()


def run_tasks(
    tasks: Sequence[Task],
    store: Store,
    *,
    devices: Sequence[Any],
    compiler: bool,
    hang_after: float,
    progress: Callable[[Event], None] | None,
) -> None:
    """Runs every tile of every task that the store does not hold yet.

    Args:
      tasks: prepared jobs, most urgent first.
      store: receives each finished tile.
      devices: one entry per worker thread: the device it runs on (None: the default).
      compiler: add a thread that only compiles (accelerators: the workers must not wait).
      hang_after: seconds without any finished compile or tile that count as a hang.
      progress: called in this thread after each event.

    Raises:
      HangError: nothing finished for ``hang_after`` seconds.
      Exception: whatever a program raised, with a note that names the program and the tile.
    """
    work = _Work([_left(task, store) for task in tasks], len(devices))
    inbox: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
    doing: dict[int, tuple[str, float]] = {}
    specs = [(device, True) for device in devices] + ([(devices[0], False)] if compiler else [])
    threads = [
        threading.Thread(
            target=_worker,
            args=(tasks, work, inbox, doing, number, device, runs),
            # A thread stuck inside the compiler cannot be ended; it must not keep the process.
            daemon=True,
            name=f"jinit-{number}",
        )
        for number, (device, runs) in enumerate(specs)
    ]
    for thread in threads:
        thread.start()
    try:
        _keep_books(tasks, work, store, inbox, doing, hang_after, progress)
    except errors.HangError:
        work.stop()
        raise
    except BaseException:
        work.stop()
        _drain(threads, inbox, tasks, store)
        raise
    for thread in threads:
        thread.join()


def _left(task: Task, store: Store) -> _Pending:
    tiles = [tile for tile in task.tiles if store.get(task.name, tile.index) is None]
    return _Pending(list(task.programs) if tiles else [], tiles, unfinished=len(tiles))


def _keep_books(
    tasks: Sequence[Task],
    work: _Work,
    store: Store,
    inbox: queue.SimpleQueue[Event | BaseException],
    doing: dict[int, tuple[str, float]],
    hang_after: float,
    progress: Callable[[Event], None] | None,
) -> None:
    report = progress or (lambda event: None)
    last = time.monotonic()
    while any(job.unfinished for job in work.pending):
        try:
            # A short wait keeps Ctrl-C responsive.
            event = inbox.get(timeout=min(0.25, hang_after))
        except queue.Empty:
            if time.monotonic() - last > hang_after:
                raise _hang(doing, hang_after) from None
            continue
        last = time.monotonic()
        if isinstance(event, BaseException):
            raise event
        if event.tile is not None:
            store.put(tasks[event.job].name, event.tile.index, event.result)
            work.pending[event.job].unfinished -= 1
        report(event)
        if event.tile is not None and not work.pending[event.job].unfinished:
            report(Event("job", event.job))


def _worker(
    tasks: Sequence[Task],
    work: _Work,
    inbox: queue.SimpleQueue[Event | BaseException],
    doing: dict[int, tuple[str, float]],
    number: int,
    device: Any,
    runs: bool,
) -> None:
    while (item := work.next(runs=runs)) is not None:
        job, what = item
        task, start = tasks[job], time.monotonic()
        if isinstance(what, Program):
            label = f"compiling program {what.name!r}"
        else:
            label = f"running tile {what.index} (lanes {what.start} to {what.stop - 1}) of program "
            label += repr(task.name)
        doing[number] = (label, start)
        try:
            if isinstance(what, Program):
                fresh = what.compile(device)
                work.compiled(job)
                seconds = time.monotonic() - start
                events = [Event("compiled", job, seconds=seconds)] if fresh else []
            else:
                result = task.run_tile(what, device)
                events = [Event("tile", job, what, result, time.monotonic() - start)]
        except BaseException as error:
            error.add_note(f"while {label}")
            inbox.put(error)
            work.stop()
            return
        del doing[number]
        for event in events:
            inbox.put(event)


def _drain(
    threads: Sequence[threading.Thread],
    inbox: queue.SimpleQueue[Event | BaseException],
    tasks: Sequence[Task],
    store: Store,
    patience: float = 30.0,
) -> None:
    """After an interruption: lets running tiles end and stores them, so that nothing is lost."""
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    while not inbox.empty():
        event = inbox.get()
        if isinstance(event, Event) and event.tile is not None:
            store.put(tasks[event.job].name, event.tile.index, event.result)


def _hang(doing: dict[int, tuple[str, float]], hang_after: float) -> errors.HangError:
    now = time.monotonic()
    what = "; ".join(f"{label} for {now - since:.0f} s" for label, since in doing.values())
    return errors.HangError(
        f"no compile or tile finished for {hang_after:g} s: {what or 'all threads idle'}; "
        "fix: raise hang_after if one tile may take that long, or lower tile"
    )
