"""Builds clips from rules: one compiled update each, what NaN and inf do, and the state."""

from __future__ import annotations

import functools
from typing import NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jinit import errors
from jinit._switches import own_switches
from jinit.clipping._norms import norm, ratio_of_norms
from jinit.typing import Array, PyTree

_NONFINITE = ("propagate", "zero", "skip")

Clipped: TypeAlias = tuple[PyTree, Array, PyTree]
"""The clipped updates; :attr:`ClipState.scale`; :attr:`ClipState.inner`."""


class ClipState(NamedTuple):
    """State of a clip: what its last update did.

    Attributes:
      scale: float32 scalar, ‖after‖/‖before‖: of the most clipped leaf under ``leaf_norm`` and
        ``block_rms``, of the most clipped unit under ``adaptive``, of the most clipped example
        under ``per_example``, else of all leaves together; 1 if the clip did not fire.
      inner: of ``per_example`` a :class:`PerExampleState`, of ``percentile`` a
        :class:`PercentileState`; of a registered transform with another state, that state; else
        ``()``.
      nonfinite: int32 scalar, number of updates so far that contained NaN or inf, if the clip was
        made with ``on_nonfinite="zero"`` or ``"skip"``; else ``()``.
    """

    scale: Array
    inner: PyTree = ()
    nonfinite: PyTree = ()


class Rule(Protocol):
    """The arithmetic of a clip; equal and hashable, because compiled updates are kept by rule."""

    def __call__(self, updates: PyTree, params: PyTree, threshold: PyTree, /) -> Clipped: ...


def transform(
    rule: Rule,
    threshold: PyTree,
    on_nonfinite: str,
    inner: PyTree = (),
    *,
    remembers: bool = False,
) -> optax.GradientTransformation:
    """The optax transform of a rule; ``threshold`` is what the rule gets, checked by the caller.

    ``inner`` is the initial :attr:`ClipState.inner`. A rule that remembers gets
    ``(threshold, inner)`` with the :attr:`ClipState.inner` of the step before.
    """
    errors.check_choice("on_nonfinite", on_nonfinite, _NONFINITE)
    counts = on_nonfinite != "propagate"

    def init(params: PyTree) -> ClipState:
        none = jnp.zeros((), jnp.int32) if counts else ()
        return ClipState(jnp.ones((), jnp.float32), inner, none)

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.OptState]:
        with own_switches():
            given = (threshold, state.inner) if remembers else threshold
            clipped, scale, after, bad = _update(rule, on_nonfinite, updates, params, given)
            seen = state.nonfinite + bad if counts else ()
            return clipped, ClipState(scale, after, seen)

    return optax.GradientTransformation(init, update)


# Outside of jit one compiled call replaces a compilation at every call (the rescue of a norm is a
# cond, which is compiled anew each time). Inside of jit the update is part of the caller's program.
@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _update(
    rule: Rule, on_nonfinite: str, updates: PyTree, params: PyTree, threshold: PyTree
) -> tuple[PyTree, Array, PyTree, Array]:
    bad = jnp.zeros((), jnp.int32)
    if on_nonfinite != "propagate":
        bad = (~jnp.isfinite(norm(updates))).astype(jnp.int32)
    if on_nonfinite == "zero":
        updates = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0), updates)
    clipped, scale, inner = rule(updates, params, threshold)
    if on_nonfinite == "skip":
        clipped = jax.tree.map(lambda g: jnp.where(bad == 0, g, 0).astype(g.dtype), clipped)
    return clipped, scale, inner, bad


# Compiled once, as an update is.
_ratio = jax.jit(ratio_of_norms, inline=True)


def check_threshold(rule: str, threshold: ArrayLike) -> ArrayLike:
    """Returns the threshold if it is > 0 and finite, or traced."""
    checked: ArrayLike = errors.check_number(
        f"{rule} threshold", threshold, low=0.0, open_low=True, fix="try 1.0, or no clipping"
    )
    # XLA takes no integer beyond 64 bits.
    return float(checked) if isinstance(checked, int) else checked


def measured(transform: optax.GradientTransformation) -> optax.GradientTransformation:
    """Wraps a transform of another state: the new state is a :class:`ClipState` over all leaves."""
    if isinstance(transform.init(()), ClipState):
        return transform

    def init(params: PyTree) -> ClipState:
        return ClipState(jnp.ones((), jnp.float32), transform.init(params))

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.OptState]:
        clipped, inner = transform.update(updates, state.inner, params)
        with own_switches():
            return clipped, ClipState(_ratio(updates, clipped), inner)

    return optax.GradientTransformation(init, update)
