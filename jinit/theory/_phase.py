"""Computes the phase diagram: depth scales on a grid of σ_w and σ_b, in one compiled program."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jinit import errors
from jinit._float64 import in_float64
from jinit.activations import ActivationLike
from jinit.theory._checks import check_sigmas, floating
from jinit.theory._edge_of_chaos import CriticalLine, critical_line
from jinit.theory._fixed_points import DepthScales, depth_scales_at, solve_gap, solve_length
from jinit.theory._pair_table import tabulated_pair_moments
from jinit.theory._table import MomentTable
from jinit.theory._tabulate import moment_table
from jinit.typing import Array


@dataclass(frozen=True)
class PhaseDiagram:
    """Depth scales on a grid; rows are σ_b, columns σ_w.

    Attributes:
      activation: its name.
      sigma_w: ``(columns,)``, standard deviations of the weights times √n.
      sigma_b: ``(rows,)``, standard deviations of the biases.
      scales: :class:`DepthScales` with NumPy arrays ``(rows, columns)``.
      critical: the edge of chaos, computed from the moments and not from the grid.
    """

    activation: str
    sigma_w: np.ndarray
    sigma_b: np.ndarray
    scales: DepthScales
    critical: CriticalLine

    def critical_line(self) -> np.ndarray:
        """The critical points inside the diagram.

        Returns:
          ``(points, 2)``: σ_w² and σ_b², ascending in q*. Repeated points are dropped, so ReLU has
          one point.

        >>> phase_diagram("relu", [1.0, 2.0], [0.0, 0.3]).critical_line().round(6).tolist()
        [[2.0, 0.0]]
        """
        points = np.stack([self.critical.sigma_w, self.critical.sigma_b], 1) ** 2
        x, y = self.sigma_w**2, self.sigma_b**2
        inside = (points >= (x[0], y[0])) & (points <= (x[-1], y[-1]))
        points = points[inside.all(1)]
        new = np.append(True, np.abs(np.diff(points, axis=0)).max(1) > 1e-9)[: len(points)]
        return points[new]

    def divergence_line(self) -> np.ndarray:
        """The boundary beyond which lengths grow without bound (q* = ∞), row by row of the grid.

        The boundary of a row is halfway, in σ_w², between its last finite and its first infinite
        q*. Averaging σ_w² over up to nine rows removes the steps of the grid.

        Returns:
          ``(points, 2)``: σ_w² and σ_b², ascending in σ_b.

        >>> diagram = phase_diagram("relu", [1.0, 1.4, 1.5], [0.0, 0.3])
        >>> diagram.divergence_line().round(3).tolist()
        [[2.105, 0.0], [2.105, 0.09]]
        """
        x, infinite = self.sigma_w**2, np.isinf(self.scales.q_star)
        rows, columns = np.nonzero(~infinite[:, :-1] & infinite[:, 1:])
        middle, count = (x[columns] + x[columns + 1]) / 2, len(rows)
        reach = [min(4, i, count - 1 - i) for i in range(count)]
        across = [float(middle[i - near : i + near + 1].mean()) for i, near in enumerate(reach)]
        return np.stack([np.array(across), self.sigma_b[rows] ** 2], 1)


def phase_diagram(
    activation: ActivationLike, sigma_w: ArrayLike, sigma_b: ArrayLike, *, start: float = 1.0
) -> PhaseDiagram:
    """q*, c*, χ₁ and the depth scales on a grid of σ_w and σ_b.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: ``(columns,)``, ≥ 0, ascending, standard deviations of the weights times √n.
      sigma_b: ``(rows,)``, ≥ 0, ascending, standard deviations of the biases.
      start: variance of the first layer's pre-activations, > 0.

    Returns:
      :class:`PhaseDiagram`, computed in float64. c* and ξ_c come from a table; the relative error
      of 1 − c* is about 1e-6 for √q* ≤ 30.

    Raises:
      ValueError: a grid that is not one-dimensional, a number out of range, an unknown activation,
        one that jumps.

    Reference: Schoenholz et al. 2017, figure 1.

    >>> diagram = phase_diagram("tanh", [1.0, 2.0], [0.05**0.5])
    >>> diagram.scales.trainable_depth.round(1).tolist()
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
    table = moment_table(activation)
    scales = in_float64(lambda: _on_grid(table, *(jnp.asarray(x) for x in (*axes, float(start)))))
    return PhaseDiagram(table.name, axes[0], axes[1], scales, critical_line(activation))


@functools.partial(jax.jit, static_argnums=0)
def _on_grid(table: MomentTable, sigma_w: Array, sigma_b: Array, start: Array) -> DepthScales:
    solve = functools.partial(solve_gap, tabulated_pair_moments(table), table)

    def row(sigma_b: Array) -> DepthScales:
        q = solve_length(table, sigma_w, sigma_b, start)
        gap, slope = jax.vmap(solve, in_axes=(0, None, 0))(sigma_w, sigma_b, q)
        return depth_scales_at(table, sigma_w, q, gap, slope)

    scales: DepthScales = jax.lax.map(row, sigma_b)
    return scales
