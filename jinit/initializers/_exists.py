"""Refuses draws that do not exist in their dtype, and checks what a user's initializer returns."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Initializer

# |z| of a normal draw stays below these: JAX draws it from 24 random bits, or from 53 in float64.
_REACH, _REACH_64 = 6.0, 9.0


def check_exists(name: str, law: Law, dtype: DType) -> None:
    """Checks that entries of this law are numbers of the dtype and not all rounded to one.

    Args:
      name: the initializer's, for the message.
      law: of one entry; a NaN (a traced argument) is not checked.
      dtype: of the draw.

    Raises:
      ValueError: some entries would be infinite, or all of them would be 0 or the mean.

    >>> from jinit.initializers import _laws
    >>> check_exists("normal", Law("normal", 0.0, 1e-9), jnp.dtype("float16"))
    Traceback (most recent call last):
    jinit.errors.ValueRefusal: normal stddev in float16: got 1e-09; allowed: at least 1.49e-08, or
    all entries round to one number; fix: use a wider dtype, such as float32
    """
    if law.distribution == "mixture":
        for _, part in law.components:
            check_exists(name, part, dtype)
        return
    if not jnp.issubdtype(dtype, jnp.inexact):
        _check_whole(name, law, dtype)
        return
    limits = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
    largest = _largest(law, jnp.dtype(limits.dtype).itemsize == 8)
    fix = "use a wider dtype, such as float32"
    if largest > float(limits.max):
        allowed = f"at most {float(limits.max):.6g}"
        raise errors.refusal(f"{name} value in {dtype.name}", largest, allowed, fix)
    least = _least(dtype)
    if law.distribution in ("constant", "deterministic", "rademacher"):
        if 0 < largest < least:
            what, allowed = f"{name} value in {dtype.name}", f"0 or at least {least:.3g}"
            raise errors.refusal(what, largest, allowed, fix)
        return
    # A quarter of the distance between numbers at the mean: 95 % of a normal's entries are equal.
    finest = max(least / 2, abs(law.mean) * float(limits.eps) / 4)
    if law.stddev < finest:
        allowed = f"at least {finest:.3g}, or all entries round to one number"
        raise errors.refusal(f"{name} stddev in {dtype.name}", law.stddev, allowed, fix)


def check_returned(
    initializer: Initializer, value: Array, shape: tuple[int, ...], dtype: DType
) -> Array:
    """What a user's own initializer returned, checked to be an array of this shape and dtype.

    Raises:
      TypeError: not an array, or one of another dtype.
      ValueError: another shape, or NaN among values that are not traced.

    >>> check_returned(jnp.zeros, jnp.zeros(3), (2,), jnp.dtype("float32"))
    Traceback (most recent call last):
    jinit.errors.ValueRefusal: value of initializer zeros: got shape (3,); allowed: shape (2,); fix:
    return an array of the shape that the initializer is given
    """
    what = f"value of initializer {getattr(initializer, '__name__', type(initializer).__name__)}"
    if not isinstance(value, jax.Array | np.ndarray):
        fix = "return jnp.asarray(…, dtype), or name an initializer"
        raise errors.wrong_type(what, value, "an array", fix)
    if value.shape != tuple(shape):
        fix = "return an array of the shape that the initializer is given"
        raise errors.refusal(what, _Text(f"shape {value.shape}"), f"shape {tuple(shape)}", fix)
    wanted = jax.dtypes.canonicalize_dtype(dtype)
    if value.dtype != wanted:
        fix = "return value.astype(dtype)"
        raise errors.wrong_type(what, _Text(f"dtype {value.dtype}"), f"dtype {wanted}", fix)
    if not isinstance(value, jax.core.Tracer) and jnp.issubdtype(wanted, jnp.inexact):
        missing = int(np.isnan(np.asarray(value)).sum())  # jnp would trace under jit
        if missing:
            fix = "return a number for every entry"
            raise errors.refusal(what, _Text(f"{missing} NaN of {value.size}"), "no NaN", fix)
    return jnp.asarray(value)


class _Text(str):
    """A text that a message prints without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _largest(law: Law, is_double: bool) -> float:
    """The largest absolute value that a draw can have."""
    if math.isfinite(law.low) and math.isfinite(law.high):
        return max(abs(law.low), abs(law.high))
    return abs(law.mean) + (_REACH_64 if is_double else _REACH) * law.stddev


def _least(dtype: DType) -> float:
    """The smallest absolute value that does not become 0; on CPU, XLA has no subnormal float32."""
    limits = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
    if dtype.itemsize < 4 and dtype.name != "bfloat16":
        return float(limits.smallest_subnormal) / 2
    return float(limits.tiny)


def _check_whole(name: str, law: Law, dtype: DType) -> None:
    """Checks that an integer or bool dtype holds the bounds of a deterministic law."""
    low, high = 0, 1
    if dtype.name != "bool":
        limits = jnp.iinfo(dtype)  # type: ignore[no-untyped-call]
        low, high = int(limits.min), int(limits.max)
    for value in (law.low, law.high):
        if not math.isnan(value) and (value != math.floor(value) or not low <= value <= high):
            allowed = f"whole numbers from {low} to {high}"
            raise errors.refusal(f"{name} value in {dtype.name}", value, allowed, "use float32")
