"""Describes a leaf's role in its layer: its in and out axes, and the kernels it packs.

A leaf is a stack of kernels. A grouped, batched or packed leaf is cut into kernels of shape
(receptive field…, in, out); each kernel is drawn alone, and the kernels are joined again. Every
initializer therefore works for every layer of every framework, and no fan is guessed from the rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.initializers import Fans, NamedInitializer, Parts, _blocks, fans
from jinit.initializers._base import checked_draw
from jinit.typing import Array, DType, Initializer, Key


@dataclass(frozen=True)
class Layout:
    """Describes how a leaf is cut into kernels ``(receptive field…, in, out)``.

    Attributes:
      kind: ``"kernel"``, ``"recurrent"`` (hidden to hidden), ``"embedding"``, ``"bias"``,
        ``"vector"`` (scales, shifts and other leaves without fans), or ``"norm"``: the norms of
        another leaf, the kernel ``of``, over all axes of that kernel except ``out_axes``.
      layer: the class name of the layer, for reports and presets; may be empty.
      in_axes, out_axes, batch_axes: axes of the leaf; the others are the receptive field. A leaf
        without in axes has one input (a depthwise kernel).
      added: those of the batch axes along which a stack holds whole layers (scan, vmap,
        layer_stack); the other batch axes are the layer's own.
      groups: number of kernels side by side along the out axes, or along the in axes
        (``groups_on="in"``).
      fused: sizes of the blocks packed along the flattened out axes; () is one block.
      fan_in, fan_out: set if the shape does not show them. A bias has its kernel's fans, an
        embedding has one active input, and an output of a transposed convolution with stride s sees
        1/s of the taps along an axis.
      strides: the product of a transposed convolution's strides: all taps of the kernel divided by
        the taps that reach one output.
      padding: the row of an embedding that is 0 in every draw; None if there is none.
      start: the value from which a vector starts, if the layer's options set one.
      of: the path of the kernel whose norms a leaf of kind ``"norm"`` holds.
      rescaled: True if the layer divides the leaf by a norm of the leaf, so that the σ of a draw
        has no effect (spectral normalization).

    >>> Layout(groups=4).kernels((3, 3, 2, 8))
    (4, [(3, 3, 2, 2)])
    """

    kind: Literal["kernel", "recurrent", "embedding", "bias", "vector", "norm"] = "kernel"
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
    padding: int | None = None
    start: float | None = None
    of: str = ""
    rescaled: bool = False
    added: tuple[int, ...] = ()

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
        """The fans of the first kernel; None if the leaf has no fans or no entries.

        >>> Layout(in_axes=(1,), out_axes=(0,)).fans((20, 10))
        Fans(fan_in=10.0, fan_out=20.0)
        """
        if not self.is_cut:
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

    @property
    def is_cut(self) -> bool:
        """Whether the leaf is cut into kernels; biases, vectors and norms are not."""
        return self.kind in ("kernel", "recurrent", "embedding")

    def drawn_whole(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape in which an initializer draws the whole leaf; None if it draws parts.

        >>> Layout("bias").drawn_whole((2, 3)), Layout(groups=4).drawn_whole((3, 3, 2, 8))
        ((6,), None)
        """
        if not self.is_cut:
            return shape if len(shape) < 2 else (math.prod(shape),)
        return shape if self.padding is None and self._cut(shape).is_plain else None

    def fan_in_one(self, shape: tuple[int, ...]) -> bool:
        """Whether every unit has a single incoming weight.

        >>> Layout().fan_in_one((1, 5))
        True
        """
        return all(math.prod(kernel[:-1]) == 1 for kernel in self.kernels(shape)[1])

    def stacked(self, values: np.ndarray) -> np.ndarray:
        """A leaf as ``(stacks, receptive field…, in, out)``; fused blocks stay side by side.

        >>> Layout(in_axes=(1,), out_axes=(0,)).stacked(np.zeros((3, 2))).shape
        (1, 2, 3)
        """
        return self._cut(values.shape).stacked(values)

    def fitted(self, initializer: Initializer) -> Initializer:
        """The initializer with this leaf's fan_in and without the blocks that this layout packs.

        The fan_in is passed only if the initializer takes one and the shape does not show it.

        Raises:
          ValueError: the initializer and this layout have different fused blocks.

        >>> from jinit import initializers
        >>> str(Layout(fused=(2, 3)).fitted(initializers.he_normal(fused=(2, 3))))
        'he_normal'
        """
        if isinstance(initializer, Parts):
            self._check_blocks(initializer)
            return initializer.each(self.fitted)
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
        """Draws a leaf of this shape, kernel by kernel.

        Kernel i of several is drawn from ``fold_in(key, i)``, a single kernel from ``key``. In a
        stack of fused kernels the key is folded twice: with the block's index, then the stack's.
        A function of the user's is called once for each kernel, unless the key is traced.

        Raises:
          ValueError: the axes, groups or blocks do not fit the shape, the initializer and this
            layout have different fused blocks, or a user's initializer returns another shape or
            NaN. TypeError: a user's initializer returns no array, or one of another dtype.

        >>> import jax
        >>> from jinit import initializers
        >>> torch = Layout(in_axes=(1,), out_axes=(0,))
        >>> torch.draw(initializers.identity(), jax.random.key(0), (1, 2), "float32")
        Array([[1., 0.]], dtype=float32)
        """
        if isinstance(initializer, Parts):
            self._check_blocks(initializer)
            parts = initializer.each(self._unfused)
            return self._padded(parts.draw(key, self.cut_for(parts, shape), dtype))
        if not self.is_cut:
            flat = shape if len(shape) < 2 else (math.prod(shape),)
            return checked_draw(initializer, key, flat, dtype).reshape(shape)
        cut = self._cut(shape)
        if cut.is_plain:
            return self._padded(checked_draw(initializer, key, shape, dtype))
        kernel, own = self._unfused(initializer), not isinstance(initializer, NamedInitializer)
        return self._padded(
            cut.draw(lambda key, shape: checked_draw(kernel, key, shape, dtype), key, alone=own)
        )

    def check_axes(self, initializer: Initializer, shape: tuple[int, ...]) -> None:
        """Refuses axes in an initializer for a leaf whose axes have another order or other roles.

        The axes would be those of the cut kernels, not those of the leaf that the caller sees.

        Raises:
          ValueError: the initializer names axes, and the leaf is not ``(receptive field…, in,
            out)``.

        >>> from jinit import initializers
        >>> Layout().check_axes(initializers.he_normal(out_axis=0), (3, 4))
        """
        if not isinstance(initializer, NamedInitializer):
            return
        named = dict(initializer.arguments)
        wrong = [name for name, default in _OWN_AXES.items() if named.get(name, default) != default]
        if not wrong or self.kind not in ("kernel", "recurrent"):
            return
        cut = self._cut(shape)
        if cut.batch or self.groups > 1 or cut.order != tuple(range(len(shape))):
            raise errors.refusal(
                f"{wrong[0]} of {initializer}",
                named[wrong[0]],
                "no axes in the initializer, because the layer of the leaf states them",
                f"drop {wrong[0]}, or change the layer kind in layers=",
            )

    def _padded(self, drawn: Array) -> Array:
        """The draw with zeros in the padding row."""
        if self.padding is None:
            return drawn
        return jnp.moveaxis(
            jnp.moveaxis(drawn, self.in_axes[0], 0).at[self.padding].set(0), 0, self.in_axes[0]
        )

    def cut_for(self, parts: Parts, shape: tuple[int, ...]) -> _blocks.Cut:
        """The cut of a leaf into parts: that of the kernels, or one along the axes of a vector.

        Blocks lie along the last axis of a vector, layers along all other axes.

        >>> Layout("vector", in_axes=(), out_axes=()).cut_for(Parts((), "layers"), (6, 32)).layers
        6
        """
        if self.is_cut:
            return replace(self, fused=self.fused or parts.fused)._cut(shape)
        rank, blocks = len(shape), parts.along == "blocks"
        if rank < (1 if blocks else 2):
            parts.check(1)
        fused = self.fused or parts.fused
        if blocks and not fused:
            count = len(parts.initializers)
            fused = (shape[-1] // count,) * count
        outputs = () if rank < 2 and not blocks else (rank - 1,)
        axes = (tuple(range(rank - 1)), (), outputs)
        return _blocks.Cut.of(shape, axes, 1, "out", fused if blocks else ())

    def _check_blocks(self, parts: Parts) -> None:
        """Refuses parts whose own block sizes are not the layout's."""
        if parts.fused and self.fused and self.fused != parts.fused:
            _blocks.unfused({"fused": parts.fused}, self.fused)

    def _unfused(self, initializer: Initializer) -> Initializer:
        """The initializer without the blocks and groups that this layout cuts, too.

        Raises:
          ValueError: other blocks or groups than this layout's.
        """
        if not isinstance(initializer, NamedInitializer):
            return initializer
        arguments = dict(initializer.arguments)
        made = initializer
        if len(self.fused) > 1 and arguments.get("fused") is not None:
            arguments = _blocks.unfused(arguments, self.fused)
            made = initializer.factory(**arguments)
        groups = arguments.get("groups", 1)
        if self.groups == 1 or groups == 1:
            return made
        if groups != self.groups:
            raise errors.refusal(
                "groups", groups, f"groups={self.groups}, or no groups in the initializer",
                "drop groups from the initializer: the layer states them",
            )  # fmt: skip
        return initializer.factory(
            **{name: value for name, value in arguments.items() if name != "groups"}
        )

    def _cut(self, shape: tuple[int, ...]) -> _blocks.Cut:
        axes = (self.batch_axes, self.in_axes, self.out_axes)
        rank = sum(map(len, axes))
        if self.layer == "dense" and len(shape) != rank:
            raise errors.refusal(
                "dense kernel",
                shape,
                f"rank {rank}, one axis for each of its roles",
                "dense(batch=1) for a stack of kernels, dense(inputs=2) or dense(outputs=2) for "
                "several in or out axes, or 'conv'",
            )
        return _blocks.Cut.of(shape, axes, self.groups, self.groups_on, self.fused)


# The defaults of the arguments that name axes of a kernel.
_OWN_AXES = {
    "in_axis": -2, "out_axis": -1, "batch_axis": (), "transposed": False, "column_axis": -1,
}  # fmt: skip


Layers: TypeAlias = Mapping[str, str | Layout]
"""Pattern of leaf paths → spec string of a layer kind, or a :class:`Layout`."""


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
        fused=kernel.fused if len(kernel.fused) > 1 else (),
        fan_in=None if kernel_fans is None else kernel_fans.fan_in,
        fan_out=None if kernel_fans is None else kernel_fans.fan_out,
        strides=kernel.strides,
    )
