"""Measures accuracy by class: the mean recall, which rare classes move as much as common ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jinit.data import Dataset
from jinit.data._arrays import CLASSES
from jinit.train._own_loss import MetricFunction
from jinit.train.losses import Loss
from jinit.typing import Array


@dataclass(frozen=True)
class BalancedAccuracy:
    """``metric(outputs, y) -> scalar``: the mean over classes of the share classified correctly.

    Σ_c (correct_c / n_c) / C, over the C classes with n_c > 0 examples in the set: a class without
    examples there has no recall and counts neither as right nor as wrong.

    Attributes:
      correct: the loss's rule, ``correct(outputs, y)``, bool of the shape of y.
      classes: their number.
      ignores: whether labels of −1 are not counted.

    Reference: Brodersen et al. 2010, The balanced accuracy and its posterior distribution.
    """

    correct: Callable[[Array, Array], Array | None]
    classes: int
    ignores: bool = False

    def __call__(self, outputs: Array, y: Array) -> Array:
        """The metric, in [0, 1]."""
        correct = self.correct(outputs, y)
        if correct is None:
            return jnp.full((), jnp.nan, jnp.float32)
        if y.ndim > 1:  # a label at each position
            correct, y = correct.reshape(-1), y.reshape(-1)
        counts = jax.nn.one_hot(y, self.classes, dtype=jnp.float32).sum(axis=0)
        # One weight per example; the weights of a class sum to 1 / C. All lanes share y and these
        # weights.
        weights = 1 / (counts[y] * jnp.sum(counts > 0))
        if self.ignores:
            correct &= y >= 0
        return jnp.sum(jnp.where(correct, weights, 0.0))


def class_metrics(dataset: Dataset, loss: Loss) -> tuple[tuple[str, MetricFunction], ...]:
    """The metric of class labels by name; none for other targets.

    >>> from jinit import data
    >>> from jinit.train import losses
    >>> [name for name, _ in class_metrics(data.get("xor"), losses.get(None, "binary"))]
    ['balanced_accuracy']
    """
    if dataset.task not in CLASSES or loss.correct is None:
        return ()
    metric = BalancedAccuracy(loss.correct, dataset.outputs, dataset.ignores)
    return (("balanced_accuracy", metric),)
