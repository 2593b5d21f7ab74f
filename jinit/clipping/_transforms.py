"""Clips gradients with optax transforms: by leaf norm, by global norm or by value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jinit import errors
from jinit.clipping._norms import multiplier, norm, ratio_of_norms, scaled, shrinkage, size, wide
from jinit.typing import Array, PyTree

_NONFINITE = ("propagate", "zero", "skip")


class ClipState(NamedTuple):
    """State of a clip: what its last update did.

    Attributes:
      scale: float32 scalar, ‖after‖/‖before‖: of the most clipped leaf under ``leaf_norm``, else of
        all leaves together; 1 if the clip did not fire.
      inner: the state of a registered transform that has another state; else ``()``.
    """

    scale: Array
    inner: PyTree = ()


def clip_by_leaf_norm(
    threshold: ArrayLike, *, on_nonfinite: str = "propagate"
) -> optax.GradientTransformation:
    """Clips each leaf by its own norm: g · min(1, threshold/‖g‖₂).

    Args:
      threshold: the largest norm of a leaf, > 0, in the unit of the gradient; may be traced.
      on_nonfinite: ``"propagate"`` returns leaves with NaN or inf unchanged; ``"zero"`` replaces
        NaN and inf by 0 and clips the rest; ``"skip"`` makes the whole update 0.

    Returns:
      An ``optax.GradientTransformation`` with state :class:`ClipState`. A leaf of norm 0 stays 0.

    Raises:
      ValueError: a threshold that is zero, negative or NaN; an unknown ``on_nonfinite``.
      TypeError: integer gradients, when the transform is traced.

    Reference: Pascanu, Mikolov & Bengio 2013, algorithm 1, applied leaf by leaf.

    >>> clip = clip_by_leaf_norm(1.0)
    >>> clip.update({"w": jnp.array([3.0, 4.0])}, clip.init({}))[0]["w"]
    Array([0.6, 0.8], dtype=float32)
    """

    def clip(updates: PyTree) -> tuple[PyTree, Array]:
        leaves, tree = jax.tree.flatten(updates)
        multipliers = [multiplier(size([leaf]), threshold) for leaf in leaves]
        clipped = [scaled(*pair) for pair in zip(leaves, multipliers, strict=True)]
        return jax.tree.unflatten(tree, clipped), functools.reduce(
            jnp.minimum, map(shrinkage, multipliers), jnp.ones((), jnp.float32)
        )

    return _transform("leaf_norm", threshold, on_nonfinite, clip)


def clip_by_global_norm(
    threshold: ArrayLike, *, on_nonfinite: str = "propagate"
) -> optax.GradientTransformation:
    """Clips all leaves by their common norm: g · min(1, threshold/‖g‖₂), ‖g‖₂ over all leaves.

    Args, Returns and Raises: as :func:`clip_by_leaf_norm`. Unlike ``optax.clip_by_global_norm``,
    the norm of a float16 tree does not overflow.

    Reference: Pascanu, Mikolov & Bengio 2013, algorithm 1.

    >>> clip = clip_by_global_norm(1.0)
    >>> clip.update({"w": jnp.array([3.0, 4.0])}, clip.init({}))[0]["w"]
    Array([0.6, 0.8], dtype=float32)
    """

    def clip(updates: PyTree) -> tuple[PyTree, Array]:
        common = multiplier(size(jax.tree.leaves(updates)), threshold)
        return jax.tree.map(lambda g: scaled(g, common), updates), shrinkage(common)

    return _transform("global_norm", threshold, on_nonfinite, clip)


def clip_by_value(
    threshold: ArrayLike, *, on_nonfinite: str = "propagate"
) -> optax.GradientTransformation:
    """Clips each entry: min(max(g, −threshold), threshold). The gradient's direction may change.

    Args, Returns and Raises: as :func:`clip_by_leaf_norm`; complex gradients also raise TypeError.
    An infinite entry becomes ±threshold; NaN stays NaN.

    Reference: Goodfellow, Bengio & Courville 2016, section 10.11.1.

    >>> clip = clip_by_value(1.0)
    >>> clip.update(jnp.array([3.0, -0.5]), clip.init({}))[0]
    Array([ 1. , -0.5], dtype=float32)
    """

    def entry(g: Array) -> Array:
        if not jnp.issubdtype(g.dtype, jnp.floating):
            raise errors.wrong_type(
                "gradient to clip by value",
                f"a leaf of dtype {g.dtype}",
                "a real float",
                "use leaf_norm for complex gradients; mask integer leaves",
            )
        bound = jnp.asarray(threshold, wide(g))
        return jnp.clip(g.astype(wide(g)), -bound, bound).astype(g.dtype)

    def clip(updates: PyTree) -> tuple[PyTree, Array]:
        clipped = jax.tree.map(entry, updates)
        return clipped, ratio_of_norms(updates, clipped)

    return _transform("value", threshold, on_nonfinite, clip)


def check_threshold(rule: str, threshold: ArrayLike) -> ArrayLike:
    """Returns the threshold if it is > 0 and finite, or traced."""
    checked: ArrayLike = errors.check_number(
        f"{rule} threshold", threshold, low=0.0, open_low=True, fix="try 1.0, or no clipping"
    )
    return checked


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
        return clipped, ClipState(ratio_of_norms(updates, clipped), inner)

    return optax.GradientTransformation(init, update)


def _transform(
    rule: str,
    threshold: ArrayLike,
    on_nonfinite: str,
    clip: Callable[[PyTree], tuple[PyTree, Array]],
) -> optax.GradientTransformation:
    check_threshold(rule, threshold)
    errors.check_choice("on_nonfinite", on_nonfinite, _NONFINITE)

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.OptState]:
        if on_nonfinite == "zero":
            updates = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0), updates)
        clipped, scale = clip(updates)
        if on_nonfinite == "skip":
            finite = jnp.isfinite(norm(updates))
            clipped = jax.tree.map(lambda g: jnp.where(finite, g, 0).astype(g.dtype), clipped)
        return clipped, ClipState(scale)

    return optax.GradientTransformation(lambda params: ClipState(jnp.ones((), jnp.float32)), update)
