"""Opens the model of each program of a sweep: its leaves, its state, its function; once per model.

Programs that differ in their training alone share a model, and so the traces of its function.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import jax
import numpy as np

from jinit import errors
from jinit._anew import anew
from jinit.data import Dataset
from jinit.frameworks import Layers
from jinit.frameworks._as_model import does_not_run
from jinit.models import Model
from jinit.sweep._network import PRECISION, traced
from jinit.sweep._rules import ModelLeaves
from jinit.train import StatefulApply
from jinit.typing import Apply, Array, PyTree


@dataclass(frozen=True)
class OpenedModel:
    """A model as a program trains it.

    Attributes:
      leaves: its parameters with their layers.
      state: the shapes of its state; () if there is none.
      traced: its function, traced once per set of shapes; None if the function never changes.
    """

    leaves: ModelLeaves
    state: PyTree
    traced: Apply | StatefulApply | None

    @classmethod
    def of(cls, model: Model, x: Array, layers: Layers | None) -> OpenedModel:
        """Asks a model for its parameters, layers and state.

        Args:
          model: the model.
          x: an example batch.
          layers: as in :func:`jinit.run`.
        """
        state: PyTree = ()
        if model.start is not None and isinstance(model.apply, StatefulApply):
            start = model.start
            state = jax.eval_shape(lambda key: start(key, x)[1], jax.random.key(0))
        return cls(ModelLeaves.of(model, x, layers), state, traced(model.apply))

    def outputs(self, dataset: Dataset, batch: int) -> PyTree:
        """The shapes of the outputs for a batch of examples.

        The model is traced on the test set, whose trace a run needs anyway; what has the size of
        that set is the batch axis.

        Args:
          dataset: the data set.
          batch: number of examples.

        Raises:
          ValueError: the model does not run on the examples, or returns no row for each of them.
        """
        model = self.leaves.model
        apply = model.apply if self.traced is None else self.traced
        x = jax.ShapeDtypeStruct(dataset.x_test.shape, np.dtype(dataset.x_test.dtype))
        known: tuple[PyTree, ...] = (self.leaves.shapes,)
        called: Callable[..., PyTree]
        if isinstance(apply, StatefulApply):
            called, known = apply.evaluate, (*known, self.state)
        else:
            called = apply
        try:
            with jax.default_matmul_precision(PRECISION):
                outputs = jax.eval_shape(anew(called), *known, x)
        except errors.Refusal:
            raise
        except Exception as error:
            raise does_not_run(model.name, x, error) from error
        for leaf in jax.tree.leaves(outputs):
            if leaf.shape[:1] != x.shape[:1]:
                raise errors.refusal(
                    f"outputs of {model.name}",
                    f"shape {leaf.shape} for a batch of {len(dataset.x_test)}",
                    "one row per example: shape (batch, …)",
                    "keep the batch axis first",
                )
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype), outputs
        )


def described(x: Array) -> tuple[Hashable, ...]:
    """Shape, dtype and bits of an example batch.

    >>> described(np.zeros(1, np.int8))
    ((1,), 'int8', b'\\x00')
    """
    example = np.asarray(x)
    return example.shape, str(example.dtype), example.tobytes()


@dataclass(frozen=True)
class OpenedModels:
    """The models that a plan has opened.

    >>> OpenedModels().get("no such model") is None
    True
    """

    _kept: dict[Hashable, OpenedModel] = field(default_factory=dict)

    def get(self, key: Hashable) -> OpenedModel | None:
        """The model that was opened under this key."""
        try:
            return self._kept.get(key)
        except TypeError:  # a value of the grid that has no hash
            return None

    def keep(self, key: Hashable, opened: OpenedModel) -> OpenedModel:
        """Keeps a model for further programs of the plan; returns the model."""
        with contextlib.suppress(TypeError):
            self._kept[key] = opened
        return opened
