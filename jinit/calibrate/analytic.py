"""Pre-activations of one second moment from what they are expected to be, not from data."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp

from jinit import errors, theory
from jinit.activations import ActivationLike
from jinit.calibrate.common import Trace, adjusted, opened, pre_activations
from jinit.models import MLP, Antisymmetric, ResidualMLP
from jinit.probes import Captured
from jinit.probes.capture import by_path
from jinit.typing import Array, Key, PyTree


def analytic(
    key: Key,
    model: Any,
    params: PyTree,
    batch: Array,
    *,
    target: float = 1.0,
    activation: ActivationLike | None = None,
    draws: int = 64,
) -> tuple[PyTree, Trace]:
    """Kernels rescaled so that every pre-activation is expected to have this second moment.

    W_l ← W_l √((target − E b_l²)/(fan_in E W_l² E h²)); biases are left as they are. h, the layer's
    input, is the batch for the first layer, and for the others what the network makes of
    pre-activations N(0, target):

    - layers one after another with φ between them: E φ(z)² from :func:`jinit.theory.moments`;
    - any other network (skips, normalization of its own, attention, pooling): its own graph, run
      on drawn pre-activations. What the kernel adds is measured there with random signs on its
      entries, whose expectation is fan_in E W² E h², padding counted.

    Args:
      key: of the drawn pre-activations and signs.
      model, params: what :func:`jinit.probes.capture` opens, and its parameters.
      batch: ``(batch, …)``; only what the first layers make of it is used.
      target: E z² of every layer, > 0.
      activation: φ, for theory, of a model other than :class:`jinit.models.MLP` whose dense layers
        and convolutions (padding is not counted) stand one after another; None: drawn.
      draws: of every pre-activation, ≥ 1; the relative error of E z² is about √(2/(draws · units)).

    Returns:
      Parameters, and a :class:`Trace` of the expected second moments. Kernels that no factor helps
      stay as they are and have not converged: where nothing comes in, where biases alone exceed
      the target, and, with NaN in the trace, where the input is not finite or theory does not know
      its moments.

    Raises:
      TypeError: no key where one is drawn with. ValueError: an ``activation`` for an MLP that has
        another, or for a residual or doubled one; a number out of range; as
        :func:`jinit.probes.capture`.

    Reference: Bingham & Miikkulainen 2023, section 3.

    >>> model, x = MLP(features=(64, 64, 4)), jax.random.normal(jax.random.key(1), (32, 64))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> _, trace = analytic(jax.random.key(0), model, params, x)
    >>> trace.after.round(3).tolist()
    [1.0, 1.0, 1.0]
    >>> model = ResidualMLP(width=64, blocks=2, outputs=4)
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> _, trace = analytic(jax.random.key(0), model, params, x)
    >>> trace.after.round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    errors.check_number("target", target, low=0.0, open_low=True, fix="use 1.0")
    errors.check_integer("draws", draws, low=1, fix="use 64")
    phi = _between_layers(model, activation)
    captured, leaves = opened(model, params, batch), by_path(params)
    if phi is None:
        errors.check_key(key)
        weights = _drawn(jax.random.split(key, draws), captured, params, batch, target)
    else:
        normalized = type(model) is MLP and model.normalization is not None
        weights = _expected(phi, captured, params, batch, 1.0 if normalized else target)
    squares = [
        jnp.zeros(()) if layer.bias is None else jnp.mean(jnp.square(leaves[layer.bias]))
        for layer in captured.layers
    ]
    biases = jnp.stack(squares).astype(jnp.float32)
    # No factor helps where nothing comes in, nor where biases alone are more than the target.
    able = jnp.isfinite(weights) & (weights > 0) & (biases < target)
    factors = jnp.sqrt(jnp.where(able, (target - biases) / jnp.where(able, weights, 1.0), 1.0))
    after = factors**2 * weights + biases
    converged = jnp.abs(after - target) <= 1e-3 * target
    kernels = [layer.kernel for layer in captured.layers]
    changed = adjusted(params, dict(zip(kernels, factors, strict=True)))
    return changed, Trace(weights + biases, after, jnp.ones(len(kernels), jnp.int32), converged)


def _between_layers(model: Any, activation: ActivationLike | None) -> ActivationLike | None:
    """The φ that a model's own description, or its user, puts between its layers; None: unknown."""
    if isinstance(model, ResidualMLP | Antisymmetric) or getattr(model, "residual", False):
        if activation is not None:
            raise errors.refusal(
                "activation", activation, f"None: {type(model).__name__} has more than φ between "
                "its layers", "leave it out: its own graph is run",
            )  # fmt: skip
        return None
    if type(model) is MLP:
        if activation not in (None, model.activation):
            raise errors.refusal("activation", activation, f"{model.activation!r}", "leave it out")
        return model.activation
    return activation


def _expected(
    phi: ActivationLike, captured: Captured, params: PyTree, batch: Array, seen: float
) -> Array:
    """fan_in E W² E h² of layers one after another, φ between them seeing N(0, seen)."""
    leaves, entering = by_path(params), theory.moments(phi, seen).second
    square, found = jnp.mean(jnp.square(batch.astype(jnp.float32))), []
    for layer in captured.layers:
        kernel = leaves[layer.kernel].astype(jnp.float32)
        fan_in = kernel.size // kernel.shape[layer.kernel_unit_axis]
        found.append(fan_in * jnp.mean(jnp.square(kernel)) * square)
        square = entering
    return jnp.stack(found)


def _drawn(keys: Key, captured: Captured, params: PyTree, batch: Array, target: float) -> Array:
    """The same for any graph, as a mean over draws.

    With kernels and biases 0 a tap is all of a pre-activation, and the derivative with respect to
    a layer's kernel, along W with random signs, is what it makes of the input that taps gave it.
    """
    leaves = by_path(params)
    kernels = {layer.kernel: leaves[layer.kernel] for layer in captured.layers}
    nothing = dict.fromkeys([*kernels, *(each.bias for each in captured.layers if each.bias)], 0.0)
    shapes = jax.eval_shape(lambda p: captured.apply(p, batch, None)[1], params)

    def draw(key: Key) -> Array:
        of_taps, of_signs = jax.random.split(key)
        taps = OrderedDict(
            (
                name,
                target**0.5 * jax.random.normal(jax.random.fold_in(of_taps, i), z.shape, z.dtype),
            )
            for i, (name, z) in enumerate(shapes.items())
        )
        signed = {
            name: w * jax.random.rademacher(jax.random.fold_in(of_signs, i), w.shape, w.dtype)
            for i, (name, w) in enumerate(kernels.items())
        }

        def values(kernels: dict[str, Array]) -> list[Array]:
            return pre_activations(captured, adjusted(params, nothing, kernels), batch, taps)

        _, found = jax.jvp(values, (jax.tree.map(jnp.zeros_like, kernels),), (signed,))
        return jnp.stack([jnp.mean(jnp.square(z)) for z in found])

    return jax.lax.map(draw, keys).mean(0)
