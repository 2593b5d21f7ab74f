"""What the floors above call a model: ``shapes(x)`` and ``apply(params, x)``, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax

from jinit import errors
from jinit.typing import Apply, PyTree


@dataclass(frozen=True)
class Model:
    """A network as two pure functions.

    Attributes:
      shapes: ``shapes(x) -> tree`` of ``jax.ShapeDtypeStruct``, x an example batch.
      apply: ``apply(params, x) -> outputs (batch, outputs)``.
      name: what tables print.
    """

    shapes: Callable[[Any], PyTree]
    apply: Apply
    name: str = "model"


def functional(shapes: Callable[[Any], PyTree] | PyTree, apply: Apply) -> Model:
    """A :class:`Model` from any apply function.

    Args:
      shapes: ``shapes(x) -> tree`` of arrays or ``jax.ShapeDtypeStruct``, or such a tree itself.
      apply: ``apply(params, x) -> outputs``.

    Raises:
      TypeError: ``apply`` is not callable.

    >>> shapes = {"w": jax.ShapeDtypeStruct((4, 3), "float32")}
    >>> model = functional(shapes, lambda params, x: x @ params["w"])
    >>> model.shapes(None)["w"].shape
    (4, 3)
    """
    if not callable(apply):
        raise errors.wrong_type("apply", apply, "a function apply(params, x)", "pass a callable")
    make = shapes if callable(shapes) else lambda x: shapes
    return Model(make, apply, getattr(apply, "__name__", "model"))


def as_model(model: Any) -> Model:
    """A linen module, a ``(shapes, apply)`` pair or a :class:`Model` as a :class:`Model`.

    Raises:
      TypeError: anything else.
      ValueError: (from ``shapes``) a module with state beyond its parameters.

    >>> import numpy as np
    >>> as_model(nn.Dense(3)).shapes(np.zeros((1, 4), np.float32))["kernel"].shape
    (4, 3)
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, nn.Module):
        return _linen(model)
    if isinstance(model, tuple) and len(model) == 2:
        return functional(*model)
    raise errors.wrong_type(
        "model",
        model,
        "a Flax linen module, (shapes, apply), or jinit.models.functional(shapes, apply)",
        "wrap your apply function with jinit.models.functional",
    )


def _linen(module: nn.Module) -> Model:
    return Model(_LinenShapes(module), _LinenApply(module), type(module).__name__)


@dataclass(frozen=True)
class _LinenShapes:
    """The shapes of a module's parameters. A class, so that equal modules are equal functions."""

    module: nn.Module

    def __call__(self, x: Any) -> PyTree:
        variables = dict(jax.eval_shape(self.module.init, jax.random.key(0), x))
        # Perturbations are jinit's and Flax's hooks for gradients, not state.
        extra = sorted(set(variables) - {"params", "perturbations", "intermediates"})
        if extra:
            raise errors.refusal(
                f"collections of {type(self.module).__name__}",
                extra,
                "params only",
                "bind the other collections in your own apply: jinit.models.functional",
            )
        return variables.get("params", {})


@dataclass(frozen=True)
class _LinenApply:
    """A module's apply on its parameters alone."""

    module: nn.Module

    def __call__(self, params: PyTree, x: Any) -> Any:
        return self.module.apply({"params": params}, x)
