"""Computes the mean field theory of wide networks: maps of lengths, angles and gradients.

A layer with weights N(0, σ_w²/n) and biases N(0, σ_b²) maps the variance q of its pre-activations
to V(q) = σ_w² E[φ(√q z)²] + σ_b² and the correlation c of two inputs to C(c). It multiplies squared
gradients by χ₁ = σ_w² E[φ′(√q z)²]. Arguments may be arrays or tracers; every function can be
jitted, vmapped and differentiated.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jinit import errors
from jinit.activations import ActivationLike
from jinit.theory._checks import check_sigmas, check_signal, floating, real
from jinit.theory._fixed_points import (
    DepthScales,
    depth_scales_from_table,
    solve_gaps,
    solve_length,
)
from jinit.theory._moments import moments
from jinit.theory._pair import cross_moments
from jinit.theory._tabulate import moment_table
from jinit.typing import Array


def length_map(
    activation: ActivationLike, q: ArrayLike, sigma_w: ArrayLike, sigma_b: ArrayLike = 0.0
) -> Array:
    """V(q) = σ_w² E[φ(√q z)²] + σ_b²: the variance of the next layer's pre-activations.

    Args:
      activation: a name, a spec string or any elementwise callable.
      q: variance of this layer's pre-activations, ≥ 0.
      sigma_w: standard deviation of the weights times √n, ≥ 0.
      sigma_b: standard deviation of the biases, ≥ 0. All three broadcast and may be traced.

    Returns:
      V(q), of the broadcast shape; accuracy as :func:`jinit.theory.moments`.

    Raises:
      ValueError: a number out of range, an unknown activation.

    Reference: Poole et al. 2016, equation 3.

    >>> float(length_map("relu", 3.0, 2**0.5))  # doctest: +ELLIPSIS
    3.0...
    """
    check_sigmas(sigma_w, sigma_b, q=q)
    return jnp.square(real(sigma_w)) * moments(activation, q).second + jnp.square(real(sigma_b))


def correlation_map(
    activation: ActivationLike,
    c: ArrayLike,
    q: ArrayLike,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
) -> Array:
    """C(c) = (σ_w² E[φ(u₁)φ(u₂)] + σ_b²) / V(q): the correlation of two inputs in the next layer.

    Args:
      activation: a name, a spec string or any elementwise callable.
      c: correlation of the two pre-activations, in [−1, 1].
      q: variance of both, > 0.
      sigma_w, sigma_b: as :func:`length_map`. All arrays broadcast and may be traced.

    Returns:
      C(c), of the broadcast shape; accuracy as :func:`jinit.theory.cross_moments`.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Poole et al. 2016, equation 5.

    >>> round(float(correlation_map("relu", 0.0, 1.0, 2**0.5)), 5)  # 1 / pi
    0.31831
    """
    errors.check_numbers("q", q, low=0.0, open_low=True, fix="use 1.0")
    check_sigmas(sigma_w, sigma_b, q=q, c=c)
    check_signal(sigma_w, sigma_b)
    difference = cross_moments(activation, q, c).difference
    length = length_map(activation, q, sigma_w, sigma_b)
    return 1 - jnp.square(real(sigma_w)) * difference / length


def susceptibility(activation: ActivationLike, sigma_w: ArrayLike, q: ArrayLike) -> Array:
    """χ₁ = σ_w² E[φ′(√q z)²], z ~ N(0, 1): growth of a squared gradient through one layer.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: standard deviation of the weights times √n, ≥ 0; may be traced.
      q: variance of the pre-activations, ≥ 0; broadcast against σ_w; may be traced.

    Returns:
      χ₁, dimensionless; below 1 ordered (gradients vanish), above 1 chaotic (gradients explode).

    Raises:
      ValueError: a negative number, an unknown activation.

    Reference: Poole et al. 2016, equation 5.

    >>> round(float(susceptibility("relu", 2**0.5, 1.0)), 6)
    1.0
    """
    check_sigmas(sigma_w, 0.0, q=q)
    return jnp.square(real(sigma_w)) * moments(activation, q).slope_second


def length_fixed_point(
    activation: ActivationLike,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    *,
    start: ArrayLike = 1.0,
) -> Array:
    """q* = V(q*): the variance to which deep layers converge.

    This is the first fixed point in the direction in which V moves the start. It is bracketed on
    the grid of tabulated moments and refined by Newton's method. Differentiable if 0 < q* < ∞.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: ≥ 0, any shapes that broadcast; may be traced.
      start: variance of the first layer's pre-activations, > 0; selects among fixed points.

    Returns:
      q*, of the broadcast shape; 0.0 if the signal dies, inf if it grows without bound, the start
      itself if V(start) = start.

    Raises:
      ValueError: a number out of range, an unknown activation.

    Reference: Poole et al. 2016, equation 3.

    >>> round(float(length_fixed_point("tanh", 1.760955**0.5, 0.05**0.5)), 3)
    0.57
    """
    check_sigmas(sigma_w, sigma_b, start=start)
    errors.check_numbers("start", start, low=0.0, open_low=True, fix="use 1.0")
    table = moment_table(activation)
    return solve_length(table, *(floating(x) for x in (sigma_w, sigma_b, start)))


def correlation_fixed_point(
    activation: ActivationLike, sigma_w: ArrayLike, sigma_b: ArrayLike, q: ArrayLike
) -> Array:
    """c*, to which the correlation converges from 0 ≤ c < 1; below 1 in the chaotic phase.

    C is a power series with coefficients ≥ 0, so on [0, 1] it has exactly one fixed point below 1
    if its slope at 1 exceeds 1, and none otherwise.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: as :func:`length_map`.
      q: the fixed point of the lengths, > 0.

    Returns:
      c*, in [0, 1], of the broadcast shape; 1.0 in the ordered phase.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Poole et al. 2016, equation 5.

    >>> round(float(correlation_fixed_point("tanh", 2.0, 0.3, 2.5)), 4)
    0.2452
    """
    check_sigmas(sigma_w, sigma_b, q=q)
    errors.check_numbers("q", q, low=0.0, open_low=True, fix="use length_fixed_point")
    check_signal(sigma_w, sigma_b)
    gap, _ = solve_gaps(moment_table(activation), *(floating(x) for x in (sigma_w, sigma_b, q)))
    return 1 - gap


def depth_scales(
    activation: ActivationLike,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    *,
    start: ArrayLike = 1.0,
) -> DepthScales:
    """Fixed points, χ₁ and the depths over which a signal, an angle and a gradient change.

    ξ_q = −1/ln V′(q*), ξ_c = −1/ln C′(c*), ξ_gradient = 1/ln χ₁. At q* = 0 or ∞ these are limits.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: ≥ 0, any shapes that broadcast; may be traced. On a grid of many points,
        :func:`jinit.theory.phase_diagram` is faster.
      start: variance of the first layer's pre-activations, > 0.

    Returns:
      :class:`DepthScales`, arrays of the broadcast shape.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Schoenholz et al. 2017, equations 6 to 9.

    >>> scales = depth_scales("tanh", 1.0, 0.05**0.5)
    >>> round(float(scales.trainable_depth), 1)
    21.8
    """
    check_sigmas(sigma_w, sigma_b, start=start)
    errors.check_numbers("start", start, low=0.0, open_low=True, fix="use 1.0")
    table = moment_table(activation)
    return depth_scales_from_table(table, *(floating(x) for x in (sigma_w, sigma_b, start)))
