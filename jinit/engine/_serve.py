"""Computes tiles in a worker process. The driver sends requests, and each gets one reply.

A job is prepared once per process and kept. A request names its job; a worker that does not have it
asks for its parts, so that they travel once per worker.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jinit import _registry
from jinit.engine import _environment, _executors
from jinit.engine._program import Program
from jinit.engine._shipping import KnownArrays, unpack
from jinit.engine._tiles import Tile
from jinit.typing import PyTree

# Prepared jobs that a process keeps; their programs are also in the cache of programs.
_MOST_JOBS = 64


class Part(Protocol):
    """A part of a job that the worker fetches from a shared object store."""

    def fetch(self) -> bytes:
        """The bytes."""
        ...


@dataclass(frozen=True)
class Request:
    """One tile of a job.

    Attributes:
      job: digest of the job.
      arrays: digests of the large arrays that the job contains.
      tile: the tile.
      sender: host and process of the driver.
      parts: digest → bytes, or where to fetch them; may be empty until the worker asks.
    """

    job: str
    arrays: tuple[str, ...]
    tile: Tile
    sender: tuple[str, int]
    parts: Mapping[str, bytes | Part] = field(default_factory=dict)


@dataclass(frozen=True)
class Envelope:
    """What the worker reads first, so that a job of other versions is not even opened.

    Attributes:
      environment: that of the driver.
      registered: pickle of what the user registered.
      job: body of the parcel that holds the job, with its tile width, and
        ``prepare(job, machine)``, which gives programs, tiles, and ``run_tile``.
    """

    environment: Mapping[str, Any]
    registered: bytes
    job: bytes


@dataclass(frozen=True)
class Reply:
    """What a worker answers.

    Attributes:
      result: of the tile, NumPy leaves ``(lanes, …)``.
      compiled: number of programs that were compiled for it.
      missing: digests of the parts that the worker lacks; the tile was then not run.
      difference: how the worker's environment differs; the tile was then not run.
      error: what the tile raised.
    """

    result: PyTree = None
    compiled: int = 0
    missing: tuple[str, ...] = ()
    difference: str = ""
    error: BaseException | None = None


def here() -> tuple[str, int]:
    """Host and number of this process."""
    return socket.gethostname(), os.getpid()


def serve(request: Request) -> Reply:
    """Computes one tile; called in a worker process.

    Args:
      request: from the driver.

    Returns:
      The result, or what is missing, different or wrong; never raises what the tile raised, because
      not every exception survives the way between processes.
    """
    if request.sender != here() and threading.current_thread() is threading.main_thread():
        # Ctrl-C in a terminal reaches all its processes; the driver decides what ends.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    compiled = 0
    try:
        with _LOCK:
            ready = _ready(request)
            if isinstance(ready, Reply):
                return ready
        device = ready.device
        for program in ready.task.programs:
            compiled += program.compile(device)
        return Reply(ready.task.run_tile(request.tile, device), compiled)
    except BaseException as error:
        tile = request.tile
        error.add_note(f"while running tile {tile.index} (lanes {tile.start} to {tile.stop - 1})")
        return Reply(error=_sendable(error), compiled=compiled)


class _Task(Protocol):
    programs: tuple[Program, ...]

    def run_tile(self, tile: Tile, device: Any) -> PyTree: ...


@dataclass(frozen=True)
class _Ready:
    """A job that was prepared in this process."""

    task: _Task
    device: Any


_JOBS: OrderedDict[str, tuple[_Ready, list[Any]]] = OrderedDict()
_ARRAYS = KnownArrays()
_LOCK = threading.Lock()


def _ready(request: Request) -> _Ready | Reply:
    """The prepared job, or why there is none."""
    if request.job in _JOBS:
        _JOBS.move_to_end(request.job)
        return _JOBS[request.job][0]
    parts = {name: p if isinstance(p, bytes) else p.fetch() for name, p in request.parts.items()}
    arrays = {digest: _ARRAYS.get(digest) for digest in request.arrays}
    for digest, array in arrays.items():
        if array is None and digest in parts:
            arrays[digest] = _ARRAYS.add(digest, parts[digest])
    missing = [digest for digest, array in arrays.items() if array is None]
    missing += [request.job] if request.job not in parts else []
    if missing:
        return Reply(missing=tuple(missing))
    envelope: Envelope = pickle.loads(parts[request.job])
    different = _environment.difference(_environment.environment(), envelope.environment)
    if different:
        return Reply(difference=different)
    machine = _executors.local(1)
    if request.sender != here():
        _registry.restore(pickle.loads(envelope.registered))
    job, prepare = unpack(envelope.job, {k: v for k, v in arrays.items() if v is not None})
    ready = _Ready(prepare(job, machine), machine.devices[0])
    _JOBS[request.job] = (ready, list(arrays.values()))
    while len(_JOBS) > _MOST_JOBS:
        _JOBS.popitem(last=False)
    return ready


def _sendable(error: BaseException) -> BaseException:
    """The error, or its text if it does not survive pickling."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            plain.add_note(note)
        return plain
    return error
