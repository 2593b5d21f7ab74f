"""Reads tables back from files, pandas frames and xarray datasets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from jinit import errors
from jinit._database import is_store, load
from jinit.results import _formats
from jinit.results._table import Table

if TYPE_CHECKING:
    import pandas
    import xarray

Source: TypeAlias = "str | Path | pandas.DataFrame | xarray.Dataset"


def read(
    source: Source, *, sweep: int | None = None, columns: Sequence[str] | None = None
) -> Table:
    """A table from a store, a file, a pandas frame or an xarray dataset to which it was written.

    What :meth:`Table.to_parquet`, :meth:`Table.to_pandas` and :meth:`Table.to_xarray` gave comes
    back equal, with dtypes, NaN, None, curves and settings. A frame or dataset may have fewer runs
    and further columns. A CSV file has axes and metrics only: the table has no curves and empty
    settings, and an empty text in a column of numbers is NaN. A store gives the runs of all sweeps
    that differ in their axes and seeds alone; a sweep may be writing it. If they come from several
    environments, a warning says so and the column ``environment`` marks each run. What the newest
    of these sweeps, or ``sweep``, noted comes back, too: the looks of
    :func:`jinit.sweep.run_until_settled`, the decisions of :func:`jinit.sweep.run_halving`.

    Args:
      source: the path of a ``.db``, ``.parquet`` or ``.csv`` file, a frame, or a dataset.
      sweep: for a store that has sweeps of different settings, or of several versions of a model or
        its data, the number of one of those to read.
      columns: for a large store, the metrics to read, without curves; default: all.

    Returns:
      The :class:`Table`.

    Raises:
      ValueError: no such file, another format, or not written by jinit.
      TypeError: neither a path nor a frame nor a dataset.
      MissingExtraError: pyarrow is not installed.

    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> columns = {"seed": np.arange(3), "test_loss": np.array([0.5, 0.25, np.inf])}
    >>> table = Table(columns, ("seed",), {}, np.array([]), {"backend": "cpu"})
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "runs.parquet"
    >>> table.write(file)
    >>> read(file)["test_loss"].tolist(), read(file).settings["backend"]
    ([0.5, 0.25, inf], 'cpu')
    """
    given: Any = source  # the packages are imported only by those who have one of their objects
    if is_store(given):
        return _from_store(Path(given), sweep, columns)
    for name, value in (("sweep", sweep), ("columns", columns)):
        if value is not None:
            raise errors.refusal(name, value, "None, but for a store", "a path ending in .db")
    if isinstance(source, str | os.PathLike):
        return Table(*_from_file(Path(source)))
    kind = f"{type(source).__module__.partition('.')[0]}.{type(source).__name__}"
    if kind == "pandas.DataFrame":
        return Table(*_formats.from_frame(given))
    if kind == "xarray.Dataset":
        return Table(*_formats.from_dataset(given))
    raise errors.wrong_type(
        "source",
        source,
        "a path, a pandas frame or an xarray dataset",
        "jinit.read('runs.parquet')",
    )


def _from_store(path: Path, sweep: int | None, columns: Sequence[str] | None) -> Table:
    if sweep is not None:
        errors.check_integer("sweep", sweep, low=1, high=2**63 - 1, fix="see jinit ls")
    if isinstance(columns, str):
        raise errors.wrong_type("columns", columns, "names", f"({columns!r},)")
    found = load(path, sweep, columns)
    return Table(found.columns, found.axes, found.curves, found.steps, found.settings)


def _from_file(path: Path) -> _formats.Parts:
    allowed = "a .db, .parquet or .csv file that Table.write or jinit sweep --out wrote"
    if path.suffix in (".parquet", ".csv") and not path.exists():
        raise errors.refusal(
            "path",
            str(path),
            "a file that exists",
            f"check the name; {Path.cwd()} is searched"
            if not path.is_absolute()
            else "check the name",
        )
    if path.suffix not in (".parquet", ".csv") or not path.is_file():
        raise errors.refusal("path", str(path), allowed, "write tables as .parquet")
    try:
        if path.suffix == ".csv":
            return _formats.from_csv(str(path))
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise errors.missing_extra("pyarrow", "lab", "jinit.read") from None
        try:
            stored = parquet.read_table(path)
        except pyarrow.ArrowInvalid as error:
            raise ValueError(str(error).partition("\n")[0]) from None
        return _formats.from_arrow(stored)
    except (ValueError, OSError) as error:
        raise errors.refusal("path", str(path), allowed, f"check the file: {error}") from None
