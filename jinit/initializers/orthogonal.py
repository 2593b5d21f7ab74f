"""Orthogonal kernels: uniform (Haar) over matrices with orthonormal rows or columns."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.activations import ActivationLike
from jinit.initializers.base import Recipe, named
from jinit.initializers.gains import gain
from jinit.initializers.laws import Law
from jinit.typing import Array, DType

METHODS = ("qr", "householder")
KEEPS = ("variance", "norm")


@named
def orthogonal(
    scale: float = 1.0, column_axis: int = -1, dtype: DType = None, *, method: str = "qr"
) -> Recipe:
    """scale · Q with QᵀQ = I (or QQᵀ = I), Q uniform over such matrices.

    The shape is read as a matrix with ``column_axis`` as columns and everything else as rows;
    the smaller side is orthonormal. One entry has variance scale²/max(rows, columns).

    Two ways to the same law, with different values for one key:

    - ``"qr"``: the sign-corrected QR decomposition of a Gaussian matrix, JAX's. Under vmap it runs
      one LAPACK call after another on CPU, and on accelerators it is latency-bound.
    - ``"householder"``: the product of the reflections such a decomposition would find, drawn
      outright (Stewart 1980) and multiplied out as I − V T Vᵀ (Puglisi 1992): half the random
      numbers, two matrix products and one triangular solve, no LAPACK. Every lane of a batch
      runs at matrix-product speed; the solve, whose chain of dependent rows has length n, limits
      it. Real dtypes only.

    Args:
      scale: multiplies Q, non-zero; an activation's gain.
      column_axis: the axis of the columns.
      dtype: default dtype; bfloat16 and float16 are computed in float32 and rounded. A complex
        dtype gives a unitary matrix (``"qr"``).
      method: ``"qr"`` or ``"householder"``.

    Returns:
      An initializer for rank ≥ 2; with ``"qr"`` in float32 and wider bit for bit
      ``jax.nn.initializers.orthogonal``.

    Raises:
      ValueError: rank below 2, an axis out of range, an empty shape, a zero or NaN scale, an
        unknown method.

    Reference: Saxe, McClelland & Ganguli 2013, section 3; Mezzadri 2007, section 5; Stewart 1980,
    section 3.

    >>> q = orthogonal()(jax.random.key(0), (3, 3))
    >>> bool(jnp.allclose(q.T @ q, jnp.eye(3), atol=1e-6))
    True
    """
    errors.check_number("orthogonal scale", scale, fix="use a finite number such as 1.0")
    errors.check_choice("orthogonal method", method, METHODS)
    if isinstance(scale, int | float) and scale == 0:
        raise errors.refusal("orthogonal scale", scale, "a number that is not 0", "use 'zeros'")

    def law(shape: tuple[int, ...]) -> Law:
        rows, columns = _matrix(shape, column_axis)
        bound = abs(float(scale))
        size = max(rows, columns)
        return Law("orthogonal", 0.0, bound / math.sqrt(size), -bound, bound, size=size)

    def draw(key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        wide = jnp.float32 if dtype.itemsize < 4 else dtype
        if method == "qr":
            make = jax.nn.initializers.orthogonal(scale, column_axis)
            return make(key, shape, wide).astype(dtype)
        rows, columns = _matrix(shape, column_axis)
        q = householder_product(key, max(rows, columns), min(rows, columns), wide)
        q = (q if rows >= columns else q.T) * jnp.asarray(scale, wide)
        others = [size for axis, size in enumerate(shape) if axis != column_axis % len(shape)]
        return jnp.moveaxis(q.reshape(*others, columns), -1, column_axis).astype(dtype)

    return Recipe(draw, law, "complex" if method == "qr" else "real", dtype=dtype)


@named
def scaled_orthogonal(
    activation: ActivationLike = "identity",
    column_axis: int = -1,
    dtype: DType = None,
    *,
    keep: str = "variance",
    method: str = "qr",
) -> Recipe:
    """gain(φ) · Q, corrected where the kernel widens: a semi-orthogonal kernel for activation φ.

    ``keep="variance"`` multiplies by √(m/n) where m > n, so that every entry has variance
    gain²/n as with :func:`scaled_for` and the second moment *per unit* is kept at any widths;
    ``keep="norm"`` leaves Q alone: a widening layer then keeps the *length* of its input, and one
    entry has variance gain²/max(n, m).

    Args:
      activation: a name, a spec string or an elementwise callable; its forward gain is used.
      column_axis, dtype, method: as :func:`orthogonal`.
      keep: ``"variance"`` or ``"norm"``.

    Returns:
      An initializer for rank ≥ 2.

    Raises:
      ValueError: as :func:`orthogonal`; an activation that keeps no signal.

    Reference: Saxe, McClelland & Ganguli 2013, section 3; He et al. 2015, equation 7 (the gain).

    >>> round(scaled_orthogonal("relu").law((50, 200)).stddev, 6)  # √(2/50)
    0.2
    """
    errors.check_choice("keep", keep, KEEPS)
    errors.check_choice("orthogonal method", method, METHODS)
    factor = float(gain(activation))

    def inner(shape: tuple[int, ...]) -> Recipe:
        rows, columns = _matrix(shape, column_axis)
        wider = math.sqrt(columns / rows) if keep == "variance" and columns > rows else 1.0
        return orthogonal(factor * wider, column_axis, method=method).recipe

    return Recipe(
        lambda key, shape, dtype: inner(shape).draw(key, shape, dtype),
        lambda shape: inner(shape).law(shape),
        "complex" if method == "qr" else "real",
        dtype=dtype,
    )


def householder_product(key: Any, n: int, m: int, dtype: Any) -> Array:
    """A uniform (n, m) matrix with orthonormal columns, n ≥ m, from m random reflections.

    Reflection i sends a Gaussian vector x_i of dimension n − i to the axis i; Q is their product
    with the signs that make R's diagonal positive. With unit v_i √2 the product is I − V T Vᵀ,
    T⁻¹ the upper triangle of VᵀV.

    Reference: Stewart 1980, section 3; Puglisi 1992, theorem 1.

    >>> q = householder_product(jax.random.key(0), 5, 2, jnp.float32)
    >>> bool(jnp.allclose(q.T @ q, jnp.eye(2), atol=1e-6))
    True
    """
    x = _lower_gaussian(key, n, m, dtype)
    signs = jnp.where(jnp.diagonal(x) < 0, -1, 1).astype(dtype)
    v = x + jnp.eye(n, m, dtype=dtype) * (signs * jnp.linalg.norm(x, axis=0))
    v = v * (math.sqrt(2) / jnp.linalg.norm(v, axis=0))
    product = jnp.matmul(v.T, v, precision="highest")
    # Unit diagonal: half of |v|² = 2. The solver is told so and the rounding of v stays out of it.
    solved = jax.lax.linalg.triangular_solve(
        product, v[:m].T, left_side=True, lower=False, unit_diagonal=True
    )
    q = jnp.eye(n, m, dtype=dtype) - jnp.matmul(v, solved, precision="highest")
    return q * -signs


def _lower_gaussian(key: Any, n: int, m: int, dtype: Any) -> Array:
    """Independent N(0, 1) on and below the diagonal of (n, m), 0 above; no number is wasted.

    The triangle of order 2k comes from a (2k + 1, k) rectangle: its upper part, transposed, is
    the lower right block (the rectangular full packed format).
    """
    k = -(-m // 2)
    numbers = jax.random.normal(key, ((2 * k + 1) * k + (n - m) * m,), dtype)
    packed = numbers[: (2 * k + 1) * k].reshape(2 * k + 1, k)
    first, second = jnp.tril(packed[1 : k + 1]), jnp.triu(packed[:k]).T
    triangle = jnp.block([[first, jnp.zeros((k, k), dtype)], [packed[k + 1 :], second]])
    rest = numbers[(2 * k + 1) * k :].reshape(n - m, m)
    return jnp.concatenate([triangle[:m, :m], rest])


def _matrix(shape: tuple[int, ...], column_axis: int) -> tuple[int, int]:
    """(rows, columns) of the matrix a kernel is read as."""
    rank = len(shape)
    if rank < 2 or not math.prod(shape):
        raise errors.refusal(
            "orthogonal shape", shape, "rank >= 2, sizes >= 1", "vectors have no orthogonal rule"
        )
    if not -rank <= column_axis < rank:
        raise errors.refusal(
            "column_axis", column_axis, f"in [{-rank}, {rank - 1}]", f"shape is {shape}"
        )
    return math.prod(shape) // shape[column_axis], shape[column_axis]
