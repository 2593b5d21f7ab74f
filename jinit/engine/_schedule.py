"""Runs many programs on few threads: compiles in the background while tiles of others run.

Each worker thread repeatedly compiles a program or runs a tile. Once there are tiles to run, only
one program compiles at a time, so the other cores run tiles. The calling thread stores finished
tiles, reports progress, and watches for a hang.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import jax

from jinit import errors
from jinit._switches import entered, taken
from jinit.engine._interrupts import held
from jinit.engine._program import Program
from jinit.engine._store import Store
from jinit.engine._tiles import Tile
from jinit.typing import PyTree

# Seconds that an interrupted run waits for tiles that are still running. An exception with an
# attribute ``patience``, such as that of SIGTERM, sets another time.
PATIENCE = 30.0


class Task(Protocol):
    """A prepared job: programs to compile, then tiles to run in any order on any worker."""

    @property
    def name(self) -> str: ...

    @property
    def programs(self) -> Sequence[Program]: ...

    @property
    def tiles(self) -> Sequence[Tile]: ...

    def run_tile(self, tile: Tile, device: jax.Device | None) -> PyTree: ...


@dataclass(frozen=True)
class Event:
    """A progress report of :func:`run`.

    Attributes:
      kind: ``"compiled"`` (a program), ``"tile"`` (a tile is finished) or ``"job"`` (the last tile
        of a job is finished).
      job: position of the job; 0 for :func:`run`.
      tile: the finished :class:`Tile`, for ``"tile"``; else None.
      result: the result of that tile, NumPy leaves ``(lanes, …)``; else None.

    >>> Event("tile", job=0, tile=Tile(0, 0, 16)).tile.stop
    16
    """

    kind: Literal["compiled", "tile", "job"]
    job: int
    tile: Tile | None = None
    result: PyTree = None


@dataclass
class _Pending:
    """The remaining work of one job.

    Attributes:
      programs: programs whose compilation has not begun.
      tiles: tiles that have not begun.
      compiling: number of programs that are compiling now.
      unfinished: number of tiles not yet stored.
    """

    programs: list[Program]
    tiles: list[Tile]
    compiling: int = 0
    unfinished: int = 0


@dataclass
class _Work:
    """The remaining work of all jobs, shared by all threads and guarded by one lock."""

    pending: list[_Pending]
    workers: int
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopped: bool = False

    def next(self, *, runs: bool) -> tuple[int, Program | Tile] | None:
        """Waits for work; returns ``(job, program or tile)``, or None if nothing is left.

        Args:
          runs: whether this worker may run tiles; if not, it only compiles.
        """
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
        """Records that a program of this job is compiled."""
        with self.changed:
            self.pending[job].compiling -= 1
            self.changed.notify_all()

    def stop(self) -> None:
        """Makes :meth:`next` return None to every worker."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()


def run_tasks(
    tasks: Sequence[Task],
    store: Store,
    *,
    devices: Sequence[jax.Device | None],
    compiler: bool,
    hang_after: float,
    progress: Callable[[Event], None] | None,
) -> None:
    """Runs every tile of every task that the store does not hold yet.

    Args:
      tasks: prepared jobs, most urgent first.
      store: receives each finished tile.
      devices: one device per worker thread; None is the default device.
      compiler: whether to add a thread that only compiles, so that no device waits for a program.
      hang_after: seconds without a finished compile or tile that count as a hang.
      progress: called in this thread after each event.

    Raises:
      HangError: nothing finished for ``hang_after`` seconds.
      Exception: the exception of a program, with a note that names the program and the tile.
    """
    work = _Work([_remaining(task, store) for task in tasks], len(devices))
    inbox: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
    active: dict[int, tuple[str, float]] = {}
    switches = taken()
    specs = [(device, True) for device in devices] + ([(devices[0], False)] if compiler else [])
    threads = [
        threading.Thread(
            target=_thread,
            args=(switches, tasks, work, inbox, active, number, device, runs),
            # A thread that hangs in the compiler cannot be stopped; it must not block process exit.
            daemon=True,
            name=f"jinit-{number}",
        )
        for number, (device, runs) in enumerate(specs)
    ]
    for thread in threads:
        thread.start()
    try:
        _process_events(tasks, work, store, inbox, active, hang_after, progress)
    except errors.HangError:
        work.stop()
        raise
    except BaseException as error:
        work.stop()
        _drain(threads, inbox, tasks, store, getattr(error, "patience", PATIENCE))
        raise
    for thread in threads:
        thread.join()


def _remaining(task: Task, store: Store) -> _Pending:
    """The tiles that the store does not hold, and all programs if such tiles exist."""
    tiles = [tile for tile in task.tiles if store.get(task.name, tile.index) is None]
    return _Pending(list(task.programs) if tiles else [], tiles, unfinished=len(tiles))


def _process_events(
    tasks: Sequence[Task],
    work: _Work,
    store: Store,
    inbox: queue.SimpleQueue[Event | BaseException],
    active: dict[int, tuple[str, float]],
    hang_after: float,
    progress: Callable[[Event], None] | None,
) -> None:
    """Stores tiles and reports events until every tile is stored; raises a worker's exception."""
    report = progress or (lambda event: None)
    last = time.monotonic()
    while any(job.unfinished for job in work.pending):
        try:
            # A short wait keeps Ctrl-C responsive.
            event = inbox.get(timeout=min(0.25, hang_after))
        except queue.Empty:
            if time.monotonic() - last > hang_after:
                raise _hang(active, hang_after) from None
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


def _thread(
    switches: Mapping[str, Any],
    tasks: Sequence[Task],
    work: _Work,
    inbox: queue.SimpleQueue[Event | BaseException],
    *args: Any,
) -> None:
    """Works as :func:`_worker` does, under the switches of the thread that runs the tasks."""
    try:
        with entered(switches):
            _worker(tasks, work, inbox, *args)
    except BaseException as error:  # without a word the caller would wait as for a hang
        inbox.put(error)
        work.stop()


def _worker(
    tasks: Sequence[Task],
    work: _Work,
    inbox: queue.SimpleQueue[Event | BaseException],
    active: dict[int, tuple[str, float]],
    number: int,
    device: jax.Device | None,
    runs: bool,
) -> None:
    """Compiles programs and runs tiles until none is left; sends events or one exception.

    Args:
      active: worker number → label and start time of the worker's present task; read on a hang.
      number: the number of this worker.
    """
    while (item := work.next(runs=runs)) is not None:
        job, unit = item
        task = tasks[job]
        if isinstance(unit, Program):
            label = f"compiling program {unit.name!r}"
        else:
            label = f"running tile {unit.index} (lanes {unit.start} to {unit.stop - 1}) of program "
            label += repr(task.name)
        active[number] = (label, time.monotonic())
        try:
            if isinstance(unit, Program):
                fresh = unit.compile(device)
                work.compiled(job)
                events = [Event("compiled", job)] if fresh else []
            else:
                events = [Event("tile", job, unit, task.run_tile(unit, device))]
        except BaseException as error:
            error.add_note(f"while {label}")
            inbox.put(error)
            work.stop()
            return
        del active[number]
        for event in events:
            inbox.put(event)


def _drain(
    threads: Sequence[threading.Thread],
    inbox: queue.SimpleQueue[Event | BaseException],
    tasks: Sequence[Task],
    store: Store,
    patience: float,
) -> None:
    """After an interruption, waits for the running tiles and stores them.

    Args:
      patience: seconds to wait at most; another Ctrl-C ends the wait.
    """
    deadline = time.monotonic() + patience
    with held() as noted:
        while any(thread.is_alive() for thread in threads):
            if noted.signals or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        while not inbox.empty():
            event = inbox.get()
            if isinstance(event, Event) and event.tile is not None:
                store.put(tasks[event.job].name, event.tile.index, event.result)


def _hang(active: dict[int, tuple[str, float]], hang_after: float) -> errors.HangError:
    """The error for a hang; its message lists the present task of every busy worker."""
    now = time.monotonic()
    tasks = "; ".join(f"{label} for {now - since:.0f} s" for label, since in active.values())
    return errors.HangError(
        f"no compile or tile finished for {hang_after:g} s: {tasks or 'all threads idle'}; "
        "fix: raise hang_after if one tile may take that long, or pass a smaller tile"
    )
