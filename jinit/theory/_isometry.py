"""Computes moments of a deep Jacobian's singular values and checks if all can be close to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jinit import errors
from jinit.activations import ActivationLike
from jinit.theory._checks import check_continuous, check_sigmas, floating
from jinit.theory._edge_of_chaos import CriticalLine, critical_line
from jinit.theory._moments import read_moments
from jinit.theory._roots import read_in_float64
from jinit.theory._tabulate import moment_table
from jinit.typing import Array

_WEIGHTS = ("gaussian", "orthogonal")
# Isometry counts as attainable if E φ′⁴/(E φ′²)² − 1 falls below this at a stable critical point.
_ATTAINABLE = 1e-2


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class JacobianSpectrum:
    """Eigenvalues of J Jᵀ, J the Jacobian of ``depth`` layers, in the limit of wide layers.

    Both arrays have the broadcast shape of σ_w and q.

    Attributes:
      log_mean: ln of the mean eigenvalue, depth · ln χ₁.
      variance: relative variance of the eigenvalues, Var λ/(E λ)².
    """

    log_mean: Array
    variance: Array


@dataclass(frozen=True)
class Isometry:
    """The answer to whether all singular values of a deep Jacobian can be close to 1.

    Attributes:
      attainable: True if orthogonal weights at some stable critical point bring them close to 1.
      variance_per_layer: the smallest E φ′⁴/(E φ′²)² − 1 on the critical line.
      reason: one sentence that says why.
    """

    attainable: bool
    variance_per_layer: float
    reason: str


def jacobian_spectrum(
    activation: ActivationLike,
    sigma_w: ArrayLike,
    q: ArrayLike,
    *,
    depth: int,
    weights: str = "gaussian",
) -> JacobianSpectrum:
    """Mean and relative variance of the squared singular values of a deep Jacobian.

    mean = χ₁^L and variance/mean² = L (μ₂/μ₁² − 1 − s₁) with μ_k = E φ′(√q z)^{2k}; s₁ = −1 for
    Gaussian and 0 for orthogonal weights.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w: standard deviation of the weights times √n, > 0; may be traced.
      q: variance of the pre-activations, > 0, the same in every layer; broadcast against σ_w; may
        be traced.
      depth: number of layers L, ≥ 1.
      weights: ``"gaussian"`` or ``"orthogonal"``.

    Returns:
      :class:`JacobianSpectrum`.

    Raises:
      ValueError: a number out of range, an unknown kind of weights, an unknown activation, one that
        jumps.

    Reference: Pennington, Schoenholz & Ganguli 2018, equation 22.

    >>> float(jacobian_spectrum("relu", 2**0.5, 1.0, depth=10, weights="orthogonal").variance)
    10.0
    """
    check_sigmas(sigma_w, 0.0, q=q)
    errors.check_numbers("q", q, low=0.0, open_low=True, fix="use 1.0")
    errors.check_integer("depth", depth, low=1, high=10**9, fix="use 10")
    errors.check_choice("weights", weights, _WEIGHTS)
    sigma_w, q = jnp.broadcast_arrays(floating(sigma_w), floating(q))
    table = moment_table(activation)
    check_continuous(table, "Jacobian")
    at = read_moments(table, q)
    ratio = at.slope_fourth / at.slope_second**2
    per_layer = ratio - 1 if weights == "orthogonal" else ratio
    return JacobianSpectrum(depth * jnp.log(sigma_w**2 * at.slope_second), depth * per_layer)


def isometry(activation: ActivationLike) -> Isometry:
    """Checks whether dynamical isometry is attainable with this activation.

    On the critical line the mean squared singular value is 1. With orthogonal weights the variance
    per layer is E φ′⁴/(E φ′²)² − 1; isometry counts as attainable if this falls below 0.01 on
    the line. Gaussian weights add 1 per layer, so isometry is never attainable with them.

    Args:
      activation: a name, a spec string or an elementwise callable.

    Returns:
      :class:`Isometry`.

    Raises:
      ValueError: an unknown activation, one that jumps.

    Reference: Pennington, Schoenholz & Ganguli 2017, section 2.5.

    >>> isometry("relu").attainable, isometry("tanh").attainable
    (False, True)
    """
    line, spread = _spread_on_critical_line(activation)
    name = moment_table(activation).name
    if not len(line.q):
        return Isometry(False, math.inf, f"{name} has no stable critical point at q up to 10^4")
    smallest = float(spread[int(np.argmin(spread))])
    if smallest < _ATTAINABLE:
        reason = f"orthogonal weights attain isometry on the critical line of {name}, at small q"
        return Isometry(True, smallest, reason)
    reason = f"E phi'^4 / (E phi'^2)^2 of {name} is {1 + smallest:.6g} or more on its critical line"
    return Isometry(False, smallest, reason)


def isometric_point(
    activation: ActivationLike, depth: int, variance: float = 0.25
) -> tuple[float, float]:
    """(σ_w, σ_b) at which squared singular values have at most this variance.

    The point is on the critical line, for orthogonal weights: the largest q of
    :func:`critical_line` with L (E φ′⁴/(E φ′²)² − 1) ≤ variance, σ_w = 1/√E φ′² and
    σ_b² = q − σ_w² E φ².

    Args:
      activation: a name, a spec string or an elementwise callable.
      depth: number of layers L, ≥ 1.
      variance: of the squared singular values of the whole Jacobian, > 0.

    Returns:
      σ_w and σ_b, for scaled orthogonal weights and normal biases.

    Raises:
      ValueError: no critical point has so small a variance, a number out of range, an unknown
        activation, one that jumps. TypeError: a number that is traced.

    Reference: Pennington, Schoenholz & Ganguli 2017, section 3.

    >>> sigma_w, sigma_b = isometric_point("tanh", 100, 0.17)
    >>> bool(1.0 < sigma_w**2 < 1.05 and 0 < sigma_b < 0.02)
    True
    """
    errors.check_integer("depth", depth, low=1, high=10**9, fix="use 10")
    errors.check_scalar("variance", variance, low=0.0, open_low=True, fix="use 0.25")
    line, spread = _spread_on_critical_line(activation)
    enough = depth * spread <= variance
    if not enough.any():
        raise errors.refusal(
            f"isometry of {moment_table(activation).name} at depth {depth}",
            f"a variance of {depth * spread.min(initial=math.inf):.3g} at best",
            f"a variance of at most {variance:g}",
            "use a smooth saturating activation such as tanh, or fewer layers",
        )
    # The largest admissible q gives the least linear network.
    at = np.flatnonzero(enough)[-1]
    return float(line.sigma_w[at]), float(line.sigma_b[at])


def _spread_on_critical_line(activation: ActivationLike) -> tuple[CriticalLine, np.ndarray]:
    """The critical line, and E φ′⁴/(E φ′²)² − 1 at its points; inf if not resolved."""
    line = critical_line(activation)
    at = read_in_float64(moment_table(activation), line.q)
    fourth, second = np.asarray(at.slope_fourth), np.asarray(at.slope_second)
    # If a moment vanishes as q → 0 (cos), its error is relative to the moment at q = 1.
    resolved = fourth > 1e-6 * np.nanmax(fourth, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return line, np.where(resolved, fourth / second**2 - 1, np.inf)
