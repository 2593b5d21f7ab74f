"""Finds the functions of the user inside a value, and has each traced once.

A value such as a loss is nested frozen dataclasses of jinit with functions of the user inside. With
these functions traced, what is left is known, and the value is compared by both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from jinit.engine._known import is_known
from jinit.engine._traced import Traced

T = TypeVar("T")


@dataclass(frozen=True)
class _Part:
    """In place of a traced function, its number among those of the value."""

    number: int


def parts_of(value: Hashable) -> tuple[Any, tuple[Traced, ...]]:
    """The value with a mark in place of each :class:`Traced`, and the traced functions.

    >>> import jax.numpy as jnp
    >>> double = Traced(lambda x: 2 * x)
    >>> parts_of(("a", double, (double,)))[0]
    ('a', _Part(number=0), (_Part(number=0),))
    """
    parts: list[Traced] = []

    def marked(one: Any) -> Any:
        if isinstance(one, Traced):
            numbers = [number for number, part in enumerate(parts) if part is one]
            if not numbers:
                parts.append(one)
            return _Part(numbers[0] if numbers else len(parts) - 1)
        return _rebuilt(one, marked)

    return marked(value), tuple(parts)


def untraced(value: T) -> T:
    """The value with the functions themselves in place of the :class:`Traced` ones.

    >>> untraced((Traced(abs), 2))
    (<built-in function abs>, 2)
    """
    made: Any = value.function if isinstance(value, Traced) else _rebuilt(value, untraced)
    return cast(T, made)


@dataclass(frozen=True)
class OnceTraced:
    """Replaces functions of the user by :class:`Traced` ones, equal functions by the same one.

    >>> import functools
    >>> once, double = OnceTraced(), lambda x: 2 * x
    >>> once.of(double) is once.of(double), once.of(abs) is abs
    (True, True)
    """

    _kept: dict[Traced, Traced] = field(default_factory=dict)

    def of(self, value: T) -> T:
        """The value with each function that may change as a :class:`Traced` one.

        A function that is not known inside a frozen dataclass of jinit is replaced there, so that
        the dataclass stays what it is.
        """
        if is_known(value):
            return value
        made: Any = _rebuilt(value, self.of)
        if made is value and callable(value):
            made = self.traced(value)
        return cast(T, made)

    def traced(self, function: Callable[..., Any]) -> Traced:
        """The :class:`Traced` of one function."""
        if isinstance(function, Traced):
            return function
        traced = Traced(function)
        try:
            return self._kept.setdefault(traced, traced)
        except TypeError:  # a function that has no hash
            return traced


def _rebuilt(value: Any, of: Callable[[Any], Any]) -> Any:
    """A tuple or a frozen dataclass of jinit with other parts; the value itself if none changes."""
    if type(value) is tuple:
        items = tuple(map(of, value))
        changed = any(new is not old for new, old in zip(items, value, strict=True))
        return items if changed else value
    if isinstance(value, type) or not dataclasses.is_dataclass(value):
        return value
    if not type(value).__module__.startswith("jinit."):
        return value
    found = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)
             if item.init and item.compare}  # fmt: skip
    new = {name: of(item) for name, item in found.items()}
    changes = {name: item for name, item in new.items() if item is not found[name]}
    return dataclasses.replace(cast(Any, value), **changes) if changes else value
