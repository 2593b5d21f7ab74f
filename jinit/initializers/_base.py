"""Defines a named initializer: a checked, printable function of a key and a shape."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
from jax.sharding import PartitionSpec, Sharding

from jinit import _prng, _specs, errors
from jinit.initializers import _laws, _sharding
from jinit.initializers._checks import check_dtype, check_key, concrete_arguments
from jinit.initializers._definition import Definition
from jinit.initializers._fans import check_shape
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key, Shape


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

        With ``out_sharding`` the values are those of an unsharded draw inside ``jit``. Each device
        draws its own shard, except that an orthogonal matrix is drawn in full on each device.

        Raises:
          ValueError: a batch of keys, an ``rbg`` key under vmap, a shape without the axes that this
            initializer needs, float64 without x64, a sharding that does not divide the shape.
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
            definition.law(shape)
            if out_sharding is None:
                return definition.draw(key, shape, dtype)
            return _sharding.sharded(self, shape, dtype, out_sharding)(key)

    def law(self, shape: Shape) -> Law:
        """The distribution of one entry of a draw of this shape."""
        return self.definition.law(check_shape(shape))

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
      ValueError: the factor is not positive. TypeError: the initializer has no name.

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
    definition = replace(
        inner,
        draw=lambda key, shape, dtype: inner.draw(key, shape, dtype) * jnp.asarray(factor, dtype),
        law=lambda shape: _laws.times(inner.law(shape), factor),
    )

    @functools.wraps(initializer.factory)
    def factory(*args: Any, **kwargs: Any) -> NamedInitializer:
        return scaled_by(initializer.factory(*args, **kwargs), factor)

    name = f"{float(factor)!r}*{initializer.name}"
    return NamedInitializer(name, initializer.arguments, definition, factory)
