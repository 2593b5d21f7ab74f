"""Checks the inputs of a draw: the key, the dtype, and arguments that must not be traced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.initializers._definition import DTypes
from jinit.typing import DType, Initializer, Key

_REAL = ("float16", "bfloat16", "float32", "float64")


def as_dtype(dtype: DType) -> DType:
    """A ``numpy.dtype`` from anything that JAX accepts as a dtype."""
    with contextlib.suppress(TypeError, ValueError):
        wanted = jnp.dtype(dtype)
        # Records, texts, dates and keys are NumPy or JAX dtypes, but no arrays of numbers.
        if jnp.issubdtype(wanted, np.number) or wanted.name == "bool":
            return wanted
    raise errors.wrong_type("dtype", dtype, "a float dtype", "use jnp.float32 or jnp.bfloat16")


def within_64_bits(number: float) -> float:
    """The number; a whole number beyond 64 bits, which XLA does not take, as the nearest float."""
    return float(number) if isinstance(number, int) and abs(number) >= 2**63 else number


def default_dtype(dtype: DType) -> DType:
    """As :func:`as_dtype`; None is the JAX default float, and Python's types are JAX's defaults.

    >>> default_dtype(None), default_dtype(int)
    (dtype('float32'), dtype('int32'))
    """
    if dtype is None or any(dtype is kind for kind in (bool, int, float, complex)):
        return jnp.zeros((), float if dtype is None else dtype).dtype
    return as_dtype(dtype)


def check_dtype(initializer: Initializer, dtypes: DTypes, dtype: DType) -> DType:
    """The dtype of a draw; None is the JAX default float, and Python's types are JAX's defaults.

    Raises:
      TypeError: not a dtype, or one that the initializer cannot draw.
      ValueError: 64 bits without x64.
    """
    wanted = default_dtype(dtype)
    widest = 64 if jnp.issubdtype(wanted, jnp.complexfloating) else 32
    if wanted.itemsize * 8 > widest and not jax.config.read("jax_enable_x64"):
        raise errors.refusal(
            f"dtype of {initializer}",
            wanted.name,
            f"at most {widest} bits while jax_enable_x64 is off",
            "jax.config.update('jax_enable_x64', True), or use float32",
        )
    # float8 is not allowed: JAX's draws in it are NaN or constant.
    allowed = _REAL if dtypes == "real" else (*_REAL, "complex64", "complex128")
    if dtypes != "any" and wanted.name not in allowed:
        raise errors.wrong_type(
            f"dtype of {initializer}",
            wanted.name,
            "float16, bfloat16, float32 or float64"
            + (", or complex" if dtypes == "complex" else ""),
            "draw in float32 and convert yourself",
        )
    return wanted


def check_key(key: Key) -> None:
    """Checks that ``key`` is one PRNG key whose bits differ from lane to lane under vmap.

    Raises:
      TypeError: not a PRNG key. ValueError: a batch of keys, or an ``rbg`` key under vmap.

    >>> check_key(jax.random.key(0))
    """
    errors.check_key(key)
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if typed and "rbg" in str(jax.random.key_impl(key)) and _is_batched(key):
        raise errors.refusal(
            "key",
            "an 'rbg' key under vmap",
            "threefry2x32 keys under vmap: with rbg all lanes would use the key of lane 0",
            "jax.random.key(seed, impl='threefry2x32')",
        )


@contextlib.contextmanager
def concrete_arguments(name: str) -> Iterator[None]:
    """Turns JAX's error about a traced value into one that names the initializer.

    Arguments that determine the law must be numbers; a value traced by jit or vmap is not.
    """
    try:
        yield
    except jax.errors.ConcretizationTypeError:
        raise errors.wrong_type(
            f"arguments of {name}",
            "a traced value",
            "numbers known before jit and vmap",
            "draw with 1.0 and multiply the result",
        ) from None


def _is_batched(key: Key) -> bool:
    """True if the innermost vmap maps over ``key``; a vmap outside a jit is not detected."""
    return type(key).__name__ == "BatchTracer"
