"""Checks the values of a grid's axes and seeds. Loads no JAX."""

from __future__ import annotations

import copy
import dataclasses
import functools
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from jinit import _specs, errors

if TYPE_CHECKING:
    import numpy as np

    from jinit.typing import Array

AxisValue: TypeAlias = "str | float | Callable[..., Array] | None"
Seeds: TypeAlias = "int | Sequence[int] | np.ndarray | None"
Item = TypeVar("Item")

Config = TypeVar("Config")


def known_fields(cls: type[Config]) -> type[Config]:
    """Makes a dataclass refuse an unknown field with the nearest name: ``seed`` is ``seeds``.

    >>> @known_fields
    ... @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Count:
    ...     seeds: int = 1
    >>> Count(seed=3)
    Traceback (most recent call last):
    jinit.errors.TypeRefusal: field of Count 'seed' is not known; did you mean 'seeds'? ...
    """
    names = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
    made = cls.__init__

    @functools.wraps(made)
    def checked(self: Config, *args: Any, **values: Any) -> None:
        for name in values.keys() - set(names):
            said = errors.unknown_name(
                f"field of {cls.__name__}", name, names, f"help({cls.__name__})"
            )
            raise errors.TypeRefusal(*said.args)
        made(self, *args, **values)

    setattr(cls, "__init__", checked)  # noqa: B010
    return cls


def plain(value: AxisValue | Sequence[AxisValue] | np.ndarray | Array) -> Any:
    """Converts lists, ranges and arrays to tuples, and NumPy and JAX scalars to Python numbers."""
    if isinstance(value, list | tuple | range):
        return tuple(plain(item) for item in value)
    tolist = None if isinstance(value, type) else getattr(value, "tolist", None)
    return value if tolist is None else plain(tolist())


def check_distinct(name: str, value: AxisValue | tuple[AxisValue, ...]) -> None:
    """Raises ValueError for an axis without values or with a repeated one."""
    if not isinstance(value, tuple):
        return
    if not value:
        raise errors.refusal(name, value, "at least one value", "leave the axis out")
    for position, item in enumerate(value):
        try:
            repeated = item in value[:position]
        except (TypeError, ValueError):  # arrays, such as PRNG keys, that have no one answer
            raise errors.wrong_type(name, item, "a plain value", "pass plain values") from None
        if repeated:
            raise errors.refusal(name, _specs.label(item), "each value once", "drop the repetition")


def check_distinct_numbers(name: str, values: Sequence[float]) -> None:
    """Raises ValueError for two numbers that float32, in which networks train, does not tell apart.

    Their runs would be the same runs, counted twice.
    """
    kept: dict[bytes, float] = {}
    for value in values:
        other = kept.setdefault(struct.pack("f", value), value)
        if other != value:
            raise errors.refusal(
                name, f"{other!r} and {value!r}", "numbers that differ in float32", "drop one"
            )


def canonical(value: Item | tuple[Item, ...], get: Callable[[Item], Any]) -> Any:
    """Converts spec strings to canonical form, and callables to what ``get`` returns.

    A named object becomes its name: ``"relu"`` and ``activations.get("relu")`` are one value.
    """
    if isinstance(value, tuple):
        return tuple(canonical(item, get) for item in value)
    found = get(value)
    if isinstance(value, str):
        return str(found)
    try:
        named = get(str(found))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return found
    return str(found) if named == found else found


def replaced(item: Item, **values: Any) -> Item:
    """A copy of a frozen dataclass with other values, which are not checked again.

    A part of a grid may have options without effect that have one in the whole grid.
    """
    made = copy.copy(item)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def checked_seeds(name: str, given: Seeds) -> int | tuple[int, ...] | None:
    """Returns the number of seeds, a tuple of seeds, or None (for ``data_seeds`` only).

    Raises:
      TypeError: neither a whole number nor a sequence of whole numbers.
      ValueError: no seeds, a seed out of range or repeated.
    """
    seeds = plain(given)
    if name == "data_seeds" and seeds is None:
        return None
    allowed = "a number of seeds >= 1, or different seeds with 0 <= seed < 2**32"
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if not 1 <= seeds <= errors.SEED_LIMIT:
            raise errors.refusal(name, seeds, allowed, "use 32")
        return seeds
    if not isinstance(seeds, tuple):
        raise errors.wrong_type(name, seeds, allowed, "use 32, or a tuple of seeds")
    if not seeds:
        raise errors.refusal(name, seeds, allowed, "use at least one seed")
    for seed in seeds:
        errors.check_seed(seed, name, errors.SEED_LIMIT)
    if len(set(seeds)) != len(seeds):
        repeated = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise errors.refusal(name, f"{repeated} more than once", allowed, "list each seed once")
    return seeds


def check_numbers(values: Callable[[str], tuple[Any, ...]]) -> None:
    """Checks the axes of numbers; ``values(axis)`` gives an axis as a tuple.

    Raises:
      ValueError: a number out of range, or two that are one number in float32.
      TypeError: a value that is not a number.
    """
    for name, low, high, fix in (("depth", 0, 1000, "use 8"), ("width", 1, 2**16, "use 32")):
        for value in values(name):
            errors.check_integer(name, value, low=low, high=high, fix=fix)
    for name, most, fix in (
        ("learning_rate", 3e38, "try 0.1"),
        ("gain", 3e38, "use 1.0"),
        ("momentum", 0.999999, "try 0.9"),
        ("weight_decay", 3e38, "try 1e-4, or 0.0 for none"),
        ("label_noise", 1.0, "it is a share: try 0.2"),
        ("label_smoothing", 0.999999, "it is a share: try 0.1"),
    ):
        positive = name in ("learning_rate", "gain")
        for value in values(name):
            hint = "schedule='cosine' or schedule=function" if callable(value) else fix
            errors.check_number(name, value, low=0.0, high=most, open_low=positive, fix=hint)
            if 0 < value < 1e-38:
                raise errors.refusal(name, value, "0 or a float32 >= 1e-38", fix)
        check_distinct_numbers(name, values(name))
