"""The result of a sweep: one row a run, pairs side by side, nothing averaged away."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jinit import errors

METRICS = (
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "steps_to_target",
    "diverged",
    "first_bad_step",
    "where",
    "gradient_norm",
    "clip_fraction",
    "calibrated",
)
# Those that have a better and a worse end.
RANKABLE = tuple(name for name in METRICS if name not in ("where", "first_bad_step", "calibrated"))
CURVES = ("train_loss", "test_loss", "test_accuracy", "gradient_norm")
LOWER_IS_BETTER = ("train_loss", "test_loss", "steps_to_target", "diverged", "gradient_norm")


@dataclass(frozen=True)
class Table:
    """One row per run.

    Attributes:
      columns: name → array ``(runs,)``: the axes (``initializer``, ``activation``, ``depth``,
        ``seed``, …), then the metrics. ``steps_to_target`` is inf where the target was not reached,
        ``first_bad_step`` −1 and ``where`` "" where nothing went wrong. A diverged run keeps the
        metrics of its last parameters, whose outputs may already be too large to be finite: these
        count as wrong (accuracy down to 0) and give NaN losses. ``calibrated`` is False where an
        initializer such as ``lsuv(zeros)`` did not reach its goal in every layer.
      axes: the names of the axis columns.
      curves: name → array ``(runs, evaluations)``: train_loss, test_loss, test_accuracy,
        gradient_norm.
      curve_steps: ``(evaluations,)`` completed steps at the curves' points.
      settings: the grid, versions and machine settings, as plain values.
    """

    columns: Mapping[str, np.ndarray]
    axes: tuple[str, ...]
    curves: Mapping[str, np.ndarray]
    curve_steps: np.ndarray
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column: str) -> np.ndarray:
        """A column ``(runs,)``.

        Raises:
          ValueError: no such column.
        """
        if column not in self.columns:
            raise errors.unknown_name("column", column, self.columns, "table.columns")
        return self.columns[column]

    def select(self, **values: Any) -> Table:
        """The rows in which every named column has the given value.

        Raises:
          ValueError: no such column, or no such row.

        >>> table = Table({"depth": np.array([1, 2])}, ("depth",), {}, np.array([]))
        >>> len(table.select(depth=2))
        1
        """
        keep = np.ones(len(self), bool)
        for column, value in values.items():
            keep &= self[column] == value
        if not keep.any():
            there = {name: list(dict.fromkeys(self[name].tolist()))[:12] for name in values}
            raise errors.refusal(
                "rows", values, f"values that stand in the table together, such as {there}",
                "labels are canonical: grid.labels(axis) has them",
            )  # fmt: skip
        return self.take(keep)

    def take(self, rows: np.ndarray) -> Table:
        """The rows with these numbers, or where this mask is true."""
        return Table(
            {name: column[rows] for name, column in self.columns.items()},
            self.axes,
            {name: curve[rows] for name, curve in self.curves.items()},
            self.curve_steps,
            self.settings,
        )

    def varying(self, *, leave_out: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The axes with more than one value, but for those left out."""
        return tuple(
            axis
            for axis in self.axes
            if axis not in leave_out and len(set(self.columns[axis].tolist())) > 1
        )

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``, one row a run; curves as object columns ``curve_…``."""
        try:
            import pandas
        except ImportError:
            raise errors.missing_extra("pandas", "lab", "Table.to_pandas") from None
        return pandas.DataFrame(
            dict(self.columns) | {f"curve_{name}": list(c) for name, c in self.curves.items()}
        )

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``run`` and ``curve_step``, axes as coordinates of ``run``."""
        try:
            import xarray
        except ImportError:
            raise errors.missing_extra("xarray", "lab", "Table.to_xarray") from None
        metrics = {name: ("run", c) for name, c in self.columns.items() if name not in self.axes}
        curves = {
            f"curve_{name}": (("run", "curve_step"), curve) for name, curve in self.curves.items()
        }
        axes = {axis: ("run", self.columns[axis]) for axis in self.axes}
        return xarray.Dataset(metrics | curves, coords=axes | {"curve_step": self.curve_steps})

    def to_csv(self, path: str | Path) -> None:
        """Writes a CSV file: axes and metrics, without curves."""
        check_output(path, (".csv",))
        frame = self.to_pandas()[list(self.columns)]
        _write_whole(path, lambda file: frame.to_csv(file, index=False))

    def to_parquet(self, path: str | Path) -> None:
        """Writes a Parquet file: curves as list columns, settings as JSON in the metadata."""
        check_output(path, (".parquet",))
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise errors.missing_extra("pyarrow", "lab", "Table.to_parquet") from None
        table = pyarrow.Table.from_pandas(self.to_pandas(), preserve_index=False)
        metadata = {b"jinit": json.dumps(dict(self.settings)).encode()}
        described = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
        _write_whole(path, lambda file: pyarrow.parquet.write_table(described, file))

    def write(self, path: str | Path) -> None:
        """Writes ``path`` in the format its ending names: ``.csv`` or ``.parquet``."""
        ending = Path(check_output(path)).suffix
        (self.to_csv if ending == ".csv" else self.to_parquet)(path)


def _write_whole(path: str | Path, write: Callable[[str], None]) -> None:
    """A file that is there is complete: it is written under another name and renamed."""
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        write(str(unfinished))
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def check_output(path: str | Path, endings: tuple[str, ...] = (".parquet", ".csv")) -> str:
    """``path`` if a table can be written there; leaves nothing behind.

    Raises:
      ValueError: an ending that is not a table format, a folder that does not exist or cannot be
        written, a path that is a folder.

    >>> check_output("table.csv")
    'table.csv'
    """
    target = Path(path)
    allowed = f"a file ending in {' or '.join(endings)} in a folder you may write"
    if target.suffix not in endings:
        raise errors.refusal("output path", str(path), allowed, f"e.g. {target.stem}{endings[0]}")
    folder = target.parent
    if not folder.is_dir():
        raise errors.refusal("output path", str(path), allowed, f"create the folder {folder}")
    if target.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise errors.missing_extra("pyarrow", "lab", f"writing {target}")
    try:
        # Permissions do not say everything: a name may be too long, a file system read-only.
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
