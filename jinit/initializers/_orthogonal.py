"""Defines orthogonal kernels: Haar-uniform matrices with orthonormal rows or columns."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.nn.initializers import orthogonal as jax_orthogonal

from jinit import errors
from jinit._switches import own_switches
from jinit.activations import ActivationLike
from jinit.initializers import _laws
from jinit.initializers._definition import Definition
from jinit.initializers._factories import named
from jinit.initializers._gains import gain
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key

METHODS = ("qr", "householder")
KEEPS = ("variance", "norm")


@named
def orthogonal(
    scale: float = 1.0, column_axis: int = -1, dtype: DType = None, *, method: str = "qr"
) -> Definition:
    """scale · Q with QᵀQ = I (or QQᵀ = I), where Q is uniform (Haar) over these matrices.

    The kernel is a matrix: ``column_axis`` gives its columns and all other axes its rows. Rows or
    columns, whichever are fewer, are orthonormal. One entry has variance scale²/max(rows, columns).

    Two methods draw from the same law, with different values for one key:

    - ``"qr"`` is JAX's: the sign-corrected QR decomposition of a Gaussian matrix. Under vmap it
      runs one LAPACK call after another on CPU; on accelerators it is latency-bound.
    - ``"householder"`` draws the reflections of that decomposition directly (Stewart 1980) and
      multiplies them in blocks I − V T Vᵀ (Puglisi 1992). It needs little more than half as many
      random numbers and operations as ``"qr"``; the operations are matrix products, without LAPACK.
      Its speed is limited by the chain of up to 17 dependent blocks, and on CPU also by the random
      numbers and one pass over the matrix per block. It draws real dtypes only.

    Args:
      scale: multiplies Q, for example an activation's gain; not 0; may be traced.
      column_axis: the axis of the columns.
      dtype: default dtype; bfloat16 and float16 are computed in float32 and rounded. A complex
        dtype gives a unitary matrix (``"qr"``).
      method: ``"qr"`` or ``"householder"``.

    Returns:
      An initializer for rank ≥ 2; with ``"qr"`` in float32 and wider bit for bit
      ``jax.nn.initializers.orthogonal``.

    Raises:
      ValueError: the rank is below 2, the axis is out of range, the scale is 0 or not finite, or
        the method is unknown.

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
        if not math.prod(shape):
            return _laws.constant(0.0)
        bound = abs(_laws.value_or_nan(scale))
        size = max(rows, columns)
        return Law("orthogonal", 0.0, bound / math.sqrt(size), -bound, bound, size=size)

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        if not math.prod(shape):
            return jnp.zeros(shape, dtype)
        if method == "qr":
            return jax_orthogonal(scale, column_axis)(key, shape, dtype)
        rows, columns = _matrix(shape, column_axis)
        with own_switches():
            p = householder_product(key, max(rows, columns), min(rows, columns), dtype)
        q = (p if rows <= columns else p.T) * jnp.asarray(scale, dtype)
        others = [size for axis, size in enumerate(shape) if axis != column_axis % len(shape)]
        return jnp.moveaxis(q.reshape(*others, columns), -1, column_axis)

    return Definition(draw, law, "complex" if method == "qr" else "real", dtype=dtype, whole=True)


@named
def scaled_orthogonal(
    activation: ActivationLike = "identity",
    column_axis: int = -1,
    dtype: DType = None,
    *,
    keep: str = "variance",
    method: str = "qr",
) -> Definition:
    """gain(φ) · Q, a semi-orthogonal kernel for the activation φ.

    The kernel has n inputs and m outputs. ``keep="variance"`` multiplies Q by √(m/n) if m > n, so
    that every entry has variance gain²/n, as with :func:`scaled_for`, and the second moment *per
    unit* is kept. ``keep="norm"`` leaves it out: a widening layer keeps the *length* of its
    input, and an entry has variance gain²/max(n, m).

    Args:
      activation: a name, a spec string or an elementwise callable; its forward gain is used.
      column_axis, dtype, method: as for :func:`orthogonal`.
      keep: ``"variance"`` or ``"norm"``.

    Returns:
      An initializer for rank ≥ 2.

    Raises:
      ValueError: as for :func:`orthogonal`, or the activation keeps no signal.

    Reference: Saxe, McClelland & Ganguli 2013, section 3; He et al. 2015, equation 7 (the gain).

    >>> round(scaled_orthogonal("relu").law((50, 200)).stddev, 6)  # √(2/50)
    0.2
    """
    errors.check_choice("keep", keep, KEEPS)
    errors.check_choice("orthogonal method", method, METHODS)
    factor = float(gain(activation))

    def inner(shape: tuple[int, ...]) -> Definition:
        rows, columns = _matrix(shape, column_axis)
        widens = keep == "variance" and columns > rows > 0
        wider = math.sqrt(columns / rows) if widens else 1.0
        return orthogonal(factor * wider, column_axis, method=method).definition

    return Definition(
        lambda key, shape, dtype: inner(shape).draw(key, shape, dtype),
        lambda shape: inner(shape).law(shape),
        "complex" if method == "qr" else "real",
        dtype=dtype,
        whole=True,
    )


def householder_product(key: Key, n: int, m: int, dtype: DType) -> Array:
    """A uniform (m, n) matrix with orthonormal rows, n ≥ m, from m random reflections.

    Reflection i maps a Gaussian vector x_i of dimension n − i to axis i. The matrix is the first m
    rows of the product of all reflections, last one first, with the signs that make the diagonal of
    R (in QR) positive. The reflection vectors of a block are the rows of V, with |v_i|² = 2; the
    block's product is I − Vᵀ Tᵀ V, where T⁻¹ is the unit upper triangle of VVᵀ. Blocks are applied
    to the identity from the last to the first, each to the corner that it changes: 4/3 n³
    operations for a square matrix.

    XLA's product on CPU reads its left factor in place and copies its right factor. The matrix has
    orthonormal rows, not columns, so that the large corner is the left factor of every product. The
    triangles are independent of each other and are computed in one batch.

    Reference: Stewart 1980, section 3; Puglisi 1992, theorem 1.

    >>> p = householder_product(jax.random.key(0), 5, 2, jnp.float32)
    >>> bool(jnp.allclose(p @ p.T, jnp.eye(2), atol=1e-6))
    True
    """
    size = _block_size(m)
    widths = [min(size, m - start) for start in range(0, m, size)]
    counts = [(n - start) * width for start, width in zip(range(0, m, size), widths, strict=True)]
    numbers = jax.random.normal(key, (sum(counts),), dtype)
    tops, bottoms, offset = [], [], 0
    for width, count in zip(widths, counts, strict=True):
        x = numbers[offset : offset + count].reshape(width, -1)
        tops.append(jnp.triu(x[:, :width]))
        bottoms.append(x[:, width:])
        offset += count
    ends, triangles, signs = _reflections(tops, bottoms, size)
    p = jnp.zeros((0, n - m), dtype)
    for i, width in reversed(list(enumerate(widths))):
        v = jnp.concatenate([ends[i, :width, :width], bottoms[i]], axis=1)
        p = _reflected(p, v, triangles[i, :width, :width])
    return p * -signs.reshape(-1)[:m, None]


def _reflections(tops: list[Array], bottoms: list[Array], size: int) -> tuple[Array, Array, Array]:
    """The leading square of V, the triangle T and the signs of each block.

    The Gaussian vectors of a block are the rows of X = [top, bottom], and
    V = diag(c) · (X + [diag(sign · norm), 0]); T contains the factors c. V and X differ in the
    leading square only, so the products use the bottoms unchanged. The norms and VVᵀ are computed
    from the small matrix XXᵀ.
    """
    top = jnp.stack([_padded(block, size) for block in tops])
    grams = [_padded(_product(block, block.T), size) for block in bottoms]
    gram = jnp.stack(grams) + _product(top, jnp.swapaxes(top, 1, 2))
    squares, diagonal = jnp.diagonal(gram, axis1=1, axis2=2), jnp.diagonal(top, axis1=1, axis2=2)
    # Padded rows have norm 0; the norm 1 instead avoids a division by 0.
    norm = jnp.sqrt(jnp.where(squares > 0, squares, 1))
    sign = jnp.where(diagonal < 0, -1, 1).astype(top.dtype)
    scale = jnp.sqrt(1 / (norm * (norm + jnp.abs(diagonal))))  # √2/|v|
    scales = scale[:, :, None] * scale[:, None, :]
    longer = (sign * norm)[:, None, :]
    # Right of the diagonal, VVᵀ is XXᵀ plus top times the added diagonal of the later vector.
    triangles = _unit_upper_inverse((gram + top * longer) * scales) * scales
    return top + jnp.eye(size, dtype=top.dtype) * longer, triangles, sign


def _reflected(p: Array, v: Array, triangle: Array) -> Array:
    """The product [[I, 0], [0, p]] (I − Vᵀ Tᵀ V)."""
    width = len(v)
    turned = _product(triangle, v)
    factor = jnp.concatenate([turned[:, :width].T, _product(p, turned[:, width:].T)])
    # XLA fuses the pad and the identity into the subtraction, so neither is written to memory.
    row, column = (
        jax.lax.broadcasted_iota(jnp.int32, (len(factor), v.shape[1]), i) for i in (0, 1)
    )
    ones = ((row == column) & (row < width)).astype(p.dtype)
    return jnp.pad(p, ((width, 0), (width, 0))) + ones - _product(factor, v)


def _padded(a: Array, size: int) -> Array:
    """The square matrix, padded with zeros at the end of both axes."""
    return jnp.pad(a, ((0, size - len(a)), (0, size - len(a))))


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")


def _block_size(m: int) -> int:
    """Reflections per block: enough for efficient products, few enough to waste little work."""
    return 2 ** min(6, max(4, (m // 8).bit_length() - 1)) if m <= 1024 else m // 16


def _unit_upper_inverse(a: Array) -> Array:
    """Inverses of unit upper triangular (…, b, b) matrices; reads entries above the diagonal only.

    The recursion [[A, B], [0, C]]⁻¹ = [[A⁻¹, −A⁻¹ B C⁻¹], [0, C⁻¹]] ends at order 16. There the
    nilpotent part N satisfies (I + N)⁻¹ = (I − N)(I + N²)(I + N⁴)(I + N⁸).
    """
    size = a.shape[-1]
    if size > 16:
        half = size // 2
        first, last = (
            _unit_upper_inverse(block) for block in (a[..., :half, :half], a[..., half:, half:])
        )
        middle = -_product(first, _product(a[..., :half, half:], last))
        top = jnp.concatenate([first, middle], axis=-1)
        below = jnp.concatenate([jnp.zeros_like(a[..., half:, :half]), last], axis=-1)
        return jnp.concatenate([top, below], axis=-2)
    identity = jnp.eye(size, dtype=a.dtype)
    power = jnp.triu(a, 1)
    inverse = identity - power
    for _ in range(3):
        power = _product(power, power)
        inverse = _product(inverse, identity + power)
    return inverse


def _matrix(shape: tuple[int, ...], column_axis: int) -> tuple[int, int]:
    """The numbers of rows and columns of a kernel that is read as a matrix."""
    rank = len(shape)
    if rank < 2:
        raise errors.refusal("orthogonal shape", shape, "rank >= 2", "use 'normal' for a vector")
    axis = errors.check_integer(
        "column_axis", column_axis, low=-rank, high=rank - 1, fix=f"name an axis of {shape}"
    )
    axis %= rank
    return math.prod(shape[:axis] + shape[axis + 1 :]), shape[axis]
