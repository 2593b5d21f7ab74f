"""Losses by name: what is minimised, how accuracy is read off, how many outputs a task needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from jinit import errors
from jinit.data import Task
from jinit.typing import Array


@dataclass(frozen=True)
class Loss:
    """A loss with its reading of the outputs.

    Attributes:
      name: in the catalogue.
      function: ``(outputs (batch, k), y) -> scalar``, the mean over the batch.
      correct: ``(outputs, y) -> (batch,)`` bool: classified right; outputs that are not finite
        classify nothing. None for regression.
      tasks: the tasks it serves.
      single_output: a binary task takes one output instead of one per class.
    """

    name: str
    function: Callable[[Array, Array], Array]
    correct: Callable[[Array, Array], Array] | None
    tasks: tuple[Task, ...]
    single_output: bool = False

    def __call__(self, outputs: Array, y: Array) -> Array:
        return self.function(outputs, y)

    def outputs(self, dataset_outputs: int) -> int:
        """How many outputs the network needs for a data set with that many classes or targets."""
        return 1 if self.single_output else dataset_outputs

    def accuracy(self, outputs: Array, y: Array) -> Array:
        """Share classified right, float32 scalar in [0, 1]; NaN for regression."""
        if self.correct is None:
            return jnp.full((), jnp.nan, jnp.float32)
        return jnp.mean(self.correct(outputs, y), dtype=jnp.float32)


def softmax_cross_entropy(outputs: Array, y: Array) -> Array:
    """Mean of −log softmax(outputs)_y (Bishop 2006, equation 4.108), in nats.

    Args:
      outputs: logits ``(batch, classes)``.
      y: class numbers ``(batch,)``, int32.

    >>> round(float(softmax_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]))), 6)
    0.693147
    """
    # One-hot instead of optax's integer labels: under vmap on CPU the gather there costs 7 %.
    return optax.softmax_cross_entropy(outputs, jax.nn.one_hot(y, outputs.shape[-1])).mean()


def sigmoid_binary_cross_entropy(outputs: Array, y: Array) -> Array:
    """Mean of −y log σ(z) − (1 − y) log(1 − σ(z)) (Bishop 2006, equation 4.90), in nats.

    Args:
      outputs: logits ``(batch, 1)``.
      y: classes 0 or 1, ``(batch,)``.

    >>> round(float(sigmoid_binary_cross_entropy(jnp.zeros((1, 1)), jnp.array([1]))), 6)
    0.693147
    """
    return optax.sigmoid_binary_cross_entropy(outputs[:, 0], y.astype(outputs.dtype)).mean()


def hinge(outputs: Array, y: Array) -> Array:
    """Mean of max(0, 1 − t z) with t = 2y − 1 (Cortes & Vapnik 1995).

    Args:
      outputs: scores ``(batch, 1)``.
      y: classes 0 or 1, ``(batch,)``.

    >>> float(hinge(jnp.array([[0.25]]), jnp.array([1])))
    0.75
    """
    return optax.hinge_loss(outputs[:, 0], 2.0 * y - 1.0).mean()


def multiclass_hinge(outputs: Array, y: Array) -> Array:
    """Mean of max(0, 1 + max_{j≠y} z_j − z_y) (Crammer & Singer 2001, section 3).

    Args:
      outputs: scores ``(batch, classes)``.
      y: class numbers ``(batch,)``.

    >>> float(multiclass_hinge(jnp.array([[2.0, 1.5, 0.0]]), jnp.array([0])))
    0.5
    """
    right = jax.nn.one_hot(y, outputs.shape[-1], dtype=bool)
    score = jnp.where(right, outputs, 0.0).sum(-1)
    rival = jnp.where(right, -jnp.inf, outputs).max(-1)
    return jax.nn.relu(1.0 + rival - score).mean()


def mean_squared_error(outputs: Array, y: Array) -> Array:
    """Mean over examples and outputs of (z − y)²; class numbers become one-hot targets.

    Args:
      outputs: ``(batch, k)``.
      y: targets ``(batch, k)`` float, or class numbers ``(batch,)``.

    >>> float(mean_squared_error(jnp.zeros((1, 2)), jnp.array([1])))
    0.5
    """
    if jnp.issubdtype(y.dtype, jnp.integer):
        y = jax.nn.one_hot(y, outputs.shape[-1], dtype=outputs.dtype)
    return optax.squared_error(outputs, y).mean()


def _largest(outputs: Array, y: Array) -> Array:
    return (jnp.argmax(outputs, -1) == y) & jnp.all(jnp.isfinite(outputs), -1)


def _sign(outputs: Array, y: Array) -> Array:
    score = outputs[:, 0]
    return ((score > 0) == (y > 0)) & jnp.isfinite(score)


def _squared(task: Task) -> Loss:
    correct = None if task == "regression" else _largest
    return Loss("mean_squared_error", mean_squared_error, correct, (task,))


_CLASSES: tuple[Task, ...] = ("multiclass", "binary")
_LOSSES = {
    loss.name: loss
    for loss in (
        Loss("softmax_cross_entropy", softmax_cross_entropy, _largest, _CLASSES),
        Loss(
            "sigmoid_binary_cross_entropy", sigmoid_binary_cross_entropy, _sign, ("binary",), True
        ),
        Loss("hinge", hinge, _sign, ("binary",), True),
        Loss("multiclass_hinge", multiclass_hinge, _largest, _CLASSES),
        Loss(
            "mean_squared_error",
            mean_squared_error,
            _largest,
            ("multiclass", "binary", "regression"),
        ),
    )
}
_DEFAULTS: dict[Task, str] = {
    "multiclass": "softmax_cross_entropy",
    "binary": "sigmoid_binary_cross_entropy",
    "regression": "mean_squared_error",
}


def names() -> tuple[str, ...]:
    """All loss names.

    >>> names()[0]
    'softmax_cross_entropy'
    """
    return tuple(_LOSSES)


def get(loss: str | None, task: Task) -> Loss:
    """The loss with this name for a task, or the task's usual one for None.

    Args:
      loss: a name, or None.
      task: ``"multiclass"``, ``"binary"`` or ``"regression"``.

    Raises:
      ValueError: an unknown name; a loss that does not serve the task.

    >>> get(None, "binary").name
    'sigmoid_binary_cross_entropy'
    """
    name = _DEFAULTS[task] if loss is None else loss
    if name not in _LOSSES:
        raise errors.unknown_name("loss", name, _LOSSES, "jinit.train.losses.names()")
    found = _LOSSES[name]
    if task not in found.tasks:
        fits = [name for name, other in _LOSSES.items() if task in other.tasks]
        raise errors.refusal(
            f"loss {name!r}", f"a {task} data set", f"{', '.join(found.tasks)}", f"use {fits}"
        )
    return _squared(task) if name == "mean_squared_error" else found
