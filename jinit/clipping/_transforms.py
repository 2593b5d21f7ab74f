"""Clips gradients with optax transforms: by leaf norm, by global norm, by value or by block RMS."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jinit import errors
from jinit.clipping._build import Clipped, check_threshold, transform
from jinit.clipping._norms import multiplier, ratio_of_norms, scaled, shrinkage, size, wide
from jinit.typing import Array, PyTree


def clip_by_leaf_norm(
    threshold: ArrayLike, *, on_nonfinite: str = "propagate"
) -> optax.GradientTransformation:
    """Clips each leaf by its own norm: g · min(1, threshold/‖g‖₂).

    Args:
      threshold: the largest norm of a leaf, > 0, in the unit of the gradient; may be traced.
      on_nonfinite: ``"propagate"`` returns leaves with NaN or inf unchanged; ``"zero"`` replaces
        NaN and inf by 0 and clips the rest; ``"skip"`` makes the whole update 0. With ``"zero"``
        and ``"skip"``, :func:`jinit.train.make_train_step` goes on after such a gradient.

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
    return transform(_leaf_norm, check_threshold("leaf_norm", threshold), on_nonfinite)


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
    return transform(_global_norm, check_threshold("global_norm", threshold), on_nonfinite)


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
    return transform(_value, check_threshold("value", threshold), on_nonfinite)


def clip_by_block_rms(
    threshold: ArrayLike, *, on_nonfinite: str = "propagate"
) -> optax.GradientTransformation:
    """Clips each leaf by its root mean square: g · min(1, threshold/RMS(g)), RMS(g) = ‖g‖₂/√n.

    The rule of the leaf norm with a threshold that grows with the number n of a leaf's entries.

    Args:
      threshold: the largest RMS of a leaf, > 0, in the unit of the gradient; may be traced.
      on_nonfinite: as in :func:`clip_by_leaf_norm`.

    Returns and Raises: as :func:`clip_by_leaf_norm`.

    Reference: Shazeer & Stern 2018, section 6.

    >>> clip = clip_by_block_rms(1.0)
    >>> clip.update(jnp.array([6.0, 6.0, 6.0, 6.0]), clip.init({}))[0]
    Array([1., 1., 1., 1.], dtype=float32)
    """
    return transform(_block_rms, check_threshold("block_rms", threshold), on_nonfinite)


def _leaf_norm(updates: PyTree, params: PyTree, threshold: ArrayLike) -> Clipped:
    return _each_leaf(updates, lambda leaf: threshold)


def _block_rms(updates: PyTree, params: PyTree, threshold: ArrayLike) -> Clipped:
    return _each_leaf(updates, lambda leaf: jnp.asarray(threshold) * math.sqrt(leaf.size))


def _each_leaf(updates: PyTree, bound: Callable[[Array], ArrayLike]) -> Clipped:
    leaves, tree = jax.tree.flatten(updates)
    multipliers = [multiplier(size([leaf]), bound(leaf)) for leaf in leaves]
    clipped = [scaled(*pair) for pair in zip(leaves, multipliers, strict=True)]
    least = functools.reduce(jnp.minimum, map(shrinkage, multipliers), jnp.ones((), jnp.float32))
    return jax.tree.unflatten(tree, clipped), least, ()


def _global_norm(updates: PyTree, params: PyTree, threshold: ArrayLike) -> Clipped:
    common = multiplier(size(jax.tree.leaves(updates)), threshold)
    return jax.tree.map(lambda g: scaled(g, common), updates), shrinkage(common), ()


def _value(updates: PyTree, params: PyTree, threshold: ArrayLike) -> Clipped:
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

    clipped = jax.tree.map(entry, updates)
    return clipped, ratio_of_norms(updates, clipped), ()
