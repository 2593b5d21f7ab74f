"""Defines a draw whose variance is a scale divided by a fan."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.initializers import _laws
from jinit.initializers._definition import Definition, Draw
from jinit.initializers._fans import Fans, KernelAxes
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key, Number

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("truncated_normal", "normal", "uniform", "rademacher")


def scaled(kernel: KernelAxes, scale: Number, mode: str, distribution: str) -> Definition:
    """The definition with Var W = scale / fan, on which all fan-based initializers are built.

    >>> scaled(KernelAxes(), 1.0, "fan_in", "normal").law((4, 2)).stddev
    0.5
    """
    errors.check_number("variance scale", scale, low=0.0, open_low=True, fix="use 1.0 or 2.0")
    errors.check_choice("mode", mode, MODES)
    errors.check_choice("distribution", distribution, DISTRIBUTIONS)

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
            return _jax_draw(scale, mode, distribution, kernel)(key, shape, dtype)
        # JAX would compute other fans. Its fan_in for (1, n) is 1, so the scale is the variance.
        inner = _jax_draw(variance(shape), "fan_in", distribution, KernelAxes(0, 1))
        return inner(key, (1, math.prod(shape)), dtype).reshape(shape)

    return Definition(draw, law, dtypes="real" if distribution == "rademacher" else "complex")


def _as_jax(kernel: KernelAxes) -> bool:
    return kernel.groups == 1 and not kernel.transposed and kernel.fan_in is None


def _jax_draw(scale: Number, mode: str, distribution: str, kernel: KernelAxes) -> Draw:
    axes: tuple[Any, ...] = (kernel.in_axis, kernel.out_axis, kernel.batch_axis)
    make: Any = jax.nn.initializers.variance_scaling
    draw: Draw = make(scale, mode, distribution, *axes)
    return draw


def _fan(fans: Fans, mode: str, shape: tuple[int, ...]) -> float:
    size = float(getattr(fans, mode))
    if math.isnan(size):
        raise errors.refusal(
            "mode", mode, f"'fan_in' for shape {shape}, which has no fan_out", "use mode=fan_in"
        )
    return size
