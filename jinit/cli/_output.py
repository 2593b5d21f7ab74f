"""What commands leave behind: JSON for other programs, pictures; and that Ctrl-C reaches them."""

from __future__ import annotations

import _thread
import contextlib
import dataclasses
import json as json_format
import math
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


def write_picture(axes: Any, path: str) -> None:
    """Saves a picture, and says where, on stderr."""
    from jinit.report import plots

    files = ", ".join(str(file) for file in plots.save(axes, path))
    print(f"picture written to {files}", file=sys.stderr)


def dump(value: Any) -> None:
    """Strict JSON on stdout, whole or not at all: NaN and inf become null."""
    text = json_format.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Ctrl-C while it is written would leave half of it to whoever reads.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        print(text, flush=True)
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """A Ctrl-C that falls into a callback of the garbage collector (JAX has one) comes again.

    Python would print its traceback there, and forget it.
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


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    return value
