"""Describes draws with independent entries: one number times standard entries.

Entry i of a draw is then a function of the key, i and that number, whatever the shape. So one
program can draw the leaves of all shapes by all initializers of one family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import jax
import numpy as np

from jinit.initializers._laws import TRUNCATED_STDDEV
from jinit.typing import Array, DType, Key, Number

Family: TypeAlias = Literal["one", "normal", "truncated_normal", "uniform", "rademacher"]


@dataclass(frozen=True)
class Standard:
    """A family's standard entries; ``standard(key, shape, dtype)`` draws them.

    Attributes:
      name: the family; ``"one"`` is not random, ``"normal"`` has standard deviation 1/√2.
      low, high: bounds of a truncated normal or a uniform law.
    """

    name: Family
    low: float = 0.0
    high: float = 1.0

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        match self.name:
            case "one":
                return jax.numpy.ones(shape, dtype)
            case "normal":
                # jax.random.normal without its factor √2, which the scale holds: in a program XLA
                # multiplies √2 and a standard deviation first, and how it does so with a standard
                # deviation that is not known yet depends on its version.
                above = np.nextafter(np.asarray(-1, dtype), np.asarray(0, dtype))
                return jax.lax.erf_inv(jax.random.uniform(key, shape, dtype, above, 1.0))
            case "truncated_normal":
                return jax.random.truncated_normal(key, self.low, self.high, shape, dtype)
            case "uniform":
                return jax.random.uniform(key, shape, dtype, self.low, self.high)
            case "rademacher":
                return jax.random.rademacher(key, shape, dtype)


Scale: TypeAlias = Callable[[tuple[int, ...], np.dtype], "np.ndarray | np.generic"]
"""``scale(shape, dtype)``: the factor of a draw, rounded as the draw itself rounds."""


@dataclass(frozen=True)
class Entries:
    """The standard entries of a draw, and their factor.

    Attributes:
      standard: the law of the standard entries.
      scale: ``scale(shape, dtype)``: the factor of a draw of that shape and float dtype.
    """

    standard: Standard
    scale: Scale


def times(
    number: Number | np.ndarray, name: Family, low: float = 0.0, high: float = 1.0
) -> Entries | None:
    """``number`` times standard entries; None for a traced number or an array of several.

    >>> times(0.5, "uniform").scale((2, 3), np.dtype("float32"))
    np.float32(0.5)
    """
    if isinstance(number, jax.core.Tracer) or np.ndim(number):
        return None
    standard = Standard(name, float(low), float(high))
    root = 2**0.5 if name == "normal" else 1
    return Entries(
        standard, lambda shape, dtype: np.asarray(number, dtype) * np.asarray(root, dtype)
    )


def of_variance(
    distribution: str, variance: Callable[[tuple[int, ...]], Number], scale: Number
) -> Entries | None:
    """The entries of a law with this variance by shape, rounded step by step as JAX does.

    Args:
      distribution: one of ``DISTRIBUTIONS``.
      variance: the variance for a shape.
      scale: the number in it that may be traced; then there are no entries.
    """
    if isinstance(scale, jax.core.Tracer):
        return None

    def factor(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | np.generic:
        exact = variance(shape)
        if distribution == "rademacher":
            return np.asarray(np.sqrt(float(exact)), dtype)
        rounded = np.asarray(exact, dtype)
        if distribution == "uniform":
            return np.sqrt(np.asarray(3, dtype) * rounded)
        stddev = np.sqrt(rounded)
        if distribution == "truncated_normal":
            return stddev / np.asarray(TRUNCATED_STDDEV, dtype)
        return stddev * np.asarray(2**0.5, dtype)

    return Entries(_OF_DISTRIBUTION[distribution], factor)


_OF_DISTRIBUTION = {
    "normal": Standard("normal"),
    "truncated_normal": Standard("truncated_normal", -2.0, 2.0),
    "uniform": Standard("uniform", -1.0, 1.0),
    "rademacher": Standard("rademacher"),
}
