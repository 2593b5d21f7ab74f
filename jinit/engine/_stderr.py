"""Holds back the lines that XLA's loader of CPU programs writes about a fitting program.

XLA asks LLVM for two preferences, which the loader of jaxlib 0.8 and 0.9 then misses among the
processor's features; one more line says that versions are not compared, which the folder's name
does. C++ writes these lines to file descriptor 2, so Python cannot filter them elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

_OF_LOADER = re.compile(rb"cpu_aot_loader\.cc.*Target machine feature ([+-]\S+) is not")
_PREFERENCES = (b"+prefer-no-gather", b"+prefer-no-scatter")
_OF_VERSIONS = b"PjRt-IFRT does not track XLA executable versions"


class LoaderError(Exception):
    """The loader says that a program was compiled for another processor."""


@contextlib.contextmanager
def filtered() -> Iterator[None]:
    """Writes what arrives at file descriptor 2 in the body after the body, without known lines.

    Raises:
      LoaderError: a line says that the processor lacks a feature of the program.

    >>> with filtered():
    ...     _ = os.write(2, b"")
    """
    try:
        sys.stderr.flush()
        kept, held = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
    except (OSError, ValueError, AttributeError):  # no stderr, or no room for a file
        yield
        return
    with held:
        try:
            os.dup2(held.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            lines, missing = sifted(held.read())
            with contextlib.suppress(OSError):
                os.write(2, lines)
    if missing:
        raise LoaderError(f"this processor has no {missing}")


def sifted(text: bytes) -> tuple[bytes, str]:
    """What the user must see of a text, and the first feature that the processor lacks.

    >>> sifted(b"mine\\nE cpu_aot_loader.cc:220] Target machine feature +avx9 is not  supported")
    (b'mine\\n', '+avx9')
    """
    kept, missing = [], ""
    for line in text.splitlines(keepends=True):
        found = _OF_LOADER.search(line)
        if found:
            if found[1] not in _PREFERENCES:
                missing = missing or found[1].decode(errors="replace")
        elif _OF_VERSIONS not in line:
            kept.append(line)
    return b"".join(kept), missing
