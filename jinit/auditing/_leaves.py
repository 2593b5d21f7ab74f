"""Defines a leaf with its values, and the moments of a sample, in the forms that audits compare."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jinit.frameworks._layout import Layout


@dataclass(frozen=True)
class Leaf:
    """A leaf with its values.

    Attributes:
      path: components joined by ``/``.
      values: the array, of the leaf's shape and dtype.
      layout: the leaf's layout; None if unknown.
      is_named: whether ``layers`` or the host's own leaf names say what the leaf is; False if its
        layout only follows from its rank.
      is_rescaled: whether the layer divides the leaf by a norm of the leaf, so that its σ has no
        effect.
    """

    path: str
    values: np.ndarray
    layout: Layout | None
    is_named: bool = True
    is_rescaled: bool = False

    @property
    def is_kernel(self) -> bool:
        """Whether the leaf is known to be a kernel."""
        return self.layout is not None and self.layout.kind in ("kernel", "recurrent")

    @property
    def is_embedding(self) -> bool:
        """Whether the leaf is known to be a table of embeddings, ``(rows, …)``."""
        return self.layout is not None and self.layout.kind == "embedding"

    @property
    def is_matrix(self) -> bool:
        """Whether the leaf may hold the weights of several units: rank ≥ 2, no bias, no vector."""
        may_be = self.layout is None or self.is_kernel or self.is_embedding
        return may_be and self.values.ndim > 1

    @property
    def is_inexact(self) -> bool:
        """Whether entries are floating-point or complex, 8-bit floats included."""
        return bool(jnp.issubdtype(self.values.dtype, jnp.inexact))

    @property
    def entries(self) -> np.ndarray:
        """The entries, ``(entries,)``, as complex128 or float64."""
        wide = np.complex128 if np.iscomplexobj(self.values) else np.float64
        return np.asarray(self.values, wide).ravel()

    @property
    def unpadded(self) -> np.ndarray:
        """The values without the padding row of an embedding, which is 0 in every draw."""
        if self.layout is None or self.layout.padding is None:
            return self.values
        axis = self.layout.in_axes[0]
        rows = np.arange(self.values.shape[axis])
        return np.compress(rows != self.layout.padding, self.values, axis)

    @property
    def drawn(self) -> np.ndarray:
        """The entries that a rule draws, as ``entries``: all except those of a padding row."""
        return np.asarray(self.unpadded, self.entries.dtype).ravel()

    @property
    def flat(self) -> np.ndarray:
        """The entries as float64 of shape ``(entries,)``; real parts, then imaginary parts."""
        if np.iscomplexobj(self.values):
            return np.concatenate([self.values.real.ravel(), self.values.imag.ravel()])
        return self.entries

    @property
    def arrangements(self) -> list[np.ndarray]:
        """The entries in storage order; for a real matrix, also in the transpose's order."""
        if self.values.ndim != 2 or np.iscomplexobj(self.values):
            return [self.flat]
        return [self.flat, np.asarray(self.values.T, np.float64).ravel()]


def agree(values: np.ndarray, expected: np.ndarray) -> bool:
    """Whether entries differ by at most 1 % of their own size or of the largest finite entry.

    >>> agree(np.array([1.0, 1e-9]), np.array([1.001, 0.0]))
    True
    """
    finite = np.abs(expected[np.isfinite(expected)])
    slack = 0.01 * float(finite.max(initial=0.0))
    return np.allclose(values.astype(complex), expected.astype(complex), 0.01, slack)


@dataclass(frozen=True)
class Moments:
    """The moments of a sample of real or complex numbers w, computed without under- or overflow.

    Attributes:
      count: the number of entries.
      mean: of the entries.
      rms: √E|w|².
      stddev: √E|w − mean|².
      error: the standard error of log stddev: √((κ − 1)/n)/2 with the kurtosis
        κ = E|w − mean|⁴/stddev⁴ and κ − 1 ≥ 1/2.
      low, high: the smallest and the largest entry; of complex entries, the modulus.
    """

    count: int
    mean: float | complex
    rms: float
    stddev: float
    error: float
    low: float
    high: float


def moments(entries: np.ndarray) -> Moments:
    """The moments of at least one finite number.

    >>> round(moments(np.tile([-1.0, 1.0], 50)).error, 4)
    0.0354
    >>> moments(np.array([3e-300, -3e-300])).rms
    3e-300
    """
    size = np.abs(entries)
    largest = float(size.max())
    ends = size if np.iscomplexobj(entries) else entries
    low, high = float(ends.min()), float(ends.max())
    if not largest:
        return Moments(entries.size, 0.0, 0.0, 0.0, math.sqrt(2 / entries.size) / 2, low, high)
    scaled = entries / largest
    mean = scaled.mean()
    squares = np.abs(scaled - mean) ** 2
    variance = float(squares.mean())
    # Far from 0, a difference from the mean is rounding error.
    spread = variance > (64 * np.finfo(np.float64).eps) ** 2
    kurtosis = float(np.mean((squares / variance) ** 2)) if spread else 3.0
    return Moments(
        count=entries.size,
        mean=complex(mean) * largest if np.iscomplexobj(entries) else float(mean) * largest,
        rms=largest * math.sqrt(float(np.mean(np.abs(scaled) ** 2))),
        stddev=largest * math.sqrt(variance) if spread else 0.0,
        error=math.sqrt(max(kurtosis - 1, 0.5) / entries.size) / 2,
        low=low,
        high=high,
    )
