"""Every layer's pre-activation, out of any model: the one thing all other probes stand on.

A probed model is ``apply(params, x, taps) -> (outputs, values)``: ``values`` holds what each layer
with a kernel gave, by the path of its parameters; ``taps`` of the same shapes are added to it. So
one forward pass shows all signals and one backward pass, with respect to taps of zeros, all their
gradients. Nothing in the user's model changes: Flax linen and Haiku let a call be intercepted,
nnx and Equinox layers are wrapped in a copy, a plain apply takes the tap as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax

from jinit import errors
from jinit.frameworks import _layers as asked
from jinit.frameworks import _taps
from jinit.frameworks._layout import Layers
from jinit.frameworks._paths import path_of
from jinit.frameworks._taps import Opened, Taps
from jinit.models import MLP
from jinit.models._mlp import tapped_apply
from jinit.typing import Array, PyTree


@dataclass(frozen=True)
class Layer:
    """One layer that has a kernel.

    Attributes:
      name: the path of its parameters; a second call of a shared layer has ``#2`` behind it.
      value: the entry of ``values`` with its pre-activations.
      index: its place in that entry, where the entry is a stack; None where it is not.
      kernel: path of its kernel.
      bias: path of its bias; None without one.
      unit_axis: the axis of its value (without a stack's) along which its units lie.
      kernel_unit_axis: the same of its kernel.
      normalized: LayerNorm stands between this value and the activation.
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
    """A model whose layers can be seen. Keep it: what was compiled for one is found by it.

    Attributes:
      apply: ``apply(params, x, taps) -> (outputs, values)``, values an ``OrderedDict``; taps None
        adds nothing.
      params: shapes of the parameters.
      layers: in the order of their calls; the last one is the output layer.
      unseen: paths of arrays of rank ≥ 2 that no layer shows: owned by a module that holds whole
        layers too, second kernels of recurrent cells, layers that were not called.
      host, layouts: what :func:`jinit.initialize` has to know of the parameters.
    """

    apply: Opened
    params: PyTree
    layers: tuple[Layer, ...]
    unseen: tuple[str, ...] = ()
    host: str = "flax"
    layouts: Layers | None = None


def capture(model: Any, x: Array, params: PyTree | None = None) -> Captured:
    """A model of any framework, opened at every layer that has a kernel.

    Args:
      model: :class:`jinit.models.MLP`, a Flax linen module, an nnx or Equinox module, a Haiku
        ``Transformed``, or a plain ``apply(params, x, tap)`` that calls
        ``z = tap("path/of/its/parameters", z)`` on each layer's pre-activation.
      x: an example batch ``(batch, …)``; Equinox modules take one example and are vmapped.
      params: shapes or arrays of the parameters; needed for a plain apply only.

    Returns:
      A :class:`Captured`.

    Raises:
      TypeError: no such model, or an ``x`` that is not an array.
      ValueError: no layer with a kernel was called, a plain apply without ``params`` or one that
        does not use what a tap gives back, a tap name that is no path of parameters, a layer inside
        ``scan``, ``remat`` or the model's own ``vmap`` (its value cannot leave), more outputs than
        one array.

    Models with state (BatchNorm in training, dropout that draws) have to be put in inference mode
    or wrapped in a plain apply.

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
    kind = "" if isinstance(model, type) else _taps.framework_of(model)
    host, layouts = kind if kind in ("equinox", "haiku") else "flax", None
    normalized: set[str] = set()
    if isinstance(model, nn.Module):
        shapes, opened, normalized = _taps.linen(model, x)
    elif kind == "nnx":
        shapes, opened = _taps.nnx(model)
    elif kind == "equinox":
        shapes, opened = _taps.equinox(model)
        layouts = asked.layers(model)
    elif kind == "haiku":
        shapes, opened = _taps.haiku(model, x)
        layouts = asked.layers(model, x)
    elif callable(model) and not isinstance(model, type):
        if params is None:
            raise errors.refusal(
                "params", None, "the parameters of a plain apply", "capture(apply, x, params)"
            )
        shapes, opened = params, _taps.plain(model)
        _taps.check_taps(opened, params, x)
    else:
        raise errors.wrong_type(
            "model", model, "a linen, nnx, Equinox or Haiku model, or apply(params, x, tap)",
            "wrap your network in a function apply(params, x, tap)",
        )  # fmt: skip
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), shapes)
    layers = tuple(
        replace(layer, normalized=layer.name.partition("#")[0] in normalized)
        for layer in _layers(opened, shapes, x, kind)
    )
    seen = {layer.kernel for layer in layers}
    unseen = tuple(
        path
        for path, leaf in by_path(shapes).items()
        if len(leaf.shape) > 1 and path not in seen and not _is_bias(path)
    )
    return Captured(opened, shapes, layers, unseen, host, layouts)


def _layers(opened: Opened, shapes: PyTree, x: Array, kind: str) -> tuple[Layer, ...]:
    """The layers that a trace of the model meets."""
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
    made = tuple(_layer(name, leaves) for name in values)
    if kind == "equinox":
        # Channels first, and (out, in, …).
        made = tuple(replace(layer, unit_axis=1, kernel_unit_axis=0) for layer in made)
    return made


def _layer(name: str, leaves: dict[str, Any]) -> Layer:
    """The kernel (the largest leaf of rank ≥ 2) and the bias below a path."""
    prefix = name.partition("#")[0]
    own = {path: leaf for path, leaf in leaves.items() if path.rpartition("/")[0] == prefix}
    kernels = sorted(
        (path for path in own if len(own[path].shape) > 1 and not _is_bias(path)),
        key=lambda path: -own[path].size,
    )
    if not kernels:
        raise errors.refusal(
            "tap name", name, "the path of a layer's parameters, one of "
            + ", ".join(sorted({p.rpartition("/")[0] or "''" for p in leaves})), "name the layer",
        )  # fmt: skip
    biases = [path for path in own if _is_bias(path)]
    return Layer(name, name, None, kernels[0], biases[0] if biases else None)


def by_path(tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree by their paths.

    >>> by_path({"dense": {"kernel": 1}})
    {'dense/kernel': 1}
    """
    return {path_of(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _is_bias(path: str) -> bool:
    return path.rpartition("/")[2] in ("bias", "b")


def _mlp_layers(model: MLP) -> tuple[Layer, ...]:
    alike = model.depth > 1 and len(set(model.features[:-1])) == 1
    made = []
    for index in range(model.depth + 1):
        name = "output" if index == model.depth else f"hidden_{index}"
        stacked = alike and 0 < index < model.depth
        made.append(
            Layer(
                name,
                "hidden" if stacked else name,
                index - 1 if stacked else None,
                f"{name}/kernel",
                f"{name}/bias" if model.use_bias else None,
                normalized=model.layer_norm and index < model.depth,
            )
        )
    return tuple(made)
