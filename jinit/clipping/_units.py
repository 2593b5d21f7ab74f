"""Clips gradients unit by unit against the weights, and example by example before the mean."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jinit import errors
from jinit.clipping._build import Clipped, check_threshold, transform
from jinit.clipping._norms import Scaled, multiplier, scaled, shrinkage, size, wide
from jinit.typing import Array, PyTree, Shape

_SHARES = ("global", "leaves", "entries")


class PerExampleState(NamedTuple):
    """What :func:`clip_per_example` did last; in :attr:`ClipState.inner`.

    Attributes:
      clipped: int32, number of clipped examples, shape (); under ``share="leaves"`` and
        ``"entries"`` one number per leaf, in the order of ``jax.tree.leaves``.
    """

    clipped: Array


def clip_adaptively(
    threshold: ArrayLike,
    *,
    eps: ArrayLike = 1e-3,
    axis: int | tuple[int, ...] | None = None,
    on_nonfinite: str = "propagate",
) -> optax.GradientTransformation:
    """Clips each unit's gradient g to a share of its weights w: ‖g‖₂ ≤ threshold · max(‖w‖₂, eps).

    A unit is the part of a leaf that varies along ``axis``. By default it is: of a vector or
    scalar, also one with further axes of size 1, the whole leaf; of a kernel ``(in, out)`` or
    ``(in, heads, size)``, the fan-in of one output (axis 0); of a leaf with four or more axes, all
    but the last axis (a convolution). Kernels of one-dimensional convolutions need ``axis=(0, 1)``.

    Args:
      threshold: the largest ‖g‖₂/‖w‖₂ of a unit, > 0, for example 0.01; may be traced.
      eps: the norm that counts instead of a smaller one, so that weights of 0 can move; > 0; may be
        traced; default 1e-3.
      axis: the axes of one unit; default None, as above. A leaf that lacks one of these axes, such
        as a bias, has the default units.
      on_nonfinite: as in :func:`clip_by_leaf_norm`.

    Returns:
      An ``optax.GradientTransformation`` with state :class:`ClipState`; ``update`` needs the
      parameters.

    Raises:
      ValueError: a threshold or ``eps`` that is not positive; an axis named twice; no parameters in
        ``update``.
      TypeError: an axis that is not a whole number; integer gradients, when the transform is
        traced.

    Reference: Brock, De, Smith & Simonyan 2021, equation 3.

    >>> clip = clip_adaptively(0.5)
    >>> kernel, gradient = jnp.ones((4, 2)), jnp.full((4, 2), 3.0).at[:, 1].set(0.1)
    >>> clip.update(gradient, clip.init(kernel), kernel)[0][0]
    Array([0.5, 0.1], dtype=float32)
    """
    axes = (axis,) if isinstance(axis, int) else axis
    whole = isinstance(axes, tuple) and all(isinstance(each, int) for each in axes)
    if axes is not None and not whole:
        raise errors.wrong_type("axis", axis, "an axis, a tuple of axes or None", "axis=(0, 1)")
    if axes is not None and len({*axes}) < len(axes):
        raise errors.refusal("axis", axis, "axes without repetition", "axis=(0, 1)")
    both = check_threshold("adaptive", threshold), check_threshold("adaptive eps as", eps)
    return transform(_Adaptive(axes), both, on_nonfinite)


def clip_per_example(
    threshold: ArrayLike, *, share: str = "global", on_nonfinite: str = "propagate"
) -> optax.GradientTransformation:
    """Clips the gradient of each example, then averages: mean_i g_i · min(1, threshold/‖g_i‖).

    ``update`` expects gradients with a leading axis of examples and returns their clipped mean
    without it. :func:`jinit.train.make_train_step` computes such gradients if the optimizer
    contains this clip; a step then needs the memory of one gradient per example.

    Args:
      threshold: the largest norm of one example's gradient, > 0; may be traced.
      share: ``"global"`` clips an example by its norm over all leaves; ``"leaves"`` clips each of
        the K leaves at threshold/√K; ``"entries"`` clips a leaf with d of all D entries at
        threshold · √(d/D).
      on_nonfinite: as in :func:`clip_by_leaf_norm`, over all examples.

    Returns:
      An ``optax.GradientTransformation`` whose :attr:`ClipState.inner` is a
      :class:`PerExampleState`.

    Raises:
      ValueError: a threshold that is not positive; an unknown ``share``; leaves whose first axes
        differ, when the transform is traced.
      TypeError: integer gradients, when the transform is traced.

    Reference: Abadi et al. 2016, algorithm 1; McMahan et al. 2018, section 3 (shares of leaves).

    >>> clip = clip_per_example(1.0)
    >>> clip.update(jnp.array([[3.0, 4.0], [0.0, 0.2]]), clip.init(jnp.zeros(2)))[0]
    Array([0.3, 0.5], dtype=float32)
    """
    errors.check_choice("share", share, _SHARES)
    none = PerExampleState(jnp.zeros((), jnp.int32))
    check_threshold("per_example", threshold)
    return transform(_PerExample(share), threshold, on_nonfinite, none)


@dataclass(frozen=True)
class _Adaptive:
    """The rule of :func:`clip_adaptively`."""

    axes: tuple[int, ...] | None

    def __call__(
        self, updates: PyTree, params: PyTree, threshold: tuple[ArrayLike, ArrayLike]
    ) -> Clipped:
        if params is None:
            raise errors.refusal(
                "params", None, "the parameters", "call update(updates, state, params)"
            )

        def unit(g: Array, w: Array) -> tuple[Array, Array]:
            measure, ratio = size([w])
            share, eps = (jnp.asarray(number, ratio.dtype) for number in threshold)
            multiple = multiplier(size([g]), share * jnp.maximum(measure * ratio, eps))
            return scaled(g, multiple), shrinkage(multiple)

        def leaf(g: Array, w: Array) -> tuple[Array, Array]:
            axes = self.axes
            if axes is None or not _has_axes(g.ndim, axes):
                axes = _unit_axes(g.shape)
            rows, scales = jax.vmap(unit)(_rows(g, axes), _rows(w, axes))
            return _unrows(rows, g.shape, axes), jnp.min(scales, initial=1.0)

        gradients, tree = jax.tree.flatten(updates)
        weights = jax.tree.leaves(jax.tree.map(lambda g, w: w, updates, params))
        pairs = [leaf(g, w) for g, w in zip(gradients, weights, strict=True)]
        least = functools.reduce(jnp.minimum, [s for _, s in pairs], jnp.ones((), jnp.float32))
        return jax.tree.unflatten(tree, [g for g, _ in pairs]), least, ()


@dataclass(frozen=True)
class _PerExample:
    """The rule of :func:`clip_per_example`."""

    share: str

    def __call__(self, updates: PyTree, params: PyTree, threshold: ArrayLike) -> Clipped:
        leaves, tree = jax.tree.flatten(updates)
        counts = {leaf.shape[:1] for leaf in leaves}
        if len(counts) != 1 or () in counts:
            raise errors.refusal(
                "gradients to clip per example",
                f"leaves of shapes {[leaf.shape for leaf in leaves]}",
                "a leading axis of examples in every leaf",
                "jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(params, x, y)",
            )
        bounds = self._bounds(leaves, threshold)

        def example(parts: list[Array]) -> tuple[list[Array], list[Array]]:
            groups = [parts] if self.share == "global" else [[part] for part in parts]
            multiples: list[Scaled] = [
                multiplier(size(group), bound) for group, bound in zip(groups, bounds, strict=True)
            ]
            of_leaves = multiples * len(parts) if self.share == "global" else multiples
            clipped = [scaled(*pair) for pair in zip(parts, of_leaves, strict=True)]
            return clipped, [shrinkage(multiple) for multiple in multiples]

        clipped, scales = jax.vmap(example)(leaves)
        means = [jnp.mean(leaf.astype(wide(leaf)), axis=0).astype(leaf.dtype) for leaf in clipped]
        fired = [jnp.sum(scale < 1, dtype=jnp.int32) for scale in scales]
        count = fired[0] if self.share == "global" else jnp.stack(fired)
        least = functools.reduce(jnp.minimum, [jnp.min(scale, initial=1.0) for scale in scales])
        return jax.tree.unflatten(tree, means), least, PerExampleState(count)

    def _bounds(self, leaves: list[Array], threshold: ArrayLike) -> list[Array]:
        bound = jnp.asarray(threshold)
        if self.share == "global":
            return [bound]
        if self.share == "leaves":
            return [bound / math.sqrt(len(leaves))] * len(leaves)
        entries = [math.prod(leaf.shape[1:]) for leaf in leaves]
        return [bound * math.sqrt(own / sum(entries)) for own in entries]


def _unit_axes(shape: Shape) -> tuple[int, ...]:
    """The axes of one unit: see :func:`clip_adaptively`."""
    if sum(length != 1 for length in shape) <= 1:
        return tuple(range(len(shape)))
    return (0,) if len(shape) <= 3 else tuple(range(len(shape) - 1))


def _has_axes(ndim: int, axes: tuple[int, ...]) -> bool:
    """Whether a leaf of this rank has all these axes, each once."""
    there = all(-ndim <= axis < ndim for axis in axes)
    return there and len(set(_positive(axes, ndim))) == len(axes)


def _rows(leaf: Array, axes: tuple[int, ...]) -> Array:
    """The units of a leaf as rows, ``(units, entries)``."""
    last = jnp.moveaxis(leaf, axes, range(-len(axes), 0)) if axes else leaf[..., None]
    entries = math.prod(last.shape[leaf.ndim - len(axes) :])
    return last.reshape(-1, entries) if entries else last.reshape(0, 0)


def _unrows(rows: Array, shape: Shape, axes: tuple[int, ...]) -> Array:
    """The leaf of this shape from its units."""
    if not axes:
        return rows.reshape(tuple(shape))
    kept = [shape[axis] for axis in range(len(shape)) if axis not in _positive(axes, len(shape))]
    reduced = [shape[axis] for axis in axes]
    return jnp.moveaxis(rows.reshape(*kept, *reduced), range(-len(axes), 0), axes)


def _positive(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return tuple(axis % ndim for axis in axes)
