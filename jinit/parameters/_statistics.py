"""Refuses rules that draw running statistics, which a model measures."""

from __future__ import annotations

from jinit import errors
from jinit.frameworks._statistics import COUNT, MEAN, VARIANCE
from jinit.initializers import NamedInitializer
from jinit.typing import Initializer

_STARTS = {MEAN: "zeros", VARIANCE: "ones", COUNT: "zeros"}


def without_rule(path: str, statistic: str, shape: tuple[int, ...]) -> ValueError:
    """The refusal of a statistic that is only a shape and has no rule."""
    return errors.refusal(
        f"leaf {path!r} of shape {shape}, a {statistic}",
        "no rule and no array",
        "an array, which is kept, or the start of such a leaf",
        f"add {{{path!r}: {_STARTS[statistic]!r}}}",
    )


def check_start(
    path: str, statistic: str, pattern: str, rule: Initializer | None, shape: tuple[int, ...]
) -> None:
    """Refuses random statistics, and variances that are not positive.

    Raises:
      ValueError: the rule is random, or sets a variance to a number ≤ 0.

    >>> from jinit import initializers
    >>> check_start("n/var", VARIANCE, "*/var", initializers.ones, (3,))
    """
    if not isinstance(rule, NamedInitializer):
        return
    allowed = "'keep', 'zeros' or another constant"
    is_wrong = rule.definition.dtypes != "any"
    if statistic == VARIANCE:
        allowed = "'keep', 'ones' or another constant > 0"
        is_wrong = is_wrong or rule.law(shape).low <= 0
    if is_wrong:
        raise errors.refusal(
            f"rule {pattern!r} for leaf {path!r}, a {statistic}",
            str(rule),
            allowed,
            f"put {{{path!r}: {_STARTS[statistic]!r}}} before {pattern!r}; 'keep' leaves an array "
            "as it is",
        )
