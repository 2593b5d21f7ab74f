"""Describes the vectors of linen and nnx, and the leaves of linen's weight and spectral norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import jax

from jinit.frameworks._common import (
    entry_of,
    layer_name,
    only_value,
    path,
    rescaled_by,
    stacked,
    vector,
)
from jinit.frameworks._layout import Layout
from jinit.frameworks._paths import path_of
from jinit.typing import Array, ModelLike, PyTree

if TYPE_CHECKING:
    from flax import nnx

_Place: TypeAlias = tuple[str, ...]
_Axes: TypeAlias = tuple[int, ...]
_AxesOf: TypeAlias = Callable[[tuple[_Place, ...]], Mapping[_Place, _Axes]]
_SCALE = "/scale"
_AFFINE = ("scale", "bias")
# Layer class of linen or nnx → its leaves that have no fans.
_VECTORS = {
    "LayerNorm": _AFFINE,
    "RMSNorm": _AFFINE,
    "GroupNorm": _AFFINE,
    "InstanceNorm": _AFFINE,
    "BatchNorm": _AFFINE,
    "PReLU": ("negative_slope",),
}


def vectors(module: ModelLike, leaves: Mapping[str, Array | nnx.Param[Array]]) -> dict[str, Layout]:
    """The layouts of a layer's scales, shifts and slopes, by leaf name."""
    names = entry_of(module, "flax", _VECTORS) or ()
    if "negative_slope" in names and "negative_slope" in leaves:
        return _slope(module, leaves["negative_slope"])
    name = layer_name(module, "flax")
    return {leaf: vector(name) for leaf in names if leaf in leaves}


def _slope(module: ModelLike, leaf: Array | nnx.Param[Array]) -> dict[str, Layout]:
    """The slope of PReLU, if its start is known: from an option of linen's, or from its value."""
    start = getattr(module, "negative_slope_init", None)
    start = only_value(leaf) if start is None else start
    return {} if start is None else {"negative_slope": replace(vector("PReLU"), start=start)}


def normalize(
    layouts: dict[str, Layout],
    tree: PyTree,
    seen: Mapping[_Place, tuple[ModelLike, Mapping[str, Array]]],
    inside: Mapping[_Place, _Place],
    axes_of: _AxesOf,
) -> None:
    """Changes the layouts of kernels that a weight norm or a spectral norm wraps.

    Args:
      layouts: leaf path → layout, of the whole model.
      tree: the parameter tree.
      seen: the place of a module → the module and its leaves as it sees them in scan and vmap.
      inside: the place of a wrapper → the place of its layer.
      axes_of: finds the added axes of leaves whose sizes do not show them.
    """
    views = {
        path(*place, name): tuple(leaf.shape)
        for place, (_, own) in seen.items()
        for name, leaf in own.items()
    }
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    shapes = {path_of(key): tuple(leaf.shape) for key, leaf in leaves}
    wrappers = {place: (seen[place][0], inner) for place, inner in inside.items()}
    _Normed(layouts, shapes, views, axes_of).normalize(wrappers)


@dataclass(frozen=True)
class _Normed:
    """A parameter tree whose kernels a weight norm or a spectral norm may wrap.

    Attributes:
      layouts: leaf path → layout; :meth:`normalize` changes it.
      shapes: leaf path → shape of the leaf.
      views: leaf path → shape of the leaf as its own module sees it, inside scan and vmap.
      stack_axes: finds the added axes of leaves whose sizes do not show them.
    """

    layouts: dict[str, Layout]
    shapes: Mapping[str, _Axes]
    views: Mapping[str, _Axes]
    stack_axes: _AxesOf

    def normalize(self, wrappers: Mapping[_Place, tuple[ModelLike, _Place]]) -> None:
        """Changes the layouts of wrapped kernels and of their scales.

        Args:
          wrappers: the place of a wrapper → the wrapper and the place of its layer.
        """
        scales: dict[_Place, tuple[str, ModelLike]] = {}
        for place, (module, inner) in wrappers.items():
            for kernel in self.shapes:
                if not kernel.startswith(f"{path(*inner)}/") or kernel not in self.views:
                    continue
                # The name of a scale is the kernel's path, from the wrapped layer's own name on.
                own = path(inner[-1], kernel[len(path(*inner)) + 1 :])
                if path(*place, own + _SCALE) in self.shapes:
                    scales[*place, own + _SCALE] = kernel, module
                elif self._is_matrix(kernel) and _is_rescaled(module, own):
                    self._rescale(kernel, module)
        added = self._added_to_scales(scales)
        for place, (kernel, module) in scales.items():
            self._describe(kernel, module, path(*place), added[place])

    def _is_matrix(self, kernel: str) -> bool:
        known = self.layouts.get(kernel)
        return len(self.views[kernel]) > 1 if known is None else known.is_cut

    def _rescale(self, kernel: str, module: ModelLike) -> None:
        self.layouts[kernel] = rescaled_by(type(module).__name__, self.layouts.get(kernel))

    def _added_to_scales(
        self, scales: Mapping[_Place, tuple[str, ModelLike]]
    ) -> dict[_Place, _Axes | None]:
        """The axes that stacks added to each scale; None if they are not known."""
        views = {place: self.views[path(*place)] for place in scales}
        found = {place: _added(view, self.shapes[path(*place)]) for place, view in views.items()}
        unclear = tuple(place for place, axes in found.items() if axes is None)
        for place, axes in (self.stack_axes(unclear) if unclear else {}).items():
            found[place] = _added(views[place], self.shapes[path(*place)], axes)
        return found

    def _describe(self, kernel: str, module: ModelLike, scale: str, added: _Axes | None) -> None:
        """Describes a scale, and its kernel if the scale cannot follow it."""
        name, shape = type(module).__name__, self.shapes[kernel]
        outside = len(self.shapes[scale]) - len(self.views[scale])
        if len(shape) - outside < 2:
            self.layouts[scale] = vector(name)
            return
        kept = None if added is None else self._kept(kernel, module.feature_axes, added)
        if kept is None:
            self.layouts[scale] = replace(vector(name), start=1.0)
            self._rescale(kernel, module)
        else:
            norm = Layout("norm", name, in_axes=(), out_axes=kept, of=kernel, start=1.0)
            self.layouts[scale] = norm

    def _kept(self, kernel: str, axes: int | _Axes | None, added: _Axes) -> _Axes | None:
        """The axes of a kernel that its scale has; None if the scale has another order of axes.

        Args:
          kernel: the path of the kernel.
          axes: the wrapper's axes of features.
          added: the axes that stacks added to the scale.
        """
        known, shape = self.layouts.get(kernel), self.shapes[kernel]
        lifted: _Axes | None = () if known is None else known.added
        if known is None or len(known.added) != len(added):  # stacks lie inside the wrapper, too
            lifted = _added(self.views[kernel], shape) if added else ()
        if lifted is None or len(lifted) != len(added):
            return None
        stack = {axis % len(shape) for axis in lifted}
        own = [axis for axis in range(len(shape)) if axis not in stack]
        features = () if axes is None else (axes,) if isinstance(axes, int) else tuple(axes)
        kept = tuple(sorted({*stack, *(own[axis] for axis in features)}))
        order = [place for place, axis in enumerate(kept) if axis in stack]
        return kept if order == sorted(added) else None


def _added(own: _Axes, shape: _Axes, axes: _Axes | None = None) -> _Axes | None:
    """The axes of a leaf that its module does not see; None if the sizes do not show them."""
    own_shape = None if axes is not None else own
    lifted = stacked(vector(""), len(own), shape, own_shape, axes)
    return None if lifted is None else lifted.added


def _is_rescaled(module: ModelLike, kernel: str) -> bool:
    """Whether a wrapper without a learned scale normalizes this kernel."""
    names = getattr(module, "variable_filter", None)
    return not names or any(name in kernel for name in names)
