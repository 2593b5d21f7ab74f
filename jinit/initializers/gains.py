"""Gains: the factor on σ_w = 1/√fan_in that keeps a signal's size through an activation."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.quadrature import expectation
from jinit.typing import Array

CONVENTIONS = ("forward", "backward", "torch")


def gain(activation: ActivationLike, *, convention: str = "forward") -> float:
    """The gain of an activation by a named convention.

    forward: 1/√E[φ(z)²] keeps the second moment of pre-activations;
    backward: 1/√E[φ′(z)²] keeps that of gradients; z ~ N(0, 1), by quadrature for any callable;
    torch: the table of ``torch.nn.init.calculate_gain`` (tanh 5/3, SELU 3/4, no derivation).

    Args:
      activation: a name, a spec string such as ``"leaky_relu(0.2)"``, or an elementwise callable.
      convention: ``"forward"``, ``"backward"`` or ``"torch"``.

    Returns:
      The gain, dimensionless, a Python float.

    Raises:
      ValueError: an unknown name or convention; an activation not in torch's table; an expectation
        that is zero or not finite (the activation keeps no signal).

    Reference: He et al. 2015, equations 7–14, generalised to any φ.

    >>> round(gain("relu"), 5), round(gain("tanh", convention="torch"), 5)
    (1.41421, 1.66667)
    """
    errors.check_choice("convention", convention, CONVENTIONS)
    found = get_activation(activation)
    if convention == "torch":
        return _torch_gain(found.name)
    function = found.function if convention == "forward" else _derivative(found.function)
    moment = expectation(lambda z: function(z) ** 2, found.kinks)
    if not (math.isfinite(moment) and moment > 0):
        raise errors.refusal(
            f"second moment of {found.name}", moment, "a positive number", "it keeps no signal"
        )
    return 1 / math.sqrt(moment)


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
