"""Jacobians: what a small step of the input, or of the parameters, does to the outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jinit import errors
from jinit.typing import Apply, Array, Key, PyTree

# Jacobians of at most this many entries are made whole.
LARGEST = 2**22
# Inner products are taken in pieces of this length.
_PIECE = 2**12


def jacobian_singular_values(apply: Apply, params: PyTree, x: Array) -> Array:
    """All singular values of ∂f(x)/∂x at each example, largest first; exact.

    Args:
      apply: ``apply(params, x) -> outputs``, examples independent of each other.
      params: its parameters.
      x: ``(batch, …)``, floating point.

    Returns:
      ``(batch, min(inputs, outputs))``. All are 1 for a dynamical isometry.

    Raises:
      ValueError: a Jacobian of more than 2²² entries: see :func:`jacobian_largest_singular_values`.

    Reference: Saxe, McClelland & Ganguli 2013, section 3; Pennington et al. 2017, section 2.

    >>> apply = lambda params, x: x @ params
    >>> jacobian_singular_values(apply, jnp.diag(jnp.array([3.0, 1.0])), jnp.zeros((1, 2)))
    Array([[3., 1.]], dtype=float32)
    """
    one = _one(apply, params, x)
    inputs, outputs = x[0].size, jax.eval_shape(one, x[0].ravel()).size
    if inputs * outputs > LARGEST:
        raise errors.refusal(
            "Jacobian", f"{outputs} × {inputs} entries", f"at most {LARGEST}",
            "use jacobian_largest_singular_values, which makes no matrix",
        )  # fmt: skip
    make = jax.jacfwd if inputs < outputs else jax.jacrev

    def values(x: Array) -> Array:
        return jnp.linalg.svd(make(one)(x), compute_uv=False)

    return jax.vmap(values)(x.reshape(x.shape[0], -1))


def jacobian_largest_singular_values(
    key: Key, apply: Apply, params: PyTree, x: Array, *, count: int = 1, iterations: int = 50
) -> Array:
    """The largest singular values at each example without making the matrix: subspace iteration.

    Each iteration is ``count`` forward- and reverse-mode products and a QR of inputs × count; value
    i has a relative error that falls like (σ_{count+1}/σ_i)^(4·iterations); but for rounding it is
    never too large.

    Args:
      key: of the first subspace.
      apply, params, x: as :func:`jacobian_singular_values`.
      count: how many, at least 1 and at most the smaller of inputs and outputs.
      iterations: ≥ 1.

    Returns:
      ``(batch, count)``, largest first.

    Raises:
      ValueError: a count out of range, no iterations.

    Reference: Halko, Martinsson & Tropp 2011, algorithm 4.4.

    >>> apply = lambda params, x: x @ params
    >>> weights = jnp.diag(jnp.array([3.0, 2.0, 1.0]))
    >>> values = jacobian_largest_singular_values(
    ...     jax.random.key(0), apply, weights, jnp.zeros((1, 3)), count=2)
    >>> [round(float(value), 3) for value in values[0]]
    [3.0, 2.0]
    """
    errors.check_integer("iterations", iterations, low=1, fix="use 50")
    one = _one(apply, params, x)
    most = min(x[0].size, jax.eval_shape(one, x[0].ravel()).size)
    errors.check_integer("count", count, low=1, high=most, fix=f"at most {most} here")

    def largest(key: Key, x: Array) -> Array:
        _, forward = jax.linearize(one, x)
        backward = jax.linear_transpose(forward, x)
        ahead: Any = jax.vmap(forward, in_axes=1, out_axes=1)
        back: Any = jax.vmap(lambda u: backward(u)[0], in_axes=1, out_axes=1)

        def step(_: int, basis: Array) -> Array:
            # Orthonormal after each half: σ² may be beyond float32 where σ is not.
            images: Array = jnp.linalg.qr(ahead(basis))[0]
            return jnp.linalg.qr(back(images))[0]

        start = jax.random.normal(key, (x.size, count), x.dtype)
        basis = jax.lax.fori_loop(0, iterations, step, jnp.linalg.qr(start)[0])
        return jnp.linalg.svd(ahead(basis), compute_uv=False)

    keys = jax.random.split(key, x.shape[0])
    return jax.vmap(largest)(keys, x.reshape(x.shape[0], -1))


def empirical_ntk(apply: Apply, params: PyTree, x: Array) -> Array:
    """The empirical neural tangent kernel, averaged over outputs.

    Θ_ij = 1/k Σ_o ⟨∂f_o(x_i)/∂θ, ∂f_o(x_j)/∂θ⟩ over k outputs, examples i and j.

    Args:
      apply, params, x: as :func:`jacobian_singular_values`.

    Returns:
      ``(batch, batch)``, symmetric and positive semidefinite. Memory: batch × parameters.

    Raises:
      ValueError: no examples.

    Reference: Jacot, Gabriel & Hongler 2018, section 4.

    >>> empirical_ntk(lambda params, x: x @ params, jnp.ones((2, 1)), jnp.eye(2))
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    if not x.shape[0]:
        raise errors.refusal("x", x.shape, "at least one example", "pass a batch")
    outputs = jax.eval_shape(_one(apply, params, x), x[0].ravel()).size

    def of_output(index: Array) -> Array:
        def gradient(example: Array) -> Array:
            found = jax.grad(lambda p: apply(p, example[None])[0].ravel()[index])(params)
            return ravel_pytree(found)[0]

        return _inner_products(jax.vmap(gradient)(x))

    return jax.lax.map(of_output, jnp.arange(outputs)).mean(0)


def ntk_condition_number(apply: Apply, params: PyTree, x: Array) -> Array:
    """λ_max/λ_min of the empirical NTK: gradient descent needs about as many steps.

    Args:
      apply, params, x: as :func:`empirical_ntk`; two equal examples give a huge number or inf.

    Returns:
      A scalar ≥ 1; inf where the smallest eigenvalue is not positive. Above about 10⁶ it is
      float32's rounding that shows.

    Reference: Xiao, Pennington & Schoenholz 2020, section 3.

    >>> apply = lambda params, x: x @ params
    >>> float(ntk_condition_number(apply, jnp.ones((2, 1)), jnp.diag(jnp.array([1.0, 2.0]))))
    4.0
    """
    values = jnp.linalg.eigvalsh(empirical_ntk(apply, params, x))
    return jnp.where(values[0] > 0, values[-1] / values[0], jnp.inf)


def _inner_products(rows: Array) -> Array:
    """``rows @ rows.T``, right also for rows of many millions.

    XLA's CPU backend adds a long product's terms one after the other in float32, which loses 3 %
    over 2²⁴ of them; sums of pieces are added in pairs.
    """
    padded = jnp.pad(rows, ((0, 0), (0, -rows.shape[1] % _PIECE)))
    pieces = padded.reshape(rows.shape[0], -1, _PIECE)
    return jnp.einsum("ikp,jkp->kij", pieces, pieces, precision="highest").sum(0)


def _one(apply: Apply, params: PyTree, x: Array) -> Callable[[Array], Array]:
    """The network on one flat example."""
    shape = x.shape[1:]
    return lambda flat: apply(params, flat.reshape(1, *shape))[0].ravel()
