"""Gradient clipping as optax transforms: by leaf norm, global norm or value.

Norms are taken in float32 or wider and do not overflow before they must; thresholds may be traced;
the dtype of every leaf is kept. Under vmap each lane is clipped by its own norm.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jinit import _specs, errors
from jinit.typing import Array, PyTree

NONFINITE = ("propagate", "zero", "skip")


def clip_by_leaf_norm(
    threshold: Any, *, on_nonfinite: str = "propagate"
) -> optax.GradientTransformation:
    """Each leaf g becomes g · threshold/‖g‖₂ where ‖g‖₂ > threshold.

    Args:
      threshold: the largest norm a leaf may have, > 0, in the unit of the gradient; may be traced.
      on_nonfinite: ``"propagate"`` returns leaves with NaN or inf untouched; ``"zero"`` replaces
        the bad entries by 0 and clips the rest; ``"skip"`` makes the whole update 0.

    Returns:
      An ``optax.GradientTransformation`` with :class:`ClipState`. A leaf of norm 0 stays 0.

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
        multipliers = [_multiplier(_size([leaf]), threshold) for leaf in leaves]
        clipped = [_scaled(*pair) for pair in zip(leaves, multipliers, strict=True)]
        return jax.tree.unflatten(tree, clipped), functools.reduce(
            jnp.minimum, map(_shrinks, multipliers), jnp.ones((), jnp.float32)
        )

    return _transform("leaf_norm", threshold, on_nonfinite, clip)


def clip_by_global_norm(
    threshold: Any, *, on_nonfinite: str = "propagate"
) -> optax.GradientTransformation:
    """All leaves times threshold/‖g‖₂ where ‖g‖₂, over all leaves together, exceeds threshold.

    Args, Returns and Raises: as :func:`clip_by_leaf_norm`. Unlike ``optax.clip_by_global_norm``
    a float16 tree does not overflow.

    Reference: Pascanu, Mikolov & Bengio 2013, algorithm 1.

    >>> clip = clip_by_global_norm(1.0)
    >>> clip.update({"w": jnp.array([3.0, 4.0])}, clip.init({}))[0]["w"]
    Array([0.6, 0.8], dtype=float32)
    """

    def clip(updates: PyTree) -> tuple[PyTree, Array]:
        multiplier = _multiplier(_size(jax.tree.leaves(updates)), threshold)
        clipped = jax.tree.map(lambda g: _scaled(g, multiplier), updates)
        return clipped, _shrinks(multiplier)

    return _transform("global_norm", threshold, on_nonfinite, clip)


def clip_by_value(
    threshold: Any, *, on_nonfinite: str = "propagate"
) -> optax.GradientTransformation:
    """Each entry g becomes min(max(g, −threshold), threshold); this changes the direction.

    Args, Returns and Raises: as :func:`clip_by_leaf_norm`. An infinite entry is clipped like a
    large one; NaN stays NaN.

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
        bound = jnp.asarray(threshold, _wide(g))
        return jnp.clip(g.astype(_wide(g)), -bound, bound).astype(g.dtype)

    def clip(updates: PyTree) -> tuple[PyTree, Array]:
        clipped = jax.tree.map(entry, updates)
        before, after = norm(updates), norm(clipped)
        return clipped, jnp.where(after < before, after / before, 1).astype(jnp.float32)

    return _transform("value", threshold, on_nonfinite, clip)


def norm(tree: PyTree) -> Array:
    """‖tree‖₂ over all leaves, a float32 (float64 for float64 leaves) scalar; NaN or inf where an
    entry is.

    Overflows only if the norm itself does; norms below about 1e-19 read as 0.

    >>> norm({"a": jnp.array([3e30, 4e30])})
    Array(5.e+30, dtype=float32)
    """
    unit, ratio = _size(jax.tree.leaves(tree))
    return unit * ratio


class ClipState(NamedTuple):
    """State of a clip: what its last update did.

    Attributes:
      scale: float32 scalar, ‖after‖/‖before‖ of the most clipped part; 1 where it did not fire.
    """

    scale: Array


class ClipStatistics(NamedTuple):
    """State of :func:`with_clip_statistics`; all scalars.

    Attributes:
      inner: the wrapped transform's state.
      updates: int32, how many updates passed.
      clipped: int32, how many of them the clip changed.
      shrinkage: float32, sum of ‖after‖/‖before‖ over those.
    """

    inner: Any
    updates: Array
    clipped: Array
    shrinkage: Array


def with_clip_statistics(clip: optax.GradientTransformation) -> optax.GradientTransformation:
    """Counts how often and how hard a clip fires.

    Args:
      clip: a transform of this module.

    Returns:
      The same transform with :class:`ClipStatistics` as state; read it with :func:`statistics`.

    >>> clip = with_clip_statistics(clip_by_leaf_norm(1.0))
    >>> _, state = clip.update(jnp.array([3.0, 4.0]), clip.init(jnp.zeros(2)))
    >>> int(state.clipped), round(float(state.shrinkage), 3)
    (1, 0.2)
    """

    if not isinstance(clip.init(()), ClipState):
        raise errors.wrong_type(
            "clip", clip, "a clip of jinit.clipping", "clip_by_global_norm(1.0), for one"
        )

    def init(params: PyTree) -> ClipStatistics:
        none = jnp.zeros((), jnp.int32)
        return ClipStatistics(clip.init(params), none, none, jnp.zeros((), jnp.float32))

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, ClipStatistics]:
        clipped, after = clip.update(updates, state.inner, params)
        inner: Any = after
        fired = inner.scale < 1
        return clipped, ClipStatistics(
            inner,
            state.updates + 1,
            state.clipped + fired,
            state.shrinkage + jnp.where(fired, inner.scale, 0.0),
        )

    return optax.GradientTransformation(init, update)


def statistics(opt_state: PyTree) -> ClipStatistics | None:
    """The first :class:`ClipStatistics` inside an optimizer state, or None.

    >>> tx = optax.chain(with_clip_statistics(clip_by_value(1.0)), optax.sgd(0.1))
    >>> int(statistics(tx.init(jnp.zeros(2))).updates)
    0
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, ClipStatistics))
    return next((node for node in nodes if isinstance(node, ClipStatistics)), None)


_KINDS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "leaf_norm": clip_by_leaf_norm,
    "global_norm": clip_by_global_norm,
    "value": clip_by_value,
}


def names() -> tuple[str, ...]:
    """The clip rules a spec string may name.

    >>> names()
    ('leaf_norm', 'global_norm', 'value')
    """
    return tuple(_KINDS)


def get(kind: str) -> Callable[..., optax.GradientTransformation]:
    """The factory of a clip rule by name.

    Raises:
      ValueError: an unknown name.

    >>> get("value") is clip_by_value
    True
    """
    if kind not in _KINDS:
        raise errors.unknown_name("clip", kind, _KINDS, "jinit.clipping.names()")
    return _KINDS[kind]


def parse(spec: str) -> tuple[str, float]:
    """Splits ``"leaf_norm(1.0)"`` into its rule and its threshold.

    Returns:
      ``(name, threshold)``: the name decides the program, the threshold is a number in it.

    Raises:
      ValueError: an unknown rule, a missing or non-positive threshold.

    >>> parse("leaf_norm(1.0)")
    ('leaf_norm', 1.0)
    """
    parsed = _specs.parse(spec, "clip")
    arguments = _specs.bind(parsed, _one_threshold(get(parsed.name)), "clip")
    return parsed.name, float(_check_threshold(parsed.name, arguments["threshold"]))


def label(kind: str | None, threshold: float) -> str:
    """What tables call a clip; ``kind`` None is no clipping.

    >>> label("leaf_norm", 1.0), label(None, 0.0)
    ('leaf_norm(1)', 'none')
    """
    return "none" if kind is None else f"{kind}({threshold:g})"


def _one_threshold(factory: Any) -> Callable[..., Any]:
    return lambda threshold: factory(threshold)


def _check_threshold(kind: str, threshold: Any) -> Any:
    return errors.check_number(
        f"{kind} threshold", threshold, low=0.0, open_low=True, fix="try 1.0, or no clipping"
    )


def _transform(
    kind: str,
    threshold: Any,
    on_nonfinite: str,
    clip: Callable[[PyTree], tuple[PyTree, Array]],
) -> optax.GradientTransformation:
    _check_threshold(kind, threshold)
    errors.check_choice("on_nonfinite", on_nonfinite, NONFINITE)

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, ClipState]:
        if on_nonfinite == "zero":
            updates = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0), updates)
        clipped, scale = clip(updates)
        if on_nonfinite == "skip":
            finite = jnp.isfinite(norm(updates))
            clipped = jax.tree.map(lambda g: jnp.where(finite, g, 0).astype(g.dtype), clipped)
        return clipped, ClipState(scale)

    return optax.GradientTransformation(lambda params: ClipState(jnp.ones((), jnp.float32)), update)


def _size(leaves: list[Array]) -> tuple[Array, Array]:
    """(unit, norm / unit) with unit 1 or a large power of two: a norm that does not overflow."""
    dtype = jnp.result_type(jnp.float32, *(leaf.real.dtype for leaf in leaves))
    wide = [_magnitude(leaf).astype(dtype) for leaf in leaves]
    return _rescued(_sum_of_squares(wide, dtype), wide)


def _magnitude(leaf: Array) -> Array:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        raise errors.wrong_type(
            "gradient to clip", f"a leaf of dtype {leaf.dtype}", "float or complex", "mask the leaf"
        )
    return jnp.abs(leaf) if jnp.iscomplexobj(leaf) else leaf


@jax.custom_batching.custom_vmap
def _rescued(plain: Array, leaves: list[Array]) -> tuple[Array, Array]:
    """Sums the squares again in larger units if the plain sum overflowed."""
    return jax.lax.cond(
        plain == jnp.inf,
        lambda: (_unit(plain), jnp.sqrt(_sum_of_squares(_in_units(leaves), plain.dtype))),
        lambda: (jnp.ones_like(plain), jnp.sqrt(plain)),
    )


@_rescued.def_vmap
def _rescue_if_any(
    size: int, batched: Any, plain: Array, leaves: list[Array]
) -> tuple[tuple[Array, Array], tuple[bool, bool]]:
    # vmap would turn the cond into a select and sum twice on every step, which costs up to 7 % of
    # a small network's step. One cond for all lanes does not; a lane's own result is the same.
    plain_batched, leaves_batched = batched
    plain = plain if plain_batched else jnp.broadcast_to(plain, (size,))
    leaves = [
        leaf if is_batched else jnp.broadcast_to(leaf, (size, *leaf.shape))
        for leaf, is_batched in zip(leaves, leaves_batched, strict=True)
    ]
    overflows = plain == jnp.inf

    def again() -> tuple[Array, Array]:
        scaled = jax.vmap(lambda lane: _sum_of_squares(_in_units(lane), plain.dtype))(leaves)
        unit = jnp.where(overflows, _unit(plain), jnp.ones_like(plain))
        return unit, jnp.sqrt(jnp.where(overflows, scaled, plain))

    sizes = jax.lax.cond(jnp.any(overflows), again, lambda: (jnp.ones_like(plain), jnp.sqrt(plain)))
    return sizes, (True, True)


def _sum_of_squares(leaves: list[Array], dtype: Any) -> Array:
    return sum((jnp.sum(jnp.square(leaf)) for leaf in leaves), jnp.zeros((), dtype))


def _unit(like: Array) -> Array:
    """2^100 for float32, 2^600 for float64: squares of what overflowed fit in units of it."""
    return jnp.asarray(2.0**600 if like.dtype == jnp.float64 else 2.0**100, like.dtype)


def _in_units(leaves: list[Array]) -> list[Array]:
    # Without the barrier XLA may turn (g·c)² into g²·c², which is inf · 0.
    return [jax.lax.optimization_barrier(leaf * (1 / _unit(leaf))) for leaf in leaves]


def _multiplier(size: tuple[Array, Array], threshold: Any) -> tuple[Array, Array]:
    """(unit, factor): a leaf becomes (leaf / unit) · factor; both 1 where nothing exceeds."""
    unit, ratio = size
    bound = jnp.asarray(threshold, ratio.dtype)
    exceeds = (ratio > bound / unit) & (ratio < jnp.inf)
    one = jnp.ones_like(ratio)
    return jnp.where(exceeds, unit, one), jnp.where(exceeds, bound / ratio, one)


def _scaled(leaf: Array, multiplier: tuple[Array, Array]) -> Array:
    unit, factor = multiplier
    # Dividing by the unit first keeps tiny factors from underflowing; it is a power of two, exact.
    return (leaf.astype(_wide(leaf)) * (1 / unit) * factor).astype(leaf.dtype)


def _wide(leaf: Array) -> Any:
    """The dtype to compute a leaf in: its own, or float32 where that is wider."""
    return jnp.result_type(leaf.dtype, jnp.float32)


def _shrinks(multiplier: tuple[Array, Array]) -> Array:
    unit, factor = multiplier
    return (factor / unit).astype(jnp.float32)
