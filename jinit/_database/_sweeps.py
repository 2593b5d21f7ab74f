"""Enters sweeps into a store: what was asked for, by which command, and how it ended."""

from __future__ import annotations

import sqlite3
import time

from jinit._database._values import SqlValue, checksum
from jinit._database._writer import Rows


def begin_sweep(connection: sqlite3.Connection, **fields: SqlValue) -> int:
    """Enters a sweep and returns its number.

    Args:
      fields: planned (number of runs), command, grid and settings (JSON), machine.
    """
    values: dict[str, SqlValue] = {"started": round(time.time(), 3), **fields}
    values["checksum"] = checksum(sorted(values.items()))
    values["state"] = "running"  # changes, so the checksum leaves it out, as it does ``ended``
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    cursor = connection.execute(
        f"INSERT INTO sweeps ({names}) VALUES ({marks})", (*values.values(),)
    )
    return int(cursor.lastrowid or 0)


def end_sweep(number: int, state: str) -> list[Rows]:
    """The statement that enters the end of a sweep, for :meth:`Writer.close`."""
    return [("UPDATE sweeps SET ended = ?, state = ? WHERE id = ?",
             [(round(time.time(), 3), state, number)])]  # fmt: skip


def next_run(connection: sqlite3.Connection) -> int:
    """The number of the next row of ``runs``."""
    return int(connection.execute("SELECT coalesce(max(id), 0) + 1 FROM runs").fetchone()[0])
