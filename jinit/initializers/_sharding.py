"""Draws arrays that are sharded over devices, with the values of an unsharded draw."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import jax
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from jinit import errors
from jinit.initializers._definition import Definition
from jinit.typing import Array, DType, Key


class Defined(Protocol):
    """An initializer with a definition; its hash is that of its name and arguments."""

    @property
    def definition(self) -> Definition: ...

    def __hash__(self) -> int: ...


def check_sharding(sharding: Sharding | PartitionSpec, shape: tuple[int, ...]) -> None:
    """Checks that an array of this shape can have this sharding.

    Args:
      sharding: a ``Sharding``, or a ``PartitionSpec`` of the mesh in use.
      shape: the shape of the array.

    Raises:
      TypeError: the sharding is neither of the two.
      ValueError: too many axes, a ``PartitionSpec`` without a mesh, devices that do not divide the
        shape.

    >>> mesh = jax.make_mesh((1,), ("d",))
    >>> check_sharding(NamedSharding(mesh, PartitionSpec("d")), (4, 3))
    """
    fix = "jax.sharding.NamedSharding(mesh, PartitionSpec('d'))"
    if not isinstance(sharding, Sharding | PartitionSpec):
        raise errors.wrong_type("out_sharding", sharding, "a Sharding or a PartitionSpec", fix)
    spec = getattr(sharding, "spec", sharding)
    if isinstance(spec, PartitionSpec) and len(spec) > len(shape):
        raise errors.refusal(
            "out_sharding", sharding, f"at most {len(shape)} axes, for shape {shape}", fix
        )
    if isinstance(sharding, PartitionSpec):
        if jax.sharding.get_abstract_mesh().empty:
            raise errors.refusal(
                "out_sharding", sharding, "a PartitionSpec with a mesh in use", fix
            )
        return
    try:
        sharding.shard_shape(shape)
    except ValueError as error:
        reason = str(error).strip().partition("\n")[0]
        raise errors.refusal(
            "out_sharding", sharding, f"axes and devices that divide {shape}", reason
        ) from None


def sharded(
    initializer: Defined,
    shape: tuple[int, ...],
    dtype: DType,
    sharding: Sharding | PartitionSpec,
) -> Callable[[Key], Array]:
    """A compiled draw, cached by initializer, shape, dtype and sharding.

    Args:
      initializer: a :class:`jinit.initializers.NamedInitializer`.
      shape, dtype: those of the array.
      sharding: a sharding that :func:`check_sharding` accepts.

    Returns:
      A function of a key that returns an array with this sharding. On a mesh with explicit axes
      the sharding is also part of the array's type.

    >>> from jinit import initializers
    >>> mesh = jax.make_mesh((1,), ("d",))
    >>> there = NamedSharding(mesh, PartitionSpec("d"))
    >>> draw = sharded(initializers.he_normal(), (4, 3), jax.numpy.dtype("float32"), there)
    >>> draw(jax.random.key(0)).sharding.spec[0]
    'd'
    """
    explicit = tuple(jax.sharding.get_abstract_mesh().explicit_axes)
    try:
        return _compiled(initializer, shape, dtype, sharding, explicit)
    except TypeError:  # an argument that does not hash, such as an array or a tracer
        return _compiled.__wrapped__(initializer, shape, dtype, sharding, explicit)


@functools.lru_cache(maxsize=256)
def _compiled(
    initializer: Defined,
    shape: tuple[int, ...],
    dtype: DType,
    sharding: Sharding | PartitionSpec,
    explicit: tuple[str, ...],
) -> Callable[[Key], Array]:
    definition = initializer.definition

    def draw(key: Key) -> Array:
        return definition.drawn(key, shape, dtype)

    # A sharded matrix product adds its terms in another order, so the full array is drawn first.
    first = _replicated(sharding) if definition.whole else sharding
    if explicit:
        # On explicit axes the sharding is part of the type, which a nested jit cannot change.
        drawn = jax.sharding.auto_axes(draw, axes=explicit, out_sharding=first)
        return jax.jit(lambda key: jax.sharding.reshard(drawn(key), sharding))
    return jax.jit(jax.jit(draw, out_shardings=first), out_shardings=sharding)


def _replicated(sharding: Sharding | PartitionSpec) -> Sharding | PartitionSpec:
    """The sharding with the full array on each device; returned unchanged if it has no mesh."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec())
    return PartitionSpec() if isinstance(sharding, PartitionSpec) else sharding
