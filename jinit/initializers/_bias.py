"""Defines the initializer that sets output biases to the class frequencies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jinit import errors
from jinit.initializers import _laws
from jinit.initializers._definition import Definition
from jinit.initializers._factories import named
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key


@named
def class_prior(
    labels: ArrayLike | None = None,
    dtype: DType = None,
    *,
    counts: tuple[float, ...] | None = None,
    smoothing: float = 0.0,
) -> Definition:
    """The output bias with which a network without signal predicts the class frequencies.

    b_c = log π_c for a softmax over all classes. For a single sigmoid output and two classes,
    b = log(π₁/(1 − π₁)), where π₁ is the frequency of the last class.

    Args:
      labels: class numbers 0, 1, …, integers of shape ``(n,)``; give this or ``counts``.
      dtype: default dtype; None means the JAX default float.
      counts: how often each class occurs, ``(classes,)``: numbers or probabilities; only their
        ratios matter.
      smoothing: added to every count (1 is Laplace's rule); needed if a class never occurs.

    Returns:
      An initializer for shape (classes,), or (1,) if there are two classes.

    Raises:
      ValueError: both or neither of labels and counts are given, the labels are not class numbers,
        a class never occurs, or the shape of the draw is not that of the bias.

    Reference: Lin et al. 2017, section 3.3.

    >>> import jax
    >>> class_prior(counts=(90, 10))(jax.random.key(0), (1,))
    Array([-2.1972246], dtype=float32)
    """
    if (labels is None) == (counts is None):
        raise errors.refusal(
            "class_prior", "neither or both of labels and counts", "one of them", "counts=(90, 10)"
        )
    errors.check_number("smoothing", smoothing, low=0.0, fix="use 0.0 or 1.0")
    try:
        numbers = None if counts is None else np.asarray(counts, float)
    except (TypeError, ValueError, OverflowError):
        raise errors.wrong_type("class counts", counts, "numbers", "counts=(90, 10)") from None
    if labels is not None:
        numbers = _counts(labels)
    assert numbers is not None
    if (
        numbers.ndim != 1
        or numbers.size < 2
        or not np.isfinite(numbers).all()
        or (numbers < 0).any()
    ):
        got = numbers.tolist()
        raise errors.refusal("class counts", got, "two or more numbers >= 0", "counts=(90, 10)")
    weights = numbers + smoothing
    if not weights.all():
        raise errors.refusal(
            "class counts",
            tuple(numbers.tolist()),
            "every class to occur (log 0 is -inf)",
            "smoothing=1.0, or drop the class",
        )
    share = np.log(weights / weights.sum())

    def values(shape: tuple[int, ...]) -> np.ndarray:
        if shape == (1,) and share.size == 2:
            return share[1:] - share[:1]
        if shape != share.shape:
            raise errors.refusal(
                "class_prior shape",
                shape,
                f"({share.size},)" + (" or (1,)" if share.size == 2 else ""),
                "use it for the bias of the output layer",
            )
        return share

    def law(shape: tuple[int, ...]) -> Law:
        return _laws.entries(values(shape))

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        return jnp.asarray(values(shape), dtype)

    arguments: dict[str, Any] = {"counts": tuple(numbers.tolist())}
    if smoothing:
        arguments["smoothing"] = smoothing
    return Definition(draw, law, dtype=dtype, arguments=arguments)


def _counts(labels: ArrayLike) -> np.ndarray:
    """How often each class occurs, ``(classes,)``."""
    array = np.asarray(labels)
    if array.ndim != 1 or not array.size or not np.issubdtype(array.dtype, np.integer):
        raise errors.refusal(
            "labels",
            f"an array of shape {array.shape} and dtype {array.dtype}",
            "whole class numbers of shape (n,)",
            "pass y.astype(int).ravel(), or counts=",
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 10**6:
        raise errors.refusal(
            "labels", f"{low} to {high}", "class numbers 0 … 10⁶", "number the classes from 0"
        )
    return np.bincount(array).astype(float)
