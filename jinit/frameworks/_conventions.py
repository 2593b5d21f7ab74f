"""Holds a framework's axis order and fixed leaf names, and turns layer specs into layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from jinit import _specs, errors
from jinit.frameworks._kinds import get_layer_kind
from jinit.frameworks._layout import Layout
from jinit.frameworks._statistics import Statistics


@dataclass(frozen=True)
class Conventions:
    """The axis order and the leaf names that a framework uses in all its layers.

    Attributes:
      kernel: (in, out) axes of a dense or convolution kernel.
      transposed: (in, out) axes of the kernel of a transposed convolution.
      transposed_groups: the axes of a transposed kernel that hold groups: ``"out"`` or ``"in"``.
      channels_last: True if values are ``(batch, …, channels)`` and a matrix with a kernel's name
        is ``(in, out)``; False if values are ``(batch, channels, …)`` and a leaf's name does not
        say what the leaf is.
      depthwise: True if the kernel of a depthwise convolution may be ``(…, in, multiplier)``; False
        if it is that of a convolution with a group for each input channel.
      kernels: names of kernels.
      biases: names of biases.
      vectors: names of scales and shifts.
      leaves: leaf name → layer kind of a matrix, for names that mean the same in every layer.
      statistics: names of running statistics.

    >>> Conventions(kernel=(1, 0)).layout("dense").out_axes
    (0,)
    """

    kernel: tuple[int, int] = (-2, -1)
    transposed: tuple[int, int] = (-2, -1)
    transposed_groups: Literal["in", "out"] = "out"
    channels_last: bool = True
    depthwise: bool = True
    kernels: tuple[str, ...] = ("kernel",)
    biases: tuple[str, ...] = ("bias", "b")
    vectors: tuple[str, ...] = ("scale", "offset", "shift", "gamma", "beta")
    leaves: Mapping[str, str] = field(default_factory=dict)
    statistics: Statistics = field(default_factory=Statistics)

    def layout(self, spec: str | Layout) -> Layout:
        """The layout that a spec such as ``conv(groups=2)`` names, in this axis order.

        Raises:
          ValueError: an unknown layer kind, arguments that the kind does not take, or ``depthwise``
            in a framework without such kernels.
        """
        if isinstance(spec, Layout):
            return spec
        parsed = _specs.parse(spec, "layer kind")
        factory = get_layer_kind(parsed.name)
        layout = factory(**_specs.bind(parsed, factory, "layer kind"))
        if parsed.name == "depthwise" and not self.depthwise:
            raise errors.refusal(
                "layer kind",
                parsed.name,
                "a convolution with a group for each input channel, which is what a depthwise "
                "layer of this host has",
                "conv(groups=64) for 64 input channels",
            )
        if parsed.name == "dense" and layout.in_axes != (-2,) and self.kernel == (1, 0):
            # batch, out, in: the order of these frameworks, also with several axes
            start, outputs = len(layout.batch_axes), len(layout.out_axes)
            middle = start + outputs
            return replace(
                layout,
                out_axes=tuple(range(start, middle)),
                in_axes=tuple(range(middle, middle + len(layout.in_axes))),
            )
        if (layout.in_axes, layout.out_axes) != ((-2,), (-1,)):
            return layout  # axes counted from the front are the same in every framework
        first, second = self.kernel
        if parsed.name == "transposed":
            first, second = self.transposed
            layout = replace(layout, groups_on=self.transposed_groups)
        return replace(layout, in_axes=(first,), out_axes=(second,))

    def usual_kind(self, name: str, shape: tuple[int, ...], alone: bool = True) -> str:
        """The layer kind of a leaf whose name and shape leave one reading; "" if they leave more.

        A kernel of rank 2 is dense. One of rank 3 or more may belong to a convolution, attention
        with its heads, experts, or layers that ``scan`` stacked.

        Args:
          name: the leaf's name in its layer.
          shape: the leaf's shape.
          alone: True if the layer has no other leaf of rank ≥ 2, as a recurrent cell has.

        >>> [Conventions().usual_kind("kernel", shape) for shape in ((4, 3), (6, 4, 3))]
        ['dense', '']
        """
        if name in self.vectors:
            return "vector" if len(shape) < 2 else ""
        if name in self.biases:
            return "bias"
        if name in self.leaves:
            kind = self.leaves[name]
            square = kind != "recurrent" or len(set(shape)) == 1  # else the kernel packs gates
            return kind if len(shape) == 2 and square else ""
        is_dense = name in self.kernels and len(shape) == 2 and alone and self.channels_last
        return "dense" if is_dense else ""
