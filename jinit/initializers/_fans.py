"""Computes fan_in and fan_out of a kernel from named axes, which are never guessed from rank."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jinit import errors
from jinit.initializers import _blocks
from jinit.typing import Axis, Shape

# The bytes of a larger array do not fit int64 at 16 bytes an entry.
MOST_ENTRIES = 2**59


@dataclass(frozen=True)
class Fans:
    """The number of inputs of an output unit, and the number of outputs of an input unit.

    Attributes:
      fan_in: receptive field × inputs of a group.
      fan_out: receptive field × outputs of a group.
    """

    fan_in: float
    fan_out: float

    @property
    def fan_avg(self) -> float:
        """(fan_in + fan_out) / 2 (Glorot & Bengio 2010, equation 12)."""
        return (self.fan_in + self.fan_out) / 2

    @property
    def fan_geo_avg(self) -> float:
        """sqrt(fan_in · fan_out)."""
        return math.sqrt(self.fan_in * self.fan_out)


@dataclass(frozen=True)
class KernelAxes:
    """The axes of a kernel by role, and the kind of layer that it serves.

    Attributes:
      in_axis, out_axis, batch_axis: an axis or several, as in ``jax.nn.initializers``.
      groups: feature groups of a convolution, whose in axis already holds in/groups.
      transposed: True swaps the fans, for the kernel of a transposed convolution that keeps the
        axis names of the forward convolution.
      fused: sizes of the blocks along the out axis, each a separate kernel; None for one block.
      fan_in: the number of inputs of one unit; None if the shape shows it.
    """

    in_axis: Axis = -2
    out_axis: Axis = -1
    batch_axis: Axis = ()
    groups: int = 1
    transposed: bool = False
    fused: tuple[int, ...] | None = None
    fan_in: float | None = None

    @staticmethod
    def among(arguments: dict[str, Any]) -> KernelAxes:
        """The axes and roles that are among an initializer's arguments; defaults for the others.

        >>> KernelAxes.among({"groups": 2, "gain": 1.0}).groups
        2
        """
        fields = KernelAxes.__dataclass_fields__
        return KernelAxes(**{name: arguments[name] for name in fields if name in arguments})

    def fans(self, shape: Shape) -> Fans:
        """The fans of one kernel, or of one fused block, of this shape; see :func:`fans`."""
        if self.fan_in is not None and len(shape) < 2:
            return Fans(float(self.fan_in), math.nan)
        shown = fans(
            shape,
            self.in_axis,
            self.out_axis,
            self.batch_axis,
            groups=self.groups,
            transposed=self.transposed,
        )
        return shown if self.fan_in is None else Fans(float(self.fan_in), shown.fan_out)

    def check(self) -> None:
        """Checks that a kernel can have these roles.

        Raises:
          ValueError, TypeError: groups are below 1, fan_in is not positive, a block is empty, or
            there are both groups and blocks.
        """
        errors.check_integer("groups", self.groups, low=1, fix="use groups=1 for an ordinary layer")
        if not isinstance(self.transposed, bool):
            raise errors.wrong_type("transposed", self.transposed, "True or False", "use False")
        if self.fan_in is not None:
            errors.check_number(
                "fan_in",
                self.fan_in,
                low=0.0,
                open_low=True,
                fix="pass the number of inputs of one unit",
            )
        if self.fused is None:
            return
        fix = "fused=(64, 64, 64) packs q, k, v"
        if not _blocks.check_sizes("fused", self.fused, fix):
            raise errors.wrong_type("fused", self.fused, "a tuple of block sizes", fix)
        _blocks.check_one_cut(self.groups, self.fused)
        if not isinstance(self.out_axis, int):
            raise errors.refusal(
                "fused", self.fused, "one out_axis", "flatten the out axes, or drop fused"
            )

    def blocks(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The shapes of the kernels in ``shape``: one for each fused block.

        Raises:
          ValueError: the blocks do not add up to the out axis.

        >>> KernelAxes(fused=(2, 3)).blocks((4, 5))
        [(4, 2), (4, 3)]
        """
        if self.fused is None:
            return [shape]
        check_axes(shape, self.in_axis, self.out_axis, self.batch_axis)
        return _blocks.block_shapes(shape, _several(self.out_axis)[0], self.fused)


def fans(
    shape: Shape,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    *,
    groups: int = 1,
    transposed: bool = False,
) -> Fans:
    """The fans of a kernel ``(receptive field…, in, out)``.

    fan_in = receptive × in and fan_out = receptive × out / groups, where receptive is the size of
    the kernel / in / out / batch, the product of all axes without a role; ``transposed`` swaps the
    two. An axis that is named as both in and out divides twice, as in JAX: both fans are then the
    product of the other axes (Flax draws embeddings so).

    Args:
      shape: the kernel's shape; below rank 2 the axes must be named: ``in_axis=0, out_axis=()``.
      in_axis, out_axis, batch_axis: an axis or several, as in ``jax.nn.initializers``.
      groups: feature groups; the in axis of a grouped kernel already holds in/groups.
      transposed: True swaps the fans, for the kernel of a transposed convolution that keeps the
        axis names of the forward convolution. With a stride s, each output sees only 1/s of the
        taps along an axis; pass the true ``fan_in`` to the initializer.

    Returns:
      :class:`Fans`.

    Raises:
      ValueError: the rank is too low for the axes, an axis is out of range or a batch axis with a
        second role, a size is 0, or the groups do not divide the out axis.

    Reference: He et al. 2015, section 2.2 (n = k²c).

    >>> fans((3, 3, 16, 32))
    Fans(fan_in=144.0, fan_out=288.0)
    >>> fans((3, 3, 1, 32), groups=32)  # depthwise: each output sees one channel
    Fans(fan_in=9.0, fan_out=9.0)
    """
    shape = check_shape(shape)
    check_axes(shape, in_axis, out_axis, batch_axis)
    size_in, size_out, size_batch = (
        math.prod(shape[axis] for axis in _several(axes))
        for axes in (in_axis, out_axis, batch_axis)
    )
    if not math.prod(shape):
        raise errors.refusal(
            "kernel shape", shape, "sizes >= 1", "an empty kernel has no fans; drop the layer"
        )
    errors.check_integer("groups", groups, low=1, fix="use groups=1 for an ordinary layer")
    if not isinstance(transposed, bool):
        raise errors.wrong_type("transposed", transposed, "True or False", "use False")
    _blocks.check_groups(groups, size_out, "out", shape)
    receptive = math.prod(shape) / size_in / size_out / size_batch
    forward, backward = size_in * receptive, size_out * receptive / groups
    return Fans(backward, forward) if transposed else Fans(forward, backward)


def check_shape(shape: Shape) -> tuple[int, ...]:
    """``shape`` as a tuple of ints ≥ 0; one whole number is the shape of a vector.

    Raises:
      TypeError: the shape is not a sequence of whole numbers.
      ValueError: a size is negative, or the array would have more than 2⁵⁹ entries.

    >>> check_shape([10, 1000]), check_shape(3)
    ((10, 1000), (3,))
    """
    wanted, fix = "a sequence of whole numbers >= 0", "pass a tuple such as (10, 1000)"
    try:
        one = isinstance(shape, int | np.integer) and not isinstance(shape, bool)
        given: Any = (shape,) if one else shape
        sizes = tuple(operator.index(size) for size in given)
    except TypeError:
        raise errors.wrong_type("shape", shape, wanted, fix) from None
    if any(size < 0 for size in sizes):
        raise errors.refusal("shape", sizes, wanted, fix)
    if math.prod(size for size in sizes if size) > MOST_ENTRIES:
        raise errors.refusal("shape", sizes, "at most 2**59 entries", fix)
    return sizes


def check_axes(shape: tuple[int, ...], in_axis: Axis, out_axis: Axis, batch_axis: Axis) -> None:
    """Checks that each axis exists and that a batch axis has no other role.

    >>> check_axes((10, 20), -2, -1, ())
    >>> check_axes((10,), 0, (), ())
    """
    rank = len(shape)
    if rank < 2 and isinstance(in_axis, int) and in_axis == -2:
        raise errors.refusal(
            "kernel shape",
            shape,
            "rank >= 2: (receptive field…, in, out)",
            "name the axes of a vector, in_axis=0, out_axis=(), or use constant, normal or uniform "
            "for it, or draw biases by a rule of jinit.initialize",
        )
    seen: dict[int, str] = {}
    for role, axes in (("in_axis", in_axis), ("out_axis", out_axis), ("batch_axis", batch_axis)):
        for axis in _several(axes):
            if not -rank <= axis < rank:
                raise errors.refusal(
                    role, axis, f"an int in [{-rank}, {rank - 1}] for shape {shape}", "name an axis"
                )
            before = seen.get(axis % rank)
            if before is not None and (role, before) != ("out_axis", "in_axis"):
                raise errors.refusal(
                    role,
                    axis,
                    "axes without a second role",
                    f"that axis is already the {before} of shape {shape}",
                )
            seen[axis % rank] = role


def _several(axis: Axis) -> tuple[int, ...]:
    """The axes as a tuple; negative numbers stay negative."""
    axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    try:
        if not any(isinstance(one, bool) for one in axes):
            return tuple(operator.index(one) for one in axes)
    except TypeError:
        pass
    fix = "in_axis=-2, or in_axis=(0, 1)"
    raise errors.wrong_type("axis", axis, "an int or several", fix)
