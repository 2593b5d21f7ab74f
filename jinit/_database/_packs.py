"""Keeps the columns of many runs as arrays beside their rows: a million rows are read at once.

A pack holds one column of the runs of one program and one sweep, among 8,192 consecutive rows. The
rows are what counts: packs are read only while the rows that they cover are all there, with their
checksums. Otherwise the rows are read, and a writer packs all rows anew as soon as 8,192 follow the
last pack. Rows after the last pack are read as rows.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from jinit import errors
from jinit._database._runs import Layout
from jinit._database._schema import LONGEST_VALUE, quoted
from jinit._database._values import array_of

BATCH = 2**13
"""Rows that are packed at once, in about a fifth of a second; fewer stay rows."""

# The low bits of a row's checksum: the sum over a billion rows fits SQL's 64 bits.
_BITS = 2**32 - 1
_INSERT = (
    "INSERT INTO packs (program, sweep, last, name, runs, sum, data) VALUES (?, ?, ?, ?, ?, ?, ?)"
)


class Packer:
    """Packs rows while a store is written, in steps that delay no commit for long."""

    def __init__(self) -> None:
        self._last: int | None = None  # the last row in a pack, once it is known
        self._stopped = False

    def step(self, connection: sqlite3.Connection, seconds: float = 0.0) -> bool:
        """Packs the next rows, in the open transaction; returns whether there were any.

        Args:
          connection: to the store.
          seconds: after this time no further batch of rows begins.
        """
        if self._stopped:
            return False
        last = _last(connection) if self._last is None else self._last
        if _top(connection) - last < BATCH:
            return False
        if self._last is None and last != covered(connection):
            forget(connection)
            last = 0
        try:
            end = time.monotonic() + seconds
            while (stop := _stop(connection, last)) is not None:
                _pack_rows(connection, last, stop)
                last = stop
                if time.monotonic() >= end:
                    break
        except errors.Refusal:
            self._stopped = True  # a damaged row, of which `jinit verify` tells
        self._last = last
        return True


def forget(connection: sqlite3.Connection) -> None:
    """Removes all packs; whoever removes or changes rows calls this."""
    connection.execute("DELETE FROM packs")


def covered(connection: sqlite3.Connection) -> int:
    """The number of the last row that the packs hold; 0 if they do not belong to the rows."""
    last = _last(connection)
    if not last:
        return 0
    there = connection.execute(
        f"SELECT count(*), sum(checksum & {_BITS}) FROM runs WHERE id <= ?", (last,)
    ).fetchone()
    # Every pack of a program and a sweep says the same of its rows: one column speaks for all.
    held = connection.execute("SELECT sum(runs), sum(sum) FROM packs WHERE name = 'id'").fetchone()
    return last if there == held else 0


def census(connection: sqlite3.Connection) -> tuple[int, dict[tuple[int, int], int]]:
    """What :func:`covered` gives, and the number of runs of each program and sweep."""
    last = covered(connection)
    kinds = connection.execute(
        "SELECT program, sweep, sum(runs) FROM packs WHERE name = 'id' AND last <= ? GROUP BY 1, 2 "
        "UNION ALL SELECT program, sweep, count(*) FROM runs WHERE id > ? GROUP BY 1, 2",
        (last, last),
    )
    found: dict[tuple[int, int], int] = {}
    for program, sweep, runs in kinds:
        found[program, sweep] = found.get((program, sweep), 0) + runs
    return last, found


def columns_of(
    connection: sqlite3.Connection,
    program: int,
    sweeps: Sequence[int],
    columns: Sequence[tuple[str, str]],
) -> dict[str, list[np.ndarray]]:
    """Name → arrays of the runs of a program and of some sweeps, in the order of the rows.

    Args:
      connection: to the store.
      program: its number.
      sweeps: their numbers.
      columns: name and dtype of each column.

    Raises:
      ValueError: a damaged pack.
    """
    marks = ", ".join("?" * len(sweeps))
    query = (
        f"SELECT runs, data FROM packs WHERE program = ? AND name = ? AND sweep IN ({marks}) "
        "ORDER BY last, sweep"
    )
    return {
        name: [
            _decoded(data, dtype, runs, name)
            for runs, data in connection.execute(query, (program, name, *sweeps))
        ]
        for name, dtype in columns
    }


def problems(connection: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with the packs, in words: each is compared with its rows."""
    if covered(connection) != _last(connection):
        yield (
            "packs: not those of the rows, which are read instead; they are made anew once "
            f"{BATCH:,} rows are unpacked"
        )
        return
    layouts = _layouts(connection)
    start = 0
    for (stop,) in connection.execute("SELECT DISTINCT last FROM packs ORDER BY last").fetchall():
        query = "SELECT program, sweep, name, runs, data FROM packs WHERE last = ?"
        held = {
            tuple(kind): (runs, data) for *kind, runs, data in connection.execute(query, (stop,))
        }
        for program, sweep, runs, _, arrays in _batch(connection, layouts, start, stop):
            for name, array in arrays.items():
                found = held.pop((program, sweep, name), (0, b""))
                try:
                    same = found[0] == runs and _equal(
                        _decoded(found[1], str(array.dtype), runs, name), array
                    )
                except ValueError:
                    same = False
                if not same:
                    yield f"packs: column {name!r} up to run {stop} is not that of the rows"
        if held:
            yield f"packs: {len(held)} up to run {stop} without rows"
        start = stop


def _last(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(last), 0) FROM packs").fetchone()[0])


def _top(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM runs").fetchone()[0])


def _stop(connection: sqlite3.Connection, start: int) -> int | None:
    """The last row of the next batch; None if fewer rows than a batch are left."""
    query = "SELECT id FROM runs WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"
    row = connection.execute(query, (start, BATCH - 1)).fetchone()
    return None if row is None else int(row[0])


def _layouts(connection: sqlite3.Connection) -> dict[int, Layout]:
    rows = connection.execute("SELECT id, layout FROM programs").fetchall()
    return {number: Layout.read(text) for number, text in rows}


def _pack_rows(connection: sqlite3.Connection, start: int, stop: int) -> None:
    """Packs the rows after ``start`` up to ``stop``."""
    layouts = _layouts(connection)
    # All rows are read before the first is written: a damaged one leaves no half of a batch.
    for program, sweep, runs, total, arrays in list(_batch(connection, layouts, start, stop)):
        connection.executemany(
            _INSERT,
            [(program, sweep, stop, name, runs, total, _encoded(array))
             for name, array in arrays.items()],
        )  # fmt: skip


def _batch(
    connection: sqlite3.Connection, layouts: dict[int, Layout], start: int, stop: int
) -> Iterator[tuple[int, int, int, int, dict[str, np.ndarray]]]:
    """Program, sweep, number of runs, sum of checksums and columns of the rows of a batch."""
    within = "FROM runs WHERE id > ? AND id <= ?"
    kinds = connection.execute(f"SELECT DISTINCT program, sweep {within}", (start, stop)).fetchall()
    for program, sweep in sorted(kinds):
        layout = layouts[program]
        fields = ", ".join(["id", "checksum", *map(quoted, layout.names)])
        rows = connection.execute(
            f"SELECT {fields} {within} AND program = ? AND sweep = ? ORDER BY id",
            (start, stop, program, sweep),
        ).fetchall()
        numbers, sums, *values = zip(*rows, strict=True)
        columns = [("id", "int64"), *((name, dtype) for name, _, dtype in layout.columns)]
        arrays = {
            name: array_of(column, dtype, name)
            for (name, dtype), column in zip(columns, (numbers, *values), strict=True)
        }
        yield program, sweep, len(rows), sum(one & _BITS for one in sums), arrays


def _encoded(column: np.ndarray) -> bytes:
    """A column as compressed bytes: little-endian numbers, or texts and the place of each."""
    if column.dtype.kind != "O":
        return zlib.compress(column.astype(column.dtype.newbyteorder("<")).tobytes(), 1)
    places: dict[str | None, int] = {}
    codes = [places.setdefault(value, len(places)) for value in column.tolist()]
    head = json.dumps(list(places)).encode()
    parts = (len(head).to_bytes(4, "little"), head, np.array(codes, "<u2").tobytes())
    return zlib.compress(b"".join(parts), 1)


def _decoded(data: object, dtype: str, runs: object, name: str) -> np.ndarray:
    """The column again; refuses bytes that are none."""
    try:
        if not isinstance(data, bytes) or not isinstance(runs, int) or not 0 < runs <= BATCH:
            raise ValueError
        engine = zlib.decompressobj()
        raw = engine.decompress(data, LONGEST_VALUE)
        kind = np.dtype(dtype)
        found = _texts(raw) if kind.kind == "O" else np.frombuffer(raw, kind.newbyteorder("<"))
        if not engine.eof or len(found) != runs:
            raise ValueError
    except (ValueError, TypeError, IndexError, RecursionError, zlib.error):
        raise errors.refusal(
            f"packed column {name!r} of the store", "damaged values", "what jinit wrote",
            "run jinit verify",
        ) from None  # fmt: skip
    return found.astype(kind)


def _texts(raw: bytes) -> np.ndarray:
    size = int.from_bytes(raw[:4], "little")
    texts = json.loads(raw[4 : 4 + size])
    if not isinstance(texts, list) or not {type(text) for text in texts} <= {str, type(None)}:
        raise ValueError
    made = np.empty(len(texts), object)
    made[:] = texts
    return made[np.frombuffer(raw[4 + size :], "<u2")]


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind == "O":
        return one.tolist() == other.tolist()
    return one.tobytes() == other.tobytes()
