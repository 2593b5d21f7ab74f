"""Makes JAX trace a function of the user again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def anew(function: Callable[P, T]) -> Callable[P, T]:
    """The same function as a new object.

    JAX keeps what it traced under the function, and finds the trace again for the same or an equal
    one that is still in memory: a global or an attribute that has changed since is not seen.

    Args:
      function: of the user, or an object of ours that calls one.

    >>> import jax
    >>> def zeros(): return jax.numpy.zeros(size)
    >>> size = 2; first = jax.eval_shape(zeros).shape
    >>> size = 3; first, jax.eval_shape(zeros).shape, jax.eval_shape(anew(zeros)).shape
    ((2,), (2,), (3,))
    """

    def called(*args: P.args, **named: P.kwargs) -> T:
        return function(*args, **named)

    # Profiles show the name; errors of JAX name the arguments.
    return functools.wraps(function)(called) if hasattr(function, "__name__") else called
