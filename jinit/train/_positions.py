"""Fits a loss to the axes of the targets: a label at each position, labels that are not counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jinit.data import Dataset
from jinit.data._arrays import CLASSES
from jinit.train._own_loss import OwnFunction
from jinit.train.losses import Loss
from jinit.typing import Array


@dataclass(frozen=True)
class PerPosition:
    """``function(outputs, y) -> scalar``: the mean over the counted positions of a batch.

    Σ ℓ(outputs_i, y_i) / n over the n positions i of all examples with y_i ≥ 0; 0 for n = 0.

    Attributes:
      function: a loss of outputs ``(batch, k)`` and classes ``(batch,)``, the mean over the batch.
      ignores: whether labels of −1 are not counted; else all are.
    """

    function: Callable[[Array, Array], Array]
    ignores: bool

    def __call__(self, outputs: Array, y: Array) -> Array:
        """The loss of outputs ``(batch, positions…, k)`` and y ``(batch, positions…)``."""
        outputs, y = flat(outputs, y)
        if not self.ignores:
            return self.function(outputs, y)
        values = jax.vmap(lambda z, label: self.function(z[None], label[None]))(
            outputs, jnp.maximum(y, 0)
        )
        return self.mean(values, y)

    def mean(self, values: Array, y: Array) -> Array:
        """The mean of values ``(n,)`` over the counted ones of the labels ``(n,)``."""
        if not self.ignores:
            return values.mean()
        return jnp.where(y >= 0, values, 0).sum() / jnp.maximum((y >= 0).sum(), 1)


@dataclass(frozen=True)
class CorrectPerPosition:
    """``correct(outputs, y)`` of a label at each position, of the shape of y."""

    correct: Callable[[Array, Array], Array | None]

    def __call__(self, outputs: Array, y: Array) -> Array | None:
        """Whether each label is answered correctly."""
        right = self.correct(*flat(outputs, y))
        return None if right is None else right.reshape(y.shape)


@dataclass(frozen=True)
class Flattened:
    """``function(outputs, y) -> scalar`` of targets with several axes, as those of one."""

    function: Callable[[Array, Array], Array]

    def __call__(self, outputs: Array, y: Array) -> Array:
        """The loss of outputs and targets ``(batch, …)`` with equally many entries."""
        return self.function(outputs.reshape(len(y), -1), y.reshape(len(y), -1))


def flat(outputs: Array, y: Array) -> tuple[Array, Array]:
    """Outputs ``(n, k)`` and labels ``(n,)`` of all positions of all examples."""
    if outputs.shape == y.shape:
        outputs = outputs[..., None]
    return outputs.reshape(-1, outputs.shape[-1]), y.reshape(-1)


def fitted(loss: Loss, dataset: Dataset) -> Loss:
    """The loss for the targets of a data set; the loss itself for one label of each example.

    A function of the user gets outputs and y as they are, labels of −1 included.

    >>> from jinit import data
    >>> from jinit.train import losses
    >>> usual = losses.get(None, "binary")
    >>> fitted(usual, data.get("xor")) is usual
    True
    """
    if dataset.task == "several":
        return loss
    positions = dataset.y_test.ndim > 1 or dataset.ignores
    classes = dataset.task in CLASSES
    made = isinstance(loss.function, OwnFunction | PerPosition | Flattened)
    if classes and positions:
        loss = dataclasses.replace(loss, ignores=dataset.ignores)
        if made:
            return loss
        correct = None if loss.correct is None else CorrectPerPosition(loss.correct)
        function = PerPosition(loss.function, dataset.ignores)
        return dataclasses.replace(loss, function=function, correct=correct)
    if dataset.task == "regression" and dataset.y_test.ndim > 2 and not made:
        return dataclasses.replace(loss, function=Flattened(loss.function))
    return loss


def plain(loss: Loss) -> Loss:
    """The loss of one label of each example that a loss of positions is made of."""
    if isinstance(loss.function, PerPosition):
        return dataclasses.replace(loss, function=loss.function.function)
    return loss
