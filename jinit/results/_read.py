"""Reads tables back from the files that :meth:`Table.write` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from jinit import errors
from jinit.results._table import Table


def read(path: str | Path) -> Table:
    """A table from a Parquet file that :meth:`Table.to_parquet` wrote, with curves and settings.

    A CSV file has neither axes nor settings, so it cannot be read back as a table.

    Args:
      path: the file.

    Returns:
      The :class:`Table` that was written.

    Raises:
      ValueError: no such file, not Parquet, or not written by jinit.
      MissingExtraError: pyarrow is not installed.

    >>> import pathlib, tempfile
    >>> columns = {"seed": np.arange(3), "test_loss": np.array([0.5, 0.25, np.inf])}
    >>> table = Table(columns, ("seed",), {}, np.array([]), {"backend": "cpu"})
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "runs.parquet"
    >>> table.write(file)
    >>> read(file)["test_loss"].tolist(), read(file).settings["backend"]
    ([0.5, 0.25, inf], 'cpu')
    """
    allowed = "a .parquet file that Table.write or jinit sweep --out wrote"
    target = Path(path)
    if target.suffix != ".parquet" or not target.is_file():
        raise errors.refusal("path", str(path), allowed, "write tables as .parquet")
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise errors.missing_extra("pyarrow", "lab", "results.read") from None
    try:
        stored = parquet.read_table(target)
    except (pyarrow.ArrowInvalid, OSError) as error:
        problem = str(error).partition("\n")[0]
        raise errors.refusal("path", str(path), allowed, f"check the file: {problem}") from None
    metadata = stored.schema.metadata or {}
    if b"jinit" not in metadata or b"jinit layout" not in metadata:
        raise errors.refusal("path", f"{path} without jinit's metadata", allowed, "run it again")
    layout = json.loads(metadata[b"jinit layout"])
    frame = stored.to_pandas()
    curves = {name.removeprefix("curve_"): np.stack(frame[name].to_numpy())
              for name in frame if name.startswith("curve_")}  # fmt: skip
    columns = {name: frame[name].to_numpy() for name in frame if not name.startswith("curve_")}
    return Table(
        columns=columns,
        axes=tuple(layout["axes"]),
        curves=curves,
        curve_steps=np.asarray(layout["curve_steps"]),
        settings=json.loads(metadata[b"jinit"]),
    )
