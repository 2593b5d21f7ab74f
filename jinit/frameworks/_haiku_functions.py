"""Turns Haiku's transformed functions into the pure functions that a sweep trains."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax

from jinit._anew import anew
from jinit.engine._traced import Traced
from jinit.frameworks._common import comes_from
from jinit.frameworks._modes import checked, mode_flags
from jinit.models import Model
from jinit.train import StatefulApply
from jinit.typing import Array, Key, PyTree

if TYPE_CHECKING:
    import haiku as hk


def functions(model: hk.Transformed | hk.TransformedWithState, x: Array) -> Model:
    """The transformed functions with one signature; a key goes to ``apply`` if it takes one."""
    train, evaluate = _Call.of(model, training=True), _Call.of(model, training=False)

    def start(key: Key, x: Array) -> tuple[PyTree, PyTree]:
        made = model.init(key, x, **mode_flags(model.init, training=True))
        return made if train.takes_state else (made, {})

    once = Traced(start)

    def own_shapes(x: Array) -> PyTree:
        return jax.eval_shape(anew(once), jax.random.key(0), x)[0]

    plain, name = _Plain(train), "haiku"
    if not train.takes_state and not train.flags and _runs_without_key(plain, own_shapes(x), x):
        return Model(own_shapes, plain, name, start, source=model)
    apply = StatefulApply(train, _Evaluate(evaluate))
    return checked(Model(own_shapes, apply, name, start, source=model), x)


def _runs_without_key(plain: _Plain, params: PyTree, x: Array) -> bool:
    """Whether ``apply`` works with ``rng=None``; Haiku raises where a key is missing."""
    try:
        jax.eval_shape(anew(plain), params, x)
    except Exception:
        return False
    return True


@dataclass(frozen=True)
class _Call:
    """``(params, state, x, key) -> (outputs, state)``; the state is {} if there is none."""

    apply: Callable[..., PyTree]
    takes_state: bool
    takes_key: bool
    flags: tuple[tuple[str, bool], ...]

    @classmethod
    def of(cls, model: hk.Transformed | hk.TransformedWithState, *, training: bool) -> _Call:
        stateful = comes_from(model, "haiku", "TransformedWithState")
        flags = tuple(mode_flags(model.apply, training=training).items())
        # `without_apply_rng` removes the key from apply's parameters.
        names = list(inspect.signature(model.apply).parameters)
        return cls(model.apply, stateful, "rng" in names[: 2 + stateful], flags)

    def __call__(
        self, params: PyTree, state: PyTree, x: Array, key: Key | None
    ) -> tuple[Array, PyTree]:
        before = (params, state) if self.takes_state else (params,)
        keys = (key,) if self.takes_key else ()
        made = self.apply(*before, *keys, x, **dict(self.flags))
        return made if self.takes_state else (made, state)


@dataclass(frozen=True)
class _Evaluate:
    """``(params, state, x) -> outputs``; a network that draws noise even here uses key 0."""

    call: _Call

    def __call__(self, params: PyTree, state: PyTree, x: Array) -> Array:
        return self.call(params, state, x, jax.random.key(0))[0]


@dataclass(frozen=True)
class _Plain:
    """``(params, x) -> outputs`` of a network without state, noise and modes."""

    call: _Call

    def __call__(self, params: PyTree, x: Array) -> Array:
        return self.call(params, {}, x, None)[0]
