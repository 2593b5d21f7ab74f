"""The leaves that an audit looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jinit.frameworks._layout import Layout


@dataclass(frozen=True)
class Leaf:
    """A leaf with its values.

    Attributes:
      path: its components, joined by ``/``.
      values: as they are.
      layout: what it is in its layer; None where nobody said.
    """

    path: str
    values: np.ndarray
    layout: Layout | None

    @property
    def is_kernel(self) -> bool:
        return self.layout is not None and self.layout.kind in ("kernel", "recurrent")

    @property
    def matrix(self) -> bool:
        """Whether it holds units side by side, a kernel or of unknown layout."""
        known = self.layout is None or self.layout.kind in ("kernel", "recurrent", "embedding")
        return known and self.values.ndim > 1

    @property
    def flat(self) -> np.ndarray:
        if np.iscomplexobj(self.values):
            return np.concatenate([self.values.real.ravel(), self.values.imag.ravel()])
        return np.asarray(self.values, np.float64).ravel()

    @property
    def arrangements(self) -> list[np.ndarray]:
        """Its entries as they lie, and, for a matrix, transposed."""
        turned = self.values.ndim == 2 and not np.iscomplexobj(self.values)
        return [self.flat] + [np.asarray(self.values.T, np.float64).ravel()] * turned


def relative_error(flat: np.ndarray) -> float:
    """Standard error of log σ, from the sample's own kurtosis, never below a normal's half.

    >>> round(relative_error(np.tile([-1.0, 1.0], 50)), 4)
    0.0354
    """
    centred = flat - flat.mean()
    variance = float(np.mean(centred**2))
    kurtosis = float(np.mean(centred**4)) / variance**2 if variance else 3.0
    return math.sqrt(max(kurtosis - 1, 0.5) / flat.size) / 2
