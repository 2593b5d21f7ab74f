"""Reduces a profile over seeds to the medians that a verdict reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import numpy as np

from jinit.probes._propagation import Profile


@dataclass(frozen=True)
class Medians:
    """Medians over seeds; arrays are ``(hidden layers,)``, or ``(layers,)`` if named ``all_…``.

    Attributes:
      all_finite_forward: share of networks in which E z² of a layer is finite.
      all_finite_backward: share of networks in which ‖∂L/∂z‖ of a layer is finite.
      output_kernel_norm: Frobenius norm of the output layer's kernel.
      output_kernel_gradient: Frobenius norm of the gradient w.r.t. the output layer's kernel.
      others: as in :class:`Profile`.
    """

    all_names: tuple[str, ...]
    all_finite_forward: np.ndarray
    all_finite_backward: np.ndarray
    all_second_moment: np.ndarray
    all_input_variance: np.ndarray
    output_kernel_norm: float
    output_kernel_gradient: float
    names: tuple[str, ...]
    second_moment: np.ndarray
    input_variance: np.ndarray
    gradient_norm: np.ndarray
    kernel_norm: np.ndarray
    saturated: np.ndarray
    dead: np.ndarray
    duplicates: np.ndarray
    near_duplicates: np.ndarray

    def without(self, left_out: np.ndarray) -> Medians:
        """The medians of the other hidden layers; ``left_out`` is ``(hidden layers,)``."""
        kept = np.flatnonzero(~left_out)
        chosen = {name: getattr(self, name)[kept] for name in _HIDDEN}
        return replace(self, names=tuple(self.names[i] for i in kept), **chosen)


_HIDDEN = (
    "second_moment",
    "input_variance",
    "gradient_norm",
    "kernel_norm",
    "saturated",
    "dead",
    "duplicates",
    "near_duplicates",
)


def medians_of(names: tuple[str, ...], profile: Profile) -> Medians:
    """The medians over seeds of a profile; ``names`` are its layers, the output layer last."""

    def rows(values: jax.Array) -> np.ndarray:
        return np.asarray(values, np.float64).reshape(-1, len(names))

    def median(values: jax.Array) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.asarray(np.median(rows(values), axis=0))

    second_moment, kernel_norm = median(profile.second_moment), median(profile.kernel_norm)
    input_variance = median(profile.input_variance)
    return Medians(
        all_names=names,
        all_finite_forward=np.isfinite(rows(profile.second_moment)).mean(0),
        all_finite_backward=np.isfinite(rows(profile.gradient_norm)).mean(0),
        all_second_moment=second_moment,
        all_input_variance=input_variance,
        output_kernel_norm=float(kernel_norm[-1]),
        output_kernel_gradient=float(median(profile.kernel_gradient_norm)[-1]),
        names=names[:-1],
        second_moment=second_moment[:-1],
        input_variance=input_variance[:-1],
        gradient_norm=median(profile.gradient_norm)[:-1],
        kernel_norm=kernel_norm[:-1],
        saturated=median(profile.saturated)[:-1],
        dead=median(profile.dead)[:-1],
        duplicates=median(profile.duplicates)[:-1],
        near_duplicates=median(profile.near_duplicates)[:-1],
    )
