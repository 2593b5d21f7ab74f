"""Keeps the line that a command prints last of all, if it does not end well."""

from __future__ import annotations

import contextlib
import sys

_lines: list[str] = []


def say(line: str) -> None:
    """Sets the last line; "" for none."""
    _lines[:] = [line] if line else []


def print_after(code: int) -> None:
    """Prints the last line after a command that failed or was interrupted.

    After bad input (exit code 2) the same command would be refused again, so nothing is printed.
    """
    if code not in (0, 2) and _lines:
        with contextlib.suppress(OSError, ValueError):
            print(_lines[0], file=sys.stderr, flush=True)
    _lines.clear()
