"""Writes the JSON and pictures of commands, and makes sure that Ctrl-C is not lost."""

from __future__ import annotations

import _thread
import contextlib
import json as json_format
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_picture(axes: Axes, path: str) -> None:
    """Saves a picture and prints its files on stderr."""
    from jinit.report import plots

    files = ", ".join(str(file) for file in plots.save(axes, path))
    print(f"picture written to {files}", file=sys.stderr)


def dump(value: Any) -> None:
    """Prints strict JSON on stdout, completely or not at all; NaN and inf become null."""
    from jinit.report._json import plain

    text = json_format.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Ctrl-C during the write would give the reader half of the JSON.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        print(text, flush=True)
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Repeats a Ctrl-C that arrives during a callback of the garbage collector (JAX has one).

    Python would print a traceback there and ignore the interrupt.
    """
    before = sys.unraisablehook

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            before(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
