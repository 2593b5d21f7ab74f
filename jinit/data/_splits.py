"""Splits arrays into a data set, standardized by statistics of the training examples."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import numpy as np
from numpy.typing import ArrayLike

from jinit import errors
from jinit.data import _arrays
from jinit.data._arrays import Task

Examples: TypeAlias = Any
"""NumPy or JAX arrays; tracers inside a traced function."""

# Seeds of the fixed shuffles.
_TEST, _VALIDATION = 20150201, 20150202


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dataset:
    """Training and test examples; a pytree whose leaves are the arrays.

    Attributes:
      x_train, x_test: ``(examples, features…)``, float32; int32 for tokens.
      y_train, y_test: int32 classes ``(examples,)``, or float32 targets ``(examples, outputs)``.
      name: the data set's label in tables.
      task: ``"multiclass"``, ``"binary"`` (classes 0 and 1) or ``"regression"``.
      outputs: number of classes, or of regression targets.
      x_validation, y_validation: examples for choosing the best step, see :meth:`hold_out`; None
        (default) for none.
    """

    x_train: Examples
    y_train: Examples
    x_test: Examples
    y_test: Examples
    name: str = field(metadata={"static": True}, default="arrays")
    task: Task = field(metadata={"static": True}, default="multiclass")
    outputs: int = field(metadata={"static": True}, default=2)
    x_validation: Examples = None
    y_validation: Examples = None

    def spread(self, count: int) -> tuple[Examples, Examples]:
        """Up to ``count`` training examples at equally spaced positions.

        If examples are sorted by class (iris, wine), the shares of the classes are kept.

        Args:
          count: ≥ 1.

        Returns:
          ``(x, y)``, the first axes of length min(count, training examples).

        Raises:
          ValueError: count below 1.

        >>> split = from_arrays(np.eye(8), np.repeat([0, 1], 4), test_fraction=0.25)
        >>> split.spread(2)[1].tolist()
        [0, 1]
        """
        errors.check_integer("count", count, low=1, fix="use 64")
        last = len(self.x_train) - 1
        rows = np.linspace(0, last, min(count, last + 1)).astype(int)
        return self.x_train[rows], self.y_train[rows]

    def hold_out(self, share: float) -> Dataset:
        """Moves a fixed share of the training examples to the validation set.

        The examples keep their standardization. The split depends on no seed; a class that would
        be missing on one side is split by class.

        Args:
          share: share of the training examples, in (0, 0.9].

        Returns:
          A data set of the same name with fewer training examples.

        Raises:
          ValueError: a share out of range; a data set that has a validation set.

        >>> held = from_arrays(np.eye(10), np.arange(10) % 2).hold_out(0.25)
        >>> len(held.x_train), len(held.x_validation)
        (6, 2)
        """
        errors.check_number(
            "validation", share, low=0.0, high=0.9, open_low=True, fix="use 0.2 of the examples"
        )
        if self.x_validation is not None:
            raise errors.refusal(
                "validation", share, "0 with data that has a validation set", "leave it out"
            )
        labels = None if self.task == "regression" else np.asarray(self.y_train)
        kept, held = split(len(self.x_train), share, labels, seed=_VALIDATION)
        return dataclasses.replace(
            self,
            x_train=self.x_train[kept],
            y_train=self.y_train[kept],
            x_validation=self.x_train[held],
            y_validation=self.y_train[held],
        )


def from_arrays(
    x: ArrayLike,
    y: ArrayLike,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    name: str = "arrays",
    test_fraction: float = 0.2,
    standardize: bool | None = None,
    task: Task | None = None,
) -> Dataset:
    """Makes a :class:`Dataset` from the user's own arrays.

    Each feature becomes (x − mean)/std with the mean and standard deviation of the training
    examples. A feature that is constant over the training examples is only centred. A y of integer
    dtype, or with one-hot rows, holds classes; a y of float dtype holds targets. Floats that repeat
    few whole numbers may be either, so that ``task`` has to say.

    Args:
      x: ``(examples, features…)``, finite numbers, or a pandas frame of numbers.
      y: class numbers 0, 1, …, ``(examples,)`` or ``(examples, 1)``; one-hot rows ``(examples,
        classes)``; or float targets ``(examples,)`` or ``(examples, outputs)``.
      x_test, y_test: the test set; default: a fixed random ``test_fraction`` of the examples. If a
        class would then be missing on one side, every class is split by itself.
      name: the data set's label in tables.
      test_fraction: share of test examples, in (0, 0.9]; the split is fixed and depends on no seed.
      standardize: False leaves the values of x unchanged, and integers int32. The default None
        means True, but refuses integers ``(examples, length)`` of 16 bits and more, which may be
        measurements as well as tokens.
      task: ``"multiclass"``, ``"binary"`` or ``"regression"``; the default None takes it from y.

    Returns:
      A :class:`Dataset`; x is float32 (tokens int32), classes are int32, targets are float32.

    Raises:
      TypeError: arrays that do not hold real numbers; the message names the column.
      ValueError: NaN or inf, masked entries, lengths that differ, fewer than two examples, class
        numbers that are negative or leave gaps, y or x that may mean two things, the order of
        ``train_test_split``.

    Warns:
      UserWarning: a class without training or without test examples, one class only, targets far
        from order 1.

    Reference: LeCun et al. 1998, section 4.3 (normalizing the inputs).

    >>> x, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
    >>> halves = from_arrays(x, y)
    >>> halves.x_train.shape, halves.x_test.shape, halves.task
    ((40, 3), (10, 3), 'binary')
    """
    if task is not None:
        errors.check_choice("task", task, _arrays.TASKS)
    if standardize is not None:
        errors.check_bool("standardize", standardize)
    if (x_test is None) != (y_test is None):
        raise errors.refusal(
            "test set", "one of x_test, y_test", "both or neither", "pass both arrays"
        )
    if x_test is not None and y_test is not None:
        _arrays.check_order(x, y, x_test, y_test)
    inputs, (labels, classes) = _arrays.features("x", x), _arrays.targets("y", y, task)
    _same_length("x", inputs, "y", labels)
    if standardize is None and not _arrays.is_frame(x):
        _refuse_tokens(inputs)
    if x_test is None or y_test is None:
        _check_share(test_fraction)
        by_class = labels if labels.dtype.kind == "i" else None
        train, test = split(len(inputs), test_fraction, by_class)
        inputs, test_inputs = inputs[train], inputs[test]
        labels, test_labels = labels[train], labels[test]
    else:
        test_inputs = _arrays.features("x_test", x_test)
        # Classes are known from y; a test set of few examples need not show what it holds.
        known = task or ("regression" if labels.dtype.kind == "f" else "multiclass")
        test_labels, _ = _arrays.targets("y_test", y_test, known)
        _same_length("x_test", test_inputs, "y_test", test_labels)
        trailing = inputs.shape[1:], labels.shape[1:]
        if (test_inputs.shape[1:], test_labels.shape[1:]) != trailing:
            raise errors.refusal(
                "x_test, y_test",
                (test_inputs.shape, test_labels.shape),
                f"the training arrays' trailing shapes {trailing[0]} and {trailing[1]}",
                "check which array is which",
            )
    inputs, test_inputs = _scaled(inputs, test_inputs, np.asarray(x).dtype, standardize)
    return _dataset((inputs, labels), (test_inputs, test_labels), name, task, classes)


def check(data: Dataset) -> Dataset:
    """Returns a :class:`Dataset` made by hand if its arrays fit its task."""
    checked = from_arrays(
        data.x_train,
        data.y_train,
        data.x_test,
        data.y_test,
        name=data.name,
        standardize=False,
        task=data.task if data.task == "regression" else None,
    )
    if (checked.task == "regression") != (data.task == "regression"):
        raise errors.refusal(
            "Dataset task", data.task, "classes for whole-number y", "use data.from_arrays"
        )
    if checked.outputs > data.outputs or (data.task == "binary" and data.outputs != 2):
        raise errors.refusal(
            "Dataset outputs",
            data.outputs,
            f"at least {checked.outputs}",
            f"outputs={checked.outputs}",
        )
    checked = dataclasses.replace(checked, task=data.task, outputs=data.outputs)
    if data.x_validation is None:
        return checked
    held = from_arrays(
        data.x_train,
        data.y_train,
        data.x_validation,
        data.y_validation,
        standardize=False,
        task=data.task if data.task == "regression" else None,
    )
    return dataclasses.replace(checked, x_validation=held.x_test, y_validation=held.y_test)


def split(
    examples: int, test_fraction: float, labels: np.ndarray | None = None, *, seed: int = _TEST
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and test examples: a fixed shuffle, the same on every machine.

    If a class of ``labels`` is missing on one side, every class is split by itself: at least one
    test example of each class with two or more, and a single example to the training set.
    """
    held_out = max(1, round(examples * test_fraction))
    if examples - held_out < 1:
        raise errors.refusal("examples", examples, "at least 2", "pass more examples")
    order = np.random.default_rng(seed).permutation(examples)
    train, test = order[held_out:], order[:held_out]
    if labels is not None and len(np.setxor1d(labels[train], labels[test])):
        groups = [order[labels[order] == one] for one in np.unique(labels)]
        counts = [
            min(len(group) - 1, max(1, round(len(group) * test_fraction))) for group in groups
        ]
        if any(counts):
            pairs = list(zip(groups, counts, strict=True))
            train = np.concatenate([group[count:] for group, count in pairs])
            test = np.concatenate([group[:count] for group, count in pairs])
    return np.sort(train), np.sort(test)


def _dataset(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    name: str,
    task: Task | None,
    classes: int | None,
) -> Dataset:
    """The data set of these examples; warns of what trains badly."""
    (x, y), (x_test, y_test) = train, test
    found, outputs = _task(y, y_test, task, classes)
    if found == "regression":
        y, y_test = (_arrays.targets_as_float32(*pair) for pair in (("y", y), ("y_test", y_test)))
        warning = _arrays.large_targets(y)
        if warning:
            warnings.warn(warning, UserWarning, stacklevel=3)
    else:
        _warn_of_classes(y, y_test)
        y, y_test = y.astype(np.int32), y_test.astype(np.int32)
    return Dataset(x, y, x_test, y_test, name, found, outputs)


def _check_share(share: float) -> None:
    if isinstance(share, list | tuple | np.ndarray):
        raise errors.wrong_type("test_fraction", share, "one number in (0, 0.9]", "use 0.2")
    errors.check_number("test_fraction", share, low=0.0, high=0.9, open_low=True, fix="use 0.2")


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
    x: np.ndarray, x_test: np.ndarray, dtype: np.dtype, standardize: bool | None
) -> tuple[np.ndarray, np.ndarray]:
    """The features as training gets them: standardized float32, or tokens as int32."""
    tokens = x.dtype.kind in "iu" and x.dtype.itemsize > 1 and x_test.dtype.kind in "iu"
    if standardize is False and tokens:
        return _as_int32("x", x), _as_int32("x_test", x_test)
    x, x_test = x.astype(np.float64), x_test.astype(np.float64)
    if standardize is not False:
        exact = 2.0**-8 if dtype.name == "bfloat16" else 0.0
        rounding = float(np.finfo(dtype).eps) if dtype.kind == "f" else exact
        x, x_test = _standardized(x, x_test, rounding)
    return _arrays.as_float32("x", x), _arrays.as_float32("x_test", x_test)


def _as_int32(name: str, x: np.ndarray) -> np.ndarray:
    if x.size and (x.max() > 2**31 - 1 or x.min() < -(2**31)):
        largest = max(int(x.max()), -int(x.min()))
        raise errors.refusal(name, largest, "tokens that fit int32", "number the tokens anew")
    return x.astype(np.int32)


def _standardized(
    x: np.ndarray, x_test: np.ndarray, rounding: float
) -> tuple[np.ndarray, np.ndarray]:
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
    return (x - mean) / std, (x_test - mean) / std


def _same_length(first: str, a: np.ndarray, second: str, b: np.ndarray) -> None:
    if len(a) != len(b):
        raise errors.refusal(
            f"lengths of {first} and {second}", (len(a), len(b)), "equal", "one target per example"
        )
    if len(a) < 1:
        raise errors.refusal(first, "no examples", "at least 2 examples", "pass more")


def _task(
    y: np.ndarray, y_test: np.ndarray, task: Task | None, classes: int | None
) -> tuple[Task, int]:
    if y.dtype.kind == "f":
        return "regression", y.shape[1]
    present = np.unique(np.concatenate([y, y_test]))
    number = max(int(present[-1]) + 1, classes or 0)
    if number > 2 and classes is None and number != present.size:
        raise errors.refusal(
            "classes",
            f"{present.size} different numbers from {present[0]} to {present[-1]}",
            "0, 1, … without gaps",
            "y = np.unique(y, return_inverse=True)[1]",
        )
    if task == "binary" and number > 2:
        raise errors.refusal("task", task, f"'multiclass' for {number} classes", "leave it out")
    # One-hot rows come from models with one output per class, also of two classes.
    if task == "multiclass" or number > 2 or (classes is not None and task is None):
        return "multiclass", max(number, 2)
    return "binary", 2


def _warn_of_classes(y: np.ndarray, y_test: np.ndarray) -> None:
    """Warns of classes on one side of the split only, and of labels that are all alike."""
    here, there = np.unique(y), np.unique(y_test)
    for known, other, where in ((here, there, "training"), (there, here, "test")):
        missing = np.setdiff1d(other, known)
        if missing.size:
            listed = ", ".join(map(str, missing[:5].tolist())) + (", …" if missing.size > 5 else "")
            text = f"no {where} example is of class {listed}"
            warnings.warn(f"{text}: accuracies say little about it", UserWarning, stacklevel=4)
    if len(np.union1d(here, there)) == 1:
        warnings.warn(
            f"all labels are of class {here[0]}: every network is right", UserWarning, stacklevel=4
        )
