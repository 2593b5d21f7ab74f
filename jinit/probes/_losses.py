"""Defines losses whose gradients the probes send back through a network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinit import _prng, errors
from jinit.typing import Array, Key

Loss: TypeAlias = Callable[[Array], Array]
"""``loss(outputs) -> scalar``, the mean over the batch."""


def cross_entropy(labels: Array) -> Loss:
    """The mean softmax cross-entropy with integer labels, as a function of the outputs.

    Args:
      labels: ``(batch,)`` integers below the number of outputs.

    Returns:
      ``loss(outputs) -> scalar`` for outputs ``(batch, classes)``.

    Raises:
      TypeError: labels that are not integers.
      ValueError: the returned loss raises it if the number of labels is not the batch size, or if a
        label is not below the number of outputs.

    >>> float(cross_entropy(jnp.array([0]))(jnp.zeros((1, 2))))  # doctest: +ELLIPSIS
    0.693...
    """
    try:
        labels = jnp.asarray(labels)
    except (TypeError, ValueError, OverflowError):
        raise errors.wrong_type("labels", labels, "integers", "jnp.array([0, 1])") from None
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise errors.wrong_type(
            "labels", str(labels.dtype), "integers", "labels.argmax(-1) of one-hot labels"
        )
    return functools.partial(_cross_entropy, labels)


def _cross_entropy(labels: Array, outputs: Array) -> Array:
    if labels.shape != outputs.shape[:-1]:
        raise errors.refusal(
            "labels", labels.shape, f"{outputs.shape[:-1]}: one per example", "labels of this batch"
        )
    check_classes(labels, outputs.shape[-1])
    return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()


def check_classes(labels: Array, classes: int) -> None:
    """Refuses labels outside 0 … classes − 1; traced labels have no values yet and pass."""
    if isinstance(labels, jax.core.Tracer):
        return
    values = np.asarray(labels)
    outside = values[(values < 0) | (values >= classes)]
    if outside.size:
        raise errors.refusal(
            "labels",
            int(outside[0]),
            f"0 to {classes - 1}",
            "pass labels of this batch, and a model with one output per class",
        )


def check_scalar(value: Array | jax.ShapeDtypeStruct, of: str) -> None:
    """Refuses the value of a loss, or its ``ShapeDtypeStruct``, unless it is a scalar."""
    shape = getattr(value, "shape", None)
    if shape != ():
        got = type(value).__name__ if shape is None else shape
        raise errors.refusal(
            "loss", got, f"a scalar function of the {of}", "take the mean over the batch"
        )


def check_loss(loss: Loss) -> None:
    """Refuses a loss that is not callable."""
    if not callable(loss):
        raise errors.wrong_type(
            "loss", loss, "loss(outputs) -> scalar", "probes.random_projection(jax.random.key(0))"
        )


def random_projection(key: Key) -> Loss:
    """A loss linear in the outputs: the batch mean of v · f(x), with v ~ N(0, I) per example.

    With this loss E‖∂L/∂z_l‖² equals the mean squared Frobenius norm of the Jacobian from layer l
    to the output, so gradients depend on the network and on no labels.

    Args:
      key: draws v, one per example and output.

    Returns:
      ``loss(outputs) -> scalar`` for outputs ``(batch, …)``.

    Raises:
      TypeError: ``key`` is not a PRNG key.

    >>> random_projection(jax.random.key(0))(jnp.zeros((2, 3))).shape
    ()
    """
    errors.check_key(key)
    return functools.partial(_random_projection, key)


def _random_projection(key: Key, outputs: Array) -> Array:
    if not outputs.ndim:
        raise errors.refusal(
            "outputs", "a scalar", "an array (batch, …)", "return the outputs of each example"
        )
    v = _prng.normal(key, outputs.shape, outputs.dtype)
    return (v * outputs).sum() / outputs.shape[0]
