"""What every jinit initializer is: a named, checked, printable function of a key and a shape."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, ParamSpec, TypeAlias

import jax
import jax.numpy as jnp

from jinit import errors, specs
from jinit.initializers.fans import check_shape
from jinit.typing import Array, DType, Key, Shape

Parameters = ParamSpec("Parameters")
Draw: TypeAlias = Callable[..., Array]

# Standard deviation of N(0, 1) truncated to ±2; the constant jax.nn.initializers divides by.
TRUNCATED_STDDEV = 0.87962566103423978


@dataclass(frozen=True)
class Law:
    """The distribution of one entry of the array that an initializer draws.

    Attributes:
      distribution: the family; ``"deterministic"`` entries depend on position, not on the key.
      mean, stddev: of one entry (for a deterministic array, over its entries).
      low, high: the support.
    """

    distribution: Literal[
        "constant", "normal", "truncated_normal", "uniform", "orthogonal", "deterministic"
    ]
    mean: float
    stddev: float
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Recipe:
    """What a factory supplies: how to draw, what the draw should look like, what it refuses.

    Attributes:
      draw: ``draw(key, shape, dtype, out_sharding)``; inputs are already checked.
      law: ``law(shape) -> Law``; raises on shapes the initializer cannot serve.
      any_dtype: integer dtypes are allowed (constants only).
      dtype: the factory's default dtype.
    """

    draw: Draw
    law: Callable[[tuple[int, ...]], Law]
    any_dtype: bool = False
    dtype: DType = None


@dataclass(frozen=True)
class NamedInitializer:
    """An initializer that knows its name; two with one spec string are equal and hash alike.

    Attributes:
      name: the canonical name in the registry.
      arguments: the arguments given, by parameter name.
      recipe: how it draws.
    """

    name: str
    arguments: tuple[tuple[str, Any], ...]
    recipe: Recipe = field(compare=False, repr=False)

    def __str__(self) -> str:
        return specs.write(self.name, self.arguments)

    def __call__(
        self, key: Key, shape: Shape, dtype: DType = None, out_sharding: Any = None
    ) -> Array:
        """Draws an array; see :class:`jinit.typing.Initializer`.

        Raises:
          ValueError: a batch of keys, an ``rbg`` key under vmap, a shape without the axes this
            initializer needs, float64 without x64.
          TypeError: not a key, not a shape, an integer dtype for a continuous law.
        """
        shape = check_shape(shape)
        dtype = _check_dtype(self, self.recipe.dtype if dtype is None else dtype)
        _check_key(key)
        self.recipe.law(shape)
        return self.recipe.draw(key, shape, dtype, out_sharding)

    def law(self, shape: Shape) -> Law:
        """The distribution of one entry of a draw of this shape."""
        return self.recipe.law(check_shape(shape))


def named(
    factory: Callable[Parameters, Recipe],
) -> Callable[Parameters, NamedInitializer]:
    """Turns a function that returns a :class:`Recipe` into a factory of named initializers.

    >>> from jinit import initializers
    >>> str(initializers.normal(0.01))
    'normal(stddev=0.01)'
    """
    signature = inspect.signature(factory)
    # JAX's ``zeros`` is itself an initializer, so its factory has to be called ``zeros_init``.
    name = factory.__name__.removesuffix("_init")

    @functools.wraps(factory)
    def make(*args: Parameters.args, **kwargs: Parameters.kwargs) -> NamedInitializer:
        bound = signature.bind(*args, **kwargs).arguments
        recipe = factory(*args, **kwargs)
        return NamedInitializer(name, tuple(map(_plain, bound.items())), recipe)

    return make


def _plain(item: tuple[str, Any]) -> tuple[str, Any]:
    """Arguments as literals that print and hash: dtypes by name, lists as tuples."""
    name, value = item
    if name == "dtype" and value is not None:
        return name, jnp.dtype(value).name
    return name, tuple(value) if isinstance(value, list) else value


def _check_dtype(initializer: NamedInitializer, dtype: DType) -> Any:
    if dtype is None:
        return jnp.zeros((), float).dtype
    try:
        wanted = jnp.dtype(dtype)
    except TypeError:
        raise errors.wrong_type(
            "dtype", dtype, "a float dtype", "use jnp.float32 or jnp.bfloat16"
        ) from None
    widest = 64 if jnp.issubdtype(wanted, jnp.complexfloating) else 32
    if wanted.itemsize * 8 > widest and not jax.config.read("jax_enable_x64"):
        raise errors.refusal(
            f"dtype of {initializer}",
            wanted.name,
            f"at most {widest} bits while jax_enable_x64 is off",
            "jax.config.update('jax_enable_x64', True), or use float32",
        )
    if not initializer.recipe.any_dtype and not jnp.issubdtype(wanted, jnp.inexact):
        raise errors.wrong_type(
            f"dtype of {initializer}",
            wanted.name,
            "float16, bfloat16, float32, float64 or complex",
            "draw in float32 and round yourself",
        )
    return wanted


def _check_key(key: Any) -> None:
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    legacy = not typed and hasattr(key, "dtype") and key.dtype == jnp.uint32
    if not (typed or legacy):
        raise errors.wrong_type("key", key, "a PRNG key", "make one with jax.random.key(0)")
    if key.ndim > (0 if typed else 1):
        raise errors.refusal(
            "key",
            f"a batch of keys of shape {key.shape}",
            "one key",
            "jax.vmap(lambda key: init(key, shape))(keys)",
        )
    if typed and "rbg" in str(jax.random.key_impl(key)) and _is_batched(key):
        raise errors.refusal(
            "key",
            "an 'rbg' key under vmap",
            "threefry2x32 keys under vmap: with rbg only lane 0 would get its own bits",
            "jax.random.key(seed, impl='threefry2x32')",
        )


def _is_batched(key: Any) -> bool:
    """Whether ``key`` is being vmapped right here (a vmap outside a jit cannot be seen)."""
    return type(key).__name__ == "BatchTracer"
