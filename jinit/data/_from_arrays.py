"""Makes a data set of the user's arrays, standardized by statistics of the training examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from jinit import errors
from jinit.data import _arrays, _features, _labels, _positions, _several
from jinit.data._arrays import Task
from jinit.data._dataset import Dataset
from jinit.data._generated import Generator
from jinit.data._splits import SHARE, Split, divide

# Names of columns and classes that one line of a plan shows.
_SHOWN = 6


def from_arrays(
    x: ArrayLike,
    y: ArrayLike | str | Mapping[str, ArrayLike],
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | str | Mapping[str, ArrayLike] | None = None,
    *,
    name: str = "arrays",
    split: Split | None = None,
    standardize: bool | Literal["all"] | None = None,
    task: Task | None = None,
    encode: bool = False,
    ignore: str | float | None = None,
) -> Dataset:
    """Makes a :class:`Dataset` from the user's own arrays or frames.

    Each feature becomes (x − mean)/std with the mean and standard deviation of the training
    examples. A feature that is constant over the training examples is only centred. A y of text,
    of Booleans, of integer dtype, or with one-hot rows, holds classes; a y of float dtype holds
    targets. Labels are numbered in ascending order. Floats that repeat few whole numbers may be
    either, and so may integers with gaps that take more than 20 values; ``task`` has to say then.

    Args:
      x: ``(examples, features…)``, finite numbers, or a pandas or polars frame of numbers.
      y: labels ``(examples,)`` or ``(examples, 1)``; one-hot rows ``(examples, classes)``; float
        targets ``(examples,)``, ``(examples, outputs)`` or ``(examples, positions…, outputs)``; or
        the name of a column of the frame x. With ``task="multiclass"`` or ``"binary"`` also a label
        at each position, ``(examples, positions…)``; with ``task="multilabel"`` several labels of
        each example, ``(examples, labels)`` of 0 and 1. Or a mapping of names to such arrays:
        several targets, which a loss of one's own gets as a dict.
      x_test, y_test: the test set; default: taken from x and y by ``split``.
      name: the data set's label in tables.
      split: share of test examples, in (0, 0.9], default 0.2; the split is fixed and depends on no
        seed of a run. If a class would then be missing on one side, every class is split by itself.
        ``"stratified(0.2)"`` always splits every class by itself. Or row numbers (or a mask) of the
        test examples, or a pair ``(train rows, test rows)``.
      standardize: False only casts x: integers of 16 bits and more to int32, all else to float32.
        The default None means True, but refuses integers ``(examples, length)`` of 16 bits and
        more, which may be measurements as well as tokens. ``"all"``: also the targets of a
        regression become (y − mean)/std; RMSE and MAE of a sweep stay in the units of y.
      task: ``"multiclass"``, ``"binary"``, ``"multilabel"`` or ``"regression"``; the default None
        takes it from y.
      encode: whether columns of text or categories of a frame become a column of 0 and 1 for each
        value; default False refuses these columns.
      ignore: a label that losses, accuracies and metrics of jinit do not count, such as that of
        padded positions; it becomes −1, which losses and metrics of your own get. Default None.

    Returns:
      A :class:`Dataset`; x is float32 (tokens int32), classes are int32, targets are float32. Its
      ``classes`` are the labels by class number, its ``prepared`` says what was done.

    Raises:
      TypeError: arrays that do not hold real numbers; the message names the column.
      ValueError: NaN or inf, masked or missing entries, lengths or indexes that differ, fewer than
        two examples, y or x that may mean two things, the order of ``train_test_split``.

    Warns:
      UserWarning: a class without training or without test examples, one class only, targets far
        from order 1.

    Reference: LeCun et al. 1998, section 4.3 (normalizing the inputs).

    >>> x, y = np.random.default_rng(0).normal(size=(50, 3)), np.array(["cat", "dog"] * 25)
    >>> halves = from_arrays(x, y)
    >>> halves.x_train.shape, halves.x_test.shape, halves.task, halves.classes
    ((40, 3), (10, 3), 'binary', ('cat', 'dog'))
    """
    _check_options(x_test, y_test, split, standardize, task, encode)
    if isinstance(y, Mapping):
        scaled = "all" if standardize == "all" else None
        _refuse_beside_several({"task": task, "ignore": ignore, "standardize": scaled})
        options = {"split": split, "standardize": standardize, "encode": encode}
        return _several.several(from_arrays, x, y, x_test, y_test, name, options)
    if isinstance(y_test, Mapping):
        raise _several.refused(y_test)
    one, one_test = y, y_test
    if ignore is not None and task in ("multilabel", "regression"):
        raise errors.refusal("ignore", ignore, f"None with task={task!r}", "leave it out")
    column = one if isinstance(one, str) and _features.is_frame(x) else None
    if column is not None:
        one = _features.column("y", x, column)
    if isinstance(one_test, str) and _features.is_frame(x_test):
        one_test = _features.column("y_test", x_test, one_test)
    if x_test is not None and one_test is not None:
        _arrays.check_order(x, one, x_test, one_test)
    _features.check_rows_alike(x, one)
    inputs, names = _features.features("x", x, without=column, encode=encode)
    labels, one_hot = _labels.targets("y", one, task, positions=ignore is not None)
    _same_length("x", inputs, "y", labels)
    if standardize is None and not names:
        _refuse_tokens(inputs)
    if x_test is None or one_test is None:
        by_class = labels if labels.ndim == 1 else None
        train, test, how = divide(SHARE if split is None else split, len(inputs), by_class)
        inputs, test_inputs = inputs[train], inputs[test]
        labels, test_labels = labels[train], labels[test]
    else:
        how = "test set as given"
        test_inputs, test_labels = _given_test(
            (x_test, one_test), (inputs, labels), names, column, encode=encode, task=task,
            positions=ignore is not None, one=(one, one_hot),
        )  # fmt: skip
    given = np.dtype(np.float64) if names else np.asarray(x).dtype
    features = True if standardize == "all" else standardize
    inputs, test_inputs, cast = _scaled(inputs, test_inputs, given, features, names)
    units: tuple[tuple[float, float], ...] = ()
    source = labels.dtype
    if standardize == "all":
        labels, test_labels, units = _labels.standardized(labels, test_labels)
    made = _labels.coded(labels, test_labels, task, one_hot, ignore)
    _labels.warn_of(made)
    rows = f"{len(inputs):,} training and {len(test_inputs):,} test examples"
    described = _described(source, made, units, ignore)
    prepared = (("rows", rows), ("split", how), ("x", cast), *described)
    return Dataset(
        inputs,
        made.y,
        test_inputs,
        made.y_test,
        name,
        made.task,
        made.outputs,
        classes=made.classes,
        prepared=prepared,
        units=units,
        ignores=ignore is not None,
    )


def _given_test(
    test: tuple[ArrayLike, ArrayLike | str],
    train: tuple[np.ndarray, np.ndarray],
    names: tuple[str, ...],
    column: str | None,
    *,
    encode: bool,
    task: Task | None,
    positions: bool,
    one: tuple[ArrayLike, int | None],
) -> tuple[np.ndarray, np.ndarray]:
    """The features and the targets of a test set that the user gave."""
    inputs, test_names = _features.features("x_test", test[0], without=column, encode=encode)
    _features.check_same_columns(names, test_names)
    # Classes are known from y; a test set of few examples need not show what it holds.
    known = task or ("regression" if train[1].dtype.kind == "f" else "multiclass")
    positions = positions or train[1].ndim > 1
    labels, columns = _labels.targets("y_test", test[1], known, positions=positions)
    _check_alike(train, (inputs, labels))
    _labels.check_one_hot((one[0], test[1]), (train[1], labels), (one[1], columns))
    return inputs, labels


def check(data: Dataset) -> Dataset:
    """Returns a :class:`Dataset` made by hand if its arrays fit its task."""
    if isinstance(data.generator, Generator):
        return data  # its examples were checked when it was made
    if data.task == "several":
        return _several.check(data)
    told = np.ndim(data.y_train) > 1 or data.task in ("multilabel", "regression")
    task = data.task if told else None
    checked = from_arrays(
        data.x_train,
        data.y_train,
        data.x_test,
        data.y_test,
        name=data.name,
        standardize=False,
        task=task,
        ignore=_ignored(data, data.y_train, data.y_test),
    )
    if (checked.task == "regression") != (data.task == "regression"):
        raise errors.refusal(
            "Dataset task", data.task, "classes for whole-number y", "use data.from_arrays"
        )
    if checked.classes and checked.classes != tuple(range(checked.outputs)):
        raise errors.refusal(
            "Dataset classes",
            f"labels {list(map(str, checked.classes[:_SHOWN]))}",
            "class numbers 0, 1, … without gaps",
            "use data.from_arrays, which numbers labels",
        )
    if checked.outputs > data.outputs or (data.task == "binary" and data.outputs != 2):
        raise errors.refusal(
            "Dataset outputs",
            data.outputs,
            f"at least {checked.outputs}",
            f"outputs={checked.outputs}",
        )
    if data.classes and len(data.classes) != data.outputs:
        raise errors.refusal(
            "Dataset classes", data.classes, f"{data.outputs} labels, or ()", "leave them out"
        )
    known: dict[str, Any] = {"task": data.task, "outputs": data.outputs, "classes": data.classes}
    known |= {"prepared": data.prepared, "units": data.units, "ignores": data.ignores}
    checked = dataclasses.replace(checked, **known)
    if data.x_validation is None:
        return checked
    held = from_arrays(
        data.x_train,
        data.y_train,
        data.x_validation,
        data.y_validation,
        standardize=False,
        task=task,
        ignore=_ignored(data, data.y_train, data.y_validation),
    )
    return dataclasses.replace(checked, x_validation=held.x_test, y_validation=held.y_test)


def _ignored(data: Dataset, *labels: Any) -> int | None:
    """The label to ignore, if a set has it: :func:`from_arrays` refuses one that no set has."""
    return -1 if data.ignores and min(np.min(y) for y in labels) < 0 else None


def _check_options(
    x_test: ArrayLike | None,
    y_test: ArrayLike | Mapping[str, ArrayLike] | None,
    split: Split | None,
    standardize: bool | Literal["all"] | None,
    task: Task | None,
    encode: bool,
) -> None:
    if task is not None:
        errors.check_choice("task", task, _arrays.TASKS)
    if standardize is not None and not (isinstance(standardize, str) and standardize == "all"):
        errors.check_bool("standardize", standardize)
    elif standardize == "all" and task == "multilabel":
        raise errors.refusal("standardize", "all", "True or False for labels", "standardize=True")
    errors.check_bool("encode", encode)
    if (x_test is None) != (y_test is None):
        raise errors.refusal(
            "test set", "one of x_test, y_test", "both or neither", "pass both arrays"
        )
    if x_test is not None and split is not None:
        raise errors.refusal("split", split, "None with x_test and y_test", "leave one of them out")


def _refuse_beside_several(given: Mapping[str, str | float | bool | None]) -> None:
    """Refuses options of one target beside several."""
    for name, value in given.items():
        if value is not None:
            raise errors.refusal(
                name, value, "None with several targets", "prepare the targets, or leave it out"
            )


def _refuse_tokens(x: np.ndarray) -> None:
    if x.dtype.kind not in "iu" or x.dtype.itemsize == 1 or x.ndim != 2 or x.shape[1] < 2:
        return
    if len(np.unique(x)) > 2:
        raise errors.refusal(
            "x",
            f"whole numbers of dtype {x.dtype}, shape {x.shape}",
            "floats, or a word on what they are",
            "x.astype(float) for measurements; from_arrays(x, y, standardize=False) for tokens",
        )


def _scaled(
    x: np.ndarray,
    x_test: np.ndarray,
    dtype: np.dtype,
    standardize: bool | None,
    names: tuple[str, ...],
) -> tuple[np.ndarray, np.ndarray, str]:
    """The features as training gets them, float32, or tokens as int32; and what was done."""
    tokens = x.dtype.kind in "iu" and x.dtype.itemsize > 1 and x_test.dtype.kind in "iu"
    columns = f"{len(names)} columns of a frame ({_list(list(names[:_SHOWN]), len(names))})"
    source = columns if names else str(dtype)
    if standardize is False and tokens:
        return _as_int32("x", x), _as_int32("x_test", x_test), f"{source} → int32, values unchanged"
    x, x_test = x.astype(np.float64), x_test.astype(np.float64)
    said = "values unchanged" if dtype == np.float32 else "values only rounded"
    if standardize is not False:
        exact = 2.0**-8 if dtype.name == "bfloat16" else 0.0
        rounding = float(np.finfo(dtype).eps) if dtype.kind == "f" else exact
        x, x_test, constant = _standardized(x, x_test, rounding)
        said = "standardized by mean and deviation of the training examples"
        if constant.any():
            said += f"; {_named(constant, names)}, only centred"
    cast = _arrays.as_float32("x", x), _arrays.as_float32("x_test", x_test)
    return *cast, f"{source} → float32, {said}"


def _named(constant: np.ndarray, names: tuple[str, ...]) -> str:
    """The features that are constant, by the names of columns or by number."""
    places = np.flatnonzero(constant)
    shown = [names[place] if names else str(place) for place in places[:_SHOWN]]
    some = "features are" if places.size > 1 else "feature is"
    return f"{places.size} {some} constant ({_list(shown, places.size)})"


def _list(shown: list[str], count: int) -> str:
    return ", ".join(shown) + (", …" if count > len(shown) else "")


def _as_int32(name: str, x: np.ndarray) -> np.ndarray:
    if x.size and (x.max() > 2**31 - 1 or x.min() < -(2**31)):
        largest = max(int(x.max()), -int(x.min()))
        raise errors.refusal(name, largest, "tokens that fit int32", "number the tokens anew")
    return x.astype(np.int32)


def _standardized(
    x: np.ndarray, x_test: np.ndarray, rounding: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both sets by the mean and deviation of the first, and which features are constant in it."""
    # A feature beyond 1e150 is divided by 2^600, because squares would overflow in the deviation.
    unit = np.where(np.abs(x).max(axis=0) > 1e150, 2.0**600, 1.0)
    x, x_test = x / unit, x_test / unit
    mean, std = x.mean(axis=0), x.std(axis=0)
    # A feature is constant if its values differ by no more than the rounding of their dtype. The
    # deviation alone does not tell: that of equal numbers is not exactly 0, and timestamps vary by
    # a share of 1e-8.
    spread = x.max(axis=0) - x.min(axis=0)
    varies = (spread > 2 * rounding * np.abs(x).max(axis=0)) & (std > 0)
    std = np.where(varies, std, 1.0)
    return (x - mean) / std, (x_test - mean) / std, ~varies


def _same_length(first: str, a: np.ndarray, second: str, b: np.ndarray) -> None:
    if len(a) != len(b):
        raise errors.refusal(
            f"lengths of {first} and {second}", (len(a), len(b)), "equal", "one target per example"
        )
    if len(a) < 1:
        raise errors.refusal(first, "no examples", "at least 2 examples", "pass more")


def _check_alike(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> None:
    """Refuses a test set whose examples have other shapes, or labels of another kind."""
    (x, y), (x_test, y_test) = train, test
    _same_length("x_test", x_test, "y_test", y_test)
    if (x_test.shape[1:], y_test.shape[1:]) != (x.shape[1:], y.shape[1:]):
        raise errors.refusal(
            "x_test, y_test",
            (x_test.shape, y_test.shape),
            f"the training arrays' trailing shapes {x.shape[1:]} and {y.shape[1:]}",
            "check which array is which",
        )
    if (y.dtype.kind == "U") != (y_test.dtype.kind == "U"):
        got = f"{y.dtype} and {y_test.dtype}"
        raise errors.refusal("labels of y and y_test", got, "text in both or in neither", "recode")


def _described(
    dtype: np.dtype,
    made: _labels.Coded,
    units: tuple[tuple[float, float], ...],
    ignore: str | float | None,
) -> list[tuple[str, str]]:
    """What was done to y, for the plan."""
    source = "text" if dtype.kind == "U" else str(dtype)
    if made.task == "regression":
        said = "values unscaled"
        if units:
            shown = [f"mean {mean:.4g}, deviation {std:.4g}" for mean, std in units[:_SHOWN]]
            said = f"standardized ({_list(shown, len(units))})"
        return [("y", f"{source} → float32 targets, {said}")]
    if made.task == "multilabel":
        share = ", ".join(f"{mean:.3g}" for mean in made.y.mean(axis=0)[:_SHOWN].tolist())
        more = ", …" if made.outputs > _SHOWN else ""
        said = f"{made.outputs} labels of each example, shares of training examples: {share}{more}"
        counted = "examples whose labels are all right; label_accuracy counts single labels"
        return [("y", f"{source} → float32, {said}"), ("accuracy", f"the share of {counted}")]
    counts = np.bincount(made.y[made.y >= 0], minlength=made.outputs).tolist()
    plain = made.classes == tuple(range(made.outputs))
    shown = [
        f"{count:,} of {label}" if plain else f"{label!r} → {number} ({count:,})"
        for number, (label, count) in enumerate(zip(made.classes, counts, strict=True))
    ]
    some = _list(shown[:_SHOWN], len(shown))
    each = "examples" if made.y.ndim == 1 else "labels"
    return [
        ("y", _positions.said(source, made.y, ignore)),
        ("classes", f"{made.outputs}, training {each} each: {some}"),
    ]
