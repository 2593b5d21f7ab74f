"""Counts how often and how hard a clip fires."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jinit import errors
from jinit.clipping._build import ClipState
from jinit.clipping._units import PerExampleState
from jinit.typing import Array, PyTree


class ClipStatistics(NamedTuple):
    """State of :func:`with_clip_statistics`; the counts are scalars.

    Attributes:
      inner: the state of the wrapped clip.
      updates: int32, number of updates so far.
      clipped: int32, number of updates that the clip changed.
      shrinkage: float32, sum of :attr:`ClipState.scale` over the changed updates.
    """

    inner: PyTree
    updates: Array
    clipped: Array
    shrinkage: Array


def with_clip_statistics(clip: optax.GradientTransformation) -> optax.GradientTransformation:
    """Wraps a clip so that its state counts how often and how hard the clip fires.

    Args:
      clip: a clip of this module.

    Returns:
      The same transform with state :class:`ClipStatistics`, which :func:`statistics` reads.

    Raises:
      TypeError: a transform that is not a clip of this module.

    >>> from jinit.clipping import clip_by_leaf_norm
    >>> clip = with_clip_statistics(clip_by_leaf_norm(1.0))
    >>> _, state = clip.update(jnp.array([3.0, 4.0]), clip.init(jnp.zeros(2)))
    >>> int(state.clipped), round(float(state.shrinkage), 3)
    (1, 0.2)
    """
    if not (hasattr(clip, "init") and isinstance(clip.init(()), ClipState)):
        raise errors.wrong_type(
            "clip", clip, "a clip of jinit.clipping", "pass for example clip_by_global_norm(1.0)"
        )

    def init(params: PyTree) -> ClipStatistics:
        none = jnp.zeros((), jnp.int32)
        return ClipStatistics(clip.init(params), none, none, jnp.zeros((), jnp.float32))

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, ClipStatistics]:
        inner: PyTree
        clipped, inner = clip.update(updates, state.inner, params)
        fired = inner.scale < 1
        return clipped, ClipStatistics(
            inner,
            state.updates + 1,
            state.clipped + fired.astype(jnp.int32),
            state.shrinkage + jnp.where(fired, inner.scale, 0.0),
        )

    return optax.GradientTransformation(init, update)


def statistics(opt_state: PyTree) -> ClipStatistics | None:
    """The first :class:`ClipStatistics` inside an optimizer state.

    Args:
      opt_state: the state of any optax transform, nested or not.

    Returns:
      The statistics; None if the state contains none.

    >>> from jinit.clipping import clip_by_value
    >>> tx = optax.chain(with_clip_statistics(clip_by_value(1.0)), optax.sgd(0.1))
    >>> int(statistics(tx.init(jnp.zeros(2))).updates)
    0
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, ClipStatistics))
    return next((node for node in nodes if isinstance(node, ClipStatistics)), None)


def nonfinite_updates(opt_state: PyTree) -> Array | None:
    """Number of updates that contained NaN or inf and were zeroed, skipped or left out; int32.

    Args:
      opt_state: the state of any optax transform, nested or not.

    Returns:
      The count of the first clip made with ``on_nonfinite="zero"`` or ``"skip"``, or of
      ``optax.apply_if_finite``; None if the state contains neither, so that such an update breaks
      the run.
    """
    for node in _nodes(opt_state, (ClipState, optax.ApplyIfFiniteState)):
        if isinstance(node, optax.ApplyIfFiniteState):
            return node.total_notfinite
        if not isinstance(node.nonfinite, tuple):
            return node.nonfinite
    return None


def wants_examples(opt_state: PyTree) -> bool:
    """Whether an optimizer expects gradients with a leading axis of examples."""
    return any(True for _ in _nodes(opt_state, (PerExampleState,)))


def _nodes(opt_state: PyTree, kinds: tuple[type, ...]) -> Iterator[PyTree]:
    """All nodes of these classes, also inside each other, outside first."""
    for node in jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kinds)):
        if isinstance(node, tuple) and isinstance(node, kinds):
            yield node
            for child in tuple(node):
                yield from _nodes(child, kinds)
