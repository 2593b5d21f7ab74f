"""Populations of whole parameter trees, for evolutionary algorithms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.frameworks._layout import Layers
from jinit.initializers import NamedInitializer
from jinit.initializers._fans import KernelAxes
from jinit.parameters._initialize import initialize
from jinit.parameters._rules import Assignment, Rules, assign
from jinit.typing import Array, Key, PyTree, Shape


def population(
    key: Key,
    size: int,
    shapes: PyTree,
    rules: Rules,
    *,
    host: str = "flax",
    layers: Layers | None = None,
) -> PyTree:
    """A stack of parameter trees, each drawn by the rules: leaves ``(size, …)``.

    Member i is ``initialize(fold_in(key, i), …)``: a larger population begins with the smaller one.

    Args:
      key: one PRNG key.
      size: members, ≥ 1.
      shapes, rules, host, layers: as :func:`jinit.initialize`.

    Returns:
      A tree like ``shapes`` with a leading member axis, to vmap a fitness over.

    Raises:
      ValueError, TypeError: as :func:`jinit.initialize`; a size below 1; ``"keep"`` rules.

    >>> shapes = {"kernel": jax.ShapeDtypeStruct((4, 3), "float32")}
    >>> population(jax.random.key(0), 10, shapes, {"*": "he_normal"})["kernel"].shape
    (10, 4, 3)
    """
    errors.check_integer("population size", size, low=1, fix="use 64")
    for each in assign(shapes, rules, host=host, layers=layers):
        if each.initializer is None:
            raise errors.refusal(f"leaf {each.leaf!r}", "'keep'", "an initializer", "name one")

    def member(number: Any) -> PyTree:
        return initialize(jax.random.fold_in(key, number), shapes, rules, host=host, layers=layers)

    return jax.vmap(member)(jnp.arange(size, dtype=jnp.uint32))


def search_distribution(
    shapes: PyTree, rules: Rules, *, host: str = "flax", layers: Layers | None = None
) -> tuple[PyTree, PyTree]:
    """Mean and σ of every parameter under the rules: where a Gaussian evolution strategy starts.

    A strategy that samples mean + σ z then draws its first generation with the initializers'
    variances, layer by layer, instead of one σ for all.

    Args:
      shapes, rules, host, layers: as :func:`jinit.initialize`.

    Returns:
      ``(mean, stddev)``, trees like ``shapes``; what a rule draws without chance is its mean, σ 0.

    Raises:
      ValueError, TypeError: as :func:`jinit.initialize`; an initializer without a law.

    >>> shapes = {"kernel": jax.ShapeDtypeStruct((50, 3), "float32")}
    >>> float(search_distribution(shapes, {"*": "he_normal"})[1]["kernel"][0, 0])  # √(2/50)
    0.20000000298023224
    """
    assignments = assign(shapes, rules, host=host, layers=layers)
    means, stddevs = [], []
    for each in assignments:
        if not isinstance(each.initializer, NamedInitializer) or each.stddev is None:
            raise errors.refusal(
                f"leaf {each.leaf!r}", each.initializer, "an initializer with a law", "name one"
            )
        mean, stddev = (_filled(each, moment) for moment in ("mean", "stddev"))
        means.append(mean)
        stddevs.append(stddev)
    tree = jax.tree.structure(shapes)
    return jax.tree.unflatten(tree, means), jax.tree.unflatten(tree, stddevs)


def _filled(each: Assignment, moment: str) -> Array:
    """A leaf whose entries are the mean, or the σ, of the law of the kernel they belong to."""
    initializer = each.initializer
    assert isinstance(initializer, NamedInitializer)
    blocks = dict(initializer.arguments).get("fused")
    alone = initializer if blocks is None else initializer.with_arguments(fused=None)

    def fill(key: Key, shape: Shape, dtype: Any = None, out_sharding: Any = None) -> Array:
        if not initializer.law(shape).is_drawn:
            values: Array = initializer(key, shape, dtype)
            return values if moment == "mean" else jnp.zeros_like(values)
        axes: Any = KernelAxes.among(dict(initializer.arguments))
        parts = [
            jnp.full(block, getattr(alone.law(block), moment), dtype)
            for block in axes.blocks(shape)
        ]
        return parts[0] if blocks is None else jnp.concatenate(parts, axis=int(axes.out_axis))

    key = jax.random.key(0)  # a deterministic law does not look at it
    if each.layout is None:
        return fill(key, each.shape, each.dtype)
    return each.layout.draw(fill, key, each.shape, each.dtype)
