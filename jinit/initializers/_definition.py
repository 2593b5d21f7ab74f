"""Defines what a factory's function returns: the draw, its law, and the dtypes it can have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax.numpy as jnp

from jinit.initializers._entries import Entries
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key

Draw: TypeAlias = Callable[[Key, tuple[int, ...], DType], Array]
"""``draw(key, shape, dtype)``; its inputs are already checked."""

DTypes: TypeAlias = Literal["real", "complex", "any"]


@dataclass(frozen=True)
class Definition:
    """The definition of one initializer, without its name and arguments.

    Attributes:
      draw: ``draw(key, shape, dtype)``; its inputs are already checked.
      law: ``law(shape) -> Law`` of a real draw; raises on shapes that the initializer cannot serve.
      dtypes: ``"any"`` (constants), ``"complex"`` (real and complex), or ``"real"``.
      dtype: the factory's default dtype.
      arguments: the arguments that the spec string prints; None for those of the factory call.
      whole: True if a shard cannot be drawn alone (orthogonal matrices); each device then draws the
        full array and keeps its shard.
      complex_ratio: the standard deviation of a complex draw, over that of ``law``; not 1 where JAX
        divides by another constant than the true one.
      entries: the same draw in a real float dtype as a number times standard entries; None if the
        entries are not independent, or are not such products.
    """

    draw: Draw
    law: Callable[[tuple[int, ...]], Law]
    dtypes: DTypes = "real"
    dtype: DType = None
    arguments: Mapping[str, Any] | None = None
    whole: bool = False
    complex_ratio: float = 1.0
    entries: Entries | None = None

    def drawn(self, key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        """The draw in any dtype: in half precision, the float32 draw rounded to nearest.

        JAX draws half precision from 7 or 10 random bits: laws then have 128 or 1,024 values; a
        normal one in bfloat16 has mean −0.013 σ and ends at 2.9 σ.
        """
        if self.dtypes == "any":
            return self.draw(key, shape, dtype)
        return self.draw(key, shape, wide(dtype)).astype(dtype)


def wide(dtype: DType) -> DType:
    """The dtype to compute in: float32 for floats of fewer bits, else the dtype itself.

    >>> wide(jnp.dtype("bfloat16")), wide(jnp.dtype("complex64"))
    (dtype('float32'), dtype('complex64'))
    """
    narrow = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
    return jnp.dtype("float32") if narrow else dtype
