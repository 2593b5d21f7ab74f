"""Cuts a leaf into kernels ``(receptive field…, in, out)``, draws each one alone, and joins them.

An initializer's arguments and the layout of a leaf use the same words:

  groups: kernels side by side along the out axes; each sees its own share of the inputs. A layout
    draws each group alone; an initializer has the fans of one group and draws all groups at once.
  fused: sizes of the blocks along the out axes; each block is a kernel with its own fans, drawn
    alone. Groups and blocks of one leaf are refused: either could lie inside the other.
  transposed: the kernel of a transposed convolution keeps the axis names of the forward
    convolution, so in and out are swapped.
  key: kernel i of several is drawn from ``fold_in(key, i)``, a single kernel from ``key``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.typing import Array, Key

DrawShape: TypeAlias = Callable[[Key, tuple[int, ...]], Array]
"""``draw(key, shape)`` returns an array of that shape."""


@dataclass(frozen=True)
class Part:
    """One of the draws of a leaf that has several laws.

    Attributes:
      draw: draws one kernel.
      alone: whether each kernel is a call of its own, unless the key is traced.
    """

    draw: DrawShape
    alone: bool


Blocks: TypeAlias = tuple[int, ...]
"""Sizes of the blocks along the out axis, in order."""


def check_sizes(what: str, sizes: object, fix: str) -> Blocks:
    """Checks the sizes of fused blocks: a tuple or list of whole numbers ≥ 1."""
    if not isinstance(sizes, tuple | list):
        raise errors.wrong_type(what, sizes, "a tuple of block sizes", fix)
    return tuple(errors.check_integer(f"{what} block", size, low=1, fix=fix) for size in sizes)


def check_groups(groups: int, size: int, axis: str, shape: tuple[int, ...]) -> None:
    """Checks that the number of groups divides the size of the axis along which they lie."""
    if size % groups:
        raise errors.refusal(
            "groups", groups, f"a divisor of {size}, the {axis} axis of {shape}", "check the layer"
        )


def check_one_cut(groups: int, fused: Sequence[int]) -> None:
    """Refuses a kernel that has both groups and blocks."""
    if groups > 1 and fused:
        raise errors.refusal(
            "groups",
            f"{groups} groups and the blocks fused={tuple(fused)}",
            "groups or blocks, because a shape does not say whether each group has all blocks or "
            "each block has all groups",
            "draw each block alone, with groups, and join them by jnp.concatenate",
        )


def block_shapes(shape: tuple[int, ...], axis: int, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """The shapes of the blocks into which ``sizes`` cut an axis of ``shape``."""
    axis %= len(shape)
    if sum(sizes) != shape[axis]:
        raise errors.refusal(
            "fused",
            f"blocks {tuple(sizes)} that add up to {sum(sizes)}",
            f"blocks that add up to {shape[axis]}, the out axis of shape {shape}",
            "name the size of every block",
        )
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def draw_each(draw: DrawShape, key: Key, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """One array per shape; array i of several is drawn from ``fold_in(key, i)``."""
    if len(shapes) == 1:
        return [draw(key, shapes[0])]
    if len(set(shapes)) == 1:
        return list(draw_stack(draw, key, shapes[0], len(shapes)))
    return [draw(jax.random.fold_in(key, index), shape) for index, shape in enumerate(shapes)]


def draw_stack(
    draw: DrawShape, key: Key, shape: tuple[int, ...], count: int, first: int = 0
) -> Array:
    """``count`` arrays of one shape in one array, drawn from ``fold_in(key, first)`` and so on.

    One vmapped draw: the program does not grow with ``count``. Under vmap threefry gives the bits
    of separate draws; other generators do not, and draw one by one.
    """
    if "threefry" in str(jax.random.key_impl(key)):
        numbers = np.arange(first, first + count, dtype=np.uint32)
        return jax.vmap(lambda number: draw(jax.random.fold_in(key, number), shape))(numbers)
    return draw_alone(draw, key, shape, count, first)


def draw_alone(
    draw: DrawShape, key: Key, shape: tuple[int, ...], count: int, first: int = 0
) -> Array:
    """As :func:`draw_stack`, but each array is drawn by a call of its own."""
    generator = str(jax.random.key_impl(key))
    if "threefry" in generator:
        numbers = np.arange(first, first + count, dtype=np.uint32)
        folded = list(jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers))
    else:
        folded = [jax.random.fold_in(key, number) for number in range(first, first + count)]
    return jnp.stack([draw(one, shape) for one in folded])


def draw_fused(
    draw: DrawShape, key: Key, shape: tuple[int, ...], axis: int, sizes: Sequence[int]
) -> Array:
    """An array of ``shape`` whose blocks along ``axis`` are drawn one by one."""
    return jnp.concatenate(draw_each(draw, key, block_shapes(shape, axis, sizes)), axis=axis)


def unfused(arguments: dict[str, object], packed: Blocks) -> dict[str, object]:
    """An initializer's arguments without ``fused``, because the leaf's layout applies the blocks.

    Args:
      arguments: the arguments by parameter name; ``fused`` is one of them.
      packed: the block sizes of the leaf's layout.

    Raises:
      ValueError: initializer and layout have different block sizes.
    """
    own = arguments["fused"]
    if not isinstance(own, tuple) or own != packed:
        raise errors.refusal(
            "fused",
            f"blocks {own} on a leaf with blocks {packed}",
            f"fused={packed}, or no fused in the initializer",
            "drop fused from the initializer: the layout packs the blocks",
        )
    return {name: value for name, value in arguments.items() if name != "fused"}


@dataclass(frozen=True)
class Cut:
    """The cut of one leaf's shape into stacks of kernels, one stack per batch entry and group.

    Attributes:
      batch, receptive, inputs, outputs: sizes of the leaf's axes by role.
      order: the leaf's axes in the order batch, receptive field, in, out.
      groups: the number of kernels side by side along the axes ``groups_on``.
      groups_on: ``"out"`` or ``"in"``.
      fused: sizes of the blocks of one stack; () if a stack is a single block.
    """

    batch: tuple[int, ...]
    receptive: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    order: tuple[int, ...]
    groups: int
    groups_on: Literal["in", "out"]
    fused: Blocks

    @staticmethod
    def of(
        shape: tuple[int, ...],
        axes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
        groups: int,
        groups_on: Literal["in", "out"],
        fused: Blocks,
    ) -> Cut:
        """Cuts a shape.

        Args:
          shape: the leaf's shape.
          axes: batch axes, in axes and out axes of the leaf; all others are the receptive field.
          groups, groups_on, fused: as the attributes.

        Raises:
          ValueError: the axes, groups or blocks do not fit the shape.
        """
        rank = len(shape)
        roles = [tuple(i % rank if -rank <= i < rank else i for i in role) for role in axes]
        named = [axis for role in roles for axis in role]
        if len(set(named)) != len(named) or any(not 0 <= axis < rank for axis in named):
            raise errors.refusal(
                "axes of a leaf",
                f"in {axes[1]}, out {axes[2]}, batch {axes[0]}",
                f"different axes of its shape {shape}",
                "say what the layer is: layers={pattern: 'conv'}",
            )
        batch, inputs, outputs = roles
        receptive = tuple(axis for axis in range(rank) if axis not in named)
        order = (*batch, *receptive, *inputs, *outputs)

        def sizes(role: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(shape[axis] for axis in role)

        check_one_cut(groups, fused)
        grouped = math.prod(sizes(inputs if groups_on == "in" else outputs))
        check_groups(groups, grouped, groups_on, shape)
        cut = Cut(
            batch=sizes(batch),
            receptive=sizes(receptive),
            inputs=sizes(inputs),
            outputs=sizes(outputs),
            order=order,
            groups=groups,
            groups_on=groups_on,
            fused=fused,
        )
        cut.kernels()  # refuses blocks that do not add up
        return cut

    @property
    def stacks(self) -> int:
        """The number of kernel stacks: batch entries times groups."""
        return math.prod(self.batch) * self.groups

    @property
    def stack(self) -> tuple[int, ...]:
        """The shape (receptive field…, in, out) of one stack, its blocks side by side."""
        size_in, size_out = math.prod(self.inputs), math.prod(self.outputs)
        if self.groups_on == "in":
            return (*self.receptive, size_in // self.groups, size_out)
        return (*self.receptive, size_in, size_out // self.groups)

    def kernels(self) -> list[tuple[int, ...]]:
        """The shapes of the kernels in one stack: one for each block."""
        return block_shapes(self.stack, -1, self.fused) if self.fused else [self.stack]

    @property
    def is_plain(self) -> bool:
        """True if the leaf is a single kernel with its axes in order."""
        one = len(self.inputs) == len(self.outputs) == self.stacks == 1 and len(self.fused) < 2
        return one and self.order == tuple(range(len(self.order)))

    def draw(self, draw: DrawShape, key: Key, *, alone: bool = False) -> Array:
        """The leaf, kernel by kernel; the key is folded with the block first, then the stack.

        With ``alone`` each kernel is a call of ``draw`` of its own, unless the key is traced.
        """
        alone = alone and not isinstance(key, jax.core.Tracer)

        def stacks(key: Key, shape: tuple[int, ...]) -> Array:
            """The kernels of one block, of all stacks: (stacks, receptive field…, in, block)."""
            kernel = shape[1:]
            if self.stacks == 1:
                return draw(key, kernel)[None]
            if alone:
                return draw_alone(draw, key, kernel, self.stacks)
            return draw_stack(draw, key, kernel, self.stacks)

        shape = (self.stacks, *self.stack)
        if len(self.fused) < 2:
            return self._restored(stacks(key, shape))
        if alone:
            blocks = enumerate(block_shapes(shape, -1, self.fused))
            drawn = [stacks(jax.random.fold_in(key, index), block) for index, block in blocks]
            return self._restored(jnp.concatenate(drawn, axis=-1))
        return self._restored(draw_fused(stacks, key, shape, -1, self.fused))

    @property
    def layers(self) -> int:
        """The number of batch entries; the groups of one convolution are one entry."""
        return math.prod(self.batch)

    def draw_parts(self, parts: Sequence[Part], along: str, key: Key) -> Array:
        """The leaf with one part for each batch entry or block; keys as in :meth:`draw`.

        The program grows with the number of parts, not with that of the kernels of a part.
        """
        several, blocks = len(self.fused) > 1, []
        count = self.stacks if along == "blocks" else self.groups
        for block, shape in enumerate(self.kernels()):
            of_block = jax.random.fold_in(key, block) if several else key
            stacks = []
            for stack in range(0, self.stacks, max(count, 1)):
                part = parts[block if along == "blocks" else stack // self.groups]
                stacks.append(self._some(part, of_block, shape, stack, count))
            blocks.append(jnp.concatenate(stacks))
        return self._restored(jnp.concatenate(blocks, axis=-1))

    def _some(self, part: Part, key: Key, shape: tuple[int, ...], first: int, count: int) -> Array:
        """``count`` of the kernels of one block, from the stack ``first`` on."""
        if self.stacks == 1:
            return part.draw(key, shape)[None]
        if count == 1:
            return part.draw(jax.random.fold_in(key, first), shape)[None]
        alone = part.alone and not isinstance(key, jax.core.Tracer)
        return (draw_alone if alone else draw_stack)(part.draw, key, shape, count, first)

    def stacked(self, values: np.ndarray) -> np.ndarray:
        """The values of a leaf as (stacks, receptive field…, in, out), blocks side by side."""
        w = np.transpose(values, self.order)
        lead, size_in, on_in = math.prod(self.batch), math.prod(self.inputs), self.groups_on == "in"
        split = (self.groups, size_in // self.groups, -1) if on_in else (size_in, self.groups, -1)
        w = w.reshape(lead, *self.receptive, *split)
        w = np.moveaxis(w, -3 if on_in else -2, 1)
        return w.reshape(self.stacks, *self.stack[:-1], -1)

    def _restored(self, stacked: Array) -> Array:
        """An array (stacks, receptive field…, in, out) in the leaf's shape; undoes ``stacked``."""
        w = stacked.reshape(math.prod(self.batch), self.groups, *self.stack)
        w = jnp.moveaxis(w, 1, -3 if self.groups_on == "in" else -2)
        w = w.reshape(*self.batch, *self.receptive, *self.inputs, *self.outputs)
        return jnp.transpose(w, tuple(np.argsort(self.order).tolist()))
