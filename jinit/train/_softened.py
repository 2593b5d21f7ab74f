"""Label smoothing and class weights: what a training step minimises instead of the plain loss."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jinit.train._own_loss import OwnFunction
from jinit.train._positions import PerPosition, flat, plain
from jinit.train.losses import (
    Loss,
    sigmoid_binary_cross_entropy,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from jinit.typing import Array, Number, PyTree

# The losses whose labels are a distribution that can be smoothed.
SMOOTHED = (softmax_cross_entropy, sigmoid_binary_cross_entropy, sigmoid_cross_entropy)


def softened(loss: Loss, smoothing: Number | None, weights: tuple[float, ...] = ()) -> Loss:
    """The loss whose training steps minimise the mean of w_y ℓ(outputs, smoothed labels).

    The true class has the share 1 − α + α/K, every other of the K classes α/K; each of several
    labels becomes (1 − α) y + α/2. Evaluations take
    the plain loss, so that arms with different α and weights can be compared.

    Args:
      loss: the plain loss.
      smoothing: α, in [0, 1); None for none.
      weights: the weight of each class; () for none.

    Reference: Szegedy et al. 2016, section 7.

    >>> from jinit.train import losses
    >>> smooth = softened(losses.get(None, "multiclass"), 0.5)
    >>> round(float(smooth.training(jnp.array([[9.0, 0.0]]), jnp.array([0]))), 3)
    2.25
    """

    positions = loss.function if isinstance(loss.function, PerPosition) else None

    def training(outputs: PyTree, y: Array, **extras: PyTree) -> Array:
        if positions is not None:
            outputs, y = flat(outputs, y)
        labels = y if positions is None else jnp.maximum(y, 0)
        values = _each(plain(loss), outputs, labels, smoothing, extras)
        if weights:
            values = values * jnp.asarray(weights, values.dtype)[labels]
        return values.mean() if positions is None else positions.mean(values, y)

    return dataclasses.replace(loss, training=training)


def _each(
    loss: Loss, outputs: PyTree, y: Array, smoothing: Number | None, extras: dict[str, PyTree]
) -> Array:
    """The loss of each example."""
    share = 0.0 if smoothing is None else smoothing
    if loss.function is softmax_cross_entropy:
        classes = outputs.shape[-1]
        labels = jax.nn.one_hot(y, classes)
        return optax.softmax_cross_entropy(outputs, labels * (1 - share) + share / classes)
    if loss.function is sigmoid_binary_cross_entropy:
        labels = y.astype(outputs.dtype) * (1 - share) + share / 2
        return optax.sigmoid_binary_cross_entropy(outputs[:, 0], labels)
    if loss.function is sigmoid_cross_entropy:
        labels = y * (1 - share) + share / 2
        return optax.sigmoid_binary_cross_entropy(outputs, labels).mean(axis=-1)
    if isinstance(loss.function, OwnFunction):
        return loss.function.each(outputs, y, **extras)
    return jax.vmap(lambda z, label: loss.function(z[None], label[None]))(outputs, y)
