"""Defines the row of the framework table: the functions and names that describe one framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from jinit.frameworks._conventions import Conventions
from jinit.frameworks._layout import Layers, Layout
from jinit.frameworks._taps import Opened, PlainApply
from jinit.initializers import NamedInitializer
from jinit.models import Model
from jinit.typing import Array, Key, ModelLike, PyTree

Preset: TypeAlias = Callable[[Layout, str, tuple[int, ...]], tuple[NamedInitializer, Layout]]
"""``preset(layout, leaf name, shape) -> (initializer, layout)``: the initializer of one leaf. The
returned layout has the fans that the framework uses, right or wrong. In a stack of layers, layout
and shape are those of one layer."""


@dataclass(frozen=True)
class Opening:
    """A model whose layers can be tapped, as a framework's ``open`` returns it.

    Attributes:
      params: the parameter tree as arrays or ``jax.ShapeDtypeStruct``.
      apply: ``apply(params, x, tap) -> outputs``, which calls ``z = tap(name, z)`` on the output of
        each layer with a kernel; the name is the path of the layer's parameters.
      batched: True if ``apply`` takes a batch ``(batch, …)``; False if it takes one example.
      over: how the opened apply of one example becomes that of a batch; None: by ``jax.vmap``.
      layouts: leaf path → layout for ``initialize``; None if leaf names are enough.
      normalized: names of layers whose values a LayerNorm standardizes before the activation.
    """

    params: PyTree
    apply: PlainApply
    batched: bool = True
    over: Callable[[Opened], Opened] | None = None
    layouts: Layers | None = None
    normalized: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Framework:
    """Everything that jinit knows about one framework.

    Attributes:
      name: an identifier, also used in messages: ``"linen"``.
      host: the value of ``host=`` and the name of its preset; linen and nnx share ``"flax"``.
      recognize: ``recognize(model) -> bool``, without importing the framework.
      conventions: axis order and fixed leaf names; equal for frameworks of one host.
      shapes: ``shapes(model, *inputs)``: the parameter tree as ``jax.ShapeDtypeStruct``. Keyword
        arguments of the model's call come as ``keywords=``, if the framework ``needs_inputs``.
      layers: ``layers(model, *inputs)``: leaf path → layout, for every layer that jinit knows;
        ``keywords=`` as for ``shapes``.
      defaults: the default initializer of each leaf; equal for frameworks of one host.
      functions: ``functions(model, x) -> Model``, with ``x`` an example batch: the model as pure
        functions, which a sweep trains; None if a model cannot be trained so.
      open_in_training: ``open_in_training(model, state, x, key) -> Opening``, with a ``model`` that
        ``functions`` made, its state and the key of its noise; None if its layers cannot be tapped.
      open: ``open(model, x) -> Opening``, with ``keywords=`` for keyword arguments of the model's
        call; None if the layers of a model cannot be tapped.
      needs_inputs: True if layers exist only while the model runs, so that ``shapes`` and
        ``layers`` need example inputs.
      classes: names of the layer classes whose kernels jinit knows; derived classes count too.
      weights: Python that gives a model's own weights as a tree of arrays; messages print it.
    """

    name: str
    host: str
    recognize: Callable[[ModelLike], bool]
    conventions: Conventions
    shapes: Callable[..., PyTree]
    layers: Callable[..., dict[str, Layout]]
    defaults: Preset
    functions: Callable[..., Model] | None = None
    open: Callable[..., Opening] | None = None
    open_in_training: Callable[[Model, PyTree, Array, Key], Opening] | None = None
    needs_inputs: bool = False
    classes: tuple[str, ...] = ()
    weights: str = "the tree of its arrays"
