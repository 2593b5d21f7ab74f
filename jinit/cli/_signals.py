"""Turns Ctrl-C, SIGTERM and SIGHUP into exceptions, says so at once, and loses none of them."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: whoever sent it will soon send SIGKILL.

    Attributes:
      number: the signal.
      patience: seconds to wait for running tiles at most.
    """

    patience = 2.0

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class Received:
    """The signals that have come so far."""

    numbers: list[int] = field(default_factory=list)

    @property
    def code(self) -> int:
        """The exit code that a shell gives to a process that its first signal ended."""
        return 128 + self.numbers[0]


@contextlib.contextmanager
def signals_raised() -> Iterator[Received]:
    """Raises KeyboardInterrupt or :class:`Terminated` for every signal while the block runs.

    Signals that the caller ignores, as ``nohup`` does with SIGHUP, stay ignored.
    """
    received, before = Received(), {}

    def handle(number: int, frame: FrameType | None) -> None:
        received.numbers.append(number)
        if number != signal.SIGINT:
            raise Terminated(number)
        if len(received.numbers) == 1:
            _say(b"jinit: stopping; press Ctrl-C again to stop at once\n")
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Repeats a signal that arrives during a callback of the garbage collector (JAX has one).

    Python would print a traceback there and ignore the exception.
    """
    before = sys.unraisablehook

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            number = getattr(lost.exc_value, "number", signal.SIGINT)
            threading.Timer(0.05, _thread.interrupt_main, [number]).start()
        else:
            before(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _say(text: bytes) -> None:
    """Writes to stderr without its buffer, which the interrupted code may be using."""
    with contextlib.suppress(OSError):
        os.write(2, text)
