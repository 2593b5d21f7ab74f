"""Converts the arrays of a table to pandas, xarray, Parquet and CSV, and back to equal arrays."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from jinit import errors

if TYPE_CHECKING:
    import pandas
    import pyarrow
    import xarray

Arrays: TypeAlias = Mapping[str, np.ndarray]
# Where a frame, a dataset and a Parquet file carry settings and layout.
KEY = "jinit"
CURVE = "curve_"
# What a CSV file cannot say: the dtypes of the metrics of a sweep, which stand after the axes.
_METRICS = {
    **dict.fromkeys(("train_loss", "train_accuracy", "test_loss", "test_accuracy"), "float32"),
    "steps_to_target": "float64",
    "diverged": "bool",
    "first_bad_step": "int32",
    "where": "object",
    **dict.fromkeys(("gradient_norm", "clip_fraction"), "float32"),
    "skipped": "int32",
    "calibrated": "bool",
    "best_step": "int32",
    **dict.fromkeys(("best_validation_loss", "best_test_loss", "best_test_accuracy"), "float32"),
    **dict.fromkeys(
        (f"{best}test_{name}" for best in ("", "best_") for name in ("mae", "r2", "rmse")),
        "float32",
    ),
    **dict.fromkeys(("test_balanced_accuracy", "best_test_balanced_accuracy"), "float32"),
}


class Parts(NamedTuple):
    """The fields of a table."""

    columns: Arrays
    axes: tuple[str, ...]
    curves: Arrays
    curve_steps: np.ndarray
    settings: Mapping[str, Any]


def _layout(parts: Parts) -> dict[str, Any]:
    """What the formats do not keep: axes, the dtypes and order of columns, the steps of curves."""
    return {
        "axes": list(parts.axes),
        "columns": {name: column.dtype.str for name, column in parts.columns.items()},
        "texts": [name for name, column in parts.columns.items() if _is_text(column)],
        "curves": {name: curve.dtype.str for name, curve in parts.curves.items()},
        "curve_steps": parts.curve_steps.tolist(),
        "curve_steps_dtype": parts.curve_steps.dtype.str,
    }


def _described(parts: Parts) -> str:
    """Layout and settings as JSON.

    Raises:
      TypeError: settings that JSON cannot hold.
    """
    try:
        return json.dumps({"layout": _layout(parts), "settings": dict(parts.settings)})
    except TypeError as error:
        raise errors.wrong_type(
            "settings of the table", parts.settings, "plain values for JSON", str(error)
        ) from None


def to_frame(parts: Parts) -> pandas.DataFrame:
    """A ``pandas.DataFrame``; ``frame.attrs["jinit"]`` has layout and settings."""
    try:
        import pandas
    except ImportError:
        raise errors.missing_extra("pandas", "lab", "Table.to_pandas") from None
    # pandas would turn text into a dtype of its own, in which None and NaN are one.
    data: dict[str, Any] = {
        name: pandas.Series(column, dtype=object if column.dtype.kind in "OU" else column.dtype)
        for name, column in parts.columns.items()
    }
    for name, curve in parts.curves.items():
        data[CURVE + name] = pandas.Series(list(curve), dtype=object)
    frame = pandas.DataFrame(data)
    frame.attrs[KEY] = json.loads(_described(parts))
    return frame


def from_frame(frame: pandas.DataFrame) -> Parts:
    """The fields of a table from a frame that :func:`to_frame` made; rows may be a part.

    Raises:
      ValueError: a frame without the attribute, or without an axis.
    """
    described = frame.attrs.get(KEY)
    if not isinstance(described, Mapping) or "layout" not in described:
        raise errors.refusal(
            "pandas frame",
            f"attrs {list(frame.attrs)}",
            "a frame of Table.to_pandas, whose attrs have the axes and settings",
            "frame.attrs = table.to_pandas().attrs",
        )
    layout = described["layout"]
    columns = {
        str(name): _restored(frame[name].to_numpy(), layout, str(name))
        for name in frame
        if not _is_curve(name, layout)
    }
    curves = {
        name: _stacked(frame[CURVE + name].to_list(), dtype, layout)
        for name, dtype in layout["curves"].items()
        if CURVE + name in frame
    }
    return _parts(columns, curves, layout, described["settings"])


def to_dataset(parts: Parts, *, unstack: bool) -> xarray.Dataset:
    """An ``xarray.Dataset`` over ``run`` and ``curve_step``, or over the axes that vary."""
    try:
        import xarray
    except ImportError:
        raise errors.missing_extra("xarray", "lab", "Table.to_xarray") from None
    metrics = {name: c for name, c in parts.columns.items() if name not in parts.axes}
    curves = {CURVE + name: curve for name, curve in parts.curves.items()}
    coordinates: dict[str, Any] = {"curve_step": parts.curve_steps}
    if not unstack:
        coordinates |= {axis: ("run", parts.columns[axis]) for axis in parts.axes}
        data = {
            name: (("run", "curve_step")[: a.ndim], a) for name, a in (metrics | curves).items()
        }
        return xarray.Dataset(data, coords=coordinates, attrs={KEY: _described(parts)})
    dimensions, places, shape = _dimensions(parts)
    for axis in parts.axes:
        values = list(dict.fromkeys(parts.columns[axis].tolist()))
        if axis in dimensions:
            coordinates[axis] = np.array(values, parts.columns[axis].dtype)
        elif len(values) == 1:
            coordinates[axis] = values[0]
    data = {
        name: ((*dimensions, *("curve_step",)[: array.ndim - 1]), _spread(array, places, shape))
        for name, array in (metrics | curves).items()
    }
    return xarray.Dataset(data, coords=coordinates, attrs={KEY: _described(parts)})


def _dimensions(parts: Parts) -> tuple[tuple[str, ...], tuple[np.ndarray, ...], tuple[int, ...]]:
    """The axes that vary, the place of each run on them, and their lengths."""
    names, places, sizes = [], [], []
    runs = len(next(iter(parts.columns.values())))
    for axis in parts.axes:
        values = parts.columns[axis].tolist()
        numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
        place = np.array([numbers[value] for value in values])
        # A data seed that is the run's seed is no dimension of its own.
        tied = axis == "data_seed" and values == parts.columns.get("seed", place).tolist()
        if len(numbers) > 1 and not tied:
            names.append(axis)
            places.append(place)
            sizes.append(len(numbers))
    index = np.ravel_multi_index(places, sizes) if names else np.zeros(runs, int)
    if len(set(index.tolist())) < runs:
        raise errors.refusal(
            "runs to unstack",
            "two runs that agree in all axes",
            "one run for each combination of the axes",
            "table.to_xarray() keeps a dimension 'run'",
        )
    return tuple(names), tuple(places), tuple(sizes)


def _spread(
    array: np.ndarray, places: tuple[np.ndarray, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """The runs' values at their places; NaN, or None for text, where there is no run."""
    if not shape:
        return np.asarray(array[0])
    if len(array) < np.prod(shape):
        wide = {"b": float, "i": float, "u": float, "U": object}.get(array.dtype.kind)
        array = array if wide is None else array.astype(wide)
    filler = {"f": np.nan, "O": None}.get(array.dtype.kind, 0)
    spread = np.full((*shape, *array.shape[1:]), filler, array.dtype)
    spread[places] = array
    return spread


def from_dataset(dataset: xarray.Dataset) -> Parts:
    """The fields of a table from a dataset that :func:`to_dataset` made over ``run``.

    Raises:
      ValueError: a dataset without layout and settings, or without the dimension ``run``.
    """
    text = dataset.attrs.get(KEY)
    if not isinstance(text, str) or "run" not in dataset.dims:
        raise errors.refusal(
            "xarray dataset",
            f"attributes {list(dataset.attrs)}, dimensions {list(dataset.dims)}",
            "a dataset of Table.to_xarray with the dimension 'run'",
            "table.to_xarray() without unstack",
        )
    described = json.loads(text)
    layout = described["layout"]
    known = [name for name in layout["columns"] if name in dataset]
    added = [str(name) for name in dataset.data_vars if name not in layout["columns"]]
    columns = {
        name: _restored(dataset[name].to_numpy(), layout, name)
        for name in [*known, *(name for name in added if not _is_curve(name, layout))]
    }
    curves = {
        name: dataset[CURVE + name].transpose("run", "curve_step").to_numpy().astype(dtype)
        for name, dtype in layout["curves"].items()
        if CURVE + name in dataset
    }
    return _parts(columns, curves, layout, described["settings"])


def to_arrow(parts: Parts) -> pyarrow.Table:
    """A ``pyarrow.Table`` with list columns for curves; its metadata has layout and settings."""
    try:
        import pyarrow
    except ImportError:
        raise errors.missing_extra("pyarrow", "lab", "Table.to_parquet") from None
    data: dict[str, Any] = {}
    encoded = []
    for name, column in parts.columns.items():
        values: Any = column
        if column.dtype.kind in "OU":
            values = column.tolist()
            if not _is_text(column):
                encoded.append(name)
                values = [json.dumps(value) for value in values]
        data[name] = pyarrow.array(values, pyarrow.string() if column.dtype.kind in "OU" else None)
    for name, curve in parts.curves.items():
        ends = pyarrow.array(np.arange(len(curve) + 1, dtype=np.int32) * curve.shape[1])
        flat = pyarrow.array(np.ascontiguousarray(curve).reshape(-1))
        data[CURVE + name] = pyarrow.ListArray.from_arrays(ends, flat)
    described = json.loads(_described(parts))
    metadata = {
        KEY: json.dumps(described["settings"]),
        f"{KEY} layout": json.dumps(described["layout"] | {"json": encoded}),
    }
    return pyarrow.table(data).replace_schema_metadata(metadata)


def from_arrow(stored: pyarrow.Table) -> Parts:
    """The fields of a table from a ``pyarrow.Table`` that :func:`to_arrow` made.

    Raises:
      ValueError: no layout and settings in its metadata.
    """
    metadata = stored.schema.metadata or {}
    names = KEY.encode(), f"{KEY} layout".encode()
    if not set(names) <= set(metadata):
        raise errors.refusal(
            "Parquet file", "no metadata of jinit", "a file that Table.write wrote", "run it again"
        )
    settings, layout = (json.loads(metadata[name]) for name in names)
    columns = {}
    for name, dtype in layout["columns"].items():
        if np.dtype(dtype).kind in "OU":
            values = stored[name].to_pylist()
            if name in layout["json"]:
                values = [json.loads(value) for value in values]
            columns[name] = objects(values).astype(dtype)
        else:
            columns[name] = stored[name].to_numpy().astype(dtype)
    curves = {}
    for name, dtype in layout["curves"].items():
        flat = stored[CURVE + name].combine_chunks().flatten()
        curves[name] = _stacked(flat.to_numpy(zero_copy_only=False), dtype, layout)
    return _parts(columns, curves, layout, settings)


def from_csv(path: str) -> Parts:
    """The columns of a CSV file; the axes are the columns before the first metric of a sweep.

    Raises:
      ValueError: no metric of a sweep among the columns, lines of other lengths.
    """
    with open(path, encoding="utf-8", newline="") as file:
        heading, *rows = list(csv.reader(file)) or [[]]
    metrics = [position for position, name in enumerate(heading) if name in _METRICS]
    uneven = [number for number, row in enumerate(rows, 2) if len(row) != len(heading)]
    if not metrics or uneven or not rows:
        raise errors.refusal(
            "CSV file",
            f"columns {heading[:8]}" + (f", another length in line {uneven[0]}" if uneven else ""),
            "axes, then metrics such as test_loss, one run per line",
            "write tables with Table.write",
        )
    columns = {
        name: _typed([row[position] for row in rows], _METRICS.get(name))
        for position, name in enumerate(heading)
    }
    return Parts(columns, tuple(heading[: metrics[0]]), {}, np.array([], int), {})


def _typed(texts: Sequence[str], dtype: str | None) -> np.ndarray:
    """The values that these texts mean, as whole numbers, numbers, Booleans or text."""
    kinds = (dtype,) if dtype else ("bool", "int64", "float64")
    for kind in kinds:
        try:
            if kind == "bool":
                return np.array([{"True": True, "False": False}[text] for text in texts])
            if kind != "object":
                missing = "nan" if kind[:5] == "float" and (dtype or any(texts)) else ""
                return np.array([text or missing for text in texts]).astype(np.dtype(kind))
        except (KeyError, ValueError):
            continue
    return objects(texts)


def objects(values: Sequence[Any]) -> np.ndarray:
    """A one-dimensional array of Python objects."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _is_curve(name: Any, layout: Mapping[str, Any]) -> bool:
    text = str(name)
    return text not in layout["columns"] and text.removeprefix(CURVE) in layout["curves"]


def _stacked(rows: Any, dtype: str, layout: Mapping[str, Any]) -> np.ndarray:
    steps = len(layout["curve_steps"])
    return np.asarray(rows).astype(dtype).reshape(-1 if steps else len(rows), steps)


def _is_text(column: np.ndarray) -> bool:
    """Whether all entries are text or None."""
    return column.dtype.kind == "U" or (
        column.dtype.kind == "O"
        and all(value is None or isinstance(value, str) for value in column.tolist())
    )


def _restored(values: np.ndarray, layout: Mapping[str, Any], name: str) -> np.ndarray:
    """The values in the table's dtype, unless they are no longer of that kind."""
    if name not in layout["columns"]:
        return values if values.dtype.kind in "biufO" else values.astype(object)
    dtype = np.dtype(layout["columns"][name])
    if dtype.kind in "OU":
        if name in layout["texts"]:  # libraries write NaN for a missing text
            values = objects([value if isinstance(value, str) else None for value in values])
        return values.astype(dtype)
    try:
        cast = values.astype(dtype)
    except (TypeError, ValueError):
        return values
    return cast if np.array_equal(cast, values, equal_nan=cast.dtype.kind == "f") else values


def _parts(columns: Arrays, curves: Arrays, layout: Any, settings: Any) -> Parts:
    steps = np.array(layout["curve_steps"], np.dtype(layout["curve_steps_dtype"]))
    return Parts(columns, tuple(layout["axes"]), curves, steps, settings)
