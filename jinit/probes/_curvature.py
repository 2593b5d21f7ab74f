"""Computes the largest Hessian eigenvalue of a loss without forming the matrix."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jinit import errors
from jinit._anew import anew
from jinit.probes._losses import check_scalar
from jinit.typing import Array, Key, PyTree


def hessian_largest_eigenvalue(
    key: Key, loss: Callable[[PyTree], Array], params: PyTree, *, iterations: int = 30
) -> Array:
    """The largest (most positive) eigenvalue of ∂²L/∂θ², by Lanczos with full reorthogonalization.

    Gradient descent with learning rate η is stable along this direction while λ < 2/η.

    Args:
      key: draws the start vector.
      loss: ``loss(params) -> scalar``, twice differentiable at ``params``.
      params: the point at which the Hessian is taken.
      iterations: number of Hessian–vector products, ≥ 2. The result is exact up to rounding once
        ``iterations`` reaches the number of parameters. Memory: ``iterations`` copies of the
        parameters.

    Returns:
      A scalar: a lower bound of the eigenvalue that rises with ``iterations``.

    Raises:
      ValueError: fewer than two iterations, no parameters, or a loss that is not a scalar.

    Reference: Lanczos 1950; Ghorbani, Krishnan & Xiao 2019, section 2.

    >>> curve = jnp.array([1.0, 4.0, -7.0])
    >>> loss = lambda params: 0.5 * (curve * params**2).sum()
    >>> round(float(hessian_largest_eigenvalue(jax.random.key(0), loss, jnp.ones(3))), 4)
    4.0
    """
    errors.check_integer("iterations", iterations, low=2, fix="use 30")
    flat, rebuild = ravel_pytree(params)
    if not flat.size:
        raise errors.refusal(
            "params", params, "at least one parameter", "pass the model's parameters"
        )
    check_scalar(jax.eval_shape(anew(loss), params), "parameters")
    steps = min(iterations, flat.size)
    gradient = jax.grad(lambda flat: loss(rebuild(flat)))

    def product(v: Array) -> Array:
        return jax.jvp(gradient, (flat,), (v,))[1]

    def step(carry: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], Array]:
        basis, v = carry
        basis = basis.at[index].set(v)
        w = product(v)
        # (w * v).sum() and not w @ v: XLA's CPU dot product of many millions of float32 terms
        # loses digits.
        alpha = (w * v).sum()
        # Gram–Schmidt twice is enough (Parlett); once leaves the subtraction's rounding error.
        for _ in range(2):
            w = w - basis.T @ (basis * w).sum(1)
        beta = jnp.linalg.norm(w)
        # β ≈ 0: the basis spans an invariant subspace. All later vectors are then 0.
        v = jnp.where(beta > 1e-6 * jnp.abs(alpha), w / jnp.maximum(beta, 1e-30), 0.0)
        return (basis, v), jnp.stack([alpha, beta])

    first = jax.random.normal(key, flat.shape, flat.dtype)
    start = (jnp.zeros((steps, flat.size), flat.dtype), first / jnp.linalg.norm(first))
    _, coefficients = jax.lax.scan(step, start, jnp.arange(steps))
    alpha, beta = coefficients[:, 0], coefficients[:-1, 1]
    kept = jnp.cumprod(jnp.concatenate([jnp.ones(1), (beta > 1e-6 * jnp.abs(alpha[:-1]))]))
    # Rows after a breakdown (β ≈ 0) carry no information. Uncoupled entries alpha[0] replace them:
    # a Rayleigh quotient of the matrix, which does not exceed the largest eigenvalue.
    alpha = jnp.where(kept > 0, alpha, alpha[0])
    beta = jnp.where(kept[1:] > 0, beta, 0.0)
    tridiagonal = jnp.diag(alpha) + jnp.diag(beta, 1) + jnp.diag(beta, -1)
    return jnp.linalg.eigvalsh(tridiagonal)[-1]
