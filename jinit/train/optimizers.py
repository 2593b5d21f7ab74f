"""Holds the registry of optimizers and makes optax transforms whose numbers may be traced.

A sweep over learning rates is therefore one compiled program.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import optax

from jinit import clipping, errors
from jinit._registry import Registry
from jinit.clipping._rules import make as make_clip
from jinit.train.schedules import Factor
from jinit.typing import Array

__all__ = ["get", "make", "names", "register"]


OptimizerFor: TypeAlias = Callable[..., optax.GradientTransformation]
"""``optimizer(learning_rate, **numbers) -> optax.GradientTransformation``: see OwnOptimizer."""


@dataclass(frozen=True)
class Optimizer:
    """An optimizer without its learning rate: rescales a gradient into an update.

    Attributes:
      factory: makes the optax transform: ``factory(momentum)``, or ``factory()`` for an optimizer
        without momentum.
      momentum: whether ``factory`` takes a momentum.

    >>> Optimizer(optax.trace, momentum=True)(0.9).init({"w": 0.0}) is not None
    True
    """

    factory: Callable[..., optax.GradientTransformation]
    momentum: bool

    def __call__(self, momentum: float | Array) -> optax.GradientTransformation:
        """The optax transform; ``momentum`` is ignored by an optimizer without one."""
        return self.factory(momentum) if self.momentum else self.factory()


@dataclass(frozen=True)
class OwnOptimizer:
    """A user's function of the learning rate and other numbers, all possibly traced.

    Attributes:
      function: ``function(learning_rate, **numbers) -> optax.GradientTransformation``; it gets
        those of ``momentum`` and ``weight_decay`` that it takes, and the learning rate as a number,
        or under a schedule as a function of the number of earlier updates.
    """

    function: OptimizerFor

    def takes(self, number: str) -> bool:
        """Whether the function takes a number of this name."""
        parameters = inspect.signature(self.function).parameters
        kinds = [parameter.kind for parameter in parameters.values()]
        return number in parameters or inspect.Parameter.VAR_KEYWORD in kinds

    def __call__(
        self,
        learning_rate: float | Array | Factor,
        momentum: float | Array,
        weight_decay: float | Array,
    ) -> optax.GradientTransformation:
        """The optax transform."""
        numbers = {"momentum": momentum, "weight_decay": weight_decay}
        given = {name: number for name, number in numbers.items() if self.takes(name)}
        made = self.function(learning_rate, **given)
        if not (callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))):
            raise errors.wrong_type(
                "optimizer",
                made,
                "a function that returns an optax.GradientTransformation",
                "optimizer=lambda learning_rate, **numbers: optax.adam(learning_rate)",
            )
        return made


_REGISTRY = Registry(
    "optimizer",
    "jinit.train.optimizers.names()",
    {
        "sgd": Optimizer(optax.identity, momentum=False),
        "momentum": Optimizer(optax.trace, momentum=True),
        "nesterov": Optimizer(partial(optax.trace, nesterov=True), momentum=True),
        "adam": Optimizer(optax.scale_by_adam, momentum=True),
        "adamw": Optimizer(optax.scale_by_adam, momentum=True),
        "rmsprop": Optimizer(optax.scale_by_rms, momentum=False),
    },
)


def names() -> tuple[str, ...]:
    """All optimizer names, the built-in ones first.

    >>> names()
    ('sgd', 'momentum', 'nesterov', 'adam', 'adamw', 'rmsprop')
    """
    return _REGISTRY.names()


def get(name: str) -> Optimizer:
    """The optimizer with this name.

    Args:
      name: one of :func:`names`.

    Returns:
      An :class:`Optimizer`.

    Raises:
      ValueError: an unknown name.

    >>> get("rmsprop").momentum
    False
    """
    return _REGISTRY.get(name)


def register(
    name: str, factory: Callable[..., optax.GradientTransformation], *, momentum: bool = False
) -> None:
    """Adds an optimizer: afterwards ``make``, :class:`jinit.Grid` and ``jinit sweep`` know it.

    Args:
      name: an identifier not yet taken.
      factory: returns an optax transform that rescales the gradient; the learning rate and its
        sign are applied later. Called as ``factory(momentum)``, the momentum possibly traced, or
        as ``factory()`` if ``momentum`` is False. Registering the same factory again changes
        nothing.
      momentum: whether ``factory`` takes a momentum; default False.

    Raises:
      TypeError: the factory is not callable; ``momentum`` is not True or False.
      ValueError: the name is taken or is not an identifier.

    >>> register("lion", optax.scale_by_lion, momentum=True)
    >>> updates, _ = (lion := make("lion", 0.1)).update(2.0, lion.init(1.0), 1.0)
    >>> round(float(updates), 6)
    -0.1
    >>> _REGISTRY.remove("lion")
    """
    if not callable(factory):
        raise errors.wrong_type(
            f"optimizer {name!r}", factory, "a callable", "pass a factory such as optax.trace"
        )
    optimizer = Optimizer(factory, errors.check_bool("momentum", momentum))
    _REGISTRY.register(name, optimizer)


def make(
    optimizer: str | Optimizer | OwnOptimizer,
    learning_rate: float | Array | Factor,
    *,
    momentum: float | Array = 0.9,
    weight_decay: float | Array = 0.0,
    clip: str | None = None,
    clip_threshold: float | Array = 1.0,
) -> optax.GradientTransformation:
    """clip → optimizer → weight decay → −learning rate, as one optax transform.

    The clip comes first, acts on the raw gradient, and counts the steps that it changes. Weight
    decay is added to the rescaled update and then multiplied by the learning rate. With plain SGD
    this is L2 regularization, with Adam and RMSprop it is decoupled weight decay (AdamW).

    Args:
      optimizer: one of :func:`names`, or an :class:`Optimizer`.
      learning_rate: > 0; may be traced; or a function of the number of earlier updates.
      momentum: decay of the momentum, β₁ of Adam and AdamW; in [0, 1); default 0.9; may be traced.
        Optimizers without momentum ignore the value.
      weight_decay: coefficient ≥ 0; may be traced. With the default 0.0, AdamW equals Adam (the
        default of optax's AdamW is 1e-4).
      clip: a rule of :mod:`jinit.clipping`, or None.
      clip_threshold: the threshold of the clip; default 1.0; may be traced.

    Returns:
      An ``optax.GradientTransformation``.

    Raises:
      ValueError: an unknown name; a number out of range.

    Reference: Pascanu et al. 2013 (clip first); Loshchilov & Hutter 2019 (decoupled decay).

    >>> updates, _ = (sgd := make("sgd", 0.1)).update(2.0, sgd.init(1.0), 1.0)
    >>> round(float(updates), 6)
    -0.2
    """
    chosen = get(optimizer) if isinstance(optimizer, str) else optimizer
    if not callable(chosen):
        raise errors.wrong_type("optimizer", optimizer, "a name of names()", "use 'adam'")
    if not callable(learning_rate):
        errors.check_number("learning_rate", learning_rate, low=0.0, open_low=True, fix="try 0.1")
    errors.check_number("momentum", momentum, low=0.0, high=0.999999, fix="try 0.9")
    errors.check_number("weight_decay", weight_decay, low=0.0, fix="use 0.0 or more")
    if isinstance(learning_rate, np.integer):  # the negative of an unsigned number wraps
        learning_rate = float(learning_rate)
    clips = []
    if clip is not None:
        clips = [clipping.with_clip_statistics(make_clip(clip, clip_threshold))]
    if isinstance(chosen, OwnOptimizer):
        return optax.chain(*clips, chosen(learning_rate, momentum, weight_decay))
    transforms = [*clips, chosen(momentum)]
    if not (isinstance(weight_decay, int | float) and weight_decay == 0):
        transforms.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*transforms, optax.scale_by_learning_rate(learning_rate))
