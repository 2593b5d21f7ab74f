"""Represents a network as two pure functions: ``shapes(x)`` and ``apply(params, x)``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import flax.linen as nn
import jax

from jinit import errors
from jinit.typing import Apply, Array, PyTree


@dataclass(frozen=True)
class Model:
    """A network as two pure functions.

    Attributes:
      shapes: ``shapes(x) -> tree`` of ``jax.ShapeDtypeStruct`` for an example batch ``(batch, …)``.
      apply: ``apply(params, x) -> outputs (batch, outputs)``.
      name: the name in tables and messages.

    >>> shapes = {"w": jax.ShapeDtypeStruct((4, 3), "float32")}
    >>> Model(lambda x: shapes, lambda params, x: x @ params["w"], name="linear").name
    'linear'
    """

    shapes: Callable[[Array], PyTree]
    apply: Apply
    name: str = "model"


def functional(shapes: Callable[[Array], PyTree] | PyTree, apply: Apply) -> Model:
    """Makes a :class:`Model` from an apply function.

    Args:
      shapes: ``shapes(x) -> tree`` of arrays or ``jax.ShapeDtypeStruct``, or the tree itself.
      apply: ``apply(params, x) -> outputs``.

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
    shapes_of = shapes if callable(shapes) else lambda x: shapes
    return Model(shapes_of, apply, getattr(apply, "__name__", "model"))


def as_model(model: Model | nn.Module | tuple[PyTree, Apply]) -> Model:
    """Makes a :class:`Model` from a linen module or a ``(shapes, apply)`` pair.

    Args:
      model: a Flax linen module, a pair as for :func:`functional`, or a :class:`Model`, which is
        returned unchanged.

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
        return Model(_LinenShapes(model), _LinenApply(model), type(model).__name__)
    if isinstance(model, tuple) and len(model) == 2:
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
        variables = dict(jax.eval_shape(self.module.init, jax.random.key(0), x))
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
