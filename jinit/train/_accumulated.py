"""Averages the gradients of the parts of a batch, one part after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.typing import Array, PyTree

ValueAndGradient: TypeAlias = Callable[..., tuple[Array, PyTree, PyTree]]
"""``of_part(model_state, x, y, part) -> (loss, gradient, model_state)``."""


def mean(
    of_part: ValueAndGradient, parts: int, params: PyTree, state: PyTree, x: Array, y: Array
) -> tuple[Array, PyTree, PyTree]:
    """Mean loss and gradient over equal parts, and the network's state after the last.

    Sums are taken in float32 or wider.

    Args:
      of_part: loss, gradient and the network's state after one part.
      parts: number of parts, which divides the batch.
      params: the parameters.
      state: the network's state; each part starts from the state after the part before.
      x, y: ``(batch, …)``.

    Raises:
      ValueError: the parts do not divide the batch.
    """
    if len(x) % parts:
        raise errors.refusal(
            "examples of a step", len(x), f"a multiple of accumulate={parts}", "another batch size"
        )
    xs, ys = jax.tree.map(lambda array: array.reshape(parts, -1, *array.shape[1:]), (x, y))
    widest = [jnp.promote_types(leaf.dtype, jnp.float32) for leaf in jax.tree.leaves(params)]
    zeros = [
        jnp.zeros(leaf.shape, dtype)
        for leaf, dtype in zip(jax.tree.leaves(params), widest, strict=True)
    ]

    def add(
        carry: tuple[Array, list[Array], PyTree], part: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, list[Array], PyTree], None]:
        total, sums, model_state = carry
        number, x, y = part
        value, gradient, after = of_part(model_state, x, y, number)
        leaves = [g.astype(s.dtype) for g, s in zip(jax.tree.leaves(gradient), sums, strict=True)]
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state)
        sums = [s + g for s, g in zip(sums, leaves, strict=True)]
        return (total + value.astype(jnp.float32), sums, after), None

    begin = (jnp.zeros((), jnp.float32), zeros, state)
    (total, sums, model_state), _ = jax.lax.scan(add, begin, (jnp.arange(parts), xs, ys))
    leaves, tree = jax.tree.flatten(params)
    means = [(s / parts).astype(leaf.dtype) for s, leaf in zip(sums, leaves, strict=True)]
    return total / parts, jax.tree.unflatten(tree, means), model_state
