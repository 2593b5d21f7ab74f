"""Defines initializers without randomness: zeros, ones, constant, identity."""

from __future__ import annotations

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import constant as jax_constant
from jax.nn.initializers import ones as jax_ones
from jax.nn.initializers import zeros as jax_zeros

from jinit import errors
from jinit.initializers import _entries, _laws
from jinit.initializers._base import NamedInitializer
from jinit.initializers._checks import within_64_bits
from jinit.initializers._definition import Definition
from jinit.initializers._exists import check_exists
from jinit.initializers._factories import named
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key

Value: TypeAlias = "float | np.ndarray | Array | tuple[Value, ...] | list[Value]"
"""A number, an array, or nested tuples or lists of numbers."""


@named
def constant(value: Value, dtype: DType = None) -> Definition:
    """Every entry is ``value``.

    Args:
      value: a number, or an array that broadcasts to the shape of the draw.
      dtype: default dtype of the arrays; None means the JAX default float.

    Returns:
      An initializer for any shape; bit for bit ``jax.nn.initializers.constant``.

    Raises:
      ValueError: the value is NaN, infinite or too large for the dtype, or does not broadcast to
        the shape. TypeError: the value is not made of real numbers.

    >>> constant(0.1)(jax.random.key(0), (2,))
    Array([0.1, 0.1], dtype=float32)
    """
    numbers = _as_numbers(value)
    dtype_of = np.dtype(getattr(numbers, "dtype", float))
    # Neither complex numbers, texts, dates, objects nor records; V is also JAX's half precision.
    if dtype_of.kind not in "biufV" or dtype_of.names:
        raise errors.wrong_type("constant value", value, "real numbers", "use a finite number")
    if np.ndim(numbers) == 0:
        errors.check_number("constant value", numbers, fix="use a finite number")
        numbers = within_64_bits(numbers) if isinstance(numbers, int) else numbers
    elif not isinstance(numbers, jax.core.Tracer) and not np.isfinite(np.asarray(numbers)).all():
        raise errors.refusal("constant value", numbers, "finite numbers", "replace NaN and inf")

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        if not isinstance(numbers, jax.core.Tracer) and not jnp.issubdtype(dtype, jnp.inexact):
            for number in np.unique(np.asarray(numbers)).tolist():
                check_exists("constant", _laws.constant(number), dtype)
        return jax_constant(numbers)(key, shape, dtype)

    return Definition(
        draw,
        lambda shape: _laws.entries(_broadcast(numbers, shape)),
        dtypes="any",
        dtype=dtype,
        entries=_entries.times(numbers, "one"),
    )


@named
def zeros_init() -> Definition:
    """Every entry is 0.

    With zero kernels, all hidden units of a layer stay equal in training.

    Returns:
      An initializer for any shape and dtype; bit for bit ``jax.nn.initializers.zeros``.

    >>> zeros_init()(jax.random.key(0), (2,))
    Array([0., 0.], dtype=float32)
    """
    return Definition(
        jax_zeros,
        lambda shape: _laws.constant(0.0),
        dtypes="any",
        entries=_entries.times(0.0, "one"),
    )


@named
def ones_init() -> Definition:
    """Every entry is 1, the usual scale of a normalization layer.

    Returns:
      An initializer for any shape and dtype; bit for bit ``jax.nn.initializers.ones``.

    >>> ones_init()(jax.random.key(0), (2,))
    Array([1., 1.], dtype=float32)
    """
    return Definition(
        jax_ones,
        lambda shape: _laws.constant(1.0),
        dtypes="any",
        entries=_entries.times(1.0, "one"),
    )


@named
def identity(gain: float = 1.0, dtype: DType = None) -> Definition:
    """The rectangular identity times a gain: W_ij = gain · δ_ij.

    Args:
      gain: the value on the diagonal, dimensionless.
      dtype: default dtype; None means the JAX default float.

    Returns:
      An initializer for 2-D shapes.

    Raises:
      ValueError: the shape is not 2-D (:func:`dirac` serves convolutions), or the gain is not
        finite.

    Reference: Le, Jaitly & Hinton 2015, section 3.

    >>> identity()(jax.random.key(0), (2, 3))
    Array([[1., 0., 0.],
           [0., 1., 0.]], dtype=float32)
    """
    errors.check_number("identity gain", gain, fix="use a finite number")

    def law(shape: tuple[int, ...]) -> Law:
        if len(shape) != 2:
            raise errors.refusal(
                "identity shape",
                shape,
                "rank 2: (in, out)",
                "use 'dirac' for a convolution kernel",
            )
        return _laws.two_valued(float(gain), min(shape), 0, shape[0] * shape[1])

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        rows, columns = shape
        return jnp.eye(rows, columns, dtype=dtype) * jnp.asarray(within_64_bits(gain), dtype)

    return Definition(draw, law, dtypes="any", dtype=dtype)


zeros: NamedInitializer = zeros_init()
ones: NamedInitializer = ones_init()


def _as_numbers(value: Value) -> float | np.ndarray | Array:
    """The value; nested tuples and lists, which spec strings have, become an array."""
    if isinstance(value, np.ndarray | np.generic | jax.Array | int | float | complex):
        return value
    try:
        if not isinstance(value, tuple | list):
            raise TypeError
        return np.asarray(value, float)
    except (TypeError, ValueError):
        raise errors.wrong_type(
            "constant value", value, "a number or an array of them", "use rows of one length"
        ) from None


def _broadcast(value: float | np.ndarray | Array, shape: tuple[int, ...]) -> np.ndarray:
    """The value broadcast to a shape; zeros if the value is traced."""
    if isinstance(value, jax.core.Tracer):
        return np.zeros(shape)
    try:
        return np.broadcast_to(np.asarray(value, dtype=float), shape)
    except ValueError:
        raise errors.refusal(
            "constant value",
            f"an array of shape {np.shape(value)}",
            f"a number or an array that broadcasts to {shape}",
            "pass a single number",
        ) from None
