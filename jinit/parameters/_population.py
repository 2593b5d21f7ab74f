"""Draws populations of parameter trees and search distributions for evolutionary algorithms."""

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
from jinit.typing import Array, DType, Key, PyTree, Shape


def population(
    key: Key,
    size: int,
    shapes: PyTree,
    rules: Rules,
    *,
    host: str = "flax",
    layers: Layers | None = None,
) -> PyTree:
    """Draws a stack of parameter trees by the rules: leaves ``(size, …)``.

    Member i is ``initialize(fold_in(key, i), …)``, so a larger population begins with the
    members of a smaller one.

    Args:
      key: one PRNG key.
      size: number of members, ≥ 1.
      shapes, rules, host, layers: as for :func:`jinit.initialize`.

    Returns:
      A tree like ``shapes`` with a leading member axis, over which a fitness function is vmapped.

    Raises:
      ValueError, TypeError: as :func:`jinit.initialize`; ``size`` is below 1; a ``"keep"`` rule.

    >>> shapes = {"kernel": jax.ShapeDtypeStruct((4, 3), "float32")}
    >>> population(jax.random.key(0), 10, shapes, {"*": "he_normal"})["kernel"].shape
    (10, 4, 3)
    """
    errors.check_key(key)
    errors.check_integer("population size", size, low=1, high=2**31 - 1, fix="use 64")
    for assignment in assign(shapes, rules, host=host, layers=layers):
        if assignment.initializer is None:
            raise errors.refusal(
                f"leaf {assignment.leaf!r}", "'keep'", "an initializer", "name an initializer"
            )

    def member(number: Array) -> PyTree:
        return initialize(jax.random.fold_in(key, number), shapes, rules, host=host, layers=layers)

    return jax.vmap(member)(jnp.arange(size, dtype=jnp.uint32))


def search_distribution(
    shapes: PyTree, rules: Rules, *, host: str = "flax", layers: Layers | None = None
) -> tuple[PyTree, PyTree]:
    """The mean and σ of every parameter under the rules, to start a Gaussian evolution strategy.

    The first generation, mean + σ z, then has the variance of each layer's initializer instead of
    one σ for all layers.

    Args:
      shapes, rules, host, layers: as for :func:`jinit.initialize`.

    Returns:
      ``(mean, stddev)``, two trees like ``shapes``. For a deterministic initializer the mean is
      its values and σ is 0.

    Raises:
      ValueError, TypeError: as :func:`jinit.initialize`; an initializer has no known law
        (distribution).

    >>> shapes = {"kernel": jax.ShapeDtypeStruct((50, 3), "float32")}
    >>> float(search_distribution(shapes, {"*": "he_normal"})[1]["kernel"][0, 0])  # √(2/50)
    0.20000000298023224
    """
    assignments = assign(shapes, rules, host=host, layers=layers)
    means, stddevs = [], []
    for assignment in assignments:
        if not isinstance(assignment.initializer, NamedInitializer) or assignment.stddev is None:
            raise errors.refusal(
                f"leaf {assignment.leaf!r}",
                assignment.initializer,
                "an initializer with a law",
                "name one of jinit.initializers.names()",
            )
        mean, stddev = (_filled(assignment, moment) for moment in ("mean", "stddev"))
        means.append(mean)
        stddevs.append(stddev)
    tree = jax.tree.structure(shapes)
    return jax.tree.unflatten(tree, means), jax.tree.unflatten(tree, stddevs)


def _filled(assignment: Assignment, moment: str) -> Array:
    """A leaf whose entries are the ``"mean"`` or ``"stddev"`` of the law of their kernel."""
    initializer = assignment.initializer
    assert isinstance(initializer, NamedInitializer)
    blocks = dict(initializer.arguments).get("fused")
    unfused = initializer if blocks is None else initializer.with_arguments(fused=None)

    def fill(key: Key, shape: Shape, dtype: DType = None, out_sharding: Any = None) -> Array:
        if not initializer.law(shape).is_drawn:
            values: Array = initializer(key, shape, dtype)
            return values if moment == "mean" else jnp.zeros_like(values)
        axes: Any = KernelAxes.among(dict(initializer.arguments))
        parts = [
            jnp.full(block, getattr(unfused.law(block, dtype), moment), dtype)
            for block in axes.blocks(shape)
        ]
        return parts[0] if blocks is None else jnp.concatenate(parts, axis=int(axes.out_axis))

    key = jax.random.key(0)  # a deterministic initializer ignores it
    if assignment.layout is None:
        return fill(key, assignment.shape, assignment.dtype)
    return assignment.layout.draw(fill, key, assignment.shape, assignment.dtype)
