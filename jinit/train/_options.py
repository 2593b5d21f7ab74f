"""Reads optimizers with options, such as ``adamw(b2=0.99)``: a name and numbers of its row."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from jinit import _specs, errors
from jinit.train._named import Optimizer
from jinit.train._own import OptimizerFor, OwnOptimizer

OptimizerAxis: TypeAlias = str | OptimizerFor | tuple[str | OptimizerFor, ...]
Row: TypeAlias = Optimizer | OwnOptimizer | None

# Decays of averages, which are shares; all other options are ≥ 0.
_SHARE = re.compile(r"b\d|rho|decay|decay_rate")
_AXES = {
    "learning_rate": "learning_rate",
    "momentum": "momentum",
    "b1": "momentum",
    "weight_decay": "weight_decay",
}


def options_of(row: Optimizer) -> dict[str, float]:
    """Option → default: the numbers that a row's factory takes besides the momentum.

    >>> options_of(Optimizer(lambda momentum, *, b2=0.99: optax.trace(momentum), momentum=True))
    {'b2': 0.99}
    """
    parameters = list(inspect.signature(row.factory).parameters.values())
    inner = parameters[1:] if row.momentum or row.whole else parameters
    return {item.name: item.default for item in inner if type(item.default) in (int, float)}


def with_options(row: Optimizer, spec: _specs.Spec) -> Optimizer:
    """The row with the options of a spec.

    Raises:
      ValueError: an option that the row does not have, or out of range; a number without a name.
      TypeError: an option that is no number.
    """
    known = options_of(row)
    what = f"optimizer {spec.name!r}"
    allowed = ", ".join(f"{name}={value:g}" for name, value in known.items()) or "no options"
    example = f"{spec.name}({next(iter(known))}=…)" if known else spec.name
    if spec.args:
        raise errors.refusal(what, str(spec), f"options by name: {allowed}", example)
    for name, value in spec.kwargs:
        if name not in known:
            axis = _AXES.get(name)
            fix = example if axis is None else f"the axis of the grid: Grid({axis}={value!r})"
            raise errors.refusal(what, str(spec), f"these options: {allowed}", fix)
        option, fix = f"{name} of {what}", f"the default is {known[name]:g}"
        if type(known[name]) is int:
            errors.check_integer(option, value, low=0, fix=fix)
        high = max(0.9999999, known[name]) if _SHARE.fullmatch(name) else 3e38
        errors.check_number(option, value, low=0.0, high=high, fix=fix)
    order = [(name, dict(spec.kwargs)[name]) for name in known if name in dict(spec.kwargs)]
    return dataclasses.replace(row, options=tuple(order))


def checked_axis(values: OptimizerAxis, get: Callable[[str | OptimizerFor], Row]) -> Any:
    """The optimizer axis of a grid with its spec strings in canonical form.

    Args:
      values: a name, a spec string, a function, or a tuple of these.
      get: refuses what is no optimizer.

    Raises:
      ValueError: two values that mean the same, because one writes a default out.

    >>> checked_axis(("sgd", "adamw( b2 = .99 )"), lambda name: None)
    ('sgd', 'adamw(b2=0.99)')
    """
    given = values if isinstance(values, tuple) else (values,)
    found, seen = list[str | OptimizerFor](), dict[tuple[object, ...], str]()
    for value in given:
        row = get(value)
        if not isinstance(value, str):
            found.append(value)
            continue
        spec = _specs.parse(value, "optimizer")
        found.append(str(spec))
        full = options_of(row) if isinstance(row, Optimizer) and spec.kwargs else {}
        changed = {name: number for name, number in spec.kwargs if number != full.get(name)}
        other = seen.setdefault((spec.name, *sorted(changed.items())), str(spec))
        if other != str(spec):
            fix = f"both are {_specs.write(spec.name, tuple((full | changed).items()))}; drop one"
            raise errors.refusal("optimizer", f"{other} and {spec}", "values that differ", fix)
    return tuple(found) if isinstance(values, tuple) else found[0]
