"""Describes Flax nnx: layers are objects in the module's graph."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import jax

from jinit import errors
from jinit.frameworks import _linen
from jinit.frameworks._common import (
    comes_from,
    entry_of,
    equal_blocks,
    path,
    rescaled_by,
    stacked,
)
from jinit.frameworks._framework import Framework, Opening
from jinit.frameworks._layout import Layout, bias_of
from jinit.frameworks._nnx_functions import _Run, functions
from jinit.frameworks._paths import path_of
from jinit.frameworks._taps import Tap, owners_of
from jinit.models import Model
from jinit.train import StatefulApply
from jinit.typing import Array, Key, ModelLike, PyTree

if TYPE_CHECKING:
    from flax import nnx

# Cells whose dense layers pack gates along the out axis → (input layer, recurrent layer, gates).
_PACKED_CELLS = {
    "OptimizedLSTMCell": ("dense_i", "dense_h", 4),
    "GRUCell": ("dense_i", "dense_h", 3),
}
# Cells with one dense layer per gate → the prefix of their recurrent layers' names.
_PLAIN_CELLS = {"LSTMCell": "h", "SimpleCell": "dense_h"}
# Layers that know the sizes of their kernel, or of their embedding.
_SIZED = ("Linear", "LinearGeneral", "Conv", "ConvTranspose", "Einsum", "Embed")
_TAP = "_jinit_tap"


def recognize(model: ModelLike) -> bool:
    """True for an nnx module."""
    return comes_from(model, "flax.nnx", "Module")


def variables(tree: PyTree, name: str) -> set[str]:
    """Paths of the variables of a class in a tree: ``"BatchStat"``, or ``"RngState"``."""

    def kind(node: PyTree) -> type:
        if comes_from(node, "flax.nnx", "Variable"):
            return type(node)
        return getattr(node, "type", type(node))  # flax's VariableState names its variable's class

    def is_variable(node: PyTree) -> bool:
        return comes_from(node, "flax.nnx", "Variable", "VariableState")

    return {
        path_of(path)
        for path, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_variable)
        if is_variable(node) and any(base.__name__ == name for base in kind(node).__mro__)
    }


def shapes(model: nnx.Module, *inputs: PyTree) -> PyTree:
    """``nnx.state(model, nnx.Param)`` as ``jax.ShapeDtypeStruct``; ``inputs`` are unused."""
    from flax import nnx

    def abstract(leaf: Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)

    return jax.tree.map(abstract, nnx.state(model, nnx.Param))


def layers(model: nnx.Module, *inputs: PyTree) -> dict[str, Layout]:
    """Leaf path → layout of every layer in the graph; ``inputs`` are unused."""
    from flax import nnx

    modules = {place: node for place, node in nnx.iter_graph(model) if isinstance(node, nnx.Module)}
    layouts: dict[str, Layout] = {}
    for place, module in modules.items():
        leaves = {
            name: leaf
            for name, leaf in vars(module).items()
            if isinstance(leaf, nnx.Param) and leaf.shape is not None
        }
        described = _described(module, leaves)
        if place and "kernel" in described:
            shape = tuple(leaves["kernel"].shape)
            described |= _in_cell(modules.get(place[:-1]), str(place[-1]), described, shape)
        layouts |= {path(*map(str, place), name): layout for name, layout in described.items()}
    for place, module in modules.items():
        if comes_from(module, "flax.nnx", "WeightNorm", "SpectralNorm"):
            # The scales of nnx.WeightNorm are not parameters.
            inner = nnx.state(vars(module)["layer_instance"], nnx.Param)
            for name, leaf in nnx.to_flat_state(inner):
                kernel = path(*map(str, place), "layer_instance", *map(str, name))
                by_filter = getattr(module, "variable_filter", lambda name, leaf: True)
                known = layouts.get(kernel)
                is_matrix = leaf.ndim > 1 if known is None else known.is_cut
                if is_matrix and by_filter(name, leaf):
                    layouts[kernel] = rescaled_by(type(module).__name__, known)
    return layouts


def _described(module: ModelLike, leaves: Mapping[str, nnx.Param[Array]]) -> dict[str, Layout]:
    """Layouts of the leaves of one layer, which vmap and scan may have stacked along any axis."""
    name = "embedding" if comes_from(module, "flax.nnx", "Embed") else "kernel"
    own, shape = _own_shape(module), tuple(leaves[name].shape) if name in leaves else ()
    if own is None or len(shape) <= len(own):
        return _linen.describe(module, leaves)
    # Only the shape is read.
    one = cast("nnx.Param[Array]", jax.ShapeDtypeStruct(own, leaves[name].dtype))
    described = _linen.describe(module, {**leaves, name: one})
    layout = described.pop(name, None)
    lifted = None if layout is None else stacked(layout, len(own), shape, own)
    if lifted is None:
        # The bias has the fans of the kernel.
        return {leaf: kept for leaf, kept in described.items() if kept.kind != "bias"}
    bias = {"bias": bias_of(lifted, shape)} if described.pop("bias", None) else {}
    return {**described, name: lifted, **bias}


def _own_shape(module: ModelLike) -> tuple[int, ...] | None:
    """The shape of one layer's kernel or embedding; None if the layer does not say it."""
    if not comes_from(module, "flax.nnx", *_SIZED):
        return None
    if hasattr(module, "kernel_shape"):
        return tuple(module.kernel_shape)
    if hasattr(module, "num_embeddings"):
        return module.num_embeddings, module.features
    sides = [module.in_features, module.out_features]
    batch = tuple(dict(getattr(module, "batch_axis", {})).values())
    return (*batch, *itertools.chain(*((n,) if isinstance(n, int) else tuple(n) for n in sides)))


def _in_cell(
    parent: ModelLike | None, name: str, layouts: dict[str, Layout], shape: tuple[int, ...]
) -> dict[str, Layout]:
    """Layouts of kernel and bias of a recurrent cell's layer, packed gates included; else {}."""
    kernel = layouts["kernel"]
    packed = entry_of(parent, "flax", _PACKED_CELLS)
    recurrent = entry_of(parent, "flax", _PLAIN_CELLS)
    if packed is not None and name in packed[:2]:
        fused = equal_blocks(shape[kernel.out_axes[-1]], packed[2])
        kernel = replace(kernel, kind="kernel" if name == packed[0] else "recurrent", fused=fused)
    elif packed is None and recurrent is not None and name.startswith(recurrent):
        kernel = replace(kernel, kind="recurrent")
    else:
        return {}
    return {"kernel": kernel, "bias": bias_of(kernel, shape)}


def open_layers(
    model: nnx.Module, x: Array, keywords: Mapping[str, PyTree] = MappingProxyType({})
) -> Opening:
    """Gives each layer of a merged copy a subclass of its class, which taps the layer's output."""
    from flax import nnx

    graph, state, *rest = nnx.split(model, nnx.Param, ...)
    params = nnx.to_pure_dict(state)
    owners = owners_of(params)
    _check_tied(model)

    def apply(params: PyTree, x: Array, tap: Tap) -> Array:
        filled = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(filled, params)
        copy = nnx.merge(graph, filled, *rest)
        _tap_layers(copy, owners, tap)
        return copy(x, **keywords)

    return Opening(params, apply, layouts=layers(model))


def open_in_training(model: Model, state: PyTree, x: Array, key: Key) -> Opening:
    """Taps each layer of a module with state, streams or modes, in training mode."""
    params = model.shapes(x)
    owners = owners_of(params)
    _check_tied(model.source)
    train = cast(_Run, cast(StatefulApply, model.apply).train)

    def apply(params: PyTree, x: Array, tap: Tap) -> Array:
        tapped = functools.partial(_tap_layers, owners=owners, tap=tap)
        return train(params, state, x, key, tapped)[0]

    return Opening(params, apply)


def _tap_layers(model: nnx.Module, owners: set[str], tap: Tap) -> None:
    """Changes the layers of a merged copy so that their outputs pass through the tap."""
    from flax import nnx

    for place, module in list(nnx.iter_graph(model)):
        name = "/".join(map(str, place))
        if isinstance(module, nnx.Module) and name in owners:
            object.__setattr__(module, _TAP, functools.partial(tap, name))
            object.__setattr__(module, "__class__", _tapped(type(module)))


def _check_tied(model: ModelLike) -> None:
    """Refuses a kernel that two modules share, because only one of them would be seen."""
    from flax import nnx

    owners: dict[int, str] = {}
    for place, module in nnx.iter_graph(model):
        own = vars(module).values() if isinstance(module, nnx.Module) else ()
        for leaf in own:
            name = "/".join(map(str, place))
            if not isinstance(leaf, nnx.Param) or leaf.ndim < 2:
                continue
            if owners.setdefault(id(leaf), name) != name:
                raise errors.refusal(
                    "model",
                    f"one kernel in {owners[id(leaf)]} and {name}",
                    "a kernel for each module",
                    "call one module twice",
                )


@functools.lru_cache(maxsize=256)
def _tapped(layer: type) -> type:
    """A subclass of a layer's class that passes the output through the layer's tap."""

    def call(self: ModelLike, *args: PyTree, **kwargs: PyTree) -> PyTree:
        return self.__dict__[_TAP](layer.__call__(self, *args, **kwargs))

    def attend(self: ModelLike, *args: PyTree, **kwargs: PyTree) -> PyTree:
        return self.__dict__[_TAP](layer.attend(self, *args, **kwargs))  # type: ignore[attr-defined]

    # A tied embedding runs again, by ``attend``, as the layer that computes the logits.
    methods = {"__call__": call} | ({"attend": attend} if hasattr(layer, "attend") else {})
    return type(layer.__name__, (layer,), methods)


NNX = Framework(
    name="nnx",
    host=_linen.LINEN.host,
    recognize=recognize,
    conventions=_linen.CONVENTIONS,
    shapes=shapes,
    layers=layers,
    functions=functions,
    open=open_layers,
    open_in_training=open_in_training,
    defaults=_linen.defaults,
    classes=_linen.LINEN.classes,
    weights="nnx.state(model)",
)
