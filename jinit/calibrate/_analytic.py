"""Scales kernels so that all pre-activations have the same expected second moment, without data."""

from __future__ import annotations

import math
from collections import OrderedDict

import jax
import jax.numpy as jnp

from jinit import _prng, errors, theory
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.calibrate._common import Trace, adjusted, by_kernel, by_layer, check_number, opened
from jinit.frameworks import Captured
from jinit.frameworks._capture import Layer, by_path
from jinit.frameworks._layout import Layout
from jinit.frameworks._taps import Taps
from jinit.models import MLP, Antisymmetric, ResidualMLP
from jinit.typing import Array, Key, ModelLike, PyTree


def analytic(
    key: Key,
    model: ModelLike,
    params: PyTree,
    batch: Array,
    *,
    target: float = 1.0,
    activation: ActivationLike | None = None,
    draws: int = 64,
) -> tuple[PyTree, Trace]:
    """Rescales kernels so that E z² of every pre-activation z is expected to equal ``target``.

    W_l ← W_l √((target − E b_l²)/(fan_in E W_l² E h²)); biases do not change. Where layers share a
    kernel, the mean of E z² over these layers gets the target. The input h of the first layer is
    the batch. The inputs of later layers follow from pre-activations N(0, target):

    - In a chain of layers with φ between them, E h² = E φ(z)² from :func:`jinit.theory.moments`,
      and biases count as drawn around 0.
    - In any other network (skips, normalization, attention, pooling), the network itself runs on
      drawn pre-activations: b_l, or any other term that the layer adds to its product, plus
      N(0, target − E b_l²). The mean square of the kernel's contribution is measured with random
      signs on the entries of W; its expectation is fan_in E W² E h², padding included. Inputs and
      positions are drawn independently; if a layer pools correlated positions, later
      pre-activations are larger than expected.

    Args:
      key: draws pre-activations and signs; unused in a chain of layers.
      model: a model that :func:`jinit.frameworks.capture` takes.
      params: its parameters.
      batch: ``(batch, …)``; only the first layers use its values.
      target: E z² of every layer, > 0.
      activation: φ of a model other than :class:`jinit.models.MLP` that is a chain of dense layers
        and convolutions (theory ignores padding). None measures the network with drawn
        pre-activations instead.
      draws: number of draws of every pre-activation, ≥ 1. The relative error of E z² is about
        √(2/(draws · units)).

    Returns:
      Parameters, and a :class:`Trace` of the expected second moments. A kernel that no factor can
      calibrate stays unchanged and has not converged: its input is 0, or the bias alone exceeds the
      target. The same holds, with NaN in the trace, if its input is not finite, theory does not
      know the moments of φ, or the layer is not linear in its kernel (weight normalization).

    Raises:
      TypeError: pre-activations must be drawn and ``key`` is not a PRNG key.
      ValueError: an ``activation`` that differs from the MLP's own, or any ``activation`` for a
        residual, normalized or antisymmetric model; a number out of range; as
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
    errors.check_integer("draws", draws, low=1, high=10**6, fix="use 64")
    phi = _between_layers(model, activation)
    captured = opened(model, params, batch)
    if phi is None:
        errors.check_key(key)
        weights, biases = _measured(jax.random.split(key, draws), captured, params, batch, target)
    else:
        weights, biases = _expected(phi, captured, params, batch, target)
    # No factor reaches the target if the input is 0 or the bias alone exceeds the target.
    able = jnp.isfinite(weights) & (weights > 0) & (biases < target)
    factors = jnp.sqrt(jnp.where(able, (target - biases) / jnp.where(able, weights, 1.0), 1.0))
    after = factors**2 * weights + biases
    converged = jnp.abs(after - target) <= 1e-3 * target
    changed = adjusted(params, dict(zip(by_kernel(captured), factors, strict=True)))
    return changed, Trace(weights + biases, after, jnp.ones(len(factors), jnp.int32), converged)


def _between_layers(model: ModelLike, activation: ActivationLike | None) -> ActivationLike | None:
    """The φ between the layers of a chain, from ``model`` or ``activation``; None if unknown."""
    plain = not (isinstance(model, MLP) and (model.residual or model.layer_norm))
    if isinstance(model, ResidualMLP | Antisymmetric) or not plain:
        if activation is not None:
            raise errors.refusal(
                "activation",
                activation,
                f"None: {type(model).__name__} has more than φ between its layers",
                "leave it out: pre-activations are then drawn",
            )
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
    """fan_in E W² E h² and E b² per kernel of a chain of layers with φ between them."""
    leaves, entering = by_path(params), theory.moments(phi, target).second
    square, weights, biases = jnp.mean(jnp.square(batch.astype(jnp.float32))), [], []
    for layer in captured.layers:
        kernel = leaves[layer.kernel].astype(jnp.float32)
        fan_in = _fan_in(captured, layer, kernel.shape)
        weights.append(fan_in * jnp.mean(jnp.square(kernel)) * square)
        bias = jnp.zeros(()) if layer.bias is None else leaves[layer.bias].astype(jnp.float32)
        biases.append(jnp.mean(jnp.square(bias)))
        square = entering
    return _of_kernels(captured, jnp.stack(weights)), _of_kernels(captured, jnp.stack(biases))


def _fan_in(captured: Captured, layer: Layer, shape: tuple[int, ...]) -> float:
    """The inputs of one unit of a layer, by the layer's layout if the model tells it."""
    layout = (captured.layouts or {}).get(layer.kernel)
    if isinstance(layout, Layout) and layout.kind in ("kernel", "recurrent"):
        fans = layout.fans(shape)
        if fans is not None:
            return fans.fan_in
    return math.prod(shape) // shape[layer.kernel_unit_axis]


def _measured(
    keys: Key, captured: Captured, params: PyTree, batch: Array, target: float
) -> tuple[Array, Array]:
    """As :func:`_expected` for any network, by means over draws; NaN if z is not linear in W.

    With all kernels zero, a pre-activation is its tap plus the bias. The derivative of z along W
    with random signs is then the kernel's contribution, at the layer input that these
    pre-activations produce.
    """
    leaves = by_path(params)
    kernels = {layer.kernel: leaves[layer.kernel] for layer in captured.layers}
    zeros = jax.tree.map(jnp.zeros_like, kernels)
    stacks = {layer.value for layer in captured.layers if layer.index is not None}

    def values(kernels: dict[str, Array], taps: Taps | None) -> Taps:
        changed = adjusted(params, dict.fromkeys(kernels, 0.0), kernels)
        return captured.apply(changed, batch, taps)[1]

    def tap_deviation(name: str, added: Array) -> Array:
        """The standard deviation of a tap that raises E z² from E b² to the target."""
        axes = tuple(range(1 if name in stacks else 0, added.ndim))
        left = target - jnp.mean(jnp.square(added), axes, jnp.float32, keepdims=True)
        return jnp.sqrt(jnp.maximum(left, 0.0)).astype(added.dtype)

    added = values(zeros, None)

    def draw_taps(key: Key) -> Taps:
        def tap(index: int, name: str, z: Array) -> Array:
            noise = _prng.normal(jax.random.fold_in(key, index), z.shape, z.dtype)
            return tap_deviation(name, z) * noise

        return OrderedDict((name, tap(i, name, z)) for i, (name, z) in enumerate(added.items()))

    def derivative_along(
        direction: dict[str, Array], at: dict[str, Array], taps: Taps
    ) -> tuple[list[Array], list[Array]]:
        """z of each layer at these kernels, and its derivative along a direction of kernels."""
        z, slope = jax.jvp(lambda kernels: values(kernels, taps), (at,), (direction,))
        return by_layer(captured, z), by_layer(captured, slope)

    def measure_once(key: Key) -> tuple[Array, Array]:
        of_taps, of_signs = jax.random.split(key)
        taps = draw_taps(of_taps)
        signed = {
            name: w * jax.random.rademacher(jax.random.fold_in(of_signs, i), w.shape, w.dtype)
            for i, (name, w) in enumerate(kernels.items())
        }
        z, contributions = derivative_along(signed, zeros, taps)
        own = [value - tap for value, tap in zip(z, by_layer(captured, taps), strict=True)]
        return _squares(contributions), _squares(own)

    def nonlinearity(place: Array) -> Array:
        """Compares the derivative of z along W at kernel W and at kernel 0: equal if z is linear.

        Returns the mean squares of their difference and of the derivative at 0, for the first call
        of a shared kernel; the input of later calls depends on W itself.
        """
        taps = draw_taps(keys[0])
        alone = {name: w * (i == place) for i, (name, w) in enumerate(kernels.items())}
        (_, here), (_, at_zero) = (derivative_along(alone, at, taps) for at in (alone, zeros))
        apart = [a - b for a, b in zip(here, at_zero, strict=True)]
        call = calls[place]
        return jnp.stack([_squares(apart)[call], _squares(at_zero)[call]])

    means = [squares.mean(0) for squares in jax.lax.map(measure_once, keys)]
    weights, biases = (_of_kernels(captured, mean) for mean in means)
    calls = jnp.asarray([own[0] for own in by_kernel(captured).values()])
    apart, size = jax.lax.map(nonlinearity, jnp.arange(len(kernels))).T
    return jnp.where(apart <= 1e-3 * size, weights, jnp.nan), biases


def _of_kernels(captured: Captured, values: Array) -> Array:
    """``(layers,)`` → ``(kernels,)``: means over the layers that share a kernel."""
    return jnp.stack([values[jnp.asarray(own)].mean() for own in by_kernel(captured).values()])


def _squares(values: list[Array]) -> Array:
    """The mean square of each array."""
    return jnp.stack([jnp.mean(jnp.square(z)) for z in values])
