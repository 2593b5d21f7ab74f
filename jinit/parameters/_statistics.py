"""Recognizes running statistics, which no initializer draws: a model measures them."""

from __future__ import annotations

from jinit import errors
from jinit.initializers import NamedInitializer
from jinit.parameters._patterns import leaf_name
from jinit.typing import Initializer

MEAN, VARIANCE, COUNT = "running mean", "running variance", "state of a running average"
# torch and Keras name the leaf.
_NAMES = {
    "running_mean": MEAN,
    "moving_mean": MEAN,
    "running_var": VARIANCE,
    "moving_variance": VARIANCE,
    "num_batches_tracked": COUNT,
}
# Haiku's averages start at 0, and so do Equinox' counters: their names say no more.
_PARTS = ("mean_ema", "var_ema", "ema_state_index", "batch_state_index", "ema_first_time_index")
_STARTS = {MEAN: "zeros", VARIANCE: "ones", COUNT: "zeros"}


def statistic_of(path: str, is_variable: bool) -> str:
    """What running statistic a leaf is; "" if it is none.

    Args:
      path: of the leaf.
      is_variable: whether the leaf is an nnx ``BatchStat``.

    >>> statistic_of("batch_stats/BatchNorm_0/var", False), statistic_of("dense/kernel", False)
    ('running variance', '')
    """
    name, components = leaf_name(path), path.split("/")
    if name in _NAMES:
        return _NAMES[name]
    if is_variable or "batch_stats" in components:
        return {"mean": MEAN, "var": VARIANCE}.get(name, COUNT)
    return COUNT if any(part in components for part in _PARTS) else ""


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
    is_random = rule.definition.dtypes != "any"
    if statistic == VARIANCE:
        allowed = "'keep', 'ones' or another constant > 0"
        is_random = is_random or rule.law(shape).low <= 0
    if is_random:
        raise errors.refusal(
            f"rule {pattern!r} for leaf {path!r}, a {statistic}",
            str(rule),
            allowed,
            f"put {{{path!r}: {_STARTS[statistic]!r}}} before {pattern!r}; 'keep' leaves an array "
            "as it is",
        )
