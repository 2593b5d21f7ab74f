"""One text of a formula, two ways to run it: compiled by JAX, or at once by NumPy.

Compiling takes a second or two. Many points, ``vmap`` and derivatives are worth that; one network's
prediction, which is computed in a tenth of one, is not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

_F = TypeVar("_F", bound=Callable[..., Any])


def namespace(*arrays: Any) -> Any:
    """``jax.numpy`` if one of the arrays is JAX's, traced ones too, else ``numpy``.

    >>> namespace(np.ones(2)).__name__, namespace(np.ones(2), jnp.ones(2)).__name__
    ('numpy', 'jax.numpy')
    """
    return jnp if any(isinstance(x, jax.Array) for x in arrays) else np


def compiled(static_argnums: tuple[int, ...]) -> Callable[[_F], _F]:
    """``jax.jit``, except that a call with NumPy's arrays alone runs the function as it stands.

    >>> double = compiled(())(lambda x: 2 * x)
    >>> type(double(np.ones(2))).__name__, isinstance(double(jnp.ones(2)), jax.Array)
    ('ndarray', True)
    """

    def decorate(function: _F) -> _F:
        by_jax = jax.jit(function, static_argnums=static_argnums)

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return (function if namespace(*jax.tree.leaves(args)) is np else by_jax)(*args)

        return call  # type: ignore[return-value]

    return decorate


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    inputs: Any,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """``jax.lax.scan``, or the same loop over NumPy's arrays.

    >>> scan(lambda total, x: (total + x, total), np.float64(0), np.arange(3.0))[1].tolist()
    [0.0, 0.0, 1.0]
    """
    leaves = jax.tree.leaves((state, inputs))
    if namespace(*leaves) is jnp:
        return jax.lax.scan(step, state, inputs, length, reverse)
    count = len(jax.tree.leaves(inputs)[0]) if length is None else length
    outputs: list[Any] = [None] * count
    for i in reversed(range(count)) if reverse else range(count):
        state, outputs[i] = step(state, jax.tree.map(lambda x, i=i: x[i], inputs))
    return state, jax.tree.map(lambda *rows: np.stack(rows), *outputs)


def constant(x: Any) -> Any:
    """``jax.lax.stop_gradient``; what is NumPy's has no derivative and stays.

    >>> constant(np.float64(2.0))
    np.float64(2.0)
    """
    return x if namespace(x) is np else jax.lax.stop_gradient(x)
