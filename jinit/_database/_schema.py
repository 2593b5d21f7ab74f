"""Defines the tables of a store, and refuses files that have other ones."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence

from jinit import errors

# "jini": tools such as `file` tell a store from other SQLite files by this number.
APPLICATION = 0x6A696E69
VERSION = 2
# Bounds on what a file may ask this process to hold.
LONGEST_NAME = 100
MOST_COLUMNS = 400
LONGEST_VALUE = 64 * 2**20

RUNS_FIXED = (
    "id INTEGER PRIMARY KEY",
    "identity BLOB NOT NULL UNIQUE",
    "sweep INTEGER NOT NULL",
    "program INTEGER NOT NULL",
    "machine TEXT",
    "finished REAL NOT NULL",
    "missing TEXT",
    "checksum INTEGER NOT NULL",
)
FIXED_NAMES = tuple(text.partition(" ")[0] for text in RUNS_FIXED)
TABLES: Mapping[str, str] = {
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "environments": "CREATE TABLE environments (id INTEGER PRIMARY KEY, digest BLOB NOT NULL "
    "UNIQUE, settings TEXT NOT NULL, checksum INTEGER NOT NULL)",
    "sweeps": "CREATE TABLE sweeps (id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, "
    "state TEXT NOT NULL, planned INTEGER NOT NULL, command TEXT, grid TEXT NOT NULL, "
    "settings TEXT NOT NULL, machine TEXT NOT NULL, checksum INTEGER NOT NULL)",
    "programs": "CREATE TABLE programs (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, "
    "environment INTEGER NOT NULL, label BLOB NOT NULL, name TEXT NOT NULL, tile INTEGER NOT "
    "NULL, layout TEXT NOT NULL, checksum INTEGER NOT NULL)",
    "columns": "CREATE TABLE columns (name TEXT PRIMARY KEY, kind TEXT NOT NULL, dtype TEXT NOT "
    "NULL, position INTEGER NOT NULL)",
    "runs": f"CREATE TABLE runs ({', '.join(RUNS_FIXED)})",
    "curves": 'CREATE TABLE curves (run INTEGER NOT NULL, metric TEXT NOT NULL, "values" BLOB NOT '
    "NULL, PRIMARY KEY (run, metric)) WITHOUT ROWID",
    "jobs": "CREATE TABLE jobs (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, environment "
    "INTEGER NOT NULL, name TEXT NOT NULL, tile INTEGER NOT NULL, layout TEXT NOT NULL, "
    "checksum INTEGER NOT NULL)",
    "results": "CREATE TABLE results (identity BLOB PRIMARY KEY, job INTEGER NOT NULL, data BLOB "
    "NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID",
    "packs": "CREATE TABLE packs (program INTEGER NOT NULL, name TEXT NOT NULL, last INTEGER NOT "
    "NULL, sweep INTEGER NOT NULL, runs INTEGER NOT NULL, sum INTEGER NOT NULL, data BLOB NOT "
    "NULL, UNIQUE (program, name, last, sweep))",
}
# Version → the statements that make the tables of the next one. A checksum covers all values of
# its row that are not NULL, so statements may add columns and tables and change ``state`` alone.
MIGRATIONS: Mapping[int, tuple[str, ...]] = {1: (TABLES["packs"],)}
_TYPES = {"b": "INTEGER", "i": "INTEGER", "u": "INTEGER", "f": "REAL", "O": "TEXT", "U": "TEXT"}
_COLUMN = re.compile(r', ("(?:[^"]|"")+" (?:INTEGER|REAL|TEXT))')


def create(connection: sqlite3.Connection) -> None:
    """Makes the tables in an empty file, in the open transaction."""
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    for statement in TABLES.values():
        connection.execute(statement)


def outdated(connection: sqlite3.Connection) -> bool:
    """Whether a store has the tables of an older version."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    return bool(application == APPLICATION and _version(connection) < VERSION)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Brings the tables of an older version to those of this one, all steps or none.

    Raises:
      ValueError: a version from which no steps lead here, or tables of somebody else.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have done it in the meantime.
        for version in range(_version(connection), VERSION):
            if version not in MIGRATIONS:
                raise errors.refusal(
                    "store", f"{path} of version {version}",
                    f"versions {min(MIGRATIONS, default=VERSION)} to {VERSION}", "restore it",
                )  # fmt: skip
            _refuse(path, _made_up(connection))
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        check(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _made_up(connection: sqlite3.Connection) -> list[str]:
    """Views, triggers and indices, which no store has."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    # Indices that SQLite makes for UNIQUE have no text of their own.
    return [
        str(name)
        for kind, name, table, text in found
        if kind != "table" and not (kind == "index" and text is None and table in TABLES)
    ]


def _refuse(path: str, strange: Sequence[str]) -> None:
    if strange:
        names = ", ".join(sorted(map(repr, strange)))[:300]
        allowed = "a store that jinit wrote"
        raise errors.refusal("store", f"{path} with other tables: {names}", allowed, "restore it")


def check(connection: sqlite3.Connection, path: str) -> None:
    """Refuses a file whose tables are not those of a store of this version.

    A view, a trigger, a generated column or a further table could run what its author wrote.

    Raises:
      ValueError: another kind of file, a newer version, tables of somebody else.
    """
    allowed = "a store that jinit wrote"
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = _version(connection)
    if application != APPLICATION:
        raise errors.refusal("store", path, allowed, "choose a new name; the file is left alone")
    if version > VERSION:
        raise errors.refusal(
            "store", f"{path} of version {version}", f"versions up to {VERSION}", "update jinit"
        )
    if version < VERSION:
        raise errors.refusal("store", f"{path} of version {version}", f"{VERSION}", "restore it")
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    tables = dict(found.fetchall())
    strange = _made_up(connection)
    strange += [str(name) for name in tables if name not in TABLES]
    strange += [name for name, made in TABLES.items() if not _same(name, tables.get(name), made)]
    _refuse(path, strange)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
    if len(columns) > MOST_COLUMNS or any(len(name) > LONGEST_NAME for name in columns):
        raise errors.refusal("store", f"{path} with {len(columns)} columns", allowed, "restore it")


def _same(name: str, found: str | None, expected: str) -> bool:
    """Whether a table was made by the expected statement; ``runs`` may have further columns."""
    if not isinstance(found, str):
        return False
    if name == "runs" and found.startswith(expected[:-1]) and found.endswith(")"):
        return _COLUMN.sub("", found[len(expected) - 1 : -1]) == ""
    return found == expected


def quoted(name: str) -> str:
    """A name as SQL writes it, whatever characters it has.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def column_type(name: str, kind: str) -> str:
    """The SQL type of a column whose NumPy dtype has this kind; refuses names that cannot be."""
    if kind not in _TYPES:
        raise errors.refusal(
            f"column {name!r}", f"dtype kind {kind!r}", "numbers, truth values or text", "convert"
        )
    if not 0 < len(name) <= LONGEST_NAME or "\0" in name or name.lower() in FIXED_NAMES:
        raise errors.refusal(
            "column of a store",
            name,
            f"1 to {LONGEST_NAME} characters, none of {', '.join(FIXED_NAMES)}",
            "give the axis or metric another name",
        )
    return _TYPES[kind]
