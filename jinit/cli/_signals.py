"""Turns Ctrl-C, SIGTERM and SIGHUP into exceptions, says so at once, and loses none of them."""

from __future__ import annotations

import _thread
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

from jinit import errors


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or the end of the time limit: running tiles are finished; a second one stops at once.

    Attributes:
      patience: seconds to wait for running tiles at most.
    """

    patience = 3600.0


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: whoever sent it will soon send SIGKILL.

    Attributes:
      number: the signal.
      patience: seconds to wait for running tiles at most.
    """

    patience = 15.0

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class Received:
    """The signals that have come so far.

    Attributes:
      numbers: of the signals.
      late: whether the first one is the end of the time limit.
      elsewhere: whether another process of ``--distributed`` stopped.
    """

    numbers: list[int] = field(default_factory=list)
    late: bool = False
    elsewhere: bool = False

    @property
    def code(self) -> int:
        """The exit code that a shell gives to a process that its first signal ended."""
        if self.late:
            return 124
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
            received.late = _late.is_set()
            why = b"the time limit is reached, " if received.late else b""
            _say(b"jinit: " + why + b"stopping; press Ctrl-C again to stop at once\n")
            raise Interrupted
        raise KeyboardInterrupt

    _answers.append(handle)
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield received
    finally:
        _answers.remove(handle)
        for number, handler in before.items():
            signal.signal(number, handler)


# What answers signals, the innermost last.
_answers: list[Callable[[int, FrameType | None], None]] = []
# Set by the timer of :func:`time_limit` before it interrupts the main thread.
_late = threading.Event()
_TIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?|(\d+):(\d\d):(\d\d)")


def seconds(text: str | None) -> float | None:
    """A duration such as 2h, 1h30m, 90s or 02:00:00; None for None.

    Raises:
      ValueError: another spelling, or no time at all.

    >>> seconds("1h30m"), seconds("00:01:30"), seconds(None)
    (5400.0, 90.0, None)
    """
    if text is None:
        return None
    found = _TIME.fullmatch(text)
    parts = [int(part or 0) for part in found.groups()] if found else [0] * 6
    total = sum(n * unit for n, unit in zip(parts, (3600, 60, 1) * 2, strict=True))
    if not 0 < total <= threading.TIMEOUT_MAX:
        raise errors.refusal("--time-limit", text, "90s, 30m, 2h, 1h30m or 02:00:00", "2h")
    return float(total)


@contextlib.contextmanager
def time_limit(text: str | None) -> Iterator[None]:
    """Interrupts the block, as Ctrl-C does, when the time is over.

    A shell starts the background jobs of a script with SIGINT ignored. There the limit still holds,
    and Ctrl-C stays without effect.
    """

    def end() -> None:
        _late.set()
        _thread.interrupt_main(signal.SIGINT)

    def limit_alone(number: int, frame: FrameType | None) -> None:
        if _late.is_set() and _answers:
            _answers[-1](number, frame)

    limit = seconds(text)
    if limit is None:
        yield
        return
    ignored = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    )
    if ignored:
        signal.signal(signal.SIGINT, limit_alone)
    timer = threading.Timer(limit, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _late.clear()


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
