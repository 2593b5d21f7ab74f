"""Checks the losses and metrics of a grid by name and kind. Loads no JAX when imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jinit import errors
from jinit.train._config import FitConfig
from jinit.train._target import parse

if TYPE_CHECKING:
    from jinit.train._own_loss import MetricFunction

# What a set is measured by without asking.
_TAKEN = (
    "loss",
    "accuracy",
    "balanced_accuracy",
    "label_accuracy",
    "label_f1",
    "mae",
    "r2",
    "rmse",
)


def loss_axis(value: Any) -> Any:
    """The loss axis of a grid: a mapping names its losses, functions are checked.

    >>> loss_axis({"mine": lambda outputs, y: y}).name
    'mine'
    """
    from jinit.train.losses import Loss, own  # the command line's parser must not load JAX

    if isinstance(value, Mapping):
        named = tuple(own(_name("loss", name), loss) for name, loss in value.items())
        return named[0] if len(named) == 1 else named
    if isinstance(value, tuple):
        return tuple(loss_axis(item) for item in value)
    if value is not None and not isinstance(value, str | Loss):
        own("loss", value)
    return value


def checked_metrics(
    metrics: Mapping[str, MetricFunction] | tuple[tuple[str, MetricFunction], ...],
) -> tuple[tuple[str, MetricFunction], ...]:
    """The metrics as pairs, names checked.

    >>> checked_metrics({"largest": lambda outputs, y: outputs.max()})[0][0]
    'largest'
    """
    if isinstance(metrics, Mapping):
        metrics = tuple(metrics.items())
    if not isinstance(metrics, tuple) or not all(
        isinstance(item, tuple) and len(item) == 2 for item in metrics
    ):
        raise errors.wrong_type(
            "metrics", metrics, "a mapping from names to functions", "{'f1': my_f1}"
        )
    for name, function in metrics:
        if _name("metric", name) in _TAKEN:
            raise errors.refusal("metric", name, "a name not yet taken", f"'my_{name}'")
        if not callable(function):
            fix = f"{{{name!r}: lambda outputs, y: jnp.mean(outputs > 0)}}"
            raise errors.wrong_type(f"metric {name!r}", function, "a function", fix)
    return metrics


def checked_target(target: str | tuple[str, float] | None, accuracy: float) -> str | None:
    """The target as text, or None; two targets are refused.

    >>> checked_target(("test_loss", 0.5), 0.9)
    'test_loss<=0.5'
    """
    if target is None:
        return None
    if accuracy != FitConfig.target_accuracy:
        raise errors.refusal(
            "target", target, "None beside target_accuracy", f"target='test_accuracy>={accuracy}'"
        )
    return str(parse(target))


def checked_weights(weights: Any) -> str | tuple[float, ...] | None:
    """The class weights of a grid: ``"balanced"``, one number per class, or None.

    >>> checked_weights((1, 2))
    (1.0, 2.0)
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        errors.check_choice("class_weights", weights, ("balanced",))
        return weights
    if not isinstance(weights, tuple):
        allowed = "'balanced', or one number per class"
        raise errors.wrong_type("class_weights", weights, allowed, "class_weights='balanced'")
    for weight in weights:
        errors.check_number("class weight", weight, low=0.0, high=1e30, fix="use 1.0")
    if not any(weights):
        raise errors.refusal("class_weights", weights, "one weight > 0 at least", "use 1.0")
    return tuple(map(float, weights))


def _name(kind: str, name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise errors.wrong_type(f"name of a {kind}", name, "an identifier", "use 'mine'")
    return name
