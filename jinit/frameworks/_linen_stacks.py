"""Finds the axes that linen's scan and vmap added to a kernel whose sizes do not show them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jinit.frameworks._common import comes_from, constant_axes, run_concretely
from jinit.typing import Array, Key, PyTree

if TYPE_CHECKING:
    from flax import linen as nn
    from flax.linen.module import InterceptorContext


def stack_axes(
    model: nn.Module,
    inputs: tuple[PyTree, ...],
    keywords: Mapping[str, PyTree],
    places: tuple[tuple[str, ...], ...],
) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The axes that scan and vmap added to leaves whose sizes do not show them.

    Each layer draws the numbers 0, 1, 2, … in place of a random kernel. All layers of a stack then
    have equal kernels with different entries, so a leaf is constant along the added axes alone.
    """
    import flax.linen as nn

    def number(
        call: Callable[..., PyTree],
        args: tuple[PyTree, ...],
        kwargs: dict[str, PyTree],
        context: InterceptorContext,
    ) -> PyTree:
        for place in places:
            # A weight norm's scale is called kernel/scale and is drawn by scale_init.
            name = f"{place[-1].rpartition('/')[2]}_init"
            if place[:-1] == context.module.path and hasattr(context.module, name):
                # The instance belongs to this call: Flax clones the modules that it binds.
                object.__setattr__(context.module, name, _numbers)
        return call(*args, **kwargs)

    def draw() -> list[PyTree]:
        with nn.intercept_methods(number):
            tree = run_concretely(model.init, inputs, keywords).get("params", {})
        return [unboxed(at(tree, place)) for place in places]

    drawn = map(np.asarray, jax.jit(draw)())
    return {place: constant_axes(leaf) for place, leaf in zip(places, drawn, strict=True)}


def _numbers(key: Key, shape: Sequence[int], *args: PyTree, **options: PyTree) -> Array:
    return jnp.arange(math.prod(shape), dtype=jnp.float32).reshape(shape)


def at(tree: PyTree, place: tuple[str, ...]) -> PyTree:
    """What nested dictionaries hold at a path, or None."""
    node = tree
    for name in place:
        node = node.get(name) if hasattr(node, "get") else None
    return node


def unboxed(leaf: PyTree) -> PyTree:
    """A leaf without the box that ``with_partitioning`` and its siblings put around it."""
    return leaf.value if comes_from(leaf, "flax.core.meta", "AxisMetadata") else leaf
