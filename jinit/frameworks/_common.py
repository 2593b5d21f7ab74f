"""Recognizes framework classes by name and builds the layouts of common layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import jax
import numpy as np

from jinit.frameworks._layout import Layout
from jinit.initializers import NamedInitializer, constant, ones, zeros
from jinit.typing import ModelLike, PyTree

_T = TypeVar("_T")
# Base classes from which users derive layers; they do not determine what a layer's leaves are.
_BASES = (
    "Module", "ModuleBase", "Object", "Pytree", "Layer", "JaxLayer", "TorchLayer", "TFLayer",
    "Operation", "KerasSaveable", "Model", "Trainer", "Sequential", "Functional", "RNNCellBase",
    "RNNCore", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "Container",
    "CallableModule", "ToModuleWrapper",
)  # fmt: skip
# Modules that make classes from a user's: their names say nothing about a layer's leaves.
_MAKERS = ("torch.nn.utils.parametrize", "flax.linen.transforms")
_SCALES = ("scale", "gamma", "weight")


def comes_from(instance: ModelLike, package: str, *names: str) -> bool:
    """Whether an instance's class, or a base of it, has one of these names in that package.

    >>> from collections import OrderedDict
    >>> comes_from(OrderedDict(), "collections", "OrderedDict")
    True
    """
    return any(kind in names for kind in _classes(instance, package))


def entry_of(instance: ModelLike, package: str, table: Mapping[str, _T]) -> _T | None:
    """The table's entry for the most derived class of the package that has one.

    >>> from collections import OrderedDict
    >>> entry_of(OrderedDict(), "collections", {"OrderedDict": 1})
    1
    """
    return next((table[kind] for kind in _classes(instance, package) if kind in table), None)


def layer_name(instance: ModelLike, package: str) -> str:
    """The name of the library's layer that an instance is, or from which its class is derived.

    >>> from collections import OrderedDict
    >>> layer_name(type("Mine", (OrderedDict,), {})(), "collections")
    'OrderedDict'
    """
    return next(_layer_names(instance, package), type(instance).__name__)


def _layer_names(instance: ModelLike, package: str) -> Iterator[str]:
    """Names of the package's layers among the instance's classes, the most derived first."""
    made = {kind.__name__ for kind in type(instance).__mro__ if kind.__module__ in _MAKERS}
    return (kind for kind in _classes(instance, package) if kind not in {*_BASES, *made})


def _classes(instance: ModelLike, package: str) -> list[str]:
    """Names of the instance's classes defined under a package, the most derived first."""
    return [
        kind.__name__
        for kind in type(instance).__mro__
        if f"{kind.__module__}.".startswith(f"{package}.")
    ]


def stacked(
    layout: Layout,
    own_rank: int,
    shape: Sequence[int],
    own_shape: Sequence[int] | None = None,
    added: tuple[int, ...] | None = None,
) -> Layout | None:
    """The layout of a leaf to which scan, vmap or layer_stack added axes.

    Each index along an added axis holds a kernel of its own, so added axes become batch axes.
    Added axes come first, unless ``own_shape`` shows that they are elsewhere. Axes that count from
    the end still do.

    Args:
      layout: the layout of the layer's own kernel.
      own_rank: the rank of that kernel.
      shape: the shape of the leaf in the tree.
      own_shape: the kernel's shape inside scan or vmap; None if unknown.
      added: the axes that were added, if they are known; ``own_shape`` is then not needed.

    Returns:
      The layout of the leaf, or None if it has fewer axes than the layer's kernel, or if sizes are
      equal, so that the shapes do not show which axes were added.

    >>> stacked(Layout(), 2, (6, 32, 32)).kernels((6, 32, 32))
    (6, [(32, 32)])
    """
    extra = len(shape) - own_rank
    if extra == 0:
        return layout
    if extra < 0:
        return None
    if added is not None and len(added) != extra:
        return None
    if added is None and own_shape is None:
        added = tuple(range(extra))
    if added is None and own_shape is not None:
        fitting = [
            candidate
            for candidate in itertools.combinations(range(len(shape)), extra)
            if [size for axis, size in enumerate(shape) if axis not in candidate] == list(own_shape)
        ]
        if len(fitting) != 1:
            return None  # equal sizes: the shapes do not show which axis was added
        (added,) = fitting
    assert added is not None
    rank = len(shape)
    kept = [axis for axis in range(rank) if axis not in added]

    def moved(axes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(kept[axis % own_rank] - (rank if axis < 0 else 0) for axis in axes)

    return replace(
        layout,
        in_axes=moved(layout.in_axes),
        out_axes=moved(layout.out_axes),
        batch_axes=(*added, *moved(layout.batch_axes)),
        added=(*added, *moved(layout.added)),
    )


def one_layer(layout: Layout, shape: tuple[int, ...]) -> tuple[Layout, tuple[int, ...]]:
    """The layout and the shape of one layer of a stack; undoes :func:`stacked`.

    >>> one_layer(stacked(Layout(), 2, (6, 32, 16)), (6, 32, 16)) == (Layout(), (32, 16))
    True
    """
    rank = len(shape)
    added = {axis % rank for axis in layout.added}
    kept = [axis for axis in range(rank) if axis not in added]

    def moved(axes: tuple[int, ...]) -> tuple[int, ...]:
        own = (axis for axis in axes if axis % rank not in added)
        return tuple(kept.index(axis % rank) - (len(kept) if axis < 0 else 0) for axis in own)

    layer = replace(
        layout,
        in_axes=moved(layout.in_axes),
        out_axes=moved(layout.out_axes),
        batch_axes=moved(layout.batch_axes),
        added=(),
    )
    return layer, tuple(shape[axis] for axis in kept)


def einsum(equation: str) -> Layout:
    """The kernel's layout in ``"abc,cde->abde"``: summed axes are in, new axes out, others batch.

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
    """The layout of a scale, a shift, or another leaf without fans."""
    return Layout("vector", layer, (), ())


def rescaled_by(wrapper: str, kernel: Layout | None) -> Layout:
    """The layout of a leaf that a layer divides by a norm of the leaf; None for unknown axes.

    >>> rescaled_by("SpectralNorm", Layout()).rescaled
    True
    """
    return replace(vector("") if kernel is None else kernel, layer=wrapper, rescaled=True)


def strided(kernel: Layout, shape: Sequence[int], strides: int | Sequence[int] | None) -> Layout:
    """A transposed convolution's layout: 1/stride of the kernel's taps per axis reach one output.

    >>> strided(Layout(), (3, 3, 4, 8), 2).fan_in
    9.0
    """
    dimensions = len(shape) - len((*kernel.batch_axes, *kernel.in_axes, *kernel.out_axes))
    by_axis = (strides,) * dimensions if isinstance(strides, int) else tuple(strides or ())
    stride, fans = math.prod(by_axis), kernel.fans(tuple(shape))
    fan_in = None if fans is None else fans.fan_in / stride
    return replace(kernel, fan_in=fan_in, strides=stride)


def unstrided(layout: Layout) -> Layout:
    """Undoes :func:`strided`: fan_in counts all taps, as frameworks do that ignore strides."""
    if layout.strides > 1 and layout.fan_in is not None:
        return replace(layout, fan_in=layout.fan_in * layout.strides)
    return layout


def run_abstractly(
    init: Callable[..., PyTree], inputs: Sequence[PyTree], keywords: Mapping[str, PyTree]
) -> PyTree:
    """``init(key, *inputs, **keywords)`` as shapes; keywords without a shape, as flags, are static.

    >>> run_abstractly(lambda key, x, n: x[:n], [jax.numpy.ones(3)], {"n": 1})
    ShapeDtypeStruct(shape=(1,), dtype=float32)
    """
    arrays = {
        name: value
        for name, value in keywords.items()
        if any(hasattr(leaf, "shape") for leaf in jax.tree.leaves(value))
    }
    flags = {name: value for name, value in keywords.items() if name not in arrays}

    # A new function each time: JAX caches traces by function, and layers are seen only in a trace.
    def run(inputs: Sequence[PyTree], arrays: Mapping[str, PyTree]) -> PyTree:
        return init(jax.random.key(0), *inputs, **arrays, **flags)

    return jax.eval_shape(run, tuple(inputs), arrays)


def run_concretely(
    init: Callable[..., PyTree], inputs: Sequence[PyTree], keywords: Mapping[str, PyTree]
) -> PyTree:
    """``init(key, *inputs, **keywords)`` with zeros in place of shapes.

    >>> run_concretely(lambda key, x: x + 1, [jax.ShapeDtypeStruct((2,), "float32")], {})
    Array([1., 1.], dtype=float32)
    """

    def filled(leaf: PyTree) -> PyTree:
        is_shape = isinstance(leaf, jax.ShapeDtypeStruct)
        return jax.numpy.zeros(leaf.shape, leaf.dtype) if is_shape else leaf

    args, options = jax.tree.map(filled, (tuple(inputs), dict(keywords)))
    return init(jax.random.key(0), *args, **options)


def constant_axes(values: np.ndarray) -> tuple[int, ...]:
    """The axes along which an array does not change.

    >>> constant_axes(np.array([[1, 2], [1, 2]]))
    (0,)
    """
    return tuple(
        axis for axis in range(values.ndim) if (values == np.take(values, [0], axis)).all()
    )


def only_value(leaf: PyTree) -> float | None:
    """The value that all entries of a leaf have; None for several values, or for a shape.

    >>> only_value(np.full(3, 0.25)), only_value(np.arange(3))
    (0.25, None)
    """
    (values,) = jax.tree.leaves(leaf)  # also of an nnx variable
    if not isinstance(values, jax.Array | np.ndarray) or isinstance(values, jax.core.Tracer):
        return None
    found = np.unique(np.asarray(values))
    return float(found[0]) if len(found) == 1 else None


def equal_blocks(total: int, count: int) -> tuple[int, ...]:
    """The sizes of ``count`` gates packed along an axis of size ``total``."""
    return (total // count,) * count


def path(*components: str | int) -> str:
    """Joins path components with ``/`` as ``path_of`` does; empty components are left out."""
    return "/".join(str(component) for component in components if str(component))


def vector_default(layout: Layout, leaf: str, slope: float = 0.25) -> NamedInitializer:
    """The usual default of a vector: ones for scales, zeros for shifts, the slope for PReLU.

    An option of the layer that sets the start goes before the usual default.
    """
    if layout.start is not None:
        return constant(layout.start)
    if layout.layer == "PReLU" or leaf == "negative_slope":
        return constant(slope)
    return ones if leaf.rpartition(".")[2] in _SCALES else zeros


def as_one_kernel(layout: Layout) -> Layout:
    """The same axes without blocks: frameworks draw packed gates or q, k, v as one kernel."""
    return Layout(layout.kind, layout.layer, layout.in_axes, layout.out_axes)


def last_two_axes(layout: Layout) -> Layout:
    """One kernel whose last two axes are in and out, as Flax and Keras read every kernel.

    A kernel of a host with another axis order keeps its own in and out axes.

    >>> last_two_axes(Layout(in_axes=(-1,), out_axes=(-2,))).in_axes
    (-2,)
    >>> last_two_axes(Layout(in_axes=(1,), out_axes=(0,))).in_axes
    (1,)
    """
    if all(axis < 0 for axis in (*layout.in_axes, *layout.out_axes)):
        return Layout(layout.kind, layout.layer)
    return as_one_kernel(layout)
