"""Reads labels and targets: class numbers, names of classes, one-hot rows, numbers to predict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jinit import errors
from jinit._warn import warn
from jinit.data import _positions
from jinit.data._arrays import (
    CLASSES,
    SCALED,
    Task,
    as_float32,
    check_finite,
    check_indicators,
    first_text,
    plain,
    text_in,
)

_NUMBERED = "y = np.unique(y, return_inverse=True)[1]"
# A y with at most this many different whole numbers may be labels, whatever the numbers are.
_FEW = 20
# Root mean square of regression targets beyond which common learning rates diverge.
LARGE_TARGETS = 10.0


@dataclass(frozen=True)
class Coded:
    """Labels as class numbers, or targets.

    Attributes:
      y, y_test: int32 ``(examples,)`` or ``(examples, positions…)``, −1 for a label that is not
        counted; or float32 ``(examples, outputs)``.
      task: of the data set.
      outputs: number of classes, of labels or of targets.
      classes: the label of each class number; () for several labels, and for regression.
    """

    y: np.ndarray
    y_test: np.ndarray
    task: Task
    outputs: int
    classes: tuple[str | int | float | bool, ...] = ()


def targets(
    name: str, y: ArrayLike, task: Task | None, *, positions: bool = False
) -> tuple[np.ndarray, int | None]:
    """The labels ``(examples,)``, whole numbers, Booleans or text; or targets, float64.

    Args:
      name: of the array, for messages.
      y: as the user gave it.
      task: as the user said, or None. Labels of several axes need a task.
      positions: whether y cannot be one-hot, because one label is to be ignored.

    Returns:
      The array, and the number of classes if y is one-hot, else None. Targets have two axes,
      ``(examples, outputs)``, or more if the user's have.

    Raises:
      TypeError: dates, complex numbers, a mixture of text and numbers, or no array.
      ValueError: NaN or inf, missing or masked entries, a shape or numbers that do not fit the
        task; floats that may be labels as well as targets.
    """
    array = plain(name, y)
    dtype = array.dtype
    if array.dtype.kind == "O":
        array = _of_objects(name, array)
    if array.dtype.kind in "US" and task not in ("regression", "multilabel"):
        return _of_classes(name, array, task).astype(str), None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise errors.wrong_type(
            name,
            f"{first_text(array)!r} of dtype {dtype}",
            "labels (text, or whole numbers), or float targets",
            "y = y.astype(float)" if array.dtype.kind in "mM" else _NUMBERED,
        )
    if array.ndim == 0:
        raise errors.refusal(
            f"{name} shape", array.shape, "(examples,)", "pass one target per example"
        )
    whole = array.dtype.kind in "biu"
    if not whole:
        array = array.astype(np.float64)
        check_finite(name, array)
    if task == "regression":
        return _rows(array).astype(np.float64), None
    if task == "multilabel":
        return _indicators(name, array), None
    if not positions and _is_one_hot(array):
        return array.argmax(axis=1), array.shape[1]
    if not whole and task is None:
        refuse_labels_of_floats(name, array, dtype)
        return _rows(array), None
    return _of_classes(name, array, task), None


def check_one_hot(
    given: tuple[ArrayLike, ArrayLike],
    labels: tuple[np.ndarray, np.ndarray],
    columns: tuple[int | None, int | None],
) -> None:
    """Refuses targets of a test set whose columns are not those of the training targets.

    Args:
      given: y and y_test, as the user gave them.
      labels, columns: of both, from :func:`targets`.

    Raises:
      ValueError: one-hot rows with other columns; one-hot rows beside numbers that are no columns;
        frames with other names.
    """
    fix = "number the classes of both together: classes, y = np.unique(labels, return_inverse=True)"
    names = [[*frame.columns] for frame in given if hasattr(frame, "columns")]
    if len(names) == 2 and len(names[0]) > 1 and names[0] != names[1]:
        raise errors.refusal("columns of y and y_test", tuple(names), "the same columns", fix)
    if columns[0] == columns[1]:
        return
    known = [number for number in columns if number is not None]
    got = tuple("numbers" if number is None else f"one-hot, {number}" for number in columns)
    # Numbers beside one-hot rows are the numbers of the columns.
    beside = [
        np.ndim(y) == 1 and bool(((each >= 0) & (each < known[0])).all())
        for y, each, number in zip(given, labels, columns, strict=True)
        if number is None
    ]
    if len(known) > 1 or not all(beside):
        allowed = "one-hot rows of the same columns, or numbers of both"
        raise errors.refusal("columns of y and y_test", got, allowed, fix)


def coded(
    y: np.ndarray,
    y_test: np.ndarray,
    task: Task | None,
    one_hot: int | None,
    ignore: str | float | None = None,
) -> Coded:
    """Numbers the classes of both sets alike, or casts the targets to float32.

    Args:
      y, y_test: from :func:`targets`.
      task: as the user said, or None.
      one_hot: number of columns of one-hot labels, or None.
      ignore: the label that is not counted, or None.

    Raises:
      ValueError: labels that may be targets, a single label that is not 0 or 1, more than two
        classes of a binary task, targets that float32 cannot hold, a label to ignore that
        does not occur.
    """
    if y.dtype.kind == "f" and task not in CLASSES:
        y, y_test = (as_float32(*pair, SCALED) for pair in (("y", y), ("y_test", y_test)))
        kind: Task = "multilabel" if task == "multilabel" else "regression"
        return Coded(y, y_test, kind, math.prod(y.shape[1:]))
    ignored = [_positions.is_ignored(each, ignore) for each in (y, y_test)]
    if ignore is not None:
        _positions.check_ignored(y, ignored, ignore)
    counted = [each[~out] for each, out in zip((y, y_test), ignored, strict=True)]
    classes = _classes(counted[0], counted[1], task, one_hot)
    if task == "binary" and len(classes) > 2:
        fix = f"'multiclass' for {len(classes)} classes"
        raise errors.refusal("task", task, fix, "leave it out")
    # One-hot rows come from models with one output per class, also of two classes.
    if task == "multiclass" or len(classes) > 2 or (one_hot is not None and task is None):
        task = "multiclass"
    else:
        task = "binary"
    # Searching an array of text for text, of numbers for numbers.
    known = np.asarray(classes, np.result_type(y, y_test))
    y, y_test = (
        np.where(out, -1, np.searchsorted(known, each)).astype(np.int32)
        for each, out in zip((y, y_test), ignored, strict=True)
    )
    return Coded(y, y_test, task, len(classes), classes)


def _classes(
    y: np.ndarray, y_test: np.ndarray, task: Task | None, one_hot: int | None
) -> tuple[str | int | float | bool, ...]:
    """The labels in the order of their class numbers: ascending."""
    if one_hot is not None:
        return tuple(range(one_hot))
    present = np.unique(np.concatenate([y, y_test]))
    if y.dtype.kind == "b":
        return (False, True)
    if y.dtype.kind == "U":
        if present.size == 1:
            got = f"'{present[0]}' for every example"
            raise errors.refusal("classes", got, "at least two classes", "check the labels")
        _check_repeated(present, len(y) + len(y_test), task)
        return tuple(map(str, present))
    present = present if present.dtype.kind == "f" else present.astype(object)
    labels = [int(label) for label in present]
    if labels[0] >= 0 and (labels[-1] <= 1 or labels == list(range(len(labels)))):
        return tuple(range(max(labels[-1] + 1, 2)))
    _check_repeated(present, len(y) + len(y_test), task)
    if len(labels) == 1:
        got = f"{labels[0]} for every example"
        raise errors.refusal("classes", got, "at least two classes", "check the labels")
    return tuple(labels)


def _check_repeated(present: np.ndarray, examples: int, task: Task | None) -> None:
    """Refuses labels that hardly repeat, or numbers with gaps that may be targets."""
    text = present.dtype.kind == "U"
    few = 2 * present.size <= examples and (text or present.size <= _FEW)
    if task is None and not few:
        raise errors.refusal(
            "classes",
            f"{present.size} different {'texts' if text else 'numbers'} from {present[0]} to "
            f"{present[-1]} in {examples} examples",
            "labels that repeat" if text else f"0, 1, … without gaps, or at most {_FEW} numbers",
            "task='multiclass' for labels"
            + ("" if text else ", task='regression' for numbers to predict"),
        )


def standardized(
    y: np.ndarray, y_test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[tuple[float, float], ...]]:
    """Targets standardized by the training mean and deviation, and both numbers for each target.

    Raises:
      ValueError: labels, which have no mean.
    """
    if y.dtype.kind != "f" or y.ndim < 2:
        fix = "standardize=True, or task='regression' with float targets"
        raise errors.refusal("standardize", "all", "True or False for labels", fix)
    mean = y.mean(axis=0)
    # The deviation of equal numbers is not exactly 0.
    deviation = np.where(np.ptp(y, axis=0) > 0, y.std(axis=0), 1.0)
    units = tuple(zip(mean.ravel().tolist(), deviation.ravel().tolist(), strict=True))
    return (y - mean) / deviation, (y_test - mean) / deviation, units


def large_targets(y: np.ndarray) -> str | None:
    """What to say of regression targets that are far from order 1."""
    size = float(np.sqrt(np.square(y, dtype=np.float64).mean()))
    if not size > LARGE_TARGETS:
        return None
    return (
        f"the targets y have a root mean square of {size:.3g}: the squared loss and its gradients "
        f"start {size**2:.2g} times as large as with targets of order 1, so common learning rates "
        "diverge; fix: standardize='all' in from_arrays, with RMSE and MAE in the units of y (for "
        f"one target), or {SCALED}"
    )


def warn_of(made: Coded) -> None:
    """Warns of large targets, of classes on one side of the split only, and of one class alone."""
    if made.task == "regression":
        said = large_targets(made.y)
        if said:
            warn(said)
        return
    if made.task == "multilabel":
        return
    here, there = (np.unique(each[each >= 0]) for each in (made.y, made.y_test))
    for known, other, where in ((here, there, "training"), (there, here, "test")):
        missing = [str(made.classes[number]) for number in np.setdiff1d(other, known)]
        if missing:
            listed = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            text = f"no {where} example is of class {listed}"
            warn(f"{text}: accuracies say little about it")
    if len(np.union1d(here, there)) == 1:
        text = (
            f"all labels are of class {made.classes[here[0]]}: a network with one output is always "
            "right, and one with more only has to learn which output; accuracies say nothing"
        )
        warn(text)


def _rows(array: np.ndarray) -> np.ndarray:
    """The array as ``(examples, values…)``, also without examples."""
    if array.ndim > 2:
        return array
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _of_objects(name: str, array: np.ndarray) -> np.ndarray:
    """An object array as text, Booleans, int64, uint64 or float64; or unchanged."""
    entries = array.ravel().tolist()
    missing = [entry for entry in entries if _is_missing(entry)]
    if missing:
        raise errors.refusal(
            name,
            f"{len(missing)} of {len(entries)} entries that are missing ({missing[0]!r})",
            "a label or target for every example",
            "drop these examples: keep = ~pandas.isna(y); x, y = x[keep], y[keep]",
        )
    for kind, dtype in ((str, str), (bool | np.bool_, bool)):
        if entries and all(isinstance(entry, kind) for entry in entries):
            return array.astype(dtype)
    if entries and all(isinstance(entry, int | np.integer) for entry in entries):
        small = all(-(2**63) <= int(entry) < 2**63 for entry in entries)
        return array.astype(np.int64 if small else np.float64) if small else array
    try:
        return array.astype(np.float64) if text_in(array) is None else array
    except (TypeError, ValueError, OverflowError):
        return array


def _is_missing(entry: object) -> bool:
    """None, NaN, NaT or pandas' NA, which cannot be compared."""
    return entry is None or str(entry) in ("nan", "NaN", "NaT", "<NA>")


def _is_one_hot(array: np.ndarray) -> bool:
    if array.ndim != 2 or array.shape[1] < 2 or not array.size or array.dtype.kind not in "biuf":
        return False
    ones = array == 1
    return bool(((array == 0) | ones).all() and (ones.sum(axis=1) == 1).all())


def refuse_labels_of_floats(name: str, array: np.ndarray, dtype: np.dtype) -> None:
    """Refuses a float y that repeats few whole numbers: labels or targets, nobody can know.

    Args:
      name: of y, for messages.
      array: finite floats, ``(examples,)`` or with more axes.
      dtype: as the user gave it.

    >>> refuse_labels_of_floats("y", np.array([0.5, 1.0, 1.0]), np.dtype(float))
    """
    if array.ndim > 2 and _is_one_hot(array.reshape(-1, array.shape[-1])):
        raise errors.refusal(
            name,
            f"one-hot rows of dtype {dtype}, shape {array.shape}",
            "a class number per position, or a task",
            "y.argmax(-1) with task='multiclass', or task='regression' for targets",
        )
    several = array.ndim > 1 and array.size > len(array)
    present = np.unique(array)
    if array.ndim == 2 and several and np.array_equal(present, (0, 1)):
        got = f"0 and 1 of dtype {dtype}, shape {array.shape}"
        fix = "task='multilabel' for several labels, task='regression' for targets"
        raise errors.refusal(name, got, "a task with a matrix of 0 and 1", fix)
    if (present != np.round(present)).any() or 2 * present.size > array.size:
        return
    counted = present.size > 1 and present[0] in (0, 1) and np.ptp(present) == present.size - 1
    if counted or (1 < present.size <= _FEW and not several):
        raise errors.refusal(
            name,
            f"{present.size} different whole numbers of dtype {dtype}",
            "class numbers of an integer dtype, or a task",
            "y.astype(int) or task='multiclass' for classes, task='regression' for targets",
        )


def _indicators(name: str, array: np.ndarray) -> np.ndarray:
    """Several labels of each example, ``(examples, labels)`` of 0 and 1, as floats."""
    if array.dtype.kind not in "biuf" or not (array.ndim == 2 and array.shape[1] > 1):
        got, allowed = f"dtype {array.dtype}, shape {array.shape}", "(examples, labels) of 0 and 1"
        fix = "sklearn.preprocessing.MultiLabelBinarizer().fit_transform(lists of labels)"
        raise errors.refusal(name, got, allowed, fix)
    check_indicators(name, array)
    return array.astype(np.float64)


def _of_classes(name: str, array: np.ndarray, task: Task | None) -> np.ndarray:
    """Labels ``(examples,)``, or under a task ``(examples, positions…)``."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 0 or (array.ndim > 1 and task is None):
        raise errors.refusal(
            f"{name} shape",
            array.shape,
            "(examples,) labels, or one-hot rows; other shapes need a task",
            "one-hot labels: y.argmax(-1); a label per position: task='multiclass'; several labels "
            "of an example: task='multilabel'; several targets: task='regression'",
        )
    if array.ndim > 2 and _is_one_hot(array.reshape(-1, array.shape[-1])):
        got = f"one-hot rows, shape {array.shape}"
        fix = "y.argmax(-1), or numbers of other classes"
        raise errors.refusal(name, got, "a class number per position", fix)
    if array.dtype.kind == "f" and (array != np.round(array)).any():
        value = float(array[array != np.round(array)][0])
        raise errors.refusal(name, value, "whole class numbers", "task='regression' for targets")
    return array
