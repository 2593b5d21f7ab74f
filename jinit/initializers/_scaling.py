"""Random initializers whose variance follows the fans: Var W = scale / n.

All of them take the kernel's axes and roles, which :func:`fanned` adds to their parameters:

  in_axis, out_axis, batch_axis: an axis or several, as in ``jax.nn.initializers``.
  dtype: default dtype; None means the JAX default float.
  groups: feature groups of a convolution whose in axis already holds in/groups.
  transposed: swaps the fans: the kernel is laid out for the layer this one transposes.
  fused: sizes of blocks packed along the out axis, each drawn as if alone, from
    ``fold_in(key, block)``.
  fan_in: the number of inputs, where the shape does not say it (a bias, a strided transpose).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.initializers import _laws
from jinit.initializers._base import Recipe, fanned
from jinit.initializers._fans import Fans, KernelAxes
from jinit.initializers._laws import Law
from jinit.typing import Array

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("truncated_normal", "normal", "uniform", "rademacher")


@fanned
def variance_scaling(kernel: KernelAxes, scale: float, mode: str, distribution: str) -> Recipe:
    """Var W = scale / n, where n is the fan that ``mode`` names.

    ``"truncated_normal"`` is cut at ±2 σ and corrected, so that its variance is scale/n too;
    ``"uniform"`` is U[−√(3 scale/n), √(3 scale/n)]; ``"rademacher"`` is ±√(scale/n).

    Args:
      kernel: the kernel's axes and roles; see the module.
      scale: > 0, dimensionless: 1 LeCun, 2 He; may be traced.
      mode: ``"fan_in"``, ``"fan_out"``, ``"fan_avg"`` or ``"fan_geo_avg"``.
      distribution: ``"truncated_normal"``, ``"normal"``, ``"uniform"`` or ``"rademacher"``.

    Returns:
      An initializer for kernels (rank ≥ 2); bit for bit ``jax.nn.initializers.variance_scaling``
      where JAX has the distribution and the roles are at their defaults.

    Raises:
      ValueError: a scale that is not positive, an unknown mode or distribution, bad axes or roles.

    Reference: Glorot & Bengio 2010, equations 10–12; He et al. 2015, equation 10.

    >>> init = variance_scaling(2.0, "fan_in", "normal")
    >>> round(init.law((50, 10)).stddev, 6)
    0.2
    """
    return scaled(kernel, scale, mode, distribution)


@fanned
def lecun_normal(kernel: KernelAxes) -> Recipe:
    """Truncated normal with Var W = 1/fan_in: keeps the variance of a linear layer.

    Args, Returns and Raises: as :func:`variance_scaling` with scale 1, fan_in.

    Reference: LeCun et al. 1998, equation 16.

    >>> round(lecun_normal().law((100, 10)).stddev, 6)
    0.1
    """
    return scaled(kernel, 1.0, "fan_in", "truncated_normal")


@fanned
def lecun_uniform(kernel: KernelAxes) -> Recipe:
    """U[−√(3/fan_in), √(3/fan_in)]: Var W = 1/fan_in.

    Args, Returns and Raises: as :func:`variance_scaling` with scale 1, fan_in.

    Reference: LeCun et al. 1998, equation 16.

    >>> round(lecun_uniform().law((100, 10)).high, 6)
    0.173205
    """
    return scaled(kernel, 1.0, "fan_in", "uniform")


@fanned
def glorot_normal(kernel: KernelAxes, *, gain: float = 1.0) -> Recipe:
    """Truncated normal with Var W = 2 gain²/(fan_in + fan_out).

    Args:
      kernel: the kernel's axes and roles; see the module.
      gain: multiplies the standard deviation, > 0 (torch's ``gain``).

    Returns and Raises: as :func:`variance_scaling` with scale gain², fan_avg.

    Reference: Glorot & Bengio 2010, equation 12.

    >>> round(glorot_normal().law((150, 50)).stddev, 6)
    0.1
    """
    return scaled(kernel, _gain_squared(gain), "fan_avg", "truncated_normal")


@fanned
def glorot_uniform(kernel: KernelAxes, *, gain: float = 1.0) -> Recipe:
    """U[−b, b] with b = gain √(6/(fan_in + fan_out)): the "normalized" rule, Xavier uniform.

    Args:
      kernel: the kernel's axes and roles; see the module.
      gain: multiplies the bound, > 0 (torch's ``gain``).

    Returns and Raises: as :func:`variance_scaling` with scale gain², fan_avg.

    Reference: Glorot & Bengio 2010, equation 16.

    >>> round(glorot_uniform().law((100, 50)).high, 6)
    0.2
    """
    return scaled(kernel, _gain_squared(gain), "fan_avg", "uniform")


@fanned
def he_normal(kernel: KernelAxes, *, negative_slope: float = 0.0, mode: str = "fan_in") -> Recipe:
    """Truncated normal with Var W = 2/((1 + a²) n): keeps the second moment through (leaky) ReLU.

    Args:
      kernel: the kernel's axes and roles; see the module.
      negative_slope: a of the leaky ReLU; 0 is ReLU.
      mode: which fan n is; ``"fan_in"`` keeps the forward pass, ``"fan_out"`` the backward pass.

    Returns and Raises: as :func:`variance_scaling` with scale 2/(1 + a²).

    Reference: He et al. 2015, equations 10 and 15.

    >>> round(he_normal().law((50, 10)).stddev, 6)
    0.2
    """
    return scaled(kernel, _rectifier_scale(negative_slope), mode, "truncated_normal")


@fanned
def he_uniform(kernel: KernelAxes, *, negative_slope: float = 0.0, mode: str = "fan_in") -> Recipe:
    """U[−b, b] with b = √(6/((1 + a²) n)).

    Args, Returns and Raises: as :func:`he_normal`.

    Reference: He et al. 2015, equation 10.

    >>> round(he_uniform().law((150, 10)).high, 6)
    0.2
    """
    return scaled(kernel, _rectifier_scale(negative_slope), mode, "uniform")


@fanned
def fan_in_normal(kernel: KernelAxes, k: float = 1.0) -> Recipe:
    """N(0, k/fan_in), untruncated: k = 1 for tanh ("Xavier"), k = 2 for ReLU ("He").

    The forms most tutorials print. They differ from the papers' Xavier (fan_avg) and from the
    truncated draw of the deep-learning libraries; the variance of k = 2 is He's.

    Args:
      kernel: the kernel's axes and roles; see the module.
      k: variance times fan_in, > 0.

    Returns and Raises: as :func:`variance_scaling` with scale k, fan_in, normal.

    Reference: He et al. 2015, equation 10 (k = 2); LeCun et al. 1998, equation 16 (k = 1).

    >>> round(fan_in_normal(2.0).law((50, 10)).stddev, 6)
    0.2
    """
    errors.check_number("fan_in_normal k", k, low=0.0, open_low=True, fix="use 1.0 or 2.0")
    return scaled(kernel, k, "fan_in", "normal")


@fanned
def fan_avg_normal(kernel: KernelAxes) -> Recipe:
    """N(0, 2/(fan_in + fan_out)), untruncated.

    Args, Returns and Raises: as :func:`variance_scaling` with scale 1, fan_avg, normal.

    Reference: Glorot & Bengio 2010, equation 12.

    >>> round(fan_avg_normal().law((150, 50)).stddev, 6)
    0.1
    """
    return scaled(kernel, 1.0, "fan_avg", "normal")


@fanned
def fan_in_uniform(kernel: KernelAxes) -> Recipe:
    """U[−1/√fan_in, 1/√fan_in]: variance 1/(3 fan_in), a third of LeCun's.

    Glorot & Bengio's "standard" rule, often taught as Xavier, and the default of ``torch`` and
    Equinox linear layers, for the bias too (with the kernel's fan_in). It shrinks the signal by √3
    in every linear layer.

    Args, Returns and Raises: as :func:`variance_scaling` with scale 1/3, fan_in, uniform.

    Reference: Glorot & Bengio 2010, equation 1.

    >>> round(fan_in_uniform().law((10, 1000)).high, 3)
    0.316
    """
    return scaled(kernel, 1.0 / 3.0, "fan_in", "uniform")


def scaled(kernel: KernelAxes, scale: float, mode: str, distribution: str) -> Recipe:
    """The recipe with Var W = scale / fan; what :func:`variance_scaling` and its kin share.

    >>> scaled(KernelAxes(), 1.0, "fan_in", "normal").law((4, 2)).stddev
    0.5
    """
    errors.check_number("variance scale", scale, low=0.0, open_low=True, fix="use 1.0 or 2.0")
    errors.check_choice("mode", mode, MODES)
    errors.check_choice("distribution", distribution, DISTRIBUTIONS)

    def variance(shape: tuple[int, ...]) -> float:
        return scale / _fan(kernel.fans(shape), mode, shape)

    def law(shape: tuple[int, ...]) -> Law:
        return _laws.centred(distribution, math.sqrt(_laws.known(variance(shape))))

    def draw(key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        if distribution == "rademacher":
            return jax.random.rademacher(key, shape, dtype) * jnp.asarray(
                math.sqrt(variance(shape)), dtype
            )
        if _as_jax(kernel):
            return _jax_draw(scale, mode, distribution, kernel)(key, shape, dtype)
        # The fans JAX would see are not this layer's: with one in axis of size 1 it divides by 1.
        inner = _jax_draw(variance(shape), "fan_in", distribution, KernelAxes(0, 1))
        return inner(key, (1, math.prod(shape)), dtype).reshape(shape)

    return Recipe(draw, law, dtypes="real" if distribution == "rademacher" else "complex")


def _as_jax(kernel: KernelAxes) -> bool:
    return kernel.groups == 1 and not kernel.transposed and kernel.fan_in is None


def _jax_draw(
    scale: float, mode: str, distribution: str, kernel: KernelAxes
) -> Callable[..., Array]:
    axes: tuple[Any, ...] = (kernel.in_axis, kernel.out_axis, kernel.batch_axis)
    make: Any = jax.nn.initializers.variance_scaling
    draw: Callable[..., Array] = make(scale, mode, distribution, *axes)
    return draw


def _fan(fans: Fans, mode: str, shape: tuple[int, ...]) -> float:
    size = float(getattr(fans, mode))
    if math.isnan(size):
        raise errors.refusal(
            "mode", mode, f"'fan_in' for shape {shape}, which has no fan_out", "use mode=fan_in"
        )
    return size


def _gain_squared(gain: float) -> float:
    errors.check_number("gain", gain, low=0.0, open_low=True, fix="jinit.initializers.gain('tanh')")
    # A float, as JAX's own glorot passes: the variance is then rounded in the same place.
    return float(gain) ** 2


def _rectifier_scale(negative_slope: float) -> float:
    errors.check_number("negative_slope", negative_slope, fix="use 0.0 for ReLU, 0.01 for leaky")
    return 2.0 / (1.0 + float(negative_slope) ** 2)
