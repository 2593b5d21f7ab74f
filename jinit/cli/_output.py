"""Writes the JSON and pictures of commands."""

from __future__ import annotations

import json as json_format
import signal
import sys
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
    from jinit.engine._interrupts import held
    from jinit.report._encoding import is_unicode
    from jinit.report._json import plain

    spell = not is_unicode(sys.stdout)
    text = json_format.dumps(plain(value), ensure_ascii=spell, allow_nan=False)
    # Ctrl-C during the write would give the reader half of the JSON.
    with held((signal.SIGINT,)):
        _write(f"{text}\n")


def _write(text: str) -> None:
    """Writes all of a text to stdout.

    Where Python's streams are not buffered (PYTHONUNBUFFERED, as in many containers), ``print``
    loses what is left of a write that a signal cuts short.
    """
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        print(text, end="", flush=True)
        return
    sys.stdout.flush()
    left = memoryview(text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
    while left:
        left = left[binary.write(left) or 0 :]
    binary.flush()
