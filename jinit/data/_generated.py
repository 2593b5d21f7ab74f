"""Makes a data set of a function that draws batches on the device: endless data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _specs, errors
from jinit._anew import anew
from jinit._switches import own_switches
from jinit.data import _positions
from jinit.data._arrays import CLASSES, TASKS, Task, check_finite, check_indicators
from jinit.data._dataset import Dataset
from jinit.data._labels import Coded, refuse_labels_of_floats, warn_of
from jinit.data._splits import TEST
from jinit.typing import Array, Key

Draw: TypeAlias = Callable[[Key, int], tuple[Array, Array]]
"""``draw(key, size) -> (x, y)``, x ``(size, features…)``, y ``(size,)`` or ``(size, …)``."""

# The seed of the key that draws the training sample.
_SAMPLE = 20150203
_EXAMPLE = "lambda key, size: (x, y), with jax.random.normal(key, (size, 8)) and jnp alone"


@dataclass(frozen=True)
class Generator:
    """The user's function with the dtypes of a data set: ``generator(key, size) -> (x, y)``.

    Attributes:
      draw: the function.
      task: of the data set.
      ignore: the label that becomes −1; None (default) for none.
    """

    draw: Draw
    task: Task
    ignore: int | None = None

    def __call__(self, key: Key, size: int) -> tuple[Array, Array]:
        """A batch: x float32 or int32; y int32 classes or float32 ``(size, outputs)``."""
        x, y = self.draw(key, size)
        whole = jnp.issubdtype(x.dtype, jnp.integer)
        x = jnp.asarray(x, jnp.int32 if whole else jnp.float32)
        if self.task == "regression":
            return x, jnp.asarray(y, jnp.float32).reshape(size, -1)
        if self.task == "multilabel":
            return x, jnp.asarray(y, jnp.float32)
        y = jnp.asarray(y, jnp.int32)
        if self.ignore in (None, -1):
            return x, y
        # A label that is −1 by mistake stays no class.
        return x, jnp.where(y == self.ignore, -1, jnp.where(y == -1, -2, y))

    def fingerprint(self, size: int) -> bytes:
        """A digest of the lowered function and of the constants that it holds."""
        traced = jax.jit(anew(self), static_argnums=1).trace(_key(TEST), size)
        digest = hashlib.blake2b(traced.lower().as_text().encode())
        for constant in traced.jaxpr.consts:
            digest.update(np.asarray(constant).tobytes())
        return digest.digest()


def generated(
    draw: Draw,
    *,
    outputs: int | None = None,
    task: Task | None = None,
    ignore: int | None = None,
    name: str | None = None,
    test: int = 1000,
) -> Dataset:
    """A data set of endless examples: every step of a run draws new ones on the device.

    Step i of a run calls ``draw(fold_in(key, i), batch_size)`` with the run's data key, so that all
    arms see the same examples in the same order. The test set is drawn once, with a key of its own,
    and so is a sample of equal size for ``train_loss``, calibrations and the validation set.

    Args:
      draw: ``draw(key, size) -> (x, y)``, pure and traceable by JAX: x ``(size, features…)`` of
        floats or integers (tokens); y ``(size,)`` Booleans, or integers 0, 1, …, or floats
        ``(size,)`` or ``(size, outputs)``. With a task, y may be integers or Booleans of more axes.
      outputs: number of classes; needed for integers, because no sample shows that there are no
        more.
      task: needed for integers and Booleans of more than one axis: ``"multiclass"`` or ``"binary"``
        for a label at each position, ``(size, positions…)``; ``"multilabel"`` for several labels of
        an example, ``(size, labels)`` of 0 and 1. Default None: read from dtype and ``outputs``.
      ignore: the label of positions or examples that are not counted, as −1 for padding; it becomes
        −1. Default None: every label counts.
      name: the data set's label in tables; default: the name of the function.
      test: number of test examples, ≥ 2.

    Returns:
      A :class:`Dataset`; values are not standardized.

    Raises:
      TypeError: no function, not a pair of arrays of numbers, or ``ignore`` no integer.
      ValueError: a function that JAX cannot trace, that ignores the key, or raises an error; shapes
        that do not follow ``size``; classes without ``outputs``, or beyond it; floats that may be
        labels as well as targets; a task that does not fit y; ``ignore`` for numbers to predict, or
        a label that no example has; NaN or inf.

    >>> def teacher(key, size):
    ...     x = jax.random.normal(key, (size, 4))
    ...     return x, jnp.sin(x.sum(axis=1))
    >>> made = generated(teacher)
    >>> made.x_test.shape, made.y_test.shape, made.task
    ((1000, 4), (1000, 1), 'regression')
    """
    if not callable(draw):
        raise errors.wrong_type("data", draw, "a function (key, size) -> (x, y)", _EXAMPLE)
    errors.check_integer("test", test, low=2, high=10**7, fix="use 1000")
    label = _specs.label(draw) if name is None else name
    with own_switches():
        x, y = _shapes(label, draw, 2)
        _check_sizes(label, (x, y), _shapes(label, draw, 3))
        kind, number = _task(label, y, outputs, task)
        _check_ignore(ignore, kind)
        generator = Generator(draw, kind, None if ignore is None else int(ignore))
        drawn = jax.jit(anew(generator), static_argnums=1)
        x_test, y_test, x_train, y_train = (
            np.asarray(array) for seed in (TEST, _SAMPLE) for array in drawn(_key(seed), test)
        )
    _check_values(label, generator, (x_test, y_test), (x_train, y_train), number)
    if kind == "regression" and task is None:
        refuse_labels_of_floats(f"data {label!r}: y", y_test, y.dtype)
    classes = tuple(range(number)) if kind in CLASSES else ()
    warn_of(Coded(y_train, y_test, kind, number, classes))
    source = f"new examples at every step; {test:,} for tests"
    return Dataset(
        x_train,
        y_train,
        x_test,
        y_test,
        label,
        kind,
        number,
        classes=classes,
        prepared=(
            ("rows", f"{source} drawn once (seed {TEST}), {test:,} for train_loss ({_SAMPLE})"),
            ("x", f"{x.dtype} → {x_test.dtype}, values unchanged"),
            ("y", _said(str(y.dtype), y_test, kind, number, ignore)),
        ),
        generator=generator,
        ignores=ignore is not None,
    )  # fmt: skip


def _said(source: str, y: np.ndarray, task: Task, number: int, ignore: int | None) -> str:
    """What became of y, for the plan."""
    if task in CLASSES and (y.ndim > 1 or ignore is not None):
        return f"{_positions.said(source, y, ignore)}, {number} classes"
    what = {"regression": "targets", "multilabel": f"{number} labels of 0 and 1"}
    return f"{source} → {y.dtype}, {what.get(task, f'{number} classes')}"


def _key(seed: int) -> Key:
    return jax.random.key(seed, impl="threefry2x32")


def _shapes(name: str, draw: Draw, size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """The shapes and dtypes of a batch, by a trace."""
    try:
        found: Any = jax.eval_shape(lambda key: draw(key, size), jax.eval_shape(anew(_key), 0))
    except errors.Refusal:
        raise
    except Exception as error:  # whatever the user's function raises
        said = " ".join(str(error).split())[:120]
        raise errors.refusal(
            f"data {name!r}",
            f"{type(error).__name__}: {said}",
            "a function (key, size) -> (x, y) that JAX can trace",
            _EXAMPLE,
        ) from error
    pair = isinstance(found, tuple | list) and len(found) == 2
    if not pair or not all(isinstance(one, jax.ShapeDtypeStruct) for one in found):
        raise errors.wrong_type(f"data {name!r}", found, "a pair of arrays (x, y)", _EXAMPLE)
    for what, one in zip("xy", found, strict=True):
        if not (one.dtype == bool or jnp.issubdtype(one.dtype, jnp.number)) or (
            jnp.issubdtype(one.dtype, jnp.complexfloating)
        ):
            raise errors.wrong_type(f"data {name!r}: {what}", one.dtype, "real numbers", _EXAMPLE)
    return found[0], found[1]


def _check_sizes(name: str, two: tuple[Any, Any], three: tuple[Any, Any]) -> None:
    """Refuses batches of 2 and of 3 whose first axis is not the size, or whose others differ."""
    for what, small, large in zip("xy", two, three, strict=True):
        alike = small.shape[:1] == (2,) and large.shape == (3, *small.shape[1:])
        if not alike or (what == "x" and small.ndim < 2):
            raise errors.refusal(
                f"data {name!r}: shapes of {what}",
                f"{small.shape} for size 2, {large.shape} for size 3",
                "(size, features…)" if what == "x" else "(size,) or (size, outputs)",
                "make the first axis as long as size",
            )


def _task(
    name: str, y: jax.ShapeDtypeStruct, outputs: int | None, task: Task | None
) -> tuple[Task, int]:
    """The task, and the number of classes, of labels or of targets."""
    if task is not None:
        errors.check_choice("task", task, TASKS)
    if task == "regression" or (task is None and jnp.issubdtype(y.dtype, jnp.floating)):
        targets = 1 if y.ndim == 1 else int(np.prod(y.shape[1:]))
        return "regression", _number(outputs, targets, "targets")
    if task == "multilabel":
        if y.ndim != 2 or y.shape[1] < 2:
            fix = "one column for each label"
            raise errors.refusal(f"data {name!r}: shape of y", y.shape, "(size, labels)", fix)
        return "multilabel", _number(outputs, y.shape[1], "labels")
    if jnp.issubdtype(y.dtype, jnp.floating):
        fix = "return integers, or leave task out to predict numbers"
        raise errors.refusal("task", task, f"'regression' for {y.dtype}", fix)
    if y.ndim != 1 and task is None:
        fix = (
            "a label at each position: task='multiclass'; several labels of an example: "
            "task='multilabel'; several targets: return floats"
        )
        raise errors.refusal(f"data {name!r}: shape of y", y.shape, "(size,), or a task", fix)
    if y.dtype == bool or task == "binary":
        if outputs not in (None, 2) or task == "multiclass":
            got, fix = f"{outputs}, task {task!r}", "leave both out, or return integers"
            raise errors.refusal("outputs", got, "2 classes of task 'binary'", fix)
        return "binary", 2
    if outputs is None:
        raise errors.refusal(
            f"data {name!r}",
            f"labels of dtype {y.dtype}",
            "a number of classes, which no sample can prove",
            f"jinit.data.generated({name}, outputs=10)",
        )
    number = errors.check_integer("outputs", outputs, low=2, fix="outputs=10")
    return ("binary" if number == 2 and task is None else "multiclass"), number


def _number(outputs: int | None, found: int, what: str) -> int:
    """The number of columns of y, which ``outputs`` may repeat."""
    if outputs not in (None, found):
        raise errors.refusal("outputs", outputs, f"{found} {what} of y", "leave it out")
    return found


def _check_ignore(ignore: int | None, task: Task) -> None:
    """Refuses a label that is no integer, and labels to ignore where there are no classes."""
    if ignore is None:
        return
    if task not in CLASSES:
        fix = "leave ignore out, or weigh the targets in a loss of your own"
        raise errors.refusal("ignore", ignore, f"None with task={task!r}", fix)
    errors.check_integer("ignore", ignore, low=-(2**31), high=2**31 - 1, fix="ignore=-1")


def _check_values(
    name: str,
    generator: Generator,
    test: tuple[np.ndarray, np.ndarray],
    sample: tuple[np.ndarray, np.ndarray],
    number: int,
) -> None:
    """Refuses test values that no training could use, and a function that ignores its key."""
    for what, array in (("x", test[0]), ("y", test[1])):
        if array.dtype.kind == "f":
            check_finite(f"data {name!r}: {what}", array, "let the function return finite numbers")
    if np.array_equal(test[0], sample[0]):
        raise errors.refusal(
            f"data {name!r}",
            "equal examples from two keys",
            "examples drawn with the key",
            "jax.random.normal(key, …), not numpy.random, which a trace calls once",
        )
    labels = test[1]
    if generator.task == "multilabel":
        check_indicators(f"data {name!r}: y", labels)
    if generator.ignore is not None:
        ignored = [each == -1 for each in (sample[1], labels)]
        _positions.check_ignored(sample[1], ignored, generator.ignore)
        labels = labels[~ignored[1]]
    if generator.task in CLASSES and (labels.min() < 0 or labels.max() >= number):
        got = f"labels from {labels.min()} to {labels.max()}"
        fix = f"outputs={int(labels.max()) + 1}"
        if labels.min() < 0 and generator.ignore is None:
            fix = f"ignore={labels.min()} if this label is not to be counted"
        raise errors.refusal(f"data {name!r}", got, f"classes 0 to {number - 1}", fix)
