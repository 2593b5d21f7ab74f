"""Copies a store to a folder, such as one of a network or cloud drive."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from jinit import errors
from jinit._database._open import explained, reading

# The copy is older than the store by at most this, plus the time that the drive needs.
SECONDS = 30.0
_CHUNK = 2**20


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


def clean(store: Path, folder: Path | None) -> None:
    """Removes what a writer that was killed in the middle of a copy left behind."""
    if folder is None:
        return
    left = [*store.resolve().parent.glob(f".{store.name}.*.copy")]
    for path in [*left, *folder.glob(f".{store.name}.*.part")]:
        with contextlib.suppress(OSError):
            path.unlink()


def taken(store: Path) -> Path:
    """A copy of the committed state beside the store, as one file.

    SQLite writes on the store's own disk alone; the other drive only sees whole files.

    Raises:
      StoreError: the copy cannot be written.
    """
    local = store.resolve().parent / f".{store.name}.{os.getpid()}.copy"
    try:
        local.unlink(missing_ok=True)
        with explained(store), reading(store) as source:
            made = sqlite3.connect(local)
            try:
                source.backup(made)
                made.execute("PRAGMA journal_mode = DELETE")
            finally:
                made.close()
    except OSError as error:
        local.unlink(missing_ok=True)
        raise errors.StoreError(f"mirror of {store}: {error}") from None
    return local


def deliver(local: Path, target: Path) -> None:
    """Moves a copy to its folder, where the copy appears as a whole or not at all.

    Raises:
      StoreError: the folder cannot be written.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with local.open("rb") as source, part.open("wb") as file:
            shutil.copyfileobj(source, file, _CHUNK)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise errors.StoreError(f"mirror {target}: {error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        local.unlink(missing_ok=True)


def copy(store: Path, folder: Path | None) -> None:
    """Copies the committed state of a store to a folder.

    Raises:
      StoreError: the copy cannot be written.
    """
    if folder is not None:
        deliver(taken(store), folder / store.name)
