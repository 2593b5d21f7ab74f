"""Reads the values of a grid's initializer axes: names, functions, and starts of the user's own.

Loads no JAX before a name is looked up.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from jinit import _specs, errors

if TYPE_CHECKING:
    from jinit.calibrate import Calibration
    from jinit.typing import Initializer, Key, PyTree

OWN = "own"
"""The arm whose networks keep the model's own start."""


@dataclass(frozen=True)
class Whole:
    """A function of the key alone that returns all parameters of a network.

    Attributes:
      function: ``function(key) -> params``, traceable.
    """

    function: Callable[[Key], PyTree]

    def __str__(self) -> str:
        return _specs.label(self.function)

    def __call__(self, key: Key) -> PyTree:
        return self.function(key)


@dataclass(frozen=True)
class Named:
    """An arm under a name that the user gave.

    Attributes:
      name: what tables show.
      content: what draws the weights.
    """

    name: str
    content: Initializer | Calibration | Whole

    def __str__(self) -> str:
        return self.name


OwnArms: TypeAlias = "Callable[[Key], PyTree] | Mapping[str, Any]"
"""What an initializer axis takes beside initializers: ``key -> params``, and names for arms."""
Arm: TypeAlias = "str | Initializer | Calibration | Whole | Named"


def expanded(axis: str, value: Any) -> Any:
    """The values of an axis with every mapping of names to initializers in its place.

    Raises:
      ValueError: a name that is no text, that an initializer has, or that contains # or a
        parenthesis.

    >>> expanded("initializer", ("zeros", {"small": "normal(0.001)"}))[1].name
    'small'
    """
    values = value if isinstance(value, tuple) else (value,)
    if not any(isinstance(item, Mapping) for item in values):
        return value
    arms: list[Any] = []
    for item in values:
        if isinstance(item, Mapping):
            arms += [_named(axis, name, content) for name, content in item.items()]
        else:
            arms.append(item)
    return tuple(arms)


def _named(axis: str, name: str, content: Arm) -> Named:
    from jinit import calibrate
    from jinit.initializers._registry import is_name

    taken = isinstance(name, str) and (is_name(name) or name in (OWN, *calibrate.names()))
    if not isinstance(name, str) or not name or taken or set(name) & set("#()"):
        raise errors.refusal(
            f"name on the axis {axis!r}",
            name,
            "text that is no initializer's name and has no #, ( or )",
            "{'mine': function}",
        )
    found = arm(content)
    if found == OWN:
        raise errors.refusal(f"{axis} {name!r}", OWN, "an initializer", f"{axis}='own' has no name")
    return Named(name, found)


def arm(value: Arm) -> Any:
    """What one value of an initializer axis means.

    Args:
      value: a name or spec string of an initializer or a calibration, ``"own"``, a function
        ``(key, shape, dtype) -> array`` or ``key -> params``, or what this function returned.

    Raises:
      ValueError: an unknown name, a function with other parameters.
      TypeError: neither text nor callable.

    >>> str(arm("kaiming_normal_")), arm("own"), type(arm(lambda key: {})).__name__
    ('he_normal', 'own', 'Whole')
    """
    from jinit.calibrate import Calibration
    from jinit.calibrate._registry import resolve
    from jinit.initializers import NamedInitializer

    if isinstance(value, Named | Whole) or (isinstance(value, str) and value == OWN):
        return value
    if isinstance(value, str | NamedInitializer | Calibration) or not callable(value):
        return resolve(value)
    if _takes(value, 3):
        return resolve(value)
    if _takes(value, 1):
        function: Any = value
        return Whole(function)
    raise errors.refusal(
        f"initializer {_specs.label(value)!r}",
        f"parameters {inspect.signature(value)}",
        "(key, shape, dtype), or (key) for a function that returns all parameters",
        "def mine(key, shape, dtype): …",
    )


def bias_arm(value: Arm) -> Any:
    """As :func:`arm`, for biases: no calibration and no function of all parameters.

    >>> bias_arm("zeros_")
    NamedInitializer(name='zeros', arguments=())
    """
    from jinit import initializers

    inner: Any = content(value)
    if inner == OWN:
        return value
    found = initializers.get(inner)
    return value if isinstance(value, Named) else found


def check_whole(kernels: Sequence[Arm], biases: Sequence[Arm]) -> None:
    """Refuses several bias initializers beside an arm that sets the biases, too.

    Raises:
      ValueError: its runs would be the same under each bias initializer.
    """
    for value in kernels:
        if is_whole(value) and len(biases) > 1:
            raise errors.refusal(
                "bias_initializer",
                [_specs.label(bias) for bias in biases],
                f"one value beside the arm {_specs.label(value)!r}, which sets the biases, too",
                "run that arm in a grid of its own and jinit.concat the tables",
            )


def content(value: Arm) -> Any:
    """The arm without the name that the user gave."""
    return value.content if isinstance(value, Named) else value


def is_whole(value: Arm) -> bool:
    """Whether an arm sets every leaf, biases included."""
    found = content(value)
    return found == OWN or isinstance(found, Whole)


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether so many positional arguments fit; True if Python does not tell."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True
