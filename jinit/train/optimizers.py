"""Optimizers by name, from optax, with every number traced: a sweep over rates is one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax

from jinit import clipping, errors


def names() -> tuple[str, ...]:
    """All optimizer names.

    >>> names()
    ('sgd', 'momentum', 'nesterov', 'adam', 'adamw', 'rmsprop')
    """
    return tuple(_OPTIMIZERS)


def make(
    name: str,
    learning_rate: Any,
    *,
    momentum: Any = 0.9,
    weight_decay: Any = 0.0,
    clip: str | None = None,
    clip_threshold: Any = 1.0,
) -> optax.GradientTransformation:
    """clip → optimizer → weight decay, as one optax transform.

    The clip sees the gradient, counts how often it fires, and comes first. Weight decay is added
    to the (rescaled) update, times the learning rate: L2 regularization under plain SGD, decoupled
    (AdamW) under Adam and RMSprop.

    Args:
      name: one of :func:`names`.
      learning_rate: > 0; may be traced.
      momentum: of ``momentum``, ``nesterov``, or β₁ of Adam and AdamW; in [0, 1); may be traced.
      weight_decay: coefficient ≥ 0, may be traced; 0.0 leaves it out, so that AdamW is Adam
        (optax's own AdamW has 1e-4).
      clip: a rule of :mod:`jinit.clipping`, or None.
      clip_threshold: its threshold; may be traced.

    Returns:
      An ``optax.GradientTransformation``.

    Raises:
      ValueError: an unknown name; a number out of range.

    Reference: Pascanu et al. 2013 (clip first); Loshchilov & Hutter 2019 (decoupled decay).

    >>> make("adam", 1e-3).init({"w": 0.0}) is not None
    True
    """
    if name not in _OPTIMIZERS:
        raise errors.unknown_name("optimizer", name, _OPTIMIZERS, "jinit.train.optimizers.names()")
    errors.check_number("learning_rate", learning_rate, low=0.0, open_low=True, fix="try 0.1")
    errors.check_number("momentum", momentum, low=0.0, high=0.999999, fix="try 0.9")
    errors.check_number("weight_decay", weight_decay, low=0.0, fix="use 0.0 or more")
    parts = [_OPTIMIZERS[name](momentum)]
    if clip is not None:
        parts.insert(0, clipping.with_clip_statistics(clipping.make(clip, clip_threshold)))
    if not (isinstance(weight_decay, int | float) and weight_decay == 0):
        parts.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*parts, optax.scale_by_learning_rate(learning_rate))


_OPTIMIZERS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "sgd": lambda momentum: optax.identity(),
    "momentum": lambda momentum: optax.trace(momentum),
    "nesterov": lambda momentum: optax.trace(momentum, nesterov=True),
    "adam": lambda momentum: optax.scale_by_adam(b1=momentum),
    "adamw": lambda momentum: optax.scale_by_adam(b1=momentum),
    "rmsprop": lambda momentum: optax.scale_by_rms(),
}
