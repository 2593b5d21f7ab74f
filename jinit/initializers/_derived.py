"""Scales derived from an activation, a depth or a width: one law, Var W = scale / n, many sources.

The parameters that :func:`fanned` adds are those of :mod:`jinit.initializers._scaling`.
"""

from __future__ import annotations

import math
from typing import Any

from jinit import errors
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.initializers import _laws
from jinit.initializers._base import Recipe, fanned
from jinit.initializers._fans import KernelAxes
from jinit.initializers._gains import gain
from jinit.initializers._laws import Law
from jinit.initializers._scaling import scaled
from jinit.theory import edge_of_chaos as critical_sigma_w
from jinit.typing import Array

ROLES = ("input", "hidden", "output")


@fanned
def scaled_for(
    kernel: KernelAxes,
    activation: ActivationLike,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    *,
    convention: str = "forward",
) -> Recipe:
    """Var W = gain(φ)²/n for any activation φ: He's derivation without ReLU in it.

    Args:
      kernel: the kernel's axes and roles; see :mod:`jinit.initializers._scaling`.
      activation: a name, a spec string or any elementwise callable.
      mode, distribution: as :func:`variance_scaling`.
      convention: which gain: ``"forward"`` 1/√E[φ²], ``"backward"`` 1/√E[φ′²], ``"torch"``.

    Returns and Raises: as :func:`variance_scaling` with scale gain²; ValueError also for an
      activation that keeps no signal.

    Reference: He et al. 2015, equations 7–14, generalised to any φ.

    >>> round(scaled_for("relu").law((50, 10)).stddev, 6)
    0.2
    """
    factor = float(gain(activation, convention=convention))
    return scaled(kernel, factor**2, mode, distribution)


@fanned
def edge_of_chaos(kernel: KernelAxes, activation: ActivationLike, sigma_b: float = 0.0) -> Recipe:
    """N(0, σ_w²/n) with σ_w on the critical line χ₁(σ_w, σ_b) = 1 of the activation.

    Gradients then neither vanish nor explode with depth, in the limit of wide layers. Give the
    biases N(0, σ_b²): ``normal(stddev=sigma_b)``.

    Args:
      kernel: the kernel's axes and roles; see :mod:`jinit.initializers._scaling`.
      activation: a name, a spec string or any elementwise callable.
      sigma_b: standard deviation of the biases, ≥ 0.

    Returns and Raises: as :func:`variance_scaling`; ValueError also where the activation has no
      critical point at this σ_b, or an unstable one.

    Reference: Poole et al. 2016, equation 5; Schoenholz et al. 2017, section 3.

    >>> round(edge_of_chaos("relu").law((50, 10)).stddev, 5)
    0.2
    """
    return scaled(kernel, critical_sigma_w(activation, sigma_b) ** 2, "fan_in", "normal")


@fanned
def random_walk(kernel: KernelAxes, activation: ActivationLike = "relu") -> Recipe:
    """N(0, g²/N): the log length of a back-propagated gradient does an unbiased random walk.

    g = √2 · exp(1.2/(max(N, 6) − 2.4)) for ReLU and g = exp(1/(2N)) for a linear layer, N the
    fan_in: above He's √2 by what finite width costs. Depth does not enter.

    Args:
      kernel: the kernel's axes and roles; see :mod:`jinit.initializers._scaling`.
      activation: ``"relu"`` or ``"identity"``; the paper gives no other formula.

    Returns and Raises: as :func:`variance_scaling`; ValueError also for another activation.

    Reference: Sussillo & Abbott 2014, equations 11 and 12.

    >>> round(random_walk("identity").law((50, 10)).stddev * 50**0.5, 6)
    1.01005
    """
    name = get_activation(activation).name
    errors.check_choice("random_walk activation", name, ("relu", "identity"))

    def recipe(shape: tuple[int, ...]) -> Recipe:
        n = kernel.fans(shape).fan_in
        relu = name == "relu"
        g = math.sqrt(2) * math.exp(1.2 / (max(n, 6) - 2.4)) if relu else math.exp(1 / (2 * n))
        return scaled(kernel, g**2, "fan_in", "normal")

    return _by_shape(recipe)


@fanned
def siren(kernel: KernelAxes, omega: float = 30.0, *, is_first: bool = False) -> Recipe:
    """U[±√(6/n)/ω], and U[±1/n] for the first layer, for networks of sin(ω x).

    Args:
      kernel: the kernel's axes and roles; see :mod:`jinit.initializers._scaling`.
      omega: the frequency factor of the sine, > 0 (30 in the paper).
      is_first: the layer that sees the coordinates.

    Returns and Raises: as :func:`variance_scaling`; ValueError also for a bad omega.

    Reference: Sitzmann et al. 2020, section 3.2.

    >>> round(siren().law((150, 10)).high * 30, 6)
    0.2
    """
    errors.check_number("siren omega", omega, low=0.0, open_low=True, fix="use 30.0")
    if not isinstance(is_first, bool):
        raise errors.wrong_type("is_first", is_first, "True or False", "use False")

    def recipe(shape: tuple[int, ...]) -> Recipe:
        n = kernel.fans(shape).fan_in
        return scaled(kernel, 1 / (3 * n) if is_first else 2 / omega**2, "fan_in", "uniform")

    return _by_shape(recipe)


@fanned
def spectral(kernel: KernelAxes) -> Recipe:
    """N(0, σ²) with σ = min(1, √(m/n))/√n: the spectral norm is of order √(m/n) at every width.

    Args:
      kernel: the kernel's axes and roles; see :mod:`jinit.initializers._scaling`.

    Returns and Raises: as :func:`variance_scaling`.

    Reference: Yang, Simon & Bernstein 2023, parametrization 1.

    >>> spectral().law((100, 25)).stddev
    0.05
    """

    def recipe(shape: tuple[int, ...]) -> Recipe:
        found = kernel.fans(shape)
        return scaled(kernel, min(1.0, found.fan_out / found.fan_in), "fan_in", "normal")

    return _by_shape(recipe)


@fanned
def mup(kernel: KernelAxes, role: str = "hidden", base_fan_in: float = 1.0) -> Recipe:
    """Maximal update parametrization: N(0, 1/n), and N(0, base/n²) for the output layer.

    The matching learning rates: :func:`jinit.train.mup_learning_rate`.

    Args:
      kernel: the kernel's axes and roles; see :mod:`jinit.initializers._scaling`.
      role: ``"input"``, ``"hidden"`` or ``"output"``.
      base_fan_in: the width at which the output layer has variance 1/n, > 0.

    Returns and Raises: as :func:`variance_scaling`; ValueError also for an unknown role.

    Reference: Yang et al. 2022, table 3.

    >>> mup("output").law((100, 10)).stddev
    0.01
    """
    errors.check_choice("mup role", role, ROLES)
    errors.check_number("base_fan_in", base_fan_in, low=0.0, open_low=True, fix="use 1.0")

    def recipe(shape: tuple[int, ...]) -> Recipe:
        n = kernel.fans(shape).fan_in
        return scaled(kernel, base_fan_in / n if role == "output" else 1.0, "fan_in", "normal")

    return _by_shape(recipe)


def _by_shape(recipe: Any) -> Recipe:
    """A recipe whose scale itself depends on the fans."""

    def draw(key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        drawn: Array = recipe(shape).draw(key, shape, dtype)
        return drawn

    def law(shape: tuple[int, ...]) -> Law:
        found: _laws.Law = recipe(shape).law(shape)
        return found

    return Recipe(draw, law, "complex")
