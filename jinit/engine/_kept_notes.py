"""Keeps facts about a program beside the compiled ones, so that the next process need not trace.

A fact is found by a description of the function, see :mod:`jinit.engine._described`, and holds on
the same machine with the same versions, the same files of the packages and the same switches.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import jax

from jinit import _registry
from jinit.engine import _installed
from jinit.engine._described import described
from jinit.engine._environment import switches


def place(folder: Path | None, kind: str, value: object, *more: object) -> Path | None:
    """The file with what is known about a value.

    Args:
      folder: the folder of this machine; None if nothing is kept.
      kind: what is known.
      value: the function.
      more: what else decides the fact, as values with a ``repr`` that says everything.

    Returns:
      The path; None for functions of the user, and where a script has replaced functions of the
      packages or registered items of its own.
    """
    text = None if folder is None else described(value)
    if folder is None or text is None or _installed.is_patched():
        return None
    # A description names registered items, and another process may give a name to another one.
    if any(_registry.additions().values()):
        return None
    # A trace depends on the platform, too.
    state = (jax.default_backend(), sorted(switches().items()))
    whole = repr((kind, text, _installed.source(), more, state))
    return folder / f"note-{hashlib.blake2b(whole.encode(), digest_size=20).hexdigest()}"


def read(file: Path | None) -> dict[str, Any] | None:
    """The fact in a file; None if there is none, or a damaged one."""
    if file is None:
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
        found: dict[str, Any] = content["fact"]
        if content["digest"] != _digest(found):
            return None
        os.utime(file)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def write(file: Path | None, fact: dict[str, Any]) -> None:
    """Keeps a fact: a reader sees the whole file or none."""
    if file is None:
        return
    content = json.dumps({"fact": fact, "digest": _digest(fact)})
    with contextlib.suppress(OSError):  # the folder of compiled programs has said so
        write_whole(file, content.encode())


def write_whole(file: Path, content: bytes) -> None:
    """Writes a file of which a reader sees everything or nothing, whoever else writes.

    Raises:
      OSError: there is no room, or no permission; no part of the file stays.
    """
    handle, name = tempfile.mkstemp(dir=file.parent, prefix="new-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _digest(fact: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(fact).encode(), digest_size=16).hexdigest()
