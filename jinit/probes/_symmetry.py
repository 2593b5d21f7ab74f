"""Measures how alike the units of a layer are: duplicate units and the rank of the kernel."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.frameworks import Captured
from jinit.frameworks._capture import by_path
from jinit.typing import Array, PyTree

# Units are near duplicates if their distance is at most this share of their length. Distances come
# from float32 inner products, in which smaller distances are rounding error.
NEAR = 1e-2
_FLOAT32 = np.finfo(np.float32)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Symmetry:
    """How alike the units of each layer are; every array is ``(…, layers)``.

    Attributes:
      duplicates: share of units whose incoming weights and bias equal those of another unit, bit
        for bit.
      near_duplicates: share of units that equal another unit up to a tolerance.
      rank: number of singular values of the kernel above ``max(in, out) · ε · σ₁``.
      stable_rank: ‖W‖_F² / σ₁², between 1 and the rank; 0 for a kernel of zeros.
    """

    duplicates: Array
    near_duplicates: Array
    rank: Array
    stable_rank: Array


def symmetry(captured: Captured, params: PyTree, *, tolerance: float = NEAR) -> Symmetry:
    """Measures how alike the units of each layer are. Works in jit and vmap.

    ``train.fit(…, watch=lambda p: symmetry(captured, p))`` records at every evaluation whether
    training keeps or breaks a symmetry.

    Args:
      captured: from :func:`jinit.frameworks.capture`.
      params: parameters of the captured model.
      tolerance: two units are near duplicates if their columns differ by at most this share of
        the longer column's length; 0, or ≥ 0.01.

    Returns:
      A :class:`Symmetry` with float32 arrays ``(layers,)``.

    Raises:
      ValueError: a tolerance that is negative or between 0 and 0.01, below float32 resolution.

    Reference: Rumelhart, Hinton & Williams 1986 (symmetry breaking); Rudelson & Vershynin 2007
    (stable rank).

    >>> from jinit import frameworks, initialize
    >>> from jinit.models import MLP
    >>> captured = frameworks.capture(MLP(features=(8, 3)), jnp.zeros((2, 4)))
    >>> params = initialize(jax.random.key(0), captured.params, {"*": "ones"})
    >>> ones = symmetry(captured, params)
    >>> ones.duplicates.tolist(), ones.rank.tolist()
    ([1.0, 1.0], [1.0, 1.0])
    """
    _check_tolerance(tolerance)
    leaves = by_path(params)
    rows = [
        _of_layer(
            leaves[layer.kernel],
            None if layer.bias is None else leaves[layer.bias],
            layer.kernel_unit_axis,
            float(tolerance),
        )
        for layer in captured.layers
    ]
    return Symmetry(*(jnp.stack(column) for column in zip(*rows, strict=True)))


# Compiled once for each shape; operations run one by one would be compiled one by one.
@functools.partial(jax.jit, static_argnums=(2, 3), inline=True)
def _of_layer(
    kernel: Array, bias: Array | None, unit_axis: int, tolerance: float
) -> tuple[Array, Array, Array, Array]:
    """The four numbers of :class:`Symmetry`, in its order."""
    kernel = jnp.moveaxis(kernel, unit_axis, -1)
    flat = kernel.reshape(-1, kernel.shape[-1])
    singular = jnp.linalg.svd(flat.astype(jnp.float32), compute_uv=False)
    largest = jnp.maximum(singular[0], _FLOAT32.tiny)
    floor = max(flat.shape) * _FLOAT32.eps * largest
    return (
        duplicate_units(kernel, bias),
        duplicate_units(kernel, bias, tolerance),
        (singular > floor).sum(dtype=jnp.float32),
        ((singular / largest) ** 2).sum(),
    )


def duplicate_units(
    kernel: Array,
    bias: Array | None = None,
    tolerance: float = 0.0,
    *,
    projections: int | None = None,
) -> Array:
    """The share of units whose incoming weights and bias equal those of another unit.

    Args:
      kernel: ``(…, in, out)``; the units are the last axis.
      bias: ``(out,)``, or None.
      tolerance: 0 for bitwise equality. A value ≥ 0.01 counts a unit if its column and the column
        of any other unit differ by at most this share of the longer column's length.
      projections: number of fixed random projections in which the distances of near duplicates are
        measured, with a relative error of about 1/√(2 · projections) at a small part of the cost.
        None measures exact distances.

    Returns:
      A float32 scalar in [0, 1]; 0 for a single unit.

    Raises:
      ValueError: a tolerance that is negative or between 0 and 0.01, below float32 resolution;
        projections below 1, or given with tolerance 0.

    Reference: Johnson & Lindenstrauss 1984 (projections).

    >>> float(duplicate_units(jnp.array([[1.0, 1.0, 2.0]])))  # doctest: +ELLIPSIS
    0.666...
    """
    _check_tolerance(tolerance)
    if projections is not None:
        errors.check_integer("projections", projections, low=1, fix="use 16")
        if not tolerance:
            raise errors.refusal(
                "projections", projections, "None if tolerance is 0", f"tolerance={NEAR}"
            )
    rows = [kernel.reshape(-1, kernel.shape[-1])]
    if bias is not None and bias.size == kernel.shape[-1]:
        rows.append(bias.reshape(1, -1))
    if projections is not None and projections < sum(map(len, rows)):
        columns = _projected(rows, projections)
    else:
        columns = jnp.concatenate(rows)
    return (_near(columns, tolerance) if tolerance else _equal(columns)).mean(dtype=jnp.float32)


def _check_tolerance(tolerance: float) -> None:
    errors.check_number("tolerance", tolerance, low=0.0, high=1e3, fix=f"use 0, or at least {NEAR}")
    if tolerance and not tolerance >= NEAR:
        raise errors.refusal("tolerance", tolerance, f"0, or at least {NEAR}", f"use {NEAR}")


def _projected(rows: list[Array], projections: int) -> Array:
    """Projected columns, ``(projections, out)``. Concatenating the rows would copy them."""
    rng = np.random.default_rng(0)
    projected = jnp.zeros((), jnp.float32)
    for part in rows:
        directions = rng.normal(size=(projections, len(part))).astype(part.dtype)
        projected = projected + jnp.matmul(
            directions, part, precision="highest", preferred_element_type=jnp.float32
        )
    return projected


def _equal(columns: Array) -> Array:
    """Whether each column equals another column bit for bit, ``(out,)``."""
    # Sorting by a fixed projection makes equal columns neighbours. The projection is float32 or
    # wider: in half precision, different columns could have equal projections.
    wide = columns.astype(jnp.promote_types(columns.dtype, jnp.float32))
    projection = jnp.cos(jnp.arange(columns.shape[0], dtype=wide.dtype))
    order = jnp.argsort((wide * projection[:, None]).sum(0))
    ordered = columns[:, order]
    same = (ordered[:, 1:] == ordered[:, :-1]).all(0)
    none = jnp.zeros(1, bool)
    return jnp.concatenate([none, same]) | jnp.concatenate([same, none])


def _near(columns: Array, tolerance: float) -> Array:
    """Whether each column lies within ``tolerance`` of another column, ``(out,)``."""
    wide = columns.astype(jnp.promote_types(columns.dtype, jnp.float32))
    wide = wide / jnp.maximum(jnp.abs(wide).max(), jnp.finfo(wide.dtype).tiny)  # type: ignore[no-untyped-call]
    gram = jnp.matmul(wide.T, wide, precision="highest")
    squares = jnp.diagonal(gram)
    distances = squares[:, None] + squares - 2 * gram
    longer = jnp.maximum(squares[:, None], squares)
    near = distances <= tolerance**2 * longer
    return (near & ~jnp.eye(len(squares), dtype=bool)).any(0)
