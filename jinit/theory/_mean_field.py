"""Mean field theory of wide networks: how lengths, angles and gradients change layer by layer.

A layer with weights N(0, σ_w²/n) and biases N(0, σ_b²) maps the pre-activations' variance q to
V(q) = σ_w² E[φ(√q z)²] + σ_b², two inputs' correlation c to C(c), and multiplies squared gradients
by χ₁ = σ_w² E[φ′(√q z)²]. Numbers go in as arrays or tracers; every map jits, vmaps and is
differentiable.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.activations import ActivationLike
from jinit.theory._moments import cross_moments, moments
from jinit.theory._settled import DepthScales, settled_gaps, settled_length, settled_scales
from jinit.theory._tables import check_shapes, floating, table
from jinit.typing import Array


def length_map(activation: ActivationLike, q: Any, sigma_w: Any, sigma_b: Any = 0.0) -> Array:
    """V(q) = σ_w² E[φ(√q z)²] + σ_b²: the variance of the next layer's pre-activations.

    Args:
      activation: a name, a spec string or any elementwise callable.
      q: variance of this layer's pre-activations, ≥ 0.
      sigma_w, sigma_b: standard deviations, weights times √n; ≥ 0. All broadcast, may be traced.

    Returns:
      V(q), shaped as the arguments broadcast; accuracy as :func:`jinit.theory.moments`.

    Raises:
      ValueError: a number out of range, an unknown activation.

    Reference: Poole et al. 2016, equation 3.

    >>> float(length_map("relu", 3.0, 2**0.5))  # doctest: +ELLIPSIS
    3.0...
    """
    check_sigmas(sigma_w, sigma_b, q=q)
    return jnp.square(sigma_w) * moments(activation, q).second + jnp.square(sigma_b)


def correlation_map(
    activation: ActivationLike, c: Any, q: Any, sigma_w: Any, sigma_b: Any = 0.0
) -> Array:
    """C(c) = (σ_w² E[φ(u₁)φ(u₂)] + σ_b²) / V(q): the correlation of two inputs one layer on.

    Args:
      activation: a name, a spec string or any elementwise callable.
      c: correlation of the two pre-activations, in [−1, 1].
      q: their variance, > 0.
      sigma_w, sigma_b: as :func:`length_map`. All broadcast, may be traced.

    Returns:
      The next correlation; accuracy as :func:`jinit.theory.cross_moments`.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Poole et al. 2016, equation 5.

    >>> round(float(correlation_map("relu", 0.0, 1.0, 2**0.5)), 5)  # 1 / pi
    0.31831
    """
    errors.check_number("q", q, low=0.0, open_low=True, fix="use 1.0")
    check_sigmas(sigma_w, sigma_b, q=q, c=c)
    check_signal(sigma_w, sigma_b)
    difference = cross_moments(activation, q, c).difference
    length = length_map(activation, q, sigma_w, sigma_b)
    return 1 - jnp.square(sigma_w) * difference / length


def susceptibility(activation: ActivationLike, sigma_w: Any, q: Any) -> Array:
    """χ₁ = σ_w² E[φ′(√q z)²], z ~ N(0, 1): growth of a squared gradient through one layer.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: standard deviation of the weights times √n, ≥ 0.
      q: variance of the pre-activations, ≥ 0.

    Returns:
      χ₁, dimensionless; below 1 ordered (gradients vanish), above 1 chaotic (they explode).

    Raises:
      ValueError: a negative number, an unknown activation.

    Reference: Poole et al. 2016, equation 5.

    >>> round(float(susceptibility("relu", 2**0.5, 1.0)), 6)
    1.0
    """
    check_sigmas(sigma_w, 0.0, q=q)
    return jnp.square(sigma_w) * moments(activation, q).slope_second


def length_fixed_point(
    activation: ActivationLike, sigma_w: Any, sigma_b: Any = 0.0, *, start: Any = 1.0
) -> Array:
    """q*, where q = V(q): the variance that deep layers settle at.

    The first fixed point in the direction in which V moves the start: bracketed on the grid of
    tabulated moments, then Newton's method inside the bracket. Differentiable where 0 < q* < ∞.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: ≥ 0, any shapes that broadcast; may be traced.
      start: variance of the first layer's pre-activations, > 0; decides between fixed points.

    Returns:
      q*; 0.0 where the signal dies, inf where it grows for ever, the start where V keeps it.

    Raises:
      ValueError: a number out of range, an unknown activation.

    Reference: Poole et al. 2016, equation 3.

    >>> round(float(length_fixed_point("tanh", 1.760955**0.5, 0.05**0.5)), 3)
    0.57
    """
    check_sigmas(sigma_w, sigma_b, start=start)
    errors.check_number("start", start, low=0.0, open_low=True, fix="use 1.0")
    known = table(activation)
    return settled_length(known, *(floating(x) for x in (sigma_w, sigma_b, start)))


def correlation_fixed_point(
    activation: ActivationLike, sigma_w: Any, sigma_b: Any, q: Any
) -> Array:
    """c*, where deep layers' correlation settles from c ≥ 0: below 1 in the chaotic phase.

    C is a power series with coefficients ≥ 0: on [0, 1] it has one fixed point below 1 where its
    slope at 1 exceeds 1, and none where it does not.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: as :func:`length_map`.
      q: the variance at which lengths have settled, > 0.

    Returns:
      c*, in [0, 1]; 1.0 in the ordered phase.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Poole et al. 2016, equation 5.

    >>> round(float(correlation_fixed_point("tanh", 2.0, 0.3, 2.5)), 4)
    0.2452
    """
    check_sigmas(sigma_w, sigma_b, q=q)
    errors.check_number("q", q, low=0.0, open_low=True, fix="use length_fixed_point")
    check_signal(sigma_w, sigma_b)
    gap, _ = settled_gaps(table(activation), *(floating(x) for x in (sigma_w, sigma_b, q)))
    return 1 - gap


def depth_scales(
    activation: ActivationLike, sigma_w: Any, sigma_b: Any = 0.0, *, start: Any = 1.0
) -> DepthScales:
    """Fixed points, χ₁ and the depths over which a signal, an angle and a gradient change.

    ξ_q = −1/ln V′(q*), ξ_c = −1/ln C′(c*), ξ_gradient = 1/ln χ₁. At q* = 0 or ∞ the limits of the
    maps there are meant.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: ≥ 0, any shapes that broadcast; may be traced. For grids of many points
        :func:`jinit.theory.phase_diagram` is faster.
      start: variance of the first layer's pre-activations, > 0.

    Returns:
      :class:`DepthScales`.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Schoenholz et al. 2017, equations 6 to 9.

    >>> found = depth_scales("tanh", 1.0, 0.05**0.5)
    >>> round(float(found.trainable_depth), 1)
    21.8
    """
    check_sigmas(sigma_w, sigma_b, start=start)
    errors.check_number("start", start, low=0.0, open_low=True, fix="use 1.0")
    known = table(activation)
    return settled_scales(known, *(floating(x) for x in (sigma_w, sigma_b, start)))


def check_signal(sigma_w: Any, sigma_b: Any) -> None:
    """Something reaches the next layer: no σ_w and σ_b that are both 0.

    Raises:
      ValueError: nothing does.

    >>> check_signal(0.0, 1.0)
    """
    if isinstance(sigma_w, jax.core.Tracer) or isinstance(sigma_b, jax.core.Tracer):
        return
    if ((np.asarray(sigma_w) == 0) & (np.asarray(sigma_b) == 0)).any():
        raise errors.refusal(
            "sigma_w and sigma_b", "both 0", "a signal after the first layer", "use sigma_w = 1.0"
        )


def check_sigmas(sigma_w: Any, sigma_b: Any, **others: Any) -> None:
    """Standard deviations are finite, not negative, and of shapes that broadcast with the others.

    >>> check_sigmas(1.0, 0.0)
    """
    errors.check_number("sigma_w", sigma_w, low=0.0, fix="use 1.0")
    errors.check_number("sigma_b", sigma_b, low=0.0, fix="use 0.0")
    check_shapes(sigma_w=sigma_w, sigma_b=sigma_b, **others)
