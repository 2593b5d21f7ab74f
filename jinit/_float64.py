"""Runs a function with JAX in float64, whether or not the caller enabled float64."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import jax
import numpy as np

from jinit._switches import own_switches

_T = TypeVar("_T")
_P = ParamSpec("_P")


def in_float64(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Runs ``function(*args, **kwargs)`` with JAX in float64.

    Args:
      function: runs in a new thread. JAX traces are local to a thread, so the result is concrete
        even if the caller is inside jit or vmap.
      args, kwargs: arguments of ``function``.

    Returns:
      The result. JAX arrays become NumPy arrays, which stay float64 under every JAX setting.

    >>> in_float64(lambda: str(jax.numpy.ones(2).dtype))
    'float64'
    """

    def run() -> _T:
        # enable_x64 is in jax.experimental before JAX 0.8, and in jax from 0.8 on.
        wide = (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64(True)
        with own_switches(), wide:  # switches of the caller's thread are not those of this one
            result: _T = jax.tree.map(
                lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf,
                function(*args, **kwargs),
            )
            return result

    with ThreadPoolExecutor(1) as fresh:
        return fresh.submit(run).result()
