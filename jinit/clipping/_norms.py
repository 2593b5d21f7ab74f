"""Computes L2 norms that do not overflow, and the factors that scale a tree down to a bound.

Norms are computed in float32 or wider. A norm is a pair ``(unit, norm / unit)``: the unit is 1,
or a large power of two if the sum of squares overflows.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jinit import errors
from jinit.typing import Array, DType, PyTree

# Measured with jax 0.9.2 on kernels of 32 × 32 to 512 × 512, see _sum.
_LEAST_TERMS, _MOST_TERMS, _LARGE = 4, 1024, 2**16
# With jax 0.12 sums of small kernels are 4 % of a step faster than products.
_SLOW_SUMS = jax.__version_info__ < (0, 12)

Scaled: TypeAlias = tuple[Array, Array]
"""``(unit, number)``, two scalars: a norm in that unit, or the factor for a leaf in that unit."""


def norm(tree: PyTree) -> Array:
    """‖tree‖₂ over all leaves.

    Overflows only if the norm itself does. Norms below about 1e-19 are returned as 0.

    Args:
      tree: float or complex arrays of any shapes.

    Returns:
      A float32 scalar (float64 if a leaf is float64); NaN or inf if an entry is.

    Raises:
      TypeError: a leaf of an integer dtype.

    >>> norm({"a": jnp.array([3e30, 4e30])})
    Array(5.e+30, dtype=float32)
    """
    unit, ratio = size(jax.tree.leaves(tree))
    return unit * ratio


@jax.custom_jvp
def size(leaves: list[Array]) -> Scaled:
    """The norm over all leaves as ``(unit, norm / unit)``."""
    magnitudes = [_magnitude(leaf) for leaf in leaves]
    double = any(leaf.dtype == jnp.float64 for leaf in magnitudes)
    dtype = jnp.dtype(jnp.float64 if double else jnp.float32)
    wide = [leaf.astype(dtype) for leaf in magnitudes]
    return _rescued(_sum_of_squares(wide, dtype), wide)


@size.defjvp
def _size_derivative(
    primals: tuple[list[Array]], tangents: tuple[list[Array]]
) -> tuple[Scaled, Scaled]:
    """d‖g‖ = Re⟨g, dg⟩ / ‖g‖, and 0 where g is 0; the unit is constant."""
    # Reverse mode cannot pass through the rescue below, which has a rule for vmap of its own.
    (leaves,), (steps,) = primals, tangents
    unit, ratio = size(leaves)
    nonzero = jnp.where(ratio > 0, ratio, jnp.ones_like(ratio))
    total = jnp.zeros_like(ratio)
    for leaf, step in zip(leaves, steps, strict=True):
        parts = (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,)
        moves = (step.real, step.imag) if jnp.iscomplexobj(leaf) else (step,)
        for part, move in zip(parts, moves, strict=True):
            direction = part.astype(ratio.dtype) * (1 / unit) / nonzero
            total = total + jnp.sum(direction * (move.astype(ratio.dtype) * (1 / unit)))
    return (unit, ratio), (jnp.zeros_like(unit), total)


def multiplier(size: Scaled, threshold: ArrayLike) -> Scaled:
    """``(unit, factor)``: a clipped leaf is (leaf / unit) · factor.

    Both are 1 if the norm is not finite or does not exceed the threshold.
    """
    unit, ratio = size
    bound = jnp.asarray(threshold, ratio.dtype)
    exceeds = (ratio > bound / unit) & (ratio < jnp.inf)
    one = jnp.ones_like(ratio)
    # The inner choice keeps the derivative of bound / 0 out of the one that is not chosen.
    clipped = bound / jnp.where(exceeds, ratio, one)
    return jnp.where(exceeds, unit, one), jnp.where(exceeds, clipped, one)


def scaled(leaf: Array, multiplier: Scaled) -> Array:
    """The leaf times its multiplier, in the leaf's dtype."""
    unit, factor = multiplier
    # Dividing by the unit first keeps tiny factors from underflowing. The unit is a power of two,
    # so this division is exact.
    dtype = wide(leaf)
    if unit.dtype == jnp.float64:  # another leaf of the tree is float64
        dtype = jnp.dtype(jnp.complex128 if jnp.iscomplexobj(leaf) else jnp.float64)
    # Casts are explicit, because strict dtype promotion allows no other.
    inverse, factor = (1 / unit).astype(dtype), factor.astype(dtype)
    return (leaf.astype(dtype) * inverse * factor).astype(leaf.dtype)


def shrinkage(multiplier: Scaled) -> Array:
    """factor / unit as a float32 scalar: ‖after‖/‖before‖."""
    unit, factor = multiplier
    return (factor / unit).astype(jnp.float32)


def ratio_of_norms(before: PyTree, after: PyTree) -> Array:
    """‖after‖/‖before‖ as a float32 scalar; 1 if the norm did not fall."""
    old, new = norm(before), norm(after)
    falls = new < old
    return jnp.where(falls, new / jnp.where(falls, old, 1), 1).astype(jnp.float32)


def wide(leaf: Array) -> DType:
    """The dtype to compute a leaf in: float32, or the leaf's own dtype if that is wider."""
    _magnitude(leaf)
    # jnp.result_type(leaf.dtype, float32) raises under strict dtype promotion.
    return leaf.dtype if jnp.dtype(leaf.dtype).itemsize >= 4 else jnp.dtype(jnp.float32)


def _magnitude(leaf: Array) -> Array:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        raise errors.wrong_type(
            "gradient to clip", f"a leaf of dtype {leaf.dtype}", "float or complex", "mask the leaf"
        )
    return jnp.abs(leaf) if jnp.iscomplexobj(leaf) else leaf


@jax.custom_batching.custom_vmap
def _rescued(plain: Array, leaves: list[Array]) -> Scaled:
    """The norm from its plain sum of squares, summed again in larger units if that overflowed."""
    return jax.lax.cond(
        plain == jnp.inf,
        lambda: (_unit(plain), jnp.sqrt(_sum_of_squares(_in_units(leaves), plain.dtype))),
        lambda: (jnp.ones_like(plain), jnp.sqrt(plain)),
    )


@_rescued.def_vmap
def _rescue_if_any(
    lanes: int, batched: tuple[bool, list[bool]], plain: Array, leaves: list[Array]
) -> tuple[Scaled, tuple[bool, bool]]:
    # vmap would turn the cond into a select and sum twice on every step, which costs up to 7 % of
    # a small network's step. One cond for all lanes avoids that; each lane's result is the same.
    plain_batched, leaves_batched = batched
    plain = plain if plain_batched else jnp.broadcast_to(plain, (lanes,))
    leaves = [
        leaf if is_batched else jnp.broadcast_to(leaf, (lanes, *leaf.shape))
        for leaf, is_batched in zip(leaves, leaves_batched, strict=True)
    ]
    overflows = plain == jnp.inf

    def again() -> Scaled:
        sums = jax.vmap(lambda lane: _sum_of_squares(_in_units(lane), plain.dtype))(leaves)
        unit = jnp.where(overflows, _unit(plain), jnp.ones_like(plain))
        return unit, jnp.sqrt(jnp.where(overflows, sums, plain))

    sizes = jax.lax.cond(jnp.any(overflows), again, lambda: (jnp.ones_like(plain), jnp.sqrt(plain)))
    return sizes, (True, True)


def _sum_of_squares(leaves: list[Array], dtype: DType) -> Array:
    return sum((_sum(jnp.square(leaf)) for leaf in leaves), jnp.zeros((), dtype))


def _sum(squares: Array) -> Array:
    """The sum of all entries; on CPU a product with ones adds those of a kernel along one axis.

    XLA's sum adds one entry after another, which takes up to a fifth of a small network's step. The
    product adds whole rows, or of large kernels several entries of a row, at once. The number of
    terms is limited, because their rounding errors add up.
    """
    rows, columns = math.prod(squares.shape[:-1]), squares.shape[-1] if squares.ndim else 1
    if jax.default_backend() != "cpu" or min(rows, columns) < _LEAST_TERMS:
        return jnp.sum(squares)
    axis = 0
    if rows * columns <= _LARGE and not _SLOW_SUMS:
        return jnp.sum(squares)
    if rows * columns > _LARGE:
        axis, columns = 1, columns if columns <= _MOST_TERMS else math.gcd(columns, _MOST_TERMS)
        rows = squares.size // columns
    terms = (rows, columns)[axis]
    if not _LEAST_TERMS <= terms <= _MOST_TERMS:
        return jnp.sum(squares)
    product = jax.lax.dot_general(
        squares.reshape(rows, columns),
        jnp.ones(terms, squares.dtype),
        (((axis,), (0,)), ((), ())),
        jax.lax.Precision.HIGHEST,
    )
    return jnp.sum(product)


def _unit(like: Array) -> Array:
    """2^100 for float32, 2^600 for float64: in this unit the squares do not overflow."""
    return jnp.asarray(2.0**600 if like.dtype == jnp.float64 else 2.0**100, like.dtype)


def _in_units(leaves: list[Array]) -> list[Array]:
    # Without the barrier XLA may turn (g·c)² into g²·c², which is inf · 0.
    return [jax.lax.optimization_barrier(leaf * (1 / _unit(leaf))) for leaf in leaves]
