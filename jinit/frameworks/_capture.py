"""Opens a model of any framework, so that probes see every layer's pre-activation.

An opened model is ``apply(params, x, taps) -> (outputs, values)``: ``values`` holds the output of
each layer with a kernel, by the path of the layer's parameters; ``taps`` of the same shapes are
added to them. One forward pass then shows all signals, and one backward pass with respect to taps
of zeros shows all their gradients. The user's model does not change: its framework intercepts the
calls or wraps the layers of a copy, and a plain apply takes the tap as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax

from jinit import errors
from jinit.frameworks import _table, _taps
from jinit.frameworks._conventions import Conventions
from jinit.frameworks._framework import Framework, Opening
from jinit.frameworks._layout import Layers
from jinit.frameworks._paths import path_of
from jinit.frameworks._taps import Opened, Taps
from jinit.models import MLP
from jinit.models._mlp import tapped_apply
from jinit.typing import Array, ModelLike, PyTree


@dataclass(frozen=True)
class Layer:
    """One layer that has a kernel.

    Attributes:
      name: the path of its parameters; a second call of a shared layer ends in ``#2``.
      value: the key in ``values`` of its pre-activations.
      index: its index along the first axis of that value if the value stacks several layers, else
        None.
      kernel: the path of its kernel.
      bias: the path of its bias; None if it has no bias.
      unit_axis: the axis of its value (without a stack's axis) along which its units lie.
      kernel_unit_axis: the axis of its kernel along which its units lie.
      normalized: True if a LayerNorm stands between this value and the activation.
    """

    name: str
    value: str
    index: int | None
    kernel: str
    bias: str | None
    unit_axis: int = -1
    kernel_unit_axis: int = -1
    normalized: bool = False


@dataclass(frozen=True, eq=False)
class Captured:
    """A model whose layers can be seen. Reuse one instance: compiled programs are cached by it.

    Attributes:
      apply: ``apply(params, x, taps) -> (outputs, values)``; values are an ``OrderedDict``
        of arrays ``(batch, …)``, taps have the same shapes, and None adds nothing.
      params: the parameter tree as ``jax.ShapeDtypeStruct``.
      layers: the layers in the order of their calls; the last one is the output layer.
      unseen: paths of arrays of rank ≥ 2 that no layer shows: arrays of a module that also contains
        whole layers, second kernels of recurrent cells, kernels of layers that were not called.
      host: the axis order of the parameters, for :func:`jinit.initialize`.
      layouts: what the leaves are, for :func:`jinit.initialize`; None if leaf names are enough.
    """

    apply: Opened
    params: PyTree
    layers: tuple[Layer, ...]
    unseen: tuple[str, ...] = ()
    host: str = "flax"
    layouts: Layers | None = None


def capture(model: ModelLike, x: Array, params: PyTree | None = None) -> Captured:
    """Opens a model at every layer that has a kernel.

    Args:
      model: :class:`jinit.models.MLP`, a model of a framework that intercepts calls (linen, nnx,
        Haiku without state, Equinox), or a plain ``apply(params, x, tap)`` that calls
        ``z = tap("path/of/its/parameters", z)`` on each layer's pre-activation.
      x: an example batch ``(batch, …)``; Equinox modules take one example and are vmapped.
      params: shapes or arrays of the parameters; only a plain apply needs them.

    Returns:
      A :class:`Captured`.

    Raises:
      TypeError: a model that cannot be opened, or an ``x`` that is not an array.
      ValueError: no layer with a kernel is called; a plain apply comes without ``params`` or drops
        a tap's return value; a tap name is not a path of parameters; a layer is inside ``scan``,
        ``remat`` or the model's own ``vmap``, which its value cannot leave; the model returns more
        than one array.

    Put a model with state (BatchNorm in training, dropout that draws) in inference mode, or wrap it
    in a plain apply.

    >>> import jax.numpy as jnp
    >>> model = MLP(features=(8, 3))
    >>> [layer.name for layer in capture(model, jnp.zeros((5, 4))).layers]
    ['hidden_0', 'output']
    """
    if not hasattr(x, "shape") or x.ndim < 1:
        raise errors.wrong_type("x", x, "an example batch (batch, …)", "pass an array")
    if not x.size:
        raise errors.refusal("x", f"shape {x.shape}", "at least one example", "pass a batch")
    if type(model) is MLP:
        # A subclass may compute something else.
        shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]

        def apply(params: PyTree, x: Array, taps: Taps | None) -> tuple[Array, Taps]:
            return tapped_apply(model, params, x, taps)

        return Captured(apply, shapes, _mlp_layers(model))
    framework = _table.find(model)
    opening, host = _open(model, framework, x, params), framework.host if framework else "flax"
    opened = _taps.plain(opening.apply)
    if not opening.batched:
        opened = jax.vmap(opened, in_axes=(None, 0, 0))
    if framework is None:
        _taps.check_taps(opened, opening.params, x)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), opening.params)
    conventions = _table.conventions_of(host)
    layers = tuple(
        replace(layer, normalized=layer.name.partition("#")[0] in opening.normalized)
        for layer in _layers(opened, shapes, x, conventions)
    )
    seen = {layer.kernel for layer in layers}
    unseen = tuple(
        path
        for path, leaf in by_path(shapes).items()
        if len(leaf.shape) > 1 and path not in seen and not _is_bias(path, conventions)
    )
    return Captured(opened, shapes, layers, unseen, host, opening.layouts)


def _open(
    model: ModelLike, framework: Framework | None, x: Array, params: PyTree | None
) -> Opening:
    """Opens a model by the row of its framework, or as a plain apply."""
    if framework is not None and framework.open is not None:
        return framework.open(model, x)
    if framework is not None or not callable(model) or isinstance(model, type):
        raise errors.wrong_type(
            "model",
            model if framework is None else f"a {framework.name} model, whose layers stay closed",
            f"a model of {_table.listed(opened=True)}, or apply(params, x, tap)",
            "wrap your network in a function apply(params, x, tap)",
        )
    if params is None:
        raise errors.refusal(
            "params", None, "the parameters of a plain apply", "capture(apply, x, params)"
        )
    return Opening(params, model)


def _layers(
    opened: Opened, shapes: PyTree, x: Array, conventions: Conventions
) -> tuple[Layer, ...]:
    """The layers that a trace of the model calls, in the order of the calls."""
    outputs, values = jax.eval_shape(lambda params, x: opened(params, x, None), shapes, x)
    if not isinstance(outputs, jax.ShapeDtypeStruct):
        raise errors.refusal(
            "outputs", type(outputs).__name__, "one array", "return one from a wrapping apply"
        )
    if not values:
        raise errors.refusal(
            "model",
            "no layer with a kernel was called",
            "at least one",
            "see jinit.frameworks.capture",
        )
    leaves = by_path(shapes)
    marked = [path for path in leaves if "#" in path]
    if marked:
        raise errors.refusal(
            "parameter", marked[0], "names without '#', which marks second calls", "rename it"
        )
    return tuple(_layer(name, leaves, conventions) for name in values)


def _layer(name: str, leaves: Mapping[str, Array], conventions: Conventions) -> Layer:
    """The layer at a path: its kernel is the largest leaf of rank ≥ 2 that is not a bias."""
    prefix = name.partition("#")[0]
    own = {path: leaf for path, leaf in leaves.items() if path.rpartition("/")[0] == prefix}
    biases = [path for path in own if _is_bias(path, conventions)]
    kernels = sorted(
        (path for path in own if len(own[path].shape) > 1 and path not in biases),
        key=lambda path: -own[path].size,
    )
    if not kernels:
        paths = sorted({path.rpartition("/")[0] or "''" for path in leaves})
        raise errors.refusal(
            "tap name",
            name,
            f"the path of a layer's parameters, one of {', '.join(paths)}",
            "name the layer",
        )
    return Layer(
        name,
        name,
        None,
        kernels[0],
        biases[0] if biases else None,
        unit_axis=-1 if conventions.channels_last else 1,
        kernel_unit_axis=conventions.kernel[1],
    )


def by_path(tree: PyTree) -> dict[str, Array]:
    """Path → leaf, in the tree's order.

    >>> by_path({"dense": {"kernel": 1}})
    {'dense/kernel': 1}
    """
    return {path_of(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _is_bias(path: str, conventions: Conventions) -> bool:
    return path.rpartition("/")[2] in conventions.biases


def _mlp_layers(model: MLP) -> tuple[Layer, ...]:
    """The layers of jinit's MLP; equal hidden layers are stacked in one value."""
    alike = model.depth > 1 and len(set(model.features[:-1])) == 1
    layers = []
    for index in range(model.depth + 1):
        name = "output" if index == model.depth else f"hidden_{index}"
        stacked = alike and 0 < index < model.depth
        layers.append(
            Layer(
                name,
                "hidden" if stacked else name,
                index - 1 if stacked else None,
                f"{name}/kernel",
                f"{name}/bias" if model.use_bias else None,
                normalized=model.layer_norm and index < model.depth,
            )
        )
    return tuple(layers)
