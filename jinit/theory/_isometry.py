"""Singular values of a deep network's Jacobian, and whether they can all be near one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._float64 import in_float64
from jinit.activations import ActivationLike
from jinit.theory._critical import CriticalLine, critical_line
from jinit.theory._mean_field import check_sigmas
from jinit.theory._moments import read
from jinit.theory._tables import check_continuous, floating, table
from jinit.typing import Array

WEIGHTS = ("gaussian", "orthogonal")
# E φ′⁴/(E φ′²)² − 1 below this at some stable critical point counts as "as small as you like".
_ATTAINABLE = 1e-2


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class JacobianSpectrum:
    """Eigenvalues of J Jᵀ, J the Jacobian of ``depth`` layers, in the limit of wide layers.

    Attributes:
      log_mean: ln of their mean, depth · ln χ₁.
      variance: of the eigenvalues divided by their mean.
    """

    log_mean: Array
    variance: Array


@dataclass(frozen=True)
class Isometry:
    """Whether all singular values of a deep Jacobian can be brought near 1.

    Attributes:
      attainable: with orthogonal weights, at a stable critical point.
      variance_per_layer: the smallest E φ′⁴/(E φ′²)² − 1 found on the critical line.
      reason: one sentence.
    """

    attainable: bool
    variance_per_layer: float
    reason: str


def jacobian_spectrum(
    activation: ActivationLike, sigma_w: Any, q: Any, *, depth: int, weights: str = "gaussian"
) -> JacobianSpectrum:
    """Mean and variance of the squared singular values of a deep Jacobian.

    mean = χ₁^L and variance/mean² = L (μ₂/μ₁² − 1 − s₁) with μ_k = E φ′(√q z)^{2k}; s₁ = −1 for
    Gaussian and 0 for orthogonal weights.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: standard deviation of the weights times √n, > 0; q: variance of the pre-activations,
        > 0, the same at every layer. Both broadcast, may be traced.
      depth: number of layers L, ≥ 1.
      weights: ``"gaussian"`` or ``"orthogonal"``.

    Returns:
      :class:`JacobianSpectrum`.

    Raises:
      ValueError: a number out of range, an unknown activation or kind of weights.

    Reference: Pennington, Schoenholz & Ganguli 2018, equation 22.

    >>> float(jacobian_spectrum("relu", 2**0.5, 1.0, depth=10, weights="orthogonal").variance)
    10.0
    """
    check_sigmas(sigma_w, 0.0)
    errors.check_number("q", q, low=0.0, open_low=True, fix="use 1.0")
    errors.check_integer("depth", depth, low=1, fix="use 10")
    errors.check_choice("weights", weights, WEIGHTS)
    sigma_w, q = jnp.broadcast_arrays(floating(sigma_w), floating(q))
    known = table(activation)
    check_continuous(known, "Jacobian")
    at = read(known, q)
    ratio = at.slope_fourth / at.slope_second**2
    per_layer = ratio - 1 if weights == "orthogonal" else ratio
    return JacobianSpectrum(depth * jnp.log(sigma_w**2 * at.slope_second), depth * per_layer)


def isometry(activation: ActivationLike) -> Isometry:
    """Whether dynamical isometry is attainable, and why not where it is not.

    A point on the critical line makes the mean squared singular value 1; the spread per layer,
    E φ′⁴/(E φ′²)² − 1 with orthogonal weights, must then be as small as one likes somewhere on it.

    Args:
      activation: a name, a spec string or an elementwise callable.

    Returns:
      :class:`Isometry`. Gaussian weights add 1 a layer: never.

    Raises:
      ValueError: an unknown activation.

    Reference: Pennington, Schoenholz & Ganguli 2017, section 2.5.

    >>> isometry("relu").attainable, isometry("tanh").attainable
    (False, True)
    """
    line, spread = _along(activation)
    name = table(activation).name
    if not len(line.q):
        return Isometry(False, math.inf, f"{name} has no stable critical point at q up to 10^4")
    best = int(np.argmin(spread))
    smallest = float(spread[best])
    if smallest < _ATTAINABLE:
        reason = f"orthogonal weights on the critical line of {name}, at small q"
        return Isometry(True, smallest, reason)
    reason = f"E phi'^4 / (E phi'^2)^2 of {name} is {1 + smallest:.6g} or more on its critical line"
    return Isometry(False, smallest, reason)


def isometric_point(
    activation: ActivationLike, depth: int, variance: float = 0.25
) -> tuple[float, float]:
    """(σ_w, σ_b) on the critical line at which the singular values spread by no more than asked.

    Solves L (E φ′⁴/(E φ′²)² − 1) = variance for q with orthogonal weights; then σ_w = 1/√E φ′² and
    σ_b² = q − σ_w² E φ².

    Args:
      activation: a name, a spec string or an elementwise callable.
      depth: number of layers L, ≥ 1.
      variance: of the squared singular values of the whole Jacobian, > 0.

    Returns:
      σ_w and σ_b, for ``scaled orthogonal`` weights and normal biases.

    Raises:
      ValueError: isometry is not attainable, a number out of range, an unknown activation.

    Reference: Pennington, Schoenholz & Ganguli 2017, section 3.

    >>> sigma_w, sigma_b = isometric_point("tanh", 100, 0.17)
    >>> bool(1.0 < sigma_w**2 < 1.05 and 0 < sigma_b < 0.02)
    True
    """
    errors.check_integer("depth", depth, low=1, fix="use 10")
    errors.check_scalar("variance", variance, low=0.0, open_low=True, fix="use 0.25")
    line, spread = _along(activation)
    enough = depth * spread <= variance
    if not enough.any():
        raise errors.refusal(
            f"isometry of {table(activation).name} at depth {depth}",
            f"a variance of {depth * spread.min(initial=math.inf):.3g} at best",
            f"{variance:g}", "a smooth saturating activation such as tanh, or fewer layers",
        )  # fmt: skip
    # The largest q that is good enough: the least linear network.
    at = np.flatnonzero(enough)[-1]
    return float(line.sigma_w[at]), float(line.sigma_b[at])


def _along(activation: ActivationLike) -> tuple[CriticalLine, np.ndarray]:
    """The critical line, and E φ′⁴/(E φ′²)² − 1 on it."""
    line = critical_line(activation)
    at = in_float64(lambda: read(table(activation), jnp.asarray(line.q)))
    fourth, second = np.asarray(at.slope_fourth), np.asarray(at.slope_second)
    # A moment that vanishes with q (cos) has its error relative to that at q = 1.
    known = fourth > 1e-6 * np.nanmax(fourth, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return line, np.where(known, fourth / second**2 - 1, np.inf)
