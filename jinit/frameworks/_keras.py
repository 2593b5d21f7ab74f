"""Describes Keras: layers are objects, and the parameter tree is a dictionary by variable path."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import jax
import numpy as np

from jinit import errors, initializers
from jinit.frameworks import _common
from jinit.frameworks._common import comes_from, equal_blocks, strided, vector
from jinit.frameworks._conventions import Conventions
from jinit.frameworks._framework import Framework
from jinit.frameworks._keras_functions import functions
from jinit.frameworks._layout import Layout, bias_of
from jinit.frameworks._statistics import MEAN, VARIANCE, Statistics
from jinit.initializers import (
    NamedInitializer,
    constant,
    glorot_uniform,
    he_uniform,
    orthogonal,
    uniform_range,
    zeros,
)
from jinit.initializers._base import checked_draw
from jinit.typing import Array, DType, Initializer, ModelLike, PyTree, Shape

if TYPE_CHECKING:
    import keras as package

CONVENTIONS = Conventions(
    transposed=(-1, -2),
    kernels=("kernel",),
    leaves={"recurrent_kernel": "recurrent", "embeddings": "embedding"},
    statistics=Statistics({"moving_mean": MEAN, "moving_variance": VARIANCE}),
)
_layout = CONVENTIONS.layout
_Described: TypeAlias = "Iterable[tuple[package.Variable | None, Layout]]"


def recognize(model: ModelLike) -> bool:
    """True for a Keras layer or model."""
    return comes_from(model, "keras", "Layer")


def shapes(model: package.Layer, *inputs: PyTree) -> PyTree:
    """Trainable variables by path, as ``jax.ShapeDtypeStruct``; ``inputs`` are unused."""
    _check_built(model)
    tree: dict[str, jax.ShapeDtypeStruct] = {}
    for variable in model.trainable_variables:
        if variable.path in tree:
            raise errors.refusal(
                f"variable {variable.path!r}",
                "two variables with one path",
                "a path for each variable",
                "give every layer a name of its own: keras.layers.Dense(…, name='second')",
            )
        tree[variable.path] = jax.ShapeDtypeStruct(tuple(variable.shape), variable.dtype)
    return tree


def _check_built(model: package.Layer) -> None:
    """Refuses layers that make their variables in ``build`` and are not built yet."""
    import keras as package

    for node in model._flatten_layers():
        if not node.built and type(node).build is not package.layers.Layer.build:
            raise errors.refusal(
                f"layer {node.name!r}",
                "a layer that is not built and has no variables yet",
                "a model whose layers are built",
                "model.build(input_shape), or call the model once on an example",
            )


def layers(model: package.Layer, *inputs: PyTree) -> dict[str, Layout]:
    """Leaf path → layout of every layer, nested ones too; ``inputs`` are unused."""
    _check_built(model)
    nodes = list(model._flatten_layers())
    layouts = {
        variable.path: layout
        for node in nodes
        for variable, layout in [*_describe(node), *_adapters(node)]
        if variable is not None
    }
    for node in nodes:
        if comes_from(node, "keras", "SpectralNormalization"):
            kernel = node.kernel.path
            layouts[kernel] = _common.rescaled_by(type(node).__name__, layouts.get(kernel))
    return layouts


def _adapters(node: ModelLike) -> _Described:
    """The two factors that ``enable_lora`` adds to a layer."""
    for leaf in ("lora_kernel", "lora_embeddings"):
        first, second = _variable(node, f"{leaf}_a"), _variable(node, f"{leaf}_b")
        if first is not None and second is not None:
            inputs = tuple(range(len(first.shape) - 1))
            of_einsum = comes_from(node, "keras", "EinsumDense")
            down = Layout(in_axes=inputs) if of_einsum else Layout()
            return [(first, replace(down, layer="LoRA.a")), (second, Layout(layer="LoRA.b"))]
    return []


def _describe(node: ModelLike) -> _Described:
    """The variables of one layer with their layouts."""
    name = _common.layer_name(node, "keras")
    describe_leaves = _common.entry_of(node, "keras", _LAYERS)
    if describe_leaves is not None:
        return describe_leaves(node, name)
    describe_kernel, kernel = _common.entry_of(node, "keras", _KERNELS), _variable(node, "kernel")
    if describe_kernel is None or kernel is None:
        # The kernel of a layer with LoRA is a sum of other variables.
        alone = () if describe_kernel is None else ("bias",)
        vectors = _common.entry_of(node, "keras", _VECTORS) or alone
        return [(_variable(node, leaf), vector(name)) for leaf in vectors]
    shape = tuple(kernel.shape)
    layout = replace(describe_kernel(node, shape), layer=name)
    return [(kernel, layout), (_variable(node, "bias"), bias_of(layout, shape))]


def _variable(node: ModelLike, name: str) -> package.Variable | None:
    value = getattr(node, name, None)
    return value if hasattr(value, "path") and hasattr(value, "shape") else None


def _cell(count: int) -> Callable[[ModelLike, str], _Described]:
    """The function that returns the variables of a recurrent cell with ``count`` gates."""

    def describe(node: ModelLike, name: str) -> _Described:
        inputs = Layout(layer=name, fused=equal_blocks(node.kernel.shape[-1], count))
        bias = bias_of(inputs, node.kernel.shape)
        start = None if getattr(node, "unit_forget_bias", True) else 0.0
        return [
            (node.kernel, inputs),
            (node.recurrent_kernel, replace(inputs, kind="recurrent")),
            (_variable(node, "bias"), replace(bias, start=start)),
        ]

    return describe


def _embedding(node: ModelLike, name: str) -> _Described:
    # A ReversibleEmbedding without tied weights has a dense kernel (features, vocabulary), too.
    return [
        (_variable(node, "embeddings"), replace(_layout("embedding"), layer=name)),
        (_variable(node, "reverse_embeddings"), replace(_layout("dense"), layer=name)),
    ]


def _separable(node: ModelLike, name: str) -> _Described:
    point = _layout("conv")
    return [
        (node.depthwise_kernel, replace(_layout("depthwise"), layer=name)),
        (node.pointwise_kernel, replace(point, layer=name)),
        (_variable(node, "bias"), bias_of(point, node.pointwise_kernel.shape)),
    ]


_AFFINE = ("gamma", "beta")
# Layer class → its variables that have no fans.
_VECTORS = {
    "LayerNormalization": _AFFINE,
    "BatchNormalization": _AFFINE,
    "GroupNormalization": _AFFINE,
    "RMSNormalization": ("scale",),
    "Attention": ("scale",),
    "PReLU": ("alpha",),
}
# Layer class → its variables with their layouts, for layers with kernels of other names.
_LAYERS: dict[str, Callable[[ModelLike, str], _Described]] = {
    "LSTMCell": _cell(4),
    "ConvLSTMCell": _cell(4),
    "GRUCell": _cell(3),
    "SimpleRNNCell": _cell(1),
    "Embedding": _embedding,
    "BaseSeparableConv": _separable,
}


def _dense(node: ModelLike, shape: tuple[int, ...]) -> Layout:
    return _layout("dense")


def _einsum_dense(node: ModelLike, shape: tuple[int, ...]) -> Layout:
    return _common.einsum(node.equation)


def _conv(node: ModelLike, shape: tuple[int, ...]) -> Layout:
    return _layout(f"conv(groups={node.groups})")


def _depthwise(node: ModelLike, shape: tuple[int, ...]) -> Layout:
    return _layout("depthwise")


def _conv_transpose(node: ModelLike, shape: tuple[int, ...]) -> Layout:
    return strided(_layout("transposed"), shape, node.strides)


# Layer class → the layout of its variable ``kernel``.
_KERNELS: dict[str, Callable[[ModelLike, tuple[int, ...]], Layout]] = {
    "Dense": _dense,
    "EinsumDense": _einsum_dense,
    "BaseConv": _conv,
    "BaseDepthwiseConv": _depthwise,
    "BaseConvTranspose": _conv_transpose,
}


def defaults(layout: Layout, leaf: str, shape: tuple[int, ...]) -> tuple[NamedInitializer, Layout]:
    """glorot_uniform kernels, orthogonal recurrent kernels, zero biases, forget gates at 1."""
    if layout.layer == "AdditiveAttention":  # glorot_uniform; its one axis is both in and out
        bound = math.sqrt(3 / shape[0])
        return uniform_range(-bound, bound), layout
    if layout.kind == "vector":
        return _common.vector_default(layout, leaf.rpartition("/")[2], slope=0.0), layout
    if layout.kind == "bias":
        if layout.start is None and layout.layer in ("LSTMCell", "ConvLSTMCell"):
            hidden = shape[0] // 4
            return constant(np.repeat([0.0, 1.0, 0.0, 0.0], hidden)), layout
        return zeros, layout
    if layout.kind == "embedding" or layout.layer == "ReversibleEmbedding":
        return uniform_range(-0.05, 0.05), layout
    # Keras reads the last two axes as in and out, except since 3.15 in EinsumDense.
    its_own = layout.layer == "EinsumDense" or layout.layer.startswith("LoRA.")
    last_two = Layout(layout.kind, layout.layer) if its_own else _common.last_two_axes(layout)
    if layout.layer.startswith("LoRA."):
        return (zeros if layout.layer.endswith("b") else he_uniform()), last_two
    if layout.kind == "recurrent":
        return orthogonal(), last_two
    if layout.layer == "EinsumDense" and _passes_axes():
        # Axes that inputs and outputs share, such as experts, count as outputs.
        outputs = math.prod(shape[axis] for axis in (*layout.out_axes, *layout.batch_axes))
        bound = math.sqrt(6 / (math.prod(shape[axis] for axis in layout.in_axes) + outputs))
        return uniform_range(-bound, bound), layout
    return glorot_uniform(), last_two


@functools.cache
def _passes_axes() -> bool:
    """Whether the installed Keras tells initializers which axes are in and out: since 3.15."""
    try:
        import keras as package
    except ImportError:
        return True
    return "input_axes" in inspect.signature(package.initializers.VarianceScaling).parameters


def keras(
    initializer: str | Initializer, *, seed: int | None = None
) -> package.initializers.Initializer:
    """A Keras initializer that draws with jinit, for ``kernel_initializer=``.

    Two layers that share one of Keras' own initializer objects get equal weights. This initializer
    takes a new seed from a ``keras.random.SeedGenerator`` at every call, so no two layers get equal
    weights; with ``seed=`` the sequence of calls is reproducible. Models that use it can be cloned
    and saved. Call this function once before you load a saved model.

    Keras passes an initializer the shape alone, so fans are those of the last two axes: write
    ``"he_normal(fan_in=9)"`` for a 3 × 3 ``DepthwiseConv2D``, or draw the whole model with
    :func:`jinit.initialize`. Only ``EinsumDense``, and so attention, passes its axes, since Keras
    3.15 and to named initializers; axes that inputs and outputs share then count as outputs.

    Args:
      initializer: a spec string or any ``init(key, shape, dtype)``.
      seed: the generator's seed, ``0 ≤ seed < 2**32``; with None Keras draws one.

    Returns:
      A ``keras.initializers.Initializer``. It refuses what a function of your own returns in
      another shape or dtype, or with NaN.

    Raises:
      ValueError: an unknown name, a bad seed.
      MissingExtraError: Keras is not installed.

    >>> import pytest
    >>> k = pytest.importorskip("keras")
    >>> shared = keras("he_normal", seed=0)
    >>> bool((shared((4, 3)) == shared((4, 3))).all())
    False
    """
    try:
        import keras as package  # noqa: F401
    except ImportError:
        raise errors.missing_extra("keras", None, "frameworks.keras") from None
    if seed is not None:
        errors.check_seed(seed, limit=errors.SEED_LIMIT)
    draw = initializers.get(initializer)
    return _keras_class(isinstance(draw, NamedInitializer) and _passes_axes())(draw, seed)


@functools.cache
def _keras_class(takes_axes: bool) -> Callable[..., package.initializers.Initializer]:
    """The class of jinit's Keras initializers, defined once, when Keras is first needed.

    ``EinsumDense`` passes its axes only to instances of ``VarianceScaling``.
    """
    import keras as package

    kinds = package.initializers
    base = kinds.VarianceScaling if takes_axes else kinds.Initializer

    class Initializer(base):  # type: ignore[misc, valid-type]
        """Draws with jinit; ``from_config`` returns an initializer with a new seed."""

        def __init__(
            self,
            spec: str | NamedInitializer,
            seed: int | package.random.SeedGenerator | None = None,
            input_axes: list[int] | None = None,
            output_axes: list[int] | None = None,
        ) -> None:
            self.draw = initializers.get(spec)
            generator = package.random.SeedGenerator
            self.generator = seed if isinstance(seed, generator) else generator(seed)  # type: ignore[no-untyped-call]
            # Keras passes ``seed`` and the axes to the copy that draws an EinsumDense kernel.
            self.seed, self.input_axes, self.output_axes = self.generator, input_axes, output_axes

        def __call__(self, shape: Shape, dtype: DType = None) -> Array:
            words = jax.numpy.asarray(self.generator.next(), jax.numpy.uint32)
            name = package.backend.standardize_dtype(dtype)
            key, draw = jax.random.wrap_key_data(words), self.draw
            if self.input_axes is None or self.output_axes is None:
                drawn = checked_draw(draw, key, shape, name)
                return package.ops.convert_to_tensor(drawn)
            kernel = Layout(in_axes=tuple(self.input_axes), out_axes=tuple(self.output_axes))
            return package.ops.convert_to_tensor(kernel.draw(draw, key, tuple(shape), name))

        def clone(self) -> Initializer:
            # Keras gives each layer a clone, which would start again from the same seed.
            return self

        def get_config(self) -> dict[str, str]:
            if not isinstance(self.draw, NamedInitializer):
                raise errors.wrong_type(
                    "initializer",
                    self.draw,
                    "a registered initializer",
                    "register it before saving",
                )
            return {"spec": str(self.draw)}

    if takes_axes == _passes_axes():  # the class of named initializers, which alone are saved
        package.saving.register_keras_serializable("jinit", "Initializer")(Initializer)
    return Initializer


KERAS = Framework(
    name="keras",
    host="keras",
    recognize=recognize,
    conventions=CONVENTIONS,
    shapes=shapes,
    layers=layers,
    functions=functions,
    open=None,  # calls of a layer cannot be intercepted
    defaults=defaults,
    classes=(*_LAYERS, *_KERNELS),
    weights="{variable.path: variable.numpy() for variable in model.variables}",
)
