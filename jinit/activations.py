"""Holds the registry of activations: pure elementwise functions, each with its kinks.

A kink is a point where some derivative jumps. Gaussian quadrature splits its interval there.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jinit import _specs, errors
from jinit._anew import anew
from jinit._float64 import in_float64
from jinit._registry import Registry
from jinit.typing import Array

__all__ = ["Activation", "ActivationLike", "get", "names", "register"]


@dataclass(frozen=True)
class Activation:
    """A named elementwise function.

    Attributes:
      name: the spec string; of a callable, its own name, which other callables may share.
      function: ``x -> φ(x)``, from any shape to the same shape; the dtype is kept.
      kinks: the points where a derivative of φ jumps, ascending; None if they are unknown.

    >>> square = Activation("square", lambda x: x**2, kinks=())
    >>> float(square(jnp.float32(3.0)))
    9.0
    """

    name: str
    function: Callable[[Array], Array]
    kinks: tuple[float, ...] | None = None

    def __call__(self, x: Array) -> Array:
        return self.function(x)

    def __str__(self) -> str:
        return self.name


ActivationLike: TypeAlias = str | Activation | Callable[[Array], Array]
"""A name or a spec string, an :class:`Activation`, or any elementwise callable."""

Factory: TypeAlias = Callable[..., Activation]


def get(activation: ActivationLike) -> Activation:
    """The activation with this name or spec string; a callable is wrapped in an `Activation`.

    Args:
      activation: ``"relu"``, ``"leaky_relu(0.2)"``, an :class:`Activation`, or any elementwise
        callable.

    Returns:
      An :class:`Activation`. A callable with the name and the values of a registered activation
      becomes that activation, kinks included. Any other callable keeps its own name (in angle
      brackets if a registered activation has that name) and has unknown kinks.

    Raises:
      ValueError: the name is unknown (the message offers the nearest), or the activation does not
        take the arguments.
      TypeError: the argument is neither a string nor a callable.

    >>> get("leaky_relu(0.2)").kinks
    (0.0,)
    >>> get("linear").name, get("swish").name
    ('identity', 'silu')
    >>> float(get("lecun_tanh")(1.0))  # doctest: +ELLIPSIS
    0.9999...
    """
    if isinstance(activation, Activation):
        return activation
    if callable(activation):
        name = getattr(activation, "__name__", type(activation).__name__)
        if name not in _REGISTRY.names():
            return Activation(name, activation)
        registered = _REGISTRY.get(name)()
        # A registered name must mean the registered function; another one gets angle brackets.
        return (
            registered if _is_same(registered, activation) else Activation(f"<{name}>", activation)
        )
    if not isinstance(activation, str):
        raise errors.wrong_type(
            "activation", activation, "a name, a spec string or a callable", "try 'relu'"
        )
    spec = _specs.parse(activation, "activation")
    factory = _REGISTRY.get(spec.name)
    spec = dataclasses.replace(spec, name=_REGISTRY.canonical(spec.name))
    arguments = _specs.bind(spec, factory, "activation")
    result = factory(**arguments)
    if not isinstance(result, Activation):
        raise errors.wrong_type(
            f"factory of {spec.name!r}",
            result,
            "an Activation",
            "return Activation(name, function)",
        )
    name = _specs.write(spec.name, tuple(arguments.items()))
    return Activation(name, result.function, result.kinks)


def elementwise(activation: ActivationLike) -> Activation:
    """The activation, if it maps a real JAX array to an array of the same shape.

    The check traces the function and computes nothing. If the function returns integers or booleans
    (a step function), the result converts them to floats.

    Args:
      activation: as for :func:`get`.

    Returns:
      An :class:`Activation`.

    Raises:
      TypeError: the function changes the shape, takes more than one argument, uses NumPy, or
        returns complex numbers.

    >>> elementwise(lambda x: x > 0)(jnp.ones(2))
    Array([1., 1.], dtype=float32)
    """
    given = get(activation)
    problem = ""
    for shape in ((3,), ()):
        try:
            out = jax.eval_shape(anew(given.function), jax.ShapeDtypeStruct(shape, jnp.float32))
            if getattr(out, "shape", None) != shape:
                problem = f"shape {shape} became {getattr(out, 'shape', type(out).__name__)}"
            elif jnp.issubdtype(out.dtype, jnp.complexfloating):
                problem = "complex outputs"
        except Exception as error:
            problem = f"{type(error).__name__} for an array of shape {shape}"
        if problem:
            raise errors.wrong_type(
                f"activation {given.name!r}",
                problem,
                "a JAX function of one real array, elementwise",
                "use jax.numpy functions that act on each entry alone",
            )
    if jnp.issubdtype(out.dtype, jnp.floating):
        return given
    return dataclasses.replace(
        given, function=lambda x: jnp.asarray(given.function(x), jnp.result_type(x))
    )


def check_alike(name: str, together: ArrayLike, alone: ArrayLike) -> None:
    """Checks that an activation's values do not depend on the other entries of its array.

    Args:
      name: the activation's name.
      together: the activation's values at n points, ``(n,)``, computed as one array.
      alone: the activation's values at the same points, ``(n,)``, computed one by one.

    Raises:
      TypeError: the values differ.

    >>> check_alike("tanh", jnp.tanh(jnp.ones(2)), [0.7615942, 0.7615942])
    """
    if not np.allclose(together, alone, rtol=1e-6, atol=1e-9, equal_nan=True):
        raise errors.wrong_type(
            f"activation {name!r}",
            "values that depend on the other entries of the array",
            "an elementwise function",
            "use jax.numpy functions that act on each entry alone",
        )


def names() -> tuple[str, ...]:
    """All names that :func:`get` accepts, without aliases, in the order of registration.

    >>> names()[:4]
    ('identity', 'sigmoid', 'tanh', 'relu')
    """
    return _REGISTRY.names()


def register(name: str, factory: Factory) -> None:
    """Adds an activation to this process; registering the same factory again changes nothing.

    Args:
      name: an identifier that is not yet taken.
      factory: returns an :class:`Activation`; its parameters, which need defaults, become the
        arguments of the spec string.

    Raises:
      ValueError: the name is taken by another activation, or is not an identifier.
      TypeError: the factory is not callable without arguments.

    >>> def cubic(slope=1.0):
    ...     return Activation("cubic", lambda x: slope * x**3, kinks=())
    >>> register("cubic", cubic)
    >>> str(get("cubic(slope=2.0)")), float(get("cubic")(2.0))
    ('cubic(slope=2.0)', 8.0)
    >>> _REGISTRY.remove("cubic")
    """
    try:
        inspect.signature(factory).bind()
    except TypeError:
        raise errors.wrong_type(
            "factory", factory, "a callable whose parameters have defaults", "give each a default"
        ) from None
    _REGISTRY.register(name, factory)


def lecun_tanh(x: Array) -> Array:
    """φ(x) = 1.7159 tanh(2x/3).

    Args:
      x: any shape and float dtype, which the result keeps.

    Reference: LeCun et al. 1998, section 4.4.

    >>> float(lecun_tanh(jnp.zeros(())))
    0.0
    """
    return 1.7159 * jnp.tanh(x * (2.0 / 3.0))


def _leaky_relu(negative_slope: float = 0.01) -> Activation:
    errors.check_number("leaky_relu negative_slope", negative_slope, fix="try 0.01")
    return Activation("leaky_relu", lambda x: jax.nn.leaky_relu(x, negative_slope), (0.0,))


def _elu(alpha: float = 1.0) -> Activation:
    errors.check_number("elu alpha", alpha, fix="try 1.0")
    return Activation("elu", lambda x: jax.nn.elu(x, alpha), (0.0,))


def _exact_gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def _fixed(
    name: str, function: Callable[[Array], Array], kinks: tuple[float, ...] = ()
) -> Callable[[], Activation]:
    return lambda: Activation(name, function, kinks)


def _is_same(registered: Activation, function: Callable[[Array], Array]) -> bool:
    """Whether a function has a registered activation's values (JAX has several ``tanh``)."""
    if registered.function is function:
        return True
    points = np.array([-7.3, -2.1, -0.9, -0.2, 0.0, 0.3, 0.8, 1.7, 6.4])
    try:
        one, other = in_float64(lambda: [f(jnp.asarray(points)) for f in (registered, function)])
        return bool(np.allclose(one, other, rtol=1e-9, atol=1e-12))
    except Exception:  # `elementwise` reports a function that is not an activation
        return False


_BUILT_IN: dict[str, Factory] = {
    "identity": _fixed("identity", lambda x: x),
    "sigmoid": _fixed("sigmoid", jax.nn.sigmoid),
    "tanh": _fixed("tanh", jnp.tanh),
    "relu": _fixed("relu", jax.nn.relu, (0.0,)),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _fixed("selu", jax.nn.selu, (0.0,)),
    "gelu": _fixed("gelu", _exact_gelu),
    "silu": _fixed("silu", jax.nn.silu),
    "softplus": _fixed("softplus", jax.nn.softplus),
    "softsign": _fixed("softsign", jax.nn.soft_sign, (0.0,)),
    "hard_tanh": _fixed("hard_tanh", jax.nn.hard_tanh, (-1.0, 1.0)),
    "relu6": _fixed("relu6", jax.nn.relu6, (0.0, 6.0)),
    "sin": _fixed("sin", jnp.sin),
    "erf": _fixed("erf", jax.scipy.special.erf),
    "lecun_tanh": _fixed("lecun_tanh", lecun_tanh),
}
# The aliases are the names that torch and Keras use.
_REGISTRY: Registry[Factory] = Registry(
    "activation",
    "jinit.activations.names()",
    _BUILT_IN,
    {"linear": "identity", "swish": "silu", "hardtanh": "hard_tanh"},
)
