"""Reads the user's arrays: what does not fit is refused, with the column and the mending line."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from jinit import errors

Task: TypeAlias = Literal["multiclass", "binary", "regression"]
TASKS: tuple[Task, ...] = ("multiclass", "binary", "regression")
_NUMBERED = "y = np.unique(y, return_inverse=True)[1]"
_SCALED = "y = (y - y.mean(0)) / y.std(0)"
# A float y with at most so many different whole numbers may be labels as well as targets.
_FEW = 20
_MOST_CLASSES = 2**31 - 1


def features(name: str, x: ArrayLike) -> np.ndarray:
    """The features: float64, or the integer dtype of x; at least two axes, finite.

    Raises:
      TypeError: text, dates, complex numbers, or no array; the message names the column.
      ValueError: NaN or inf, masked entries, no feature, fewer than two axes.
    """
    array = _frame(name, x) if is_frame(x) else _numbers(name, plain(name, x))
    if array.ndim < 2:
        raise errors.refusal(
            f"{name} shape", array.shape, "(examples, features…)", "reshape with x[:, None]"
        )
    if not math.prod(array.shape[1:]):
        raise errors.refusal(f"{name} shape", array.shape, "at least one feature", "add features")
    if array.dtype.kind == "f":
        _finite(name, array)
    return array


def targets(name: str, y: ArrayLike, task: Task | None) -> tuple[np.ndarray, int | None]:
    """The labels ``(examples,)``, int64, or the targets ``(examples, outputs)``, float64.

    Returns:
      The array, and the number of classes if y is one-hot, else None.

    Raises:
      TypeError: text, dates, complex numbers, or no array.
      ValueError: NaN or inf, masked entries, a shape or numbers that do not fit the task; floats
        that may be labels as well as targets.
    """
    array = plain(name, y)
    if array.dtype.kind == "O":
        array = _of_objects(array)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise errors.wrong_type(
            name,
            f"{_first_text(array)!r} of dtype {array.dtype}",
            "whole class numbers or float targets",
            "y = y.astype(float)" if array.dtype.kind in "mM" else _NUMBERED,
        )
    if array.ndim == 0:
        raise errors.refusal(
            f"{name} shape", array.shape, "(examples,)", "pass one target per example"
        )
    whole = array.dtype.kind in "biu"
    if not whole:
        array = array.astype(np.float64)
        _finite(name, array)
    if task == "regression":
        return _rows(array).astype(np.float64), None
    if _is_one_hot(array):
        return array.argmax(axis=1), array.shape[1]
    if not whole and task is None:
        _refuse_labels_of_floats(name, array, np.asarray(y).dtype)
        return _rows(array), None
    return _labels(name, array), None


def _rows(array: np.ndarray) -> np.ndarray:
    """The array as ``(examples, values of an example)``, also without examples."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def plain(name: str, given: ArrayLike) -> np.ndarray:
    """The array as NumPy reads it; ragged lists and masked entries are refused."""
    if isinstance(given, np.ma.MaskedArray):
        masked = int(np.ma.getmaskarray(given).sum())
        if masked:
            raise errors.refusal(
                name,
                f"a masked array with {masked} masked entries",
                "numbers in every entry",
                "drop these examples, or fill them in: x.filled(x.mean())",
            )
        return np.asarray(given.data)
    try:
        return np.asarray(given)
    except (TypeError, ValueError, OverflowError):
        raise errors.wrong_type(
            name, given, "an array of numbers", "pass a NumPy or JAX array"
        ) from None


def check_order(*arrays: ArrayLike) -> None:
    """Refuses ``(x_train, x_test, y_train, y_test)``, the order of scikit-learn."""
    shapes = [getattr(array, "shape", None) for array in arrays]
    if any(not isinstance(shape, tuple) or not shape for shape in shapes):
        return
    first, second, third, fourth = (shape for shape in shapes if isinstance(shape, tuple))
    alike = first[1:] == second[1:] and third[1:] == fourth[1:] and first[1:] != third[1:]
    if alike and first[:1] == third[:1] and second[:1] == fourth[:1]:
        raise errors.refusal(
            "data",
            shapes,
            "(x_train, y_train, x_test, y_test)",
            "this looks like the order of train_test_split: "
            "x_train, x_test, y_train, y_test = train_test_split(x, y)",
        )


def as_float32(name: str, x: np.ndarray, fix: str = "standardize=True") -> np.ndarray:
    """Casts to float32; refuses numbers that would become inf."""
    largest = float(np.abs(x).max(initial=0.0))
    if largest > float(np.finfo(np.float32).max):
        raise errors.refusal(name, f"an entry of {largest:.3g}", "numbers that fit float32", fix)
    return x.astype(np.float32)


def targets_as_float32(name: str, y: np.ndarray) -> np.ndarray:
    """Casts targets to float32; refuses numbers that would become inf."""
    return as_float32(name, y, _SCALED)


# Root mean square of regression targets beyond which common learning rates diverge.
LARGE_TARGETS = 10.0


def large_targets(y: np.ndarray) -> str | None:
    """What to say of regression targets that are far from order 1."""
    size = float(np.sqrt(np.square(y, dtype=np.float64).mean()))
    if not size > LARGE_TARGETS:
        return None
    return (
        f"the targets y have a root mean square of {size:.3g}: the squared loss and its gradients "
        f"start {size**2:.2g} times as large as with targets of order 1, so common learning rates "
        f"diverge; fix: {_SCALED}"
    )


def is_frame(x: ArrayLike) -> bool:
    """Whether x is a frame of named columns: pandas or polars."""
    return hasattr(x, "columns") and hasattr(x, "to_numpy")


def _frame(name: str, frame: Any) -> np.ndarray:
    """The columns of a pandas or polars frame, ``(rows, columns)`` float64."""
    columns = []
    for label in frame.columns:
        what = f"{name} column {label!r}"
        values = plain(what, frame[label])
        if values.ndim != 1:
            raise errors.refusal(what, "several columns of this name", "one", "rename the columns")
        if values.dtype.kind in "mM":
            fix = f"{name}[{label!r}] = {name}[{label!r}].astype('int64')"
            raise errors.wrong_type(what, f"dates of dtype {values.dtype}", "numbers", fix)
        try:
            column = values.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            fix = f"{name} = pandas.get_dummies({name}, columns=[{label!r}])"
            raise errors.wrong_type(what, _first_text(values), "numbers", fix) from None
        fix = f"{name}[{label!r}] = {name}[{label!r}].fillna({name}[{label!r}].median())"
        _finite(what, column, fix)
        columns.append(column)
    return np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "biu":
        return array
    if array.dtype.kind in "cmM":
        fix = "x = x.astype('int64')" if array.dtype.kind in "mM" else "pass x.real and x.imag"
        raise errors.wrong_type(name, f"dtype {array.dtype}", "real numbers", fix)
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        text = _first_text(array)
        where = ""
        if array.ndim == 2:
            column = next(i for i in range(array.shape[1]) if _text_in(array[:, i]) is not None)
            text, where = _first_text(array[:, column]), f" column {column}"
        fix = f"encode text as numbers: {_NUMBERED.replace('y', 'x[:, i]')}"
        raise errors.wrong_type(f"{name}{where}", text, "numbers", fix) from None


def _text_in(values: np.ndarray) -> Any:
    """The first entry that is not a real number, or None."""
    for value in values.ravel().tolist():
        try:
            float(value)
        except (TypeError, ValueError, OverflowError):
            return value
    return None


def _first_text(values: np.ndarray) -> Any:
    text = _text_in(values)
    return values.ravel().tolist()[0] if text is None and values.size else text


def _of_objects(array: np.ndarray) -> np.ndarray:
    """An object array of Python ints as int64, of other real numbers as float64, or unchanged."""
    entries = array.ravel().tolist()
    if entries and all(isinstance(entry, int | np.integer) for entry in entries):
        small = all(-(2**63) <= int(entry) < 2**63 for entry in entries)
        return array.astype(np.int64 if small else np.float64) if small else array
    try:
        return array.astype(np.float64) if _text_in(array) is None else array
    except (TypeError, ValueError, OverflowError):
        return array


def _is_one_hot(array: np.ndarray) -> bool:
    if array.ndim != 2 or array.shape[1] < 2 or not array.size or array.dtype.kind not in "biuf":
        return False
    ones = array == 1
    return bool(((array == 0) | ones).all() and (ones.sum(axis=1) == 1).all())


def _refuse_labels_of_floats(name: str, array: np.ndarray, dtype: np.dtype) -> None:
    """Refuses a float y that repeats few whole numbers: labels or targets, nobody can know."""
    if array.ndim == 2 and array.shape[1] > 1:
        return
    present = np.unique(array)
    counted = np.array_equal(present, np.arange(present.size))
    if (present != np.round(present)).any() or 2 * present.size > array.size:
        return
    if present.size > 1 and (present.size <= _FEW or counted):
        raise errors.refusal(
            name,
            f"{present.size} different whole numbers of dtype {dtype}",
            "class numbers of an integer dtype, or a task",
            "y.astype(int) or task='multiclass' for classes, task='regression' for targets",
        )


def _labels(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise errors.refusal(
            f"{name} shape",
            array.shape,
            "(examples,) class numbers, or one-hot rows",
            "one-hot labels: y.argmax(-1); several targets: task='regression'",
        )
    if array.dtype.kind == "f" and (array != np.round(array)).any():
        value = float(array[array != np.round(array)][0])
        raise errors.refusal(name, value, "whole class numbers", "task='regression' for targets")
    if array.size and array.min() < 0:
        raise errors.refusal(name, int(array.min()), "class numbers 0, 1, …", _NUMBERED)
    if array.size and array.max() > _MOST_CLASSES:
        raise errors.refusal("classes", int(array.max()), "0, 1, … without gaps", _NUMBERED)
    return array.astype(np.int64)


def _finite(name: str, array: np.ndarray, fix: str = "drop or impute them") -> None:
    good = np.isfinite(array)
    bad = int(np.size(array) - good.sum())
    if bad:
        where = ""
        if array.ndim == 2 and array.shape[1] > 1:
            columns = np.flatnonzero(~good.all(axis=0)).tolist()
            shown = ", ".join(map(str, columns[:3])) + (", …" if len(columns) > 3 else "")
            where = f" in column{'s' if len(columns) > 1 else ''} {shown}"
        raise errors.refusal(
            name, f"{bad} entries that are NaN or inf{where}", "finite numbers", fix
        )
