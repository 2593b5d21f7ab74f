"""Pre-activations of one second moment from what they are expected to be, not from data."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp

from jinit import errors, theory
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.calibrate._common import Trace, adjusted, by_kernel, by_layer, check_number, opened
from jinit.frameworks import Captured
from jinit.frameworks._capture import by_path
from jinit.frameworks._taps import Taps
from jinit.models import MLP, Antisymmetric, ResidualMLP
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

    W_l ← W_l √((target − E b_l²)/(fan_in E W_l² E h²)); biases are left as they are.
    Where layers share a kernel the mean over them gets the target. h, the layer's input, is the
    batch for the first layer, and for the others what the network makes of pre-activations
    N(0, target):

    - layers one after another with φ between them: E φ(z)² from :func:`jinit.theory.moments`;
      biases count as drawn around 0.
    - any other network (skips, normalization, attention, pooling): its own graph, run on drawn
      pre-activations, b_l (or what else a layer adds) and N(0, target − E b_l²). What the kernel
      gives is measured there with random signs on its entries, whose expectation is
      fan_in E W² E h², padding counted. Inputs and positions are drawn independently: where
      correlated ones are pooled, pre-activations behind come out larger than expected.

    Args:
      key: of the drawn pre-activations and signs.
      model, params: what :func:`jinit.frameworks.capture` opens, and its parameters.
      batch: ``(batch, …)``; only what the first layers make of it is used.
      target: E z² of every layer, > 0.
      activation: φ, for theory, of a model other than :class:`jinit.models.MLP` whose dense layers
        and convolutions (padding is not counted) stand one after another; None: drawn.
      draws: of every pre-activation, ≥ 1; the relative error of E z² is about √(2/(draws · units)).

    Returns:
      Parameters, and a :class:`Trace` of the expected second moments. Kernels that no factor helps
      stay as they are and have not converged: where nothing comes in, where biases alone exceed
      the target, and, with NaN in the trace, where the input is not finite, theory does not know
      its moments, or the layer is not linear in its kernel (weight normalization).

    Raises:
      TypeError: no key where one is drawn with. ValueError: an ``activation`` for an MLP that has
        another, or for a residual or doubled one; a number out of range; as
        :func:`jinit.frameworks.capture`.

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
    check_number("target", target, low=0.0, open_low=True, fix="use 1.0")
    errors.check_integer("draws", draws, low=1, fix="use 64")
    phi = _between_layers(model, activation)
    captured = opened(model, params, batch)
    if phi is None:
        errors.check_key(key)
        weights, biases = _drawn(jax.random.split(key, draws), captured, params, batch, target)
    else:
        weights, biases = _expected(phi, captured, params, batch, target)
    # No factor helps where nothing comes in, nor where biases alone are more than the target.
    able = jnp.isfinite(weights) & (weights > 0) & (biases < target)
    factors = jnp.sqrt(jnp.where(able, (target - biases) / jnp.where(able, weights, 1.0), 1.0))
    after = factors**2 * weights + biases
    converged = jnp.abs(after - target) <= 1e-3 * target
    changed = adjusted(params, dict(zip(by_kernel(captured), factors, strict=True)))
    return changed, Trace(weights + biases, after, jnp.ones(len(factors), jnp.int32), converged)


def _between_layers(model: Any, activation: ActivationLike | None) -> ActivationLike | None:
    """The φ that a model's own description, or its user, puts between its layers; None: unknown."""
    plain = not (isinstance(model, MLP) and (model.residual or model.layer_norm))
    if isinstance(model, ResidualMLP | Antisymmetric) or not plain:
        if activation is not None:
            raise errors.refusal(
                "activation", activation, f"None: {type(model).__name__} has more than φ between "
                "its layers", "leave it out: its own graph is run",
            )  # fmt: skip
        return None
    if type(model) is MLP:
        own = get_activation(model.activation)
        if activation is not None and get_activation(activation) != own:
            raise errors.refusal("activation", activation, f"{model.activation!r}", "leave it out")
        return own
    return activation


def _expected(
    phi: ActivationLike, captured: Captured, params: PyTree, batch: Array, target: float
) -> tuple[Array, Array]:
    """fan_in E W² E h² and E b² by kernel, of layers one after another, φ between them."""
    leaves, entering = by_path(params), theory.moments(phi, target).second
    square, weights, biases = jnp.mean(jnp.square(batch.astype(jnp.float32))), [], []
    for layer in captured.layers:
        kernel = leaves[layer.kernel].astype(jnp.float32)
        fan_in = kernel.size // kernel.shape[layer.kernel_unit_axis]
        weights.append(fan_in * jnp.mean(jnp.square(kernel)) * square)
        bias = jnp.zeros(()) if layer.bias is None else leaves[layer.bias].astype(jnp.float32)
        biases.append(jnp.mean(jnp.square(bias)))
        square = entering
    return _of_kernels(captured, jnp.stack(weights)), _of_kernels(captured, jnp.stack(biases))


def _drawn(
    keys: Key, captured: Captured, params: PyTree, batch: Array, target: float
) -> tuple[Array, Array]:
    """The same for any graph, as means over draws; NaN where z is not linear in the kernel.

    With kernels 0 a tap and what the layer adds are all of a pre-activation, and the derivative
    with respect to a layer's kernel, along W with random signs, is what it makes of the input that
    these gave it.
    """
    leaves = by_path(params)
    kernels = {layer.kernel: leaves[layer.kernel] for layer in captured.layers}
    zeros = jax.tree.map(jnp.zeros_like, kernels)
    stacks = {layer.value for layer in captured.layers if layer.index is not None}

    def values(kernels: dict[str, Array], taps: Taps | None) -> Taps:
        changed = adjusted(params, dict.fromkeys(kernels, 0.0), kernels)
        return captured.apply(changed, batch, taps)[1]

    def room(name: str, added: Array) -> Array:
        """The deviation that is left for the tap."""
        axes = tuple(range(1 if name in stacks else 0, added.ndim))
        left = target - jnp.mean(jnp.square(added), axes, jnp.float32, keepdims=True)
        return jnp.sqrt(jnp.maximum(left, 0.0)).astype(added.dtype)

    added = values(zeros, None)

    def drawn(key: Key) -> Taps:
        return OrderedDict(
            (name, room(name, z) * jax.random.normal(jax.random.fold_in(key, i), z.shape, z.dtype))
            for i, (name, z) in enumerate(added.items())
        )

    def along(
        at: dict[str, Array], kernels: dict[str, Array], taps: Taps
    ) -> tuple[list[Array], list[Array]]:
        seen, slope = jax.jvp(lambda kernels: values(kernels, taps), (at,), (kernels,))
        return by_layer(captured, seen), by_layer(captured, slope)

    def draw(key: Key) -> tuple[Array, Array]:
        of_taps, of_signs = jax.random.split(key)
        taps = drawn(of_taps)
        signed = {
            name: w * jax.random.rademacher(jax.random.fold_in(of_signs, i), w.shape, w.dtype)
            for i, (name, w) in enumerate(kernels.items())
        }
        seen, given = along(zeros, signed, taps)
        own = [z - tap for z, tap in zip(seen, by_layer(captured, taps), strict=True)]
        return _squares(given), _squares(own)

    def bent(place: Array) -> Array:
        """How far the derivative along a kernel is from the one at 0, and its size.

        At its first call: what goes into later ones depends on the kernel itself.
        """
        taps = drawn(keys[0])
        alone = {name: w * (i == place) for i, (name, w) in enumerate(kernels.items())}
        (_, here), (_, at_zero) = (along(at, alone, taps) for at in (alone, zeros))
        apart = [a - b for a, b in zip(here, at_zero, strict=True)]
        call = calls[place]
        return jnp.stack([_squares(apart)[call], _squares(at_zero)[call]])

    means = [each.mean(0) for each in jax.lax.map(draw, keys)]
    weights, biases = (_of_kernels(captured, each) for each in means)
    calls = jnp.asarray([own[0] for own in by_kernel(captured).values()])
    apart, size = jax.lax.map(bent, jnp.arange(len(kernels))).T
    return jnp.where(apart <= 1e-3 * size, weights, jnp.nan), biases


def _of_kernels(captured: Captured, values: Array) -> Array:
    """Means over the layers of each kernel."""
    return jnp.stack([values[jnp.asarray(own)].mean() for own in by_kernel(captured).values()])


def _squares(values: list[Array]) -> Array:
    return jnp.stack([jnp.mean(jnp.square(z)) for z in values])
