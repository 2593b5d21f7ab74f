"""Random initializers whose scale does not depend on the shape: normal, uniform, truncated."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.initializers.base import Draw, Law, Recipe, named
from jinit.typing import Array, DType


@named
def normal(stddev: Any = 1e-2, dtype: DType = None, *, mean: float = 0.0) -> Recipe:
    """W ~ N(mean, stddev²), independent entries.

    Args:
      stddev: standard deviation, > 0; may be a traced number.
      dtype: default dtype; None means the JAX default float.
      mean: added to every entry; 0 gives ``jax.nn.initializers.normal`` bit for bit.

    Returns:
      An initializer for any shape.

    Raises:
      ValueError: a stddev that is zero, negative, NaN or infinite; a non-finite mean.

    >>> normal(0.1)(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    _check_positive("normal stddev", stddev)
    errors.check_number("normal mean", mean, fix="use a finite number")
    draw = _shifted(jax.nn.initializers.normal(stddev), mean)
    return Recipe(draw, lambda shape: Law("normal", float(mean), _value(stddev)), dtype=dtype)


@named
def uniform(scale: Any = 1e-2, dtype: DType = None) -> Recipe:
    """W ~ U[0, scale): JAX's definition, one-sided. Symmetric bounds: :func:`uniform_range`.

    Args:
      scale: upper bound, > 0; may be a traced number.
      dtype: default dtype; None means the JAX default float.

    Returns:
      An initializer for any shape; bit for bit ``jax.nn.initializers.uniform``.

    Raises:
      ValueError: a scale that is zero, negative, NaN or infinite.

    >>> bool((uniform(0.5)(jax.random.key(0), (100,)) < 0.5).all())
    True
    """
    _check_positive("uniform scale", scale)

    def law(shape: tuple[int, ...]) -> Law:
        top = _value(scale)
        return Law("uniform", top / 2, top / math.sqrt(12), 0.0, top)

    return Recipe(jax.nn.initializers.uniform(scale), law, dtype=dtype)


@named
def uniform_range(low: float = -0.05, high: float = 0.05, dtype: DType = None) -> Recipe:
    """W ~ U[low, high): mean (low + high)/2, variance (high − low)²/12.

    Args:
      low, high: bounds, low < high; the defaults are Keras' ``RandomUniform``.
      dtype: default dtype; None means the JAX default float.

    Returns:
      An initializer for any shape.

    Raises:
      ValueError: bounds that are not finite, or not in order.

    >>> bool((abs(uniform_range(-0.1, 0.1)(jax.random.key(0), (100,))) <= 0.1).all())
    True
    """
    _check_bounds("uniform_range", low, high)

    def draw(key: Any, shape: tuple[int, ...], dtype: Any, out_sharding: Any) -> Array:
        return jax.random.uniform(key, shape, dtype, low, high, **_sharding(out_sharding))

    spread = (high - low) / math.sqrt(12)
    return Recipe(
        draw, lambda shape: Law("uniform", (low + high) / 2, spread, low, high), dtype=dtype
    )


@named
def truncated_normal(
    stddev: Any = 1e-2,
    dtype: DType = None,
    lower: float = -2.0,
    upper: float = 2.0,
    *,
    mean: float = 0.0,
    exact_std: bool = False,
) -> Recipe:
    """W = mean + σ z with z ~ N(0, 1) conditioned on lower < z < upper.

    The draw's own standard deviation is below σ (0.8796 σ at ±2). ``exact_std=True`` divides by
    that factor, so that it is σ; JAX, torch and Keras' ``TruncatedNormal`` do not.

    Args:
      stddev: σ of the untruncated normal, > 0 (of the draw itself with ``exact_std``).
      dtype: default dtype; None means the JAX default float.
      lower, upper: bounds in units of σ, lower < upper.
      mean: added to every entry.
      exact_std: make the standard deviation of the draw exactly ``stddev``.

    Returns:
      An initializer for any shape; with the last two at their defaults bit for bit
      ``jax.nn.initializers.truncated_normal``.

    Raises:
      ValueError: a stddev that is not positive, bounds not finite or not in order.

    Reference: Johnson, Kotz & Balakrishnan 1994, equation 13.134.

    >>> bool((abs(truncated_normal(0.1)(jax.random.key(0), (100,))) <= 0.2).all())
    True
    """
    _check_positive("truncated_normal stddev", stddev)
    _check_bounds("truncated_normal", lower, upper)
    errors.check_number("truncated_normal mean", mean, fix="use a finite number")
    centre, spread = truncated_moments(lower, upper)
    scale = stddev / spread if exact_std else stddev
    inner = jax.nn.initializers.truncated_normal(scale, lower=lower, upper=upper)

    def law(shape: tuple[int, ...]) -> Law:
        sigma = _value(scale)
        return Law(
            "truncated_normal",
            mean + sigma * centre,
            sigma * spread,
            mean + sigma * lower,
            mean + sigma * upper,
        )

    return Recipe(_shifted(inner, mean), law, dtype=dtype)


def truncated_moments(lower: float, upper: float) -> tuple[float, float]:
    """Mean and standard deviation of N(0, 1) conditioned on lower < z < upper.

    mean = (φ(a) − φ(b))/Z and var = 1 + (a φ(a) − b φ(b))/Z − mean², Z = Φ(b) − Φ(a).

    >>> round(truncated_moments(-2.0, 2.0)[1], 9)
    0.879625661
    """
    density = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (lower, upper)]
    mass = (math.erf(upper / math.sqrt(2)) - math.erf(lower / math.sqrt(2))) / 2
    mean = (density[0] - density[1]) / mass
    variance = 1 + (lower * density[0] - upper * density[1]) / mass - mean**2
    return mean, math.sqrt(variance)


def _shifted(draw: Draw, mean: float) -> Draw:
    # mean 0 adds nothing, not even a rounding: the values stay JAX's bit for bit.
    if isinstance(mean, int | float) and mean == 0:
        return draw
    return lambda key, shape, dtype, out_sharding: (
        draw(key, shape, dtype, **_sharding(out_sharding)) + jnp.asarray(mean, dtype)
    )


def _sharding(out_sharding: Any) -> dict[str, Any]:
    return {} if out_sharding is None else {"out_sharding": out_sharding}


def _check_positive(what: str, value: Any) -> None:
    errors.check_number(
        what, value, low=0.0, open_low=True, fix="use a positive number, or the initializer 'zeros'"
    )


def _check_bounds(what: str, low: float, high: float) -> None:
    for name, bound in (("lower", low), ("upper", high)):
        errors.check_number(f"{what} {name} bound", bound, fix="use a finite number")
    if not low < high:
        raise errors.refusal(f"{what} bounds", (low, high), "lower < upper", "swap the two bounds")


def _value(number: Any) -> float:
    """The number, or NaN where it is traced and has no value yet."""
    return math.nan if isinstance(number, jax.core.Tracer) else float(number)
