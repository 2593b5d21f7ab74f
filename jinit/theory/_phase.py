"""The phase diagram: depth scales on a grid of σ_w and σ_b, in one compiled program."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._float64 import in_float64
from jinit.activations import ActivationLike
from jinit.theory._correlations import reader
from jinit.theory._critical import CriticalLine, critical_line
from jinit.theory._mean_field import check_sigmas
from jinit.theory._settled import DepthScales, scales, settled_gap, settled_length
from jinit.theory._tables import Table, floating, table
from jinit.typing import Array


@dataclass(frozen=True)
class PhaseDiagram:
    """Depth scales on a grid; rows are σ_b, columns σ_w.

    Attributes:
      activation: its name.
      sigma_w: ``(columns,)``. sigma_b: ``(rows,)``.
      scales: :class:`DepthScales` with NumPy arrays ``(rows, columns)``.
      critical: the edge of chaos itself, not from the grid.
    """

    activation: str
    sigma_w: np.ndarray
    sigma_b: np.ndarray
    scales: DepthScales
    critical: CriticalLine


def phase_diagram(
    activation: ActivationLike, sigma_w: Any, sigma_b: Any, *, start: float = 1.0
) -> PhaseDiagram:
    """q*, c*, χ₁ and the depth scales on a grid of σ_w and σ_b.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: ``(columns,)``, > 0. sigma_b: ``(rows,)``, ≥ 0.
      start: variance of the first layer's pre-activations, > 0.

    Returns:
      :class:`PhaseDiagram`, computed in float64; c* and ξ_c from a table, relative error of
      1 − c* about 1e-6 for √q* ≤ 30.

    Raises:
      ValueError: a grid that is not one-dimensional, a number out of range, an unknown activation,
        one that jumps.

    Reference: Schoenholz et al. 2017, figure 1.

    >>> found = phase_diagram("tanh", [1.0, 2.0], [0.05**0.5])
    >>> found.scales.trainable_depth.round(1).tolist()
    [[21.8, 41.9]]
    """
    axes = [
        np.asarray(in_float64(floating, x, name), np.float64)
        for name, x in (("sigma_w", sigma_w), ("sigma_b", sigma_b))
    ]
    for name, axis in zip(("sigma_w", "sigma_b"), axes, strict=True):
        if axis.ndim != 1 or not axis.size:
            raise errors.refusal(name, axis.shape, "a list of numbers", "np.linspace(0.5, 3, 200)")
    check_sigmas(axes[0][:, None], axes[1])
    errors.check_number("start", start, low=0.0, open_low=True, fix="use 1.0")
    known = table(activation)
    found = in_float64(lambda: _diagram(known, *(jnp.asarray(x) for x in axes), start))
    return PhaseDiagram(known.name, axes[0], axes[1], found, critical_line(activation))


@functools.partial(jax.jit, static_argnums=0)
def _diagram(known: Table, sigma_w: Array, sigma_b: Array, start: Array) -> DepthScales:
    solve = functools.partial(settled_gap, reader(known), known)

    def row(sigma_b: Array) -> DepthScales:
        q = settled_length(known, sigma_w, sigma_b, start)
        gap, slope = jax.vmap(solve, in_axes=(0, None, 0))(sigma_w, sigma_b, q)
        return scales(known, sigma_w, q, gap, slope)

    found: DepthScales = jax.lax.map(row, sigma_b)
    return found
