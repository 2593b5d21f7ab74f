"""Holds Ctrl-C back while finished work is put in safety."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

# Windows has no SIGHUP.
ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@dataclass
class Held:
    """The signals that came while :func:`held` was active.

    Attributes:
      signals: their numbers.
      raised: what their handlers raised.
    """

    signals: list[int] = field(default_factory=list)
    raised: list[BaseException] = field(default_factory=list)

    def let_go(self) -> None:
        """Raises the first exception that was held back, if any."""
        if self.raised:
            raise self.raised[0]


@contextlib.contextmanager
def held(numbers: tuple[int, ...] = ENDING) -> Iterator[Held]:
    """Holds back the exceptions that signals raise.

    Handlers run at once: they say what they say, and the exit code is that of the first signal.
    Signals whose action is the default of the operating system keep that action. Outside of the
    main thread, where Python runs no handlers, nothing is held.

    >>> with held() as noted:
    ...     pass
    >>> noted.signals
    []
    """
    noted = Held()
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def note(number: int, frame: FrameType | None) -> None:
        noted.signals.append(number)
        try:
            before[number](number, frame)
        except BaseException as error:
            noted.raised.append(error)

    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
