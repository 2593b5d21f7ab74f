"""Defines random initializers whose scale does not depend on the shape."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import normal as jax_normal
from jax.nn.initializers import truncated_normal as jax_truncated_normal
from jax.nn.initializers import uniform as jax_uniform

from jinit import errors
from jinit.initializers import _entries, _laws
from jinit.initializers._checks import within_64_bits
from jinit.initializers._definition import Definition, Draw
from jinit.initializers._factories import named
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key, Number


@named
def normal(stddev: Number = 1e-2, dtype: DType = None, *, mean: float = 0.0) -> Definition:
    """W ~ N(mean, stddev²) with independent entries.

    Args:
      stddev: standard deviation, > 0; may be traced.
      dtype: default dtype; None means the JAX default float.
      mean: added to every entry; 0 gives ``jax.nn.initializers.normal`` bit for bit, in float32,
        float64 and complex.

    Returns:
      An initializer for any shape. bfloat16 and float16 draws are the float32 draw, rounded: JAX's
      own have 128 or 1,024 values, and in bfloat16 a mean of −0.013 σ and no |w| > 2.9 σ.

    Raises:
      ValueError: stddev is zero, negative, NaN or infinite, or mean is not finite; on a draw, the
        dtype cannot hold the values.

    >>> normal(0.1)(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    _check_positive("normal stddev", stddev)
    errors.check_number("normal mean", mean, fix="use a finite number")
    draw = _shifted(jax_normal(stddev), mean)
    return Definition(
        draw,
        lambda shape: Law("normal", float(mean), _laws.value_or_nan(stddev)),
        "complex",
        dtype=dtype,
        entries=None if mean else _entries.times(stddev, "normal"),
    )


@named
def uniform(scale: Number = 1e-2, dtype: DType = None) -> Definition:
    """W ~ U[0, scale), one-sided as in JAX; :func:`uniform_range` has two bounds.

    Args:
      scale: upper bound, > 0; may be traced.
      dtype: default dtype; None means the JAX default float.

    Returns:
      An initializer for any shape; in float32 and float64 bit for bit
      ``jax.nn.initializers.uniform``, in half precision the float32 draw, rounded: JAX's bfloat16
      draw has 128 values, of which 0 is drawn as often as any other.

    Raises:
      ValueError: scale is zero, negative, NaN or infinite.

    >>> bool((uniform(0.5)(jax.random.key(0), (100,)) < 0.5).all())
    True
    """
    _check_positive("uniform scale", scale)

    def law(shape: tuple[int, ...]) -> Law:
        return _laws.uniform(0.0, _laws.value_or_nan(scale))

    entries = _entries.times(scale, "uniform")
    return Definition(jax_uniform(scale), law, dtype=dtype, entries=entries)


@named
def uniform_range(low: float = -0.05, high: float = 0.05, dtype: DType = None) -> Definition:
    """W ~ U[low, high): mean (low + high)/2, variance (high − low)²/12.

    Args:
      low, high: bounds, low < high; the defaults are Keras' ``RandomUniform``.
      dtype: default dtype; None means the JAX default float.

    Returns:
      An initializer for any shape.

    Raises:
      ValueError: the bounds are not finite, or not in order.

    >>> bool((abs(uniform_range(-0.1, 0.1)(jax.random.key(0), (100,))) <= 0.1).all())
    True
    """
    _check_bounds("uniform_range", low, high)
    low, high = float(low), float(high)

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        return jax.random.uniform(key, shape, dtype, low, high)

    return Definition(draw, lambda shape: _laws.uniform(low, high), dtype=dtype)


@named
def rademacher(stddev: float = 1e-2, dtype: DType = None) -> Definition:
    """W = ±stddev with equal probability: the smallest kurtosis at this variance.

    Args:
      stddev: standard deviation and absolute value of every entry, > 0.
      dtype: default dtype; None means the JAX default float.

    Returns:
      An initializer for any shape.

    Raises:
      ValueError: stddev is zero, negative, NaN or infinite.

    >>> bool((abs(rademacher(0.5)(jax.random.key(0), (9,))) == 0.5).all())
    True
    """
    _check_positive("rademacher stddev", stddev)

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        return jax.random.rademacher(key, shape, dtype) * jnp.asarray(stddev, dtype)

    return Definition(
        draw,
        lambda shape: _laws.centred("rademacher", float(stddev)),
        dtype=dtype,
        entries=_entries.times(stddev, "rademacher"),
    )


@named
def truncated_normal(
    stddev: Number = 1e-2,
    dtype: DType = None,
    lower: float = -2.0,
    upper: float = 2.0,
    *,
    mean: float = 0.0,
    exact_std: bool = False,
) -> Definition:
    """W = mean + σ z with z ~ N(0, 1) conditioned on lower < z < upper.

    The standard deviation of the draw is below σ (0.8796 σ for bounds ±2). ``exact_std=True``
    divides by that factor, so the draw has standard deviation σ. JAX, torch and Keras'
    ``TruncatedNormal`` do not divide.

    Args:
      stddev: σ of the normal before truncation, > 0; with ``exact_std``, σ of the draw.
      dtype: default dtype; None means the JAX default float.
      lower, upper: bounds in units of σ, lower < upper.
      mean: added to every entry.
      exact_std: True makes the standard deviation of the draw exactly ``stddev``.

    Returns:
      An initializer for any shape; with the defaults of ``mean`` and ``exact_std``, in float32 and
      float64, bit for bit ``jax.nn.initializers.truncated_normal``. In half precision the draw
      is the float32 draw, rounded; JAX's own has the wrong σ if the bounds are far out.

    Raises:
      ValueError: stddev is not positive, or the bounds are not finite, not in order, or more than 4
        from 0 on the same side.

    Reference: Johnson, Kotz & Balakrishnan 1994, equation 13.134.

    >>> bool((abs(truncated_normal(0.1)(jax.random.key(0), (100,))) <= 0.2).all())
    True
    """
    _check_positive("truncated_normal stddev", stddev)
    errors.check_bool("exact_std", exact_std)
    _check_bounds("truncated_normal", lower, upper)
    errors.check_number("truncated_normal mean", mean, fix="use a finite number")
    _check_tail("truncated_normal", lower, upper)
    lower, upper = within_64_bits(lower), within_64_bits(upper)
    scale = stddev / _laws.truncated_moments(lower, upper)[1] if exact_std else stddev
    inner = jax_truncated_normal(scale, lower=lower, upper=upper)

    def law(shape: tuple[int, ...]) -> Law:
        return _laws.truncated(float(mean), _laws.value_or_nan(scale), lower, upper)

    entries = None if mean else _entries.times(scale, "truncated_normal", lower, upper)
    return Definition(_shifted(inner, mean), law, dtype=dtype, entries=entries)


@named
def parametrized_truncated_normal(
    mean: float = 0.0, stddev: float = 1.0, p1: float = -10.0, p2: float = 10.0, dtype: DType = None
) -> Definition:
    """N(mean, stddev²) conditioned on p1 < W < p2: absolute bounds, KotlinDL's parameters.

    Args:
      mean, stddev: moments of the normal before truncation; stddev > 0.
      p1, p2: bounds of W itself, p1 < p2, not in units of stddev.
      dtype: default dtype; None means the JAX default float.

    Returns:
      An initializer for any shape.

    Raises:
      ValueError: stddev is not positive, or the bounds are not finite, not in order, or more than 4
        stddev from the mean on the same side.

    Reference: Johnson, Kotz & Balakrishnan 1994, equation 13.134.

    >>> law = parametrized_truncated_normal(0.0, 1.0, -2.0, 2.0).law(())
    >>> round(law.stddev, 6)
    0.879626
    """
    what = "parametrized_truncated_normal"
    _check_positive(f"{what} stddev", stddev)
    errors.check_number(f"{what} mean", mean, fix="use a finite number")
    _check_bounds(what, p1, p2)
    lower, upper = (p1 - mean) / stddev, (p2 - mean) / stddev
    _check_tail(what, lower, upper)

    # float32 cannot represent probabilities of a tail beyond 5.3 standard deviations: the inverse
    # distribution function would give infinities there.
    reach = max(lower, -5.3), min(upper, 5.3)
    masses = [math.erf(bound / math.sqrt(2)) for bound in reach]

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        mass = jax.random.uniform(key, shape, dtype, *masses)
        z = jnp.clip(math.sqrt(2) * jax.lax.erf_inv(mass), *reach)
        return z * jnp.asarray(stddev, dtype) + jnp.asarray(mean, dtype)

    return Definition(
        draw, lambda shape: _laws.truncated(float(mean), float(stddev), lower, upper), dtype=dtype
    )


def _shifted(draw: Draw, mean: float) -> Draw:
    # Without an addition of 0 the values stay JAX's bit for bit.
    if isinstance(mean, int | float) and mean == 0:
        return draw
    return lambda key, shape, dtype: draw(key, shape, dtype) + jnp.asarray(mean, dtype)


def _check_positive(what: str, value: Number) -> None:
    if isinstance(value, tuple | list) or np.ndim(value):
        raise errors.wrong_type(what, value, "one number", "multiply a draw by the array")
    errors.check_number(
        what, value, low=0.0, open_low=True, fix="use a positive number, or the initializer 'zeros'"
    )


def _check_bounds(what: str, low: float, high: float) -> None:
    for name, bound in (("lower", low), ("upper", high)):
        errors.check_number(f"{what} {name} bound", bound, fix="use a finite number")
    if not low < high:
        raise errors.refusal(f"{what} bounds", (low, high), "lower < upper", "swap the two bounds")
    if high - low > float(np.finfo(np.float32).max):
        raise errors.refusal(
            f"{what} bounds", (low, high), "a difference that float32 holds", "use narrower bounds"
        )


def _check_tail(what: str, lower: float, upper: float) -> None:
    # Farther out, the distribution function is so close to 1 that float32 is too coarse.
    if lower > 4 or upper < -4:
        raise errors.refusal(
            f"{what} bounds in units of stddev",
            (lower, upper),
            "an interval that comes within 4 stddev of the mean",
            "move the mean",
        )
    if upper - lower < 1e-3:
        raise errors.refusal(
            f"{what} bounds in units of stddev",
            (lower, upper),
            "bounds at least 0.001 stddev apart",
            "use uniform_range, which is the same law there",
        )
