"""Wraps a user's own optimizer and checks what its transform returns before anything is trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinit import errors
from jinit.train._named import Numbers, Transforms
from jinit.typing import Array, PyTree

OptimizerFor: TypeAlias = Callable[..., optax.GradientTransformation]
"""``optimizer(learning_rate, **numbers) -> optax.GradientTransformation``: see OwnOptimizer."""

_EXAMPLE = "optimizer=lambda learning_rate, **numbers: optax.adam(learning_rate)"


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

    @property
    def momentum(self) -> bool:
        """Whether the function takes a momentum."""
        return self.takes("momentum")

    @property
    def weight_decay(self) -> bool:
        """Whether the function takes a weight decay."""
        return self.takes("weight_decay")

    def transforms(self, numbers: Numbers) -> Transforms:
        """The optax transform, alone in a list."""
        of_name = {"momentum": numbers.momentum, "weight_decay": numbers.weight_decay}
        given = {name: number for name, number in of_name.items() if self.takes(name)}
        try:
            inspect.signature(self.function).bind(numbers.learning_rate, **given)
        except TypeError as error:
            raise errors.wrong_type(
                "optimizer",
                f"a function that cannot be called with a learning rate ({error})",
                "function(learning_rate, **numbers) -> optax.GradientTransformation",
                _EXAMPLE,
            ) from None
        made = self.function(numbers.learning_rate, **given)
        if not (callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))):
            raise errors.wrong_type(
                "optimizer",
                _described(made),
                "a function that returns an optax.GradientTransformation",
                _EXAMPLE,
            )
        return [made]


def _described(made: object) -> str:
    """What a function returned in place of a transform; the values of a state are traced."""
    name = type(made).__name__
    is_state = isinstance(made, tuple)
    return "an optimizer that is already made" if is_state else f"a function that returns a {name}"


def check_update(
    make: Callable[..., optax.GradientTransformation],
    numbers: Sequence[float],
    shapes: PyTree,
) -> None:
    """Refuses a transform whose updates or states do not fit the parameters, or are NaN.

    One update is computed, from normal parameters and a normal gradient.

    Args:
      make: ``make(*numbers)`` makes the transform; the numbers are traced.
      numbers: their values.
      shapes: the parameter tree, leaves ``jax.ShapeDtypeStruct``.

    >>> check_update(optax.adam, [0.1], {"w": jax.ShapeDtypeStruct((2,), "float32")})
    """

    def updated(
        params: PyTree, gradient: PyTree, numbers: Sequence[Array]
    ) -> tuple[PyTree, PyTree, PyTree]:
        made = optax.with_extra_args_support(make(*numbers))
        before = made.init(params)
        zero = jnp.zeros(())
        updates, after = made.update(gradient, before, params, value=zero, grad=gradient)
        return updates, before, after

    scalars = [np.float32(number) for number in numbers]
    updates, before, after = jax.eval_shape(updated, shapes, shapes, scalars)
    _check_alike("updates", updates, shapes, "the tree of the parameters")
    _check_alike("state after an update", after, before, "the state's tree before the update")
    if not all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(shapes)):
        return
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return (0.1 * rng.standard_normal(leaf.shape)).astype(leaf.dtype)

    values = jax.jit(updated)(jax.tree.map(draw, shapes), jax.tree.map(draw, shapes), scalars)[0]
    bad = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(values)
        if not np.isfinite(leaf).all()
    ]
    if bad:
        raise errors.refusal(
            "updates of the optimizer",
            f"NaN or inf in the first update of {bad[0] or 'the parameters'!r}",
            "finite updates for finite gradients and parameters",
            "check the numbers that the function gives to optax",
        )


def _check_alike(what: str, got: PyTree, wanted: PyTree, allowed: str) -> None:
    found, expected = str(jax.tree.structure(got)), str(jax.tree.structure(wanted))
    if found != expected:
        raise errors.refusal(
            f"{what} of the optimizer",
            found,
            f"{allowed}, {expected}",
            "return one update per parameter and a state of constant structure",
        )
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(wanted)]
    pairs = zip(paths, jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True)
    for path, new, old in pairs:
        # A traced float32 number widens a bfloat16 update; both are narrowed again.
        if new.shape != old.shape or _kind(new) != _kind(old):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise errors.refusal(
                f"{what} of the optimizer for {name!r}",
                f"shape {new.shape}, {new.dtype}",
                f"shape {old.shape}, {old.dtype}",
                "keep the shape and the dtype of each leaf",
            )


def _kind(leaf: jax.ShapeDtypeStruct) -> str:
    kinds = {"float": jnp.floating, "complex": jnp.complexfloating, "integer": jnp.integer}
    known = [name for name, kind in kinds.items() if jnp.issubdtype(leaf.dtype, kind)]
    return known[0] if known else str(leaf.dtype)
