"""Refuses numbers of a grid that the grid's optimizers do not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinit import errors
from jinit._specs import label
from jinit.train import optimizers
from jinit.train._named import Optimizer
from jinit.train._own import OptimizerFor, OwnOptimizer

DECAYED = ("all", "weights")
# Number → its default, and an optimizer that has it.
_NUMBERS = {"momentum": (0.9, "momentum"), "weight_decay": (0.0, "adamw")}


def check_effects(
    names: Sequence[str | OptimizerFor],
    numbers: Mapping[str, Sequence[float]],
    weight_decay_on: str,
) -> None:
    """Refuses numbers without effect, and a momentum of 0 by which an optimizer divides.

    Args:
      names: the grid's optimizers, names or functions.
      numbers: ``"momentum"`` and ``"weight_decay"`` → the grid's values.
      weight_decay_on: one of ``DECAYED``.

    >>> check_effects(["adam"], {"momentum": [0.5, 0.9], "weight_decay": [0.0]}, "all")
    """
    rows = {label(name): optimizers.get(name) for name in names}
    for number, (default, example) in _NUMBERS.items():
        values = list(numbers[number])
        without = [name for name, row in rows.items() if not getattr(row, number)]
        unused = len(without) == len(rows) and values != [default]
        if unused or (without and len(values) > 1):
            raise errors.refusal(
                number,
                tuple(values) if len(values) > 1 else values[0],
                f"its default with optimizer {without[0]!r}, which has none",
                f"optimizer={example!r}, or leave it out",
            )
    averaging = [name for name, row in rows.items() if isinstance(row, Optimizer) and row.averages]
    if averaging and 0 in numbers["momentum"]:
        raise errors.refusal(
            "momentum", 0.0, f"a number > 0 with {averaging[0]!r}, which divides by it", "try 0.9"
        )
    errors.check_choice("weight_decay_on", weight_decay_on, DECAYED)
    own = [name for name, row in rows.items() if isinstance(row, OwnOptimizer)]
    if weight_decay_on != "all" and (own or not any(numbers["weight_decay"])):
        raise errors.refusal(
            "weight_decay_on",
            weight_decay_on,
            f"its default with {own[0]!r}" if own else "its default without weight decay",
            "a mask in the function" if own else "weight_decay=1e-4, or leave it out",
        )
