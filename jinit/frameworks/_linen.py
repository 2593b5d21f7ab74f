"""Flax linen: layers are seen while the module is initialized abstractly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax

from jinit.frameworks._common import (
    comes_from,
    einsum,
    equal_blocks,
    is_library_layer,
    path,
    stacked,
    strided,
    vector,
)
from jinit.frameworks._layout import Layout, bias_of, layout
from jinit.typing import PyTree


def shapes(model: Any, *inputs: Any) -> PyTree:
    """The ``params`` collection as ``jax.ShapeDtypeStruct``.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> shapes(nn.Dense(3), jnp.zeros((1, 2)))["bias"].shape
    (3,)
    """
    # A new function each time: JAX would not run again what it has traced before, and nobody
    # would see the layers.
    return jax.eval_shape(lambda *args: model.init(*args), jax.random.key(0), *inputs)["params"]


def layers(model: Any, *inputs: Any) -> dict[str, Layout]:
    """Leaf path → layout of every layer that runs on these inputs.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> layers(nn.DenseGeneral((2, 3)), jnp.zeros((1, 5)))["kernel"].out_axes
    (1, 2)
    """
    import flax.linen as nn

    seen: dict[tuple[str, ...], tuple[Any, dict[str, Any]]] = {}

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = call(*args, **kwargs)
        # Inside scan and vmap a layer sees its own slice of the parameters.
        own = context.module.variables.get("params", {})
        leaves = {name: leaf for name, leaf in own.items() if hasattr(leaf, "shape")}
        seen[context.module.path] = (context.module.clone(parent=None), leaves)
        return result

    with nn.intercept_methods(record):
        tree = shapes(model, *inputs)
    found: dict[str, Layout] = {}
    for place, (module, own) in seen.items():
        node: Any = tree
        for part in place:
            node = node.get(part, {}) if hasattr(node, "get") else {}
        cell = seen.get(place[:-1], (None, None))[0] if place else None
        for name, made in _in_cell(place, cell, describe(module, own)).items():
            leaf = node.get(name) if hasattr(node, "get") else None
            if leaf is None or not hasattr(leaf, "shape"):
                continue
            lifted: Layout | None = made
            if made.kind in ("kernel", "recurrent", "embedding"):
                mine = tuple(own[name].shape)
                lifted = stacked(made, len(mine), leaf.shape, mine)
            if lifted is not None:
                found[path(*place, name)] = lifted
    return found


def _in_cell(place: tuple[str, ...], cell: Any, described: dict[str, Layout]) -> dict[str, Layout]:
    """Layers inside a recurrent cell: those from hidden to hidden are named h, hi, hf, …"""
    if not comes_from(cell, "flax", "LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell",
                      "MGUCell"):  # fmt: skip
        return described
    name = type(cell).__name__
    described = {
        leaf: replace(made, layer=f"{name}.{place[-1]}") for leaf, made in described.items()
    }
    if place[-1].startswith("h") and "kernel" in described:
        described["kernel"] = replace(described["kernel"], kind="recurrent")
    return described


def describe(module: Any, leaves: dict[str, Any]) -> dict[str, Layout]:
    """Layouts of the leaves of one linen or nnx layer, by leaf name.

    >>> import flax.linen as nn, jax
    >>> kernel = jax.ShapeDtypeStruct((4, 3), "float32")
    >>> describe(nn.Dense(3), {"kernel": kernel})["kernel"].layer
    'Dense'
    """
    name = type(module).__name__
    vectors = ("scale", "bias", "mean", "var", "negative_slope")
    named = {leaf: vector(name) for leaf in leaves if leaf in vectors}
    if not is_library_layer(module, "flax"):
        named = {}
    kernel = leaves.get("kernel")
    if "embedding" in leaves:
        made = stacked(layout("embedding"), 2, leaves["embedding"].shape)
        return named if made is None else {**named, "embedding": replace(made, layer=name)}
    if kernel is None:
        return named
    found = _kernel(module, tuple(kernel.shape))
    if found is None:
        return {}
    made = replace(found, layer=name)
    return {**named, "kernel": made, "bias": bias_of(made, kernel.shape)}


def _kernel(module: Any, shape: tuple[int, ...]) -> Layout | None:
    def is_a(*names: str) -> bool:
        return comes_from(module, "flax", *names)

    if is_a("DenseGeneral"):
        batch = module.batch_dims
        count_batch = len(batch) if hasattr(batch, "__len__") else 1
        axis = module.axis if isinstance(module.axis, tuple | list) else (module.axis,)
        count_out = len(shape) - count_batch - len(axis)
        return layout(f"dense(inputs={len(axis)}, outputs={count_out}, batch={count_batch})")
    if is_a("LinearGeneral"):
        counts = [len(module.in_features), len(module.out_features), len(dict(module.batch_axis))]
        made = layout(f"dense(inputs={counts[0]}, outputs={counts[1]}, batch={counts[2]})")
        return stacked(made, sum(counts), shape)
    if is_a("Einsum"):
        return einsum(module.einsum_str) if module.einsum_str else None
    if is_a("Dense", "Linear", "DenseParams"):
        return stacked(layout("dense"), 2, shape)
    if is_a("ConvLocal"):
        # (positions…, taps · in, out): a kernel of its own at every position.
        return Layout(batch_axes=tuple(range(len(shape) - 2)))
    if not is_a("Conv", "ConvTranspose"):
        return None
    size = module.kernel_size
    dimensions = 1 if isinstance(size, int) else len(size)
    if is_a("Conv"):
        made = layout(f"conv(groups={module.feature_group_count})")
        return stacked(made, dimensions + 2, shape)
    made = layout("dense")
    if module.transpose_kernel:
        made = replace(made, in_axes=(-1,), out_axes=(-2,))
    lifted = stacked(made, dimensions + 2, shape)
    return None if lifted is None else strided(lifted, shape, module.strides, dimensions)


def gates(made: dict[str, Layout], shape: tuple[int, ...], count: int, kind: Any) -> Layout:
    """A dense kernel whose out axis packs that many gates.

    >>> gates({"kernel": layout("dense")}, (3, 8), 4, "recurrent").fused
    (2, 2, 2, 2)
    """
    return replace(made["kernel"], kind=kind, fused=equal_blocks(shape[-1], count))
