"""Joins stores, and removes sweeps from one."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from jinit import errors
from jinit._database import _packs
from jinit._database._open import check_path, reading
from jinit._database._runs import (
    CURVE,
    Layout,
    add_columns,
    by_number,
    chunks,
    of_runs,
    registered,
)
from jinit._database._schema import FIXED_NAMES, quoted
from jinit._database._values import SqlValue, python_values
from jinit._database._writer import Writer


def merge(into: str | Path, sources: Sequence[str | Path]) -> tuple[int, int]:
    """Copies the runs of other stores into one, all of them or none.

    Args:
      into: the store that gets them; it is made if it does not exist.
      sources: the other stores, which stay as they are.

    Returns:
      The number of runs that were copied, and of those that both had.

    Raises:
      ValueError: a file that is no sound store, the same file twice, or runs of equal identity with
        different numbers; the message names them.
      StoreError: a file cannot be read or written.
    """
    target = check_path(into)
    paths = [check_path(source).resolve() for source in sources]
    if not paths:
        raise errors.refusal(
            "stores to copy from", "none", "at least one", "jinit merge all.db a.db b.db"
        )
    if len({target.resolve(), *paths}) <= len(paths):
        raise errors.refusal(
            "stores", [str(path) for path in sources], "different files", "name each once"
        )
    for path in paths:
        with reading(path):
            pass  # refused before the target is made
    copied = known = 0
    writer = Writer(target)
    try:
        with writer.transaction() as connection:
            for path in paths:
                with reading(path) as source:
                    new, old = _copy(source, connection, path)
                copied, known = copied + new, known + old
    finally:
        writer.close(packing=math.inf)
    return copied, known


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Copies all programs of a store with their runs; returns the numbers of new and old runs."""
    environments = _registered(source, target, "environments", {})
    programs = _registered(source, target, "programs", {"environment": environments})
    jobs = _registered(source, target, "jobs", {"environment": environments})
    sweeps = _sweeps(source, target)
    for identity, job, data, kept in source.execute("SELECT * FROM results"):
        target.execute(
            "INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?)", (identity, jobs[job], data, kept)
        )
        mine = target.execute("SELECT data FROM results WHERE identity = ?", (identity,))
        if mine.fetchone()[0] != data:
            raise _contradiction(path, [f"a lane of job {jobs[job]}"])
    copied = known = 0
    for number, text in source.execute("SELECT id, layout FROM programs").fetchall():
        layout = Layout.read(text)
        add_columns(target, layout)
        runs = source.execute("SELECT id, identity, sweep FROM runs WHERE program = ?", (number,))
        for chunk in chunks(runs.fetchall()):
            new = _new(source, target, layout, chunk, path)
            known += len(chunk) - len(new)
            copied += len(new)
            _insert(source, target, new, programs[number], sweeps)
    return copied, known


def _new(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    layout: Layout,
    runs: Sequence[tuple[int, bytes, int]],
    path: Path,
) -> list[tuple[int, int]]:
    """Number and sweep of the runs that the target lacks; those that both have must be equal."""
    marks = ", ".join("?" * len(runs))
    mine = dict(target.execute(
        f"SELECT identity, id FROM runs WHERE identity IN ({marks})", [run[1] for run in runs]
    ).fetchall())  # fmt: skip
    stored = by_number(source, layout, [run[0] for run in runs])  # checks the checksums
    shared = [place for place, run in enumerate(runs) if run[1] in mine]
    if shared:
        theirs = by_number(target, layout, [mine[runs[place][1]] for place in shared])
        differ = [
            place
            for row, place in enumerate(shared)
            if any(python_values(theirs.columns[name][row : row + 1])
                   != python_values(stored.columns[name][place : place + 1])
                   for name in layout.names)
            or any(theirs.curves[name][row].tobytes() != stored.curves[name][place].tobytes()
                   for name in layout.curves)
        ]  # fmt: skip
        if differ:
            named = [", ".join(f"{axis}={stored.columns[axis][place]}" for axis in layout.axes)
                     for place in differ[:5]]  # fmt: skip
            raise _contradiction(path, named)
    return [(number, sweep) for number, identity, sweep in runs if identity not in mine]


def _insert(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    runs: Sequence[tuple[int, int]],
    program: int,
    sweeps: dict[int, int],
) -> None:
    """Copies rows and curves under new numbers."""
    if not runs:
        return
    own = ("id", "sweep", "program")
    info = [row[1] for row in source.execute("PRAGMA table_info(runs)")]
    have = {row[1] for row in target.execute("PRAGMA table_info(runs)")}
    names = [name for name in info if name not in own and (name in FIXED_NAMES or name in have)]
    marks = ", ".join("?" * len(runs))
    fields = ", ".join(["id", *map(quoted, names)])
    first = target.execute("SELECT coalesce(max(id), 0) + 1 FROM runs").fetchone()[0]
    numbers = {run: first + place for place, (run, _) in enumerate(runs)}
    of_sweep = dict(runs)
    query = f"SELECT {fields} FROM runs WHERE id IN ({marks})"
    insert = ", ".join([*own, *map(quoted, names)])
    places = ", ".join("?" * (len(own) + len(names)))
    target.executemany(
        f"INSERT INTO runs ({insert}) VALUES ({places})",
        [(numbers[run], sweeps[of_sweep[run]], program, *values)
         for run, *values in source.execute(query, [run for run, _ in runs])],
    )  # fmt: skip
    curves = of_runs(source, [run for run, _ in runs])
    target.executemany(
        CURVE, [(numbers[run], name, blob) for run, blobs in curves.items()
                for name, blob in blobs.items()],
    )  # fmt: skip


def _registered(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    table: str,
    renumbered: dict[str, dict[int, int]],
) -> dict[int, int]:
    """Number there → number here, for a table whose rows have digests."""
    cursor = source.execute(f"SELECT * FROM {table}")
    names = [column[0] for column in cursor.description]
    numbers = {}
    for row in cursor.fetchall():
        fields: dict[str, SqlValue] = dict(zip(names, row, strict=True))
        number, digest = fields.pop("id"), fields.pop("digest")
        fields.pop("checksum")
        for name, mapping in renumbered.items():
            fields[name] = mapping[int(str(fields[name]))]
        assert isinstance(number, int)
        assert isinstance(digest, bytes)
        numbers[number] = registered(target, table, digest, fields)
    return numbers


def _sweeps(source: sqlite3.Connection, target: sqlite3.Connection) -> dict[int, int]:
    """Number there → number here; a sweep that was copied before keeps its number."""
    cursor = source.execute("SELECT * FROM sweeps")
    names = [column[0] for column in cursor.description][1:]
    place = names.index("checksum")
    numbers = {}
    for number, *row in cursor.fetchall():
        query = "SELECT id FROM sweeps WHERE checksum = ?"
        found = target.execute(query, (row[place],)).fetchone()
        if found is None:
            marks = ", ".join("?" * len(names))
            made = target.execute(
                f"INSERT INTO sweeps ({', '.join(names)}) VALUES ({marks})", tuple(row)
            )
            found = (made.lastrowid,)
        else:
            # A sweep that was copied while it ran has ended since.
            end = (row[names.index("ended")], row[names.index("state")], found[0])
            target.execute(
                "UPDATE sweeps SET ended = ?, state = ? WHERE id = ? AND ended IS NULL", end
            )
        numbers[number] = found[0]
    return numbers


def remove(path: str | Path, sweeps: Sequence[int]) -> int:
    """Removes sweeps with the runs that they computed; returns the number of runs.

    Raises:
      ValueError: no such sweep, no store, another writer. StoreError: the file cannot be written.
    """
    with reading(path) as connection:
        known = [row[0] for row in connection.execute("SELECT id FROM sweeps ORDER BY id")]
    wrong = [number for number in sweeps if number not in known]
    if wrong or not sweeps:
        raise errors.refusal("sweep", wrong or "none", f"out of {known}", "see jinit ls")
    writer = Writer(path)
    marks = ", ".join("?" * len(sweeps))
    try:
        with writer.transaction() as connection:
            condition = f"(SELECT id FROM runs WHERE sweep IN ({marks}))"
            _packs.forget(connection)
            connection.execute(f"DELETE FROM curves WHERE run IN {condition}", tuple(sweeps))
            removed = connection.execute(
                f"DELETE FROM runs WHERE sweep IN ({marks})", tuple(sweeps)
            ).rowcount
            connection.execute(f"DELETE FROM sweeps WHERE id IN ({marks})", tuple(sweeps))
    finally:
        writer.close(shrink=True, packing=math.inf)
    return removed


def _contradiction(path: Path, cells: Sequence[str]) -> errors.ValueRefusal:
    return errors.refusal(
        f"store {path}",
        f"other numbers for the same identity: {'; '.join(cells)}",
        "equal numbers for equal identities",
        "jinit verify both; one of them is damaged, or a machine computes wrongly",
    )
