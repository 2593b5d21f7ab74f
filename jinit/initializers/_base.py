"""What every jinit initializer is: a named, checked, printable function of a key and a shape."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, ParamSpec, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _prng, _specs, errors
from jinit.initializers import _blocks, _laws, _sharding
from jinit.initializers._fans import KernelAxes, check_shape
from jinit.initializers._laws import Law
from jinit.typing import Array, DType, Key, Shape

Parameters = ParamSpec("Parameters")
Draw: TypeAlias = Callable[..., Array]
_REAL = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Recipe:
    """What a factory supplies: how to draw, what the draw should look like, what it refuses.

    Attributes:
      draw: ``draw(key, shape, dtype)``; inputs are already checked.
      law: ``law(shape) -> Law``; raises on shapes the initializer cannot serve.
      dtypes: ``"any"`` (constants), ``"complex"`` (real and complex), or ``"real"``.
      dtype: the factory's default dtype.
      arguments: what the spec string prints instead of the factory's own arguments.
      whole: whether one part of a draw needs all of it, as of an orthogonal matrix: every device
        then makes the whole of a sharded draw and keeps its part.
    """

    draw: Draw
    law: Callable[[tuple[int, ...]], Law]
    dtypes: Literal["real", "complex", "any"] = "real"
    dtype: DType = None
    arguments: Mapping[str, Any] | None = None
    whole: bool = False


@dataclass(frozen=True)
class NamedInitializer:
    """An initializer that knows its name; two with one spec string are equal and hash alike.

    Attributes:
      name: the canonical name in the registry.
      arguments: the arguments given, by parameter name.
      recipe: how it draws.
      factory: the factory that made it.
    """

    name: str
    arguments: tuple[tuple[str, Any], ...]
    recipe: Recipe = field(compare=False, repr=False)
    factory: Callable[..., NamedInitializer] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return _specs.write(self.name, self.arguments)

    def __call__(
        self,
        key: Key,
        shape: Shape = None,  # type: ignore[assignment]  # refused below, with a hint
        dtype: DType = None,
        out_sharding: Any = None,
    ) -> Array:
        """Draws an array; see :class:`jinit.typing.Initializer`.

        With ``out_sharding`` each device draws its own part and the values are those of an
        unsharded draw inside ``jit``; only ``orthogonal`` and its kin need the whole matrix.

        Raises:
          ValueError: a batch of keys, an ``rbg`` key under vmap, a shape without the axes this
            initializer needs, float64 without x64, a sharding that does not divide the shape.
          TypeError: not a key, not a shape, a dtype the law cannot have, traced arguments.
        """
        if isinstance(key, tuple | list):
            # Keras and Haiku have no key, and begin with the shape.
            raise errors.wrong_type(
                "key", key, "a PRNG key",
                f"jinit.frameworks.keras('{self}') or frameworks.haiku('{self}') in their layers",
            )  # fmt: skip
        shape = check_shape(shape)
        dtype = _check_dtype(self, self.recipe.dtype if dtype is None else dtype)
        if self.recipe.dtypes != "any":  # constants need no key: JAX's take None for one
            check_key(key)
            key = _prng.unrolled(key)
        if out_sharding is not None:
            _sharding.check_sharding(out_sharding, shape)
        with _known_arguments(self.name):
            self.recipe.law(shape)
            if out_sharding is None:
                return self.recipe.draw(key, shape, dtype)
            return _sharding.sharded(self, shape, dtype, out_sharding)(key)

    def law(self, shape: Shape) -> Law:
        """The distribution of one entry of a draw of this shape."""
        return self.recipe.law(check_shape(shape))

    def takes(self, argument: str) -> bool:
        """Whether the factory has a parameter of this name."""
        return argument in inspect.signature(self.factory).parameters

    def with_arguments(self, **changes: Any) -> NamedInitializer:
        """The same initializer with some arguments changed.

        >>> from jinit import initializers
        >>> str(initializers.he_normal().with_arguments(mode="fan_out"))
        'he_normal(mode=fan_out)'
        """
        return self.factory(**{**dict(self.arguments), **changes})


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
        try:
            bound = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            known = ", ".join(signature.parameters)
            raise errors.wrong_type(name, str(error), f"arguments {known}", "correct it") from None
        if any(str(getattr(x, "dtype", "")).startswith("key<") for x in bound.values()):
            raise errors.wrong_type(
                name, "a PRNG key among its own arguments", f"arguments {', '.join(bound)}",
                f"call it first: {name}()(key, shape)",
            )  # fmt: skip
        with _known_arguments(name):
            recipe = factory(*args, **kwargs)
        arguments = bound if recipe.arguments is None else recipe.arguments
        return NamedInitializer(name, tuple(map(_plain, arguments.items())), recipe, make)

    # What `help` and editors show: the factory's parameters, and what it really returns.
    make.__signature__ = signature.replace(return_annotation="NamedInitializer")  # type: ignore[attr-defined]
    return make


@contextlib.contextmanager
def _known_arguments(name: str) -> Iterator[None]:
    """Arguments that decide on a law are numbers, not values that jit or vmap is tracing."""
    try:
        yield
    except jax.errors.ConcretizationTypeError:
        raise errors.wrong_type(
            f"arguments of {name}", "a traced value", "numbers known before jit and vmap",
            "draw with 1.0 and multiply the result",
        ) from None  # fmt: skip


_AXES = ("in_axis", "out_axis", "batch_axis")
_ROLES = ("groups", "transposed", "fused", "fan_in")


def fanned(body: Callable[..., Recipe]) -> Callable[..., NamedInitializer]:
    """A factory whose law depends on fans: adds the kernel's axes and roles to its parameters.

    ``body(kernel, …) -> Recipe`` gets them as one checked :class:`KernelAxes`. The factory takes
    the body's positional parameters, then ``in_axis=-2, out_axis=-1, batch_axis=(), dtype=None``
    as in ``jax.nn.initializers``, then by keyword the body's own and ``groups=1,
    transposed=False, fused=None, fan_in=None``.

    >>> from jinit import initializers
    >>> str(initializers.he_normal(groups=4, mode="fan_out"))
    'he_normal(mode=fan_out, groups=4)'
    """
    own = list(inspect.signature(body).parameters.values())[1:]
    defaults = {item.name: item.default for item in KernelAxes.__dataclass_fields__.values()}

    def parameter(name: str, kind: Any) -> inspect.Parameter:
        return inspect.Parameter(name, kind, default=defaults.get(name))

    first = inspect.Parameter.POSITIONAL_OR_KEYWORD
    last = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature(
        [
            *(item for item in own if item.kind is first),
            *(parameter(name, first) for name in (*_AXES, "dtype")),
            *(item for item in own if item.kind is last),
            *(parameter(name, last) for name in _ROLES),
        ]
    )

    @functools.wraps(body)
    def factory(*args: Any, **kwargs: Any) -> Recipe:
        given = signature.bind(*args, **kwargs).arguments
        roles = {name: given.pop(name) for name in (*_AXES, *_ROLES) if name in given}
        dtype = given.pop("dtype", None)
        kernel = KernelAxes(**roles)
        kernel.check()
        recipe = body(kernel, **given)
        if kernel.fused is not None:
            recipe = _packed(recipe, kernel)
        return replace(recipe, dtype=dtype)

    factory.__signature__ = signature  # type: ignore[attr-defined]
    return named(factory)


def scaled_by(initializer: NamedInitializer, factor: float) -> NamedInitializer:
    """``factor`` times an initializer, its law with it.

    Args:
      initializer: a named one.
      factor: > 0.

    Returns:
      An initializer named ``"0.5*he_normal"`` for a factor of 0.5; its arguments can still be
      changed (a host may add a fan_in).

    Raises:
      ValueError: a factor that is not positive. TypeError: an initializer without a name.

    >>> from jinit import initializers
    >>> half = scaled_by(initializers.he_normal(), 0.5)
    >>> str(half), half.law((50, 10)).stddev
    ('0.5*he_normal', 0.1)
    """
    if not isinstance(initializer, NamedInitializer):
        raise errors.wrong_type("initializer", initializer, "a named one", "initializers.get(…)")
    errors.check_number("factor", factor, low=0.0, open_low=True, fix="use 'zeros' for 0")
    recipe = initializer.recipe
    scaled = replace(
        recipe,
        draw=lambda key, shape, dtype: recipe.draw(key, shape, dtype) * jnp.asarray(factor, dtype),
        law=lambda shape: _laws.times(recipe.law(shape), factor),
    )

    @functools.wraps(initializer.factory)
    def factory(*args: Any, **kwargs: Any) -> NamedInitializer:
        return scaled_by(initializer.factory(*args, **kwargs), factor)

    name = f"{float(factor)!r}*{initializer.name}"
    return NamedInitializer(name, initializer.arguments, scaled, factory)


def _packed(recipe: Recipe, kernel: KernelAxes) -> Recipe:
    """The recipe for several kernels packed along the out axis."""
    sizes, axis = kernel.fused or (), kernel.out_axis
    assert isinstance(axis, int)  # as KernelAxes.check has seen to

    def law(shape: tuple[int, ...]) -> Law:
        blocks = zip(sizes, kernel.blocks(shape), strict=True)
        return _laws.mixture([(size / sum(sizes), recipe.law(block)) for size, block in blocks])

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        return _blocks.draw_fused(
            lambda key, block: recipe.draw(key, block, dtype), key, shape, axis, sizes
        )

    return replace(recipe, law=law, draw=draw)


def _plain(item: tuple[str, Any]) -> tuple[str, Any]:
    """Arguments as literals that print and hash: dtypes by name, lists as tuples."""
    name, value = item
    if name == "dtype" and value is not None:
        return name, _known_dtype(value).name
    if isinstance(value, np.generic):
        return name, value.item()
    if isinstance(value, np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer):
        value = np.asarray(value).tolist()
    return name, _tuples(value)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _known_dtype(dtype: DType) -> Any:
    try:
        return jnp.dtype(dtype)
    except TypeError:
        raise errors.wrong_type(
            "dtype", dtype, "a float dtype", "use jnp.float32 or jnp.bfloat16"
        ) from None


def _check_dtype(initializer: NamedInitializer, dtype: DType) -> Any:
    if dtype is None:
        return jnp.zeros((), float).dtype
    wanted = _known_dtype(dtype)
    widest = 64 if jnp.issubdtype(wanted, jnp.complexfloating) else 32
    if wanted.itemsize * 8 > widest and not jax.config.read("jax_enable_x64"):
        raise errors.refusal(
            f"dtype of {initializer}",
            wanted.name,
            f"at most {widest} bits while jax_enable_x64 is off",
            "jax.config.update('jax_enable_x64', True), or use float32",
        )
    kinds = initializer.recipe.dtypes
    # Not float8 and the like: JAX's draws of them are NaN or constant.
    allowed = _REAL if kinds == "real" else (*_REAL, "complex64", "complex128")
    if kinds != "any" and wanted.name not in allowed:
        raise errors.wrong_type(
            f"dtype of {initializer}",
            wanted.name,
            "float16, bfloat16, float32 or float64"
            + (", or complex" if kinds == "complex" else ""),
            "draw in float32 and convert yourself",
        )
    return wanted


def check_key(key: Any) -> None:
    """Refuses what is not one PRNG key, and keys whose bits vmap would not tell apart.

    >>> check_key(jax.random.key(0))
    """
    errors.check_key(key)
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
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
