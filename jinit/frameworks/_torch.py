"""Describes torch: layers are modules, and the parameter tree is a dictionary by parameter name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import jax

from jinit import errors
from jinit.frameworks import _common
from jinit.frameworks._common import comes_from, equal_blocks, strided, vector
from jinit.frameworks._conventions import Conventions
from jinit.frameworks._framework import Framework
from jinit.frameworks._layout import Layout, bias_of
from jinit.frameworks._statistics import COUNT, MEAN, VARIANCE, Statistics
from jinit.initializers import NamedInitializer, fan_in_uniform, glorot_uniform, normal, zeros
from jinit.typing import ModelLike, PyTree

if TYPE_CHECKING:
    import torch

CONVENTIONS = Conventions(
    kernel=(1, 0),
    transposed=(0, 1),
    transposed_groups="in",
    channels_last=False,
    depthwise=False,
    kernels=("weight",),
    statistics=Statistics(
        {"running_mean": MEAN, "running_var": VARIANCE, "num_batches_tracked": COUNT}
    ),
)
_layout = CONVENTIONS.layout
_Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
_GATE = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?")
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
_GATED = ("LSTMCell", "GRUCell", "SimpleRNNCell", "LSTM", "GRU", "RNN", "RNNCell")


def recognize(model: ModelLike) -> bool:
    """True for a torch module."""
    return comes_from(model, "torch", "Module")


def is_tensor(value: PyTree) -> bool:
    """True for a tensor of torch, which is no array of JAX or NumPy."""
    return comes_from(value, "torch", "Tensor")


def shapes(model: torch.nn.Module, *inputs: PyTree) -> PyTree:
    """Parameters by name, as ``jax.ShapeDtypeStruct``; ``inputs`` are unused."""
    _check_has_weights(model)
    return {
        name: jax.ShapeDtypeStruct(tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for name, value in model.named_parameters()
    }


def layers(model: torch.nn.Module, *inputs: PyTree) -> dict[str, Layout]:
    """Parameter name → layout of every layer; ``inputs`` are unused."""
    _check_has_weights(model)
    layouts: dict[str, Layout] = {}
    for place, node in model.named_modules():
        own = {name: tuple(value.shape) for name, value in node.named_parameters(recurse=False)}
        for name, layout in _describe(node, own).items():
            stem = f"{place}." if place else ""
            layouts[f"{stem}{name}"] = replace(layout, of=stem + layout.of) if layout.of else layout
    for place, node in model.named_modules():
        if comes_from(node, "torch", "Transformer"):
            # A Transformer draws the kernels of all its layers again, by its own rule.
            for name, layout in layouts.items():
                if name.startswith(f"{place}." if place else "") and layout.kind == "kernel":
                    layouts[name] = replace(layout, layer="Transformer")
    return layouts


def _check_has_weights(model: torch.nn.Module) -> None:
    """Refuses lazy layers, which have no shapes before their first call."""
    for name, value in model.named_parameters():
        if comes_from(value, "torch", "UninitializedTensorMixin"):
            raise errors.refusal(
                f"parameter {name!r}",
                "a lazy layer without weights",
                "layers that know their shapes",
                "call the model once on an example first",
            )


def _describe(node: ModelLike, own: _Shapes) -> dict[str, Layout]:
    """Layouts of one module's own parameters, by their names in the module."""
    computed = _computed(node)
    if not computed:
        return _described(node, own)
    stored = {f"{name}{end}" for name in computed for end in ("_g", "_v", "_orig")}
    given = {name: shape for name, shape in own.items() if name not in stored}
    shapes = {name: tuple(getattr(node, name).shape) for name in computed}
    layouts = _described(node, given | shapes)
    for name, steps in computed.items():
        layouts |= _reparametrized(name, steps, layouts.pop(name, None))
    return layouts


def _computed(node: ModelLike) -> dict[str, list[ModelLike]]:
    """Names of parameters that a layer computes from other leaves at every call → the steps."""
    hooks = {
        hook.name if hasattr(hook, "name") else hook._tensor_name: [hook]
        for hook in node._forward_pre_hooks.values()
        if comes_from(hook, "torch.nn.utils", "WeightNorm", "SpectralNorm", "BasePruningMethod")
    }
    steps = getattr(node, "parametrizations", None)
    if steps is None or not comes_from(steps, "torch", "ModuleDict"):
        return hooks
    return hooks | {name: list(chain) for name, chain in steps.items()}


def _described(node: ModelLike, own: _Shapes) -> dict[str, Layout]:
    """Layouts of the parameters that one module's class has."""
    name = _common.layer_name(node, "torch")
    describe_leaves = _common.entry_of(node, "torch", _LAYERS)
    if describe_leaves is not None:
        return describe_leaves(node, own)
    describe_kernel = _common.entry_of(node, "torch", _KERNELS)
    if describe_kernel is not None and "weight" in own:
        shape = own["weight"]
        kernel = replace(describe_kernel(node, shape), layer=name)
        return {"weight": kernel, "bias": bias_of(kernel, shape)}
    return {}


def _reparametrized(name: str, steps: list[ModelLike], kernel: Layout | None) -> dict[str, Layout]:
    """Layouts of the leaves from which a layer computes one of its parameters at every call.

    A kernel of a module of the user's has no layout, but the effect of its leaves is known.
    """
    if comes_from(steps[0], "torch.nn.utils", "BasePruningMethod"):
        return {} if kernel is None else {f"{name}_orig": kernel}
    if comes_from(steps[0], "torch.nn.utils", "WeightNorm"):
        return _weight_norm(f"{name}_g", f"{name}_v", steps[0].dim, kernel)
    if comes_from(steps[0], "torch.nn.utils", "SpectralNorm"):
        return {f"{name}_orig": _common.rescaled_by("SpectralNorm", kernel)}
    stem = f"parametrizations.{name}.original"
    if len(steps) == 1 and comes_from(steps[0], "torch.nn.utils", "_WeightNorm"):
        return _weight_norm(f"{stem}0", f"{stem}1", steps[0].dim, kernel)
    if len(steps) == 1 and comes_from(steps[0], "torch.nn.utils", "_SpectralNorm"):
        return {stem: _common.rescaled_by("SpectralNorm", kernel)}
    # What another parametrization makes of a draw is not known.
    names = " and ".join(type(step).__name__ for step in steps)
    unknown = _common.rescaled_by(f"parametrization {names}", None)
    return {stem: unknown, f"{stem}0": unknown, f"{stem}1": unknown}


def _weight_norm(
    scale: str, direction: str, dim: int | None, kernel: Layout | None
) -> dict[str, Layout]:
    """A scale g that holds the norms of v, except along the axis ``dim`` (None or −1: no axis)."""
    kept = () if dim in (None, -1) else (dim,)
    norm = Layout("norm", "WeightNorm", in_axes=(), out_axes=kept, of=direction)
    return {scale: norm} if kernel is None else {scale: norm, direction: kernel}


def _recurrent(node: ModelLike, own: _Shapes) -> dict[str, Layout]:
    name = _common.layer_name(node, "torch")
    count = 4 if "LSTM" in name else 3 if "GRU" in name else 1
    layouts: dict[str, Layout] = {}
    own = {leaf: shape for leaf, shape in own.items() if _GATE.fullmatch(leaf)}
    for leaf, shape in own.items():
        if leaf.startswith("weight"):
            spec = "recurrent" if "_hh" in leaf else "dense"
            fused = () if "_hr" in leaf else equal_blocks(shape[0], count)
            layouts[leaf] = replace(_layout(spec), layer=name, fused=fused)
    for leaf in own:
        kernel = leaf.replace("bias", "weight")
        if leaf.startswith("bias") and kernel in layouts:
            layouts[leaf] = bias_of(layouts[kernel], own[kernel])
    return layouts


def _attention(node: ModelLike, own: _Shapes) -> dict[str, Layout]:
    name = _common.layer_name(node, "torch")
    dense = replace(_layout("dense"), layer=name)
    layouts = {leaf: dense for leaf in _PROJECTIONS if leaf in own}
    if "in_proj_weight" in own:
        size = own["in_proj_weight"][0] // 3
        layouts["in_proj_weight"] = replace(dense, fused=(size, size, size))
    kernel = "in_proj_weight" if "in_proj_weight" in own else "q_proj_weight"
    if "in_proj_bias" in own and kernel in layouts:
        layouts["in_proj_bias"] = bias_of(layouts[kernel], own[kernel])
    return layouts | {leaf: vector(name) for leaf in ("bias_k", "bias_v") if leaf in own}


def _embedding(node: ModelLike, own: _Shapes) -> dict[str, Layout]:
    name, padding = _common.layer_name(node, "torch"), node.padding_idx
    return {"weight": replace(_layout("embedding"), layer=name, padding=padding)}


def _bilinear(node: ModelLike, own: _Shapes) -> dict[str, Layout]:
    if "weight" not in own:
        return {}
    kernel = Layout(layer=_common.layer_name(node, "torch"), in_axes=(1, 2), out_axes=(0,))
    bias = replace(bias_of(kernel, own["weight"]), fan_in=float(own["weight"][1]))
    return {"weight": kernel, "bias": bias}


def _vectors(node: ModelLike, own: _Shapes) -> dict[str, Layout]:
    # A slope of PReLU starts from the layer's own option.
    start = float(node.init) if comes_from(node, "torch", "PReLU") else None
    known = replace(vector(_common.layer_name(node, "torch")), start=start)
    return {leaf: known for leaf in ("weight", "bias") if leaf in own}


# Layer class → the layouts of all its leaves.
_LAYERS: dict[str, Callable[[ModelLike, _Shapes], dict[str, Layout]]] = {
    "RNNBase": _recurrent,
    "RNNCellBase": _recurrent,
    "MultiheadAttention": _attention,
    "Embedding": _embedding,
    "EmbeddingBag": _embedding,
    "Bilinear": _bilinear,
    "LayerNorm": _vectors,
    "RMSNorm": _vectors,
    "GroupNorm": _vectors,
    "_NormBase": _vectors,
    "PReLU": _vectors,
}


def _linear(node: ModelLike, shape: tuple[int, ...]) -> Layout:
    return _layout("dense")


def _conv(node: ModelLike, shape: tuple[int, ...]) -> Layout:
    if not node.transposed:
        return _layout(f"conv(groups={node.groups})")
    return strided(_layout(f"transposed(groups={node.groups})"), shape, node.stride)


# Layer class → the layout of its parameter ``weight``.
_KERNELS: dict[str, Callable[[ModelLike, tuple[int, ...]], Layout]] = {
    "Linear": _linear,
    "_ConvNd": _conv,
}


def defaults(layout: Layout, leaf: str, shape: tuple[int, ...]) -> tuple[NamedInitializer, Layout]:
    """U[±1/√n] (kaiming_uniform with a = √5) for kernels, and for biases with their kernel's n.

    torch takes n from the second axis, which in a transposed convolution holds the outputs: n is
    then the number of outputs of a group times all taps.
    """
    if layout.layer == "Bilinear":
        return fan_in_uniform(fan_in=layout.fan_in or shape[1]), layout
    if "Transpose" in layout.layer:
        fans = layout.fans(shape)
        return fan_in_uniform(fan_in=int(fans.fan_out) if fans else None), layout
    return fan_in_defaults(layout, leaf, shape)


def fan_in_defaults(
    layout: Layout, leaf: str, shape: tuple[int, ...]
) -> tuple[NamedInitializer, Layout]:
    """U[±1/√n] for kernels and biases, in recurrent cells with n = hidden; embeddings N(0, 1)."""
    if layout.kind == "vector":
        if leaf.endswith(("bias_k", "bias_v")):  # glorot_normal of (1, 1, features)
            return normal(1 / math.sqrt(shape[-1])), layout
        return _common.vector_default(layout, leaf), layout
    if layout.layer == "NonDynamicallyQuantizableLinear" and layout.kind == "bias":
        return zeros, layout  # the output projection of attention
    if layout.layer in ("MultiheadAttention", "Transformer"):
        if layout.kind == "bias":
            return zeros, layout
        return glorot_uniform(), _common.as_one_kernel(layout)
    if layout.kind == "embedding":
        return normal(1.0), layout
    if layout.layer in _GATED:
        hidden = layout.fan_out
        if layout.kind != "bias":
            # hidden is the in axis of a projection (torch's proj_size), else the out axis.
            axes = layout.out_axes if layout.fused else layout.in_axes
            hidden = math.prod(shape[axis] for axis in axes) // max(len(layout.fused), 1)
        return fan_in_uniform(fan_in=hidden), layout
    # n is the whole window of a transposed convolution; its strides are not counted.
    layout = _common.unstrided(layout)
    if layout.kind == "bias":
        return fan_in_uniform(fan_in=layout.fan_in), layout
    return fan_in_uniform(), layout


TORCH = Framework(
    name="torch",
    host="torch",
    recognize=recognize,
    conventions=CONVENTIONS,
    shapes=shapes,
    layers=layers,
    open=None,  # its arrays are not JAX's
    defaults=defaults,
    classes=(*_LAYERS, *_KERNELS),
    weights="{name: value.numpy(force=True) for name, value in model.state_dict().items()}",
)
