"""Reads the target of a run, such as ``test_f1>=0.8``. Loads no JAX."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from jinit import errors

# Metrics whose direction a pair (metric, value) need not say.
_HIGHER = ("test_accuracy", "test_balanced_accuracy", "test_r2", "validation_accuracy")
_LOWER = ("test_loss", "test_mae", "test_rmse", "train_loss", "validation_loss")
_FIX = "target='test_accuracy>=0.9', or target='test_loss<=0.1'"


@dataclass(frozen=True)
class Target:
    """The value of a curve that a run has to reach; see ``steps_to_target``.

    Attributes:
      metric: the name of a curve, such as ``"test_accuracy"``.
      value: the value to reach.
      higher: whether values of at least ``value`` reach the target; else values of at most it.
    """

    metric: str
    value: float
    higher: bool

    def __str__(self) -> str:
        short = f"{self.value:g}"
        exact = short if float(short) == self.value else repr(float(self.value))
        return f"{self.metric}{'>=' if self.higher else '<='}{exact}"

    def reached(self, values: Any) -> Any:
        """Whether each value of an array reaches the target; NaN never does."""
        return values >= self.value if self.higher else values <= self.value


def parse(target: str | tuple[str, float] | Target) -> Target:
    """The target that a text or a pair of a metric and a value says.

    Raises:
      TypeError, ValueError: another type, a text without ``>=`` or ``<=``, a value that is not
        finite, a pair of a metric whose direction is not known.

    >>> parse("test_f1>=0.8"), str(parse(("test_loss", 0.25)))
    (Target(metric='test_f1', value=0.8, higher=True), 'test_loss<=0.25')
    """
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        found = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*(>=|<=)\s*([-+.\w]+)\s*", target)
        try:
            if found is not None:
                value = errors.check_number("value of the target", float(found[3]), fix=_FIX)
                return Target(found[1], value, found[2] == ">=")
        except ValueError as error:
            if isinstance(error, errors.Refusal):
                raise
        raise errors.refusal("target", target, "METRIC>=VALUE or METRIC<=VALUE", _FIX)
    if isinstance(target, tuple | list) and len(target) == 2 and isinstance(target[0], str):
        metric, value = target
        number = float(errors.check_number("value of the target", value, fix=_FIX))
        if metric not in (*_HIGHER, *_LOWER):
            fix = f"target='{metric}>={number:g}' or target='{metric}<={number:g}'"
            raise errors.refusal("target", target, "a pair whose direction is known", fix)
        return Target(metric, number, metric in _HIGHER)
    raise errors.wrong_type("target", target, "text or a pair (metric, value)", _FIX)
