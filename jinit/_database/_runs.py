"""Writes runs as rows of a store and finds them again by their identity."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from jinit import errors
from jinit._database._schema import FIXED_NAMES, MOST_COLUMNS, column_type, quoted
from jinit._database._values import (
    Rows,
    SqlValue,
    array_of,
    checksum,
    packed,
    python_values,
    row_checksum,
)

T = TypeVar("T")

# The columns of a row, besides its axes and metrics, that the checksum covers.
COVERED = ("identity", "machine", "finished", "missing")
CURVE = 'INSERT INTO curves (run, metric, "values") VALUES (?, ?, ?)'
# SQLite takes at least 999 parameters a statement.
_CHUNK = 500
_MOST_POINTS = 10**6


@dataclass(frozen=True)
class Layout:
    """What the rows of a program hold.

    Attributes:
      columns: name, ``"axis"`` or ``"metric"``, and dtype of each column of a table.
      curves: names of the curves.
      steps: completed steps at each point of the curves.

    >>> Layout((("seed", "axis", "int64"),), (), ()).names
    ('seed',)
    """

    columns: tuple[tuple[str, str, str], ...]
    curves: tuple[str, ...]
    steps: tuple[int, ...]

    @classmethod
    def of(
        cls,
        columns: Mapping[str, np.ndarray],
        axes: Sequence[str],
        curves: Sequence[str],
        steps: Sequence[int],
    ) -> Layout:
        """The layout of a table with these columns."""
        described = [
            (name, "axis" if name in axes else "metric", str(column.dtype))
            for name, column in columns.items()
        ]
        return cls(tuple(described), tuple(curves), tuple(int(step) for step in steps))

    @classmethod
    def read(cls, text: str) -> Layout:
        """The layout that ``text`` describes; refuses text that describes none."""
        try:
            found = json.loads(text)
            columns = tuple((str(n), str(kind), str(dtype)) for n, kind, dtype in found["columns"])
            curves = tuple(str(name) for name in found["curves"])
            steps = tuple(int(step) for step in found["steps"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise _damaged("layout of a program") from None
        for name, _, dtype in columns:
            column_type(name, "O" if dtype == "object" else _kind(dtype))
        if len(steps) > _MOST_POINTS or len(set(columns)) != len(columns):
            raise _damaged("layout of a program")
        return cls(columns, curves, steps)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(name for name, _, _ in self.columns)

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the columns that are axes."""
        return tuple(name for name, kind, _ in self.columns if kind == "axis")

    def text(self) -> str:
        """The layout as JSON."""
        fields = {"columns": self.columns, "curves": self.curves, "steps": self.steps}
        return json.dumps(fields)


def _kind(dtype: str) -> str:
    try:
        return np.dtype(dtype).kind
    except TypeError:
        raise _damaged(f"dtype {dtype[:40]!r}") from None


@dataclass(frozen=True)
class Stored:
    """Runs that were found in a store.

    Attributes:
      places: their places among the identities that were asked for, ascending.
      columns: name → array ``(runs,)``, in the dtype of the layout.
      curves: name → array ``(runs, points)`` float32.
      layout: what the rows hold.
    """

    places: np.ndarray
    columns: Mapping[str, np.ndarray]
    curves: Mapping[str, np.ndarray]
    layout: Layout


class RunRows:
    """Makes the rows of the runs of one program."""

    def __init__(self, layout: Layout, *, sweep: int, program: int, machine: str) -> None:
        """Args:
        layout: what the rows hold.
        sweep, program: numbers of the sweep and of the program in the store.
        machine: the name of this machine.
        """
        names = ("id", "identity", "sweep", "program", "machine", "finished", "missing", "checksum")
        columns = ", ".join([*names, *map(quoted, layout.names)])
        marks = ", ".join("?" * (len(names) + len(layout.names)))
        self._insert = f"INSERT INTO runs ({columns}) VALUES ({marks})"
        self._layout = layout
        self._numbers = (sweep, program)
        self._machine = machine

    def rows(
        self,
        first: int,
        identities: Sequence[bytes],
        columns: Mapping[str, np.ndarray],
        curves: Mapping[str, np.ndarray],
        reasons: Sequence[Mapping[str, str]],
    ) -> list[Rows]:
        """The rows of finished runs.

        Args:
          first: the number of the first row.
          identities: one per run.
          columns, curves: as in :class:`Stored`.
          reasons: for each run, name of a missing number → why there is none.
        """
        names = (*COVERED, *self._layout.names)
        values = zip(*(python_values(columns[name]) for name in self._layout.names), strict=True)
        now = round(time.time(), 3)
        runs: list[tuple[SqlValue, ...]] = []
        of_curves: list[tuple[SqlValue, ...]] = []
        for place, (identity, row) in enumerate(zip(identities, values, strict=True)):
            missing = "; ".join(f"{name}: {why}" for name, why in reasons[place].items()) or None
            blobs = {name: packed(curves[name][place]) for name in self._layout.curves}
            found = row_checksum(names, (identity, self._machine, now, missing, *row), blobs)
            number = first + place
            runs.append(
                (number, identity, *self._numbers, self._machine, now, missing, found, *row)
            )
            of_curves += [(number, name, blob) for name, blob in blobs.items()]
        return [(self._insert, runs), *([(CURVE, of_curves)] if of_curves else [])]


def find(connection: sqlite3.Connection, layout: Layout, identities: Sequence[bytes]) -> Stored:
    """The runs of a program that the store holds, checked one by one.

    Raises:
      ValueError: a row whose checksum says that it is damaged.
    """
    where = {identity: place for place, identity in enumerate(identities)}
    found: dict[int, tuple[tuple[SqlValue, ...], Mapping[str, bytes]]] = {}
    for chunk in chunks(identities):
        marks = ", ".join("?" * len(chunk))
        for _, identity, row, curves in whole_rows(
            connection, layout, f"identity IN ({marks})", tuple(chunk)
        ):
            if identity in where:
                found[where[identity]] = (row, curves)
    places = sorted(found)
    return _stored(layout, places, [found[place] for place in places])


def by_number(connection: sqlite3.Connection, layout: Layout, runs: Sequence[int]) -> Stored:
    """The runs with these numbers, in this order, checked one by one."""
    found: dict[int, tuple[tuple[SqlValue, ...], Mapping[str, bytes]]] = {}
    for chunk in chunks(runs):
        marks = ", ".join("?" * len(chunk))
        read = whole_rows(connection, layout, f"id IN ({marks})", tuple(chunk))
        found |= {number: (row, curves) for number, _, row, curves in read}
    return _stored(layout, range(len(runs)), [found[run] for run in runs])


def axis_values(
    connection: sqlite3.Connection, program: int, names: Sequence[str]
) -> Iterator[tuple[int, bytes, tuple[SqlValue, ...]]]:
    """Number, identity and axis values of the runs of a program."""
    fields = ", ".join(map(quoted, names))
    query = f"SELECT id, identity, {fields} FROM runs WHERE program = ?"
    for number, identity, *values in connection.execute(query, (program,)):
        yield number, identity, tuple(values)


def _stored(
    layout: Layout,
    places: Sequence[int],
    rows: Sequence[tuple[tuple[SqlValue, ...], Mapping[str, bytes]]],
) -> Stored:
    columns = list(zip(*(row for row, _ in rows), strict=True)) or [()] * len(layout.columns)
    points = len(layout.steps)
    curves = {
        name: np.frombuffer(b"".join(blobs[name] for _, blobs in rows), "<f4")
        .astype(np.float32)
        .reshape(len(rows), points)
        for name in layout.curves
    }
    arrays = {
        name: array_of(values, dtype, name)
        for (name, _, dtype), values in zip(layout.columns, columns, strict=True)
    }
    return Stored(np.array(places, np.int64), arrays, curves, layout)


def whole_rows(
    connection: sqlite3.Connection, layout: Layout, where: str, parameters: tuple[SqlValue, ...]
) -> Iterator[tuple[int, bytes, tuple[SqlValue, ...], Mapping[str, bytes]]]:
    """Number, identity, columns and curves of the rows that a condition names.

    Raises:
      ValueError: a damaged row.
    """
    names = (*COVERED, *layout.names)
    fields = ", ".join(["id", "checksum", *map(quoted, names)])
    size = 4 * len(layout.steps)
    cursor = connection.execute(f"SELECT {fields} FROM runs WHERE {where} ORDER BY id", parameters)
    while rows := cursor.fetchmany(_CHUNK):
        curves = of_runs(connection, [row[0] for row in rows]) if layout.curves else {}
        for number, kept, *row in rows:
            blobs = curves.get(number, {})
            sound = row_checksum(names, row, blobs) == kept and set(blobs) == set(layout.curves)
            if not sound or any(len(blob) != size for blob in blobs.values()):
                raise _damaged(f"run {number}")
            yield number, row[0], tuple(row[len(COVERED) :]), blobs


def of_runs(connection: sqlite3.Connection, runs: Sequence[int]) -> dict[int, dict[str, bytes]]:
    """Run → curve → its bytes."""
    marks = ", ".join("?" * len(runs))
    found: dict[int, dict[str, bytes]] = {}
    query = f'SELECT run, metric, "values" FROM curves WHERE run IN ({marks})'
    for run, metric, values in connection.execute(query, tuple(runs)):
        if not isinstance(values, bytes) or not isinstance(metric, str):
            raise _damaged(f"a curve of run {run}")
        found.setdefault(run, {})[metric] = values
    return found


@dataclass(frozen=True)
class StoredProgram:
    """A program in the store that trains the same networks, in some environment.

    Attributes:
      number: its number.
      digest: what decides the numbers of its runs besides their lanes.
      layout: what its rows hold.
      environment: versions, machine and switches.
      environment_digest: the digest of these.
    """

    number: int
    digest: bytes
    layout: Layout
    environment: dict[str, Any]
    environment_digest: bytes


def programs_of(connection: sqlite3.Connection, label: bytes) -> list[StoredProgram]:
    """The programs that train the networks of a label.

    Args:
      label: a hash of what is trained, whatever the versions and the machine.
    """
    query = (
        "SELECT p.id, p.digest, p.layout, e.settings, e.digest FROM programs p "
        "JOIN environments e ON e.id = p.environment WHERE p.label = ? ORDER BY p.id"
    )
    return [
        StoredProgram(number, digest, Layout.read(layout), settings_of(text), theirs)
        for number, digest, layout, text, theirs in connection.execute(query, (label,))
    ]


def layout_of(connection: sqlite3.Connection, digest: bytes) -> Layout | None:
    """The layout of the program with this digest; None if the store lacks the program."""
    query = "SELECT layout FROM programs WHERE digest = ?"
    row = connection.execute(query, (digest,)).fetchone()
    return None if row is None else Layout.read(row[0])


def settings_of(text: str) -> dict[str, Any]:
    """JSON of settings; refuses text that is none."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _damaged("settings")
    return found


def registered(
    connection: sqlite3.Connection, table: str, digest: bytes, fields: Mapping[str, SqlValue]
) -> int:
    """The number of the row with this digest, which is made if need be."""
    query = f"SELECT id FROM {table} WHERE digest = ?"
    row = connection.execute(query, (digest,)).fetchone()
    if row is None:
        values = {"digest": digest, **fields}
        values["checksum"] = checksum(sorted(values.items()))
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", (*values.values(),))
        row = connection.execute(query, (digest,)).fetchone()
    return int(row[0])


def add_columns(connection: sqlite3.Connection, layout: Layout) -> None:
    """Adds the columns that the table of runs lacks."""
    known = dict(connection.execute("SELECT name, dtype FROM columns").fetchall())
    lowered = {name.lower(): name for name in known}
    count = len(FIXED_NAMES) + len({*known, *(name for name, _, _ in layout.columns)})
    if count > MOST_COLUMNS:
        raise errors.refusal(
            "columns of a store", count, f"at most {MOST_COLUMNS}, axes and metrics of all sweeps",
            "use another store",
        )  # fmt: skip
    for name, kind, dtype in layout.columns:
        sql = column_type(name, np.dtype(dtype).kind)
        same = lowered.get(name.lower(), name)
        if same != name:
            raise errors.refusal(
                "column of a store", name, f"a name that differs from {same!r} in its letters",
                "SQL does not tell capitals from small letters; rename it",
            )  # fmt: skip
        if name in known and (known[name] == "object") != (dtype == "object"):
            raise errors.refusal(
                f"column {name!r} of a store", dtype, f"{known[name]}, as in earlier runs",
                "use another store",
            )  # fmt: skip
        if name not in known:
            connection.execute(f"ALTER TABLE runs ADD COLUMN {quoted(name)} {sql}")
            position = len(known)
            connection.execute(
                "INSERT INTO columns VALUES (?, ?, ?, ?)", (name, kind, dtype, position)
            )
            known[name] = dtype
            lowered[name.lower()] = name


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items in groups that fit one statement."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _damaged(what: str) -> errors.ValueRefusal:
    return errors.refusal(
        f"{what} of the store", "damaged values", "what jinit wrote", "run jinit verify"
    )
