"""Defines a named initializer: a checked, printable function of a key and a shape."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec, Sharding

from jinit import _prng, _specs, errors
from jinit.initializers import _laws, _sharding
from jinit.initializers._checks import as_dtype, check_dtype, check_key, concrete_arguments
from jinit.initializers._definition import Definition, wide
from jinit.initializers._exists import check_exists, check_returned
from jinit.initializers._fans import check_shape
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Initializer, Key, Shape


@dataclass(frozen=True)
class NamedInitializer:
    """An initializer with a name; two of them are equal if their spec strings are.

    ``str(initializer)`` is the spec string. If the name is registered, ``initializers.get`` returns
    an equal initializer for this string.

    Attributes:
      name: the canonical name in the registry.
      arguments: the given arguments as ``(parameter name, value)`` pairs.
      definition: the function that draws, and the law of a draw.
      factory: the factory that returned this initializer.

    >>> from jinit import initializers
    >>> initializers.he_normal(mode="fan_out").arguments
    (('mode', 'fan_out'),)
    """

    name: str
    arguments: tuple[tuple[str, Any], ...]
    definition: Definition = field(compare=False, repr=False)
    factory: Callable[..., NamedInitializer] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return _specs.write(self.name, self.arguments)

    def __call__(
        self,
        key: Key,
        shape: Shape = None,  # type: ignore[assignment]  # refused below, with a hint
        dtype: DType = None,
        out_sharding: Sharding | PartitionSpec | None = None,
    ) -> Array:
        """Draws an array; see :class:`jinit.typing.Initializer`.

        In bfloat16 and float16 the draw is the float32 draw, rounded to nearest. With
        ``out_sharding`` the values are those of an unsharded draw inside ``jit``. Each device draws
        its own shard, except that an orthogonal matrix is drawn in full on each device.

        Raises:
          ValueError: a batch of keys, an ``rbg`` key under vmap, a shape without the axes that this
            initializer needs, float64 without x64, values that the dtype cannot hold (beyond its
            largest number, or all rounded to one), a sharding that does not divide the shape.
          TypeError: not a key, not a shape, a dtype that the initializer cannot draw, traced
            arguments.
        """
        if isinstance(key, tuple | list):
            # Keras and Haiku call initializers without a key: their first argument is the shape.
            raise errors.wrong_type(
                "key",
                key,
                "a PRNG key",
                f"pass jinit.frameworks.keras('{self}') or frameworks.haiku('{self}') to the layer",
            )
        definition = self.definition
        shape = check_shape(shape)
        wanted = definition.dtype if dtype is None else dtype
        dtype = check_dtype(self, definition.dtypes, wanted)
        if definition.dtypes != "any":  # the constant initializers of JAX accept None as key
            check_key(key)
            key = _prng.unrolled(key)
        if out_sharding is not None:
            _sharding.check_sharding(out_sharding, shape)
        with concrete_arguments(self.name):
            check_exists(self.name, self.law(shape, dtype), dtype)
            if out_sharding is None:
                return definition.drawn(key, shape, dtype)
            return _sharding.sharded(self, shape, dtype, out_sharding)(key)

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (self.factory, dict(self.arguments))

    def law(self, shape: Shape, dtype: DType = None) -> Law:
        """The distribution of one entry of a draw of this shape, before it is rounded.

        Args:
          shape: of the draw.
          dtype: of the draw; a complex dtype gives the law of complex entries. The default is the
            dtype of the initializer.
        """
        definition = self.definition
        law = definition.law(check_shape(shape))
        wanted = definition.dtype if dtype is None else dtype
        if wanted is None or not jnp.issubdtype(as_dtype(wanted), jnp.complexfloating):
            return law
        return _laws.times(_laws.on_the_plane(law), definition.complex_ratio)

    def takes(self, argument: str) -> bool:
        """True if the factory has a parameter with this name."""
        return argument in inspect.signature(self.factory).parameters

    def with_arguments(self, **changes: Any) -> NamedInitializer:
        """The same initializer with some arguments changed.

        >>> from jinit import initializers
        >>> str(initializers.he_normal().with_arguments(mode="fan_out"))
        'he_normal(mode=fan_out)'
        """
        return self.factory(**{**dict(self.arguments), **changes})


def scaled_by(initializer: NamedInitializer, factor: float) -> NamedInitializer:
    """``factor`` times an initializer; its law is scaled too.

    Args:
      initializer: a named initializer.
      factor: > 0, dimensionless.

    Returns:
      An initializer named ``"0.5*he_normal"`` for a factor of 0.5; ``initializers.get`` does not
      read this name. ``with_arguments`` still works (a layout may add a ``fan_in``).

    Raises:
      ValueError: the factor is not positive. TypeError: the initializer has no name. A draw in an
        integer dtype raises if products are not whole numbers.

    >>> from jinit import initializers
    >>> half = scaled_by(initializers.he_normal(), 0.5)
    >>> str(half), half.law((50, 10)).stddev
    ('0.5*he_normal', 0.1)
    """
    if not isinstance(initializer, NamedInitializer):
        raise errors.wrong_type(
            "initializer", initializer, "a registered initializer", "initializers.get(…)"
        )
    errors.check_number("factor", factor, low=0.0, open_low=True, fix="use 'zeros' for 0")
    inner = initializer.definition
    name = f"{float(factor)!r}*{initializer.name}"

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        if not jnp.issubdtype(dtype, jnp.inexact):
            return _whole(name, initializer, factor, shape, dtype)
        computed = wide(dtype)
        return (inner.draw(key, shape, computed) * jnp.asarray(factor, computed)).astype(dtype)

    definition = replace(
        inner,
        draw=draw,
        law=lambda shape: _laws.times(inner.law(shape), factor),
        entries=None,
    )
    scaled = _Scaled(initializer.factory, factor)
    return NamedInitializer(name, initializer.arguments, definition, scaled)


def _whole(
    name: str, initializer: NamedInitializer, factor: float, shape: tuple[int, ...], dtype: DType
) -> Array:
    """``factor`` times a draw of whole numbers; refuses products that are not whole numbers."""
    with jax.ensure_compile_time_eval():
        # No draw in an integer dtype depends on a key.
        inner = initializer(None, shape, dtype)  # type: ignore[arg-type]
        products = np.asarray(inner, np.float64) * factor
    for product in np.unique(products).tolist():
        check_exists(name, _laws.constant(product), dtype)
    return jnp.asarray(products.astype(dtype))


def checked_draw(initializer: Initializer, key: Key, shape: Shape, dtype: DType) -> Array:
    """A draw of any initializer; what a user's own returns is checked: see :func:`check_returned`.

    >>> import jax
    >>> ones = lambda key, shape, dtype: jnp.ones(shape, dtype)
    >>> checked_draw(ones, jax.random.key(0), (2,), "int8")
    Array([1, 1], dtype=int8)
    """
    value = initializer(key, shape, dtype)
    if isinstance(initializer, NamedInitializer):
        return value
    return check_returned(initializer, value, tuple(shape), dtype)


@dataclass(frozen=True)
class _Scaled:
    """A factory whose initializers are multiplied by ``factor``; it pickles if ``factory`` does."""

    factory: Callable[..., NamedInitializer]
    factor: float

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.factory)

    def __call__(self, *args: Any, **kwargs: Any) -> NamedInitializer:
        return scaled_by(self.factory(*args, **kwargs), self.factor)


def _remade(
    factory: Callable[..., NamedInitializer], arguments: dict[str, Any]
) -> NamedInitializer:
    """The initializer that a factory gives for these arguments: what unpickling calls."""
    return factory(**arguments)
