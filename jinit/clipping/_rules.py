"""Holds the registry of clip rules and parses their spec strings, such as ``leaf_norm(1.0)``."""

from __future__ import annotations

from typing import Protocol

import optax
from jax.typing import ArrayLike

from jinit import _specs
from jinit._registry import Registry
from jinit.clipping._transforms import (
    check_threshold,
    clip_by_global_norm,
    clip_by_leaf_norm,
    clip_by_value,
    measured,
)


class ClipFactory(Protocol):
    """Makes a clip from its threshold, which is > 0 and may be traced."""

    def __call__(self, threshold: ArrayLike, /) -> optax.GradientTransformation: ...


_RULES: Registry[ClipFactory] = Registry(
    "clip",
    "jinit.clipping.names()",
    {"leaf_norm": clip_by_leaf_norm, "global_norm": clip_by_global_norm, "value": clip_by_value},
)


def names() -> tuple[str, ...]:
    """The names of all clip rules, in the order of registration.

    >>> names()[:3]
    ('leaf_norm', 'global_norm', 'value')
    """
    return _RULES.names()


def get(name: str) -> ClipFactory:
    """The factory of a clip rule.

    Args:
      name: one of :func:`names`.

    Returns:
      ``factory(threshold) -> optax.GradientTransformation``; the built-in factories also take
      ``on_nonfinite``.

    Raises:
      ValueError: an unknown name; the message offers the nearest one.

    >>> from jinit.clipping import clip_by_value
    >>> get("value") is clip_by_value
    True
    """
    return _RULES.get(name)


def register(name: str, factory: ClipFactory) -> None:
    """Adds a clip rule; ``"name(1.0)"`` then works in sweeps, optimizers and ``--clip``.

    Registering the same factory under the same name again changes nothing.

    Args:
      name: letters, digits and _.
      factory: ``factory(threshold) -> optax.GradientTransformation``. The threshold may be traced,
        because all thresholds of a sweep share one program.

    Raises:
      ValueError: the name is taken by another factory, or is not an identifier.
      TypeError: the factory is not callable.

    >>> register("adaptive", optax.adaptive_grad_clip)
    >>> parse("adaptive(0.01)")
    ('adaptive', 0.01)
    >>> _RULES.remove("adaptive")
    """
    _RULES.register(name, factory)


def make(name: str, threshold: ArrayLike) -> optax.GradientTransformation:
    """The clip of this name and threshold, ready for :func:`with_clip_statistics`.

    Args:
      name: one of :func:`names`.
      threshold: > 0, in the unit of the gradient; may be traced.

    Returns:
      An ``optax.GradientTransformation`` with state :class:`ClipState`. If a registered transform
      has another state, its ``scale`` is ‖after‖/‖before‖ over all leaves.

    Raises:
      ValueError: an unknown name, a threshold that is not positive.

    >>> import jax.numpy as jnp
    >>> clip = make("value", 1.0)
    >>> clip.update(jnp.array([3.0, -0.5]), clip.init(()))[0]
    Array([ 1. , -0.5], dtype=float32)
    """
    factory = get(name)
    check_threshold(name, threshold)
    return measured(factory(threshold))


def parse(spec: str) -> tuple[str, float]:
    """Splits ``"leaf_norm(1.0)"`` into the name of the rule and the threshold.

    Args:
      spec: a name and one positive number.

    Returns:
      ``(name, threshold)``. A sweep compiles one program per name; thresholds are traced numbers.

    Raises:
      ValueError: an unknown rule, a missing or non-positive threshold.
      TypeError: ``spec`` is not a string.

    >>> parse("leaf_norm(1.0)")
    ('leaf_norm', 1.0)
    """
    parsed = _specs.parse(spec, "clip")
    get(parsed.name)
    threshold = _specs.bind(parsed, lambda threshold: None, "clip")["threshold"]
    check_threshold(parsed.name, threshold)
    return parsed.name, float(threshold)


def label(name: str | None, threshold: float) -> str:
    """The name of a clip in tables.

    Args:
      name: one of :func:`names`; None for no clipping.
      threshold: not shown if ``name`` is None.

    >>> label("leaf_norm", 1.0), label(None, 0.0)
    ('leaf_norm(1)', 'none')
    """
    return "none" if name is None else f"{name}({threshold:g})"
