"""What the hosts share: recognizing classes by name, and the layouts of the usual layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jinit.frameworks._layout import Layout


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


# What layers of one's own are made from: by itself it says nothing about their leaves.
_BASES = (
    "Module", "ModuleBase", "Object", "Pytree", "Layer", "JaxLayer", "TorchLayer", "TFLayer",
    "Operation", "KerasSaveable", "Model", "Trainer", "Sequential", "Functional",
)  # fmt: skip


def is_library_layer(instance: Any, package: str) -> bool:
    """Whether an instance is of a layer class of that package, or of one derived from it.

    >>> from collections import OrderedDict
    >>> is_library_layer(OrderedDict(), "collections"), is_library_layer(1, "collections")
    (True, False)
    """
    return any(
        kind.__name__ not in _BASES and f"{kind.__module__}.".startswith(f"{package}.")
        for kind in type(instance).__mro__
    )


def stacked(
    made: Layout, own_rank: int, shape: Sequence[int], own_shape: Sequence[int] | None = None
) -> Layout | None:
    """The layout of a leaf that scan, vmap or layer_stack gave more axes than its layer knows.

    The extra axes hold kernels of their own: they become batch axes. They lead, unless the layer's
    own shape says where else they are.

    Args:
      made: the layout of the layer's own kernel.
      own_rank: the rank of that kernel.
      shape: of the leaf in the tree.
      own_shape: of the kernel inside the lifted layer, where it can be seen.

    Returns:
      The layout of the leaf, or None if it has fewer axes than the layer's kernel.

    >>> stacked(Layout(), 2, (6, 32, 32)).kernels((6, 32, 32))
    (6, [(32, 32)])
    """
    extra = len(shape) - own_rank
    if extra == 0:
        return made
    if extra < 0:
        return None
    places = tuple(range(extra))
    if own_shape is not None:
        for candidate in itertools.combinations(range(len(shape)), extra):
            left = [size for axis, size in enumerate(shape) if axis not in candidate]
            if left == list(own_shape):
                places = candidate
                break
    kept = [axis for axis in range(len(shape)) if axis not in places]

    def moved(axes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(kept[axis % own_rank] for axis in axes)

    return replace(
        made,
        in_axes=moved(made.in_axes),
        out_axes=moved(made.out_axes),
        batch_axes=(*places, *moved(made.batch_axes)),
    )


def einsum(equation: str) -> Layout:
    """``"abc,cde->abde"``: what is summed over is in, what is new is out, the rest is batch.

    >>> einsum("abc,cde->abde").out_axes
    (1, 2)
    """
    operands, output = equation.replace(" ", "").replace("...", "").split("->")
    inputs, kernel = operands.split(",")
    where = {label: axis for axis, label in enumerate(kernel)}
    return Layout(
        in_axes=tuple(a for label, a in where.items() if label in inputs and label not in output),
        out_axes=tuple(a for label, a in where.items() if label not in inputs),
        batch_axes=tuple(a for label, a in where.items() if label in inputs and label in output),
    )


def vector(layer: str) -> Layout:
    """A scale, a shift, or anything else without fans.

    >>> vector("LayerNorm").kind
    'vector'
    """
    return Layout("vector", layer, (), ())


def strided(kernel: Layout, shape: Sequence[int], strides: Any, dimensions: int) -> Layout:
    """The kernel of a transposed convolution: an output sees 1/stride of its taps per axis.

    >>> strided(Layout(), (3, 3, 4, 8), 2, 2).fan_in
    9.0
    """
    each = (strides,) * dimensions if isinstance(strides, int) else tuple(strides or ())
    together, fans = math.prod(each), kernel.fans(tuple(shape))
    fan_in = None if fans is None else fans.fan_in / together
    return replace(kernel, fan_in=fan_in, strides=together)


def equal_blocks(total: int, count: int) -> tuple[int, ...]:
    """The sizes of ``count`` gates packed along an axis.

    >>> equal_blocks(12, 4)
    (3, 3, 3, 3)
    """
    return (total // count,) * count


def path(*parts: Any) -> str:
    """Path components joined as :func:`jinit.frameworks.path_of` does.

    >>> path("layers", 0, "kernel")
    'layers/0/kernel'
    """
    return "/".join(str(part) for part in parts if str(part))
