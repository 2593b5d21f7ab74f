"""Defines the table of a sweep: one row per run, with its metrics and learning curves."""

from __future__ import annotations

import csv
import importlib.util
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jinit import errors
from jinit._database import is_repeated, repeated
from jinit.results import _formats, _shown
from jinit.results._files import write_whole

if TYPE_CHECKING:
    import pandas
    import xarray

CURVES = ("train_loss", "test_loss", "test_accuracy", "gradient_norm")
Value: TypeAlias = str | float | bool | None
"""A value of an axis, as a table holds it."""


@dataclass(frozen=True, repr=False)
class Table:
    """The runs of a sweep, one row per run.

    Attributes:
      columns: name → array ``(runs,)``: the axes (``initializer``, ``activation``, ``depth``,
        ``seed``, …), then the metrics. ``steps_to_target`` is inf if the target was not reached;
        ``first_bad_step`` is −1 and ``where`` is "" if the run did not diverge; else ``where`` is
        "loss" or "gradient". A diverged run has
        the metrics of its last parameters, whose outputs may already overflow: outputs that are not
        finite count as wrong (accuracy down to 0) and give NaN losses. ``calibrated`` is False if a
        calibration, such as that of ``lsuv(zeros)``, did not reach its goal in every layer. With
        ``Grid(validation=…)``: ``best_step``, ``best_validation_loss``, ``best_test_loss`` and
        ``best_test_accuracy`` at the evaluated step of the least validation loss.
      axes: the names of the axis columns.
      curves: name → array ``(runs, evaluations)``: train_loss, test_loss, test_accuracy,
        gradient_norm, and those of the user's metrics, the validation set and probes.
      curve_steps: ``(evaluations,)`` completed steps at each point of the curves.
      settings: the grid, versions and machine settings, as plain values for JSON.
      parameters: row number → final parameters of the runs that ``jinit.run(keep=…)`` kept, or
        ``(parameters, state)`` of a model with state; files do not hold them.

    Raises:
      TypeError: columns or curves that are not arrays by name; settings that are no mapping.
      ValueError: no columns, lengths that differ, an axis without a column.

    >>> table = Table({"depth": np.array([1, 2])}, ("depth",), {}, np.array([]))
    >>> len(table), table["depth"].tolist()
    (2, [1, 2])
    """

    columns: Mapping[str, np.ndarray]
    axes: tuple[str, ...]
    curves: Mapping[str, np.ndarray]
    curve_steps: np.ndarray
    settings: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[int, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        _check_columns(self.columns, self.axes, self.curves)
        for name in ("settings", "parameters"):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise errors.wrong_type(name, given, "a mapping", f"{name}={{}}")

    def __repr__(self) -> str:
        return f"Table({_shown.summary(self.columns, self.axes, self.curve_steps)})"

    def _repr_html_(self) -> str:
        return _shown.html(self.columns, self.axes, self.curve_steps)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column: str) -> np.ndarray:
        """A column ``(runs,)``.

        Raises:
          ValueError: no such column. TypeError: the name is not text.
        """
        if not isinstance(column, str):
            raise errors.wrong_type("column", column, "a name", f"use {next(iter(self.columns))!r}")
        if column not in self.columns:
            raise errors.unknown_name("column", column, self.columns, "table.columns")
        return self.columns[column]

    def select(self, **values: Value | Sequence[Value] | np.ndarray) -> Table:
        """The rows in which every named column has the given value, or one of the given values.

        Args:
          values: column name → value, or several values: ``table.select(depth=(8, 16))``.

        Raises:
          ValueError: no such column, a value that the column lacks, or no such row.

        >>> table = Table({"depth": np.array([1, 2, 4])}, ("depth",), {}, np.array([]))
        >>> len(table.select(depth=2)), table.select(depth=(1, 4))["depth"].tolist()
        (1, [1, 4])
        """
        keep = np.ones(len(self), bool)
        for column, value in values.items():
            if not isinstance(value, list | tuple | range | set | frozenset | np.ndarray):
                keep &= self[column] == value
                continue
            wanted, present = np.asarray(list(value), object).tolist(), self[column].tolist()
            missing = [item for item in wanted if item not in present]
            if missing or not wanted:
                raise errors.refusal(
                    column, missing or value, f"values out of {_some(self[column])}", "leave it out"
                )
            keep &= np.array([item in wanted for item in present])
        if not keep.any():
            options = {name: _some(self[name]) for name in values}
            raise errors.refusal(
                "rows",
                values,
                f"values that occur together in one row, out of {options}",
                "labels are canonical: grid.labels(axis) lists them",
            )
        return self.take(keep)

    def with_column(self, name: str, values: Sequence[Value] | np.ndarray) -> Table:
        """The table with a column of one's own, which :func:`jinit.compare` takes as a metric.

        Args:
          name: of the column; new.
          values: ``(runs,)``, in the order of the rows: numbers, Booleans or text.

        Returns:
          A new table; this one is unchanged.

        Raises:
          ValueError: the name of a column, or another number of values than runs.
          TypeError: a name that is not text, values that are no numbers, Booleans or text.

        >>> table = Table({"seed": np.array([0, 1])}, ("seed",), {}, np.array([]))
        >>> table.with_column("f1", [0.5, 0.75])["f1"].tolist()
        [0.5, 0.75]
        """
        if not isinstance(name, str) or not name:
            raise errors.wrong_type("name of the column", name, "text", "use 'f1'")
        if name in self.columns:
            fix = "choose another name; columns of a sweep stay as they were measured"
            raise errors.refusal("name of the column", name, "a new name", fix)
        column = np.asarray(values)
        if column.dtype.kind in "OUS":
            column = _formats.objects(list(values))
        what, allowed = f"values of {name!r}", "one number, Boolean or text for each run"
        plain = column.dtype.kind in "biuf" or all(
            item is None or isinstance(item, str | bool | int | float) for item in column.tolist()
        )
        if column.ndim != 1 or not plain:
            raise errors.wrong_type(what, values, allowed, f"np.zeros({len(self)})")
        if len(column) != len(self):
            fix = "in the order of the table's rows"
            raise errors.refusal(what, f"{len(column)} values", f"{len(self)}, one per run", fix)
        return replace(self, columns={**self.columns, name: column})

    def take(self, rows: np.ndarray) -> Table:
        """The rows with the given row numbers, or those at which a boolean mask is True.

        Raises:
          ValueError: numbers or a mask that do not fit the rows. TypeError: neither of the two.
        """
        rows = np.asarray(rows)
        if rows.dtype.kind not in "bui" or rows.ndim != 1:
            raise errors.wrong_type("rows", rows, "row numbers or a boolean mask", "np.arange(10)")
        fits = (
            len(rows) == len(self)
            if rows.dtype.kind == "b"
            else (not rows.size or (-len(self) <= rows.min() and rows.max() < len(self)))
        )
        if not fits:
            raise errors.refusal("rows", rows, f"those of {len(self)} rows", "np.arange(10)")
        count = int(rows.sum()) if rows.dtype.kind == "b" else len(rows)
        return replace(
            self,
            columns={
                name: repeated(column, count) if is_repeated(column) else column[rows]
                for name, column in self.columns.items()
            },
            curves={name: curve[rows] for name, curve in self.curves.items()},
            parameters={
                row: self.parameters[old]
                for row, old in enumerate(np.arange(len(self))[rows].tolist())
                if old in self.parameters
            }
            if self.parameters
            else {},
        )

    def varying(self, *, leave_out: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The axes with more than one value, except those in ``leave_out``."""
        if not isinstance(leave_out, tuple | list):
            raise errors.wrong_type("leave_out", leave_out, "a tuple of names", "('seed',)")
        return tuple(
            axis
            for axis in self.axes
            if axis not in leave_out
            and not is_repeated(self.columns[axis])
            and bool(np.any(self.columns[axis][1:] != self.columns[axis][:1]))
        )

    def to_pandas(self) -> pandas.DataFrame:
        """A ``pandas.DataFrame``, one row per run; curves are object columns ``curve_…``.

        ``frame.attrs["jinit"]`` has axes, dtypes and settings, so that :func:`jinit.read` gives the
        table back.

        Raises:
          MissingExtraError: pandas is not installed.
        """
        return _formats.to_frame(self._parts())

    def to_xarray(self, *, unstack: bool = False) -> xarray.Dataset:
        """An ``xarray.Dataset`` over ``run`` and ``curve_step``; axes are coordinates of ``run``.

        Args:
          unstack: if True, the axes that vary are the dimensions in place of ``run``:
            ``dataset["curve_test_loss"].mean("seed")``. Combinations without a run are NaN.

        Raises:
          MissingExtraError: xarray is not installed.
          ValueError: ``unstack`` and two runs that agree in all axes.
        """
        errors.check_bool("unstack", unstack)
        return _formats.to_dataset(self._parts(), unstack=unstack)

    def to_csv(self, path: str | Path) -> None:
        """Writes a CSV file with the axes and metrics, without the curves."""
        check_output(path, (".csv",))
        rows = zip(*(map(_cell, column) for column in self.columns.values()), strict=True)

        def write(name: str) -> None:
            with open(name, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(self.columns)
                writer.writerows(rows)

        write_whole(path, write)

    def to_parquet(self, path: str | Path) -> None:
        """Writes a Parquet file; curves are list columns, settings are JSON in its metadata."""
        check_output(path, (".parquet",))
        described = _formats.to_arrow(self._parts())
        from pyarrow import parquet

        write_whole(path, lambda file: parquet.write_table(described, file))

    def write(self, path: str | Path) -> None:
        """Writes a file in the format that its ending names: ``.csv`` or ``.parquet``.

        Raises:
          ValueError: as :func:`check_output`.
        """
        ending = Path(check_output(path)).suffix
        (self.to_csv if ending == ".csv" else self.to_parquet)(path)

    def _parts(self) -> _formats.Parts:
        parts = self.columns, tuple(self.axes), self.curves, self.curve_steps, self.settings
        return _formats.Parts(*parts)


def _some(column: np.ndarray) -> list[Value]:
    """The first different values of a column, for a message."""
    return list(dict.fromkeys(column.tolist()))[:12]


def _cell(value: Value | np.generic) -> str:
    """A value as CSV holds it: the shortest text that gives it back; "" for NaN and None."""
    if value is None or value != value:
        return ""
    return str(value)


def _check_columns(
    columns: Mapping[str, np.ndarray], axes: tuple[str, ...], curves: Mapping[str, np.ndarray]
) -> None:
    for what, arrays, dimensions in (("columns", columns, 1), ("curves", curves, 2)):
        if not isinstance(arrays, Mapping) or not all(
            isinstance(name, str) and isinstance(array, np.ndarray) and array.ndim == dimensions
            for name, array in arrays.items()
        ):
            raise errors.wrong_type(
                what,
                arrays,
                f"a mapping from names to arrays with {dimensions} axes",
                "{'test_accuracy': np.array([0.9, 0.8])}",
            )
    lengths = {name: len(array) for name, array in (*columns.items(), *curves.items())}
    if not columns or len(set(lengths.values())) > 1:
        raise errors.refusal(
            "lengths of columns", lengths, "columns and curves of one length", "one row per run"
        )
    if isinstance(axes, str) or not isinstance(axes, tuple | list):
        raise errors.wrong_type("axes", axes, "a tuple of names", "('initializer', 'seed')")
    for axis in axes:
        if not isinstance(axis, str) or axis not in columns:
            raise errors.unknown_name("axis", axis, columns, "table.columns")


def check_table(table: Table) -> None:
    """Raises TypeError if ``table`` is not a Table."""
    if not isinstance(table, Table):
        raise errors.wrong_type("table", table, "a Table", "table = jinit.run(grid)")


def check_output(path: str | Path, endings: tuple[str, ...] = (".parquet", ".csv")) -> str:
    """Checks before a long run that a table can be written to ``path``; leaves no file behind.

    Args:
      path: the file to write later.
      endings: allowed endings.

    Returns:
      ``path`` as text.

    Raises:
      ValueError: an ending that is not a table format, a folder that does not exist or is not
        writable, a path that is a folder.
      TypeError: no path.
      MissingExtraError: ``.parquet`` without pyarrow.

    >>> check_output("table.csv")
    'table.csv'
    """
    if not isinstance(path, str | os.PathLike):
        raise errors.wrong_type("output path", path, "the name of a file", f"'runs{endings[0]}'")
    target = Path(path)
    allowed = f"a file ending in {' or '.join(endings)} in a writable folder"
    if target.suffix not in endings:
        raise errors.refusal("output path", str(path), allowed, f"e.g. {target.stem}{endings[0]}")
    if os.path.exists(target) and not os.path.isfile(target):
        # Opening a FIFO would wait for a reader; renaming a file to its name would remove it.
        raise errors.refusal("output path", str(path), allowed, f"{target} is no regular file")
    folder = target.parent
    if not folder.is_dir():
        raise errors.refusal("output path", str(path), allowed, f"create the folder {folder}")
    if target.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise errors.missing_extra("pyarrow", "lab", f"writing {target}")
    try:
        # Only opening the file shows that a name is not too long and a file system not read-only.
        existed = target.exists()
        with target.open("ab"):
            pass
        if not existed:
            target.unlink()
    except OSError as error:
        raise errors.refusal(
            "output path", str(path), allowed, f"choose another path ({error.strerror})"
        ) from None
    return str(path)
