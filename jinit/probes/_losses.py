"""Losses that a probe sends back through a network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinit import errors
from jinit.typing import Array, Key

Loss: TypeAlias = Callable[[Array], Array]
"""``loss(outputs) -> scalar``, the mean over the batch."""


def cross_entropy(labels: Array) -> Loss:
    """The mean softmax cross-entropy against integer labels ``(batch,)``, as a loss of outputs.

    Raises:
      TypeError: labels that are no whole numbers. ValueError, when called: not one per example, or
        beyond the classes.

    >>> float(cross_entropy(jnp.array([0]))(jnp.zeros((1, 2))))  # doctest: +ELLIPSIS
    0.693...
    """
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise errors.wrong_type("labels", str(labels.dtype), "whole numbers", "one-hot to argmax")
    return functools.partial(_cross_entropy, labels)


def _cross_entropy(labels: Array, outputs: Array) -> Array:
    if labels.shape != outputs.shape[:-1]:
        raise errors.refusal(
            "labels", labels.shape, f"{outputs.shape[:-1]}: one per example", "labels of this batch"
        )
    check_classes(labels, outputs.shape[-1])
    return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()


def check_classes(labels: Array, classes: int) -> None:
    """Labels are below the number of classes; traced ones pass unread.

    Raises:
      ValueError: one that is not.

    >>> check_classes(jnp.array([0, 1]), 2)
    """
    if isinstance(labels, jax.core.Tracer):
        return
    known = np.asarray(labels)
    outside = known[(known < 0) | (known >= classes)]
    if outside.size:
        raise errors.refusal(
            "labels", int(outside[0]), f"0 to {classes - 1}",
            "labels of this batch, and a model with an output per class",
        )  # fmt: skip


def check_scalar(value: object, of: str) -> None:
    """What a loss gave, or its shape, is a scalar.

    Raises:
      ValueError: it is not.

    >>> check_scalar(jnp.zeros(()), "outputs")
    """
    shape = getattr(value, "shape", None)
    if shape != ():
        got = type(value).__name__ if shape is None else shape
        raise errors.refusal("loss", got, f"a scalar of the {of}", "take the mean over the batch")


def check_loss(loss: Loss) -> None:
    """A loss can be called.

    Raises:
      TypeError: it cannot.

    >>> check_loss(cross_entropy(jnp.array([0])))
    """
    if not callable(loss):
        raise errors.wrong_type(
            "loss", loss, "loss(outputs) -> scalar", "probes.random_projection(jax.random.key(0))"
        )


def random_projection(key: Key) -> Loss:
    """Mean of v·f(x) with v ~ N(0, I) of its own per example: gradients of the network alone.

    With it E‖∂L/∂z_l‖² is the mean squared Frobenius norm of the Jacobian from layer l to the
    output, no loss in between.

    Raises:
      TypeError: no PRNG key.

    >>> random_projection(jax.random.key(0))(jnp.zeros((2, 3))).shape
    ()
    """
    errors.check_key(key)
    return functools.partial(_random_projection, key)


def _random_projection(key: Key, outputs: Array) -> Array:
    if not outputs.ndim:
        raise errors.refusal(
            "outputs", "one number", "an array (batch, …)", "return each example's outputs"
        )
    v = jax.random.normal(key, outputs.shape, outputs.dtype)
    return (v * outputs).sum() / outputs.shape[0]
