"""Lists the leaves of a parameter tree; layouts come from ``layers`` or from leaf names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.frameworks._conventions import Conventions
from jinit.frameworks._layout import Layers, Layout, bias_of
from jinit.frameworks._nnx import variables
from jinit.frameworks._paths import leaf_name, path_of
from jinit.frameworks._table import conventions_of, find, statistics_of
from jinit.frameworks._torch import TORCH, is_tensor
from jinit.parameters._patterns import check_all_used, matches
from jinit.typing import Array, PyTree


@dataclass(frozen=True)
class TreeLeaf:
    """One leaf of a parameter tree.

    Attributes:
      path: components joined by ``/``.
      value: the array, or its shape and dtype.
      layout: the leaf's layout; None if neither ``layers`` nor the name determines it.
      is_state: True for a PRNG key and for the count of an nnx ``RngStream``.
      statistic: what running statistic the leaf is; "" if it is none.
    """

    path: str
    value: Array | jax.ShapeDtypeStruct
    layout: Layout | None
    is_state: bool = False
    statistic: str = ""


def tree_leaves(tree: PyTree, host: str, layers: Layers | None) -> list[TreeLeaf]:
    """The leaves of a parameter tree with their layouts, in the tree's order.

    >>> leaf = jax.ShapeDtypeStruct((3, 2), "float32")
    >>> tree_leaves({"kernel": leaf}, "flax", None)[0].layout.kind
    'kernel'
    """
    values = _values_by_path(tree)
    layouts = _layouts(values, conventions_of(host), layers)
    random, statistics = variables(tree, "RngState"), statistics_of(tree, values)
    return [
        TreeLeaf(path, value, layouts[path], path in random or _is_key(value), statistics[path])
        for path, value in values.items()
    ]


def _is_key(value: Array | jax.ShapeDtypeStruct) -> bool:
    return bool(jnp.issubdtype(value.dtype, jax.dtypes.prng_key))


def _values_by_path(tree: PyTree) -> dict[str, Array | jax.ShapeDtypeStruct]:
    """Path → leaf, in the tree's order; checks that leaves are arrays and paths are unique."""
    values: dict[str, Array | jax.ShapeDtypeStruct] = {}
    try:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
    except ValueError:  # JAX sorts the keys of a dict
        raise errors.wrong_type(
            "parameter tree", "a dict whose keys cannot be sorted", "text keys", "use text keys"
        ) from None
    for key_path, value in leaves:
        path = path_of(key_path)
        if not path:
            _check_is_no_model(value)
        if isinstance(value, type) or not (hasattr(value, "shape") and hasattr(value, "dtype")):
            raise errors.wrong_type(
                f"leaf {path!r}",
                value,
                "an array or its shape",
                "pass frameworks.shapes(model, x) or jax.eval_shape(init, …); to keep existing "
                "weights, eqx.filter(model, eqx.is_array)",
            )
        if is_tensor(value):
            raise errors.wrong_type(
                f"leaf {path!r}",
                f"a torch tensor of {value.dtype}",
                "an array of JAX or NumPy, or its shape",
                TORCH.weights,
            )
        if path in values:
            raise errors.refusal(
                f"path {path!r}",
                "two leaves",
                "one leaf",
                "names that contain '/' can give two leaves one path: rename one of them",
            )
        values[path] = value
    return values


def _check_is_no_model(value: PyTree) -> None:
    """Refuses a model, or another single object, in place of a tree of arrays."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return
    framework = find(value)
    own = "the tree of its arrays" if framework is None else framework.weights
    raise errors.wrong_type(
        "parameter tree",
        value,
        "a tree of arrays or shapes, such as a dict",
        f"pass frameworks.shapes(model, x); to keep existing weights, {own}",
    )


def _check_same_root(paths: Iterable[str], known: Mapping[str, Layout]) -> None:
    """Refuses a tree one level above the paths of a model's layers, such as linen's variables.

    Without a known path, every rule that needs axes would blame the layers.
    """
    paths = list(paths)
    if any(path in known for path in paths):
        return
    inner = next((path for path in paths if path.partition("/")[2] in known), None)
    if inner is not None:
        root, _, own = inner.partition("/")
        raise errors.refusal(
            "parameter tree",
            f"paths such as {inner!r}",
            f"the paths of layers, such as {own!r}",
            f"pass the inner tree, variables[{root!r}], and put the result back: "
            f"{{**variables, {root!r}: drawn}}",
        )


def _layouts(
    values: Mapping[str, Array | jax.ShapeDtypeStruct],
    conventions: Conventions,
    layers: Layers | None,
) -> dict[str, Layout | None]:
    """The layout of each leaf: from ``layers``, else from its name by the host's conventions."""
    given = {} if layers is None else layers
    if not isinstance(given, Mapping) or not all(isinstance(pattern, str) for pattern in given):
        raise errors.wrong_type(
            "layers", layers, "a mapping from pattern to layer", "{'*/kernel': 'dense'}"
        )
    empty, layers = layers is not None and not given, given
    named = {pattern: conventions.layout(layer) for pattern, layer in layers.items()}
    used: set[str] = set()
    # Layouts taken from a model are complete, even if empty: no other leaf is read by its name.
    found = {path: layer for path, layer in layers.items() if isinstance(layer, Layout)}
    from_model = empty or any(isinstance(layer, Layout) for layer in layers.values())
    _check_same_root(values, found)
    matrices = Counter(_layer_of(path) for path, value in values.items() if len(value.shape) > 1)
    layouts: dict[str, Layout | None] = {}
    for path, value in values.items():
        pattern = path if path in named else next((p for p in named if matches(p, path)), None)
        if pattern is not None:
            used.add(pattern)
            layouts[path] = named[pattern]
        elif from_model:
            layouts[path] = None
        else:
            alone = matrices[_layer_of(path)] <= 1
            kind = conventions.usual_kind(leaf_name(path), tuple(value.shape), alone)
            layouts[path] = conventions.layout(kind) if kind else None
    # A tree may lack some of a model's layers, but must use every entry that a user wrote.
    written = [pattern for pattern, layer in layers.items() if not isinstance(layer, Layout)]
    check_all_used("layers entry", written, used, values)
    biases = [path for path in layouts if leaf_name(path) in conventions.biases]
    return layouts | {path: _with_fans(path, layouts, values) for path in biases}


def _layer_of(path: str) -> str:
    """The path of a leaf's layer, up to and including the last ``/`` or ``.``."""
    return path[: len(path) - len(leaf_name(path))]


def _with_fans(
    path: str,
    layouts: Mapping[str, Layout | None],
    values: Mapping[str, Array | jax.ShapeDtypeStruct],
) -> Layout | None:
    """The layout of a bias, with the fans of its layer's kernel if the layer has exactly one."""
    own = layouts[path]
    if own is not None and (own.kind != "bias" or own.fan_in is not None):
        return own
    kernels = [
        (layout, tuple(values[other].shape))
        for other, layout in layouts.items()
        if layout is not None
        and layout.kind in ("kernel", "recurrent")
        and _layer_of(other) == _layer_of(path)
    ]
    return bias_of(*kernels[0]) if len(kernels) == 1 else own
