"""Defines structured kernels: Dirac, delta-orthogonal, Hadamard (ZerO) and looks-linear."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.nn.initializers import delta_orthogonal as jax_delta_orthogonal

from jinit import errors
from jinit.initializers import _laws
from jinit.initializers._definition import Definition
from jinit.initializers._factories import named
from jinit.initializers._laws import Law
from jinit.initializers._orthogonal import METHODS, orthogonal
from jinit.typing import Array, DType, Key

ROLES = ("input", "hidden", "output")


@named
def dirac(groups: int = 1, dtype: DType = None) -> Definition:
    """The identity as a convolution: the centre tap is the rectangular identity, other taps are 0.

    With groups, each block of out/groups channels is an identity.

    Args:
      groups: feature groups; a divisor of the out axis.
      dtype: default dtype; None means the JAX default float.

    Returns:
      An initializer for kernels ``(receptive field…, in/groups, out)`` of rank 3, 4 or 5.

    Raises:
      ValueError: the rank is not 3, 4 or 5 (a stack of kernels has no one centre tap), or the
        groups do not divide the out axis.

    Reference: Zagoruyko & Komodakis 2017, section 3.

    >>> dirac()(jax.random.key(0), (3, 1, 1)).ravel()
    Array([0., 1., 0.], dtype=float32)
    """
    errors.check_integer("dirac groups", groups, low=1, fix="use groups=1")

    def law(shape: tuple[int, ...]) -> Law:
        if not 3 <= len(shape) <= 5:
            raise errors.refusal(
                "dirac shape",
                shape,
                "rank 3 to 5: (receptive field…, in, out)",
                "use 'identity' for a dense layer, or draw a stack kernel by kernel with vmap",
            )
        size_in, size_out = shape[-2:]
        if size_out % groups:
            raise errors.refusal(
                "dirac groups", groups, f"a divisor of {size_out} (shape {shape})", "check groups"
            )
        ones = groups * min(size_in, size_out // groups)
        return _laws.two_valued(1.0, ones, 0, math.prod(shape))

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        row, column = _places(shape)
        diagonal = row == column % (shape[-1] // groups)
        return jnp.where(_at_centre(shape) & diagonal, 1, 0).astype(dtype)

    return Definition(draw, law, dtypes="any", dtype=dtype)


@named
def delta_orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: DType = None) -> Definition:
    """An orthogonal matrix at the centre tap and 0 elsewhere: a convolution that is an isometry.

    Args:
      scale: multiplies Q, not 0.
      column_axis: the axis of the columns in the (in, out) matrix at the centre, as in JAX.
      dtype: default dtype; half precision is computed in float32 and rounded.

    Returns:
      An initializer for kernels of rank 3, 4 or 5 with in ≤ out; in float32 and wider bit for bit
      ``jax.nn.initializers.delta_orthogonal``.

    Raises:
      ValueError: the rank is not 3, 4 or 5, there are more inputs than outputs, or the scale is 0
        or not finite.

    Reference: Xiao et al. 2018, algorithm 1.

    >>> w = delta_orthogonal()(jax.random.key(0), (3, 2, 4))
    >>> bool(jnp.allclose(w[1] @ w[1].T, jnp.eye(2), atol=1e-6)), float(jnp.abs(w[0]).sum())
    (True, 0.0)
    """
    centre = orthogonal(scale, column_axis).definition

    def law(shape: tuple[int, ...]) -> Law:
        if not 3 <= len(shape) <= 5:
            raise errors.refusal("delta_orthogonal shape", shape, "rank 3 to 5", "use 'orthogonal'")
        if shape[-2] > shape[-1]:
            raise errors.refusal(
                "delta_orthogonal shape", shape, "in <= out: (…, in, out)", "use 'orthogonal'"
            )
        if not math.prod(shape):
            return _laws.constant(0.0)
        share = math.prod(shape[-2:]) / math.prod(shape)
        return _laws.mixture([(share, centre.law(shape[-2:])), (1 - share, _laws.constant(0.0))])

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        if not math.prod(shape):
            return jnp.zeros(shape, dtype)
        return jax_delta_orthogonal(scale, column_axis)(key, shape, dtype)

    return Definition(draw, law, "complex", dtype=dtype, whole=True)


@named
def hadamard(gain: float = 1.0, dtype: DType = None) -> Definition:
    """ZerO: the identity if the layer does not widen, else a block of a Hadamard matrix.

    A kernel with in ≥ out is the rectangular identity. A kernel with in < out is 2^(−c/2) times the
    leading in × out block of the 2^c × 2^c Hadamard matrix, c = ⌈log₂ out⌉, which breaks the
    symmetry of an identity. A convolution kernel has this matrix at its centre tap.

    Args:
      gain: multiplies the kernel, dimensionless. The paper prints 2^(−(c−1)/2), which is gain √2;
        the authors' code has gain 1.
      dtype: default dtype; None means the JAX default float.

    Returns:
      A deterministic initializer for rank 2 to 5.

    Raises:
      ValueError: the rank is not 2 to 5, or the gain is not finite.

    Reference: Zhao, Schäfer & Anandkumar 2021, algorithm 1.

    >>> hadamard()(jax.random.key(0), (2, 4))
    Array([[ 0.5,  0.5,  0.5,  0.5],
           [ 0.5, -0.5,  0.5, -0.5]], dtype=float32)
    """
    errors.check_number("hadamard gain", gain, fix="use a finite number")

    def height(shape: tuple[int, ...]) -> float:
        """The absolute value of an entry that is not 0."""
        size_in, size_out = shape[-2:]
        order = 1 << (size_out - 1).bit_length()
        return float(gain) / (math.sqrt(order) if size_in < size_out else 1.0)

    def law(shape: tuple[int, ...]) -> Law:
        _check_kernel("hadamard", shape)
        size_in, size_out = shape[-2:]
        positive, negative = min(size_in, size_out), 0
        if size_in < size_out:
            entries, difference = size_in * size_out, _hadamard_sum(size_in, size_out)
            positive, negative = (entries + difference) // 2, (entries - difference) // 2
        return _laws.two_valued(height(shape), positive, negative, math.prod(shape))

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        row, column = _places(shape)
        value = jnp.asarray(height(shape), dtype)
        if shape[-2] >= shape[-1]:
            return jnp.where(_at_centre(shape) & (row == column), value, 0)
        negative = jax.lax.population_count(row & column) % 2 == 1
        return jnp.where(_at_centre(shape), jnp.where(negative, -value, value), 0)

    return Definition(draw, law, dtypes="any", dtype=dtype)


@named
def looks_linear(
    role: str = "hidden", scale: float = 1.0, dtype: DType = None, *, method: str = "qr"
) -> Definition:
    """Mirrored blocks that make a doubled ReLU layer linear at the start: relu(h) − relu(−h) = h.

    A hidden kernel is [[W, −W], [−W, W]], where W is orthogonal, with half as many rows and
    columns. An ``"input"`` kernel is [W, −W]. An ``"output"`` kernel is [W; −W], and so is every
    kernel of a CReLU network.

    Args:
      role: ``"input"``, ``"hidden"`` or ``"output"``; it decides which sides are doubled.
      scale: multiplies W, not 0.
      dtype: default dtype; None means the JAX default float.
      method: the method that draws W, as in :func:`orthogonal`.

    Returns:
      An initializer for rank 2 to 5; a convolution kernel has the matrix at its centre tap.

    Raises:
      ValueError: a doubled side has an odd size, the rank is not 2 to 5, the scale is 0 or not
        finite, or the role or the method is unknown.

    Reference: Balduzzi et al. 2017, section 4.

    >>> w = looks_linear("output")(jax.random.key(0), (4, 3))
    >>> bool((w[:2] == -w[2:]).all())
    True
    """
    errors.check_choice("looks_linear role", role, ROLES)
    errors.check_choice("orthogonal method", method, METHODS)
    inner = orthogonal(scale, method=method).definition

    def half(shape: tuple[int, ...]) -> tuple[int, int]:
        _check_kernel("looks_linear", shape)
        size_in, size_out = shape[-2:]
        doubled_in, doubled_out = role != "input", role != "output"
        if (doubled_in and size_in % 2) or (doubled_out and size_out % 2):
            raise errors.refusal(
                "looks_linear shape",
                shape,
                f"even sizes on the axes that role {role!r} doubles",
                "add a unit",
            )
        return size_in // (1 + doubled_in), size_out // (1 + doubled_out)

    def law(shape: tuple[int, ...]) -> Law:
        block = inner.law(half(shape))
        if not math.prod(shape):
            return _laws.constant(0.0)
        share = math.prod(shape[-2:]) / math.prod(shape)
        if share == 1:
            return block
        return _laws.mixture([(share, block), (1 - share, _laws.constant(0.0))])

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        if not math.prod(shape):
            return jnp.zeros(shape, dtype)
        w = inner.draw(key, half(shape), dtype)
        if role != "output":
            w = jnp.concatenate([w, -w], axis=1)
        if role != "input":
            w = jnp.concatenate([w, -w], axis=0)
        return jnp.zeros(shape, dtype).at[_centre(shape)].set(w)

    return Definition(draw, law, dtype=dtype, whole=True)


def _check_kernel(name: str, shape: tuple[int, ...]) -> None:
    """A dense kernel or a convolution's: the centre tap of a stack of kernels is one kernel's."""
    if not 2 <= len(shape) <= 5:
        fix = "use 'zeros' for a bias, or draw a stack kernel by kernel with vmap"
        raise errors.refusal(f"{name} shape", shape, "rank 2 to 5", fix)


def _centre(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index of the centre tap; for an even size, the tap after the middle, as in torch."""
    return tuple(size // 2 for size in shape[:-2])


def _places(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Row and column of every entry, without communication: each device computes its own shard."""
    row, column = (jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) - n) for n in (2, 1))
    return row, column


def _at_centre(shape: tuple[int, ...]) -> Array:
    """True for the entries of the centre tap."""
    at_centre = jnp.ones(shape, bool)
    for axis, place in enumerate(_centre(shape)):
        at_centre &= jax.lax.broadcasted_iota(jnp.int32, shape, axis) == place
    return at_centre


def _hadamard_sum(rows: int, columns: int) -> int:
    """Σ (−1)^popcount(i & j) over i < rows and j < columns: the sum of a leading block.

    A block of 2ᵏ rows and at most 2ᵏ columns sums to 2ᵏ, the sum of its first column.
    """
    rows, columns = max(rows, columns), min(rows, columns)
    if columns == 0 or rows & (rows - 1) == 0:
        return rows if columns else 0
    half = 1 << ((rows - 1).bit_length() - 1)
    top, left = min(columns, half), rows - half
    return (
        half
        + _hadamard_sum(left, top)
        + _hadamard_sum(half, columns - top)
        - _hadamard_sum(left, columns - top)
    )
