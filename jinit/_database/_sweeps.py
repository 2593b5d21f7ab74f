"""Enters sweeps into a store: what was asked for, by which command, and how it ended."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinit import errors
from jinit._database import _packs
from jinit._database._owner import is_alive
from jinit._database._runs import settings_of
from jinit._database._values import Rows, SqlValue, checksum

# Seconds since 1970 that no clock shows, and that no calendar of a system can name.
_LATEST = 1e11


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


@dataclass(frozen=True)
class Entry:
    """A sweep as the store lists it.

    Attributes:
      number: its number in the store.
      started, ended: seconds since 1970; ``ended`` is None if nobody entered the end.
      state: ``"running"``, ``"complete"``, ``"stopped"``, or ``"killed"``: running, but nobody
        writes the store.
      planned: number of runs that were asked for.
      computed: number of runs that this sweep computed.
      command: the command, as far as known.
      settings: those of its table.
    """

    number: int
    started: float
    ended: float | None
    state: str
    planned: int
    computed: int
    command: str
    settings: dict[str, Any]


def sweeps(
    connection: sqlite3.Connection, census: Mapping[tuple[int, int], int] | None = None
) -> list[Entry]:
    """All sweeps, in the order in which they were entered.

    Args:
      connection: to the store.
      census: the number of runs of each program and sweep; default: they are counted.

    Raises:
      ValueError: a row that jinit did not write.
    """
    owner = connection.execute("SELECT value FROM meta WHERE name = 'writer'").fetchone()
    computed: Counter[int] = Counter()
    for (_, sweep), runs in (census or _packs.census(connection)[1]).items():
        computed[sweep] += runs
    rows = connection.execute(
        "SELECT id, started, ended, state, planned, command, settings FROM sweeps ORDER BY id"
    ).fetchall()
    entries = []
    for number, started, ended, state, planned, command, settings in rows:
        last = number == rows[-1][0]
        if state == "running" and not (last and owner and is_alive(owner[0])):
            state = "killed"
        found = settings_of(settings)
        times = [started, 0.0 if ended is None else ended]
        if (
            not all(isinstance(value, int | float) and 0 <= value < _LATEST for value in times)
            or not isinstance(planned, int)
            or not isinstance(found.get("grid", {}), dict)
        ):
            raise errors.refusal(
                f"sweep {number} of the store", "damaged values", "what jinit wrote",
                "run jinit verify",
            )  # fmt: skip
        entries.append(
            Entry(number, float(started), ended, str(state), planned,
                  computed[number], str(command or ""), found)
        )  # fmt: skip
    return entries
