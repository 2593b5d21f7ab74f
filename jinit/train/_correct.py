"""Says which answers of a network are right: by the largest output, by its sign, by all signs."""

from __future__ import annotations

import jax.numpy as jnp

from jinit.typing import Array


def argmax_correct(outputs: Array, y: Array) -> Array:
    """Whether the true class has the largest output; False if any output is not finite.

    Args:
      outputs: one score per class, ``(batch, classes)``.
      y: class numbers ``(batch,)``.

    Returns:
      ``(batch,)`` bool.

    >>> argmax_correct(jnp.array([[1.0, 0.0], [jnp.nan, 0.0]]), jnp.array([0, 0])).tolist()
    [True, False]
    """
    return (jnp.argmax(outputs, -1) == y) & jnp.all(jnp.isfinite(outputs), -1)


def sign_correct(outputs: Array, y: Array) -> Array:
    """Whether the output has the sign of the true class; False if the output is not finite.

    Args:
      outputs: scores ``(batch, 1)``, positive for class 1.
      y: classes 0 or 1, ``(batch,)``.

    Returns:
      ``(batch,)`` bool.

    >>> sign_correct(jnp.array([[1.0], [1.0]]), jnp.array([1, 0])).tolist()
    [True, False]
    """
    score = outputs[:, 0]
    return ((score > 0) == (y > 0)) & jnp.isfinite(score)


def signs_correct(outputs: Array, y: Array) -> Array | None:
    """Whether each output has the sign of its label; None for outputs of another shape than y.

    Args:
      outputs: scores ``(batch, labels)``, positive for a label that the example has.
      y: 0 or 1, ``(batch, labels)``.

    Returns:
      ``(batch,)`` bool: False if one label is wrong or one output not finite.

    >>> signs_correct(jnp.array([[1.0, -1.0], [1.0, 1.0]]), jnp.array([[1, 0], [1, 0]])).tolist()
    [True, False]
    """
    if getattr(outputs, "shape", None) != getattr(y, "shape", ()):
        return None
    return jnp.all(((outputs > 0) == (y > 0)) & jnp.isfinite(outputs), axis=-1)
