"""Activation functions by name, each with its kinks. Not layers: pure elementwise functions.

A kink is a point where some derivative jumps. Gaussian quadrature splits there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _specs, errors
from jinit._float64 import in_float64
from jinit.typing import Array


@dataclass(frozen=True)
class Activation:
    """A named elementwise function.

    Attributes:
      name: its spec string; two activations with one name are the same function.
      function: ``x -> φ(x)``, any shape, dtype kept.
      kinks: the points where a derivative of φ jumps, ascending; None where nobody said.
    """

    name: str
    function: Callable[[Array], Array]
    kinks: tuple[float, ...] | None = None

    def __call__(self, x: Array) -> Array:
        return self.function(x)

    def __str__(self) -> str:
        return self.name


ActivationLike: TypeAlias = str | Activation | Callable[[Array], Array]


def get(activation: ActivationLike) -> Activation:
    """The activation with this name or spec string, or a callable wrapped as one.

    Args:
      activation: ``"relu"``, ``"leaky_relu(0.2)"``, an :class:`Activation`, or any elementwise
        callable: one with a name and the values of the catalogue's gets its kinks too; another one
        its own name, in angle brackets if the catalogue has that name, and unknown kinks.

    Returns:
      An :class:`Activation`.

    Raises:
      ValueError: the name is not known (the nearest is offered).
      TypeError: neither a string nor a callable.

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
        if name in _FACTORIES:
            known = _FACTORIES[name]()
            # Another function of that name has to be told from the catalogue's.
            return known if _is_same(known, activation) else Activation(f"<{name}>", activation)
        return Activation(name, activation)
    if not isinstance(activation, str):
        raise errors.wrong_type(
            "activation", activation, "a name, a spec string or a callable", "try 'relu'"
        )
    spec = _specs.parse(activation, "activation")
    spec = dataclasses.replace(spec, name=_ALIASES.get(spec.name, spec.name))
    if spec.name not in _FACTORIES:
        raise errors.unknown_name("activation", spec.name, _FACTORIES, "jinit.activations.names()")
    factory = _FACTORIES[spec.name]
    arguments = _specs.bind(spec, factory, "activation")
    made = factory(**arguments)
    name = _specs.write(spec.name, tuple(arguments.items()))
    return Activation(name, made.function, made.kinks)


def _is_same(known: Activation, function: Callable[[Array], Array]) -> bool:
    """Whether a function has the values of one of the catalogue (there are several ``tanh``)."""
    if known.function is function:
        return True
    points = np.array([-7.3, -2.1, -0.9, -0.2, 0.0, 0.3, 0.8, 1.7, 6.4])
    try:
        one, other = in_float64(lambda: [f(jnp.asarray(points)) for f in (known, function)])
        return bool(np.allclose(one, other, rtol=1e-9, atol=1e-12))
    except Exception:  # whatever a function that is no activation raises: `elementwise` says it
        return False


def elementwise(activation: ActivationLike) -> Activation:
    """The activation, if it is a JAX function from an array of reals to one of the same shape.

    Whole numbers and truth values it returns (a step function) become floats.

    Raises:
      TypeError: a function of the whole array, of more than one argument, of NumPy, or to complex
        numbers; nothing is computed to find out.

    >>> elementwise(lambda x: x > 0)(jnp.ones(2))
    Array([1., 1.], dtype=float32)
    """
    found = get(activation)
    problem = ""
    for shape in ((3,), ()):
        try:
            out = jax.eval_shape(found.function, jax.ShapeDtypeStruct(shape, jnp.float32))
            if getattr(out, "shape", None) != shape:
                problem = f"shape {shape} became {getattr(out, 'shape', type(out).__name__)}"
            elif jnp.issubdtype(out.dtype, jnp.complexfloating):
                problem = "complex outputs"
        except Exception as error:
            problem = f"{type(error).__name__} for an array of shape {shape}"
        if problem:
            raise errors.wrong_type(
                f"activation {found.name!r}",
                problem,
                "a JAX function of one real array, elementwise",
                "write it with jax.numpy, for one number at a time",
            )
    if jnp.issubdtype(out.dtype, jnp.floating):
        return found
    return dataclasses.replace(
        found, function=lambda x: jnp.asarray(found.function(x), jnp.result_type(x))
    )


def check_alike(name: str, together: Any, alone: Any) -> None:
    """A function gives the same numbers whatever stands beside them in an array.

    Args:
      name: of the activation.
      together, alone: its values at some points, computed in one array and one by one.

    Raises:
      TypeError: they differ.

    >>> check_alike("tanh", jnp.tanh(jnp.ones(2)), [0.7615942, 0.7615942])
    """
    if not np.allclose(together, alone, rtol=1e-6, atol=1e-9, equal_nan=True):
        raise errors.wrong_type(
            f"activation {name!r}", "values that depend on the other entries of the array",
            "an elementwise function", "write it with jax.numpy, for one number at a time",
        )  # fmt: skip


def names() -> tuple[str, ...]:
    """All names :func:`get` knows, in the order of the catalogue.

    >>> names()[:4]
    ('identity', 'sigmoid', 'tanh', 'relu')
    """
    return tuple(_FACTORIES)


def lecun_tanh(x: Array) -> Array:
    """φ(x) = 1.7159 tanh(2x/3) (LeCun et al. 1998, section 4.4); any shape, dtype kept.

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


# What torch and others call them.
_ALIASES = {"linear": "identity", "swish": "silu", "hardtanh": "hard_tanh"}
_FACTORIES: dict[str, Callable[..., Activation]] = {
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
