"""Describes a leaf's role in its layer: its in and out axes, and the kernels it packs.

A leaf is a stack of kernels. A grouped, batched or packed leaf is cut into kernels of shape
(receptive field…, in, out); each kernel is drawn alone, and the kernels are joined again. So every
initializer serves every layer of every framework, and no fan is guessed from the rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from jinit import _specs, errors
from jinit._registry import Registry
from jinit.initializers import Fans, NamedInitializer, _blocks, fans
from jinit.typing import Array, DType, Initializer, Key

# The (in, out) axes of a dense or convolution kernel in each framework.
HOST_AXES: dict[str, tuple[int, int]] = {
    "flax": (-2, -1),
    "haiku": (-2, -1),
    "keras": (-2, -1),
    "equinox": (1, 0),
    "torch": (1, 0),
}
HOSTS = tuple(HOST_AXES)


@dataclass(frozen=True)
class Layout:
    """The cut of a leaf into kernels ``(receptive field…, in, out)``.

    Attributes:
      kind: ``"kernel"``, ``"recurrent"`` (hidden to hidden), ``"embedding"``, ``"bias"`` or
        ``"vector"`` (scales, shifts and all else that has no fans).
      layer: the class name of the layer, for reports and presets; may be empty.
      in_axes, out_axes, batch_axes: axes of the leaf; the others are the receptive field. A leaf
        without in axes has one input (a depthwise kernel).
      groups: number of kernels side by side along the out axes, or along the in axes
        (``groups_on="in"``).
      fused: sizes of the blocks packed along the flattened out axes; () is one block.
      fan_in, fan_out: set if the shape does not show them. A bias has its kernel's fans, an
        embedding has one active input, and an output of a transposed convolution with stride s sees
        1/s of the taps along an axis.
      strides: the product of a transposed convolution's strides; kernel taps divided by the taps
        that reach one output.

    >>> Layout(groups=4).kernels((3, 3, 2, 8))
    (4, [(3, 3, 2, 2)])
    """

    kind: Literal["kernel", "recurrent", "embedding", "bias", "vector"] = "kernel"
    layer: str = ""
    in_axes: tuple[int, ...] = (-2,)
    out_axes: tuple[int, ...] = (-1,)
    batch_axes: tuple[int, ...] = ()
    groups: int = 1
    groups_on: Literal["in", "out"] = "out"
    fused: tuple[int, ...] = ()
    fan_in: float | None = None
    fan_out: float | None = None
    strides: int = 1

    def kernels(self, shape: tuple[int, ...]) -> tuple[int, list[tuple[int, ...]]]:
        """The number of kernel stacks, and the shape of each kernel in one stack.

        Raises:
          ValueError: the axes, groups or blocks do not fit the shape.

        >>> Layout(groups=4).kernels((3, 3, 2, 8))
        (4, [(3, 3, 2, 2)])
        """
        cut = self._cut(shape)
        return cut.stacks, cut.kernels()

    def fans(self, shape: tuple[int, ...]) -> Fans | None:
        """The fans of the first kernel; None if the leaf has none.

        >>> Layout(in_axes=(1,), out_axes=(0,)).fans((20, 10))
        Fans(fan_in=10.0, fan_out=20.0)
        """
        if self.kind in ("bias", "vector"):
            if self.fan_in is None or self.fan_out is None:
                return None
            return Fans(float(self.fan_in), float(self.fan_out))
        if not math.prod(shape):
            return None
        kernel = fans(self.kernels(shape)[1][0])
        return Fans(
            kernel.fan_in if self.fan_in is None else float(self.fan_in),
            kernel.fan_out if self.fan_out is None else float(self.fan_out),
        )

    def fan_in_one(self, shape: tuple[int, ...]) -> bool:
        """Whether a unit has a single incoming weight.

        >>> Layout().fan_in_one((1, 5))
        True
        """
        return all(math.prod(kernel[:-1]) == 1 for kernel in self.kernels(shape)[1])

    def stacked(self, values: np.ndarray) -> np.ndarray:
        """A leaf as ``(stacks, receptive field…, in, out)``, blocks still side by side.

        >>> Layout(in_axes=(1,), out_axes=(0,)).stacked(np.zeros((3, 2))).shape
        (1, 2, 3)
        """
        return self._cut(values.shape).stacked(values)

    def fitted(self, initializer: Initializer) -> Initializer:
        """The initializer with this leaf's fan_in, and without blocks that this layout packs.

        An initializer gets the fan_in only if it takes one and the shape does not show it.

        Raises:
          ValueError: the initializer and this layout have different fused blocks.

        >>> from jinit import initializers
        >>> str(Layout(fused=(2, 3)).fitted(initializers.he_normal(fused=(2, 3))))
        'he_normal'
        """
        initializer = self._unfused(initializer)
        if (
            self.fan_in is None
            or not isinstance(initializer, NamedInitializer)
            or not initializer.takes("fan_in")
            or dict(initializer.arguments).get("fan_in") is not None
        ):
            return initializer
        fan_in = int(self.fan_in) if float(self.fan_in).is_integer() else self.fan_in
        return initializer.with_arguments(fan_in=fan_in)

    def draw(
        self, initializer: Initializer, key: Key, shape: tuple[int, ...], dtype: DType
    ) -> Array:
        """A leaf of this shape; kernel i of a stack is drawn from ``fold_in(key, i)``.

        Raises:
          ValueError: the axes, groups or blocks do not fit the shape, or the initializer and this
            layout have different fused blocks.

        >>> import jax
        >>> from jinit import initializers
        >>> torch = Layout(in_axes=(1,), out_axes=(0,))
        >>> torch.draw(initializers.identity(), jax.random.key(0), (1, 2), "float32")
        Array([[1., 0.]], dtype=float32)
        """
        if self.kind in ("bias", "vector"):
            flat = shape if len(shape) < 2 else (math.prod(shape),)
            return initializer(key, flat, dtype).reshape(shape)
        cut = self._cut(shape)
        if cut.is_plain:
            return initializer(key, shape, dtype)
        kernel = self._unfused(initializer)
        return cut.draw(lambda key, shape: kernel(key, shape, dtype), key)

    def _unfused(self, initializer: Initializer) -> Initializer:
        """The initializer without its own blocks, if this layout packs the same blocks."""
        if len(self.fused) < 2 or not isinstance(initializer, NamedInitializer):
            return initializer
        arguments = dict(initializer.arguments)
        if arguments.get("fused") is None:
            return initializer
        return initializer.factory(**_blocks.unfused(arguments, self.fused))

    def _cut(self, shape: tuple[int, ...]) -> _blocks.Cut:
        axes = (self.batch_axes, self.in_axes, self.out_axes)
        return _blocks.Cut.of(shape, axes, self.groups, self.groups_on, self.fused)


Layers: TypeAlias = Mapping[str, str | Layout]
"""Pattern of leaf paths → spec string of a layer kind, or a :class:`Layout`."""

LayerKind: TypeAlias = Callable[..., Layout]


def layout(spec: str | Layout, host: str = "flax") -> Layout:
    """The layout that a spec string names, in the axis order of a framework.

    The built-in layer kinds are ``dense`` and ``conv(groups=1)``; ``dense(inputs=2, outputs=1,
    batch=0)`` for several axes, in the order batch, in, out; ``transposed(groups=1)``;
    ``depthwise`` (Keras' layout: (…, in, multiplier)); ``fused((64, 64, 64))`` for blocks packed
    along the out axis; ``recurrent`` for a hidden-to-hidden kernel, ``recurrent((32, 32, 32, 32))``
    if it packs its gates; ``embedding``; ``bias``; ``vector``. :func:`layer_kinds` lists them all.

    Args:
      spec: a spec string, or a :class:`Layout`, which is returned unchanged.
      host: the framework: ``"flax"``, ``"haiku"``, ``"keras"``, ``"equinox"`` or ``"torch"``.

    Returns:
      A :class:`Layout`.

    Raises:
      ValueError: the kind or the host is unknown, or the kind does not take the arguments.

    >>> layout("conv(groups=4)", "torch").out_axes
    (0,)
    """
    if isinstance(spec, Layout):
        return spec
    errors.check_choice("host", host, HOSTS)
    parsed = _specs.parse(spec, "layer kind")
    factory = _KINDS.get(parsed.name)
    flax = factory(**_specs.bind(parsed, factory, "layer kind"))
    if (flax.in_axes, flax.out_axes) != (HOST_AXES["flax"][:1], HOST_AXES["flax"][1:]):
        return flax  # axes counted from the front are the same in every framework
    first, second = HOST_AXES[host]
    if parsed.name == "transposed" and host in ("haiku", "keras", "torch"):
        first, second = second, first
    on = "in" if parsed.name == "transposed" and host == "torch" else flax.groups_on
    return replace(flax, in_axes=(first,), out_axes=(second,), groups_on=on)


def layer_kinds() -> tuple[str, ...]:
    """The names of layer kinds that :func:`layout` accepts, in the order of registration.

    >>> layer_kinds()[:3]
    ('dense', 'conv', 'transposed')
    """
    return _KINDS.names()


def get_layer_kind(name: str) -> LayerKind:
    """The factory of a layer kind.

    Args:
      name: one of :func:`layer_kinds`.

    Raises:
      ValueError: the name is unknown; the message offers the nearest.

    >>> get_layer_kind("conv")(groups=2).groups
    2
    """
    return _KINDS.get(name)


def register_layer_kind(name: str, factory: LayerKind) -> None:
    """Adds a layer kind to this process; registering the same factory again changes nothing.

    Args:
      name: an identifier that is not yet taken; it may then stand in ``layers={pattern: name}``.
      factory: returns a :class:`Layout`; its parameters become the arguments of the spec string.
        The axes ``in_axes=(-2,), out_axes=(-1,)`` are moved to a framework's own in and out axes;
        all other axes are used in every framework as they are.

    Raises:
      ValueError: the name is taken by another kind, or is not an identifier.
      TypeError: the factory is not callable.

    >>> def attention(heads):
    ...     return Layout(layer="attention", batch_axes=(0,), in_axes=(1,), out_axes=(2,))
    >>> register_layer_kind("attention", attention)
    >>> layout("attention(heads=2)").batch_axes
    (0,)
    >>> _KINDS.remove("attention")
    """
    _KINDS.register(name, factory)


def bias_of(kernel: Layout, shape: tuple[int, ...]) -> Layout:
    """The layout of the bias that belongs to a kernel of this shape; it has the kernel's fans.

    >>> bias_of(Layout(), (10, 4)).fan_in
    10.0
    """
    kernel_fans = kernel.fans(tuple(shape))
    return Layout(
        "bias",
        kernel.layer,
        in_axes=(),
        out_axes=(),
        fan_in=None if kernel_fans is None else kernel_fans.fan_in,
        fan_out=None if kernel_fans is None else kernel_fans.fan_out,
        strides=kernel.strides,
    )


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


_FUSED = "fused((64, 64, 64))"
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
_KINDS: Registry[LayerKind] = Registry(
    "layer kind", "jinit.frameworks", _BUILT_IN, listing="jinit.frameworks.layer_kinds()"
)
