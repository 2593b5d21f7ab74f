"""Refuses two values of an axis that mean the same: their runs would be counted twice."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from jinit import _specs, errors


def check_twins(axis: str, values: Sequence[Any], labels: Sequence[str]) -> None:
    """Refuses equal specs, one of which writes a default out: ``normal`` and ``normal(0.01)``.

    Args:
      axis: the name of the axis.
      values: its values.
      labels: the same values as tables show them.

    Raises:
      ValueError: two values that mean the same.

    >>> check_twins("activation", ("relu", "leaky_relu"), ("relu", "leaky_relu"))
    """
    seen: dict[str, str] = {}
    for value, label in zip(values, labels, strict=True):
        key = _written_out(axis, value)
        if key is None:
            continue
        other = seen.setdefault(key, label)
        if other != label:
            raise errors.refusal(
                axis, f"{other} and {label}", "values that differ", f"both are {key}; drop one"
            )


def _written_out(axis: str, value: Any) -> str | None:
    """The spec string with every default written out; None for what has no spec string."""
    from jinit.sweep._arms import content

    value = content(value)
    if callable(value) and not hasattr(value, "name"):
        same = id(getattr(value, "function", value))
        return f"the same function ({_specs.label(value)}, {same:#x})"
    try:
        spec = _specs.parse(str(value), axis, nested=True)
        return _full(axis, spec)
    except (ValueError, TypeError):
        return None


def _full(axis: str, spec: _specs.Spec) -> str:
    factory = _factory(axis, spec.name)
    if factory is None:  # a calibration: one initializer, then options
        from jinit.calibrate._registry import get

        calibration = get(str(spec))
        inner = _full(axis, _specs.parse(_specs.label(calibration.initializer), axis, nested=True))
        options = {
            name: item.default
            for name, item in inspect.signature(calibration.function).parameters.items()
            if item.kind is item.KEYWORD_ONLY
        }
        return f"{spec.name}({inner}, {options | dict(calibration.arguments)})"
    signature = inspect.signature(factory)
    arguments = _specs.bind(spec, factory, axis)
    defaults = {
        name: item.default
        for name, item in signature.parameters.items()
        if item.default is not item.empty
    }
    return _specs.write(spec.name, tuple((defaults | arguments).items()))


def _factory(axis: str, name: str) -> Callable[..., Any] | None:
    """The factory whose parameters are the options of a spec string; None for a calibration."""
    if axis == "activation":
        from jinit import activations

        return activations._REGISTRY.get(name)
    if axis == "schedule":
        from jinit.train import schedules

        return functools.partial(schedules._REGISTRY.get(name), 2)  # for so many steps
    from jinit import calibrate
    from jinit.initializers import _registry

    return None if name in calibrate.names() else _registry.row(name).factory
