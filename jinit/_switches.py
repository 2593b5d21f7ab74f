"""Runs jinit's own code under the settings that it is written for, whatever switches users set."""

from __future__ import annotations

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar, cast

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
# JAX's switches that change numbers, and that users set for a block of their code.
_OF_NUMBERS = (
    "enable_x64",
    "default_matmul_precision",
    "default_prng_impl",
    "threefry_partitionable",
)


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


def taken() -> Mapping[str, Any]:
    """The switches of this thread that change numbers, for :func:`entered` in another thread.

    >>> import jax
    >>> with jax.default_matmul_precision("highest"):
    ...     print(taken()["default_matmul_precision"])
    highest
    """
    import jax

    names = [name for name in _OF_NUMBERS if hasattr(jax.config, f"jax_{name}")]
    return {name: getattr(jax.config, f"jax_{name}") for name in names}


@contextlib.contextmanager
def entered(switches: Mapping[str, Any]) -> Iterator[None]:
    """Sets switches of JAX that differ here, in this thread and until the end.

    The context managers of JAX set a switch for one thread; threads that this one starts do not
    see the value.

    Args:
      switches: as :func:`taken` gives them.

    >>> import jax
    >>> with entered({"default_matmul_precision": "highest"}):
    ...     print(jax.config.jax_default_matmul_precision)
    highest
    """
    import jax

    with contextlib.ExitStack() as stack:
        for name, value in switches.items():
            if getattr(jax.config, f"jax_{name}") != value:
                stack.enter_context(_manager(name)(value))
        yield


def _manager(name: str) -> Callable[[Any], contextlib.AbstractContextManager[Any]]:
    """JAX's context manager of a switch."""
    import jax
    import jax.experimental

    # JAX before 0.8 has enable_x64 among the experimental names only.
    found = getattr(jax if hasattr(jax, name) else jax.experimental, name)
    return cast(Callable[[Any], contextlib.AbstractContextManager[Any]], found)


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
