"""Shows the progress of a sweep in one line, in terminals and notebooks, without any package."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO

_SECONDS_BETWEEN = 0.2


class _Plan(Protocol):
    @property
    def runs(self) -> int: ...


class _Event(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def plan(self) -> _Plan: ...
    @property
    def runs(self) -> int: ...
    @property
    def failed(self) -> int: ...


def is_watched(stream: TextIO | None) -> bool:
    """Whether somebody sees what is written: a terminal, or a notebook.

    >>> import io
    >>> is_watched(io.StringIO())
    False
    """
    if stream is None:
        return False
    try:
        return stream.isatty() or type(stream).__module__.startswith("ipykernel")
    except ValueError:  # a closed stream
        return False


class LineProgress:
    """Rewrites one line: runs, runs/s, time left, diverged runs.

    >>> import io, jinit
    >>> stream = io.StringIO()
    >>> table = jinit.run(jinit.Grid(dataset="xor", steps=2, seeds=2),
    ...                   progress=LineProgress(stream))
    >>> "2/2 runs" in stream.getvalue()
    True
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._planned = self._done = self._stored = self._failed = 0
        self._begin = self._shown = time.monotonic()

    def __call__(self, event: _Event) -> None:
        """Counts the runs of an event and shows them.

        Args:
          event: of :func:`jinit.run`.
        """
        now = time.monotonic()
        self._planned += event.plan.runs if event.kind == "plan" else 0
        self._failed += event.failed
        if event.kind == "stored":
            self._stored += event.runs
        elif event.runs:
            if not self._done:
                self._begin = self._shown  # the time before, when programs compile, is no speed
            self._done += event.runs
        ended = self._done + self._stored == self._planned
        if now - self._shown > _SECONDS_BETWEEN or ended or event.kind == "plan":
            self._show(now)

    def _show(self, now: float) -> None:
        done = self._done + self._stored
        rate = self._done / max(now - self._begin, 1e-3)
        left = f"{(self._planned - done) / rate:.0f} s left" if rate else "compiling"
        text = f"{done}/{self._planned} runs, {rate:.0f} runs/s, {left}, {self._failed} diverged"
        self._shown = now
        try:
            # Whatever is printed next overwrites the line.
            self._stream.write(f"{text:<70}\r")
            self._stream.flush()
        except (OSError, ValueError):
            return  # a closed terminal must not end the sweep


def default_progress() -> LineProgress | None:
    """The progress that a sweep shows by itself; None where nobody would see the line."""
    return LineProgress(sys.stderr) if is_watched(sys.stderr) else None
