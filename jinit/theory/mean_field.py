"""Mean field theory of wide networks: how squared length and gradients change from layer to layer.

A layer with weights N(0, σ_w²/n) and biases N(0, σ_b²) maps the pre-activations' variance q to
V(q) = σ_w² E[φ(√q z)²] + σ_b², and multiplies squared gradients by χ₁ = σ_w² E[φ′(√q z)²].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.activations import Activation, ActivationLike, elementwise
from jinit.quadrature import expectation, find_kinks
from jinit.typing import Array


def susceptibility(activation: ActivationLike, sigma_w: float, q: float) -> float:
    """χ₁ = σ_w² E[φ′(√q z)²], z ~ N(0, 1): growth of a squared gradient through one layer.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: standard deviation of the weights times √n, > 0.
      q: variance of the pre-activations, ≥ 0.

    Returns:
      χ₁, dimensionless; below 1 ordered (gradients vanish), above 1 chaotic (they explode).

    Raises:
      ValueError: a sigma_w that is not positive, a negative q, an unknown activation.

    Reference: Poole et al. 2016, equation 5.

    >>> round(susceptibility("relu", 2**0.5, 1.0), 6)
    1.0
    """
    errors.check_number("sigma_w", sigma_w, low=0.0, open_low=True, fix="use 1.0")
    errors.check_number("q", q, low=0.0, fix="a variance is >= 0")
    return sigma_w**2 * _slope_moment(_known(activation), q)


def length_fixed_point(
    activation: ActivationLike, sigma_w: float, sigma_b: float = 0.0, *, start: float = 1.0
) -> float:
    """q*, where q = σ_w² E[φ(√q z)²] + σ_b²: the variance that deep layers settle at.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: > 0 and ≥ 0.
      start: variance of the first layer's pre-activations; decides between several fixed points.

    Returns:
      q*; 0.0 where the signal dies, inf where it grows for ever.

    Raises:
      ValueError: a number out of range, an unknown activation.

    Reference: Poole et al. 2016, equation 3.

    >>> round(length_fixed_point("tanh", 1.760955**0.5, 0.05**0.5), 3)
    0.57
    """
    errors.check_number("sigma_w", sigma_w, low=0.0, open_low=True, fix="use 1.0")
    errors.check_number("sigma_b", sigma_b, low=0.0, fix="use 0.0")
    errors.check_number("start", start, low=0.0, fix="use 1.0")
    known = _known(activation)
    q = float(start)
    for _ in range(2000):
        following = sigma_w**2 * _square_moment(known, q) + sigma_b**2
        if following > 1e6:
            return math.inf
        if following < 1e-12:
            return 0.0
        if abs(following - q) <= 1e-9 * q:
            return following
        q = following
    return q if q > 1e-3 else 0.0


def edge_of_chaos(activation: ActivationLike, sigma_b: float = 0.0) -> float:
    """σ_w on the critical line: χ₁ = 1 at the fixed point q*(σ_w, σ_b).

    The line is traced by q: σ_w = 1/√E[φ′(√q z)²], and then σ_b² = q − σ_w² E[φ(√q z)²]. The
    answer is the σ_w of the q at which σ_b² is the one asked for.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_b: standard deviation of the biases, ≥ 0.

    Returns:
      σ_w, dimensionless (weights are N(0, σ_w²/n)); relative error about 1e-6.

    Raises:
      ValueError: no critical point at this σ_b, or one whose q* is not stable (gelu and silu at
        small σ_b); a negative σ_b; an unknown activation.

    Reference: Poole et al. 2016, equation 5; Schoenholz et al. 2017, section 3.

    >>> round(edge_of_chaos("tanh", 0.05**0.5) ** 2, 4)
    1.761
    """
    errors.check_number("sigma_b", sigma_b, low=0.0, fix="use 0.0")
    known = _known(activation)
    at_zero = _slope_moment(known, 1e-12)
    if not any(_slope_moment(known, q) > 0 for q in (1e-12, 1.0, 100.0)):
        raise _nowhere(known, sigma_b)
    homogeneous = all(
        math.isclose(_slope_moment(known, q), at_zero, rel_tol=1e-5) for q in (1e-4, 1.0, 100.0)
    )
    if homogeneous and not sigma_b:
        return 1 / math.sqrt(at_zero)  # φ′ does not depend on scale: (leaky) ReLU, linear
    if not sigma_b and float(abs(_at(known, 0.0))) < 1e-7 and at_zero > 0:
        # φ(0) = 0: the length dies out at q* = 0, where χ₁ = σ_w² φ′(0)².
        return _stable(known, 1 / math.sqrt(at_zero), 0.0, sigma_b)
    q = _bisect(lambda q: _bias_variance(known, q) - sigma_b**2)
    if q is None:
        raise _nowhere(known, sigma_b)
    return _stable(known, 1 / math.sqrt(_slope_moment(known, q)), q, sigma_b)


def _nowhere(activation: Activation, sigma_b: float) -> ValueError:
    return errors.refusal(
        f"edge of chaos of {activation.name}",
        f"no critical point at sigma_b={sigma_b:g}",
        "an activation and sigma_b with chi_1 = 1 somewhere",
        "change sigma_b, or use scaled_for, which keeps the length at q = 1",
    )


def _stable(activation: Activation, sigma_w: float, q: float, sigma_b: float) -> float:
    """σ_w if the length map V brings lengths near its fixed point q back to it."""

    def growth(at: float) -> float:
        return (sigma_w**2 * _square_moment(activation, at) + sigma_b**2) / at - 1

    above, below = (growth(1.01 * q), growth(0.99 * q)) if q else (growth(1e-3), 0.0)
    if above > 1e-5 or below < -1e-5:
        raise errors.refusal(
            f"edge of chaos of {activation.name}",
            f"an unstable fixed point q*={q:.3g} at sigma_b={sigma_b:g}",
            "a critical point whose length map is stable",
            "raise sigma_b, or use scaled_for, which keeps the length at q = 1",
        )
    return sigma_w


def _bias_variance(activation: Activation, q: float) -> float:
    """σ_b² of the critical point whose fixed point is q."""
    slope = _slope_moment(activation, q)
    return q - _square_moment(activation, q) / slope if slope > 0 else math.nan


def _bisect(function: Callable[[float], float]) -> float | None:
    """The first root on a logarithmic grid of q in [1e-6, 1e4]."""
    grid = [10 ** (-6 + 10 * i / 60) for i in range(61)]
    values = [function(q) for q in grid]
    for low, high, at_low, at_high in zip(grid, grid[1:], values, values[1:], strict=False):
        if not (at_low <= 0 < at_high or at_high <= 0 < at_low):
            continue
        for _ in range(60):
            middle = math.sqrt(low * high)
            if (function(middle) > 0) == (at_high > 0):
                high = middle
            else:
                low = middle
        return math.sqrt(low * high)
    return None


def _known(activation: ActivationLike) -> Activation:
    """The activation with its kinks found, once."""
    found = elementwise(activation)
    kinks = find_kinks(found.function) if found.kinks is None else found.kinks
    return Activation(found.name, found.function, kinks)


def _at(activation: Activation, x: float) -> float:
    return expectation(lambda z: activation.function(0 * z + x))


def _square_moment(activation: Activation, q: float) -> float:
    root = math.sqrt(q)
    return expectation(lambda z: activation.function(root * z) ** 2, _scaled(activation, root))


def _slope_moment(activation: Activation, q: float) -> float:
    root = math.sqrt(q)

    def slope(z: Array) -> Array:
        return jax.vmap(jax.grad(lambda x: jnp.sum(activation.function(x))))(root * z) ** 2

    return expectation(slope, _scaled(activation, root))


def _scaled(activation: Activation, root: float) -> tuple[float, ...]:
    """The kinks of z ↦ φ(√q z)."""
    return tuple(kink / root for kink in activation.kinks or () if root > 0)
