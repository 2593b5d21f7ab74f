"""Runs jinit's own code under the settings that it is written for, whatever switches users set."""

from __future__ import annotations

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# JAX's switch → the value that jinit's code needs. NaN marks values that are not defined, and a
# diverging run is a result. Strict promotion and disabled jit are for looking into one's own code.
_JAX: dict[str, Any] = {
    "debug_nans": False,
    "debug_infs": False,
    "disable_jit": False,
    "numpy_dtype_promotion": "standard",
    "numpy_rank_promotion": "allow",
    "debug_key_reuse": False,
}


@contextlib.contextmanager
def own_switches() -> Iterator[None]:
    """Sets the switches of JAX and NumPy that jinit needs, in this thread and until the end.

    Nothing is entered if the user left all of them alone, so that programs compiled before and
    after are the same.

    >>> import jax
    >>> with jax.numpy_rank_promotion("raise"), own_switches():
    ...     jax.config.jax_numpy_rank_promotion
    'allow'
    """
    import jax
    import numpy as np

    with contextlib.ExitStack() as stack:
        for name, value in _JAX.items():
            if getattr(jax.config, f"jax_{name}") != value:
                stack.enter_context(getattr(jax, name)(value))
        if "raise" in np.geterr().values():
            stack.enter_context(
                np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
            )
        yield


def guard(package: str) -> None:
    """Makes the functions that a package exports run as a whole under :func:`own_switches`.

    Call after the package has imported its names. The package's modules keep the plain functions.

    Args:
      package: the package's ``__name__``.
    """
    module = sys.modules[package]
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, types.FunctionType) and value.__module__.startswith(package):
            setattr(module, name, _guarded(value))


def _guarded(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    @functools.wraps(function)
    def wrapped(*args: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        with own_switches():
            return function(*args, **options)

    return wrapped
