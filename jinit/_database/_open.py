"""Opens a store for reading or writing, and turns SQLite's errors into ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from jinit import errors
from jinit._database import _file_system, _schema

_TRIES = 40
_MAGIC = b"SQLite format 3\0"
ENDINGS = (".db", ".sqlite", ".sqlite3")


def check_path(path: str | Path) -> Path:
    """The path of a store; refuses endings, folders and missing folders.

    Raises:
      ValueError: another ending, a folder that does not exist, a path that is no file.
      TypeError: no path.

    >>> check_path("runs.db").name
    'runs.db'
    """
    if not isinstance(path, str | os.PathLike):
        raise errors.wrong_type("store", path, "the name of a file", "'runs.db'")
    target = Path(path)
    allowed = f"a file ending in {', '.join(ENDINGS)} in an existing folder"
    if target.suffix not in ENDINGS:
        raise errors.refusal("store", str(path), allowed, f"e.g. {target.stem or 'runs'}.db")
    try:
        if target.exists() and not target.is_file():
            raise errors.refusal("store", str(path), allowed, f"{target} is no regular file")
        if not target.parent.is_dir():
            raise errors.refusal("store", str(path), allowed, f"create {target.parent}")
    except OSError as error:
        raise errors.refusal(
            "store", str(path)[:80], allowed, f"another name ({error.strerror})"
        ) from None
    return target


def is_store(path: str | Path) -> bool:
    """Whether the name is that of a store.

    >>> is_store("runs.db"), is_store("runs.parquet")
    (True, False)
    """
    return isinstance(path, str | os.PathLike) and Path(path).suffix in ENDINGS


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to a store that has been checked; any writer may go on.

    Raises:
      ValueError: no such file, or a file that is not a sound store.
    """
    target = check_path(path)
    if not target.is_file():
        raise errors.refusal("store", str(path), "an existing store", "check the name")
    _check_magic(target)
    with explained(target):
        connection = _connect(target, "ro")
        try:
            try:
                if _schema.outdated(connection):
                    connection.close()
                    _migrate(target)
                    connection = _connect(target, "ro")
                _schema.check(connection, str(target))
            except sqlite3.OperationalError as error:
                if "readonly" not in str(error):
                    raise
                # A writer was killed in a commit, which only one who may write can undo.
                connection.close()
                connection = _connect(target, "rw")
                connection.execute("PRAGMA query_only = ON")
                _schema.check(connection, str(target))
            connection.execute("BEGIN")  # all statements see one state of the file
            yield connection
        finally:
            connection.close()


@contextlib.contextmanager
def unlocked(path: str | Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to a whole file that nobody writes in place; it takes no locks.

    Raises:
      ValueError: a file that is no store. StoreError: the file cannot be read.
    """
    target = Path(path)
    _check_magic(target)
    with explained(target):
        connection = _connect(target, "ro&immutable=1")
        try:
            if not _schema.outdated(connection):
                _schema.check(connection, str(target))
            yield connection
        finally:
            connection.close()


def _migrate(path: Path) -> None:
    """Brings a store of an older version to this one, before it is read.

    Raises:
      ValueError: the file cannot be written, or no steps lead to this version.
    """
    connection = _connect(path, "rw")
    try:
        _schema.migrate(connection, str(path))
    except sqlite3.OperationalError as problem:
        if "readonly" not in str(problem):
            raise
        raise errors.refusal(
            "store", f"{path} of an older version, which cannot be written",
            "a store that can be brought to this version",
            "make the file and its folder writable, or read a copy",
        ) from None  # fmt: skip
    finally:
        connection.close()


def connect_to_write(path: Path) -> sqlite3.Connection:
    """A connection that may write, from any thread, one at a time; makes the file if need be."""
    if path.exists() and path.stat().st_size:
        _check_magic(path)
    with explained(path):
        connection = _connect(path, "rwc")
        try:
            for tries in range(_TRIES, -1, -1):
                try:
                    _prepare(connection, path)
                    break
                except sqlite3.OperationalError as error:
                    # Another process may be making the file at this moment.
                    if "locked" not in str(error) or not tries:
                        raise
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    time.sleep(0.05)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have made the tables in the meantime.
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _schema.create(connection)
        connection.execute("COMMIT")
    if _schema.outdated(connection):
        _schema.migrate(connection, str(path))
    _schema.check(connection, str(path))
    # A second journal beside the file needs shared memory, which network drives lack.
    if _file_system.file_system(path).trusted:
        # Two processes that make the file at once may both want to change the journal.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.resolve()))}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=10.0, isolation_level=None, check_same_thread=False
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _schema.LONGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as error:
        raise errors.refusal(
            "store", str(path), "a readable file", f"check it ({error.strerror})"
        ) from None
    if start != _MAGIC:
        raise errors.refusal("store", str(path), "a SQLite file that jinit wrote", "another name")


@contextlib.contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turns SQLite's errors into ours: a damaged file is refused, a failing disk is an OSError.

    Raises:
      ValueError: the file is damaged or not a store.
      StoreError: the file cannot be read or written.
    """
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.InterfaceError) as error:
        if "decode" in str(error) or "malformed" in str(error) or "no such" in str(error):
            raise _damaged(path, error) from None
        raise errors.StoreError(f"store {path}: {error}; {_advice(error)}") from None
    except (sqlite3.Error, UnicodeError, OverflowError, RecursionError) as error:
        raise _damaged(path, error) from None


def _advice(error: sqlite3.Error) -> str:
    text = str(error)
    for words, advice in (
        ("full", "make room on the disk and go on"),
        ("readonly", "make the file and its folder writable"),
        ("locked", "wait for the other program that uses the file"),
        ("unable to open", "check the folder and its permissions"),
    ):
        if words in text:
            return advice
    return "check the disk and go on"


def _damaged(path: str | Path, error: Exception) -> errors.ValueRefusal:
    return errors.refusal(
        "store", f"{path}: {error}", "a sound store", "run jinit verify, or restore a copy"
    )
