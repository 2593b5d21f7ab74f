"""Describes the leaves of linen's weight norm and spectral norm."""

from __future__ import annotations

from dataclasses import replace

import jax

from jinit.frameworks._common import vector
from jinit.frameworks._layout import Layout
from jinit.frameworks._paths import path_of
from jinit.typing import ModelLike, PyTree


def normalize(
    layouts: dict[str, Layout], tree: PyTree, wrapper: str, inner: str, module: ModelLike
) -> None:
    """Changes the layouts of kernels that a weight norm or a spectral norm wraps."""
    leaves = {path_of(place): leaf for place, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    for kernel, layout in list(layouts.items()):
        if not kernel.startswith(f"{inner}/") or kernel not in leaves:
            continue
        # The name of a scale is the kernel's path, from the wrapped layer's own name on.
        scale = f"{wrapper}/{inner.rpartition('/')[2]}{kernel[len(inner) :]}/scale"
        if scale in leaves:
            shape, axes = leaves[kernel].shape, module.feature_axes
            kept = () if axes is None else (axes,) if isinstance(axes, int) else tuple(axes)
            if tuple(shape[axis] for axis in kept) == leaves[scale].shape and len(shape) > 1:
                layouts[scale] = Layout(
                    "norm", "WeightNorm", in_axes=(), out_axes=kept, of=kernel, start=1.0
                )
            elif len(shape) < 2:
                layouts[scale] = vector("WeightNorm")
        elif layout.is_cut and _is_rescaled(module, scale.removeprefix(f"{wrapper}/")):
            layouts[kernel] = replace(layout, layer=type(module).__name__, rescaled=True)


def _is_rescaled(module: ModelLike, kernel: str) -> bool:
    """Whether a wrapper without a learned scale normalizes this kernel."""
    names = getattr(module, "variable_filter", None)
    return not names or any(name in kernel for name in names)
