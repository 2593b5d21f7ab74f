"""Runs one formula in two ways: compiled by JAX, or eagerly by NumPy.

Compilation takes one to two seconds. It pays for many points and is needed for ``vmap`` and
derivatives. A prediction for one network takes a tenth of a second in NumPy, without compilation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

_P = ParamSpec("_P")
_R = TypeVar("_R")
_State = TypeVar("_State")
_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Value = TypeVar("_Value")
_Leaf: TypeAlias = jax.Array | np.ndarray | np.floating


def namespace(*arrays: _Leaf) -> Any:
    """``jax.numpy`` if any argument is a JAX array (or a tracer), else ``numpy``.

    >>> namespace(np.ones(2)).__name__, namespace(np.ones(2), jnp.ones(2)).__name__
    ('numpy', 'jax.numpy')
    """
    return jnp if any(isinstance(x, jax.Array) for x in arrays) else np


def jit_unless_numpy(
    static_argnums: tuple[int, ...],
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """``jax.jit``, except that a call whose arrays are all of NumPy runs uncompiled.

    >>> double = jit_unless_numpy(())(lambda x: 2 * x)
    >>> type(double(np.ones(2))).__name__, isinstance(double(jnp.ones(2)), jax.Array)
    ('ndarray', True)
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        jitted: Callable[_P, _R] = jax.jit(function, static_argnums=static_argnums)

        @functools.wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            eager = namespace(*jax.tree.leaves((args, kwargs))) is np
            return (function if eager else jitted)(*args, **kwargs)

        return call

    return decorate


def scan(
    step: Callable[[_State, _In], tuple[_State, _Out]],
    state: _State,
    inputs: _In,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[_State, _Out]:
    """``jax.lax.scan``, or the same loop over NumPy arrays.

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


def stop_gradient(x: _Value) -> _Value:
    """``jax.lax.stop_gradient``; a NumPy value is returned unchanged."""
    return x if not isinstance(x, jax.Array) else jax.lax.stop_gradient(x)
