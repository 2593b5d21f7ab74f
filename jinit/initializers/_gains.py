"""Computes gains: factors on σ_w = 1/√fan_in that keep a signal's size through an activation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._float64 import in_float64
from jinit._quadrature import find_kinks, mean_square
from jinit.activations import Activation, ActivationLike, check_alike, elementwise
from jinit.typing import Array

CONVENTIONS = ("forward", "backward", "torch")
# The linear layers that torch's table lists beside activations; their gain is 1.
_TORCH_LINEAR = tuple(f"conv{kind}{rank}d" for kind in ("", "_transpose") for rank in (1, 2, 3))


class Gain(float):
    """A float that also records the activation and the convention of a gain.

    Attributes:
      activation: the activation's spec string.
      convention: ``"forward"``, ``"backward"`` or ``"torch"``.

    >>> gain("relu")
    Gain(1.41421, activation='relu', convention='forward')
    """

    activation: str
    convention: str

    def __new__(cls, value: float, activation: str, convention: str) -> Gain:
        self = super().__new__(cls, value)
        self.activation, self.convention = activation, convention
        return self

    def __repr__(self) -> str:
        value = float.__format__(self, ".6g")
        return f"Gain({value}, activation={self.activation!r}, convention={self.convention!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Gain, (float(self), self.activation, self.convention)


def gain(
    activation: ActivationLike,
    parameter: float | None = None,
    *,
    convention: str = "forward",
    kinks: tuple[float, ...] | None = None,
) -> Gain:
    """The gain of an activation by a named convention, with z ~ N(0, 1).

    forward: 1/√E[φ(z)²] keeps the second moment of pre-activations; by quadrature.
    backward: 1/√E[φ′(z)²] keeps the second moment of gradients; by quadrature.
    torch: the table of ``torch.nn.init.calculate_gain`` (tanh 5/3, SELU 3/4, no derivation), with
    its names of linear layers (``"conv2d"``, gain 1).

    Args:
      activation: a name, a spec string such as ``"leaky_relu(0.2)"``, or an elementwise callable.
      parameter: the slope of a leaky ReLU: ``gain("leaky_relu", 0.2)``.
      convention: ``"forward"``, ``"backward"`` or ``"torch"``.
      kinks: points where φ or a derivative jumps. By default a named activation has its registered
        kinks; for a callable, a search on (−12, 12) finds them.

    Returns:
      The gain, dimensionless: a :class:`Gain`, which is a float. Its relative error is below 1e-6
      for smooth activations; for piecewise-linear ones it is only rounding.

    Raises:
      ValueError: the name or the convention is unknown; the activation is not in torch's table; the
        expectation is zero or not finite (the activation keeps no signal); the quadrature does not
        resolve the function (features narrower than 1/500, or jumps closer together than 1/16: give
        their ``kinks``); the activation is NaN for some z.
      TypeError: the activation is not elementwise, or uses traced values.

    Reference: He et al. 2015, equations 7–14, generalised to any φ.

    >>> float(gain("relu")), float(gain("tanh", convention="torch"))  # doctest: +ELLIPSIS
    (1.41421..., 1.66666...)
    """
    errors.check_choice("convention", convention, CONVENTIONS)
    if parameter is not None:
        activation = _with_parameter(activation, parameter)
    if convention == "torch" and isinstance(activation, str) and activation in _TORCH_LINEAR:
        return Gain(1.0, activation, convention)
    phi = elementwise(activation)
    if convention == "torch":
        return Gain(_torch_gain(phi.name), phi.name, convention)
    _check_alone(phi)
    function = phi.function if convention == "forward" else _derivative(phi.function)
    moment = mean_square(function, _kinks(phi, kinks))
    if math.isnan(moment):
        raise errors.refusal(
            f"E φ² of {phi.name}" if convention == "forward" else f"E φ′² of {phi.name}",
            "a function that the quadrature does not resolve",
            "a finite mean of a function that is smooth on a scale of 1/500 between its kinks",
            "kinks=(…): the points where it jumps",
        )
    if not (math.isfinite(moment) and moment > 0):
        raise errors.refusal(
            f"second moment of {phi.name}",
            moment,
            "a positive number",
            "the activation keeps no signal; if it is non-zero between two jumps, pass kinks=(…)",
        )
    return Gain(1 / math.sqrt(moment), phi.name, convention)


def _check_alone(activation: Activation) -> None:
    """Checks that the activation is elementwise and never NaN."""
    points = np.array([-2.1, -0.3, 0.7, 1.9])

    def values() -> tuple[Array, list[Array]]:
        return activation(jnp.asarray(points)), [activation(point) for point in jnp.asarray(points)]

    try:
        together, alone = in_float64(values)
        check_alike(activation.name, together, alone)
    except (jax.errors.UnexpectedTracerError, jax.errors.TracerArrayConversionError):
        raise errors.wrong_type(
            f"activation {activation.name!r}",
            "a function of traced values",
            "a function of its input alone",
            "compute the gain outside jit, vmap and grad, with plain numbers in its place",
        ) from None
    undefined = points[np.isnan(together)]
    if undefined.size:
        raise errors.refusal(
            f"{activation.name} at {undefined[0]}",
            math.nan,
            "a number for every z",
            "define it for all z, e.g. lambda x: f(jnp.maximum(x, 0))",
        )


def _kinks(activation: Activation, given: tuple[float, ...] | None) -> tuple[float, ...]:
    if given is not None:
        if not isinstance(given, tuple | list):
            raise errors.wrong_type("kinks", given, "a tuple of points", "kinks=(0.0,)")
        for kink in given:
            errors.check_number("kink", kink, fix="give the points where a derivative jumps")
        return tuple(given)
    return find_kinks(activation.function) if activation.kinks is None else activation.kinks


def _with_parameter(activation: ActivationLike, parameter: float) -> str:
    if not isinstance(activation, str) or activation != "leaky_relu":
        raise errors.refusal(
            "gain parameter", parameter, "none unless the activation is 'leaky_relu'", "drop it"
        )
    errors.check_number("leaky_relu slope", parameter, fix="try 0.01")
    return f"leaky_relu({float(parameter)!r})"


def _derivative(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def slope(z: Array) -> Array:
        return jax.vmap(jax.grad(lambda x: jnp.sum(function(x))))(z)

    return slope


def _torch_gain(name: str) -> float:
    slope = 0.01
    if name.startswith("leaky_relu("):
        slope = float(name.removesuffix(")").partition("=")[2])
        name = "leaky_relu"
    table = {
        "identity": 1.0,
        "sigmoid": 1.0,
        "tanh": 5.0 / 3.0,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2.0 / (1 + slope**2)),
        "selu": 3.0 / 4.0,
    }
    if name not in table:
        raise errors.refusal(
            "torch gain", name, f"one of {', '.join(table)}", "use convention='forward'"
        )
    return table[name]
