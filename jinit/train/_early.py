"""A scan that ends once every run is done; a run that is done keeps its state and its numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from jinit._anew import anew
from jinit.typing import Array, PyTree

Carry = TypeVar("Carry")


def scan_until(
    step: Callable[[Carry, PyTree], tuple[Carry, PyTree]],
    carry: Carry,
    xs: PyTree,
    done: Callable[[Carry], Array],
) -> tuple[Carry, PyTree, Array]:
    """``jax.lax.scan(step, carry, xs)`` that ends early; under vmap once all lanes are done.

    A lane that is done stays as it is while others go on: its numbers do not depend on them.

    Args:
      step: as for ``jax.lax.scan``.
      carry: the first carry.
      xs: a tree of arrays with one leading axis.
      done: whether a carry is the last of its lane.

    Returns:
      The last carry; the outputs, NaN or −1 after a lane was done; and the number of the last step
      of the lane, counted from 0.
    """
    count = len(jax.tree.leaves(xs)[0])
    shapes = jax.eval_shape(anew(step), carry, jax.tree.map(lambda x: x[0], xs))[1]
    empty = jax.tree.map(_missing, shapes)
    outputs = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), empty)

    def goes_on(loop: tuple[Array, Carry, PyTree, Array]) -> Array:
        number, carry, _, _ = loop
        return (number < count) & _any_lane(~done(carry))

    def advance(loop: tuple[Array, Carry, PyTree, Array]) -> tuple[Array, Carry, PyTree, Array]:
        number, carry, outputs, last = loop
        running = ~done(carry)
        after, output = step(carry, jax.tree.map(lambda x: x[number], xs))

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(running, new, old)

        outputs = jax.tree.map(
            lambda all, one, none: all.at[number].set(choose(one, none)), outputs, output, empty
        )
        last = choose(number, last)
        return number + 1, jax.tree.map(choose, after, carry), outputs, last

    # Under vmap ``number`` is one scalar for all lanes, and so are the bounds of inner loops.
    zero = jnp.zeros((), jnp.int32)
    _, carry, outputs, last = jax.lax.while_loop(goes_on, advance, (zero, carry, outputs, zero))
    return carry, outputs, last


def _missing(shape: jax.ShapeDtypeStruct) -> Array:
    """What stands for an output that was not computed."""
    if jnp.issubdtype(shape.dtype, jnp.inexact):
        return jnp.full(shape.shape, jnp.nan, shape.dtype)
    if jnp.issubdtype(shape.dtype, jnp.signedinteger):
        return jnp.full(shape.shape, -1, shape.dtype)
    return jnp.zeros(shape.shape, shape.dtype)


@jax.custom_batching.custom_vmap
def _any_lane(flag: Array) -> Array:
    """Whether the flag is true, under vmap in any lane: one answer for all lanes."""
    return flag


@_any_lane.def_vmap
def _any_of_batch(size: int, batched: list[bool], flag: Array) -> tuple[Array, bool]:
    return (jnp.any(flag) if batched[0] else flag), False
