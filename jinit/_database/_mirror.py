"""Copies a store to a folder, such as one of a network or cloud drive, and back once it is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from jinit import errors
from jinit._database._open import explained, reading, unlocked
from jinit._database._runs import chunks
from jinit._warn import warn

# The copy is older than the store by at most this, plus the time that the drive needs.
SECONDS = 30.0
_CHUNK = 2**20
_ROWS = 2**14
# What tells the rows of a table apart in every store.
_KEYS = (("sweeps", "checksum"), ("runs", "identity"), ("results", "identity"))


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


def clean(store: Path, mirror: Mirror | None) -> None:
    """Removes what a writer that was killed in the middle of a copy left behind."""
    if mirror is None:
        return
    left = [*store.resolve().parent.glob(f".{store.name}.*.copy")]
    for path in [*left, *mirror.target.parent.glob(f".{store.name}.*.part")]:
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


class Mirror:
    """The copy of one store in a folder.

    The copy is replaced only while the store has everything that the copy has.

    Attributes:
      target: the copy.
    """

    def __init__(self, store: Path, folder: Path) -> None:
        self.target = folder / store.name
        self._store = store
        self._known: tuple[int, int] | None = None

    def restore(self) -> None:
        """Copies the copy to the place of a store that is lost, and warns; else does nothing.

        Raises:
          ValueError: the copy is no store. StoreError: it cannot be read, or the store written.
        """
        store = self._store.resolve()
        state = _state(self.target)
        if state is None or store.exists():
            return
        with unlocked(self.target):
            pass
        part = store.parent / f".{store.name}.{os.getpid()}.copy"
        try:
            _copied(self.target, part)
            # The journal of the lost file belongs to no other one.
            for ending in ("-wal", "-shm", "-journal"):
                store.with_name(store.name + ending).unlink(missing_ok=True)
            part.replace(store)
            self._known = state
        except OSError as error:
            raise errors.StoreError(f"mirror {self.target}: {error}") from None
        finally:
            part.unlink(missing_ok=True)
        warn(f"{self._store} did not exist; it was copied back from its mirror {self.target}")

    def check(self, connection: sqlite3.Connection) -> None:
        """Refuses a copy with runs or sweeps that the store lacks.

        Args:
          connection: to the store, or to a whole copy of it.

        Raises:
          ValueError: such a copy, or another file of this name. StoreError: it cannot be read.
        """
        state = _state(self.target)
        if state is None or state == self._known:
            return
        lacking = _lacking(connection, self.target)
        if lacking:
            raise errors.refusal(
                f"mirror {self.target}", f"{lacking} that the store lacks",
                "nothing that the store lacks",
                f"jinit merge {self._store} {self.target}, or another folder or name",
            )  # fmt: skip
        self._known = state

    def deliver(self, local: Path) -> None:
        """Moves a copy to its folder, where the copy appears as a whole or not at all.

        Raises:
          StoreError: the folder cannot be written, or another store is there.
        """
        target = self.target
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            if _state(target) != self._known:
                with unlocked(local) as mine:
                    self.check(mine)
            _copied(local, part)
            part.replace(target)
            self._known = _state(target)
        except errors.Refusal as refused:
            raise errors.StoreError(str(refused)) from None
        except errors.StoreError:
            raise
        except OSError as error:
            raise errors.StoreError(f"mirror {target}: {error}") from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            local.unlink(missing_ok=True)


def _state(path: Path) -> tuple[int, int] | None:
    """What changes whenever somebody replaces a file; None if there is no file.

    Raises:
      StoreError: nobody can say.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.StoreError(f"mirror {path}: {error}") from None
    return status.st_mtime_ns, status.st_size


def _copied(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as file:
        shutil.copyfileobj(read, file, _CHUNK)
        file.flush()
        os.fsync(file.fileno())


def _lacking(mine: sqlite3.Connection, copy: Path) -> str:
    """What a copy has and the store lacks, such as ``3 runs``; "" if there is nothing."""
    found = []
    with unlocked(copy) as theirs:
        for table, key in _KEYS:
            count = 0
            cursor = theirs.execute(f"SELECT {key} FROM {table}")
            while rows := cursor.fetchmany(_ROWS):
                for chunk in chunks([row[0] for row in rows]):
                    marks = ", ".join("?" * len(chunk))
                    query = f"SELECT {key} FROM {table} WHERE {key} IN ({marks})"
                    count += len({*chunk} - {row[0] for row in mine.execute(query, chunk)})
            if count:
                found.append(f"{count} {table if count > 1 else table[:-1]}")
    return ", ".join(found)
