"""What one leaf is in its layer: which axes are inputs and outputs, how many kernels it packs.

A leaf is a stack of kernels. Grouped, batched and packed ones are cut into kernels of shape
(receptive field…, in, out), each drawn as if alone, and put back: so every initializer serves every
layer of every framework, and no fan is guessed from a rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _specs, errors
from jinit.initializers import Fans, NamedInitializer
from jinit.typing import Array, Initializer, Key

# (in, out) axes of a dense or convolution kernel.
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
    """How a leaf is made of kernels ``(receptive field…, in, out)``.

    Attributes:
      kind: ``"kernel"``, ``"recurrent"`` (hidden to hidden), ``"embedding"``, ``"bias"`` or
        ``"vector"`` (scales, shifts and whatever has no fans).
      layer: the layer's class, for reports and presets; may be empty.
      in_axes, out_axes, batch_axes: axes of the leaf; all others are the receptive field. No in
        axis is one input (a depthwise kernel).
      groups: kernels side by side along the out axes, or along the in axes (``groups_on="in"``).
      fused: sizes of the blocks packed along the flattened out axes; () is one block.
      fan_in, fan_out: set where the shape does not say it: a bias has its kernel's, an embedding
        one active input, a transposed convolution with stride s sees 1/s of its taps per axis.
      strides: of a transposed convolution, all axes' together: its taps over those it sees.
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
        """How many stacks of kernels, and the shape of each kernel in one stack.

        Raises:
          ValueError: axes, groups or blocks that do not fit the shape.

        >>> Layout(groups=4).kernels((3, 3, 2, 8))
        (4, [(3, 3, 2, 2)])
        """
        cut = _Cut.of(self, shape)
        return cut.stacks, [(*cut.receptive, cut.size_in, size) for size in cut.blocks]

    def fans(self, shape: tuple[int, ...]) -> Fans | None:
        """The fans of the first kernel; None where there are none.

        >>> Layout(in_axes=(1,), out_axes=(0,)).fans((20, 10))
        Fans(fan_in=10.0, fan_out=20.0)
        """
        if self.kind in ("bias", "vector"):
            known = self.fan_in is not None and self.fan_out is not None
            return Fans(float(self.fan_in or 0), float(self.fan_out or 0)) if known else None
        if not math.prod(shape):
            return None
        kernel = self.kernels(shape)[1][0]
        receptive = math.prod(kernel[:-2])
        fan_in = receptive * kernel[-2] if self.fan_in is None else self.fan_in
        fan_out = receptive * kernel[-1] if self.fan_out is None else self.fan_out
        return Fans(float(fan_in), float(fan_out))

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
        cut = _Cut.of(self, values.shape)
        w = np.transpose(values, cut.order)
        lead, size_in, groups = math.prod(cut.batch), math.prod(cut.inputs), cut.groups
        split = (groups, size_in // groups, -1) if cut.groups_on == "in" else (size_in, groups, -1)
        w = w.reshape(lead, *cut.receptive, *split)
        w = np.moveaxis(w, -3 if cut.groups_on == "in" else -2, 1)
        return w.reshape(cut.stacks, *cut.receptive, cut.size_in, -1)

    def fitted(self, initializer: Initializer) -> Initializer:
        """The initializer with this leaf's fan_in, where it takes one and the shape hides it."""
        if (
            self.fan_in is None
            or not isinstance(initializer, NamedInitializer)
            or not initializer.takes("fan_in")
            or dict(initializer.arguments).get("fan_in") is not None
        ):
            return initializer
        fan_in = int(self.fan_in) if float(self.fan_in).is_integer() else self.fan_in
        return initializer.with_arguments(fan_in=fan_in)

    def draw(self, initializer: Initializer, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """A leaf of this shape; kernel i of a stack is drawn from ``fold_in(key, i)``.

        >>> from jinit import initializers
        >>> torch = Layout(in_axes=(1,), out_axes=(0,))
        >>> torch.draw(initializers.identity(), jax.random.key(0), (1, 2), "float32")
        Array([[1., 0.]], dtype=float32)
        """
        if self.kind in ("bias", "vector"):
            flat = shape if len(shape) < 2 else (math.prod(shape),)
            return initializer(key, flat, dtype).reshape(shape)
        cut = _Cut.of(self, shape)
        if cut.plain:
            return initializer(key, shape, dtype)
        parts = []
        for number, size in enumerate(cut.blocks):
            kernel = (*cut.receptive, cut.size_in, size)
            base = key if len(cut.blocks) == 1 else jax.random.fold_in(key, number)
            if cut.stacks == 1:
                parts.append(initializer(base, kernel, dtype)[None])
                continue
            keys = [jax.random.fold_in(base, stack) for stack in range(cut.stacks)]
            parts.append(jnp.stack([initializer(each, kernel, dtype) for each in keys]))
        return cut.restored(jnp.concatenate(parts, axis=-1))


Layers: TypeAlias = Mapping[str, str | Layout]


@dataclass(frozen=True)
class _Cut:
    """A leaf's shape cut into batch, receptive field, in and out."""

    batch: tuple[int, ...]
    receptive: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    order: tuple[int, ...]
    groups: int
    groups_on: str
    blocks: tuple[int, ...]

    @staticmethod
    def of(layout: Layout, shape: tuple[int, ...]) -> _Cut:
        rank = len(shape)
        named = [tuple(axis % rank if -rank <= axis < rank else axis for axis in axes)
                 for axes in (layout.batch_axes, layout.in_axes, layout.out_axes)]  # fmt: skip
        flat = [axis for axes in named for axis in axes]
        if len(set(flat)) != len(flat) or any(not 0 <= axis < rank for axis in flat):
            raise errors.refusal(
                "axes of a leaf",
                f"in {layout.in_axes}, out {layout.out_axes}, batch {layout.batch_axes}",
                f"different axes of its shape {shape}",
                "say what the layer is: layers={pattern: 'conv'}",
            )
        batch, inputs, outputs = named
        field = tuple(axis for axis in range(rank) if axis not in flat)
        sizes = [tuple(shape[axis] for axis in axes) for axes in (batch, field, inputs, outputs)]
        grouped = math.prod(sizes[2 if layout.groups_on == "in" else 3])
        out = math.prod(sizes[3]) // (layout.groups if layout.groups_on == "out" else 1)
        if grouped % layout.groups or (layout.fused and sum(layout.fused) != out):
            raise errors.refusal(
                "groups or blocks of a leaf",
                f"{layout.groups} groups, blocks {layout.fused}",
                f"numbers that divide or add up to the axes of {shape}",
                "check the layer's groups and block sizes",
            )
        order = (*batch, *field, *inputs, *outputs)
        blocks = layout.fused or (out,)
        return _Cut(
            sizes[0], sizes[1], sizes[2], sizes[3], order, layout.groups, layout.groups_on, blocks
        )

    @property
    def stacks(self) -> int:
        return math.prod(self.batch) * self.groups

    @property
    def size_in(self) -> int:
        return math.prod(self.inputs) // (self.groups if self.groups_on == "in" else 1)

    @property
    def plain(self) -> bool:
        """Whether the leaf is one kernel as it stands."""
        one = len(self.inputs) == len(self.outputs) == len(self.blocks) == 1
        return one and self.stacks == 1 and self.order == tuple(range(len(self.order)))

    def restored(self, kernels: Array) -> Array:
        """(stacks, receptive…, in, out) back to the leaf's own shape."""
        lead = math.prod(self.batch)
        size_in, size_out = kernels.shape[-2:]
        w = kernels.reshape(lead, self.groups, *self.receptive, size_in, size_out)
        w = jnp.moveaxis(w, 1, -3 if self.groups_on == "in" else -2)
        w = w.reshape(*self.batch, *self.receptive, *self.inputs, *self.outputs)
        return jnp.transpose(w, tuple(np.argsort(self.order).tolist()))


def layout(spec: str | Layout, host: str = "flax") -> Layout:
    """The layout a spec string names, in a host's axis order.

    ``dense`` and ``conv(groups=1)``; ``dense(inputs=2, outputs=1, batch=0)`` for several axes,
    batch first, then in, then out; ``transposed(groups=1)``; ``depthwise`` (Keras' layout: (…, in,
    multiplier)); ``fused((64, 64, 64))`` for blocks packed along the out axis; ``recurrent`` for a
    hidden-to-hidden kernel, ``recurrent((32, 32, 32, 32))`` if it packs its gates; ``embedding``;
    ``bias``; ``vector``.

    Args:
      spec: a spec string, or a :class:`Layout`, returned as it is.
      host: whose axis order: ``"flax"``, ``"haiku"``, ``"keras"``, ``"equinox"`` or ``"torch"``.

    Raises:
      ValueError: an unknown kind or host, arguments it does not take.

    >>> layout("conv(groups=4)", "torch").out_axes
    (0,)
    """
    if isinstance(spec, Layout):
        return spec
    errors.check_choice("host", host, HOSTS)
    parsed = _specs.parse(spec, "layer")
    if parsed.name not in _KINDS:
        raise errors.unknown_name("layer", parsed.name, _KINDS, "jinit.frameworks.layout")
    factory = _KINDS[parsed.name]
    bound = _specs.bind(parsed, factory, "layer")
    made: Layout = factory(**bound)
    if parsed.name in ("bias", "vector", "embedding", "depthwise") or len(made.in_axes) > 1:
        return made
    first, second = HOST_AXES[host]
    if parsed.name == "transposed":
        swapped = host in ("haiku", "keras", "torch")
        first, second = (second, first) if swapped else (first, second)
        if host == "torch":
            made = replace(made, groups_on="in")
    if made.batch_axes or len(made.out_axes) > 1:
        return made
    return replace(made, in_axes=(first,), out_axes=(second,))


def bias_of(kernel: Layout, shape: tuple[int, ...]) -> Layout:
    """The bias beside a kernel of this shape: it carries the kernel's fans.

    >>> bias_of(Layout(), (10, 4)).fan_in
    10.0
    """
    found = kernel.fans(tuple(shape))
    return Layout(
        "bias",
        kernel.layer,
        (),
        (),
        fan_in=None if found is None else found.fan_in,
        fan_out=None if found is None else found.fan_out,
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


def _grouped(layer: str) -> Callable[..., Layout]:
    def make(groups: int = 1) -> Layout:
        errors.check_integer(f"{layer} groups", groups, low=1, fix=f"{layer}(groups=4)")
        return Layout(layer=layer, groups=groups)

    return make


def _fused(blocks: tuple[int, ...]) -> Layout:
    return Layout(layer="fused", fused=_blocks(blocks))


def _recurrent(blocks: tuple[int, ...] = ()) -> Layout:
    return Layout("recurrent", "recurrent", fused=_blocks(blocks))


def _blocks(blocks: Any) -> tuple[int, ...]:
    if not isinstance(blocks, tuple | list):
        raise errors.wrong_type("blocks", blocks, "sizes of blocks", "fused((64, 64, 64))")
    for size in blocks:
        errors.check_integer("block", size, low=1, fix="fused((64, 64, 64))")
    return tuple(blocks)


_KINDS: dict[str, Callable[..., Layout]] = {
    "dense": _dense,
    "conv": _grouped("conv"),
    "transposed": _grouped("transposed"),
    "depthwise": lambda: Layout(layer="depthwise", in_axes=(), batch_axes=(-2,)),
    "embedding": lambda: Layout("embedding", "embedding", in_axes=(0,), out_axes=(1,), fan_in=1.0),
    "fused": _fused,
    "recurrent": _recurrent,
    "bias": lambda: Layout("bias", "bias", (), ()),
    "vector": lambda: Layout("vector", "vector", (), ()),
}
