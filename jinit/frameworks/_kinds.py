"""Registers the layer kinds that a spec string can name; each is a function that makes a layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from jinit import errors
from jinit._registry import Registry
from jinit.frameworks._layout import Layout
from jinit.initializers import _blocks

LayerKind: TypeAlias = Callable[..., Layout]
_FUSED = "fused((64, 64, 64))"


def layer_kinds() -> tuple[str, ...]:
    """The names of layer kinds that :func:`jinit.frameworks.layout` accepts.

    Returns:
      Names in the order of registration.

    >>> layer_kinds()[:3]
    ('dense', 'conv', 'transposed')
    """
    return _kinds.names()


def get_layer_kind(name: str) -> LayerKind:
    """The factory of a layer kind.

    Args:
      name: one of :func:`layer_kinds`.

    Raises:
      ValueError: the name is unknown; the message suggests the nearest name.

    >>> get_layer_kind("conv")(groups=2).groups
    2
    """
    return _kinds.get(name)


def register_layer_kind(name: str, factory: LayerKind) -> None:
    """Adds a layer kind to this process; registering the same factory again changes nothing.

    Args:
      name: an identifier that is not yet taken; ``layers={pattern: name}`` then accepts it.
      factory: returns a :class:`Layout`; its parameters become the arguments of the spec string.
        A layout with ``in_axes=(-2,), out_axes=(-1,)`` gets each framework's own in and out axes;
        all other axes are the same in every framework.

    Raises:
      ValueError: the name is taken by another kind, or is not an identifier.
      TypeError: the factory is not callable.

    >>> def attention(heads):
    ...     return Layout(layer="attention", batch_axes=(0,), in_axes=(1,), out_axes=(2,))
    >>> register_layer_kind("attention", attention)
    >>> get_layer_kind("attention")(heads=2).batch_axes
    (0,)
    >>> _kinds.remove("attention")
    """
    _kinds.register(name, factory)


def _dense(inputs: int = 1, outputs: int = 1, batch: int = 0) -> Layout:
    for name, count, least in (("inputs", inputs, 1), ("outputs", outputs, 1), ("batch", batch, 0)):
        errors.check_integer(f"dense {name}", count, low=least, fix="dense(inputs=2, outputs=1)")
    if (inputs, outputs, batch) == (1, 1, 0):
        return Layout(layer="dense")
    start, middle = batch, batch + inputs
    return Layout(
        layer="dense",
        batch_axes=tuple(range(batch)),
        in_axes=tuple(range(start, middle)),
        out_axes=tuple(range(middle, middle + outputs)),
        added=tuple(range(batch)),
    )


def _grouped(layer: str) -> LayerKind:
    def kind(groups: int = 1) -> Layout:
        errors.check_integer(f"{layer} groups", groups, low=1, fix=f"{layer}(groups=4)")
        return Layout(layer=layer, groups=groups)

    return kind


def _fused(blocks: tuple[int, ...]) -> Layout:
    return Layout(layer="fused", fused=_blocks.check_sizes("fused", blocks, _FUSED))


def _recurrent(blocks: tuple[int, ...] = ()) -> Layout:
    return Layout("recurrent", "recurrent", fused=_blocks.check_sizes("fused", blocks, _FUSED))


def _depthwise() -> Layout:
    return Layout(layer="depthwise", in_axes=(), batch_axes=(-2,))


def _embedding() -> Layout:
    return Layout("embedding", "embedding", in_axes=(0,), out_axes=(1,), fan_in=1.0)


def _bias() -> Layout:
    return Layout("bias", "bias", in_axes=(), out_axes=())


def _vector() -> Layout:
    return Layout("vector", "vector", in_axes=(), out_axes=())


_BUILT_IN: dict[str, LayerKind] = {
    "dense": _dense,
    "conv": _grouped("conv"),
    "transposed": _grouped("transposed"),
    "depthwise": _depthwise,
    "embedding": _embedding,
    "fused": _fused,
    "recurrent": _recurrent,
    "bias": _bias,
    "vector": _vector,
}
_kinds: Registry[LayerKind] = Registry("layer kind", "jinit.frameworks.layer_kinds()", _BUILT_IN)
