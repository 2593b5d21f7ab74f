"""Runs a function with JAX computing in float64, whatever the caller's setting."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np

_T = TypeVar("_T")


def in_float64(function: Callable[..., _T], *args: Any) -> _T:
    """Runs ``function(*args)`` with JAX computing in float64, whatever the caller's setting.

    Args:
      function: runs in a thread of its own, outside any trace of the caller: the result is concrete
        inside jit and vmap.
      args: positional arguments of ``function``.

    Returns:
      The result, with JAX arrays as NumPy arrays, which no setting truncates.

    >>> in_float64(lambda: str(jax.numpy.ones(2).dtype))
    'float64'
    """

    def run() -> _T:
        # JAX before 0.8 has it in jax.experimental only, later ones in jax only.
        with (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64(True):
            found: _T = jax.tree.map(
                lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf,
                function(*args),
            )
            return found

    with ThreadPoolExecutor(1) as fresh:
        return fresh.submit(run).result()
