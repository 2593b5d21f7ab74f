"""Defines initializers Var W = scale / n whose scale follows an activation, a width or a role."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Unpack

from jinit import errors
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.initializers._definition import Definition
from jinit.initializers._factories import KernelRoles, for_kernel, kernel_axes, named
from jinit.initializers._gains import gain
from jinit.initializers._laws import Law
from jinit.initializers._variance import scaled
from jinit.theory import edge_of_chaos as critical_sigma_w
from jinit.typing import Array, Axis, DType, Key

ROLES = ("input", "hidden", "output")


@named
def scaled_for(
    activation: ActivationLike,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    convention: str = "forward",
    **roles: Unpack[KernelRoles],
) -> Definition:
    """Var W = gain(φ)²/n: He's derivation for any activation φ.

    Args:
      activation: a name, a spec string or any elementwise callable.
      mode, distribution: as :func:`variance_scaling`, which has ``exact_std``, too.
      convention: the gain: ``"forward"`` 1/√E[φ²], ``"backward"`` 1/√E[φ′²], or ``"torch"``, from
        torch's table.

    The other arguments and the result are those of :func:`variance_scaling` with scale gain².

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling` and :func:`gain`.

    Reference: He et al. 2015, equations 7–14, generalised to any φ.

    >>> round(scaled_for("relu").law((50, 10)).stddev, 6)
    0.2
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    factor = float(gain(activation, convention=convention))
    return for_kernel(scaled(kernel, factor**2, mode, distribution), kernel, dtype)


@named
def edge_of_chaos(
    activation: ActivationLike,
    sigma_b: float = 0.0,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """N(0, σ_w²/n) with σ_w on the critical line χ₁(σ_w, σ_b) = 1 of the activation.

    In the limit of wide layers gradients then neither vanish nor explode with depth. The biases
    must be N(0, σ_b²): ``normal(stddev=sigma_b)``.

    Args:
      activation: a name, a spec string or any elementwise callable.
      sigma_b: standard deviation of the biases, ≥ 0.

    The other arguments and the result are those of :func:`variance_scaling`.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`, or the activation has no stable
        critical point at this σ_b, or jumps.

    Reference: Poole et al. 2016, equation 5; Schoenholz et al. 2017, section 3.

    >>> round(edge_of_chaos("relu").law((50, 10)).stddev, 5)
    0.2
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    return for_kernel(
        scaled(kernel, critical_sigma_w(activation, sigma_b) ** 2, "fan_in", "normal"),
        kernel,
        dtype,
    )


@named
def random_walk(
    activation: ActivationLike = "relu",
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """N(0, g²/N): over layers, the log length of a gradient is an unbiased random walk.

    N is the fan_in; g = √2 · exp(1.2/(max(N, 6) − 2.4)) for ReLU and g = exp(1/(2N)) for a linear
    layer. The excess over He's √2 compensates for finite width; g does not depend on depth.

    Args:
      activation: ``"relu"`` or ``"identity"``; the paper has formulas for these two only.

    The other arguments and the result are those of :func:`variance_scaling`.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`, or another activation is given.

    Reference: Sussillo & Abbott 2014, equations 11 and 12.

    >>> round(random_walk("identity").law((50, 10)).stddev * 50**0.5, 6)
    1.01005
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    name = get_activation(activation).name
    errors.check_choice("random_walk activation", name, ("relu", "identity"))

    def definition(shape: tuple[int, ...]) -> Definition:
        n = kernel.fans(shape).fan_in
        relu = name == "relu"
        g = math.sqrt(2) * math.exp(1.2 / (max(n, 6) - 2.4)) if relu else math.exp(1 / (2 * n))
        return scaled(kernel, g**2, "fan_in", "normal")

    return for_kernel(_by_shape(definition), kernel, dtype)


@named
def siren(
    omega: float = 30.0,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    is_first: bool = False,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """U[±√(6/n)/ω], and U[±1/n] for the first layer, for networks of sin(ω x).

    Args:
      omega: the frequency factor of the sine, > 0 (30 in the paper).
      is_first: True for the layer that reads the coordinates.

    The other arguments and the result are those of :func:`variance_scaling`.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`, or omega is not positive.

    Reference: Sitzmann et al. 2020, section 3.2.

    >>> round(siren().law((150, 10)).high * 30, 6)
    0.2
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    errors.check_number("siren omega", omega, low=1e-18, high=1e18, fix="use 30.0")
    if not isinstance(is_first, bool):
        raise errors.wrong_type("is_first", is_first, "True or False", "use False")

    def definition(shape: tuple[int, ...]) -> Definition:
        n = kernel.fans(shape).fan_in
        return scaled(kernel, 1 / (3 * n) if is_first else 2 / omega**2, "fan_in", "uniform")

    return for_kernel(_by_shape(definition), kernel, dtype)


@named
def spectral(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """N(0, σ²) with σ = min(1, √(m/n))/√n: the spectral norm is of order √(m/n) at every width.

    The arguments and the result are those of :func:`variance_scaling`.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`; a bias, which has no fan_out.

    Reference: Yang, Simon & Bernstein 2023, parametrization 1.

    >>> spectral().law((100, 25)).stddev
    0.05
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)

    def definition(shape: tuple[int, ...]) -> Definition:
        fans = kernel.fans(shape)
        if math.isnan(fans.fan_out):
            raise errors.refusal(
                "spectral shape",
                shape,
                "a kernel: a bias has no fan_out",
                "use 'zeros' or 'lecun_normal' for the bias",
            )
        return scaled(kernel, min(1.0, fans.fan_out / fans.fan_in), "fan_in", "normal")

    return for_kernel(_by_shape(definition), kernel, dtype)


@named
def mup(
    role: str = "hidden",
    base_fan_in: float = 1.0,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """Maximal update parametrization: N(0, 1/n), and N(0, base_fan_in/n²) for the output layer.

    The matching learning rates: :func:`jinit.train.mup_learning_rate`.

    Args:
      role: ``"input"``, ``"hidden"`` or ``"output"``.
      base_fan_in: the width at which the output layer has variance 1/n, > 0.

    The other arguments and the result are those of :func:`variance_scaling`.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`, or the role is unknown.

    Reference: Yang et al. 2022, table 3.

    >>> mup("output").law((100, 10)).stddev
    0.01
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    errors.check_choice("mup role", role, ROLES)
    errors.check_number("base_fan_in", base_fan_in, low=0.0, open_low=True, fix="use 1.0")

    def definition(shape: tuple[int, ...]) -> Definition:
        n = kernel.fans(shape).fan_in
        return scaled(kernel, base_fan_in / n if role == "output" else 1.0, "fan_in", "normal")

    return for_kernel(_by_shape(definition), kernel, dtype)


def _by_shape(definition_of: Callable[[tuple[int, ...]], Definition]) -> Definition:
    """A definition whose scale depends on the fans and therefore on the shape."""

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        return definition_of(shape).draw(key, shape, dtype)

    def law(shape: tuple[int, ...]) -> Law:
        return definition_of(shape).law(shape)

    return Definition(draw, law, "complex")
