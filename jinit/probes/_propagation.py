"""Measures the signal and its gradient at every layer of one network."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._anew import anew
from jinit._examples import check_examples
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.frameworks import Captured
from jinit.frameworks._capture import Layer, by_path
from jinit.frameworks._taps import Taps
from jinit.probes._losses import Loss, check_loss, check_scalar
from jinit.probes._symmetry import NEAR, duplicate_units
from jinit.typing import Array, PyTree

# A pre-activation counts as saturated if |φ′| is at most this share of its largest value.
FLAT = 0.05
_TINY = float(np.finfo(np.float32).tiny)
# Near duplicates: number of random projections; fewest weights of a unit that is measured.
_PROJECTIONS, _FEWEST_WEIGHTS = 16, 4

_Elementwise: TypeAlias = Callable[[Array], Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Profile:
    """Measurements per layer; every array is ``(…, layers)``, the output layer last.

    "Units" are the last axis of a pre-activation z (channels of a convolution). "Inputs" are the
    examples of the batch, and for convolutions also the positions.

    Attributes:
      mean: mean of z over inputs and units.
      second_moment: E z².
      input_variance: variance of z over inputs, averaged over units.
      unit_variance: variance over units of the mean of z over inputs.
      correlation: mean cosine between the z of two different examples.
      effective_rank: (tr C)² / tr C², where C is the covariance of z over examples; at most
        examples − 1.
      saturated: share of z at which |φ′| ≤ 5 % of its largest value; NaN for the output layer, and
        everywhere if no activation was given.
      dead: share of units with φ′ = 0 at every input; NaN as for ``saturated``.
      gradient_norm: √E‖∂L/∂z‖², where L is the loss of one example and E the mean over examples.
      kernel_gradient_norm: Frobenius norm of the mean loss's gradient w.r.t. the kernel.
      bias_gradient_norm: norm of the mean loss's gradient w.r.t. the bias; NaN without a bias.
      kernel_norm: Frobenius norm of the kernel.
      duplicates: share of units whose incoming weights and bias equal those of another unit.
      near_duplicates: share of units whose column differs from that of another unit by at most 1 %
        of the longer column's length, measured in 16 random projections; 0 for units with fewer
        than 4 weights, which can be that close by chance.
    """

    mean: Array
    second_moment: Array
    input_variance: Array
    unit_variance: Array
    correlation: Array
    effective_rank: Array
    saturated: Array
    dead: Array
    gradient_norm: Array
    kernel_gradient_norm: Array
    bias_gradient_norm: Array
    kernel_norm: Array
    duplicates: Array
    near_duplicates: Array

    def update_ratio(self, learning_rate: float) -> Array:
        """‖η ∂L/∂W‖ / ‖W‖ for one step of SGD with learning rate η, ``(…, layers)``."""
        return learning_rate * self.kernel_gradient_norm / self.kernel_norm


def propagation(
    captured: Captured,
    params: PyTree,
    x: Array,
    loss: Loss,
    *,
    activation: ActivationLike | None = None,
) -> Profile:
    """The profile of one network, from one forward and one backward pass. Works in jit and vmap.

    Args:
      captured: from :func:`jinit.frameworks.capture`.
      params: parameters of the captured model.
      x: ``(batch, …)``, at least two examples.
      loss: ``loss(outputs) -> scalar``, a mean over the batch.
      activation: the activation after every layer but the last, for ``saturated`` and ``dead``.
        If a normalization precedes the activation, both are meaningless, except in ``models.MLP``,
        whose LayerNorm is taken into account.

    Returns:
      A :class:`Profile` with arrays ``(layers,)`` in float32.

    Raises:
      ValueError: fewer than two examples, an unknown activation, parameters with another tree
        structure, a loss that is not a scalar or does not fit the outputs.
      TypeError: an x that is not an array of numbers, a loss that is not callable.

    >>> from jinit import initialize
    >>> from jinit.frameworks import capture
    >>> from jinit.probes import random_projection
    >>> from jinit.models import MLP
    >>> x = jax.random.normal(jax.random.key(1), (16, 4))
    >>> captured = capture(MLP(features=(8, 8, 3)), x)
    >>> params = initialize(jax.random.key(0), captured.params, {"*": "zeros"})
    >>> loss = random_projection(jax.random.key(2))
    >>> propagation(captured, params, x, loss).second_moment
    Array([0., 0., 0.], dtype=float32)
    """
    check_examples(x, least=2)
    check_loss(loss)
    expected: Any = jax.tree.structure(captured.params)
    if jax.tree.structure(params) != expected:
        raise errors.refusal(
            "params",
            jax.tree.structure(params),
            f"the tree of captured.params, {expected}",
            "pass parameters of the captured model (without Flax's outer 'params')",
        )
    phi = None if activation is None else get_activation(activation)

    def scalar(params: PyTree, taps: Taps) -> tuple[Array, Taps]:
        outputs, values = captured.apply(params, x, taps)
        return loss(outputs), values

    outputs, shapes = output_shapes(captured, params, x)
    check_scalar(jax.eval_shape(anew(loss), outputs), "outputs")
    taps = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (gradient, tapped), values = jax.grad(scalar, argnums=(0, 1), has_aux=True)(params, taps)
    stacks = {layer.value for layer in captured.layers if layer.index is not None}
    signals = {}
    for name, z in values.items():
        last = name == captured.layers[-1].value
        layer = next(item for item in captured.layers if item.value == name)
        measure = functools.partial(_signal, phi=None if last else phi, layer=layer)
        signals[name] = (jax.vmap(measure) if name in stacks else measure)(z, tapped[name])
    leaves, gradients = by_path(params), by_path(gradient)
    weights = _weights(captured.layers, leaves, gradients)
    rows = [
        _at(signals[layer.value], layer.index) | own
        for layer, own in zip(captured.layers, weights, strict=True)
    ]
    return Profile(
        **{
            item.name: jnp.stack([row[item.name] for row in rows])
            for item in dataclasses.fields(Profile)
        }
    )


def output_shapes(captured: Captured, params: PyTree, x: Array) -> tuple[PyTree, PyTree]:
    """Shapes of the outputs and of the taps; refuses inputs that do not fit the model."""
    try:
        shapes: tuple[PyTree, PyTree] = jax.eval_shape(lambda p: captured.apply(p, x, None), params)
        return shapes
    except (TypeError, ValueError, IndexError, flax.errors.FlaxError) as problem:
        text = str(problem).partition("\n")[0]
        raise errors.refusal(
            "x",
            jnp.shape(x),
            f"inputs of the captured model ({text})",
            "pass x of the captured shape and parameters of the same model",
        ) from problem


def _signal(
    z: Array, gradient: Array, *, phi: _Elementwise | None, layer: Layer
) -> dict[str, Array]:
    """The numbers of one layer's pre-activation ``(batch, …)`` and its gradient."""
    slopes = None
    if phi is not None:
        slopes = _slope(phi, _entering(z, layer.unit_axis, layer.normalized))
    return _numbers(z, gradient, slopes, layer.unit_axis)


# Compiled once for each shape; operations run one by one would be compiled one by one.
@functools.partial(jax.jit, static_argnums=(1, 2), inline=True)
def _entering(z: Array, unit_axis: int, normalized: bool) -> Array:
    """What the activation takes, ``(inputs, units)`` in float32."""
    z = jnp.moveaxis(z, unit_axis, -1).astype(jnp.float32)
    return (_standardized(z) if normalized else z).reshape(-1, z.shape[-1])


@functools.partial(jax.jit, static_argnums=3, inline=True)
def _numbers(z: Array, gradient: Array, slopes: Array | None, unit_axis: int) -> dict[str, Array]:
    z = jnp.moveaxis(z, unit_axis, -1)
    z, gradient = z.astype(jnp.float32), gradient.astype(jnp.float32)
    batch = z.shape[0]
    flat = z.reshape(batch, -1)
    units = z.reshape(-1, z.shape[-1])
    centred = flat - flat.mean(0)
    covariance = jnp.matmul(centred, centred.T, precision="highest")
    # Angles are measured without centring z: a large common offset does make two inputs parallel.
    gram = jnp.matmul(flat, flat.T, precision="highest")
    length = jnp.sqrt(jnp.diagonal(gram))
    cosine = gram / jnp.maximum(length[:, None] * length, _TINY)
    # Divided by the trace, because squares of covariances can underflow or overflow float32.
    spectrum = covariance / jnp.maximum(jnp.trace(covariance), _TINY)
    nan = jnp.full((), jnp.nan)
    # If any z is not finite, the shares of units and the gradient are undefined.
    defined = jnp.where(jnp.isfinite(flat).all(), 1.0, nan)
    return {
        "mean": flat.mean(),
        "second_moment": (flat**2).mean(),
        "input_variance": units.var(0).mean(),
        "unit_variance": units.mean(0).var(),
        "correlation": (cosine.sum() - jnp.trace(cosine)) / (batch * (batch - 1)),
        "effective_rank": jnp.trace(spectrum) ** 2 / jnp.maximum((spectrum**2).sum(), _TINY),
        "saturated": nan if slopes is None else defined * (slopes <= FLAT).mean(),
        "dead": nan if slopes is None else defined * (slopes <= 0).all(0).mean(),
        # The loss is a mean over the batch, so the gradient of one example's loss is batch times
        # as large.
        "gradient_norm": defined * batch**0.5 * _norms(gradient[None])[0],
    }


def _standardized(z: Array) -> Array:
    """LayerNorm with its initial scale 1 and shift 0."""
    centred = z - z.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6)


def _slope(phi: _Elementwise, z: Array) -> Array:
    """|φ′(z)| as a share of its largest value on [−10, 10]."""
    derivative = jax.vmap(jax.grad(lambda u: phi(u)))
    largest = jnp.abs(derivative(jnp.linspace(-10.0, 10.0, 2001))).max()
    return jnp.abs(derivative(z.ravel())).reshape(z.shape) / largest


def _weights(
    layers: tuple[Layer, ...], leaves: dict[str, Any], gradients: dict[str, Any]
) -> list[dict[str, Array]]:
    """The numbers that need no signals; layers of equal shape share one computation."""
    alike: dict[Any, list[int]] = {}
    for place, layer in enumerate(layers):
        bias = None if layer.bias is None else leaves[layer.bias].shape
        shape = leaves[layer.kernel].shape, layer.kernel_unit_axis
        alike.setdefault((shape, bias), []).append(place)
    rows: list[dict[str, Array]] = [{} for _ in layers]
    for ((_, axis), bias), places in alike.items():
        chosen = [layers[place] for place in places]

        def listed(tree: dict[str, Any], leaf: str, chosen: list[Layer] = chosen) -> list[Array]:
            return [tree[getattr(layer, leaf)] for layer in chosen]

        measured = _of_alike(
            listed(leaves, "kernel"),
            listed(gradients, "kernel"),
            None if bias is None else listed(leaves, "bias"),
            None if bias is None else listed(gradients, "bias"),
            axis,
        )
        for place, row in zip(places, measured, strict=True):
            rows[place] = row
    return rows


@functools.partial(jax.jit, static_argnums=4, inline=True)
def _of_alike(
    kernels: list[Array],
    of_kernels: list[Array],
    biases: list[Array] | None,
    of_biases: list[Array] | None,
    unit_axis: int,
) -> list[dict[str, Array]]:
    """The numbers of layers of equal shape, from parameters and their gradients."""
    kernel, bias = jnp.stack(kernels), None
    norms = {"bias_gradient_norm": jnp.full(len(kernels), jnp.nan)}
    if biases is not None and of_biases is not None:
        bias = jnp.stack(biases)
        norms = {"bias_gradient_norm": _norms(jnp.stack(of_biases))}
    # One layer at a time: a kernel is read many times, and a single one stays in cache.
    equal, near = jax.lax.map(
        lambda layer: (duplicate_units(*layer), _near_duplicates(*layer)),
        (jnp.moveaxis(kernel, unit_axis + (unit_axis >= 0), -1), bias),
    )
    norms |= {
        "kernel_norm": _norms(kernel),
        "kernel_gradient_norm": _norms(jnp.stack(of_kernels)),
        "duplicates": equal,
        "near_duplicates": near,
    }
    return [{name: value[row] for name, value in norms.items()} for row in range(len(kernels))]


def _near_duplicates(kernel: Array, bias: Array | None) -> Array:
    # Of n units with d weights, about n · 0.01^d lie this close to a given unit by chance.
    if kernel.size // kernel.shape[-1] < _FEWEST_WEIGHTS:
        return jnp.zeros((), jnp.float32)
    return duplicate_units(kernel, bias, NEAR, projections=_PROJECTIONS)


def _norms(stack: Array) -> Array:
    """Frobenius norms over all axes but the first, in float32, without underflow or overflow.

    Gradients of deep networks reach 1e-30; float32 cannot represent their squares.
    """
    flat = stack.astype(jnp.float32).reshape(stack.shape[0], -1)
    largest = jnp.abs(flat).max(axis=1, keepdims=True)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    return scale[:, 0] * jnp.linalg.norm(flat / scale, axis=1)


def _at(values: dict[str, Array], index: int | None) -> dict[str, Array]:
    return values if index is None else {name: value[index] for name, value in values.items()}
