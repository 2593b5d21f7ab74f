"""Equinox: layers are nodes of the module, which is the parameter tree itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax

from jinit import errors
from jinit.frameworks._common import comes_from, equal_blocks, path, stacked, strided, vector
from jinit.frameworks._layout import Layout, bias_of, layout
from jinit.frameworks._paths import path_of
from jinit.typing import PyTree

_KNOWN = (
    "Linear", "Conv", "ConvTranspose", "Embedding", "GRUCell", "LSTMCell",
    "LayerNorm", "GroupNorm", "RMSNorm", "BatchNorm", "PReLU",
)  # fmt: skip


def shapes(model: Any, *inputs: Any) -> PyTree:
    """The module itself: its floating-point arrays are what ``initialize`` draws.

    >>> import jax, pytest
    >>> eqx = pytest.importorskip("equinox")
    >>> shapes(eqx.nn.Linear(2, 3, key=jax.random.key(0))).weight.shape
    (3, 2)
    """
    import equinox as eqx

    def is_state(node: Any) -> bool:
        return comes_from(node, "equinox", "StateIndex")

    # Running statistics are state, not parameters.
    chosen = jax.tree.map(
        lambda node: not is_state(node) and eqx.is_inexact_array(node), model, is_leaf=is_state
    )
    return eqx.filter(model, chosen)


def layers(model: Any, *inputs: Any) -> dict[str, Layout]:
    """Leaf path → layout of every layer in the module.

    >>> import jax, pytest
    >>> eqx = pytest.importorskip("equinox")
    >>> layers(eqx.nn.Linear(2, 3, key=jax.random.key(0)))["weight"].in_axes
    (1,)
    """

    def known(node: Any) -> bool:
        return comes_from(node, "equinox", *_KNOWN)

    for node in jax.tree.leaves(model, is_leaf=lambda node: comes_from(node, "equinox", "Shared")):
        if comes_from(node, "equinox", "Shared"):
            raise errors.refusal(
                "model", "equinox.nn.Shared", "layers with arrays of their own",
                "keep the array once and use it twice in __call__",
            )  # fmt: skip
    found: dict[str, Layout] = {}
    for place, node in jax.tree_util.tree_leaves_with_path(model, is_leaf=known):
        if known(node):
            for name, made in _describe(node).items():
                found[path(path_of(place), name)] = made
    return found


def _describe(node: Any) -> dict[str, Layout]:
    def is_a(*names: str) -> bool:
        return comes_from(node, "equinox", *names)

    name = type(node).__name__
    if is_a("GRUCell", "LSTMCell"):
        count = 3 if is_a("GRUCell") else 4
        if node.weight_ih.ndim != 2:
            return {}
        sizes = equal_blocks(node.weight_ih.shape[0], count)
        cell = replace(layout("dense", "equinox"), layer=name, fused=sizes)
        inner = replace(cell, kind="recurrent")
        bias = bias_of(inner, node.weight_hh.shape)
        return {"weight_ih": cell, "weight_hh": inner, "bias": bias, "bias_n": bias}
    if is_a("Embedding"):
        lifted = stacked(replace(layout("embedding"), layer=name), 2, node.weight.shape)
        return {} if lifted is None else {"weight": lifted}
    if is_a("Linear"):
        kernel = layout("dense", "equinox")
    elif is_a("ConvTranspose"):
        kernel, dimensions = layout("transposed", "equinox"), node.num_spatial_dims
        kernel = replace(kernel, groups=node.groups)
        kernel = strided(kernel, node.weight.shape[-dimensions - 2 :], node.stride, dimensions)
    elif is_a("Conv"):
        kernel = layout(f"conv(groups={node.groups})", "equinox")
    else:
        return {leaf: vector(name) for leaf in ("weight", "bias", "negative_slope")}
    own_rank = 2 if is_a("Linear") else node.num_spatial_dims + 2
    lifted = stacked(replace(kernel, layer=name), own_rank, node.weight.shape)
    if lifted is None:
        return {}
    return {"weight": lifted, "bias": bias_of(lifted, node.weight.shape)}
