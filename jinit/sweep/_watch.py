"""Watches networks during training: probes of the parameters at every evaluation.

Loads no JAX when imported, because the grid checks the names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jinit import errors

if TYPE_CHECKING:
    from jinit.data import Dataset
    from jinit.models import Model
    from jinit.typing import Array, PyTree

PROBES = ("parameter_norm", "weight_rms", "second_moment")
WatchFunction: TypeAlias = "Callable[[PyTree], PyTree]"
Watched: TypeAlias = "tuple[tuple[str, WatchFunction | None], ...]"
"""(name, function), or (name, None) for a name of :data:`PROBES`."""

# Examples that the second moment is measured on.
_EXAMPLES = 64
# What a curve of a sweep may be called without a probe.
_TAKEN = ("train_", "test_", "validation_", "gradient_norm")


def checked_watch(watch: Any) -> Watched:
    """The probes of a grid as pairs.

    Raises:
      ValueError: an unknown name, or one that another curve has. TypeError: no function.

    >>> checked_watch("parameter_norm")
    (('parameter_norm', None),)
    """
    if isinstance(watch, str):
        watch = (watch,)
    if isinstance(watch, Mapping):
        watch = tuple(watch.items())
    if not isinstance(watch, tuple | list):
        allowed = f"names of {', '.join(PROBES)}, or a mapping from names to functions"
        raise errors.wrong_type("watch", watch, allowed, "watch='parameter_norm'")
    found: dict[str, WatchFunction | None] = {}
    for item in watch:
        name, function = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
        if function is None and name not in PROBES:
            raise errors.unknown_name("probe", name, PROBES)
        if function is not None and not callable(function):
            fix = "{'largest': lambda params: jnp.abs(params['out']['kernel']).max()}"
            raise errors.wrong_type(f"probe {name!r}", function, "a function of params", fix)
        taken = not isinstance(name, str) or name.startswith(_TAKEN) or name in found
        if taken or (function is not None and name in PROBES):
            raise errors.refusal("probe", name, "a name that no other curve has", f"'my_{name}'")
        found[name] = function
    return tuple(found.items())


def curves(watch: Watched, model: Model, params: PyTree, data: Dataset) -> dict[str, Array]:
    """Curve → float32 scalar, for one set of parameters.

    ``parameter_norm``: √Σ w² over all leaves. ``weight_rms[LEAF]``: √(mean w²) of each leaf.
    ``second_moment[LAYER]``: the mean square of each layer's pre-activations on the first 64 test
    examples. A function of the user gives ``NAME``, or ``NAME[PATH]`` for each entry of a tree.

    Args:
      watch: from :func:`checked_watch`.
      model: the network.
      params: its parameters.
      data: the data set.
    """
    import jax
    import jax.numpy as jnp

    from jinit.frameworks._paths import path_of

    def squares(leaf: Array) -> Array:
        return jnp.square(jnp.abs(leaf).astype(jnp.float32))

    found: dict[str, Any] = {}
    for name, function in watch:
        if function is not None:
            value = _called(name, function, params)
        elif name == "parameter_norm":
            value = jnp.sqrt(sum(squares(leaf).sum() for leaf in jax.tree.leaves(params)))
        elif name == "weight_rms":
            value = jax.tree.map(lambda leaf: jnp.sqrt(squares(leaf).mean()), params)
        else:
            layers = _layers(model, params, data)
            value = {layer: squares(z).mean() for layer, z in layers.items()}
        for path, leaf in jax.tree_util.tree_leaves_with_path(value):
            curve = f"{name}[{path_of(path)}]" if path else name
            found[curve] = jnp.asarray(leaf).astype(jnp.float32)
    return found


def _called(name: str, function: WatchFunction, params: PyTree) -> PyTree:
    """What a probe of the user gives; an error names the probe and the leaves that exist."""
    import jax

    from jinit.frameworks._paths import path_of

    try:
        return function(params)
    except (KeyError, AttributeError, IndexError, TypeError) as error:
        paths = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        raise errors.refusal(
            f"probe {name!r}",
            f"a function that raised {type(error).__name__}: {error}",
            f"a function of the parameters, whose leaves are {', '.join(paths[:8])}"
            + (", …" if len(paths) > 8 else ""),
            "index the tree by these names, and compute with jax.numpy",
        ) from error


def check_watch(watch: Watched, model: Model, params: PyTree, data: Dataset) -> None:
    """Traces the probes, so that their errors appear before any computation.

    Raises:
      ValueError: a value that is not one real number. TypeError: a value that is no array.
    """
    import jax

    for name, function in watch:
        one = ((name, function),)
        made = jax.eval_shape(lambda tree, one=one: curves(one, model, tree, data), params)
        wrong = [(curve, leaf.shape) for curve, leaf in made.items() if leaf.shape != ()]
        if wrong or not made:
            raise errors.refusal(
                f"value of probe {name!r}",
                f"shape {wrong[0][1]}" if wrong else "an empty tree",
                "one number, or a tree of numbers",
                "reduce it: jnp.mean(…)",
            )


def _layers(model: Model, params: PyTree, data: Dataset) -> dict[str, Array]:
    """Layer → pre-activations of the first test examples."""
    from jinit import frameworks

    if model.source is None:
        raise errors.refusal(
            "probe",
            "second_moment",
            f"a module of a framework, whose layers jinit can see, not functions ({model.name})",
            "a function of your own: watch={'name': function}",
        )
    x: Any = data.x_test[:_EXAMPLES]
    example: Any = np.zeros(x.shape, x.dtype)  # x is traced; opening the model needs an array
    captured = frameworks.capture(model.source, example)
    _, values = captured.apply(params, x, None)
    return {
        layer.name: values[layer.value] if layer.index is None else values[layer.value][layer.index]
        for layer in captured.layers
    }
