"""Defines the multilayer perceptron as a Flax linen module with zero or more hidden layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

from jinit import errors
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.initializers import lecun_normal, ones, zeros
from jinit.typing import Array, Initializer, PyTree

# Unrolled layers compile in 0.5–2 s (4 to 16 layers) and 4 s (64); a scan over layers compiles in
# constant time but runs 30 % slower.
UNROLL_LIMIT = 64

_Function: TypeAlias = Callable[[Array], Array]


class MLP(nn.Module):
    """A multilayer perceptron: ``depth`` hidden layers (W, b, φ), then an output layer (W, b).

    Hidden layer l: h_l = φ(norm(h_{l−1} W_l + b_l)), plus h_{l−1} if ``residual`` and the widths
    are equal. Parameters are ``hidden_0/kernel … output/bias``, with LayerNorm also
    ``hidden_0/scale`` and ``hidden_0/shift`` …; kernels are ``(in, out)``. Unrolled and scanned
    layers have the same names, so one key gives a layer equal weights at every depth.

    Attributes:
      features: widths of all layers; the last is the number of outputs. ``(10,)`` has depth 0:
        softmax regression.
      activation: a name, a spec string or a callable, applied in every hidden layer.
      residual: whether a hidden layer's input is added to its output if both have equal width.
      layer_norm: whether LayerNorm is applied to every hidden pre-activation.
      use_bias: whether layers have a bias.
      kernel_init, bias_init: used by Flax's own ``init``; jinit's sweeps use their rules instead.

    Raises:
      ValueError: no features, a width below 1, an unknown activation.
      TypeError: a width is not a whole number, an option is not True or False.

    >>> model = MLP(features=(32, 10))
    >>> params = model.init(jax.random.key(0), jnp.zeros((1, 64)))["params"]
    >>> model.apply({"params": params}, jnp.zeros((5, 64))).shape
    (5, 10)
    """

    features: tuple[int, ...]
    activation: ActivationLike = "relu"
    residual: bool = False
    layer_norm: bool = False
    use_bias: bool = True
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.features) - 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Outputs ``(batch, features[-1])`` for x ``(batch, …)``; examples are flattened."""
        self._check()
        x = x.reshape(x.shape[0], -1)
        activation = get_activation(self.activation)
        layers, fan_in = [], x.shape[-1]
        for index, width in enumerate(self.features):
            name = "output" if index == self.depth else f"hidden_{index}"
            norm = self.layer_norm and index < self.depth
            layer = _Layer(width, self.use_bias, norm, self.kernel_init, self.bias_init, name=name)
            layers.append(layer(fan_in))
            fan_in = width
        first = 0
        if self._scans():
            # The first layer may have another fan_in; the others have equal shapes and are stacked.
            x = self._hidden(0, x, layers[0], activation.function)
            x = self._scan(x, layers[1:-1], activation.function)
            first = self.depth
        for index in range(first, self.depth):
            x = self._hidden(index, x, layers[index], activation.function)
        return self._affine(x, layers[-1])

    def _hidden(self, index: int, x: Array, layer: PyTree, activation: _Function) -> Array:
        pre_activation = self._affine(x, layer)
        pre_activation = self.perturb(f"pre_activation_{index}", pre_activation)
        self.sow("intermediates", f"pre_activation_{index}", pre_activation)
        return self._activate(x, pre_activation, layer, activation)

    def _scan(self, x: Array, layers: list[PyTree], activation: _Function) -> Array:
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)

        def body(x: Array, layer: PyTree) -> tuple[Array, Array]:
            pre_activation = self._affine(x, layer)
            return self._activate(x, pre_activation, layer, activation), pre_activation

        x, pre_activations = jax.lax.scan(body, x, stacked)
        self.sow("intermediates", "pre_activations_from_1", pre_activations)
        return x

    def _affine(self, x: Array, layer: PyTree) -> Array:
        x = x @ layer["kernel"]
        return x + layer["bias"] if self.use_bias else x

    def _activate(
        self, x: Array, pre_activation: Array, layer: PyTree, activation: _Function
    ) -> Array:
        """LayerNorm, activation and skip connection of a hidden layer with input ``x``."""
        if "scale" in layer:
            mean = pre_activation.mean(-1, keepdims=True)
            variance = pre_activation.var(-1, keepdims=True)
            pre_activation = (pre_activation - mean) * jax.lax.rsqrt(variance + 1e-6)
            pre_activation = pre_activation * layer["scale"] + layer["shift"]
        h: Array = activation(pre_activation)
        return h + x if self.residual and h.shape == x.shape else h

    def _scans(self) -> bool:
        """Whether hidden layers are scanned: more than ``UNROLL_LIMIT``, all of one width."""
        return self.depth > UNROLL_LIMIT and len(set(self.features[:-1])) == 1

    def _check(self) -> None:
        if not self.features:
            raise errors.refusal(
                "features", self.features, "at least the output width", "features=(10,)"
            )
        for width in self.features:
            errors.check_integer("width", width, low=1, fix="use 32")
        for name in ("residual", "layer_norm", "use_bias"):
            errors.check_bool(name, getattr(self, name))


def tapped_apply(
    model: MLP, params: PyTree, x: Array, taps: OrderedDict[str, Array] | None = None
) -> tuple[Array, OrderedDict[str, Array]]:
    """``model.apply`` that adds ``taps`` to the pre-activations and also returns the sums.

    The gradient with respect to a tap of zeros is the gradient with respect to the pre-activation.
    Hidden layers of equal width are scanned, so a hundred compile as fast as two.

    Args:
      model: an :class:`MLP`.
      params: its parameters.
      x: ``(batch, …)``.
      taps: arrays with the names and shapes of the pre-activations; None adds nothing.

    Returns:
      Outputs ``(batch, outputs)`` and the pre-activations: ``hidden_0 … output``, each
      ``(batch, width)``. If two or more hidden layers all have one width,
      ``hidden`` of shape ``(depth − 1, batch, width)`` stacks all but the first.

    >>> model = MLP(features=(8, 8, 8, 3))
    >>> params = model.init(jax.random.key(0), jnp.zeros((1, 4)))["params"]
    >>> {name: z.shape for name, z in tapped_apply(model, params, jnp.zeros((5, 4)))[1].items()}
    {'hidden_0': (5, 8), 'hidden': (2, 5, 8), 'output': (5, 3)}
    """
    pre_activations: OrderedDict[str, Array] = OrderedDict()

    def tapped(name: str, z: Array) -> Array:
        pre_activations[name] = z if taps is None else z + taps[name]
        return pre_activations[name]

    if model.depth < 2 or len(set(model.features[:-1])) > 1:
        return unrolled_apply(model, params, x, tapped), pre_activations
    activation = get_activation(model.activation).function
    first, *others = (params[f"hidden_{index}"] for index in range(model.depth))
    x = x.reshape(x.shape[0], -1)
    h = model._activate(x, tapped("hidden_0", model._affine(x, first)), first, activation)

    def body(h: Array, layer_and_tap: tuple[PyTree, Array]) -> tuple[Array, Array]:
        layer, tap = layer_and_tap
        z = model._affine(h, layer) + tap
        return model._activate(h, z, layer, activation), z

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *others)
    tap = jnp.zeros((len(others), *h.shape), h.dtype) if taps is None else taps["hidden"]
    h, pre_activations["hidden"] = jax.lax.scan(body, h, (stacked, tap))
    return tapped("output", model._affine(h, params["output"])), pre_activations


def unrolled_apply(
    model: MLP, params: PyTree, x: Array, tap: Callable[[str, Array], Array]
) -> Array:
    """``model.apply`` with every pre-activation z replaced by ``tap(layer name, z)``.

    >>> model = MLP(features=(8, 3))
    >>> params = model.init(jax.random.key(0), jnp.zeros((1, 4)))["params"]
    >>> unrolled_apply(model, params, jnp.ones((5, 4)), lambda name, z: 0 * z)[0].tolist()
    [0.0, 0.0, 0.0]
    """
    # These methods read only the module's options, so they need no Flax scope.
    activation, h = get_activation(model.activation).function, x.reshape(x.shape[0], -1)
    for index in range(model.depth):
        layer = params[f"hidden_{index}"]
        h = model._activate(h, tap(f"hidden_{index}", model._affine(h, layer)), layer, activation)
    return tap("output", model._affine(h, params["output"]))


class _Layer(nn.Module):
    """Declares and returns the parameters of one layer; the MLP does the arithmetic."""

    width: int
    use_bias: bool
    norm: bool
    kernel_init: Initializer
    bias_init: Initializer

    @nn.compact
    def __call__(self, fan_in: int) -> dict[str, Array]:
        params = {"kernel": self._declared("kernel", self.kernel_init, (fan_in, self.width))}
        if self.use_bias:
            params["bias"] = self._declared("bias", self.bias_init, (self.width,))
        if self.norm:
            params["scale"] = self._declared("scale", ones, (self.width,))
            params["shift"] = self._declared("shift", zeros, (self.width,))
        return params

    def _declared(self, name: str, initializer: Initializer, shape: tuple[int, ...]) -> Array:
        """``self.param``, but a leaf of the right shape is returned as it is.

        Flax traces the initializer of every leaf to learn its shape: more than half of the time
        that a trace of a deep network takes.
        """
        if self.has_variable("params", name):
            leaf: object = self.get_variable("params", name)
            if isinstance(leaf, jax.Array):
                if leaf.shape == shape:
                    return leaf
                raise errors.refusal(
                    f"{name!r} of layer {self.name or type(self).__name__!r}",
                    f"shape {leaf.shape}",
                    f"shape {shape}, which the input and the widths give",
                    "pass inputs with as many features as at initialization",
                )
        declared: Array = self.param(name, initializer, shape)
        return declared
