"""torch: layers are modules; the parameter tree is a dictionary of shapes by parameter name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax

from jinit.frameworks._common import comes_from, equal_blocks, is_library_layer, strided, vector
from jinit.frameworks._layout import Layout, bias_of, layout
from jinit.typing import PyTree


def shapes(model: Any, *inputs: Any) -> PyTree:
    """Parameters by name, as float ``jax.ShapeDtypeStruct``.

    >>> import pytest
    >>> torch = pytest.importorskip("torch")
    >>> shapes(torch.nn.Linear(2, 3))["weight"].shape
    (3, 2)
    """
    return {
        name: jax.ShapeDtypeStruct(tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for name, value in model.named_parameters()
    }


def layers(model: Any, *inputs: Any) -> dict[str, Layout]:
    """Parameter name → layout of every layer.

    >>> import pytest
    >>> torch = pytest.importorskip("torch")
    >>> layers(torch.nn.Linear(2, 3))["weight"].out_axes
    (0,)
    """
    found: dict[str, Layout] = {}
    for place, node in model.named_modules():
        own = {name: tuple(value.shape) for name, value in node.named_parameters(recurse=False)}
        for name, made in _describe(node, own).items():
            found[f"{place}.{name}" if place else name] = made
    for place, node in model.named_modules():
        if comes_from(node, "torch", "Transformer"):
            # It draws the kernels of all its layers again, by a rule of its own.
            for name, made in found.items():
                if name.startswith(f"{place}." if place else "") and made.kind == "kernel":
                    found[name] = replace(made, layer="Transformer")
    return found


def _describe(node: Any, own: dict[str, tuple[int, ...]]) -> dict[str, Layout]:
    def is_a(*names: str) -> bool:
        return comes_from(node, "torch", *names)

    name = type(node).__name__
    if is_a("RNNBase", "RNNCellBase"):
        return _recurrent(name, own)
    if is_a("MultiheadAttention"):
        return _attention(name, own)
    if is_a("Embedding", "EmbeddingBag"):
        return {"weight": replace(layout("embedding"), layer=name)}
    if is_a("Bilinear") and "weight" in own:
        kernel = Layout(layer=name, in_axes=(1, 2), out_axes=(0,))
        bias = replace(bias_of(kernel, own["weight"]), fan_in=float(own["weight"][1]))
        return {"weight": kernel, "bias": bias}
    if is_a("Linear", "_ConvNd") and "weight" not in own:
        return {}  # reparametrized: its leaves are not a kernel
    if is_a("Linear"):
        kernel = layout("dense", "torch")
    elif is_a("_ConvNd"):
        if node.transposed:
            kernel, shape = layout(f"transposed(groups={node.groups})", "torch"), own["weight"]
            kernel = strided(kernel, shape, node.stride, len(shape) - 2)
        else:
            kernel = layout(f"conv(groups={node.groups})", "torch")
    elif is_a("LayerNorm", "RMSNorm"):
        return {leaf: vector(name) for leaf in own}
    elif any("weight" in leaf and len(shape) > 1 for leaf, shape in own.items()):
        return {}
    else:
        known = is_library_layer(node, "torch")
        return {leaf: vector(name) for leaf in own} if known else {}
    kernel = replace(kernel, layer=name)
    return {"weight": kernel, "bias": bias_of(kernel, own["weight"])}


def _recurrent(name: str, own: dict[str, tuple[int, ...]]) -> dict[str, Layout]:
    count = 4 if "LSTM" in name else 3 if "GRU" in name else 1
    found = {}
    for leaf, shape in own.items():
        if leaf.startswith("weight"):
            kind: Any = "recurrent" if "_hh" in leaf else "kernel"
            sizes = () if "_hr" in leaf else equal_blocks(shape[0], count)
            found[leaf] = replace(layout("dense", "torch"), kind=kind, layer=name, fused=sizes)
    for leaf in own:
        if leaf.startswith("bias"):
            kernel = leaf.replace("bias", "weight")
            found[leaf] = bias_of(found[kernel], own[kernel])
    return found


def _attention(name: str, own: dict[str, tuple[int, ...]]) -> dict[str, Layout]:
    dense = replace(layout("dense", "torch"), layer=name)
    found = {leaf: dense for leaf in own if leaf.endswith("proj_weight")}
    if "in_proj_weight" in own:
        size = own["in_proj_weight"][0] // 3
        found["in_proj_weight"] = replace(dense, fused=(size, size, size))
    kernel = "in_proj_weight" if "in_proj_weight" in own else "q_proj_weight"
    if "in_proj_bias" in own:
        found["in_proj_bias"] = bias_of(found[kernel], own[kernel])
    for leaf in ("bias_k", "bias_v"):
        if leaf in own:
            found[leaf] = vector(name)
    return found
