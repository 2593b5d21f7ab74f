"""Scales kernels so that all layers have the same ratio of gradient norm to weight norm."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.calibrate._common import Trace, adjusted, by_kernel, kernels_by_layer, opened
from jinit.frameworks._capture import by_path
from jinit.probes import random_projection
from jinit.typing import Array, Key, ModelLike, PyTree


def between_layers(
    key: Key, model: ModelLike, params: PyTree, batch: Array, *, iterations: int = 10
) -> tuple[PyTree, Trace]:
    """Scales kernels by r_k with Π r_k = 1 so that all layers share one rate C_k = ‖∂L/∂W_k‖/‖W_k‖.

    If the activation is positively homogeneous, scaling by r_k divides C_k by r_k². One step
    r_k = √(C_k/C̄), with the geometric mean C̄, is then exact, and scaling b_k by r_1 ⋯ r_k keeps the
    function of the network. For other activations, half steps in ln r are repeated. A kernel that
    n layers share counts n times in Π r_k and C̄; its bias is scaled by the geometric mean of the
    products r_1 ⋯ r_k of these layers, and the function changes slightly.

    Args:
      key: draws the random projection of the outputs, which serves as the loss.
      model: as in :func:`jinit.calibrate.lsuv`, with at least two layers.
      params: its parameters.
      batch: ``(batch, …)``.
      iterations: number of steps, ≥ 1.

    Returns:
      Parameters, and a :class:`Trace` of the rates; a kernel has converged if its rate is within
      5 % of C̄. A kernel whose entries or gradients are all 0 stays unchanged and has not converged.

    Raises:
      ValueError: a number out of range; as :func:`jinit.frameworks.capture`.

    Reference: Krähenbühl et al. 2016, algorithm 2.

    >>> import jinit
    >>> from jinit.models import MLP
    >>> model, x = MLP(features=(32, 32, 4)), jax.random.normal(jax.random.key(1), (64, 16))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> _, trace = between_layers(jax.random.key(2), model, params, x)
    >>> bool(trace.after.max() / trace.after.min() < 1.1)
    True
    """
    errors.check_integer("iterations", iterations, low=1, high=10**6, fix="use 10")
    captured = opened(model, params, batch)
    layers = by_kernel(captured)
    kernels, counts = list(layers), jnp.asarray([len(own) for own in layers.values()])
    of_layers = kernels_by_layer(captured)
    biases = {captured.layers[own[0]].bias: jnp.asarray(own) for own in layers.values()}
    loss = random_projection(key)

    def rates(params: PyTree) -> Array:
        gradient = jax.grad(lambda p: loss(captured.apply(p, batch, None)[0]))(params)
        weights, slopes = by_path(params), by_path(gradient)
        norms = [
            (jnp.linalg.norm(slopes[name]), jnp.linalg.norm(weights[name])) for name in kernels
        ]
        return jnp.stack([slope / size for slope, size in norms])

    def relative(rates: Array) -> tuple[Array, Array]:
        """(ln C_k − ln C̄, True); (0, False) if all weights or all gradients are 0."""
        able = (rates > 0) & jnp.isfinite(rates)
        log = jnp.log(jnp.where(able, rates, 1.0))
        mean = (counts * log).sum() / jnp.maximum((counts * able).sum(), 1)
        return jnp.where(able, log - mean, 0.0), able

    def step(params: PyTree, place: Array) -> tuple[PyTree, None]:
        # The first step is full, which is exact for homogeneous activations; half steps follow.
        share = jnp.where(place == 0, 0.5, 0.25)
        log_r = share * relative(rates(params))[0]
        factors = dict(zip(kernels, jnp.exp(log_r), strict=True))
        grown = jnp.cumsum(log_r[of_layers])
        factors |= {bias: jnp.exp(grown[own].mean()) for bias, own in biases.items() if bias}
        return adjusted(params, factors), None

    changed, _ = jax.lax.scan(step, params, jnp.arange(iterations))
    before, after = rates(params), rates(changed)
    steps = jnp.full(len(kernels), iterations, jnp.int32)
    far, able = relative(after)
    return changed, Trace(before, after, steps, able & (jnp.abs(jnp.expm1(far)) < 0.05))
