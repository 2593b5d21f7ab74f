"""Looks for damage in a store: in its pages, its rows and between its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from jinit._database import _packs
from jinit._database._open import explained, reading
from jinit._database._runs import COVERED, Layout, of_runs, settings_of
from jinit._database._schema import FIXED_NAMES, quoted
from jinit._database._values import checksum, row_checksum

_MOST_PROBLEMS = 20
# Columns that change after a row was written, or that name the row.
_LEFT_OUT = ("id", "checksum", "ended", "state", "job")


def verify(path: str | Path) -> list[str]:
    """What is wrong with a store, in words; empty if nothing is.

    Args:
      path: the file; a sweep may be writing it.

    Returns:
      At most about twenty problems.

    Raises:
      ValueError: no such file, or not a store at all. StoreError: it cannot be read.
    """
    found: list[str] = []
    try:
        with reading(path) as connection, explained(path):
            for problem in _problems(connection):
                found.append(problem)
                if len(found) >= _MOST_PROBLEMS:
                    break
    except ValueError as error:
        if not Path(path).is_file():
            raise
        found.append(str(error))
    return found


def _problems(connection: sqlite3.Connection) -> Iterator[str]:
    for (text,) in connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})"):
        if text != "ok":
            yield str(text)
    for table in ("environments", "programs", "sweeps", "jobs", "results"):
        yield from _plain_rows(connection, table)
    for number, layout in connection.execute("SELECT id, layout FROM programs").fetchall():
        names = Layout.read(layout).names
        missing = set(names) - set(_names(connection, "runs"))
        if missing:
            yield f"program {number}: no columns {', '.join(sorted(missing))}"
    for (text,) in connection.execute("SELECT settings FROM environments").fetchall():
        settings_of(text)
    yield from _runs(connection)
    yield from _packs.problems(connection)
    for what, query in (
        ("curves without a run", "SELECT count(*) FROM curves WHERE run NOT IN "
         "(SELECT id FROM runs)"),
        ("runs without a program", "SELECT count(*) FROM runs WHERE program NOT IN "
         "(SELECT id FROM programs)"),
        ("runs without a sweep", "SELECT count(*) FROM runs WHERE sweep NOT IN "
         "(SELECT id FROM sweeps)"),
        ("programs without an environment", "SELECT count(*) FROM programs WHERE environment "
         "NOT IN (SELECT id FROM environments)"),
        ("results without a job", "SELECT count(*) FROM results WHERE job NOT IN "
         "(SELECT id FROM jobs)"),
    ):  # fmt: skip
        count = connection.execute(query).fetchone()[0]
        if count:
            yield f"{count} {what}"


def _names(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _plain_rows(connection: sqlite3.Connection, table: str) -> Iterator[str]:
    names = [name for name in _names(connection, table) if name not in _LEFT_OUT]
    fields = ", ".join(["checksum", *map(quoted, names)])
    for place, (kept, *row) in enumerate(connection.execute(f"SELECT {fields} FROM {table}"), 1):
        if kept != checksum(sorted(zip(names, row, strict=True))):
            yield f"{table}: row {place} does not have its checksum"


def _runs(connection: sqlite3.Connection) -> Iterator[str]:
    further = [name for name in _names(connection, "runs") if name not in FIXED_NAMES]
    names = (*COVERED, *further)
    fields = ", ".join(["id", "checksum", *map(quoted, names)])
    cursor = connection.execute(f"SELECT {fields} FROM runs ORDER BY id")
    while rows := cursor.fetchmany(500):
        curves = of_runs(connection, [row[0] for row in rows])
        for number, kept, *row in rows:
            if kept != row_checksum(names, row, curves.get(number, {})):
                yield f"run {number} does not have its checksum"
