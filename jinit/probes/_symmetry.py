"""Units that do the same as others: equal weights in, rank lost, kept or broken by training."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.frameworks._capture import Captured, by_path
from jinit.typing import Array, PyTree

# Distances come from float32 inner products: closer than this they are rounding.
_CLOSEST = 1e-2
_FLOAT32 = np.finfo(np.float32)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Symmetry:
    """What the units of each layer share; every array is ``(…, layers)``.

    Attributes:
      duplicates: share of units whose incoming weights and bias equal another unit's, bit for bit.
      near_duplicates: the same up to a tolerance.
      rank: singular values of the kernel above ``max(in, out) · ε`` of the largest.
      stable_rank: ‖W‖_F² / σ₁², between 1 and the rank; 0 for a kernel of zeros.
    """

    duplicates: Array
    near_duplicates: Array
    rank: Array
    stable_rank: Array


def symmetry(captured: Captured, params: PyTree, *, tolerance: float = 1e-2) -> Symmetry:
    """How alike the units of each layer are; pure, so it jits, vmaps and watches a training run.

    Whether training keeps or breaks a symmetry: ``train.fit(…, watch=lambda p: symmetry(captured,
    p))`` looks at every evaluation.

    Args:
      captured: from :func:`jinit.frameworks.capture`.
      params: its parameters.
      tolerance: of near duplicates, as in :func:`duplicate_units`.

    Returns:
      A :class:`Symmetry` with float32 arrays ``(layers,)``.

    Raises:
      ValueError: as :func:`duplicate_units`.

    Reference: Rumelhart, Hinton & Williams 1986 (symmetry breaking); Rudelson & Vershynin 2007
    (stable rank).

    >>> from jinit import frameworks, initialize
    >>> from jinit.models import MLP
    >>> captured = frameworks.capture(MLP(features=(8, 3)), jnp.zeros((2, 4)))
    >>> params = initialize(jax.random.key(0), captured.params, {"*": "ones"})
    >>> found = symmetry(captured, params)
    >>> found.duplicates.tolist(), found.rank.tolist()
    ([1.0, 1.0], [1.0, 1.0])
    """
    leaves = by_path(params)
    rows = []
    for layer in captured.layers:
        kernel = leaves[layer.kernel]
        bias = None if layer.bias is None else leaves[layer.bias]
        kernel = jnp.moveaxis(kernel, layer.kernel_unit_axis, -1)
        flat = kernel.reshape(-1, kernel.shape[-1])
        singular = jnp.linalg.svd(flat.astype(jnp.float32), compute_uv=False)
        largest = jnp.maximum(singular[0], _FLOAT32.tiny)
        floor = max(flat.shape) * _FLOAT32.eps * largest
        rows.append((
            duplicate_units(kernel, bias),
            duplicate_units(kernel, bias, tolerance),
            (singular > floor).sum(dtype=jnp.float32),
            ((singular / largest) ** 2).sum(),
        ))  # fmt: skip
    return Symmetry(*(jnp.stack(column) for column in zip(*rows, strict=True)))


def duplicate_units(
    kernel: Array,
    bias: Array | None = None,
    tolerance: float = 0.0,
    *,
    projections: int | None = None,
) -> Array:
    """Share of units, along the last axis, whose incoming weights equal another unit's.

    Args:
      kernel: ``(…, in, out)``.
      bias: ``(out,)``, or None.
      tolerance: 0 for bitwise equality; else at least 0.01: units whose columns lie within this
        share of the longer one's length are near duplicates. All pairs are looked at.
      projections: of near duplicates: measure distances in so many fixed random projections, right
        to a share of about 1/√(2 · projections), for a small part of the cost; None: exactly.

    Returns:
      A float32 scalar in [0, 1]; 0 for a single unit.

    Raises:
      ValueError: a tolerance between 0 and 0.01, where float32 cannot tell, or negative;
        projections that are no positive number, or of equal units.

    Reference: Johnson & Lindenstrauss 1984 (projections).

    >>> float(duplicate_units(jnp.array([[1.0, 1.0, 2.0]])))  # doctest: +ELLIPSIS
    0.666...
    """
    if tolerance and not tolerance >= _CLOSEST:
        raise errors.refusal("tolerance", tolerance, f"0, or at least {_CLOSEST}", "use 0.01")
    if projections is not None:
        errors.check_integer("projections", projections, low=1, fix="use 16")
        if not tolerance:
            raise errors.refusal(
                "projections", projections, "None where tolerance is 0", "tolerance=0.01"
            )
    rows = [kernel.reshape(-1, kernel.shape[-1])]
    if bias is not None and bias.size == kernel.shape[-1]:
        rows.append(bias.reshape(1, -1))
    if projections is not None and projections < sum(map(len, rows)):
        columns = _projected(rows, projections)
    else:
        columns = jnp.concatenate(rows)
    return (_near(columns, tolerance) if tolerance else _equal(columns)).mean(dtype=jnp.float32)


def _projected(rows: list[Array], projections: int) -> Array:
    """``(projections, out)``; parts of the columns one by one, which saves a copy of the kernel."""
    rng = np.random.default_rng(0)
    found: Array = sum(
        jnp.matmul(rng.normal(size=(projections, len(part))).astype(part.dtype), part,
                   precision="highest", preferred_element_type=jnp.float32)
        for part in rows
    )  # type: ignore[assignment]  # fmt: skip
    return found


def _equal(columns: Array) -> Array:
    # Sorted by one fixed projection equal columns are neighbours. In half precision different
    # columns would share a projection.
    wide = columns.astype(jnp.promote_types(columns.dtype, jnp.float32))
    projection = jnp.cos(jnp.arange(columns.shape[0], dtype=wide.dtype))
    order = jnp.argsort((wide * projection[:, None]).sum(0))
    ordered = columns[:, order]
    same = (ordered[:, 1:] == ordered[:, :-1]).all(0)
    none = jnp.zeros(1, bool)
    return jnp.concatenate([none, same]) | jnp.concatenate([same, none])


def _near(columns: Array, tolerance: float) -> Array:
    wide = columns.astype(jnp.promote_types(columns.dtype, jnp.float32))
    wide = wide / jnp.maximum(jnp.abs(wide).max(), jnp.finfo(wide.dtype).tiny)  # type: ignore[no-untyped-call]
    gram = jnp.matmul(wide.T, wide, precision="highest")
    squares = jnp.diagonal(gram)
    distances = squares[:, None] + squares - 2 * gram
    longer = jnp.maximum(squares[:, None], squares)
    near = distances <= tolerance**2 * longer
    return (near & ~jnp.eye(len(squares), dtype=bool)).any(0)
