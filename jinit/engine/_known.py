"""Tells functions that never change from functions that may read something that changes.

A compiled program keeps the globals, closures and attributes that its function read when it was
traced. Functions of jinit and of the libraries below it read nothing that a user changes, so equal
functions share a program without a new trace.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from collections.abc import Iterable

import jax
import numpy as np

# jinit and the packages below it, whose functions are taken to read only their arguments.
_PACKAGES = frozenset({"jinit", "jax", "jaxlib", "flax", "optax", "numpy", "builtins", "functools",
                       "operator", "math", "_operator", "types", "ml_dtypes"})  # fmt: skip
_PLAIN = (type(None), bool, int, float, complex, str, bytes, types.EllipsisType,
          np.generic, np.dtype, enum.Enum)  # fmt: skip


def is_known(value: object) -> bool:
    """Whether a value is built from constants and code of known packages alone.

    The answer is False for functions and classes of the user, for containers that can change, and
    for anything unfamiliar.

    >>> import jax.numpy as jnp
    >>> is_known(functools.partial(jnp.clip, min=0.0)), is_known(np.zeros(3))
    (True, False)
    """
    return _known(value, set())


def _known(value: object, seen: set[int]) -> bool:
    if isinstance(value, _PLAIN):
        return True
    if id(value) in seen:
        return True
    seen.add(id(value))
    if isinstance(value, tuple | frozenset):
        return _all(value, seen)
    if isinstance(value, type):
        return _of_package(value.__module__)
    if isinstance(value, functools.partial):
        return _all((value.func, value.args, *value.keywords.values()), seen)
    if isinstance(value, types.MethodType):
        return _all((value.__func__, value.__self__), seen)
    if isinstance(value, types.FunctionType):
        return _of_package(value.__globals__.get("__name__")) and _all(_bound(value), seen)
    if isinstance(value, jax.Array):
        return not isinstance(value, jax.core.Tracer)
    if not _of_package(type(value).__module__):
        return False
    if isinstance(value, np.ndarray | list | dict | set):
        return False
    return _all(held(value).values(), seen)


def _all(values: Iterable[object], seen: set[int]) -> bool:
    return all(_known(value, seen) for value in values)


def _of_package(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _PACKAGES


def _bound(function: types.FunctionType) -> list[object]:
    """What a function holds besides its globals: its defaults and the cells of its closure."""
    bound: list[object] = [
        *(function.__defaults__ or ()),
        *(function.__kwdefaults__ or {}).values(),
    ]
    for cell in function.__closure__ or ():
        try:
            bound.append(cell.cell_contents)
        except ValueError:  # a name that is not bound yet
            bound.append([])
    return bound


def held(value: object) -> dict[str, object]:
    """What an object of a known class holds: its compared fields, or all its attributes."""
    if dataclasses.is_dataclass(value):
        compared = [field.name for field in dataclasses.fields(value) if field.compare]
        # A bound Flax module has a parent and a scope; an unbound one has None.
        return {name: getattr(value, name, None) for name in compared}
    attributes: dict[str, object] = getattr(value, "__dict__", {})
    # A function of jax.jit names the Python function that it calls; the rest describes it.
    own = {
        name: item
        for name, item in attributes.items()
        if not name.startswith("__") and name != "_jit_info"
    }
    inner = getattr(value, "__wrapped__", None)
    return own if inner is None else own | {"__wrapped__": inner}
