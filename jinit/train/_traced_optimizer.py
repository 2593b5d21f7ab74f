"""Wraps an optimizer as two functions that are traced once per set of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jinit.engine._divided import OnceTraced
from jinit.engine._traced import Traced
from jinit.train._muon import Matrix
from jinit.train._named import Numbers, Optimizer, Transforms
from jinit.train._own import OwnOptimizer
from jinit.train.schedules import Factor
from jinit.typing import Array, PyTree


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ByStep:
    """The learning rate as a function of the number of earlier updates.

    Attributes:
      rate: the learning rate of the grid, a scalar.
      factors: by update, ``(steps,)``.

    >>> float(ByStep(jnp.float32(2), jnp.array([1.0, 0.5]))(1))
    1.0
    """

    rate: Array
    factors: Array

    def __call__(self, count: ArrayLike) -> Array:
        """The learning rate of one update."""
        return self.rate * self.factors[jnp.minimum(jnp.asarray(count), self.factors.size - 1)]


_Given: TypeAlias = tuple[float | Array | Factor, float | Array, float | Array | None]
"""Learning rate, momentum, weight decay; None leaves the decay out of the program."""


@dataclass(frozen=True)
class _Making:
    """Makes the transform inside a trace, where the numbers are those of the trace."""

    optimizer: Optimizer | OwnOptimizer
    decayed: tuple[bool, ...] | None
    matrices: tuple[Matrix | None, ...] | None

    def __call__(self, given: _Given) -> optax.GradientTransformationExtraArgs:
        rate, momentum, decay = given
        static = 0.0 if decay is None else decay
        numbers = Numbers(rate, momentum, static, self.decayed, self.matrices)
        made = self.optimizer.transforms(numbers)
        return optax.with_extra_args_support(made[0] if len(made) == 1 else optax.chain(*made))


@dataclass(frozen=True)
class _Begin:
    make: _Making

    def __call__(self, given: _Given, params: PyTree) -> PyTree:
        return self.make(given).init(params)


@dataclass(frozen=True)
class _Update:
    make: _Making

    def __call__(
        self, given: _Given, gradient: PyTree, state: PyTree, params: PyTree, **extra: PyTree
    ) -> tuple[PyTree, PyTree]:
        return self.make(given).update(gradient, state, params, **extra)


@dataclass(frozen=True)
class TracedOptimizer:
    """An optimizer whose transform is made and called once per set of shapes.

    Attributes:
      begin: ``begin(given, params) -> state``.
      update: ``update(given, gradient, state, params, **extra) -> (updates, state)``.
      decays: whether the weight decay is in the program.
      own: whether the optimizer is a function of the user and no row of the registry.
    """

    begin: Traced
    update: Traced
    decays: bool
    own: bool

    @classmethod
    def of(
        cls,
        optimizer: Optimizer | OwnOptimizer,
        once: OnceTraced,
        *,
        decays: bool,
        decayed: Sequence[bool] | None,
        matrices: Sequence[Matrix | None] | None,
    ) -> TracedOptimizer:
        """The same optimizer; arguments as in :func:`jinit.train.optimizers.make`.

        >>> adam = OwnOptimizer(lambda learning_rate: optax.adam(learning_rate))
        >>> made = TracedOptimizer.of(adam, OnceTraced(), decays=False, decayed=None, matrices=None)
        >>> made.own
        True
        """
        flags = None if decayed is None else tuple(decayed)
        make = _Making(optimizer, flags, None if matrices is None else tuple(matrices))
        begin, update = once.traced(_Begin(make)), once.traced(_Update(make))
        return cls(begin, update, decays, isinstance(optimizer, OwnOptimizer))

    def transforms(self, numbers: Numbers) -> Transforms:
        """The transform, alone in a list; the numbers are arrays or a :class:`ByStep`."""
        decay = numbers.weight_decay if self.decays else None
        given: _Given = (numbers.learning_rate, numbers.momentum, decay)

        def init(params: PyTree) -> PyTree:
            return self.begin(given, params)

        def update(
            updates: PyTree, state: PyTree, params: PyTree = None, **extra: PyTree
        ) -> tuple[PyTree, PyTree]:
            scaled, after = self.update(given, updates, state, params, **extra)
            return scaled, after

        return [optax.GradientTransformationExtraArgs(init, update)]
