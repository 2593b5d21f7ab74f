"""Opens a model, so that probes see the pre-activation of every layer.

An opened model is ``apply(params, x, taps) -> (outputs, values)``: ``values`` maps the path of a
layer's parameters to the output of the layer, for each layer with a kernel; ``taps`` are arrays of
the same shapes that are added to these outputs. One forward pass then gives all pre-activations,
and one backward pass with respect to taps of zeros gives all their gradients. The user's model does
not change: jinit intercepts its calls or wraps the layers of a copy. A plain apply takes ``tap`` as
an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax

from jinit import errors
from jinit._anew import anew
from jinit._examples import check_examples
from jinit.frameworks import _table, _taps
from jinit.frameworks._conventions import Conventions
from jinit.frameworks._framework import Framework, Opening
from jinit.frameworks._layers import raised_by_model
from jinit.frameworks._layout import Layers, Layout
from jinit.frameworks._paths import path_of
from jinit.frameworks._taps import Opened, Taps
from jinit.models import MLP, Model
from jinit.models._mlp import tapped_apply
from jinit.typing import Array, Key, ModelLike, PyTree


@dataclass(frozen=True)
class Layer:
    """One layer that has a kernel.

    Attributes:
      name: the path of the layer's parameters; ``#2`` marks the second call of a shared layer.
      value: the key of the layer's pre-activations in ``values``.
      index: the layer's index along the first axis of this value if the value stacks several
        layers, else None.
      kernel: the path of the kernel.
      bias: the path of the bias; None if the layer has no bias.
      unit_axis: the axis of the value (not counting the stack axis) along which the units lie.
      kernel_unit_axis: the axis of the kernel along which the units lie; the last one, if units
        have several axes.
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
    """A model opened by :func:`capture`. Reuse one instance: programs are cached per instance.

    Attributes:
      apply: ``apply(params, x, taps) -> (outputs, values)``; values are an ``OrderedDict``
        of arrays ``(batch, …)``, taps have the same shapes, and ``taps=None`` adds nothing.
      params: the parameter tree as ``jax.ShapeDtypeStruct``.
      layers: the layers in the order of their calls; the last one is the output layer.
      unseen: paths of arrays of rank ≥ 2, except biases, that are the kernel of no captured layer:
        arrays of a module that also contains other layers, second kernels of recurrent cells,
        kernels of layers that were not called.
      host: the axis order of the parameters, for :func:`jinit.initialize`.
      layouts: leaf path → layout, for :func:`jinit.initialize`; None if leaf names are enough.
    """

    apply: Opened
    params: PyTree
    layers: tuple[Layer, ...]
    unseen: tuple[str, ...] = ()
    host: str = "flax"
    layouts: Layers | None = None


def capture(
    model: ModelLike,
    x: Array,
    params: PyTree | None = None,
    *,
    keywords: Mapping[str, PyTree] | None = None,
) -> Captured:
    """Opens a model, so that every layer with a kernel can be observed and perturbed.

    Args:
      model: :class:`jinit.models.MLP`, a model of a framework whose layers can be tapped (linen,
        nnx, Haiku without state, Equinox), or a plain ``apply(params, x, tap)`` that calls
        ``z = tap("path/of/its/parameters", z)`` on each layer's pre-activation.
      x: an example batch ``(batch, …)``; Equinox modules take one example and are vmapped.
      params: shapes or arrays of the parameters; only a plain apply needs them.
      keywords: keyword arguments of the model's call, such as ``{"deterministic": True}``; the same
        for every call. A plain apply takes none.

    Returns:
      A :class:`Captured`.

    Raises:
      TypeError: a model that cannot be opened, or an ``x`` that is not an array.
      ValueError: no layer with a kernel is called; a plain apply is passed without ``params`` or
        ignores what ``tap`` returns; a tap name is not the path of a layer's parameters; a layer is
        called inside ``scan``, ``remat`` or the model's own ``vmap``; the model returns more than
        one array.

    Put a model with state (BatchNorm in training, dropout that draws) in inference mode, or wrap it
    in a plain apply.

    >>> import jax.numpy as jnp
    >>> model = MLP(features=(8, 3))
    >>> [layer.name for layer in capture(model, jnp.zeros((5, 4))).layers]
    ['hidden_0', 'output']
    """
    check_examples(x, abstract=True)
    if type(model) is MLP:
        # A subclass may compute something else.
        shapes = jax.eval_shape(anew(model.init), jax.random.key(0), x)["params"]

        def apply(params: PyTree, x: Array, taps: Taps | None) -> tuple[Array, Taps]:
            return tapped_apply(model, params, x, taps)

        return Captured(apply, shapes, _mlp_layers(model))
    framework = _table.find(model)
    opening = _open(model, framework, x, params, keywords or {})
    return _captured(opening, framework, x)


def capture_in_training(model: Model, state: PyTree, x: Array, key: Key) -> Captured:
    """Opens a model with state, noise or two modes as it runs in a training step.

    Args:
      model: from :func:`jinit.frameworks.as_model`, with a ``StatefulApply``.
      state: the state of the model, such as running statistics; () if there is none.
      x: an example batch ``(batch, …)``.
      key: of the noise, the same in every call.

    Raises:
      TypeError: functions of the user, or a model whose layers cannot be tapped.
    """
    framework = _table.find(model.source)
    if framework is None or framework.open_in_training is None:
        raise errors.wrong_type(
            "model",
            f"functions ({model.name})" if framework is None else f"a {framework.name} model",
            f"a model of {_table.listed(opened=True)}, whose layers can be tapped",
            "pass the module itself",
        )
    return _captured(framework.open_in_training(model, state, x, key), framework, x)


def _captured(opening: Opening, framework: Framework | None, x: Array) -> Captured:
    """Finds the layers of an opened model."""
    host = framework.host if framework else "flax"
    opened = _taps.plain(opening.apply)
    if opening.over is not None:
        opened = opening.over(opened)
    elif not opening.batched:
        opened = jax.vmap(opened, in_axes=(None, 0, 0))
    if framework is None:
        _taps.check_taps(opened, opening.params, x)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), opening.params)
    conventions = _table.conventions_of(host)
    layers = tuple(
        replace(layer, normalized=layer.name.partition("#")[0] in opening.normalized)
        for layer in _layers(opened, shapes, x, conventions, opening.layouts or {})
    )
    seen = {layer.kernel for layer in layers}
    unseen = tuple(
        path
        for path, leaf in by_path(shapes).items()
        if len(leaf.shape) > 1 and path not in seen and not _is_vector(path, leaf, conventions)
    )
    return Captured(opened, shapes, layers, unseen, host, opening.layouts)


def _open(
    model: ModelLike,
    framework: Framework | None,
    x: Array,
    params: PyTree | None,
    keywords: Mapping[str, PyTree],
) -> Opening:
    """Opens a model by the ``open`` of its framework, or as a plain apply."""
    if framework is not None and framework.open is not None:
        try:
            return framework.open(model, x, **({"keywords": keywords} if keywords else {}))
        except errors.Refusal:
            raise
        except Exception as error:
            if not framework.needs_inputs:
                raise
            raise raised_by_model("capture", 1, error) from error
    if keywords:
        raise errors.refusal(
            "keywords",
            sorted(keywords),
            "no keywords for a plain apply(params, x, tap)",
            "set them inside the apply",
        )
    if framework is not None or not callable(model) or isinstance(model, type):
        raise errors.wrong_type(
            "model",
            model if framework is None else f"a {framework.name} model, which cannot be tapped",
            f"a model of {_table.listed(opened=True)}, or apply(params, x, tap)",
            "wrap your network in a function apply(params, x, tap)",
        )
    if params is None:
        raise errors.refusal(
            "params", None, "the parameters of a plain apply", "capture(apply, x, params)"
        )
    return Opening(params, model)


def _layers(
    opened: Opened, shapes: PyTree, x: Array, conventions: Conventions, layouts: Layers
) -> tuple[Layer, ...]:
    """The layers that the model calls while it is traced, in the order of the calls."""
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
    return tuple(_layer(name, leaves, conventions, layouts) for name in values)


def _layer(
    name: str, leaves: Mapping[str, Array], conventions: Conventions, layouts: Layers
) -> Layer:
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
    layout = layouts.get(kernels[0])
    axes = layout.out_axes if isinstance(layout, Layout) and layout.is_cut else ()
    return Layer(
        name,
        name,
        None,
        kernels[0],
        biases[0] if biases else None,
        unit_axis=-1 if conventions.channels_last else 1,
        kernel_unit_axis=axes[-1] if axes else conventions.kernel[1],
    )


def by_path(tree: PyTree) -> dict[str, Array]:
    """Path → leaf, in the tree's order.

    >>> by_path({"dense": {"kernel": 1}})
    {'dense/kernel': 1}
    """
    return {path_of(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _is_bias(path: str, conventions: Conventions) -> bool:
    return path.rpartition("/")[2] in conventions.biases


def _is_vector(path: str, leaf: Array, conventions: Conventions) -> bool:
    """Whether a leaf is a bias, or a scale with axes of size 1 before its units."""
    is_scale = path.rpartition("/")[2] in conventions.vectors and leaf.size == leaf.shape[-1]
    return is_scale or _is_bias(path, conventions)


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
