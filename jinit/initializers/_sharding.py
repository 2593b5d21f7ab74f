"""Draws laid out over devices: each makes its own part, and the values are one device's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jinit import errors
from jinit.typing import Array, Key


def check_sharding(sharding: Any, shape: tuple[int, ...]) -> None:
    """Refuses what is no layout over devices, or none that this shape can have.

    Args:
      sharding: a ``Sharding``, or a ``PartitionSpec`` of the mesh in use.
      shape: of the array.

    Raises:
      TypeError: neither of them.
      ValueError: too many axes, a ``PartitionSpec`` without a mesh, devices that do not divide.

    >>> mesh = jax.make_mesh((1,), ("d",))
    >>> check_sharding(NamedSharding(mesh, PartitionSpec("d")), (4, 3))
    """
    fix = "jax.sharding.NamedSharding(mesh, PartitionSpec('d'))"
    if not isinstance(sharding, jax.sharding.Sharding | PartitionSpec):
        raise errors.wrong_type("out_sharding", sharding, "a Sharding or a PartitionSpec", fix)
    spec: Any = getattr(sharding, "spec", sharding)
    if isinstance(spec, PartitionSpec) and len(spec) > len(shape):
        raise errors.refusal("out_sharding", sharding, f"at most the axes of {shape}", fix)
    if isinstance(sharding, PartitionSpec):
        if jax.sharding.get_abstract_mesh().empty:
            raise errors.refusal("out_sharding", sharding, "a mesh to apply it to", fix)
        return
    try:
        sharding.shard_shape(shape)
    except ValueError as error:
        said = str(error).strip().partition("\n")[0]
        raise errors.refusal(
            "out_sharding", sharding, f"axes and devices that divide {shape}", said
        ) from None


def sharded(
    initializer: Any, shape: tuple[int, ...], dtype: Any, sharding: Any
) -> Callable[[Key], Array]:
    """One compiled program for each initializer, shape and sharding.

    Args:
      initializer: a :class:`jinit.initializers.NamedInitializer`.
      shape, dtype: of the array.
      sharding: as :func:`check_sharding` lets it pass.

    Returns:
      ``key -> array``, laid out so. On a mesh with explicit axes its type has this sharding too.

    >>> from jinit import initializers
    >>> mesh = jax.make_mesh((1,), ("d",))
    >>> there = NamedSharding(mesh, PartitionSpec("d"))
    >>> sharded(initializers.he_normal(), (4, 3), float, there)(jax.random.key(0)).sharding.spec[0]
    'd'
    """
    explicit = tuple(jax.sharding.get_abstract_mesh().explicit_axes)
    try:
        return _compiled(initializer, shape, dtype, sharding, explicit)
    except TypeError:  # an argument that does not hash, such as an array or a tracer
        return _compiled.__wrapped__(initializer, shape, dtype, sharding, explicit)


@functools.lru_cache(maxsize=256)
def _compiled(
    initializer: Any, shape: tuple[int, ...], dtype: Any, sharding: Any, explicit: tuple[str, ...]
) -> Callable[[Key], Array]:
    recipe = initializer.recipe

    def draw(key: Key) -> Array:
        return recipe.draw(key, shape, dtype)

    # Parts of a product of matrices would be added up in another order: first the whole.
    first = _everywhere(sharding) if recipe.whole else sharding
    if explicit:
        # Here a sharding is part of a type, and a program inside another cannot change the type.
        made = jax.sharding.auto_axes(draw, axes=explicit, out_sharding=first)
        return jax.jit(lambda key: jax.sharding.reshard(made(key), sharding))
    return jax.jit(jax.jit(draw, out_shardings=first), out_shardings=sharding)


def _everywhere(sharding: Any) -> Any:
    """The whole array on each of its devices."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec())
    return PartitionSpec() if isinstance(sharding, PartitionSpec) else sharding
