"""Haiku: layers are seen while the transformed function is initialized abstractly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax

from jinit import initializers
from jinit.frameworks._common import (
    comes_from,
    equal_blocks,
    is_library_layer,
    path,
    stacked,
    strided,
    vector,
)
from jinit.frameworks._layout import Layout, bias_of, layout
from jinit.typing import Initializer, PyTree


def shapes(model: Any, *inputs: Any) -> PyTree:
    """The parameter dictionary as ``jax.ShapeDtypeStruct``.

    >>> import jax.numpy as jnp, pytest
    >>> hk = pytest.importorskip("haiku")
    >>> shapes(hk.transform(lambda x: hk.Linear(3)(x)), jnp.zeros((1, 2)))["linear"]["w"].shape
    (2, 3)
    """
    # A new function each time: JAX would not run again what it has traced before, and nobody
    # would see the layers.
    made = jax.eval_shape(lambda *args: model.init(*args), jax.random.key(0), *inputs)
    return made[0] if comes_from(model, "haiku", "TransformedWithState") else made


def layers(model: Any, *inputs: Any) -> dict[str, Layout]:
    """Leaf path → layout of every layer that runs on these inputs.

    >>> import jax.numpy as jnp, pytest
    >>> hk = pytest.importorskip("haiku")
    >>> layers(hk.transform(lambda x: hk.Linear(3)(x)), jnp.zeros((1, 2)))["linear/w"].layer
    'Linear'
    """
    import haiku as hk

    seen: dict[str, Any] = {}

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name == "__call__":
            seen[context.module.module_name] = context.module
        return call(*args, **kwargs)

    with hk.intercept_methods(record):
        tree = shapes(model, *inputs)
    found: dict[str, Layout] = {}
    for place, leaves in tree.items():
        # Inside layer_stack a module does not know the names around it.
        names = [name for name in seen if place == name or place.endswith(f"/{name}")]
        if not names:
            continue
        own = max(names, key=len)
        cell = seen.get(own.rpartition("/")[0]) if "/" in own else None
        for name, made in _describe(seen[own], leaves, cell).items():
            found[path(place, name)] = made
    return found


def _describe(module: Any, leaves: Any, parent: Any) -> dict[str, Layout]:
    def is_a(*names: str) -> bool:
        return comes_from(module, "haiku", *names)

    name = type(module).__name__
    if not is_library_layer(module, "haiku"):
        return {}
    found = {leaf: vector(name) for leaf in leaves}
    if is_a("Embed"):
        return {leaf: replace(layout("embedding"), layer=name) for leaf in leaves}
    if is_a("VectorQuantizer"):  # (features, codes)
        return {leaf: Layout("embedding", name, (1,), (0,), fan_in=1.0) for leaf in leaves}
    if is_a("GRU"):
        for leaf, kind in (("w_i", "kernel"), ("w_h", "recurrent")):
            found[leaf] = _gates(kind, name, leaves[leaf].shape, 3)
        found["b"] = bias_of(found["w_i"], leaves["w_i"].shape)
        return found
    if "w" not in leaves:
        return found
    shape = leaves["w"].shape
    if is_a("Linear"):
        packed = comes_from(parent, "haiku", "LSTM") if parent is not None else False
        kernel = _gates("kernel", name, shape, 4) if packed else layout("dense")
        if module.name == "hidden_to_hidden" and comes_from(parent, "haiku", "VanillaRNN"):
            kernel = replace(kernel, kind="recurrent")
    elif is_a("ConvNDTranspose"):
        kernel, dimensions = layout("transposed", "haiku"), len(module.kernel_shape)
        kernel = strided(kernel, shape[-dimensions - 2 :], module.stride, dimensions)
    elif is_a("DepthwiseConv1D", "DepthwiseConv2D", "DepthwiseConv3D"):
        # (…, 1, channels · multiplier): every output has one input channel of its own.
        kernel = layout(f"conv(groups={shape[-1] // module.channel_multiplier})")
    elif is_a("ConvND"):
        kernel = layout(f"conv(groups={module.feature_group_count})")
    else:
        return {leaf: made for leaf, made in found.items() if leaf not in ("w", "b")}
    own_rank = 2 if is_a("Linear") else len(module.kernel_shape) + 2
    lifted = stacked(replace(kernel, layer=name), own_rank, shape)
    if lifted is None:
        return {}
    return {**found, "w": lifted, "b": bias_of(lifted, shape)}


def _gates(kind: Any, layer: str, shape: tuple[int, ...], count: int) -> Layout:
    return replace(layout("dense"), kind=kind, layer=layer, fused=equal_blocks(shape[-1], count))


def haiku(initializer: str | Initializer) -> Any:
    """A Haiku initializer that draws with jinit, for ``w_init=``; the key is ``hk.next_rng_key()``.

    Args:
      initializer: a spec string or any ``init(key, shape, dtype)``.

    Raises:
      ValueError: an unknown name.

    >>> import pytest
    >>> hk = pytest.importorskip("haiku")
    >>> model = hk.transform(lambda x: hk.Linear(3, w_init=haiku("zeros"))(x))
    >>> float(abs(model.init(jax.random.key(0), jax.numpy.ones((1, 2)))["linear"]["w"]).sum())
    0.0
    """
    draw = initializers.get(initializer)

    def make(shape: Any, dtype: Any) -> Any:
        import haiku as hk

        return draw(hk.next_rng_key(), shape, dtype)

    return make
