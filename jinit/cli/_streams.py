"""Makes stdout usable: closed, full, without a reader, or without the characters of maths."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from jinit.report._encoding import NAME, is_unicode


@contextlib.contextmanager
def usable_streams() -> Iterator[bool]:
    """Opens what is closed and spells characters that the encoding lacks; gives "was it closed".

    A closed stdout is replaced by the null device: otherwise the next file that is opened would
    get its number, and a library that prints would write into that file.
    """
    closed = sys.stdout is None
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    before = getattr(sys.stdout, "errors", None)
    spelled = not is_unicode(sys.stdout) and hasattr(sys.stdout, "reconfigure")
    if spelled:
        sys.stdout.reconfigure(errors=NAME)  # type: ignore[union-attr]
    try:
        yield closed
    finally:
        if spelled:
            sys.stdout.reconfigure(errors=before)  # type: ignore[union-attr]


def flushed(code: int, closed: bool) -> int:
    """Flushes stdout and returns the exit code: 1 in place of 0 if the output was lost."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        return abandoned(code)
    except OSError as error:
        print(f"jinit: cannot write to stdout: {error}", file=sys.stderr)
        return abandoned(code)
    if closed and not code:
        print("jinit: stdout is closed; nothing was printed", file=sys.stderr)
        return 1
    return code


def abandoned(code: int) -> int:
    """Points stdout to the null device, so that flushing it at exit cannot fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code or 1
