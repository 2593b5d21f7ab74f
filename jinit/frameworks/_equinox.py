"""Describes Equinox: layers are nodes of the module, which is the parameter tree itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.frameworks import _equinox_functions, _torch
from jinit.frameworks._common import (
    comes_from,
    entry_of,
    equal_blocks,
    layer_name,
    only_value,
    path,
    rescaled_by,
    stacked,
    strided,
    vector,
)
from jinit.frameworks._conventions import Conventions
from jinit.frameworks._framework import Framework, Opening
from jinit.frameworks._layout import Layout, bias_of
from jinit.frameworks._paths import KeyPath, path_of
from jinit.frameworks._statistics import Statistics
from jinit.frameworks._taps import Opened, Tap, Taps, owner_of, owners_of
from jinit.initializers import NamedInitializer
from jinit.models import Model
from jinit.train import StatefulApply
from jinit.typing import Array, Key, ModelLike, PyTree

if TYPE_CHECKING:
    import equinox as eqx

CONVENTIONS = Conventions(
    kernel=(1, 0),
    transposed=(1, 0),
    channels_last=False,
    depthwise=False,
    kernels=("weight",),
    # The indices of BatchNorm's state.
    statistics=Statistics(
        inside={"ema_state_index": {}, "batch_state_index": {}, "ema_first_time_index": {}}
    ),
)
_layout = CONVENTIONS.layout


def recognize(model: ModelLike) -> bool:
    """True for an Equinox module."""
    return comes_from(model, "equinox", "Module")


def shapes(model: eqx.Module, *inputs: PyTree) -> PyTree:
    """The module with all but its floating-point parameters replaced by None."""
    import equinox as eqx

    def is_state(node: PyTree) -> bool:
        return comes_from(node, "equinox", "StateIndex")

    # Running statistics are state, not parameters.
    chosen = jax.tree.map(
        lambda node: not is_state(node) and _is_parameter(node), model, is_leaf=is_state
    )
    return eqx.filter(model, chosen)


def _is_parameter(node: PyTree) -> bool:
    """Whether a leaf is a floating-point array, or the shape of one in an abstract model."""
    import equinox as eqx

    is_shape = isinstance(node, jax.ShapeDtypeStruct)
    return eqx.is_inexact_array(node) or (is_shape and jnp.issubdtype(node.dtype, jnp.inexact))


def layers(model: eqx.Module, *inputs: PyTree) -> dict[str, Layout]:
    """Leaf path → layout of every layer in the module; ``inputs`` are unused."""

    def is_layer(node: PyTree) -> bool:
        return entry_of(node, "equinox", _LAYERS) is not None

    for node in jax.tree.leaves(model, is_leaf=lambda node: comes_from(node, "equinox", "Shared")):
        if comes_from(node, "equinox", "Shared"):
            raise errors.refusal(
                "model",
                "equinox.nn.Shared",
                "layers with arrays of their own",
                "keep the array once and use it twice in __call__",
            )

    def is_described(node: PyTree) -> bool:
        return is_layer(node) or comes_from(node, "equinox", "WeightNorm", "SpectralNorm")

    layouts: dict[str, Layout] = {}
    for place, node in jax.tree_util.tree_leaves_with_path(model, is_leaf=is_described):
        describe = entry_of(node, "equinox", _LAYERS)
        stem = path_of(place)
        if describe is not None:
            layouts |= {path(stem, name): layout for name, layout in describe(node).items()}
        elif is_described(node):
            inner = {path("layer", name): layout for name, layout in layers(node.layer).items()}
            layouts |= {
                path(stem, name): replace(layout, of=path(stem, layout.of)) if layout.of else layout
                for name, layout in (inner | _normalized(node, inner)).items()
            }
    return layouts


def _normalized(node: ModelLike, inner: Mapping[str, Layout]) -> dict[str, Layout]:
    """The layouts that a weight norm or a spectral norm adds to those of its inner layer."""
    kernel, name = path("layer", node.weight_name), layer_name(node, "equinox")
    if comes_from(node, "equinox", "WeightNorm"):
        scale, shape = node.g.shape, getattr(node.layer, node.weight_name).shape
        # Both have the same axes, also those of filter_vmap; the summed ones have size 1 in g.
        kept = tuple(axis for axis, size in enumerate(scale) if size > 1)
        if len(scale) == len(shape) and all(scale[axis] == shape[axis] for axis in kept):
            return {"g": Layout("norm", name, in_axes=(), out_axes=kept, of=kernel)}
        return {"g": vector(name), kernel: rescaled_by(name, inner.get(kernel))}
    return {kernel: rescaled_by(name, inner.get(kernel))}


def _cell(count: int) -> Callable[[ModelLike], dict[str, Layout]]:
    """The function that returns the layouts of a recurrent cell with ``count`` gates."""

    def describe(node: ModelLike) -> dict[str, Layout]:
        if node.weight_ih.ndim != 2:
            return {}
        fused = equal_blocks(node.weight_ih.shape[0], count)
        inputs = replace(_layout("dense"), layer=layer_name(node, "equinox"), fused=fused)
        hidden = replace(inputs, kind="recurrent")
        bias = bias_of(hidden, node.weight_hh.shape)
        return {"weight_ih": inputs, "weight_hh": hidden, "bias": bias, "bias_n": bias}

    return describe


def _embedding(node: ModelLike) -> dict[str, Layout]:
    lifted = _lifted(node, _layout("embedding"), (node.num_embeddings, node.embedding_size))
    return {} if lifted is None else {"weight": lifted}


def _linear(node: ModelLike) -> dict[str, Layout]:
    own = (_size(node.out_features), _size(node.in_features))
    return _with_bias(node, _lifted(node, _layout("dense"), own))


def _conv(node: ModelLike) -> dict[str, Layout]:
    kernel = _layout(f"conv(groups={node.groups})")
    return _with_bias(node, _lifted(node, kernel, _taps(node)))


def _conv_transpose(node: ModelLike) -> dict[str, Layout]:
    kernel = _layout(f"transposed(groups={node.groups})")
    lifted = _lifted(node, kernel, _taps(node))
    if lifted is not None:
        lifted = strided(lifted, node.weight.shape, node.stride)
    return _with_bias(node, lifted)


def _vectors(node: ModelLike) -> dict[str, Layout]:
    name = layer_name(node, "equinox")
    return {leaf: vector(name) for leaf in ("weight", "bias")}


def _slope(node: ModelLike) -> dict[str, Layout]:
    # The layer keeps no option but the slope itself.
    start = only_value(node.negative_slope)
    return {} if start is None else {"negative_slope": replace(vector("PReLU"), start=start)}


def _lifted(node: ModelLike, layout: Layout, own: tuple[int, ...]) -> Layout | None:
    """The layout of a weight that ``filter_vmap`` may have stacked; ``own`` is one layer's shape.

    None if the sizes do not show the axis of the stack.
    """
    named, shape = replace(layout, layer=layer_name(node, "equinox")), tuple(node.weight.shape)
    return stacked(named, len(own), shape, own if len(shape) > len(own) else None)


def _size(features: int | str) -> int:
    return 1 if features == "scalar" else cast(int, features)


def _taps(node: ModelLike) -> tuple[int, ...]:
    return (node.out_channels, node.in_channels // node.groups, *node.kernel_size)


def _with_bias(node: ModelLike, kernel: Layout | None) -> dict[str, Layout]:
    if kernel is None:
        return {}
    return {"weight": kernel, "bias": bias_of(kernel, node.weight.shape)}


# Layer class → the layouts of its leaves, by leaf name.
_LAYERS: dict[str, Callable[[ModelLike], dict[str, Layout]]] = {
    "Linear": _linear,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Embedding": _embedding,
    "GRUCell": _cell(3),
    "LSTMCell": _cell(4),
    "LayerNorm": _vectors,
    "GroupNorm": _vectors,
    "RMSNorm": _vectors,
    "BatchNorm": _vectors,
    "PReLU": _slope,
}


def open_layers(
    model: eqx.Module, x: Array, keywords: Mapping[str, PyTree] = MappingProxyType({})
) -> Opening:
    """Wraps each layer of a copy in a module that taps its output; the model takes one example."""
    import equinox as eqx

    params, static = eqx.partition(model, eqx.is_inexact_array)
    places = _places(params)

    def apply(params: PyTree, x: Array, tap: Tap) -> Array:
        return _tapped(eqx.combine(params, static), places, tap)(x, **keywords)

    return Opening(params, apply, batched=False, layouts=layers(model))


def open_in_training(model: Model, state: PyTree, x: Array, key: Key) -> Opening:
    """Taps each layer of a module with state, noise or modes, in training mode."""
    import equinox as eqx

    params = model.shapes(x)
    places = _places(params)
    call = cast(_equinox_functions._Call, cast(StatefulApply, model.apply).train)

    def apply(params: PyTree, example: PyTree, tap: Tap) -> Array:
        module = _tapped(eqx.combine(params, call.static.tree), places, tap)
        return call.one(module, jax.tree.unflatten(call.tree, state), *example)[0]

    def over(opened: Opened) -> Opened:
        def batched(params: PyTree, x: Array, taps: Taps | None) -> tuple[Array, Taps]:
            keys, axes = call.keys(key, x)

            def one(x: Array, key: Key | None, taps: Taps | None) -> tuple[Array, Taps]:
                return opened(params, cast(Array, (x, key)), taps)  # apply takes both

            return jax.vmap(one, in_axes=(0, axes, 0), axis_name=call.axis_name)(x, keys, taps)

        return batched

    return Opening(params, apply, over=over)


def _places(params: PyTree) -> dict[str, KeyPath]:
    """Layer → its place in the tree, for the layers with a kernel."""
    owners = owners_of(params)
    return {
        owner_of(path): path[:-1]
        for path, _ in jax.tree.leaves_with_path(params)
        if owner_of(path) in owners
    }


def _tapped(model: ModelLike, places: Mapping[str, KeyPath], tap: Tap) -> ModelLike:
    """A copy of the module whose layers pass their outputs through the tap."""
    import equinox as eqx

    class Tapped(eqx.Module):
        """A layer whose output goes through the tap."""

        layer: Callable[..., PyTree]
        tap: Callable[[PyTree], PyTree] = eqx.field(static=True)

        def __call__(self, *args: PyTree, **kwargs: PyTree) -> PyTree:
            return self.tap(self.layer(*args, **kwargs))

        def __getattr__(self, name: str) -> PyTree:
            return getattr(self.layer, name)

    for name, place in places.items():
        wrapped = Tapped(_at(model, place), functools.partial(tap, name))
        model = eqx.tree_at(functools.partial(_at, path=place), model, wrapped)
    return model


def _at(node: PyTree, path: KeyPath) -> PyTree:
    """The node at a path of JAX's tree keys."""
    for key in path:
        if hasattr(key, "name"):
            node = getattr(node, key.name)
        else:
            node = node[key.idx if hasattr(key, "idx") else key.key]
    return node


def defaults(layout: Layout, leaf: str, shape: tuple[int, ...]) -> tuple[NamedInitializer, Layout]:
    """torch's defaults, but transposed convolutions have n = fan_in, strides not counted."""
    return _torch.fan_in_defaults(layout, leaf, shape)


def functions(model: eqx.Module, x: Array, state: eqx.nn.State | None = None) -> Model:
    """The module as pure functions of a batch."""
    return _equinox_functions.functions(model, shapes(model), x, state)


EQUINOX = Framework(
    name="equinox",
    host="equinox",
    recognize=recognize,
    conventions=CONVENTIONS,
    shapes=shapes,
    layers=layers,
    functions=functions,
    open=open_layers,
    open_in_training=open_in_training,
    defaults=defaults,
    classes=tuple(_LAYERS),
    weights="eqx.filter(model, eqx.is_array)",
)
