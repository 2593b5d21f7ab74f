"""Describes Haiku: layers are recorded while the transformed function is initialized abstractly."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, cast

from jinit import errors, initializers
from jinit.frameworks import _common
from jinit.frameworks._common import (
    comes_from,
    equal_blocks,
    path,
    run_abstractly,
    stacked,
    strided,
    vector,
)
from jinit.frameworks._conventions import Conventions
from jinit.frameworks._framework import Framework, Opening
from jinit.frameworks._haiku_functions import functions
from jinit.frameworks._layout import Layout, bias_of
from jinit.frameworks._statistics import Statistics
from jinit.frameworks._taps import Tap, owners_of
from jinit.initializers import NamedInitializer, truncated_normal, variance_scaling, zeros
from jinit.initializers._base import checked_draw
from jinit.models import Model
from jinit.train import StatefulApply
from jinit.typing import Array, DType, Initializer, Key, ModelLike, PyTree, Shape

if TYPE_CHECKING:
    import haiku as hk

CONVENTIONS = Conventions(
    transposed=(-1, -2),
    depthwise=False,
    kernels=("w",),
    leaves={"embeddings": "embedding"},
    # hk.ExponentialMovingAverage starts each average at 0, also that of a variance.
    statistics=Statistics(inside={"mean_ema": {}, "var_ema": {}}),
)
_layout = CONVENTIONS.layout


def recognize(model: ModelLike) -> bool:
    """True for a ``Transformed`` or a ``TransformedWithState``."""
    return comes_from(model, "haiku", "Transformed", "TransformedWithState")


def shapes(
    model: hk.Transformed | hk.TransformedWithState,
    *inputs: PyTree,
    keywords: Mapping[str, PyTree] = MappingProxyType({}),
) -> PyTree:
    """The parameter dictionary as ``jax.ShapeDtypeStruct``."""
    variables = run_abstractly(model.init, inputs, keywords)
    return variables[0] if comes_from(model, "haiku", "TransformedWithState") else variables


def layers(
    model: hk.Transformed | hk.TransformedWithState,
    *inputs: PyTree,
    keywords: Mapping[str, PyTree] = MappingProxyType({}),
) -> dict[str, Layout]:
    """Leaf path → layout of every layer that runs on these inputs."""
    import haiku as hk

    seen: dict[str, hk.Module] = {}

    def record(
        call: Callable[..., PyTree],
        args: tuple[PyTree, ...],
        kwargs: dict[str, PyTree],
        context: hk.MethodContext,
    ) -> PyTree:
        if context.method_name == "__call__":
            seen[context.module.module_name] = context.module
        return call(*args, **kwargs)

    with hk.intercept_methods(record):
        tree = shapes(model, *inputs, keywords=keywords)
    layouts: dict[str, Layout] = {}
    for place, leaves in tree.items():
        # Inside layer_stack a module's name lacks the enclosing scopes.
        names = [name for name in seen if place == name or place.endswith(f"/{name}")]
        if not names:
            continue
        own = max(names, key=len)
        cell = seen.get(own.rpartition("/")[0]) if "/" in own else None
        for name, layout in _describe(seen[own], leaves, cell).items():
            layouts[path(place, name)] = layout
    return layouts


def _describe(
    module: ModelLike, leaves: Mapping[str, Array], parent: ModelLike | None
) -> dict[str, Layout]:
    """Layouts of the leaves of one layer, by leaf name."""
    name = _common.layer_name(module, "haiku")
    describe_leaves = _common.entry_of(module, "haiku", _LAYERS)
    if describe_leaves is not None:
        return describe_leaves(name, leaves)
    vectors = _common.entry_of(module, "haiku", _VECTORS) or ()
    kernel = _common.entry_of(module, "haiku", _KERNELS)
    if kernel is None or "w" not in leaves:
        return {leaf: vector(name) for leaf in vectors if leaf in leaves}
    shape = tuple(leaves["w"].shape)
    layout = kernel(module, shape, parent)
    own_rank = 2 + len(getattr(module, "kernel_shape", ()))
    lifted = stacked(replace(layout, layer=name), own_rank, shape)
    if lifted is None:
        return {}
    if comes_from(module, "haiku", "ConvNDTranspose"):
        lifted = strided(lifted, shape, module.stride)
    return {"w": lifted, "b": bias_of(lifted, shape)}


def _embed(name: str, leaves: Mapping[str, Array]) -> dict[str, Layout]:
    if "embeddings" not in leaves:
        return {}
    lifted = stacked(replace(_layout("embedding"), layer=name), 2, leaves["embeddings"].shape)
    return {} if lifted is None else {"embeddings": lifted}


def _vector_quantizer(name: str, leaves: Mapping[str, Array]) -> dict[str, Layout]:
    # (features, codes)
    return {"embeddings": Layout("embedding", name, (1,), (0,), fan_in=1.0)}


def _gru(name: str, leaves: Mapping[str, Array]) -> dict[str, Layout]:
    shape, of_hidden = tuple(leaves["w_i"].shape), tuple(leaves["w_h"].shape)
    inputs = stacked(_gates("kernel", name, shape, 3), 2, shape)
    hidden = stacked(_gates("recurrent", name, of_hidden, 3), 2, of_hidden)
    if inputs is None or hidden is None:
        return {}
    return {"w_i": inputs, "w_h": hidden, "b": bias_of(inputs, shape)}


_AFFINE = ("scale", "offset")
# Layer class → its leaves that have no fans.
_VECTORS = {
    "LayerNorm": _AFFINE,
    "RMSNorm": _AFFINE,
    "GroupNorm": _AFFINE,
    "BatchNorm": _AFFINE,
    "Bias": ("b",),
}
# Layer class → the layouts of its leaves, for layers whose kernel is not called w.
_LAYERS: dict[str, Callable[[str, Mapping[str, Array]], dict[str, Layout]]] = {
    "Embed": _embed,
    "VectorQuantizer": _vector_quantizer,
    "GRU": _gru,
}


def _linear(module: ModelLike, shape: tuple[int, ...], parent: ModelLike | None) -> Layout:
    layout = _layout("dense")
    if comes_from(parent, "haiku", "LSTM"):
        layout = _gates("kernel", "LSTM", shape, 4)
    if module.name == "hidden_to_hidden" and comes_from(parent, "haiku", "VanillaRNN"):
        layout = replace(layout, kind="recurrent")
    return layout


def _conv(module: ModelLike, shape: tuple[int, ...], parent: ModelLike | None) -> Layout:
    layout = _layout(f"conv(groups={module.feature_group_count})")
    if comes_from(parent, "haiku", "ConvNDLSTM"):
        layout = replace(layout, fused=equal_blocks(shape[-1], 4))
        if module.name == "hidden_to_hidden":
            layout = replace(layout, kind="recurrent")
    return layout


def _conv_transpose(module: ModelLike, shape: tuple[int, ...], parent: ModelLike | None) -> Layout:
    return _layout("transposed")


def _depthwise(module: ModelLike, shape: tuple[int, ...], parent: ModelLike | None) -> Layout:
    # (…, 1, channels · multiplier): each output reads one input channel.
    return _layout(f"conv(groups={shape[-1] // module.channel_multiplier})")


# Layer class → the layout of its kernel w, given w's shape and the enclosing module.
_KERNELS: dict[str, Callable[[ModelLike, tuple[int, ...], ModelLike | None], Layout]] = {
    "Linear": _linear,
    "ConvND": _conv,
    "ConvNDTranspose": _conv_transpose,
    "DepthwiseConv1D": _depthwise,
    "DepthwiseConv2D": _depthwise,
    "DepthwiseConv3D": _depthwise,
}


def _gates(
    kind: Literal["kernel", "recurrent"], layer: str, shape: tuple[int, ...], count: int
) -> Layout:
    """A dense kernel whose out axis packs ``count`` gates."""
    return replace(_layout("dense"), kind=kind, layer=layer, fused=equal_blocks(shape[-1], count))


def open_layers(
    model: hk.Transformed, x: Array, keywords: Mapping[str, PyTree] = MappingProxyType({})
) -> Opening:
    """Taps each layer by intercepting its calls; the model runs without a PRNG key."""
    import haiku as hk

    if comes_from(model, "haiku", "TransformedWithState"):
        raise errors.wrong_type(
            "model",
            "a TransformedWithState",
            "a Transformed, or apply(params, x, tap)",
            "wrap it in an apply(params, x, tap) with a fixed state",
        )
    params = run_abstractly(model.init, [x], keywords)
    owners = owners_of(params, CONVENTIONS.vectors)
    # `without_apply_rng` removes the key from apply's parameters.
    key = (None,) if list(inspect.signature(model.apply).parameters)[1:2] == ["rng"] else ()

    def apply(params: PyTree, x: Array, tap: Tap) -> Array:
        with hk.intercept_methods(_tapping(owners, tap)):
            return model.apply(params, *key, x, **keywords)

    return Opening(params, apply, layouts=layers(model, x, keywords=keywords))


def open_in_training(model: Model, state: PyTree, x: Array, key: Key) -> Opening:
    """Taps each layer of a transform with state, noise or modes, in training mode."""
    import haiku as hk

    params = model.shapes(x)
    # The scales of hk.BatchNorm have an axis for each axis of the inputs.
    owners = owners_of(params, CONVENTIONS.vectors)
    train = cast(StatefulApply, model.apply).train

    def apply(params: PyTree, x: Array, tap: Tap) -> Array:
        with hk.intercept_methods(_tapping(owners, tap)):
            return train(params, state, x, key)[0]

    return Opening(params, apply)


def _tapping(owners: set[str], tap: Tap) -> Callable[..., PyTree]:
    """An interceptor that passes the output of each layer with a kernel through the tap."""

    def interceptor(
        call: Callable[..., PyTree],
        args: tuple[PyTree, ...],
        kwargs: dict[str, PyTree],
        context: hk.MethodContext,
    ) -> PyTree:
        out, name = call(*args, **kwargs), context.module.module_name
        return tap(name, out) if context.method_name == "__call__" and name in owners else out

    return interceptor


def defaults(layout: Layout, leaf: str, shape: tuple[int, ...]) -> tuple[NamedInitializer, Layout]:
    """N(0, 1/n) truncated at ±2/√n, so that σ is 0.88/√n, with n = fan_in; zero biases."""
    if layout.kind == "vector":
        return _common.vector_default(layout, leaf.rpartition("/")[2]), layout
    if layout.kind == "bias":
        return zeros, layout
    if layout.layer == "VectorQuantizer":
        return variance_scaling(1.0, "fan_in", "uniform", fan_in=shape[0]), layout
    if layout.kind == "embedding":
        return truncated_normal(1.0), layout
    if layout.layer == "GRU":
        draw = variance_scaling(1.0, "fan_in", "truncated_normal")
        return draw, _common.as_one_kernel(layout)
    # All sizes but those of the out axes; strides are not counted.
    fans = _common.unstrided(layout).fans(shape)
    return truncated_normal(1 / math.sqrt(fans.fan_in) if fans else 1.0), layout


def haiku(initializer: str | Initializer) -> Callable[[Shape, DType], Array]:
    """A Haiku initializer that draws with jinit, for ``w_init=``; the key is ``hk.next_rng_key()``.

    Args:
      initializer: a spec string or any ``init(key, shape, dtype)``.

    Returns:
      ``init(shape, dtype) -> array``, to be called inside ``hk.transform``. It refuses what a
      function of your own returns in another shape or dtype, or with NaN if it is not traced.

    Raises:
      ValueError: an unknown name.

    >>> import jax, pytest
    >>> hk = pytest.importorskip("haiku")
    >>> model = hk.transform(lambda x: hk.Linear(3, w_init=haiku("zeros"))(x))
    >>> float(abs(model.init(jax.random.key(0), jax.numpy.ones((1, 2)))["linear"]["w"]).sum())
    0.0
    """
    draw = initializers.get(initializer)

    def init(shape: Shape, dtype: DType) -> Array:
        import haiku as hk

        return checked_draw(draw, hk.next_rng_key(), shape, dtype)

    return init


HAIKU = Framework(
    name="haiku",
    host="haiku",
    recognize=recognize,
    conventions=CONVENTIONS,
    shapes=shapes,
    layers=layers,
    functions=functions,
    open=open_layers,
    open_in_training=open_in_training,
    defaults=defaults,
    needs_inputs=True,
    classes=(*_LAYERS, *_KERNELS),
    weights="model.init(key, x)",
)
