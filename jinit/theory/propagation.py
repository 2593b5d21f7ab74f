"""Lengths, correlations and gradients through every layer, and phase diagrams."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.activations import ActivationLike
from jinit.quadrature import in_float64
from jinit.theory.mean_field import (
    DepthScales,
    check_sigmas,
    scales,
    settled_gap,
    settled_length,
)
from jinit.theory.moments import Table, floating, lagrange, pair, read, table
from jinit.typing import Array

# √q = 0.25 sinh(x) up to 30, and the angle θ = sinh(t)/30 up to π.
_SCALE, _LARGEST, _ANGLE = 0.25, 30.0, 30.0
_LENGTHS, _ANGLES = 64, 96
_STEP_S = math.asinh(_LARGEST / _SCALE) / (_LENGTHS - 1)
_STEP_T = math.asinh(math.pi * _ANGLE) / (_ANGLES - 1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Propagation:
    """A wide network, layer by layer; every array is ``(…, depth)``, layer 1 first.

    Attributes:
      q: variance of the pre-activations.
      gap: 1 − correlation of two inputs' pre-activations, accurate when the correlation is near 1.
      chi: σ_w² E φ′² at this layer's q: growth of a squared gradient from the layer above to here.
    """

    q: Array
    gap: Array
    chi: Array

    @property
    def correlation(self) -> Array:
        """Of the pre-activations of two different inputs, in [−1, 1]."""
        return 1 - self.gap

    @property
    def log_gradient(self) -> Array:
        """ln of the squared gradient at each layer's pre-activation, over the last layer's."""
        log = jnp.log(self.chi[..., :-1])
        down = jnp.flip(jnp.cumsum(jnp.flip(log, -1), -1), -1)
        return jnp.concatenate([down, jnp.zeros_like(self.q[..., :1])], -1)


def propagate(
    activation: ActivationLike,
    sigma_w: Any,
    sigma_b: Any = 0.0,
    *,
    depth: int,
    q: Any = 1.0,
    c: Any = 0.0,
    tabulated: bool = False,
) -> Propagation:
    """Variances, correlations and gradient factors of the first ``depth`` layers.

    q_{l+1} = V(q_l); c_{l+1} = C(c_l) at q_l; χ_l = σ_w² E φ′(√q_l z)².

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: ≥ 0, any shapes that broadcast; may be traced.
      depth: number of layers, ≥ 1.
      q, c: variance and correlation of the first layer's pre-activations.
      tabulated: reads correlations from a table (made once an activation, which takes seconds)
        instead of integrating at every layer: for many points. Relative error of the gap 1e-6 for
        c > −0.9 and √q ≤ 30, beyond which angles change as they do there.

    Returns:
      :class:`Propagation` with arrays ``(…, depth)``.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Poole et al. 2016, equations 3 to 5; Schoenholz et al. 2017, section 3.

    >>> found = propagate("relu", 2**0.5, depth=3)
    >>> [round(c, 3) for c in found.correlation.tolist()]
    [0.0, 0.318, 0.494]
    """
    check_sigmas(sigma_w, sigma_b)
    errors.check_integer("depth", depth, low=1, fix="use 10")
    errors.check_number("q", q, low=0.0, fix="a variance is >= 0")
    errors.check_number("c", c, low=-1.0, high=1.0, fix="a correlation is in [-1, 1]")
    known = table(activation)
    pair_at = _reader(known) if tabulated else functools.partial(pair, known)
    sigma_w, sigma_b, q, gap = jnp.broadcast_arrays(
        *(floating(x) for x in (sigma_w, sigma_b, q, 1 - floating(c)))
    )

    def layer(state: tuple[Array, Array], nothing: None) -> tuple[tuple[Array, Array], Propagation]:
        q, gap = state
        at_q = read(known, q)
        following = sigma_w**2 * at_q.second + sigma_b**2
        share = pair_at(jnp.sqrt(jnp.maximum(q, 1e-30)), gap)[0]
        # Where the signal has died or overflowed angles stay.
        factor = jnp.where((q > 0) & jnp.isfinite(following), q / following, 1 / share)
        here = Propagation(q, gap, sigma_w**2 * at_q.slope_second)
        return (following, jnp.clip(sigma_w**2 * gap * share * factor, 0.0, 2.0)), here

    layers = jax.lax.scan(layer, (q, gap), None, length=depth)[1]
    found: Propagation = jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), layers)
    return found


@dataclass(frozen=True)
class PhaseDiagram:
    """Depth scales on a grid; rows are σ_b, columns σ_w.

    Attributes:
      activation: its name.
      sigma_w: ``(columns,)``. sigma_b: ``(rows,)``.
      scales: :class:`DepthScales` with NumPy arrays ``(rows, columns)``.
    """

    activation: str
    sigma_w: np.ndarray
    sigma_b: np.ndarray
    scales: DepthScales


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
    axes = [np.asarray(x, np.float64) for x in (sigma_w, sigma_b)]
    for name, axis in zip(("sigma_w", "sigma_b"), axes, strict=True):
        if axis.ndim != 1 or not axis.size:
            raise errors.refusal(name, axis.shape, "a list of numbers", "np.linspace(0.5, 3, 200)")
    check_sigmas(*axes)
    errors.check_number("start", start, low=0.0, open_low=True, fix="use 1.0")
    known = table(activation)
    correlations(known)
    found = in_float64(
        lambda: jax.tree.map(np.asarray, _diagram(known, *(jnp.asarray(x) for x in axes), start))
    )
    return PhaseDiagram(known.name, axes[0], axes[1], found)


@functools.partial(jax.jit, static_argnums=0)
def _diagram(known: Table, sigma_w: Array, sigma_b: Array, start: Array) -> DepthScales:
    solve = functools.partial(settled_gap, _reader(known), known)

    def row(sigma_b: Array) -> DepthScales:
        q = settled_length(known, sigma_w, sigma_b, start)
        gap, slope = jax.vmap(solve, in_axes=(0, None, 0))(sigma_w, sigma_b, q)
        return scales(known, sigma_w, q, gap, slope)

    found: DepthScales = jax.lax.map(row, sigma_b)
    return found


def correlations(known: Table) -> np.ndarray:
    """``(lengths, angles, 2)``: what :func:`pair` gives over E φ′², on a grid of √q and the angle.

    >>> bool(abs(correlations(table("identity")) - 1).max() < 1e-9)
    True
    """
    return _correlations(known)


@functools.lru_cache(32)
def _correlations(known: Table) -> np.ndarray:
    s = np.maximum(_SCALE * np.sinh(_STEP_S * np.arange(_LENGTHS)), 1e-6)
    angle = np.sinh(_STEP_T * np.arange(_ANGLES)) / _ANGLE
    gap = 2 * np.sin(angle / 2) ** 2

    def row(s: Array) -> Array:
        shares = jnp.stack(pair(known, s, jnp.asarray(gap)), -1)
        return shares / read(known, s**2).slope_second

    found = in_float64(lambda: np.array(jax.jit(lambda s: jax.lax.map(row, s))(jnp.asarray(s))))
    # The limit itself, for the difference of two equal numbers.
    found[:, 0] = np.where(np.isnan(found[:, 0]), np.nan, 1.0)
    return found


def _reader(known: Table) -> Callable[[Array, Array], tuple[Array, Array]]:
    """:func:`pair` from the table: six points by six."""
    values = correlations(known)

    def at(s: Array, gap: Array) -> tuple[Array, Array]:
        s, gap = jnp.broadcast_arrays(s, gap)
        angle = 2 * jnp.arcsin(jnp.sqrt(jnp.clip(gap / 2, 0.0, 1.0)))
        row, across = lagrange(jnp.arcsinh(jnp.minimum(s, _LARGEST) / _SCALE) / _STEP_S, _LENGTHS)
        column, down = lagrange(jnp.arcsinh(angle * _ANGLE) / _STEP_T, _ANGLES)
        near = jnp.asarray(values, s.dtype)[
            row[..., None, None] + jnp.arange(6)[:, None], column[..., None, None] + jnp.arange(6)
        ]
        shares = jnp.einsum("...i,...j,...ijk->...k", across, down, near)
        slope_second = read(known, s**2).slope_second
        return shares[..., 0] * slope_second, shares[..., 1] * slope_second

    return at
