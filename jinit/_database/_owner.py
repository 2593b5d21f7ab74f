"""Lets one process write a store at a time, by SQLite's own lock.

The writer keeps a write transaction open except for the instant of a commit, so the lock ends with
the process, however that ends. A row names the owner for the error of a second writer.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sqlite3
import time
from pathlib import Path

from jinit import errors
from jinit._database._open import reading

_TRIES = 6
_PAUSE = 0.03
_WAITS = 40
# Seconds that a commit waits for readers where the file system has no write-ahead log.
PATIENCE = 60.0


def acquire(connection: sqlite3.Connection, path: Path) -> None:
    """Opens a write transaction that lasts, and writes the owner into the file.

    Raises:
      ValueError: another process writes the store; the message names the process.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    before: set[str | None] = set()
    for _ in range(_TRIES):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) and "busy" not in str(error):
                raise
            time.sleep(_PAUSE)
            continue
        owner = _owner(connection)
        if owner is None or before == {owner}:
            break
        # A living owner gives the lock away for an instant only; one that was killed, for ever.
        before.add(owner)
        connection.execute("ROLLBACK")
        time.sleep(_PAUSE)
    else:
        raise _taken(path)
    connection.execute("PRAGMA busy_timeout = 10000")
    mine = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%F %T")}
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('writer', ?)", (json.dumps(mine),))
    commit(connection)


def commit(connection: sqlite3.Connection) -> None:
    """Ends the transaction durably and opens the next one."""
    _end(connection)
    connection.execute("BEGIN IMMEDIATE")


def release(connection: sqlite3.Connection) -> None:
    """Removes the owner and ends the transaction."""
    connection.execute("DELETE FROM meta WHERE name = 'writer'")
    _end(connection)


def _end(connection: sqlite3.Connection) -> None:
    """Ends the transaction durably.

    Without a write-ahead log, a reader who has not finished holds the commit back. The transaction
    stays open then, and nothing is lost by waiting, so the commit is tried again.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("COMMIT")
            return
        except sqlite3.OperationalError as error:
            busy = "locked" in str(error) or "busy" in str(error)
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)


def _owner(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE name = 'writer'").fetchone()
    return None if row is None else str(row[0])


def writer_of(path: Path) -> str:
    """Who writes a store, in words; "" if nobody says so.

    A process that was killed is named until the next one writes.
    """
    with reading(path) as connection:
        owner = _owner(connection)
    try:
        found = json.loads(owner or "{}")
        return f"process {int(found['pid'])} on {found['host']!s:.80} since {found['since']!s:.30}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _taken(path: Path) -> errors.ValueRefusal:
    who = ""
    for _ in range(_WAITS):  # a writer that has just won has not written its name yet
        with contextlib.suppress(ValueError, OSError):
            who = writer_of(path)
        if who:
            break
        time.sleep(_PAUSE)
    return errors.ValueRefusal(
        f"store {path}",
        f"a file that {who or 'another process'} is writing",
        "one writer at a time",
        "wait for it, or use a store of its own and jinit merge afterwards",
    )


def is_alive(owner: str) -> bool:
    """Whether the process that an owner names may still run: on another host nobody knows."""
    try:
        found = json.loads(owner)
        if found["host"] != platform.node():
            return True
        os.kill(int(found["pid"]), 0)
    except (ValueError, KeyError, TypeError, OverflowError, ProcessLookupError, RecursionError):
        return False
    except OSError:
        return True
    return True
