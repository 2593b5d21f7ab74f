"""Describes a value as text that is equal in every process, so that programs are found on disk.

The description of a function names everything that its program depends on, besides the code of the
packages: constants, closures, and the code of lambdas. A value that this module does not know in
every detail has no description, and its program is traced.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import math
import types
from collections.abc import Iterable, Mapping

import jax
import numpy as np

from jinit.engine._known import held, is_known

_PLAIN = (type(None), bool, int, float, complex, str, bytes, types.EllipsisType)


class _Unfamiliar(Exception):
    """A value that this module cannot describe in every detail."""


def described(value: object) -> str | None:
    """The description of a value that is built from constants and code of known packages.

    Values with equal descriptions compute the same, as long as the code of the packages is the
    same. The description has no addresses, and no order of a set.

    Args:
      value: a function, or an object that is called.

    Returns:
      The text; None for functions of the user, for arrays, and for anything unfamiliar.

    >>> described(functools.partial(max, 2)) == described(functools.partial(max, 2))
    True
    >>> described(functools.partial(max, 2)) == described(functools.partial(max, 3))
    False
    >>> described([1, 2]) is None
    True
    """
    try:
        return _Describer().text(value) if is_known(value) else None
    except (_Unfamiliar, RecursionError):
        return None


class _Describer:
    """Describes each value once, and a value that contains itself by how far up it stands."""

    def __init__(self) -> None:
        self._open: dict[int, int] = {}
        self._closed: dict[int, str] = {}
        self._alive: list[object] = []
        # Of the values that the last description refers to, how deep the outermost one stands.
        self._outermost: float = math.inf

    def text(self, value: object) -> str:
        """The description of one value.

        Raises:
          _Unfamiliar: a value of unknown kind.
        """
        if type(value) in _PLAIN:
            return f"{type(value).__name__} {value!r}"
        if id(value) in self._closed:
            return self._closed[id(value)]
        if id(value) in self._open:
            self._outermost = min(self._outermost, self._open[id(value)])
            return f"the value {len(self._open) - self._open[id(value)]} levels up"
        before, depth = self._outermost, len(self._open)
        self._outermost, self._open[id(value)] = math.inf, depth
        found = self._described(value)
        del self._open[id(value)]
        if self._outermost >= depth:
            # As long as the value lives, no other value has its id.
            self._alive.append(value)
            # The whole text would repeat a part as often as the value is met.
            self._closed[id(value)] = hashlib.blake2b(found.encode(), digest_size=16).hexdigest()
        self._outermost = min(before, self._outermost)
        return found

    def _described(self, value: object) -> str:
        if isinstance(value, enum.Enum):
            return f"{_name(type(value))}.{value.name}"
        if isinstance(value, np.dtype):
            return f"dtype {value.name} {value.str}"
        if isinstance(value, np.generic):
            return f"scalar {value.dtype.name} {value.tobytes().hex()}"
        if isinstance(value, np.ufunc):
            return f"ufunc {value.__name__}"
        if isinstance(value, type):
            return f"class {_name(value)}"
        if isinstance(value, tuple):
            return f"{_name(type(value))}({self._all(value)})"
        if isinstance(value, frozenset):
            return f"frozenset({', '.join(sorted(map(self.text, value)))})"
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, _items(value.keywords))
            return f"partial({self._all(parts)})"
        if isinstance(value, types.MethodType):
            return f"method({self._all((value.__func__, value.__self__))})"
        if isinstance(value, types.BuiltinFunctionType):
            if not isinstance(value.__self__, types.ModuleType | type(None)):
                raise _Unfamiliar
            return f"builtin {value.__module__}.{value.__qualname__}"
        if isinstance(value, types.FunctionType):
            return self._of_function(value)
        return self._of_object(value)

    def _all(self, values: Iterable[object]) -> str:
        return ", ".join(map(self.text, values))

    def _of_function(self, function: types.FunctionType) -> str:
        """Its place, its code, its defaults and what it closes over."""
        try:
            cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
        except ValueError:  # a name that is not bound yet
            raise _Unfamiliar from None
        bound = (function.__defaults__, _items(function.__kwdefaults__ or {}), cells)
        place = f"{function.__module__}.{function.__qualname__}"
        return f"function {place} {self._of_code(function.__code__)} {self._all(bound)}"

    def _of_code(self, code: types.CodeType) -> str:
        constants = (
            self._of_code(each) if isinstance(each, types.CodeType) else self.text(each)
            for each in code.co_consts
        )
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return f"code({code.co_code.hex()}, {names}, {', '.join(constants)})"

    def _of_object(self, value: object) -> str:
        """An object of a known class: its compared fields, or all its attributes."""
        cls = type(value)
        if isinstance(value, jax.Array | np.ndarray | list | dict | set):
            raise _Unfamiliar
        own = held(value)
        if not dataclasses.is_dataclass(value):
            # What is not in the dictionary of the instance cannot be seen.
            slots = any(vars(each).get("__slots__") for each in cls.__mro__)
            if not own or slots or not hasattr(value, "__dict__"):
                raise _Unfamiliar
        return f"{_name(cls)}({self._all(_items(own))})"


def _name(cls: type) -> str:
    if "<locals>" in cls.__qualname__:
        raise _Unfamiliar
    return f"{cls.__module__}.{cls.__qualname__}"


def _items(values: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(values.items(), key=lambda item: item[0]))
