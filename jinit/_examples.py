"""Checks the examples that a caller passes, before a model sees them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.typing import Array


def check_examples(
    x: Array | np.ndarray | jax.ShapeDtypeStruct,
    *,
    name: str = "x",
    least: int = 1,
    real: bool = False,
    finite: bool = False,
    abstract: bool = False,
) -> None:
    """Refuses what is not a batch of examples.

    Args:
      x: ``(batch, …)``, an array of numbers; may be traced.
      name: of the argument, for messages.
      least: number of examples needed.
      real: refuse complex numbers and Booleans, too.
      finite: refuse NaN and inf, too; a traced x has no values yet.
      abstract: take a ``jax.ShapeDtypeStruct``, too.

    Raises:
      TypeError: not an array, an array of keys, texts or objects, or one with a mask.
      ValueError: too few examples, examples without entries, NaN or inf.

    >>> check_examples(np.zeros((8, 3)))
    """
    number = "one example" if least == 1 else f"{least} examples"
    allowed = f"an array (batch, …) of at least {number}"
    array = isinstance(x, np.ndarray | jax.Array) and not np.ma.isMaskedArray(x)
    if not array and not (abstract and isinstance(x, jax.ShapeDtypeStruct)):
        raise errors.wrong_type(name, x, allowed, f"pass jnp.asarray({name})")
    if not (jnp.issubdtype(x.dtype, np.number) or x.dtype == bool):
        raise errors.wrong_type(name, f"dtype {x.dtype}", allowed, "pass numbers")
    if real and (x.dtype == bool or jnp.issubdtype(x.dtype, jnp.complexfloating)):
        raise errors.wrong_type(name, str(x.dtype), "real numbers", "pass the real part")
    if not x.shape or x.shape[0] < least or not x.size:
        raise errors.refusal(name, f"shape {x.shape}", allowed, "pass a larger batch")
    known = not isinstance(x, jax.core.Tracer | jax.ShapeDtypeStruct)
    if finite and known and not np.isfinite(np.asarray(x)).all():  # jnp would trace under jit
        raise errors.refusal(name, "NaN or inf", "finite inputs", "clean the data")
