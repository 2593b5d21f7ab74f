"""Defines what a factory's function returns: the draw, its law, and the dtypes it can have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

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
      law: ``law(shape) -> Law``; raises on shapes that the initializer cannot serve.
      dtypes: ``"any"`` (constants), ``"complex"`` (real and complex), or ``"real"``.
      dtype: the factory's default dtype.
      arguments: the arguments that the spec string prints; None for those of the factory call.
      whole: True if a shard cannot be drawn alone (orthogonal matrices); each device then draws the
        full array and keeps its shard.
    """

    draw: Draw
    law: Callable[[tuple[int, ...]], Law]
    dtypes: DTypes = "real"
    dtype: DType = None
    arguments: Mapping[str, Any] | None = None
    whole: bool = False
