"""Defines a leaf with its values, in the forms that audits compare."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jinit.frameworks._layout import Layout


@dataclass(frozen=True)
class Leaf:
    """A leaf with its values.

    Attributes:
      path: components joined by ``/``.
      values: the array, of the leaf's shape and dtype.
      layout: the leaf's layout; None if unknown.
    """

    path: str
    values: np.ndarray
    layout: Layout | None

    @property
    def is_kernel(self) -> bool:
        """Whether the leaf is known to be a kernel."""
        return self.layout is not None and self.layout.kind in ("kernel", "recurrent")

    @property
    def is_matrix(self) -> bool:
        """Whether the leaf may hold the weights of several units: rank ≥ 2, no bias, no vector."""
        may_be = self.layout is None or self.layout.kind in ("kernel", "recurrent", "embedding")
        return may_be and self.values.ndim > 1

    @property
    def flat(self) -> np.ndarray:
        """The entries as float64 of shape ``(entries,)``; real parts, then imaginary parts."""
        if np.iscomplexobj(self.values):
            return np.concatenate([self.values.real.ravel(), self.values.imag.ravel()])
        return np.asarray(self.values, np.float64).ravel()

    @property
    def arrangements(self) -> list[np.ndarray]:
        """The entries in storage order; for a real matrix, also in the transpose's order."""
        if self.values.ndim != 2 or np.iscomplexobj(self.values):
            return [self.flat]
        return [self.flat, np.asarray(self.values.T, np.float64).ravel()]


def relative_error(flat: np.ndarray) -> float:
    """Standard error of log σ from the sample's kurtosis κ: √((κ − 1)/n)/2, with κ − 1 ≥ 1/2.

    >>> round(relative_error(np.tile([-1.0, 1.0], 50)), 4)
    0.0354
    """
    centred = flat - flat.mean()
    variance = float(np.mean(centred**2))
    kurtosis = float(np.mean(centred**4)) / variance**2 if variance else 3.0
    return math.sqrt(max(kurtosis - 1, 0.5) / flat.size) / 2
