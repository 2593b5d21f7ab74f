"""Turns a user's function into the function of a loss, and says when an answer is right."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.train._correct import argmax_correct
from jinit.typing import Array, PyTree

OwnLossFunction: TypeAlias = Callable[..., Array]
"""``loss(outputs, y) -> value``, with ``params`` and ``key`` as further arguments if it names them;
the value is the mean over the batch, a scalar, or one value per example, ``(batch,)``."""

MetricFunction: TypeAlias = Callable[[PyTree, PyTree], Array]
"""``metric(outputs, y) -> scalar`` on a whole set."""

# What a loss may take besides outputs and y.
EXTRAS = ("params", "key")
_EXAMPLE = "loss=lambda outputs, y: optax.huber_loss(outputs, y)"


@dataclass(frozen=True)
class OwnFunction:
    """The user's function as ``function(outputs, y, **extras) -> scalar``.

    Attributes:
      function: the user's function.
      takes: the names of ``EXTRAS`` that it takes.
    """

    function: OwnLossFunction
    takes: tuple[str, ...]

    def __call__(self, outputs: PyTree, y: PyTree, **given: PyTree) -> Array:
        """The mean over the batch."""
        return checked(self.function(outputs, y, **given), examples(outputs)).mean()

    def each(self, outputs: PyTree, y: PyTree, **given: PyTree) -> Array:
        """One value per example.

        Raises:
          ValueError: the function returns the mean over the batch.
        """
        value = checked(self.function(outputs, y, **given), examples(outputs))
        if value.ndim == 0:
            raise errors.refusal(
                "value of the loss",
                "one number",
                "one value per example, (batch,), which class weights multiply",
                "leave out the mean over the batch",
            )
        return value


def own_function(function: OwnLossFunction) -> OwnFunction:
    """The function with the extras that it takes.

    Raises:
      TypeError: no function.
      ValueError: a function that needs an argument that training does not have.

    >>> own_function(lambda outputs, y, key: y).takes
    ('key',)
    """
    if not callable(function) or isinstance(function, type):
        raise errors.wrong_type("loss", function, "a function loss(outputs, y)", _EXAMPLE)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a compiled function
        return OwnFunction(function, ())
    kinds = inspect.Parameter
    wanted = [
        name
        for name, parameter in list(parameters.items())[2:]
        if parameter.default is kinds.empty
        and parameter.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    ]
    unknown = [name for name in wanted if name not in EXTRAS]
    if unknown or (len(parameters) < 2 and not any(p.kind == 2 for p in parameters.values())):
        raise errors.refusal(
            "loss",
            f"a function of ({', '.join(parameters)})",
            "loss(outputs, y), with further arguments named params and key",
            "give other arguments a default or bind them: functools.partial",
        )
    return OwnFunction(function, tuple(name for name in EXTRAS if name in list(parameters)[2:]))


def checked(value: Any, batch: int) -> Array:
    """The value of a loss on a batch, if it is one float or one per example."""
    allowed = f"one number, or one per example: shape () or ({batch},), a float dtype"
    try:
        value = jnp.asarray(value)
    except (TypeError, ValueError):
        raise errors.wrong_type("value of the loss", value, allowed, "return a mean") from None
    if value.shape not in ((), (batch,)):
        fix = "return the mean over the examples' own axes, e.g. value.mean(-1)"
        raise errors.refusal("value of the loss", f"shape {value.shape}", allowed, fix)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        fix = "a loss must have a gradient: no argmax, no comparison, no cast to int"
        raise errors.wrong_type("value of the loss", f"dtype {value.dtype}", allowed, fix)
    return value


def examples(outputs: PyTree) -> int:
    """The number of examples of outputs: the length of the first axis."""
    leaves = jax.tree.leaves(outputs)
    return int(leaves[0].shape[0]) if leaves and leaves[0].ndim else 0


@dataclass(frozen=True)
class LabelsCorrect:
    """``correct(outputs, y)`` for a loss that does not say: by the shape of the outputs.

    One score per class: the largest decides. One score, two classes: the sign decides. Other
    outputs are no scores, and the answer is None.

    Attributes:
      classes: number of classes of the data.
    """

    classes: int

    def __call__(self, outputs: PyTree, y: PyTree) -> Array | None:
        """Whether each label is answered correctly, of the shape of y; or None."""
        if not (hasattr(outputs, "shape") and hasattr(y, "shape")):
            return None
        if outputs.shape == (*y.shape, self.classes):
            return argmax_correct(outputs, y)
        if outputs.shape == (*y.shape, 1) and self.classes == 2:
            score = outputs[..., 0]
            return ((score > 0) == (y > 0)) & jnp.isfinite(score)
        return None
