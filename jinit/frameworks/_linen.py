"""Describes Flax linen: layers are recorded while the module is initialized abstractly."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, cast

import jax

from jinit import errors
from jinit.frameworks import _common
from jinit.frameworks._common import comes_from, path, run_abstractly, stacked, strided
from jinit.frameworks._conventions import Conventions
from jinit.frameworks._framework import Framework, Opening
from jinit.frameworks._layout import Layout, bias_of
from jinit.frameworks._linen_functions import functions
from jinit.frameworks._linen_norms import normalize, vectors
from jinit.frameworks._linen_stacks import at, stack_axes, unboxed
from jinit.frameworks._statistics import MEAN, VARIANCE, Statistics
from jinit.frameworks._taps import Tap, owners_of
from jinit.initializers import (
    NamedInitializer,
    he_uniform,
    lecun_normal,
    ones,
    orthogonal,
    variance_scaling,
    zeros,
)
from jinit.models import Model
from jinit.train import StatefulApply
from jinit.typing import Array, Key, ModelLike, PyTree

if TYPE_CHECKING:
    from flax import linen as nn
    from flax import nnx
    from flax.linen.module import InterceptorContext

BATCH_STATS = "batch_stats"
CONVENTIONS = Conventions(
    leaves={"embedding": "embedding"},
    statistics=Statistics(inside={BATCH_STATS: {"mean": MEAN, "var": VARIANCE}}),
)
_layout = CONVENTIONS.layout
Interceptor: TypeAlias = "Callable[..., PyTree]"
_CELLS = ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell", "MGUCell", "ConvLSTMCell")


def recognize(model: ModelLike) -> bool:
    """True for a linen module."""
    return comes_from(model, "flax.linen", "Module")


def shapes(
    model: nn.Module, *inputs: PyTree, keywords: Mapping[str, PyTree] = MappingProxyType({})
) -> PyTree:
    """The ``params`` collection as ``jax.ShapeDtypeStruct``."""
    return run_abstractly(model.init, inputs, keywords).get("params", {})


def layers(
    model: nn.Module, *inputs: PyTree, keywords: Mapping[str, PyTree] = MappingProxyType({})
) -> dict[str, Layout]:
    """Leaf path → layout of every layer that runs on these inputs."""
    import flax.linen as nn

    seen: dict[tuple[str, ...], tuple[nn.Module, dict[str, Array]]] = {}
    inside: dict[tuple[str, ...], tuple[str, ...]] = {}  # a wrapper's place → its layer's place

    def record(
        call: Callable[..., PyTree],
        args: tuple[PyTree, ...],
        kwargs: dict[str, PyTree],
        context: InterceptorContext,
    ) -> PyTree:
        result = call(*args, **kwargs)
        # Inside scan and vmap a layer sees its own slice of the parameters.
        own = context.module.variables.get("params", {})
        leaves = {name: unboxed(leaf) for name, leaf in own.items()}
        leaves = {name: leaf for name, leaf in leaves.items() if hasattr(leaf, "shape")}
        if comes_from(context.module, "flax", "WeightNorm", "SpectralNorm"):
            inside[context.module.path] = context.module.layer_instance.path
        seen[context.module.path] = (context.module.clone(parent=None), leaves)
        return result

    with nn.intercept_methods(record):
        tree = shapes(model, *inputs, keywords=keywords)
    layouts: dict[str, Layout] = {}
    unclear: dict[tuple[str, ...], tuple[Layout, int]] = {}
    for place, (module, own) in seen.items():
        cell = seen[place[:-1]][0] if place and place[:-1] in seen else None
        for name, layout in _in_cell(place, cell, describe(module, own), own).items():
            leaf = _leaf(tree, (*place, name))
            if leaf is None:
                continue
            lifted: Layout | None = layout
            if layout.kind in ("kernel", "recurrent", "embedding"):
                own_shape = tuple(own[name].shape)
                lifted = stacked(layout, len(own_shape), leaf.shape, own_shape)
                if lifted is None and len(leaf.shape) > len(own_shape):
                    unclear[(*place, name)] = layout, len(own_shape)
            if lifted is not None:
                layouts[path(*place, name)] = lifted
    if unclear:
        axes = stack_axes(model, inputs, keywords, tuple(unclear))
        for place, (layout, rank) in unclear.items():
            shape = cast(jax.ShapeDtypeStruct, _leaf(tree, place)).shape
            lifted = stacked(layout, rank, shape, added=axes[place])
            if lifted is not None:
                layouts[path(*place)] = lifted
    axes_of = functools.partial(stack_axes, model, inputs, keywords)
    normalize(layouts, tree, seen, inside, axes_of)
    return layouts


def _leaf(tree: PyTree, place: tuple[str, ...]) -> jax.ShapeDtypeStruct | None:
    """The leaf at a path of nested dictionaries, or None if the tree has none there."""
    node = unboxed(at(tree, place))
    return node if hasattr(node, "shape") else None


def _in_cell(
    place: tuple[str, ...],
    cell: ModelLike | None,
    layouts: dict[str, Layout],
    own: Mapping[str, Array],
) -> dict[str, Layout]:
    """Marks the layers of a recurrent cell; the recurrent ones are named h, hi, hf, …"""
    if not comes_from(cell, "flax", *_CELLS):
        return layouts
    if comes_from(cell, "flax", "ConvLSTMCell") and "kernel" in layouts:
        shape = tuple(own["kernel"].shape)
        gates = _common.equal_blocks(shape[-1], 4)
        layouts = layouts | _with_bias(replace(layouts["kernel"], fused=gates), own["kernel"])
    name = _common.layer_name(cell, "flax")
    layouts = {
        leaf: replace(layout, layer=f"{name}.{place[-1]}") for leaf, layout in layouts.items()
    }
    if place[-1].startswith("h") and "kernel" in layouts:
        layouts["kernel"] = replace(layouts["kernel"], kind="recurrent")
    return layouts


def describe(
    module: ModelLike, leaves: Mapping[str, Array | nnx.Param[Array]]
) -> dict[str, Layout]:
    """Layouts of the leaves of one linen or nnx layer, by leaf name."""
    name = _common.layer_name(module, "flax")
    named = vectors(module, leaves)
    if comes_from(module, "flax", "LoRA") and {"lora_a", "lora_b"} <= set(leaves):
        return _lora(module, leaves)
    kernel = leaves.get("kernel")
    if comes_from(module, "jinit.models", "_Layer") and kernel is not None:
        # A layer of jinit's MLP. The model itself starts the scale and shift of its layer norm.
        dense = _dense(module, tuple(kernel.shape))
        return {} if dense is None else _with_bias(replace(dense, layer="MLP"), kernel)
    if "embedding" in leaves and comes_from(module, "flax", "Embed"):
        embedding = stacked(_layout("embedding"), 2, leaves["embedding"].shape)
        return (
            named if embedding is None else {**named, "embedding": replace(embedding, layer=name)}
        )
    if kernel is None:
        return named
    describe_kernel = _common.entry_of(module, "flax", KERNELS)
    layout = describe_kernel(module, tuple(kernel.shape)) if describe_kernel else None
    if layout is None:
        return {}
    return {**named, **_with_bias(replace(layout, layer=name), kernel)}


def _lora(module: ModelLike, leaves: Mapping[str, Array | nnx.Param[Array]]) -> dict[str, Layout]:
    """The two factors of an adapter, stacked along their first axes or not at all."""
    first, second = tuple(leaves["lora_a"].shape), tuple(leaves["lora_b"].shape)
    sides = (first[-2], first[-1], second[-1])
    if sides != (module.in_features, second[-2], module.out_features):
        return {}
    lifted = {name: stacked(_layout("dense"), 2, leaf.shape) for name, leaf in leaves.items()}
    return {
        name: replace(layout, layer=f"LoRA.{name}")
        for name, layout in lifted.items()
        if layout is not None
    }


def _with_bias(layout: Layout, kernel: Array | nnx.Param[Array]) -> dict[str, Layout]:
    return {"kernel": layout, "bias": bias_of(layout, tuple(kernel.shape))}


def _dense(module: ModelLike, shape: tuple[int, ...]) -> Layout | None:
    return stacked(_layout("dense"), 2, shape)


def _dense_general(module: ModelLike, shape: tuple[int, ...]) -> Layout:
    batch = len(module.batch_dims) if hasattr(module.batch_dims, "__len__") else 1
    inputs = len(module.axis) if isinstance(module.axis, tuple | list) else 1
    return _general(inputs, len(shape) - batch - inputs, batch)


def _linear_general(module: ModelLike, shape: tuple[int, ...]) -> Layout | None:
    inputs, outputs = len(module.in_features), len(module.out_features)
    batch = len(dict(module.batch_axis))
    return stacked(_general(inputs, outputs, batch), inputs + outputs + batch, shape)


def _general(inputs: int, outputs: int, batch: int) -> Layout:
    """A dense kernel with several axes; its batch axes are the layer's own."""
    return replace(_layout(f"dense(inputs={inputs}, outputs={outputs}, batch={batch})"), added=())


def _einsum(module: ModelLike, shape: tuple[int, ...]) -> Layout | None:
    return _common.einsum(module.einsum_str) if module.einsum_str else None


def _conv_local(module: ModelLike, shape: tuple[int, ...]) -> Layout:
    # (positions…, taps · in, out): one kernel per position.
    return Layout(batch_axes=tuple(range(len(shape) - 2)))


def _conv(module: ModelLike, shape: tuple[int, ...]) -> Layout | None:
    return stacked(_layout(f"conv(groups={module.feature_group_count})"), _rank(module), shape)


def _conv_transpose(module: ModelLike, shape: tuple[int, ...]) -> Layout | None:
    layout = _layout("transposed")
    if module.transpose_kernel:
        layout = replace(layout, in_axes=layout.out_axes, out_axes=layout.in_axes)
    lifted = stacked(layout, _rank(module), shape)
    return None if lifted is None else strided(lifted, shape, module.strides)


def _rank(module: ModelLike) -> int:
    """The rank of a convolution's kernel."""
    return 2 + (1 if isinstance(module.kernel_size, int) else len(module.kernel_size))


# Layer class of linen or nnx → the layout of its kernel; None if the layer does not determine it.
KERNELS: dict[str, Callable[[ModelLike, tuple[int, ...]], Layout | None]] = {
    "Dense": _dense,
    "Linear": _dense,
    "DenseParams": _dense,
    "DenseGeneral": _dense_general,
    "LinearGeneral": _linear_general,
    "Einsum": _einsum,
    "Conv": _conv,
    "ConvLocal": _conv_local,
    "ConvTranspose": _conv_transpose,
}


def open_layers(
    model: nn.Module, x: Array, keywords: Mapping[str, PyTree] = MappingProxyType({})
) -> Opening:
    """Taps each layer by intercepting its calls; a jinit MLP in the model is tapped per layer."""
    import flax.linen as nn
    from flax import errors as flax_errors

    from jinit.models import MLP

    normalized: set[str] = set()

    def watch(
        call: Callable[..., PyTree],
        args: tuple[PyTree, ...],
        kwargs: dict[str, PyTree],
        context: InterceptorContext,
    ) -> PyTree:
        module, name = context.module, "/".join(context.module.path)
        if type(module) is MLP and module.layer_norm:
            normalized.update(f"{name}/hidden_{index}" for index in range(module.depth))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        params = _only_params(model, run_abstractly(model.init, [x], keywords))
    owners = owners_of(params)

    def apply(params: PyTree, x: Array, tap: Tap) -> PyTree:
        try:
            with nn.intercept_methods(_tapping(owners, tap)):
                return model.apply({"params": params}, x, **keywords)
        except flax_errors.InvalidRngError as error:
            raise errors.refusal(
                "model",
                str(error).partition(" (http")[0],
                "a model that runs without PRNG keys",
                "inference mode (deterministic=True), or a wrapping apply(params, x, tap)",
            ) from None

    layouts = layers(model, x, keywords=keywords)
    return Opening(params, apply, layouts=layouts, normalized=frozenset(normalized))


def open_in_training(model: Model, state: PyTree, x: Array, key: Key) -> Opening:
    """Taps each layer of a module with state, noise or modes, in training mode."""
    import flax.linen as nn

    params = model.shapes(x)
    owners, train = owners_of(params), cast(StatefulApply, model.apply).train

    def apply(params: PyTree, x: Array, tap: Tap) -> PyTree:
        with nn.intercept_methods(_tapping(owners, tap)):
            return train(params, state, x, key)[0]

    return Opening(params, apply)


def _tapping(owners: set[str], tap: Tap) -> Interceptor:
    """An interceptor that passes the output of each layer with a kernel through the tap."""
    from jinit.models import MLP
    from jinit.models._mlp import unrolled_apply

    def interceptor(
        call: Callable[..., PyTree],
        args: tuple[PyTree, ...],
        kwargs: dict[str, PyTree],
        context: InterceptorContext,
    ) -> PyTree:
        module, name = context.module, "/".join(context.module.path)
        # A tied embedding runs again, by ``attend``, as the layer that computes the logits.
        if context.method_name not in ("__call__", "attend"):
            return call(*args, **kwargs)
        # A subclass of MLP may compute something else, so its layers stay unseen.
        if type(module) is MLP:
            # The MLP's layers only own parameters; the MLP does the arithmetic.
            own, inputs = module.variables["params"], args[0] if args else kwargs["x"]
            return unrolled_apply(module, own, inputs, lambda part, z: tap(f"{name}/{part}", z))
        out = call(*args, **kwargs)
        return tap(name, out) if name in owners else out

    return interceptor


def _only_params(model: nn.Module, variables: Mapping[str, PyTree]) -> PyTree:
    """The ``params`` collection; refuses models with other state, as running statistics."""
    # Flax's perturbations and sown intermediates are not state.
    state = sorted(set(variables) - {"params", "perturbations", "intermediates"})
    if state:
        raise errors.refusal(
            f"collections of {type(model).__name__}",
            state,
            "params only",
            "bind the other collections in an apply(params, x, tap) of your own",
        )
    return variables.get("params", {})


def defaults(layout: Layout, leaf: str, shape: tuple[int, ...]) -> tuple[NamedInitializer, Layout]:
    """lecun_normal kernels, orthogonal recurrent kernels, zero biases (ones at MGUCell's gate)."""
    if layout.kind == "vector":
        return _common.vector_default(layout, leaf.rpartition("/")[2], slope=0.01), layout
    if layout.kind == "norm":
        return ones, layout
    if layout.layer.startswith("LoRA."):
        return (zeros if layout.layer.endswith("b") else he_uniform()), layout
    if layout.kind == "bias":
        return (ones if layout.layer == "MGUCell.if" else zeros), layout
    if layout.layer == "Einsum":
        return lecun_normal(), Layout(layout.kind, layout.layer)
    if layout.kind == "embedding":
        return variance_scaling(1.0, "fan_in", "normal", fan_in=shape[-1]), layout
    if layout.kind == "recurrent" and not layout.layer.startswith("ConvLSTMCell."):
        return orthogonal(), _common.as_one_kernel(layout)
    if not layout.in_axes:  # the depthwise kernel of another framework
        return lecun_normal(), layout
    if len(layout.in_axes) > 1 or len(layout.out_axes) > 1 or layout.batch_axes:
        # Flax flattens all axes but the out axes, so batch axes count as inputs.
        outputs = math.prod(shape[axis] for axis in layout.out_axes)
        return lecun_normal(fan_in=math.prod(shape) // outputs), layout
    if layout.layer.endswith("DTranspose"):  # of Keras or Haiku, whose axes are (…, out, in)
        return lecun_normal(), _common.as_one_kernel(layout)
    # Flax reads the last two axes as in and out, also in a transposed kernel.
    return lecun_normal(), _common.last_two_axes(layout)


LINEN = Framework(
    name="linen",
    host="flax",
    recognize=recognize,
    conventions=CONVENTIONS,
    shapes=shapes,
    layers=layers,
    functions=functions,
    open=open_layers,
    open_in_training=open_in_training,
    defaults=defaults,
    needs_inputs=True,
    classes=tuple(KERNELS),
    weights="model.init(key, x)['params']",
)
