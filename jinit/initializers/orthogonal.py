"""Orthogonal kernels: uniform (Haar) over matrices with orthonormal rows or columns."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.initializers.base import Law, Recipe, named
from jinit.typing import Array, DType


@named
def orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: DType = None) -> Recipe:
    """scale · Q with QᵀQ = I (or QQᵀ = I), Q uniform: the sign-corrected QR of a Gaussian matrix.

    The shape is read as a matrix with ``column_axis`` as columns and everything else as rows;
    the smaller side is orthonormal. One entry has variance scale²/max(rows, columns).

    Args:
      scale: multiplies Q, non-zero; an activation's gain.
      column_axis: the axis of the columns.
      dtype: default dtype; bfloat16 and float16 are computed in float32 and rounded.

    Returns:
      An initializer for rank ≥ 2; in float32 and wider bit for bit
      ``jax.nn.initializers.orthogonal``.

    Raises:
      ValueError: rank below 2, an axis out of range, an empty shape, a zero or NaN scale.

    Reference: Saxe, McClelland & Ganguli 2013, section 3; Mezzadri 2007, section 5.

    >>> q = orthogonal()(jax.random.key(0), (3, 3))
    >>> bool(jnp.allclose(q.T @ q, jnp.eye(3), atol=1e-6))
    True
    """
    errors.check_number("orthogonal scale", scale, fix="use a finite number such as 1.0")
    if isinstance(scale, int | float) and scale == 0:
        raise errors.refusal("orthogonal scale", scale, "a number that is not 0", "use 'zeros'")
    make = jax.nn.initializers.orthogonal(scale, column_axis)

    def law(shape: tuple[int, ...]) -> Law:
        rank = len(shape)
        if rank < 2 or not math.prod(shape):
            raise errors.refusal(
                "orthogonal shape",
                shape,
                "rank >= 2, sizes >= 1",
                "vectors have no orthogonal rule",
            )
        if not -rank <= column_axis < rank:
            raise errors.refusal(
                "column_axis", column_axis, f"in [{-rank}, {rank - 1}]", f"shape is {shape}"
            )
        columns = shape[column_axis]
        bound = abs(float(scale))
        stddev = bound / math.sqrt(max(columns, math.prod(shape) // columns))
        return Law("orthogonal", 0.0, stddev, -bound, bound)

    def draw(key: Any, shape: tuple[int, ...], dtype: Any, out_sharding: Any) -> Array:
        half = dtype.itemsize < 4
        drawn = make(key, shape, jnp.float32 if half else dtype).astype(dtype)
        if out_sharding is None:
            return drawn
        return jax.lax.with_sharding_constraint(drawn, out_sharding)

    return Recipe(draw, law, dtype=dtype)
