"""Checks the arguments of the public functions of theory."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike as JaxArrayLike
from numpy.typing import ArrayLike

from jinit import errors
from jinit.theory._table import MomentTable
from jinit.typing import Array

T = TypeVar("T")
Numbers: TypeAlias = ArrayLike | JaxArrayLike
"""A number, nested sequences of numbers, or an array of NumPy or JAX, traced or not."""


def real(x: T) -> T | float:
    """``x``, a Python integer as a float: JAX refuses those beyond its default integer."""
    return float(x) if isinstance(x, int) and not isinstance(x, bool) else x


def floating(x: Numbers, what: str = "an argument") -> Array:
    """``x`` as an array of floats, float32 or wider; integers become JAX's default float dtype.

    Raises:
      TypeError: x is not made of real numbers.
    """
    try:
        array = jnp.asarray(real(x))
    except (TypeError, ValueError, OverflowError):
        raise errors.wrong_type(what, x, "numbers or an array of them", "pass an array") from None
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        raise errors.wrong_type(what, str(array.dtype), "real numbers", "pass numbers, not keys")
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise errors.wrong_type(what, str(array.dtype), "real numbers", "pass the real part")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(jnp.result_type(float))
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def check_continuous(table: MomentTable, what: str) -> None:
    """Raises ValueError if the activation jumps."""
    if table.jump is not None:
        raise errors.refusal(
            f"{what} of {table.name}",
            f"a jump at {table.jump:g}",
            "a continuous activation: chi_1 is infinite at a jump",
            "smooth the jump",
        )


def check_shapes(**arrays: Numbers) -> None:
    """Raises ValueError if the arrays do not broadcast, TypeError for ragged lists or keys."""
    shapes = tuple(floating(value, name).shape for name, value in arrays.items())
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise errors.refusal(
            f"shapes of {', '.join(arrays)}",
            shapes,
            "shapes that broadcast",
            f"{next(iter(arrays))}[:, None]",
        ) from None


def check_signal(sigma_w: Numbers, sigma_b: Numbers) -> None:
    """Raises ValueError if σ_w and σ_b are both 0: no signal reaches the next layer."""
    if isinstance(sigma_w, jax.core.Tracer) or isinstance(sigma_b, jax.core.Tracer):
        return
    if ((np.asarray(sigma_w) == 0) & (np.asarray(sigma_b) == 0)).any():
        raise errors.refusal(
            "sigma_w and sigma_b",
            "both 0",
            "at least one > 0: the next layer must get a signal",
            "use sigma_w = 1.0",
        )


def check_sigmas(sigma_w: Numbers, sigma_b: Numbers, **others: Numbers) -> None:
    """Raises ValueError unless σ_w and σ_b are ≥ 0 and broadcast, also against the others."""
    errors.check_numbers("sigma_w", sigma_w, low=0.0, fix="use 1.0")
    errors.check_numbers("sigma_b", sigma_b, low=0.0, fix="use 0.0")
    check_shapes(sigma_w=sigma_w, sigma_b=sigma_b, **others)
