"""What each framework does by default, layer by layer, to copy it or to compare with it.

A preset is a rule by layer kind instead of by path. It reproduces the host's own fans where they
are not the layer's (Flax counts batch axes and a transposed kernel's out axis as inputs): the point
of a preset is to be the host, traps included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from jinit import errors
from jinit.frameworks._layout import Layout
from jinit.initializers import (
    NamedInitializer,
    constant,
    fan_in_uniform,
    glorot_uniform,
    lecun_normal,
    normal,
    ones,
    orthogonal,
    truncated_normal,
    uniform_range,
    variance_scaling,
    zeros,
)

Rule: TypeAlias = Callable[[Layout, str, tuple[int, ...]], tuple[NamedInitializer, Layout]]
_GATED = ("LSTMCell", "GRUCell", "SimpleRNNCell", "LSTM", "GRU", "RNN", "RNNCell")
_SCALES = ("scale", "gamma", "weight")


def preset(name: str) -> Rule:
    """The defaults of a framework: ``rule(layout, leaf name, shape) -> (initializer, layout)``.

    Args:
      name: ``"torch"``, ``"keras"``, ``"flax"``, ``"haiku"`` or ``"equinox"``.

    Raises:
      ValueError: another name.

    >>> rule = preset("torch")
    >>> str(rule(Layout(in_axes=(1,), out_axes=(0,)), "weight", (20, 10))[0])
    'fan_in_uniform'
    """
    if name not in _PRESETS:
        raise errors.unknown_name("preset", name, _PRESETS)
    return _PRESETS[name]


def names() -> tuple[str, ...]:
    """All presets.

    >>> names()
    ('torch', 'keras', 'flax', 'haiku', 'equinox')
    """
    return tuple(_PRESETS)


def _vector(made: Layout, leaf: str, slope: float = 0.25) -> NamedInitializer:
    if made.layer == "PReLU":
        return constant(slope)
    return ones if leaf.rpartition(".")[2] in _SCALES else zeros


def _torch(made: Layout, leaf: str, shape: tuple[int, ...]) -> tuple[NamedInitializer, Layout]:
    """kaiming_uniform with a = √5, which is U[±1/√n], for kernels and, with their n, biases.

    torch reads the second axis as inputs, which in a transposed convolution are its outputs.
    """
    if made.layer == "Bilinear":
        return fan_in_uniform(fan_in=made.fan_in or shape[1]), made
    if "Transpose" in made.layer:
        fan_in = made.fan_out if made.kind == "bias" else math.prod(shape[1:])
        return fan_in_uniform(fan_in=fan_in), made
    return _equinox(made, leaf, shape)


def _equinox(made: Layout, leaf: str, shape: tuple[int, ...]) -> tuple[NamedInitializer, Layout]:
    """U[±1/√n] for kernels and biases, recurrent cells with n = hidden; embeddings N(0, 1)."""
    if made.kind == "vector":
        if leaf.endswith(("bias_k", "bias_v")):  # glorot_normal of (1, 1, features)
            return normal(1 / math.sqrt(shape[-1])), made
        return _vector(made, leaf), made
    if made.layer == "NonDynamicallyQuantizableLinear" and made.kind == "bias":
        return zeros, made  # the output projection of attention
    if made.layer in ("MultiheadAttention", "Transformer"):
        bias = made.kind == "bias"
        return (zeros if bias else glorot_uniform()), (made if bias else _whole(made))
    if made.kind == "embedding":
        return normal(1.0), made
    if made.layer in _GATED:
        hidden = made.fan_out
        if made.kind != "bias":
            # A projection (torch's proj_size) has hidden inputs, every other kernel hidden outputs.
            hidden = shape[0] // len(made.fused) if made.fused else shape[1]
        return fan_in_uniform(fan_in=hidden), made
    if made.strides > 1 and made.fan_in is not None:
        # The host's fan is the layer's whole window, whatever the strides skip of it.
        made = replace(made, fan_in=made.fan_in * made.strides)
    if made.kind == "bias":
        return fan_in_uniform(fan_in=made.fan_in), made
    return fan_in_uniform(), made


def _keras(made: Layout, leaf: str, shape: tuple[int, ...]) -> tuple[NamedInitializer, Layout]:
    """glorot_uniform kernels, orthogonal recurrent kernels, zero biases, forget gates at 1."""
    if made.layer == "AdditiveAttention":  # glorot_uniform of one axis, its in and its out
        bound = math.sqrt(3 / shape[0])
        return uniform_range(-bound, bound), made
    if made.kind == "vector":
        return _vector(made, leaf.rpartition("/")[2]), made
    if made.kind == "bias":
        if made.layer in ("LSTMCell", "ConvLSTMCell"):
            hidden = shape[0] // 4
            return constant(np.repeat([0.0, 1.0, 0.0, 0.0], hidden)), made
        return zeros, made
    if made.kind == "embedding":
        return uniform_range(-0.05, 0.05), made
    whole = Layout(made.kind, made.layer)
    if made.kind == "recurrent":
        return orthogonal(), whole
    # But for EinsumDense, Keras reads the last two axes as in and out, whatever the layer does.
    return glorot_uniform(), made if made.layer == "EinsumDense" else whole


def _flax(made: Layout, leaf: str, shape: tuple[int, ...]) -> tuple[NamedInitializer, Layout]:
    """lecun_normal kernels, orthogonal recurrent kernels, zero biases (1 at a MGU cell's gate)."""
    if made.kind == "vector":
        return _vector(made, leaf.rpartition("/")[2], slope=0.01), made
    if made.kind == "bias":
        return (ones if made.layer == "MGUCell.if" else zeros), made
    if made.layer == "Einsum":
        return lecun_normal(), Layout(made.kind, made.layer)
    if made.kind == "embedding":
        return variance_scaling(1.0, "fan_in", "normal", fan_in=shape[-1]), made
    if made.kind == "recurrent":
        return orthogonal(), _whole(made)
    flat = len(made.in_axes) > 1 or len(made.out_axes) > 1 or made.batch_axes
    if flat:
        outputs = math.prod(shape[axis] for axis in made.out_axes)
        return lecun_normal(fan_in=math.prod(shape) // outputs), made
    return lecun_normal(), Layout(made.kind, made.layer)


def _haiku(made: Layout, leaf: str, shape: tuple[int, ...]) -> tuple[NamedInitializer, Layout]:
    """Truncated normal whose *parent* has σ = 1/√n (so the draw has 0.88/√n), zero biases."""
    if made.kind == "vector":
        return _vector(made, leaf.rpartition("/")[2]), made
    if made.kind == "bias":
        return zeros, made
    if made.layer == "VectorQuantizer":
        return variance_scaling(1.0, "fan_in", "uniform", fan_in=shape[0]), made
    if made.kind == "embedding":
        return truncated_normal(1.0), made
    if made.layer == "GRU":
        return variance_scaling(1.0, "fan_in", "truncated_normal"), _whole(made)
    return truncated_normal(1 / math.sqrt(_haiku_fan(made, shape))), made


def _haiku_fan(made: Layout, shape: tuple[int, ...]) -> int:
    """Taps × the in axis, as the shape has it; strides are not counted."""
    (axis,) = made.in_axes
    return math.prod(shape[:-2]) * shape[axis]


def _whole(made: Layout) -> Layout:
    """The same axes with nothing packed: hosts draw gates and q, k, v as one kernel."""
    return Layout(made.kind, made.layer, made.in_axes, made.out_axes)


_PRESETS: dict[str, Rule] = {
    "torch": _torch,
    "keras": _keras,
    "flax": _flax,
    "haiku": _haiku,
    "equinox": _equinox,
}
