"""Defines the data set that training takes: arrays, their task, and what was done to them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import numpy as np

from jinit import errors
from jinit.data._arrays import WITHOUT_CLASSES, Task
from jinit.data._splits import VALIDATION, split

Examples: TypeAlias = Any
"""NumPy or JAX arrays; tracers inside a traced function."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dataset:
    """Training and test examples; a pytree whose leaves are the arrays.

    Attributes:
      x_train, x_test: ``(examples, features…)``, float32; int32 for tokens.
      y_train, y_test: int32 classes ``(examples,)``, or of each position ``(examples,
        positions…)``; or float32 targets ``(examples, outputs)``; or a mapping of names to such.
      name: the data set's label in tables.
      task: ``"multiclass"``, ``"binary"`` (classes 0 and 1), ``"multilabel"`` (several labels, each
        0 or 1), ``"regression"``, or ``"several"`` targets with names, for losses of one's own.
      outputs: number of classes, of labels, or of regression targets.
      x_validation, y_validation: examples for choosing the best step, see :meth:`hold_out`; None
        (default) for none.
      classes: the label of each class number; () if unknown, and for regression.
      prepared: what was done to the user's arrays, as pairs of a subject (``"split"``, ``"x"``,
        ``"y"``) and a sentence; the plan of a sweep prints them, the settings of a table keep them.
      units: (mean, deviation) by which each target of a regression was standardized; () for
        targets in their own units. A sweep reports RMSE and MAE in the units before.
      generator: ``generator(key, size) -> (x, y)``, which draws the minibatches of
        :func:`generated` data; x_train and y_train are then a sample. Default None.
      ignores: whether labels of −1 are not counted. Default False.
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
    classes: tuple[str | int | float | bool, ...] = field(metadata={"static": True}, default=())
    prepared: tuple[tuple[str, str], ...] = field(metadata={"static": True}, default=())
    units: tuple[tuple[float, float], ...] = field(metadata={"static": True}, default=())
    generator: Any = field(metadata={"static": True}, default=None)
    ignores: bool = field(metadata={"static": True}, default=False)

    def spread(self, count: int) -> tuple[Examples, Examples]:
        """Up to ``count`` training examples at equally spaced positions.

        If examples are sorted by class (iris, wine), the shares of the classes are kept.

        Args:
          count: ≥ 1.

        Returns:
          ``(x, y)``, the first axes of length min(count, training examples).

        Raises:
          ValueError: count below 1.

        >>> x, y = np.eye(8), np.repeat([0, 1], 4)
        >>> Dataset(x, y, x, y).spread(2)[1].tolist()
        [0, 1]
        """
        errors.check_integer("count", count, low=1, fix="use 64")
        last = len(self.x_train) - 1
        rows = np.linspace(0, last, min(count, last + 1)).astype(int)
        return self.x_train[rows], _rows(self.y_train, rows)

    def hold_out(self, share: float) -> Dataset:
        """Moves a fixed share of the training examples to the validation set.

        The examples keep their standardization. The split depends on no seed; if a class
        would be missing on one side, every class is split by itself.

        Args:
          share: share of the training examples, in (0, 0.9].

        Returns:
          A data set of the same name with fewer training examples.

        Raises:
          ValueError: a share out of range; a data set that has a validation set.

        >>> x, y = np.eye(8), np.arange(8) % 2
        >>> held = Dataset(x, y, x, y).hold_out(0.25)
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
        alone = self.task not in WITHOUT_CLASSES and np.ndim(self.y_train) == 1
        labels = np.asarray(self.y_train) if alone else None
        source = f"share {share:g} of {len(self.x_train):,} training examples"
        kept, held = split(len(self.x_train), share, labels, seed=VALIDATION)
        return dataclasses.replace(
            self,
            x_train=self.x_train[kept],
            y_train=_rows(self.y_train, kept),
            x_validation=self.x_train[held],
            y_validation=_rows(self.y_train, held),
            prepared=(
                *self.prepared,
                ("validation", f"{source}: fixed shuffle, seed {VALIDATION}"),
            ),
        )


def _rows(y: Examples, rows: np.ndarray) -> Examples:
    """These rows of the targets, of each one if there are several."""
    return jax.tree.map(lambda target: target[rows], y)
