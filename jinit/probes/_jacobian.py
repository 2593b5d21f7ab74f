"""Computes singular values of input–output Jacobians and the empirical neural tangent kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jinit import errors
from jinit._anew import anew
from jinit._examples import check_examples
from jinit.typing import Apply, Array, Key, PyTree

# Largest number of entries of a Jacobian that is formed; the matrix-free function has no limit.
LARGEST = 2**22
# Length of the blocks in which inner products are summed.
_PIECE = 2**12


def jacobian_singular_values(apply: Apply, params: PyTree, x: Array) -> Array:
    """All singular values of ∂f(x)/∂x at each example, exact and largest first.

    Args:
      apply: ``apply(params, x) -> outputs``; the outputs of an example must not depend on other
        examples.
      params: the parameters of ``apply``.
      x: ``(batch, …)``, floating point.

    Returns:
      ``(batch, min(inputs, outputs))``; all values are 1 under dynamical isometry.

    Raises:
      ValueError: a Jacobian of more than 2²² entries: see :func:`jacobian_largest_singular_values`;
        no examples.

    Reference: Saxe, McClelland & Ganguli 2013, section 3; Pennington et al. 2017, section 2.

    >>> apply = lambda params, x: x @ params
    >>> jacobian_singular_values(apply, jnp.diag(jnp.array([3.0, 1.0])), jnp.zeros((1, 2)))
    Array([[3., 1.]], dtype=float32)
    """
    one = _one(apply, params, x)
    inputs, outputs = x[0].size, jax.eval_shape(anew(one), x[0].ravel()).size
    if inputs * outputs > LARGEST:
        raise errors.refusal(
            "Jacobian",
            f"{outputs} × {inputs} entries",
            f"at most {LARGEST}",
            "use jacobian_largest_singular_values, which is matrix-free",
        )
    make = jax.jacfwd if inputs < outputs else jax.jacrev

    def values(x: Array) -> Array:
        return jnp.linalg.svd(make(one)(x), compute_uv=False)

    return jax.vmap(values)(x.reshape(x.shape[0], -1))


def jacobian_largest_singular_values(
    key: Key, apply: Apply, params: PyTree, x: Array, *, count: int = 1, iterations: int = 50
) -> Array:
    """The largest singular values at each example, matrix-free, by subspace iteration.

    One iteration costs ``count`` forward- and reverse-mode products and a QR decomposition of an
    inputs × count matrix. The relative error of value i falls like
    (σ_{count+1}/σ_i)^(4·iterations). Up to rounding, every value is a lower bound.

    Args:
      key: draws the start subspace.
      apply, params, x: as in :func:`jacobian_singular_values`.
      count: number of singular values, from 1 to min(inputs, outputs).
      iterations: number of iterations, ≥ 1.

    Returns:
      ``(batch, count)``, largest first.

    Raises:
      ValueError: ``count`` out of range, ``iterations`` below 1, or no examples.

    Reference: Halko, Martinsson & Tropp 2011, algorithm 4.4.

    >>> apply = lambda params, x: x @ params
    >>> weights = jnp.diag(jnp.array([3.0, 2.0, 1.0]))
    >>> values = jacobian_largest_singular_values(
    ...     jax.random.key(0), apply, weights, jnp.zeros((1, 3)), count=2)
    >>> [round(float(value), 3) for value in values[0]]
    [3.0, 2.0]
    """
    errors.check_key(key)
    errors.check_integer("iterations", iterations, low=1, high=10**6, fix="use 50")
    one = _one(apply, params, x)
    most = min(x[0].size, jax.eval_shape(anew(one), x[0].ravel()).size)
    errors.check_integer("count", count, low=1, high=most, fix=f"at most {most} here")

    def largest(key: Key, x: Array) -> Array:
        _, forward = jax.linearize(one, x)
        backward = jax.linear_transpose(forward, x)
        ahead: Any = jax.vmap(forward, in_axes=1, out_axes=1)
        back: Any = jax.vmap(lambda u: backward(u)[0], in_axes=1, out_axes=1)

        def step(_: int, basis: Array) -> Array:
            # Orthonormalize after each half step: σ² can overflow float32 where σ does not.
            images: Array = jnp.linalg.qr(ahead(basis))[0]
            return jnp.linalg.qr(back(images))[0]

        start = jax.random.normal(key, (x.size, count), x.dtype)
        basis = jax.lax.fori_loop(0, iterations, step, jnp.linalg.qr(start)[0])
        return jnp.linalg.svd(ahead(basis), compute_uv=False)

    keys = jax.random.split(key, x.shape[0])
    return jax.vmap(largest)(keys, x.reshape(x.shape[0], -1))


def empirical_ntk(apply: Apply, params: PyTree, x: Array) -> Array:
    """The empirical neural tangent kernel, averaged over outputs.

    Θ_ij = 1/k Σ_o ⟨∂f_o(x_i)/∂θ, ∂f_o(x_j)/∂θ⟩ for examples i and j and k outputs o.

    Args:
      apply, params, x: as in :func:`jacobian_singular_values`.

    Returns:
      ``(batch, batch)``, symmetric and positive semidefinite. Memory: batch × parameters.

    Raises:
      ValueError: an empty batch.

    Reference: Jacot, Gabriel & Hongler 2018, section 4.

    >>> empirical_ntk(lambda params, x: x @ params, jnp.ones((2, 1)), jnp.eye(2))
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    one = _one(apply, params, x)
    outputs = jax.eval_shape(anew(one), x[0].ravel()).size

    def of_output(index: Array) -> Array:
        def gradient(example: Array) -> Array:
            slope = jax.grad(lambda p: apply(p, example[None])[0].ravel()[index])(params)
            return ravel_pytree(slope)[0]

        return _inner_products(jax.vmap(gradient)(x))

    return jax.lax.map(of_output, jnp.arange(outputs)).mean(0)


def _inner_products(rows: Array) -> Array:
    """``rows @ rows.T`` without loss of digits in rows of many millions of entries.

    XLA's CPU backend adds the terms of a long product one after the other in float32, which loses
    3 % over 2²⁴ terms. Here each block is one product, and ``sum`` adds the blocks pairwise.
    """
    padded = jnp.pad(rows, ((0, 0), (0, -rows.shape[1] % _PIECE)))
    pieces = padded.reshape(rows.shape[0], -1, _PIECE)
    return jnp.einsum("ikp,jkp->kij", pieces, pieces, precision="highest").sum(0)


def _one(apply: Apply, params: PyTree, x: Array) -> Callable[[Array], Array]:
    """The network as a function of one flattened example."""
    if not callable(apply):
        raise errors.wrong_type("apply", apply, "apply(params, x)", "lambda params, x: …")
    check_examples(x)
    shape = x.shape[1:]
    return lambda flat: apply(params, flat.reshape(1, *shape))[0].ravel()
