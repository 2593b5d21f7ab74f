"""Represents a network as two pure functions: ``shapes(x)`` and ``apply(params, x)``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from jinit import errors
from jinit._anew import anew
from jinit.train import StatefulApply
from jinit.typing import Apply, Array, Key, ModelLike, PyTree

Start: TypeAlias = Callable[[Key, Array], tuple[PyTree, PyTree]]
"""``start(key, x) -> (params, state)``: the parameters and the state that a model starts with."""

OwnApply: TypeAlias = Callable[..., tuple[Array, PyTree]]
"""``apply(params, state, x, *, train, key) -> (outputs, state)``; ``key`` is None in evaluation."""


@dataclass(frozen=True)
class Model:
    """A network as pure functions. Two models are equal if their ``apply`` and names are.

    Attributes:
      shapes: ``shapes(x) -> tree`` of ``jax.ShapeDtypeStruct`` for an example batch ``(batch, …)``.
      apply: ``apply(params, x) -> outputs (batch, outputs)``, or a
        :class:`jinit.train.StatefulApply`.
      name: the name in tables and messages.
      start: ``start(key, x) -> (params, state)``: the model's own initial parameters, which leaves
        without a rule keep, and its first state. None if the model has no values of its own.
      source: the module of a framework that the functions come from, which
        :func:`jinit.frameworks.layers` describes; None for functions of your own.

    >>> shapes = {"w": jax.ShapeDtypeStruct((4, 3), "float32")}
    >>> Model(lambda x: shapes, lambda params, x: x @ params["w"], name="linear").name
    'linear'
    """

    shapes: Callable[[Array], PyTree] = field(compare=False)
    apply: Apply | StatefulApply
    name: str = "model"
    start: Start | None = field(default=None, compare=False)
    source: ModelLike | None = field(default=None, compare=False)


def functional(
    shapes: Callable[[Array], PyTree] | PyTree,
    apply: Apply | OwnApply,
    state: PyTree | None = None,
) -> Model:
    """Makes a :class:`Model` from an apply function.

    Args:
      shapes: ``shapes(x) -> tree`` of arrays or ``jax.ShapeDtypeStruct``, or the tree itself.
        Leaves without a rule keep their arrays.
      apply: ``apply(params, x) -> outputs``. With ``state``:
        ``apply(params, state, x, *, train, key) -> (outputs, state)``, where ``train`` is True in
        training steps, with a key for the step's noise, and False in evaluations, with ``key=None``
        and a returned state that is not used.
      state: the state before the first step, a pytree of arrays, () for noise without state; None
        (default) for a network without either.

    Returns:
      A model with the name of ``apply``.

    Raises:
      TypeError: ``apply`` is not callable.

    >>> shapes = {"w": jax.ShapeDtypeStruct((4, 3), "float32")}
    >>> model = functional(shapes, lambda params, x: x @ params["w"])
    >>> model.shapes(None)["w"].shape
    (4, 3)
    """
    if not callable(apply):
        raise errors.wrong_type("apply", apply, "a function apply(params, x)", "pass a callable")
    # The tree of an Equinox module can be called, too.
    is_function = callable(shapes) and jax.tree_util.all_leaves([shapes])
    shapes_of = shapes if is_function else lambda x: shapes
    name = getattr(apply, "__name__", "model")

    def start(key: Key, x: Array) -> tuple[PyTree, PyTree]:
        return shapes_of(x), jax.tree.map(jnp.asarray, () if state is None else state)

    if state is None:
        return Model(shapes_of, cast(Apply, apply), name, start)
    run = cast(OwnApply, apply)
    return Model(shapes_of, StatefulApply(_OwnTrain(run), _OwnEvaluate(run)), name, start)


@dataclass(frozen=True)
class _OwnTrain:
    """A user's apply with state, in training steps."""

    apply: OwnApply

    def __call__(
        self, params: PyTree, state: PyTree, x: Array, key: Key | None
    ) -> tuple[Array, PyTree]:
        return self.apply(params, state, x, train=True, key=key)


@dataclass(frozen=True)
class _OwnEvaluate:
    """A user's apply with state, in evaluations."""

    apply: OwnApply

    def __call__(self, params: PyTree, state: PyTree, x: Array) -> Array:
        return self.apply(params, state, x, train=False, key=None)[0]


def as_model(model: Model | nn.Module | tuple[PyTree, ...]) -> Model:
    """Makes a :class:`Model` from a linen module or a ``(shapes, apply)`` pair.

    :func:`jinit.frameworks.as_model` takes modules of every framework, with state and noise.

    Args:
      model: a Flax linen module, the arguments of :func:`functional` as a tuple, or a
        :class:`Model`, which is returned unchanged.

    Returns:
      A model. Equal modules give models with equal functions, so that compiled programs are shared.

    Raises:
      TypeError: ``model`` is anything else.
      ValueError: raised by the model's ``shapes`` if the module has state beyond its parameters.

    >>> import numpy as np
    >>> as_model(nn.Dense(3)).shapes(np.zeros((1, 4), np.float32))["kernel"].shape
    (4, 3)
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, nn.Module):
        shapes, apply = _LinenShapes(model), _LinenApply(model)
        return Model(shapes, apply, type(model).__name__, source=model)
    if isinstance(model, tuple) and len(model) in (2, 3):
        return functional(*model)
    raise errors.wrong_type(
        "model",
        model,
        "a Flax linen module, (shapes, apply), or jinit.models.functional(shapes, apply)",
        "wrap your apply function with jinit.models.functional",
    )


@dataclass(frozen=True)
class _LinenShapes:
    """The shapes of a module's parameters; a class, so that equal modules give equal functions."""

    module: nn.Module

    def __call__(self, x: Array) -> PyTree:
        variables = dict(jax.eval_shape(anew(self.module.init), jax.random.key(0), x))
        # Flax's perturbations and sown intermediates are not state.
        state = sorted(set(variables) - {"params", "perturbations", "intermediates"})
        if state:
            raise errors.refusal(
                f"collections of {type(self.module).__name__}",
                state,
                "params only",
                "bind the other collections in your own apply: jinit.models.functional",
            )
        return variables.get("params", {})


@dataclass(frozen=True)
class _LinenApply:
    """The apply function of a module with parameters only."""

    module: nn.Module

    def __call__(self, params: PyTree, x: Array) -> Array:
        return cast(Array, self.module.apply({"params": params}, x))
