"""Reads the runs of a store as the columns of a table."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jinit import errors
from jinit._database import _environments, _marks, _packs
from jinit._database._kinds import kind_of
from jinit._database._open import explained, reading
from jinit._database._runs import Layout, Stored, by_number, chunks
from jinit._database._schema import quoted
from jinit._database._sweeps import Entry, sweeps
from jinit._database._values import array_of, is_repeated, missing, repeated
from jinit._warn import warn

# Rows in one group of arrays.
_GROUP = 2**14


@dataclass(frozen=True)
class Whole:
    """The parts of a table.

    Attributes:
      columns: name → array ``(runs,)``.
      axes: the names of those that are axes.
      curves: name → array ``(runs, points)``.
      steps: completed steps at each point.
      settings: those of the sweep.
    """

    columns: Mapping[str, np.ndarray]
    axes: tuple[str, ...]
    curves: Mapping[str, np.ndarray]
    steps: np.ndarray
    settings: dict[str, Any]


def load(
    path: str | Path,
    sweep: int | None = None,
    columns: Sequence[str] | None = None,
    *,
    lenient: bool = False,
) -> Whole:
    """The runs of all sweeps that differ in axes and seeds alone.

    If several environments computed them, the column ``environment`` says which, as differences
    from that of the newest sweep, or of ``sweep``, and a warning names the column.

    Args:
      path: the store.
      sweep: the number of one of these sweeps; needed if the store has others, too.
      columns: metrics to read besides the axes, without curves; default: everything, row by row
        with its checksum.
      lenient: whether columns that no run has are left out instead of refused.

    Raises:
      ValueError: no runs, no such sweep or column, sweeps of several kinds, runs that two versions
        of the code computed, a damaged file.
    """
    with reading(path) as connection, explained(path):
        packed, counts = _packs.census(connection)
        entries = sweeps(connection, counts)
        chosen = _chosen(path, entries, sweep)
        kind = kind_of(chosen)
        alike = [entry for entry in entries if kind_of(entry) == kind]
        marks = _marks.of_sweep(alike[-1] if sweep is None else chosen, alike)
        kin = [entry.number for entry in alike]
        programs = _programs(connection, {program for program, sweep in counts if sweep in kin})
        if not programs:
            raise errors.refusal("store", f"{path} without runs", "finished runs", "wait")
        names = dict.fromkeys(name for _, layout in programs for name in layout.names)
        for name in columns or ():
            if name not in names and not lenient:
                raise errors.unknown_name("column", name, list(names), "jinit.read(path).columns")
        single = _single_valued(alike)
        parts = [
            _whole(connection, number, layout, kin)
            if columns is None
            else _part(connection, number, layout, kin, columns, single, packed)
            for number, layout in programs
        ]
        # A run may have been computed by two versions of a model; ``sweep`` then says which one.
        order = _order(parts, chosen, marks)
        mine = {program for program, number in counts if number == chosen.number}
        if order.twice and sweep is not None:
            old = {place for place in order.twice if programs[place][0] not in mine}
            if old != order.twice:
                parts = [part for place, part in enumerate(parts) if place not in old]
                programs = [one for place, one in enumerate(programs) if place not in old]
                order = _order(parts, chosen, marks)
        if order.twice:
            both = {programs[place][0] for place in order.twice}
            owners = sorted({number for program, number in counts if program in both} & {*kin})
            # The sweeps of one program cannot be told apart by their programs.
            raise _of_two_versions(path, owners, apart=sweep is None and len(both) > 1)
        numbers = [number for number, _ in programs]
        marked = _environments.marked(
            parts, numbers, _environments.environments(connection), max(mine, default=numbers[-1])
        )
        if marked[0] is not parts[0]:
            warn(f"several environments computed the runs of {path}: see the column 'environment'")
            parts, order = marked, _order(marked, chosen, marks)
    return _joined(parts, chosen, marks, order)


def _of_two_versions(
    path: str | Path, owners: Sequence[int], *, apart: bool
) -> errors.ValueRefusal:
    """The refusal of runs that several sweeps computed; ``apart``: ``sweep`` tells them apart."""
    newest = f"sweep={owners[-1]}, or --sweep {owners[-1]}, reads those of its code; "
    return errors.refusal(
        "runs of a store",
        f"sweeps {', '.join(map(str, owners))} computed the same ones",
        "each run once: a model, its data, an initializer, the width of tiles or the machine has "
        "changed",
        f"{newest if apart else ''}jinit rm {path} --sweep {owners[0]} removes older ones",
    )


def _chosen(path: str | Path, entries: Sequence[Entry], sweep: int | None) -> Entry:
    known = [entry for entry in entries if entry.computed]
    if sweep is not None:
        found = [entry for entry in entries if entry.number == sweep]
        if not found:
            numbers = [entry.number for entry in entries]
            raise errors.refusal("sweep", sweep, f"one of {numbers}", "see jinit ls")
        return found[0]
    if not known:
        raise errors.refusal("store", f"{path} without runs", "finished runs", "wait for some")
    kinds: dict[str, Entry] = {kind_of(entry): entry for entry in known}
    if len(kinds) > 1:
        numbers = sorted(entry.number for entry in kinds.values())
        raise errors.refusal(
            "sweep", f"none, but {path} holds sweeps with different settings",
            f"one sweep of each kind: {numbers}", f"sweep={numbers[-1]}, or --sweep {numbers[-1]}",
        )  # fmt: skip
    return known[-1]


def _programs(connection: sqlite3.Connection, wanted: Collection[int]) -> list[tuple[int, Layout]]:
    rows = connection.execute("SELECT id, layout FROM programs ORDER BY id").fetchall()
    return [(number, Layout.read(text)) for number, text in rows if number in wanted]


def _whole(
    connection: sqlite3.Connection, program: int, layout: Layout, kin: Sequence[int]
) -> Stored:
    """All columns and curves of a program, row by row with its checksum."""
    query = f"SELECT id {_of(kin)}"
    numbers = [row[0] for row in connection.execute(query, (program, *kin))]
    parts = [by_number(connection, layout, chunk) for chunk in chunks(numbers)]
    return _stacked(parts, layout)


def _part(
    connection: sqlite3.Connection,
    program: int,
    layout: Layout,
    kin: Sequence[int],
    columns: Sequence[str],
    single: Collection[str],
    packed: int,
) -> Stored:
    """The axes and some metrics of a program; rows up to ``packed`` are read from packs."""
    kept = [each for each in layout.columns if each[1] == "axis" or each[0] in columns]
    fixed = [axis for axis in layout.axes if axis in single]
    read = [("id", "int64"), *((name, dtype) for name, _, dtype in kept if name not in fixed)]
    groups: dict[str, list[np.ndarray]] = {name: [] for name, _ in read}
    if packed:
        groups = _packs.columns_of(connection, program, kin, read)
    fields = ", ".join(quoted(name) for name, _ in read)
    query = f"SELECT {fields} {_of(kin)} AND id > ?"
    cursor = connection.execute(query, (program, *kin, packed))
    # Group by group: a million rows at once would be a million Python tuples.
    while rows := cursor.fetchmany(_GROUP):
        for (name, dtype), column in zip(read, zip(*rows, strict=True), strict=True):
            groups[name].append(array_of(column, dtype, name))
    columns_read = {name: np.concatenate(arrays) for name, arrays in groups.items()}
    numbers = columns_read["id"]
    fields = ", ".join(map(quoted, ["id", *fixed]))
    query = f"SELECT {fields} FROM runs WHERE id = ?"
    first = connection.execute(query, (int(numbers[0]),)).fetchone()
    constants = dict(zip(fixed, first[1:], strict=True))
    arrays = {
        name: repeated(array_of([constants[name]], dtype, name), len(numbers))
        if name in fixed
        else columns_read[name]
        for name, _, dtype in kept
    }
    return Stored(np.arange(len(numbers)), arrays, {}, layout)


def _of(kin: Sequence[int]) -> str:
    """Selects the rows of a program and of these sweeps."""
    return f"FROM runs WHERE program = ? AND sweep IN ({', '.join('?' * len(kin))})"


def _single_valued(entries: Sequence[Entry]) -> frozenset[str]:
    """The axes for which the grids of all these sweeps have one value, the same.

    Their value is that of a program's first row; the other rows are not asked.
    """
    grids = [entry.settings.get("grid") for entry in entries]
    known = [set(_plain(grid).items()) for grid in grids]
    return frozenset(name for name, _ in set.intersection(*known))


def _plain(grid: object) -> dict[str, Any]:
    """The fields of a grid that hold one plain value: neither several values nor named arms."""
    fields = grid.items() if isinstance(grid, dict) else ()
    return {name: value for name, value in fields if not isinstance(value, list | dict)}


def _stacked(parts: Sequence[Stored], layout: Layout) -> Stored:
    columns = {name: np.concatenate([part.columns[name] for part in parts])
               for name in layout.names}  # fmt: skip
    curves = {name: np.concatenate([part.curves[name] for part in parts])
              for name in layout.curves}  # fmt: skip
    return Stored(np.arange(sum(len(part.places) for part in parts)), columns, curves, layout)


@dataclass(frozen=True)
class _Order:
    """The rows of several programs, sorted by the order of the axes in the grid.

    Attributes:
      columns: name → array of all rows, those of the first program first.
      axes: the names of those that are axes.
      varying: the axes that have several values.
      rows: the numbers of the rows, sorted.
      twice: the places of the programs that have a run which occurs twice.
    """

    columns: dict[str, np.ndarray]
    axes: tuple[str, ...]
    varying: Sequence[str]
    rows: np.ndarray
    twice: set[int]


def _order(parts: Sequence[Stored], chosen: Entry, marks: Mapping[str, Any]) -> _Order:
    names = list(dict.fromkeys(name for part in parts for name in part.columns))
    columns = {name: _concatenated([_filled(part, name, parts) for part in parts])
               for name in names}  # fmt: skip
    axes = tuple(name for name in names if any(name in part.layout.axes for part in parts))
    grid = {**chosen.settings.get("grid", {}), **marks.get("grid", {})}
    columns |= {axis: _as_asked(columns[axis], grid.get(axis)) for axis in axes}
    varying = [axis for axis in axes if not _is_constant(columns[axis])]
    keys = [_places(columns[axis], grid.get(axis)) for axis in reversed(varying)]
    rows = np.lexsort(keys) if keys else np.arange(len(columns[names[0]]))
    again = np.ones(max(len(rows) - 1, 0), bool)
    for key in keys:
        again &= key[rows[1:]] == key[rows[:-1]]
    pairs = np.flatnonzero(again)
    ends = np.cumsum([len(part.places) for part in parts])
    found = np.searchsorted(ends, np.concatenate([rows[pairs], rows[pairs + 1]]), side="right")
    return _Order(columns, axes, varying, rows, set(found.tolist()))


def _as_asked(column: np.ndarray, listed: object) -> np.ndarray:
    """The column with one value for numbers that a run cannot tell apart, as it knows float32.

    It is the value that the grid lists, or the shortest one.
    """
    if column.dtype != np.float64:
        return column
    constant = _is_constant(column)
    values, places = (column[:1], None) if constant else np.unique(column, return_inverse=True)
    asked = [value for value in _listed(listed) if isinstance(value, float)]
    known = [*asked, *sorted(values.tolist(), key=lambda value: len(repr(value)))]
    with np.errstate(over="ignore"):
        first = {np.float32(value).tobytes(): value for value in reversed(known)}
        chosen = np.array([first[value.astype(np.float32).tobytes()] for value in values])
    if np.array_equal(chosen, values, equal_nan=True):
        return column
    return repeated(chosen, len(column)) if places is None else chosen[places]


def _listed(values: object) -> list[Any]:
    """The values of an axis of a grid, which may list a single one."""
    return values if isinstance(values, list) else [values]


def _joined(
    parts: Sequence[Stored], chosen: Entry, marks: Mapping[str, Any], order: _Order
) -> Whole:
    """One table of several programs."""
    columns, axes, rows = dict(order.columns), order.axes, order.rows
    named = list(dict.fromkeys(name for part in parts for name in part.curves))
    curves = {name: _concatenated([_curve(part, name, parts) for part in parts]) for name in named}
    columns |= _marks.marked(marks, columns)
    moved = {
        name: column if name in axes and name not in order.varying else column[rows]
        for name, column in columns.items()
    }
    return Whole(
        columns=moved,
        axes=axes,
        curves={name: curve[rows] for name, curve in curves.items()},
        steps=np.asarray(next((part.layout.steps for part in parts if part.curves), ())),
        settings=_settings(chosen.settings, columns, axes)
        | {name: marks[name] for name in ("halving", "looks") if name in marks},
    )


def _settings(
    settings: dict[str, Any], columns: Mapping[str, np.ndarray], axes: Sequence[str]
) -> dict[str, Any]:
    """The settings of the sweep, with the values of all axes and all seeds of the runs."""
    grid = dict(settings.get("grid", {}))
    for axis in axes:
        known = _listed(grid.get(axis))
        if axis in grid and len(_different(columns[axis])) > len(known):
            new = [value for value in dict.fromkeys(columns[axis].tolist()) if value not in known]
            grid[axis] = [*known, *new]
    seeds = sorted(_different(columns["seed"])) if "seed" in columns else []
    grid["seeds"] = len(seeds) if seeds == [*range(len(seeds))] else seeds
    kept = {name: value for name, value in settings.items() if name != _marks.MARKS}
    return kept | {"grid": grid, "seconds": None}


def _different(column: np.ndarray) -> Collection[Any]:
    """The different values, as Python has them."""
    if _is_constant(column):
        return column[:1].tolist()
    return np.unique(column).tolist() if column.dtype.kind in "iuf" else set(column.tolist())


def _concatenated(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The parts one after the other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _is_constant(column: np.ndarray) -> bool:
    """Whether all values are the same one."""
    if not len(column) or is_repeated(column):
        return True
    return bool((column[0] == column[-1]) and (column == column[0]).all())


def _filled(part: Stored, name: str, parts: Sequence[Stored]) -> np.ndarray:
    """A column of one program; NaN or None if only other programs have it."""
    if name in part.columns:
        return part.columns[name]
    other = next(each.columns[name] for each in parts if name in each.columns)
    return missing(other, len(part.places))


def _curve(part: Stored, name: str, parts: Sequence[Stored]) -> np.ndarray:
    """A curve of one program; NaN if only other programs have it."""
    if name in part.curves:
        return part.curves[name]
    other = next(each.curves[name] for each in parts if name in each.curves)
    kind = other.dtype if other.dtype.kind == "f" else np.dtype(np.float64)
    return np.full((len(part.places), *other.shape[1:]), np.nan, kind)


def _places(column: np.ndarray, listed: object) -> np.ndarray:
    """The place of each value: as the grid lists them, others behind; numbers by size."""
    if column.dtype.kind in "iuf" and not isinstance(listed, list):
        return np.unique(column, return_inverse=True)[1]
    values = list(dict.fromkeys(column.tolist()))
    if isinstance(listed, list):
        values = [*(value for value in listed if value in values), *values]
    order = {value: place for place, value in reversed([*enumerate(values)])}
    return np.array([*map(order.__getitem__, column.tolist())])
