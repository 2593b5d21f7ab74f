"""Flax nnx: layers are objects in the module's graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax

from jinit.frameworks._common import comes_from, path
from jinit.frameworks._layout import Layout, bias_of
from jinit.frameworks._linen import describe, gates
from jinit.typing import PyTree

# Cells whose dense layers pack gates along the out axis: (input layer, recurrent layer, gates).
_CELLS = {
    "OptimizedLSTMCell": ("dense_i", "dense_h", 4),
    "GRUCell": ("dense_i", "dense_h", 3),
}
# Cells with one dense layer a gate: their recurrent layers by the first letter of the name.
_PLAIN_CELLS = {"LSTMCell": "h", "SimpleCell": "dense_h"}


def shapes(model: Any, *inputs: Any) -> PyTree:
    """``nnx.state(model, nnx.Param)`` with ``jax.ShapeDtypeStruct`` leaves.

    >>> from flax import nnx
    >>> jax.tree.leaves(shapes(nnx.Linear(2, 3, use_bias=False, rngs=nnx.Rngs(0))))[0].shape
    (2, 3)
    """
    from flax import nnx

    def abstract(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)

    return jax.tree.map(abstract, nnx.state(model, nnx.Param))


def layers(model: Any, *inputs: Any) -> dict[str, Layout]:
    """Leaf path → layout of every layer in the graph.

    >>> from flax import nnx
    >>> layers(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))["kernel"].layer
    'Linear'
    """
    from flax import nnx

    modules = {place: node for place, node in nnx.iter_graph(model) if isinstance(node, nnx.Module)}
    found: dict[str, Layout] = {}
    for place, module in modules.items():
        leaves = {
            name: leaf
            for name, leaf in vars(module).items()
            if isinstance(leaf, nnx.Param) and leaf.shape is not None
        }
        made = describe(module, leaves)
        parent = modules.get(place[:-1]) if place else None
        made = _in_cell(parent, place[-1] if place else "", made, leaves)
        for name, one in made.items():
            found[path(*place, name)] = one
    return found


def _in_cell(
    parent: Any, name: Any, made: dict[str, Layout], leaves: dict[str, Any]
) -> dict[str, Layout]:
    """Marks the kernels of recurrent cells: which are recurrent, which pack gates."""
    known = [cell for cell in (*_CELLS, *_PLAIN_CELLS) if comes_from(parent, "flax", cell)]
    if "kernel" not in made or not known:
        return made
    cell, shape = known[0], tuple(leaves["kernel"].shape)
    if cell in _CELLS and name in _CELLS[cell][:2]:
        first, _, count = _CELLS[cell]
        kernel = gates(made, shape, count, "kernel" if name == first else "recurrent")
    elif cell in _PLAIN_CELLS and str(name).startswith(_PLAIN_CELLS[cell]):
        kernel = replace(made["kernel"], kind="recurrent")
    else:
        return made
    return {**made, "kernel": kernel, "bias": bias_of(kernel, shape)}
