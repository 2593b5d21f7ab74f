"""Holds a framework's axis order and fixed leaf names, and turns layer specs into layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from jinit import _specs
from jinit.frameworks._kinds import get_layer_kind
from jinit.frameworks._layout import Layout


@dataclass(frozen=True)
class Conventions:
    """The axis order and the leaf names that a framework uses in all its layers.

    Attributes:
      kernel: (in, out) axes of a dense or convolution kernel.
      transposed: (in, out) axes of the kernel of a transposed convolution.
      transposed_groups: the axes of a transposed kernel that hold groups: ``"out"`` or ``"in"``.
      channels_last: True if values are ``(batch, …, channels)`` and a leaf of rank 2 or more
        without a special name is a kernel ``(receptive field…, in, out)``; False if values are
        ``(batch, channels, …)`` and a leaf name does not say what the leaf is.
      kernels: names of kernels.
      biases: names of biases.
      vectors: names of scales and shifts.
      leaves: leaf name → layer kind, for names that mean the same in every layer.

    >>> Conventions(kernel=(1, 0)).layout("dense").out_axes
    (0,)
    """

    kernel: tuple[int, int] = (-2, -1)
    transposed: tuple[int, int] = (-2, -1)
    transposed_groups: Literal["in", "out"] = "out"
    channels_last: bool = True
    kernels: tuple[str, ...] = ("kernel",)
    biases: tuple[str, ...] = ("bias", "b")
    vectors: tuple[str, ...] = ("scale", "offset", "shift", "gamma", "beta")
    leaves: Mapping[str, str] = field(default_factory=dict)

    def layout(self, spec: str | Layout) -> Layout:
        """The layout that a spec such as ``conv(groups=2)`` names, in this axis order.

        Raises:
          ValueError: an unknown layer kind, or arguments that the kind does not take.
        """
        if isinstance(spec, Layout):
            return spec
        parsed = _specs.parse(spec, "layer kind")
        factory = get_layer_kind(parsed.name)
        layout = factory(**_specs.bind(parsed, factory, "layer kind"))
        if (layout.in_axes, layout.out_axes) != ((-2,), (-1,)):
            return layout  # axes counted from the front are the same in every framework
        first, second = self.kernel
        if parsed.name == "transposed":
            first, second = self.transposed
            layout = replace(layout, groups_on=self.transposed_groups)
        return replace(layout, in_axes=(first,), out_axes=(second,))

    def usual_kind(self, name: str, rank: int) -> str:
        """The layer kind of a leaf by its name and rank; "" if that depends on the layer.

        >>> Conventions().usual_kind("kernel", 4), Conventions().usual_kind("kernel", 1)
        ('conv', '')
        """
        if name in self.vectors:
            return "vector"
        usual = self.leaves.get(name, "")
        if usual or rank < 2 or name in self.biases or not self.channels_last:
            return usual
        return "conv"
