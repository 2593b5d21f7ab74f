"""A data set ready for training: fixed split, standardized with training statistics only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from jinit import errors

Task: TypeAlias = Literal["multiclass", "binary", "regression"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dataset:
    """Training and test examples; a pytree whose leaves are the four arrays.

    Attributes:
      x_train, x_test: float32 ``(examples, features…)``.
      y_train, y_test: int32 classes ``(examples,)``, or float32 targets ``(examples, outputs)``.
      name: what tables print.
      task: ``"multiclass"``, ``"binary"`` (classes 0 and 1) or ``"regression"``.
      outputs: number of classes, or of regression targets.
    """

    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any
    name: str = field(metadata={"static": True}, default="arrays")
    task: Task = field(metadata={"static": True}, default="multiclass")
    outputs: int = field(metadata={"static": True}, default=2)


def from_arrays(
    x: Any,
    y: Any,
    x_test: Any = None,
    y_test: Any = None,
    *,
    name: str = "arrays",
    test_fraction: float = 0.2,
    standardize: bool = True,
) -> Dataset:
    """A :class:`Dataset` from the user's own arrays.

    Each feature becomes (x − mean)/std with the mean and std of the training examples; a feature
    that is constant there is only centred. Whole-number y are classes, floats are targets.

    Args:
      x: ``(examples, features…)``, finite numbers.
      y: ``(examples,)`` class numbers 0, 1, …; or float targets ``(examples,)`` or
        ``(examples, outputs)``.
      x_test, y_test: the test set; without them a fixed random ``test_fraction`` is held out.
      name: what tables print.
      test_fraction: share held out, in (0, 1); the same examples for every seed.
      standardize: False leaves x as it is.

    Raises:
      TypeError: arrays that are not numbers.
      ValueError: NaN or inf, lengths that differ, fewer than two examples, negative classes.

    Reference: LeCun et al. 1998, section 4.3 (normalizing the inputs).

    >>> x, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
    >>> made = from_arrays(x, y)
    >>> made.x_train.shape, made.x_test.shape, made.task
    ((40, 3), (10, 3), 'binary')
    """
    x, y = _features("x", x), _targets("y", y)
    _same_length("x", x, "y", y)
    if (x_test is None) != (y_test is None):
        raise errors.refusal(
            "test set", "one of x_test, y_test", "both or neither", "pass both arrays"
        )
    if x_test is None:
        errors.check_number(
            "test_fraction", test_fraction, low=0.0, high=0.9, open_low=True, fix="use 0.2"
        )
        train, test = split(len(x), test_fraction)
        x, x_test, y, y_test = x[train], x[test], y[train], y[test]
    else:
        x_test, y_test = _features("x_test", x_test), _targets("y_test", y_test)
        _same_length("x_test", x_test, "y_test", y_test)
        if x_test.shape[1:] != x.shape[1:] or y_test.shape[1:] != y.shape[1:]:
            raise errors.refusal(
                "x_test, y_test",
                (x_test.shape, y_test.shape),
                f"the training arrays' trailing shapes {x.shape[1:]} and {y.shape[1:]}",
                "check which array is which",
            )
    if standardize:
        x, x_test = _standardized(x, x_test)
    task, outputs = _task(y, y_test)
    return Dataset(x.astype(np.float32), y, x_test.astype(np.float32), y_test, name, task, outputs)


def split(examples: int, test_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Training and test example numbers: a fixed shuffle, the same on every machine.

    >>> [part.size for part in split(10, 0.2)]
    [8, 2]
    """
    held_out = max(1, round(examples * test_fraction))
    if examples - held_out < 1:
        raise errors.refusal("examples", examples, "at least 2", "pass more examples")
    order = np.random.default_rng(20150201).permutation(examples)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _standardized(x: np.ndarray, x_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, std = x.mean(axis=0), x.std(axis=0)
    std = np.where(std > 1e-6 * np.maximum(1.0, np.abs(mean)), std, 1.0)
    return (x - mean) / std, (x_test - mean) / std


def _features(name: str, x: Any) -> np.ndarray:
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
    _finite(name, array)
    return array


def _targets(name: str, y: Any) -> np.ndarray:
    array = np.asarray(y)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise errors.wrong_type(
            name, f"dtype {array.dtype}", "whole class numbers or float targets", "encode labels"
        )
    if array.ndim == 0:
        raise errors.refusal(f"{name} shape", array.shape, "(examples,)", "pass one per example")
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
    return array.astype(np.int32)


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
    classes = int(max(y.max(), y_test.max())) + 1
    return ("binary", 2) if classes <= 2 else ("multiclass", classes)
