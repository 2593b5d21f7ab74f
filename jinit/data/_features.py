"""Reads features: arrays, and frames of pandas or polars without importing either."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from jinit import errors
from jinit.data._arrays import check_finite, first_text, plain, text_in

# Values of a text column that a message or the plan names.
_SHOWN = 5


def features(
    name: str, x: ArrayLike, *, without: str | None = None, encode: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The features, float64 or the integer dtype of x; and the names of the columns of a frame.

    Args:
      name: what the messages call the features.
      x: an array of at least two axes, or a frame.
      without, encode: as in :func:`matrix`.

    Raises:
      TypeError: text, dates, complex numbers, or no array; the message names the column.
      ValueError: NaN or inf, masked entries, no feature, fewer than two axes.
    """
    if is_frame(x):
        array, names = matrix(name, x, without=without, encode=encode)
    else:
        array, names = _numbers(name, plain(name, x)), ()
    if array.ndim < 2:
        raise errors.refusal(
            f"{name} shape", array.shape, "(examples, features…)", "reshape with x[:, None]"
        )
    if not math.prod(array.shape[1:]):
        raise errors.refusal(f"{name} shape", array.shape, "at least one feature", "add features")
    if array.dtype.kind == "f":
        check_finite(name, array)
    return array, names


def is_frame(x: object) -> TypeGuard[Any]:
    """Whether x is a frame of named columns: pandas or polars."""
    return hasattr(x, "columns") and hasattr(x, "to_numpy")


def matrix(
    name: str, frame: Any, *, without: str | None = None, encode: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The columns of a frame, ``(rows, columns)`` float64, and their names.

    Args:
      name: what the messages call the frame.
      frame: a pandas or polars frame.
      without: the column to leave out, which holds the targets.
      encode: whether a column of text or categories becomes a column of 0 and 1 for each value,
        ``"island=Biscoe"``.

    Raises:
      TypeError: a column of text without ``encode``, of dates, or of other objects.
      ValueError: entries that are missing, NaN or inf; two columns of one name.
    """
    columns: list[np.ndarray] = []
    names: list[str] = []
    for label in frame.columns:
        if label == without:
            continue
        what = f"{name} column {label!r}"
        values = plain(what, frame[label])
        if values.ndim != 1:
            raise errors.refusal(what, "several columns of this name", "one", "rename the columns")
        here = f"{name}[{label!r}]"
        if values.dtype.kind in "mM":
            fix = f"{here} = {here}.astype('int64')"
            raise errors.wrong_type(what, f"dates of dtype {values.dtype}", "numbers", fix)
        try:
            column = _as_floats(values)
        except (TypeError, ValueError, OverflowError):
            if encode:
                _check_text(what, here, values)
                for value in _categories(frame[label], values):
                    columns.append((values == value).astype(np.float64))
                    names.append(f"{label}={value}")
                continue
            fix = f"{name} = pandas.get_dummies({name}, columns=[{label!r}]), or encode=True"
            raise errors.wrong_type(what, first_text(values), "numbers", fix) from None
        check_finite(what, column, f"{here} = {here}.fillna({here}.median())")
        columns.append(column)
        names.append(str(label))
    whole = np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))
    return whole, tuple(names)


def check_same_columns(names: Sequence[str], test: Sequence[str]) -> None:
    """Refuses a test frame whose columns differ from those of the training frame, or in order."""
    if tuple(names) != tuple(test):
        differ = sorted({*names} ^ {*test})[:_SHOWN]
        raise errors.refusal(
            "columns of x_test",
            f"{differ} in one of the two frames" if differ else "another order",
            "the columns of x",
            "x_test = x_test[x.columns]; text columns: pass categories, or one frame and split=",
        )


def column(name: str, frame: Any, label: str) -> Any:
    """The column that holds the targets."""
    if label not in list(frame.columns):
        raise errors.unknown_name(f"{name}: column", label, map(str, frame.columns))
    return frame[label]


def check_rows_alike(x: Any, y: Any) -> None:
    """Refuses a frame and targets with different indexes: pandas would pair other rows."""
    first: Any = getattr(x, "index", None)
    second: Any = getattr(y, "index", None)
    if not (hasattr(first, "equals") and hasattr(second, "equals")) or len(first) != len(second):
        return
    if not first.equals(second):
        raise errors.refusal(
            "indexes of x and y",
            f"{list(first[:3])}, … and {list(second[:3])}, …",
            "equal indexes",
            "y = y.loc[x.index]; if rows already fit by position: y = y.reset_index(drop=True), "
            "x = x.reset_index(drop=True)",
        )


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "biu":
        return array
    if array.dtype.kind in "cmM":
        fix = "x = x.astype('int64')" if array.dtype.kind in "mM" else "pass x.real and x.imag"
        raise errors.wrong_type(name, f"dtype {array.dtype}", "real numbers", fix)
    try:
        return _as_floats(array)
    except (TypeError, ValueError, OverflowError):
        text, where = first_text(array), ""
        columns = range(array.shape[1]) if array.ndim == 2 else ()
        named = [i for i in columns if text_in(array[:, i]) is not None]
        named = named or [i for i in columns if _has_text(array[:, i])]
        if named:
            text, where = first_text(array[:, named[0]]), f" column {named[0]}"
        fix = "numbers as text: x.astype(float); words: a frame with encode=True"
        raise errors.wrong_type(f"{name}{where}", text, "numbers", fix) from None


def _as_floats(values: np.ndarray) -> np.ndarray:
    """The values as float64; TypeError for text, although NumPy would read "1.5"."""
    if _has_text(values):
        raise TypeError("text")
    return values.astype(np.float64)


def _has_text(values: np.ndarray) -> bool:
    if values.dtype.kind == "O":
        return any(isinstance(value, str | bytes) for value in values.ravel().tolist()) or (
            text_in(values) is not None
        )
    return values.dtype.kind in "UST"


def _check_text(what: str, here: str, values: np.ndarray) -> None:
    """Refuses a column that is not text in every row."""
    wrong = [value for value in values.tolist() if not isinstance(value, str | bool)]
    # pandas' NA has no truth value, so it must not be compared.
    missing = [value for value in wrong if value is None or str(value) == "<NA>" or value != value]
    if missing:
        raise errors.refusal(
            what,
            f"{len(missing)} missing values",
            "a value in every row",
            f"{here} = {here}.astype(object).fillna('none')",
        )
    if wrong:
        raise errors.wrong_type(
            what, text_in(values), "numbers alone or text alone", f"{here} = {here}.astype(str)"
        )


def _categories(series: Any, values: np.ndarray) -> list[Any]:
    """The values of a text column: those of its categorical dtype, or those that occur, sorted."""
    known = getattr(getattr(series, "dtype", None), "categories", None)
    return sorted(set(values.tolist()), key=str) if known is None else list(known)
