"""Refuses numbers that JAX would change: beyond 32 bits without x64, or of no dtype that it has."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.typing import PyTree


def check_numbers(what: str, tree: PyTree) -> None:
    """Refuses leaves that JAX cannot hold, or would change by more than rounding.

    Without x64 JAX keeps 32 bits: an int64 beyond int32 would wrap, a float64 beyond float32 would
    become inf.

    Raises:
      TypeError: a leaf that holds no numbers.
      ValueError: a number beyond the dtype that JAX gives its leaf.

    >>> check_numbers("lanes", np.arange(3))
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
            continue
        name = f"{what}{jax.tree_util.keystr(path)}"
        array = np.asarray(leaf)
        if not _is_numeric(array.dtype):
            raise errors.wrong_type(
                name, f"dtype {array.dtype}", "numbers, truth values or PRNG keys", "use np.float32"
            )
        kept = jax.dtypes.canonicalize_dtype(array.dtype)
        if kept == array.dtype or not array.size:
            continue
        least, most = _range(array)
        limits = np.iinfo(kept) if array.dtype.kind in "iu" else np.finfo(kept)
        lowest, highest = np.asarray([limits.min, limits.max]).tolist()
        if least < lowest or most > highest:
            raise errors.refusal(
                name,
                f"{array.dtype} values from {least:.8g} to {most:.8g}",
                f"values that {kept} can hold, which JAX uses here",
                'scale them, or jax.config.update("jax_enable_x64", True)',
            )


def _is_numeric(dtype: np.dtype) -> bool:
    """Whether JAX has a dtype: bool, integers, floats and complex numbers of up to 64-bit parts."""
    if dtype.kind in "fc":
        return dtype.itemsize <= (16 if dtype.kind == "c" else 8)
    return dtype.kind in "biu" or jnp.issubdtype(dtype, jnp.number)


def _range(array: np.ndarray) -> tuple[float, float]:
    """The least and the greatest finite number of an array, real and imaginary parts alike."""
    if array.dtype.kind in "iu":
        return int(array.min()), int(array.max())
    parts = np.stack([array.real, array.imag]) if array.dtype.kind == "c" else array
    finite = np.isfinite(parts)
    return (
        float(parts.min(where=finite, initial=0.0)),
        float(parts.max(where=finite, initial=0.0)),
    )
