"""Defines random initializers whose variance is a scale divided by a fan: Var W = scale / n."""

from __future__ import annotations

from typing import Unpack

from jinit import errors
from jinit.initializers._definition import Definition
from jinit.initializers._factories import KernelRoles, for_kernel, kernel_axes, named
from jinit.initializers._variance import scaled
from jinit.typing import Axis, DType, Number

# The square of a larger factor is infinite in float32.
_MOST = 1e18


@named
def variance_scaling(
    scale: Number,
    mode: str,
    distribution: str,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    exact_std: bool = False,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """Var W = scale / n, where n is the fan that ``mode`` names.

    ``"truncated_normal"`` is cut at ±2 σ and rescaled, so that its variance is scale/n too;
    ``"uniform"`` is U[−√(3 scale/n), √(3 scale/n)]; ``"rademacher"`` is ±√(scale/n).

    Args:
      scale: variance times fan, > 0, dimensionless: 1 for LeCun, 2 for He; may be traced.
      mode: ``"fan_in"``, ``"fan_out"``, ``"fan_avg"`` or ``"fan_geo_avg"``.
      distribution: ``"truncated_normal"``, ``"normal"``, ``"uniform"`` or ``"rademacher"``.
      in_axis, out_axis, batch_axis: an axis or several, as in ``jax.nn.initializers``.
      dtype: default dtype of the draws; None means the JAX default float. A half-precision draw is
        the float32 draw, rounded: JAX's own has 128 or 1,024 levels.
      exact_std: True gives complex truncated draws the exact variance. JAX's, and those of False,
        have 1.87 % more: the cut at |z| < 2 leaves σ = √(1 − 4e⁻⁴/(1 − e⁻⁴)) = .96196, and JAX
        divides by .95311. Real draws are exact anyway.
      **roles: ``groups`` (default 1), feature groups of a convolution whose in axis already holds
        in/groups; ``transposed`` (False), True swaps the fans, for the kernel of a transposed
        convolution that keeps the axis names of the forward convolution; ``fused`` (None), sizes
        of blocks packed along the out axis, block i of several drawn alone from ``fold_in(key,
        i)``, and not together with groups; ``fan_in`` (None), the number of inputs, if the shape
        does not show it (a bias, a strided transposed convolution).

    Returns:
      An initializer for kernels: of rank ≥ 2, or of any rank if its axes are named. In float32,
      float64 and complex the values are bit for bit those of
      ``jax.nn.initializers.variance_scaling`` if JAX has the distribution and the keywords have
      their defaults.

    Raises:
      ValueError: the scale is not positive, the mode or distribution is unknown, or the axes or
        roles do not fit the kernel.
      TypeError: an axis or a role has the wrong type.

    Reference: Glorot & Bengio 2010, equations 10–12; He et al. 2015, equation 10.

    >>> init = variance_scaling(2.0, "fan_in", "normal")
    >>> round(init.law((50, 10)).stddev, 6)
    0.2
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    return for_kernel(scaled(kernel, scale, mode, distribution, exact_std), kernel, dtype)


@named
def lecun_normal(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    exact_std: bool = False,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """Truncated normal with Var W = 1/fan_in, which keeps the variance of a linear layer.

    The arguments and the result are those of :func:`variance_scaling` with scale 1 and fan_in.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`.

    Reference: LeCun et al. 1998, equation 16.

    >>> round(lecun_normal().law((100, 10)).stddev, 6)
    0.1
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    return for_kernel(scaled(kernel, 1.0, "fan_in", "truncated_normal", exact_std), kernel, dtype)


@named
def lecun_uniform(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """U[−√(3/fan_in), √(3/fan_in)]: Var W = 1/fan_in.

    The arguments and the result are those of :func:`variance_scaling` with scale 1 and fan_in.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`.

    Reference: LeCun et al. 1998, equation 16.

    >>> round(lecun_uniform().law((100, 10)).high, 6)
    0.173205
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    return for_kernel(scaled(kernel, 1.0, "fan_in", "uniform"), kernel, dtype)


@named
def glorot_normal(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    gain: float = 1.0,
    exact_std: bool = False,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """Truncated normal with Var W = 2 gain²/(fan_in + fan_out).

    Args:
      gain: multiplies the standard deviation, > 0 (torch's ``gain``).

    The other arguments and the result are those of :func:`variance_scaling` with scale gain²
    and fan_avg.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`.

    Reference: Glorot & Bengio 2010, equation 12.

    >>> round(glorot_normal().law((150, 50)).stddev, 6)
    0.1
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    return for_kernel(
        scaled(kernel, _gain_squared(gain), "fan_avg", "truncated_normal", exact_std), kernel, dtype
    )


@named
def glorot_uniform(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    gain: float = 1.0,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """U[−b, b] with b = gain √(6/(fan_in + fan_out)): the "normalized" rule, Xavier uniform.

    Args:
      gain: multiplies the bound, > 0 (torch's ``gain``).

    The other arguments and the result are those of :func:`variance_scaling` with scale gain²
    and fan_avg.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`.

    Reference: Glorot & Bengio 2010, equation 16.

    >>> round(glorot_uniform().law((100, 50)).high, 6)
    0.2
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    return for_kernel(scaled(kernel, _gain_squared(gain), "fan_avg", "uniform"), kernel, dtype)


@named
def he_normal(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    negative_slope: float = 0.0,
    mode: str = "fan_in",
    exact_std: bool = False,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """Truncated normal with Var W = 2/((1 + a²) n), which keeps E[x²] through (leaky) ReLU.

    Args:
      negative_slope: a of the leaky ReLU, dimensionless; 0 is ReLU.
      mode: the fan n; ``"fan_in"`` keeps the forward pass, ``"fan_out"`` the backward pass.

    The other arguments and the result are those of :func:`variance_scaling` with scale 2/(1 + a²).

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`.

    Reference: He et al. 2015, equations 10 and 15.

    >>> round(he_normal().law((50, 10)).stddev, 6)
    0.2
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    scale = _rectifier_scale(negative_slope)
    return for_kernel(scaled(kernel, scale, mode, "truncated_normal", exact_std), kernel, dtype)


@named
def he_uniform(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    negative_slope: float = 0.0,
    mode: str = "fan_in",
    **roles: Unpack[KernelRoles],
) -> Definition:
    """U[−b, b] with b = √(6/((1 + a²) n)).

    The arguments and the result are those of :func:`he_normal`, without ``exact_std``.

    Raises:
      ValueError, TypeError: as for :func:`he_normal`.

    Reference: He et al. 2015, equation 10.

    >>> round(he_uniform().law((150, 10)).high, 6)
    0.2
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    return for_kernel(
        scaled(kernel, _rectifier_scale(negative_slope), mode, "uniform"), kernel, dtype
    )


@named
def fan_in_normal(
    k: float = 1.0,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """N(0, k/fan_in), untruncated: k = 1 for tanh ("Xavier"), k = 2 for ReLU ("He").

    Most tutorials print these formulas. They differ from the paper's Xavier (fan_avg) and from the
    truncated draws of deep-learning libraries; k = 2 has He's variance.

    Args:
      k: variance times fan_in, > 0.

    The other arguments and the result are those of :func:`variance_scaling` with scale k,
    fan_in and normal.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`.

    Reference: He et al. 2015, equation 10 (k = 2); LeCun et al. 1998, equation 16 (k = 1).

    >>> round(fan_in_normal(2.0).law((50, 10)).stddev, 6)
    0.2
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    errors.check_number("fan_in_normal k", k, low=0.0, open_low=True, fix="use 1.0 or 2.0")
    return for_kernel(scaled(kernel, k, "fan_in", "normal"), kernel, dtype)


@named
def fan_avg_normal(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """N(0, 2/(fan_in + fan_out)), untruncated.

    The arguments and the result are those of :func:`variance_scaling` with scale 1, fan_avg
    and normal.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`.

    Reference: Glorot & Bengio 2010, equation 12.

    >>> round(fan_avg_normal().law((150, 50)).stddev, 6)
    0.1
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    return for_kernel(scaled(kernel, 1.0, "fan_avg", "normal"), kernel, dtype)


@named
def fan_in_uniform(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    **roles: Unpack[KernelRoles],
) -> Definition:
    """U[−1/√fan_in, 1/√fan_in]: variance 1/(3 fan_in), a third of LeCun's.

    This is Glorot & Bengio's "standard" rule, which is often taught as Xavier. It is the default of
    linear layers in ``torch`` and Equinox, for the bias too (with the kernel's fan_in). Each linear
    layer shrinks the signal by √3.

    The arguments and the result are those of :func:`variance_scaling` with scale 1/3, fan_in
    and uniform.

    Raises:
      ValueError, TypeError: as for :func:`variance_scaling`.

    Reference: Glorot & Bengio 2010, equation 1.

    >>> round(fan_in_uniform().law((10, 1000)).high, 3)
    0.316
    """
    kernel = kernel_axes(in_axis, out_axis, batch_axis, roles)
    return for_kernel(scaled(kernel, 1.0 / 3.0, "fan_in", "uniform"), kernel, dtype)


def _gain_squared(gain: float) -> float:
    fix = "pass jinit.initializers.gain('tanh')"
    errors.check_number("gain", gain, low=0.0, high=_MOST, open_low=True, fix=fix)
    # A float, as in JAX's glorot, so that the variance is rounded at the same step.
    return float(gain) ** 2


def _rectifier_scale(negative_slope: float) -> float:
    fix = "use 0.0 for ReLU, 0.01 for leaky"
    errors.check_number("negative_slope", negative_slope, low=-_MOST, high=_MOST, fix=fix)
    return 2.0 / (1.0 + float(negative_slope) ** 2)
