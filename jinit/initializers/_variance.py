"""Defines a draw whose variance is a scale divided by a fan."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling as jax_variance_scaling

from jinit import errors
from jinit.initializers import _entries, _laws
from jinit.initializers._definition import Definition, Draw
from jinit.initializers._fans import Fans, KernelAxes
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key, Number

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("truncated_normal", "normal", "uniform", "rademacher")


# JAX divides complex draws by this number; the true one is COMPLEX_TRUNCATED_STDDEV.
_JAX_COMPLEX_STDDEV = 0.95311164380491208


def scaled(
    kernel: KernelAxes, scale: Number, mode: str, distribution: str, exact_std: bool = False
) -> Definition:
    """The definition with Var W = scale / fan, on which all fan-based initializers are built.

    ``exact_std`` divides a complex truncated draw by its true standard deviation instead of JAX's.

    >>> scaled(KernelAxes(), 1.0, "fan_in", "normal").law((4, 2)).stddev
    0.5
    """
    errors.check_number("variance scale", scale, low=0.0, open_low=True, fix="use 1.0 or 2.0")
    errors.check_choice("mode", mode, MODES)
    errors.check_choice("distribution", distribution, DISTRIBUTIONS)
    errors.check_bool("exact_std", exact_std)
    ratio = 1.0
    if distribution == "truncated_normal":
        ratio = _laws.COMPLEX_TRUNCATED_STDDEV / _JAX_COMPLEX_STDDEV

    def variance(shape: tuple[int, ...]) -> Number:
        return scale / _fan(kernel.fans(shape), mode, shape)

    def law(shape: tuple[int, ...]) -> Law:
        return _laws.centred(distribution, math.sqrt(_laws.value_or_nan(variance(shape))))

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        if distribution == "rademacher":
            return jax.random.rademacher(key, shape, dtype) * jnp.asarray(
                math.sqrt(variance(shape)), dtype
            )
        if _as_jax(kernel):
            drawn = _jax_draw(scale, mode, distribution, kernel)(key, shape, dtype)
        else:
            # JAX would compute other fans. Its fan_in for (1, n) is 1: the scale is the variance.
            inner = _jax_draw(variance(shape), "fan_in", distribution, KernelAxes(0, 1))
            drawn = inner(key, (1, math.prod(shape)), dtype).reshape(shape)
        if exact_std and ratio != 1 and jnp.issubdtype(dtype, jnp.complexfloating):
            return drawn / jnp.asarray(ratio, dtype)
        return drawn

    return Definition(
        draw,
        law,
        dtypes="real" if distribution == "rademacher" else "complex",
        complex_ratio=1.0 if exact_std else ratio,
        entries=_entries.of_variance(distribution, variance, scale),
    )


def _as_jax(kernel: KernelAxes) -> bool:
    return kernel.groups == 1 and not kernel.transposed and kernel.fan_in is None


def _jax_draw(scale: Number, mode: str, distribution: str, kernel: KernelAxes) -> Draw:
    axes: tuple[Any, ...] = (kernel.in_axis, kernel.out_axis, kernel.batch_axis)
    make: Any = jax_variance_scaling
    draw: Draw = make(scale, mode, distribution, *axes)
    return draw


def _fan(fans: Fans, mode: str, shape: tuple[int, ...]) -> float:
    size = float(getattr(fans, mode))
    if math.isnan(size):
        raise errors.refusal(
            "mode", mode, f"'fan_in' for shape {shape}, which has no fan_out", "use mode=fan_in"
        )
    return size
