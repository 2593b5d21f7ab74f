"""Defines sparse kernels, and RAI kernels, whose positive weights keep ReLU units active."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.initializers import _laws
from jinit.initializers._definition import Definition
from jinit.initializers._factories import named
from jinit.initializers._fans import MOST_ENTRIES
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key

PARTS = ("kernel", "bias")
# σ_w of the Gaussian entries: the root of σ² + 4√2/(3√π) σ = 1 (Lu et al. 2019, section 4).
_RAI_STDDEV = math.sqrt(1 + 8 / (9 * math.pi)) - 2 * math.sqrt(2 / math.pi) / 3


@named
def sparse(
    sparsity: float | None = None,
    stddev: float = 1e-2,
    dtype: DType = None,
    *,
    k: int | None = None,
) -> Definition:
    """Each unit has k incoming weights N(0, stddev²) at random positions; the others are 0.

    With ``sparsity`` instead of ``k``, ⌈sparsity · n⌉ of a unit's n weights are 0. torch's
    ``sparse_`` zeroes a fraction of each *column* of its (out, in) tensor: the outgoing weights of
    one input. To get the same here, draw the shape (out, in) and transpose.

    Args:
      sparsity: fraction of zeros, in [0, 1); give this or ``k``. The default is k = 15 (Martens).
      stddev: standard deviation of the weights that are not 0, > 0.
      dtype: default dtype; None means the JAX default float.
      k: number of weights per unit that are not 0, ≥ 1; all n are drawn if k > n.

    Returns:
      An initializer for (in, out).

    Raises:
      ValueError: the shape is not 2-D or is empty, both sparsity and k are given or one is out of
        range, or stddev is not positive.

    Reference: Martens 2010, section 5.

    >>> w = sparse(k=2)(jax.random.key(0), (10, 4))
    >>> (w != 0).sum(axis=0)
    Array([2, 2, 2, 2], dtype=int32)
    """
    errors.check_number("sparse stddev", stddev, low=0.0, open_low=True, fix="use 0.01")
    if sparsity is not None and k is not None:
        raise errors.refusal("sparse", "sparsity and k", "one of them", "drop one")
    if sparsity is not None:
        errors.check_number("sparsity", sparsity, low=0.0, high=1.0, fix="use 0.9 for 90 % zeros")
    else:
        k = errors.check_integer("sparse k", 15 if k is None else k, low=1, fix="use k=15")

    def count(shape: tuple[int, ...]) -> int:
        if len(shape) != 2 or not math.prod(shape):
            raise errors.refusal("sparse shape", shape, "rank 2: (in, out)", "flatten the kernel")
        kept = shape[0] - math.ceil(sparsity * shape[0]) if sparsity is not None else k or 0
        if not kept:
            raise errors.refusal(
                "sparsity",
                sparsity,
                f"a fraction that leaves at least one of {shape[0]} weights",
                "lower it",
            )
        return min(kept, shape[0])

    def law(shape: tuple[int, ...]) -> Law:
        share = count(shape) / shape[0]
        normal = Law("normal", 0.0, float(stddev))
        return _laws.mixture([(share, normal), (1 - share, _laws.constant(0.0))])

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        values, places = jax.random.split(key)
        # The k smallest of n independent numbers are a uniform subset of size k.
        order = jnp.argsort(jax.random.bits(places, shape), axis=0)
        rank = jnp.argsort(order, axis=0)
        drawn = jax.random.normal(values, shape, dtype) * jnp.asarray(stddev, dtype)
        return jnp.where(rank < count(shape), drawn, 0)

    return Definition(draw, law, dtype=dtype)


@named
def randomized_asymmetric(
    part: str = "kernel", fan_in: int | None = None, dtype: DType = None
) -> Definition:
    """RAI: of a unit's n weights and its bias, one is Beta(2, 1), the others are N(0, 0.6008²/n).

    The positive entry keeps a deep ReLU network from being inactive at the start. Kernel and bias
    are parts of one (n + 1, m) array. The *same key* for ``part="kernel"`` and ``part="bias"``
    gives the joint law; with different keys (as in a parameter tree) they are independent.

    Args:
      part: ``"kernel"`` (shape (n, m)) or ``"bias"`` (shape (m,)).
      fan_in: n, required for the bias, whose shape does not show it.
      dtype: default dtype; None means the JAX default float.

    Returns:
      An initializer for the shape of that part.

    Raises:
      ValueError: the part is unknown, a bias has no ``fan_in``, or the kernel is not (in, out).

    Reference: Lu, Shin, Su & Karniadakis 2019, section 4.

    >>> law = randomized_asymmetric().law((10, 4))
    >>> [round(weight, 4) for weight, _ in law.components]
    [0.0909, 0.9091]
    """
    errors.check_choice("randomized_asymmetric part", part, PARTS)
    if fan_in is not None:
        fix = "pass the kernel's number of inputs"
        errors.check_integer("fan_in", fan_in, low=1, high=MOST_ENTRIES, fix=fix)

    def inputs(shape: tuple[int, ...]) -> int:
        rank = 2 if part == "kernel" else 1
        if len(shape) != rank or not math.prod(shape):
            wanted = "(in, out)" if part == "kernel" else "(out,)"
            other = len(shape) == 1 and part == "kernel"
            fix = "randomized_asymmetric(part='bias') for a bias" if other else "flatten it"
            raise errors.refusal(f"randomized_asymmetric {part} shape", shape, wanted, fix)
        if part == "kernel":
            return shape[0]
        if fan_in is None:
            raise errors.refusal(
                "fan_in", None, "the kernel's inputs", "fan_in=64, or jinit.initialize"
            )
        return fan_in

    def law(shape: tuple[int, ...]) -> Law:
        n = inputs(shape)
        positive = Law("beta", 2 / 3, math.sqrt(1 / 18), 0.0, 1.0)
        return _laws.mixture(
            [(1 / (n + 1), positive), (n / (n + 1), Law("normal", 0.0, _RAI_STDDEV / math.sqrt(n)))]
        )

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        n = inputs(shape)
        weights, place, beta, biases = jax.random.split(key, 4)
        # Row n of the joint (n + 1, m) array is the bias.
        row, own = (jnp.arange(n)[:, None], weights) if part == "kernel" else (n, biases)
        values = jax.random.normal(own, shape, dtype) * jnp.asarray(_RAI_STDDEV / n**0.5, dtype)
        chosen = jax.random.randint(place, shape[-1:], 0, n + 1)
        # Beta(2, 1) has the distribution function x². 1 − u is never 0, because u < 1.
        positive = jnp.sqrt(1 - jax.random.uniform(beta, shape[-1:], dtype))
        return jnp.where(row == chosen, positive, values)

    return Definition(draw, law, dtype=dtype)
