"""Flax linen: layers are seen while the module is initialized abstractly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax

from jinit.parameters.hosts.common import bias_of, comes_from, equal_blocks, path, strided, vector
from jinit.parameters.layout import Layout, layout
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

    seen: dict[tuple[str, ...], Any] = {}

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        seen[context.module.path] = context.module.clone(parent=None)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        tree = shapes(model, *inputs)
    found: dict[str, Layout] = {}
    for place, module in seen.items():
        node: Any = tree
        for part in place:
            node = node.get(part, {}) if hasattr(node, "get") else {}
        leaves = {name: leaf for name, leaf in node.items() if hasattr(leaf, "shape")}
        for name, made in describe(module, leaves).items():
            found[path(*place, name)] = made
    return found


def describe(module: Any, leaves: dict[str, Any]) -> dict[str, Layout]:
    """Layouts of the leaves of one linen or nnx layer, by leaf name.

    >>> import flax.linen as nn, jax
    >>> kernel = jax.ShapeDtypeStruct((4, 3), "float32")
    >>> describe(nn.Dense(3), {"kernel": kernel})["kernel"].layer
    'Dense'
    """
    name = type(module).__name__
    named = {leaf: vector(name) for leaf in leaves if leaf in ("scale", "bias", "mean", "var")}
    kernel = leaves.get("kernel")
    if "embedding" in leaves:
        return {**named, "embedding": replace(layout("embedding"), layer=name)}
    if kernel is None:
        return named
    made = _kernel(module, kernel.shape)
    if made is None:
        return {}
    made = replace(made, layer=name)
    return {**named, "kernel": made, "bias": bias_of(made, kernel.shape)}


def _kernel(module: Any, shape: tuple[int, ...]) -> Layout | None:
    def is_a(*names: str) -> bool:
        return comes_from(module, "flax", *names)

    if is_a("DenseGeneral", "LinearGeneral"):
        batch = getattr(module, "batch_dims", None)
        batch = dict(module.batch_axis) if batch is None else batch
        count_batch = len(batch) if hasattr(batch, "__len__") else 1
        axis = module.axis if isinstance(module.axis, tuple | list) else (module.axis,)
        count_out = len(shape) - count_batch - len(axis)
        return layout(f"dense(inputs={len(axis)}, outputs={count_out}, batch={count_batch})")
    if is_a("Dense", "Linear", "DenseParams"):
        return layout("dense")
    if is_a("ConvTranspose"):
        made = layout("dense")
        if module.transpose_kernel:
            made = replace(made, in_axes=(-1,), out_axes=(-2,))
        fans = made.fans(shape)
        assert fans is not None
        return replace(made, fan_in=strided(fans.fan_in, module.strides, len(shape) - 2))
    if is_a("Conv", "ConvLocal"):
        return layout(f"conv(groups={module.feature_group_count})")
    return None


def gates(made: dict[str, Layout], shape: tuple[int, ...], count: int, kind: Any) -> Layout:
    """A dense kernel whose out axis packs that many gates.

    >>> gates({"kernel": layout("dense")}, (3, 8), 4, "recurrent").fused
    (2, 2, 2, 2)
    """
    return replace(made["kernel"], kind=kind, fused=equal_blocks(shape[-1], count))
