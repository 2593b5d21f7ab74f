"""Random initializers whose variance follows the fans: Var W = scale / n."""

from __future__ import annotations

import math
from typing import Any

import jax

from jinit import errors
from jinit.initializers.base import TRUNCATED_STDDEV, Law, Recipe, named
from jinit.initializers.fans import fans
from jinit.typing import Axis, DType

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")


@named
def variance_scaling(
    scale: float,
    mode: str,
    distribution: str,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
) -> Recipe:
    """Var W = scale / n, where n is the fan that ``mode`` names.

    ``"truncated_normal"`` is cut at ±2 σ and corrected, so that its variance is scale/n too;
    ``"uniform"`` is U[−√(3 scale/n), √(3 scale/n)].

    Args:
      scale: > 0, dimensionless: 1 LeCun, 2 He.
      mode: ``"fan_in"``, ``"fan_out"``, ``"fan_avg"`` or ``"fan_geo_avg"``.
      distribution: ``"truncated_normal"``, ``"normal"`` or ``"uniform"``.
      in_axis, out_axis, batch_axis: axes of the kernel, as in :func:`fans`.
      dtype: default dtype; None means the JAX default float.

    Returns:
      An initializer for kernels (rank ≥ 2); bit for bit ``jax.nn.initializers.variance_scaling``.

    Raises:
      ValueError: a scale that is not positive, an unknown mode or distribution, bad axes.

    Reference: Glorot & Bengio 2010, equations 10–12; He et al. 2015, equation 10.

    >>> init = variance_scaling(2.0, "fan_in", "normal")
    >>> round(init.law((50, 10)).stddev, 6)
    0.2
    """
    errors.check_number("variance scale", scale, low=0.0, open_low=True, fix="use 1.0 or 2.0")
    errors.check_choice("mode", mode, MODES)
    errors.check_choice("distribution", distribution, DISTRIBUTIONS)
    axes = (in_axis, out_axis, batch_axis)
    make: Any = jax.nn.initializers.variance_scaling

    def law(shape: tuple[int, ...]) -> Law:
        stddev = math.sqrt(scale / getattr(fans(shape, *axes), mode))
        if distribution == "normal":
            return Law("normal", 0.0, stddev)
        if distribution == "uniform":
            bound = math.sqrt(3) * stddev
            return Law("uniform", 0.0, stddev, -bound, bound)
        bound = 2 * stddev / TRUNCATED_STDDEV
        return Law("truncated_normal", 0.0, stddev, -bound, bound)

    return Recipe(make(scale, mode, distribution, *axes), law, dtype=dtype)


@named
def lecun_normal(
    in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = (), dtype: DType = None
) -> Recipe:
    """Truncated normal with Var W = 1/fan_in: keeps the variance of a linear layer.

    Args, Returns and Raises: as :func:`variance_scaling` with scale 1, fan_in.

    Reference: LeCun et al. 1998, equation 16.

    >>> round(lecun_normal().law((100, 10)).stddev, 6)
    0.1
    """
    return _scaled(1.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


@named
def lecun_uniform(
    in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = (), dtype: DType = None
) -> Recipe:
    """U[−√(3/fan_in), √(3/fan_in)]: Var W = 1/fan_in.

    Args, Returns and Raises: as :func:`variance_scaling` with scale 1, fan_in.

    Reference: LeCun et al. 1998, equation 16.

    >>> round(lecun_uniform().law((100, 10)).high, 6)
    0.173205
    """
    return _scaled(1.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


@named
def glorot_normal(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    gain: float = 1.0,
) -> Recipe:
    """Truncated normal with Var W = 2 gain²/(fan_in + fan_out).

    Args:
      in_axis, out_axis, batch_axis, dtype: as :func:`variance_scaling`.
      gain: multiplies the standard deviation, > 0 (torch's ``gain``).

    Returns and Raises: as :func:`variance_scaling` with scale gain², fan_avg.

    Reference: Glorot & Bengio 2010, equation 12.

    >>> round(glorot_normal().law((150, 50)).stddev, 6)
    0.1
    """
    scale = _gain_squared(gain)
    return _scaled(scale, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


@named
def glorot_uniform(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    gain: float = 1.0,
) -> Recipe:
    """U[−b, b] with b = gain √(6/(fan_in + fan_out)): the "normalized" rule, Xavier uniform.

    Args:
      in_axis, out_axis, batch_axis, dtype: as :func:`variance_scaling`.
      gain: multiplies the bound, > 0 (torch's ``gain``).

    Returns and Raises: as :func:`variance_scaling` with scale gain², fan_avg.

    Reference: Glorot & Bengio 2010, equation 16.

    >>> round(glorot_uniform().law((100, 50)).high, 6)
    0.2
    """
    scale = _gain_squared(gain)
    return _scaled(scale, "fan_avg", "uniform", in_axis, out_axis, batch_axis, dtype)


@named
def he_normal(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    negative_slope: float = 0.0,
    mode: str = "fan_in",
) -> Recipe:
    """Truncated normal with Var W = 2/((1 + a²) n): keeps the second moment through (leaky) ReLU.

    Args:
      in_axis, out_axis, batch_axis, dtype: as :func:`variance_scaling`.
      negative_slope: a of the leaky ReLU; 0 is ReLU.
      mode: which fan n is; ``"fan_in"`` keeps the forward pass, ``"fan_out"`` the backward pass.

    Returns and Raises: as :func:`variance_scaling` with scale 2/(1 + a²).

    Reference: He et al. 2015, equations 10 and 15.

    >>> round(he_normal().law((50, 10)).stddev, 6)
    0.2
    """
    scale = _rectifier_scale(negative_slope)
    return _scaled(scale, mode, "truncated_normal", in_axis, out_axis, batch_axis, dtype)


@named
def he_uniform(
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
    *,
    negative_slope: float = 0.0,
    mode: str = "fan_in",
) -> Recipe:
    """U[−b, b] with b = √(6/((1 + a²) n)).

    Args, Returns and Raises: as :func:`he_normal`.

    Reference: He et al. 2015, equation 10.

    >>> round(he_uniform().law((150, 10)).high, 6)
    0.2
    """
    scale = _rectifier_scale(negative_slope)
    return _scaled(scale, mode, "uniform", in_axis, out_axis, batch_axis, dtype)


@named
def fan_in_normal(
    k: float = 1.0,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DType = None,
) -> Recipe:
    """N(0, k/fan_in), untruncated: k = 1 for tanh ("Xavier"), k = 2 for ReLU ("He").

    The forms most tutorials print. They differ from the papers' Xavier (fan_avg) and from the
    truncated draw of the deep-learning libraries; the variance of k = 2 is He's.

    Args:
      k: variance times fan_in, > 0.
      in_axis, out_axis, batch_axis, dtype: as :func:`variance_scaling`.

    Returns and Raises: as :func:`variance_scaling` with scale k, fan_in, normal.

    Reference: He et al. 2015, equation 10 (k = 2); LeCun et al. 1998, equation 16 (k = 1).

    >>> round(fan_in_normal(2.0).law((50, 10)).stddev, 6)
    0.2
    """
    errors.check_number("fan_in_normal k", k, low=0.0, open_low=True, fix="use 1.0 or 2.0")
    return _scaled(k, "fan_in", "normal", in_axis, out_axis, batch_axis, dtype)


@named
def fan_avg_normal(
    in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = (), dtype: DType = None
) -> Recipe:
    """N(0, 2/(fan_in + fan_out)), untruncated.

    Args, Returns and Raises: as :func:`variance_scaling` with scale 1, fan_avg, normal.

    Reference: Glorot & Bengio 2010, equation 12.

    >>> round(fan_avg_normal().law((150, 50)).stddev, 6)
    0.1
    """
    return _scaled(1.0, "fan_avg", "normal", in_axis, out_axis, batch_axis, dtype)


@named
def fan_in_uniform(
    in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = (), dtype: DType = None
) -> Recipe:
    """U[−1/√fan_in, 1/√fan_in]: variance 1/(3 fan_in), a third of LeCun's.

    Glorot & Bengio's "standard" rule, often taught as Xavier, and the default of ``torch`` and
    Equinox linear layers. It shrinks the signal by √3 in every linear layer.

    Args, Returns and Raises: as :func:`variance_scaling` with scale 1/3, fan_in, uniform.

    Reference: Glorot & Bengio 2010, equation 1.

    >>> round(fan_in_uniform().law((10, 1000)).high, 3)
    0.316
    """
    return _scaled(1.0 / 3.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def _scaled(
    scale: float,
    mode: str,
    distribution: str,
    in_axis: Axis,
    out_axis: Axis,
    batch_axis: Axis,
    dtype: DType,
) -> Recipe:
    general = variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)
    return general.recipe


def _gain_squared(gain: float) -> float:
    errors.check_number("gain", gain, low=0.0, open_low=True, fix="jinit.initializers.gain('tanh')")
    # A float, as JAX's own glorot passes: the variance is then rounded in the same place.
    return float(gain) ** 2


def _rectifier_scale(negative_slope: float) -> float:
    errors.check_number("negative_slope", negative_slope, fix="use 0.0 for ReLU, 0.01 for leaky")
    return 2.0 / (1.0 + float(negative_slope) ** 2)
