"""Writes the fixes of a verdict; they name rules that suit the activation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jinit.activations import ActivationLike
from jinit.activations import get as get_activation

# If φ(0) ≠ 0, the constant part of φ's outputs accumulates. Beyond this many hidden layers it
# dominates E z² for every σ_w.
FEW_LAYERS = 4

CENTRED = (
    "an activation with φ(0) = 0 (tanh for sigmoid, gelu for softplus) and its own rule, "
    "'scaled_for(activation=…)': if φ(0) ≠ 0, no σ_w keeps inputs apart through many layers"
)


def is_rectifier(activation: ActivationLike) -> bool:
    """Whether φ is flat on the negative side, like ReLU and relu6."""
    return float(jax.grad(get_activation(activation).function)(-0.5)) == 0


def is_bounded(activation: ActivationLike) -> bool:
    """Whether φ is bounded on both sides."""
    phi = get_activation(activation)
    ends = np.asarray([float(phi(jnp.float32(z))) for z in (-1e6, 1e6)])
    return bool((np.abs(ends) < 1e3).all())


def at_zero(activation: ActivationLike) -> float:
    """|φ(0)|."""
    return abs(float(get_activation(activation)(jnp.float32(0))))


def scaled(how: str, activation: ActivationLike | None, depth: int) -> str:
    """The fix for hidden layers that change the scale."""
    if activation is None:
        return f"a {how} σ_w: the activation's own rule, 'scaled_for(activation=…)'"
    if at_zero(activation) and depth > FEW_LAYERS:
        return CENTRED
    return f"a {how} σ_w: {scaled_rule(activation)}"


def scaled_rule(activation: ActivationLike) -> str:
    """The fix that names the activation's own rule."""
    # A user's function has no name to write into a spec string.
    name = activation if isinstance(activation, str) else "…"
    own = f"'scaled_for(activation={name})'"
    return f"{own}; 'jinit recommend' measures which initializer suits a depth"
