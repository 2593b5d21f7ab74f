"""What the hosts share: recognizing classes by name, and the layouts of the usual layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jinit.parameters.layout import Layout


def comes_from(instance: Any, package: str, *names: str) -> bool:
    """Whether an instance is of a class of one of these names, defined under that package.

    >>> from collections import OrderedDict
    >>> comes_from(OrderedDict(), "collections", "OrderedDict")
    True
    """
    return any(
        kind.__name__ in names and f"{kind.__module__}.".startswith(f"{package}.")
        for kind in type(instance).__mro__
    )


def bias_of(kernel: Layout, shape: Sequence[int]) -> Layout:
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
    )


def vector(layer: str) -> Layout:
    """A scale, a shift, or anything else without fans.

    >>> vector("LayerNorm").kind
    'vector'
    """
    return Layout("vector", layer, (), ())


def strided(fan_in: float, strides: Any, dimensions: int) -> float:
    """Inputs that one output of a transposed convolution sees: 1/stride of its taps per axis.

    >>> strided(36, 2, 2)
    9.0
    """
    if strides is None:
        return fan_in
    each = (strides,) * dimensions if isinstance(strides, int) else tuple(strides)
    return fan_in / math.prod(each)


def equal_blocks(total: int, count: int) -> tuple[int, ...]:
    """The sizes of ``count`` gates packed along an axis.

    >>> equal_blocks(12, 4)
    (3, 3, 3, 3)
    """
    return (total // count,) * count


def path(*parts: Any) -> str:
    """Path components joined as :func:`jinit.parameters.path_of` does.

    >>> path("layers", 0, "kernel")
    'layers/0/kernel'
    """
    return "/".join(str(part) for part in parts if str(part))
