"""Holds Ctrl-C back while finished work is put in safety."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

# Windows has no SIGHUP.
ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@dataclass
class Held:
    """The signals that came while :func:`held` was active."""

    signals: list[int] = field(default_factory=list)


@contextlib.contextmanager
def held(numbers: tuple[int, ...] = ENDING) -> Iterator[Held]:
    """Notes signals that would raise an exception, instead of raising it.

    Signals whose action is the default of the operating system keep that action. Outside of the
    main thread, where Python runs no handlers, nothing is held.

    >>> with held() as noted:
    ...     pass
    >>> noted.signals
    []
    """
    noted = Held()
    before = {}

    def note(number: int, frame: FrameType | None) -> None:
        noted.signals.append(number)

    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
