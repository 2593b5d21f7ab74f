"""fan_in and fan_out of a kernel, from named axes. Axes are never guessed from rank."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jinit import errors
from jinit.typing import Axis, Shape


@dataclass(frozen=True)
class Fans:
    """How many inputs feed one output unit, and how many outputs one input unit feeds.

    Attributes:
      fan_in: receptive field × input size.
      fan_out: receptive field × output size.
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


def fans(shape: Shape, in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = ()) -> Fans:
    """The fans of a kernel ``(receptive field…, in, out)``.

    fan_in = receptive × in, fan_out = receptive × out, where receptive is the product of every
    axis that is not an in, out or batch axis.

    Args:
      shape: the kernel's shape, rank ≥ 2.
      in_axis, out_axis, batch_axis: an axis or several; as in ``jax.nn.initializers``.

    Returns:
      :class:`Fans`.

    Raises:
      ValueError: rank below 2, an axis out of range, an axis in two roles, a size of zero.

    Reference: He et al. 2015, section 2.2 (n = k²c).

    >>> fans((3, 3, 16, 32))
    Fans(fan_in=144.0, fan_out=288.0)
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
    receptive = math.prod(shape) / size_in / size_out / size_batch
    return Fans(size_in * receptive, size_out * receptive)


def check_shape(shape: Shape) -> tuple[int, ...]:
    """``shape`` as a tuple of ints ≥ 0.

    Raises:
      TypeError: not a sequence of whole numbers.
      ValueError: a negative size.

    >>> check_shape([10, 1000])
    (10, 1000)
    """
    wanted = "a sequence of whole numbers >= 0"
    try:
        sizes = tuple(int(size.__index__()) for size in shape)
    except (TypeError, AttributeError):
        raise errors.wrong_type("shape", shape, wanted, "pass a tuple such as (10, 1000)") from None
    if any(size < 0 for size in sizes):
        raise errors.refusal("shape", sizes, wanted, "pass a tuple such as (10, 1000)")
    return sizes


def check_axes(shape: tuple[int, ...], in_axis: Axis, out_axis: Axis, batch_axis: Axis) -> None:
    """Refuses axes that cannot be a kernel's: too low a rank, out of range, one axis twice.

    >>> check_axes((10, 20), -2, -1, ())
    """
    rank = len(shape)
    if rank < 2:
        raise errors.refusal(
            "kernel shape",
            shape,
            "rank >= 2: (receptive field…, in, out)",
            "a vector has no fans; use constant, normal or uniform for it, or give its bias rule "
            "through jinit.initialize",
        )
    seen: dict[int, str] = {}
    for role, axes in (("in_axis", in_axis), ("out_axis", out_axis), ("batch_axis", batch_axis)):
        for axis in _several(axes):
            if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:
                raise errors.refusal(
                    role, axis, f"an int in [{-rank}, {rank - 1}] for shape {shape}", "count axes"
                )
            if axis % rank in seen:
                raise errors.refusal(
                    role,
                    axis,
                    "each axis in one role",
                    f"that axis is already the {seen[axis % rank]} of shape {shape}",
                )
            seen[axis % rank] = role


def _several(axis: Axis) -> tuple[int, ...]:
    return (axis,) if isinstance(axis, int) else tuple(axis)
