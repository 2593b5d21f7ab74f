"""The bias rule of its own: class priors. The others serve any shape: zeros, normal, constant."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.initializers import _laws
from jinit.initializers._definition import Definition
from jinit.initializers._factories import named
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key


@named
def class_prior(
    labels: Any = None,
    dtype: DType = None,
    *,
    counts: tuple[float, ...] | None = None,
    smoothing: float = 0.0,
) -> Definition:
    """The output bias under which a network with no signal predicts the class frequencies.

    b_c = log π_c for a softmax over all classes; for a single sigmoid output, where the last of
    two classes is "1", b = log(π₁/(1 − π₁)).

    Args:
      labels: whole class numbers ``(n,)``; give this or ``counts``.
      dtype: default dtype; None means the JAX default float.
      counts: how often each class occurs, or its probability; any positive scale.
      smoothing: added to every count (1 is Laplace's rule); needed where a class never occurs.

    Returns:
      An initializer for shape (classes,), or (1,) if there are two.

    Raises:
      ValueError: both or neither given, labels that are not class numbers, a class that never
        occurs, a shape of another size.

    Reference: Lin et al. 2017, section 3.3.

    >>> import jax
    >>> class_prior(counts=(90, 10))(jax.random.key(0), (1,))
    Array([-2.1972246], dtype=float32)
    """
    if (labels is None) == (counts is None):
        raise errors.refusal(
            "class_prior", "neither or both of labels and counts", "one", "pass counts=(90, 10)"
        )
    errors.check_number("smoothing", smoothing, low=0.0, fix="use 0.0 or 1.0")
    try:
        given = None if counts is None else np.asarray(counts, float)
    except (TypeError, ValueError):
        raise errors.wrong_type("class counts", counts, "numbers", "counts=(90, 10)") from None
    found = _counts(labels) if given is None else given
    if found.ndim != 1 or found.size < 2 or not np.isfinite(found).all() or (found < 0).any():
        raise errors.refusal("class counts", counts, "two or more numbers >= 0", "counts=(90, 10)")
    weights = found + smoothing
    if not weights.all():
        raise errors.refusal(
            "class counts",
            tuple(found.tolist()),
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
                "it is the bias of the output layer",
            )
        return share

    def law(shape: tuple[int, ...]) -> Law:
        return _laws.entries(values(shape))

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        return jnp.asarray(values(shape), dtype)

    arguments: dict[str, Any] = {"counts": tuple(found.tolist())}
    if smoothing:
        arguments["smoothing"] = smoothing
    return Definition(draw, law, dtype=dtype, arguments=arguments)


def _counts(labels: Any) -> np.ndarray:
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
        raise errors.refusal("labels", f"{low} to {high}", "class numbers 0 … 10⁶", "count from 0")
    return np.bincount(array).astype(float)
