"""Copies a store to a folder, such as one of a network or cloud drive."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

from jinit import errors
from jinit._database._open import explained, reading

SECONDS = 30.0


def check(folder: str | Path | None, store: Path) -> Path | None:
    """The folder, made if need be.

    Raises:
      ValueError: a folder that cannot be made or that holds the store itself.
    """
    if folder is None:
        return None
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.refusal(
            "mirror", str(folder), "a writable folder", f"choose another ({error.strerror})"
        ) from None
    if target.resolve() == store.resolve().parent:
        raise errors.refusal("mirror", str(folder), "another folder than the store's", "another")
    return target


def copy(store: Path, folder: Path | None) -> None:
    """Copies the committed state of a store as one file; the copy appears as a whole.

    Raises:
      StoreError: the copy cannot be written.
    """
    if folder is None:
        return
    target = folder / store.name
    part = folder / f".{store.name}.{os.getpid()}.part"
    try:
        with tempfile.TemporaryDirectory(dir=store.resolve().parent) as work:
            # SQLite writes the copy on the store's own disk; the other drive only sees whole files.
            local = Path(work) / store.name
            with explained(store), reading(store) as source:
                made = sqlite3.connect(local)
                try:
                    source.backup(made)
                    made.execute("PRAGMA journal_mode = DELETE")
                finally:
                    made.close()
            part.write_bytes(local.read_bytes())
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise errors.StoreError(f"mirror {target}: {error}") from None
    finally:
        part.unlink(missing_ok=True)
