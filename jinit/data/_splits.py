"""Splits arrays into a data set, standardized by statistics of the training examples."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
from numpy.typing import ArrayLike

from jinit import errors

Task: TypeAlias = Literal["multiclass", "binary", "regression"]
Examples: TypeAlias = Any
"""NumPy or JAX arrays; tracers inside a traced function."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dataset:
    """Training and test examples; a pytree whose leaves are the four arrays.

    Attributes:
      x_train, x_test: float32 ``(examples, features…)``.
      y_train, y_test: int32 classes ``(examples,)``, or float32 targets ``(examples, outputs)``.
      name: the data set's label in tables.
      task: ``"multiclass"``, ``"binary"`` (classes 0 and 1) or ``"regression"``.
      outputs: number of classes, or of regression targets.
    """

    x_train: Examples
    y_train: Examples
    x_test: Examples
    y_test: Examples
    name: str = field(metadata={"static": True}, default="arrays")
    task: Task = field(metadata={"static": True}, default="multiclass")
    outputs: int = field(metadata={"static": True}, default=2)

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


def from_arrays(
    x: ArrayLike,
    y: ArrayLike,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    name: str = "arrays",
    test_fraction: float = 0.2,
    standardize: bool = True,
) -> Dataset:
    """Makes a :class:`Dataset` from the user's own arrays.

    Each feature becomes (x − mean)/std with the mean and standard deviation of the training
    examples. A feature that is constant over the training examples is only centred. A y of integer
    dtype holds classes; a y of float dtype holds targets, even if all are whole numbers.

    Args:
      x: ``(examples, features…)``, finite numbers.
      y: ``(examples,)`` class numbers 0, 1, …; or float targets ``(examples,)`` or
        ``(examples, outputs)``.
      x_test, y_test: the test set; default: a fixed random ``test_fraction`` of the examples.
      name: the data set's label in tables.
      test_fraction: share of test examples, in (0, 0.9]; the split is fixed and depends on no seed.
      standardize: False leaves the values of x unchanged.

    Returns:
      A :class:`Dataset`; x is float32, classes are int32, targets are float32.

    Raises:
      TypeError: arrays that do not hold real numbers.
      ValueError: NaN or inf, lengths that differ, fewer than two examples, class numbers that are
        negative or leave gaps.

    Reference: LeCun et al. 1998, section 4.3 (normalizing the inputs).

    >>> x, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
    >>> halves = from_arrays(x, y)
    >>> halves.x_train.shape, halves.x_test.shape, halves.task
    ((40, 3), (10, 3), 'binary')
    """
    inputs, labels = _features("x", x), _targets("y", y)
    _same_length("x", inputs, "y", labels)
    if (x_test is None) != (y_test is None):
        raise errors.refusal(
            "test set", "one of x_test, y_test", "both or neither", "pass both arrays"
        )
    if x_test is None or y_test is None:
        errors.check_number(
            "test_fraction", test_fraction, low=0.0, high=0.9, open_low=True, fix="use 0.2"
        )
        train, test = split(len(inputs), test_fraction)
        inputs, test_inputs = inputs[train], inputs[test]
        labels, test_labels = labels[train], labels[test]
    else:
        test_inputs, test_labels = _features("x_test", x_test), _targets("y_test", y_test)
        _same_length("x_test", test_inputs, "y_test", test_labels)
        trailing = inputs.shape[1:], labels.shape[1:]
        if (test_inputs.shape[1:], test_labels.shape[1:]) != trailing:
            raise errors.refusal(
                "x_test, y_test",
                (test_inputs.shape, test_labels.shape),
                f"the training arrays' trailing shapes {trailing[0]} and {trailing[1]}",
                "check which array is which",
            )
    if standardize:
        inputs, test_inputs = _standardized(inputs, test_inputs)
    task, outputs = _task(labels, test_labels)
    if task != "regression":
        labels, test_labels = labels.astype(np.int32), test_labels.astype(np.int32)
    inputs, test_inputs = _as_float32("x", inputs), _as_float32("x_test", test_inputs)
    return Dataset(inputs, labels, test_inputs, test_labels, name, task, outputs)


def check(data: Dataset) -> Dataset:
    """Returns a :class:`Dataset` made by hand if its arrays fit its task."""
    checked = from_arrays(
        data.x_train, data.y_train, data.x_test, data.y_test, name=data.name, standardize=False
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
    return dataclasses.replace(checked, task=data.task, outputs=data.outputs)


def split(examples: int, test_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and test examples: a fixed shuffle, the same on every machine."""
    held_out = max(1, round(examples * test_fraction))
    if examples - held_out < 1:
        raise errors.refusal("examples", examples, "at least 2", "pass more examples")
    order = np.random.default_rng(20150201).permutation(examples)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _standardized(x: np.ndarray, x_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # A feature beyond 1e150 is divided by 2^600, because squares would overflow in the deviation.
    unit = np.where(np.abs(x).max(axis=0) > 1e150, 2.0**600, 1.0)
    x, x_test = x / unit, x_test / unit
    mean, std = x.mean(axis=0), x.std(axis=0)
    # A deviation as small as the rounding error of float32 input means a constant feature.
    std = np.where(std > 1e-7 * np.abs(mean), std, 1.0)
    return (x - mean) / std, (x_test - mean) / std


def _features(name: str, x: ArrayLike) -> np.ndarray:
    kind = np.asarray(x).dtype.kind
    if kind in "cmM":
        raise errors.wrong_type(
            name,
            f"dtype {np.asarray(x).dtype}",
            "real numbers",
            "convert them to numeric features first",
        )
    try:
        array = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError):
        raise errors.wrong_type(
            name, type(x).__name__, "an array of numbers", "pass a NumPy or JAX array"
        ) from None
    if array.ndim < 2:
        raise errors.refusal(
            f"{name} shape", array.shape, "(examples, features…)", "reshape with x[:, None]"
        )
    if not math.prod(array.shape[1:]):
        raise errors.refusal(f"{name} shape", array.shape, "at least one feature", "add features")
    _finite(name, array)
    return array


def _targets(name: str, y: ArrayLike) -> np.ndarray:
    array = np.asarray(y)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise errors.wrong_type(
            name,
            f"dtype {array.dtype}",
            "whole class numbers or float targets",
            "encode labels as 0, 1, …",
        )
    if array.ndim == 0:
        raise errors.refusal(
            f"{name} shape", array.shape, "(examples,)", "pass one target per example"
        )
    if np.issubdtype(array.dtype, np.floating):
        _finite(name, array)
        return np.asarray(array.reshape(len(array), -1), np.float32)
    if array.ndim != 1:
        raise errors.refusal(
            f"{name} shape",
            array.shape,
            "(examples,) class numbers",
            "use y.argmax(-1) for one-hot",
        )
    if array.size and array.min() < 0:
        raise errors.refusal(name, int(array.min()), "class numbers 0, 1, …", "shift the classes")
    return array.astype(np.int64)


def _as_float32(name: str, x: np.ndarray) -> np.ndarray:
    largest = float(np.abs(x).max(initial=0.0))
    if largest > float(np.finfo(np.float32).max):
        raise errors.refusal(
            name, f"an entry of {largest:.3g}", "numbers that fit float32", "standardize=True"
        )
    return x.astype(np.float32)


def _finite(name: str, array: np.ndarray) -> None:
    bad = int(np.size(array) - np.isfinite(array).sum())
    if bad:
        raise errors.refusal(
            name, f"{bad} entries that are NaN or inf", "finite numbers", "drop or impute them"
        )


def _same_length(first: str, a: np.ndarray, second: str, b: np.ndarray) -> None:
    if len(a) != len(b):
        raise errors.refusal(
            f"lengths of {first} and {second}", (len(a), len(b)), "equal", "one target per example"
        )
    if len(a) < 1:
        raise errors.refusal(first, "no examples", "at least 2 examples", "pass more")


def _task(y: np.ndarray, y_test: np.ndarray) -> tuple[Task, int]:
    if np.issubdtype(y.dtype, np.floating):
        return "regression", y.shape[1]
    present = np.unique(np.concatenate([y, y_test]))
    classes = int(present[-1]) + 1
    if classes > 2 and classes != present.size:
        raise errors.refusal(
            "classes",
            f"{present.size} different numbers from {present[0]} to {present[-1]}",
            "0, 1, … without gaps",
            "y = np.unique(y, return_inverse=True)[1]",
        )
    return ("binary", 2) if classes <= 2 else ("multiclass", classes)
