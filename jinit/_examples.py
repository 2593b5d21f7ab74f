"""Checks the examples that a caller passes, before a model sees them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.typing import Array


def check_examples(x: Array | np.ndarray, *, least: int = 1, finite: bool = False) -> None:
    """Refuses what is not a batch of examples.

    Args:
      x: ``(batch, …)``, an array of numbers; may be traced.
      least: number of examples needed.
      finite: refuse NaN and inf, too; a traced x has no values yet.

    Raises:
      TypeError: not an array, an array of keys, texts or objects, or one with a mask.
      ValueError: too few examples, examples without entries, NaN or inf.

    >>> check_examples(np.zeros((8, 3)))
    """
    number = "one example" if least == 1 else f"{least} examples"
    allowed = f"an array (batch, …) of at least {number}"
    if not isinstance(x, np.ndarray | jax.Array) or np.ma.isMaskedArray(x):
        raise errors.wrong_type("x", x, allowed, "pass jnp.asarray(x)")
    if not (jnp.issubdtype(x.dtype, np.number) or x.dtype == bool):
        raise errors.wrong_type("x", f"dtype {x.dtype}", allowed, "pass numbers")
    if not x.ndim or x.shape[0] < least or not x.size:
        raise errors.refusal("x", f"shape {x.shape}", allowed, "pass a larger batch")
    if finite and not isinstance(x, jax.core.Tracer) and not bool(jnp.isfinite(x).all()):
        raise errors.refusal("x", "NaN or inf", "finite inputs", "clean the data")
