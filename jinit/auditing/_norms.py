"""Compares the scales of weight norms with the norms of their kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jinit.auditing._leaves import Leaf, agree
from jinit.parameters._norms import NormOf


def norms_for(scale: Leaf, kernel: Leaf | None) -> np.ndarray | None:
    """The norms of a kernel in the shape of the scale; None if they are unknown or not finite.

    Args:
      scale: a leaf whose layout has the kind ``"norm"``.
      kernel: the leaf that the layout names; None if the tree has no such leaf.
    """
    layout = scale.layout
    if layout is None or kernel is None or not (kernel.is_inexact and kernel.values.size):
        return None
    kept = [kernel.values.shape[axis % kernel.values.ndim] for axis in layout.out_axes]
    if int(np.prod(kept)) != scale.values.size:
        return None
    rule = NormOf(layout.of, layout.out_axes)
    norms = np.asarray(rule.values(kernel.values, scale.values.shape))
    return norms if np.isfinite(norms).all() else None


def with_rescaled(leaves: Sequence[Leaf]) -> list[Leaf]:
    """The leaves, with marks on those that their layers divide by a norm.

    A kernel under weight norm is not marked if its scale holds its norms: the layer then computes
    with the kernel itself, and the kernel's σ has its usual effect.
    """
    by_path = {leaf.path: leaf for leaf in leaves}
    divided = set()
    for leaf in leaves:
        if leaf.layout is not None and leaf.layout.kind == "norm":
            norms = norms_for(leaf, by_path.get(leaf.layout.of))
            if norms is None or not agree(leaf.values, norms):
                divided.add(leaf.layout.of)
        elif leaf.layout is not None and leaf.layout.rescaled:
            divided.add(leaf.path)
    return [replace(leaf, is_rescaled=True) if leaf.path in divided else leaf for leaf in leaves]
