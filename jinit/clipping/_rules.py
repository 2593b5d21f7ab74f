"""Holds the registry of clip rules and parses their spec strings, such as ``leaf_norm(1.0)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Protocol, TypeAlias

import optax
from jax.typing import ArrayLike

from jinit import _specs, errors
from jinit._registry import Registry
from jinit.clipping._build import check_threshold, measured
from jinit.clipping._percentile import clip_by_percentile
from jinit.clipping._transforms import (
    clip_by_block_rms,
    clip_by_global_norm,
    clip_by_leaf_norm,
    clip_by_value,
)
from jinit.clipping._units import clip_adaptively, clip_per_example


class ClipFactory(Protocol):
    """Makes a clip from its threshold, which is > 0 and may be traced."""

    def __call__(self, threshold: ArrayLike, /) -> optax.GradientTransformation: ...


_Options: TypeAlias = dict[str, str | float | None]
_WithOptions: TypeAlias = Callable[..., optax.GradientTransformation]

_RULES: Registry[ClipFactory] = Registry(
    "clip",
    "jinit.clipping.names()",
    {
        "leaf_norm": clip_by_leaf_norm,
        "global_norm": clip_by_global_norm,
        "value": clip_by_value,
        "block_rms": clip_by_block_rms,
        "adaptive": clip_adaptively,
        "per_example": clip_per_example,
        "percentile": clip_by_percentile,
    },
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

    >>> register("entrywise", optax.clip)
    >>> parse("entrywise(0.01)")
    ('entrywise', 0.01)
    >>> _RULES.remove("entrywise")
    """
    _RULES.register(name, factory)


def make(rule: str, threshold: ArrayLike) -> optax.GradientTransformation:
    """The clip of this rule and threshold, ready for :func:`with_clip_statistics`.

    Args:
      rule: one of :func:`names`, alone or with options: ``"leaf_norm(on_nonfinite=skip)"``.
      threshold: > 0, in the unit of the gradient; may be traced.

    Returns:
      An ``optax.GradientTransformation`` with state :class:`ClipState`. If a registered transform
      has another state, its ``scale`` is ‖after‖/‖before‖ over all leaves.

    Raises:
      ValueError: an unknown name or option, a threshold that is not positive.

    >>> import jax.numpy as jnp
    >>> clip = make("value", 1.0)
    >>> clip.update(jnp.array([3.0, -0.5]), clip.init(()))[0]
    Array([ 1. , -0.5], dtype=float32)
    """
    parsed = _specs.parse(rule, "clip")
    factory: _WithOptions = get(parsed.name)
    check_threshold(parsed.name, threshold)
    return measured(factory(threshold, **_options(parsed, factory)))


def parse(spec: str) -> tuple[str, float]:
    """Splits ``"leaf_norm(1.0)"`` into the rule and the threshold.

    Args:
      spec: a name, one positive number, and options of the rule:
        ``"leaf_norm(1.0, on_nonfinite=skip)"``.

    Returns:
      ``(rule, threshold)`` for :func:`make`; the rule contains the options:
      ``"leaf_norm(on_nonfinite=skip)"``. A sweep compiles one program per rule; thresholds are
      traced numbers.

    Raises:
      ValueError: an unknown rule or option, a missing or non-positive threshold.
      TypeError: ``spec`` is not a string.

    >>> parse("leaf_norm(1.0)"), parse("leaf_norm(1.0, on_nonfinite=skip)")
    (('leaf_norm', 1.0), ('leaf_norm(on_nonfinite=skip)', 1.0))
    """
    if callable(spec):
        raise errors.wrong_type(
            "clip",
            spec,
            "a rule by name, such as 'global_norm(1.0)'",
            "jinit.clipping.register('mine', factory) and clip='mine(1.0)'; or, in optimizer=, "
            "lambda learning_rate: optax.chain(optax.clip(1.0), optax.adam(learning_rate))",
        )
    parsed = _specs.parse(spec, "clip")
    factory: _WithOptions = get(parsed.name)
    given = dict(parsed.kwargs)
    numbers = {"threshold": given.pop("threshold")} if "threshold" in given else {}
    without_options = _specs.Spec(parsed.name, parsed.args, tuple(numbers.items()))
    threshold = _specs.bind(without_options, lambda threshold: None, "clip")["threshold"]
    check_threshold(parsed.name, threshold)
    options = _options(_specs.Spec(parsed.name, (), tuple(given.items())), factory)
    factory(threshold, **options)
    return _specs.write(parsed.name, tuple(options.items())), float(threshold)


def label(rule: str | None, threshold: float) -> str:
    """The name of a clip in tables; :func:`parse` reads it back.

    Args:
      rule: as :func:`parse` returns it; None for no clipping.
      threshold: not shown if ``rule`` is None.

    >>> label("leaf_norm", 1.0), label("leaf_norm(on_nonfinite=skip)", 1.0), label(None, 0.0)
    ('leaf_norm(1)', 'leaf_norm(1, on_nonfinite=skip)', 'none')
    """
    if rule is None:
        return "none"
    name, _, options = rule.partition("(")
    return f"{name}({threshold:g}, {options}" if options else f"{name}({threshold:g})"


def _options(spec: _specs.Spec, factory: ClipFactory) -> _Options:
    """The options of a rule in the order of the factory's signature."""
    allowed = list(inspect.signature(factory).parameters)[1:]
    unknown = [name for name, _ in spec.kwargs if name not in allowed]
    if spec.args or unknown:
        raise errors.refusal(
            f"options of clip {spec.name!r}",
            str(spec),
            ", ".join(allowed) or "no options",
            f"{spec.name}(1.0)",
        )
    given = dict(spec.kwargs)
    return {name: given[name] for name in allowed if name in given}
