"""Sets the scale of a weight norm to the norms of the drawn kernel.

A layer with weight norm computes with g · v/‖v‖. Whatever σ v is drawn with has no effect unless g
is ‖v‖; the layer then starts with the drawn kernel (Salimans & Kingma 2016, equation 2).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.parameters._leaves import TreeLeaf
from jinit.typing import Array, DType, Key, OutSharding, Shape

NORM = "norm"


@dataclass(frozen=True)
class FollowKernel:
    """Stands for the rule ``"norm"`` until the leaf, and thereby the kernel, is known."""

    def __call__(
        self, key: Key, shape: Shape, dtype: DType = None, out_sharding: OutSharding = None
    ) -> Array:
        """Raises: the rule draws nothing."""
        raise _not_drawn(NORM)


@dataclass(frozen=True)
class NormOf:
    """The rule of a leaf that holds the norms of a kernel.

    Attributes:
      kernel: the path of the kernel.
      kept: the axes of the kernel along which norms are separate; all others are summed over.

    >>> NormOf("v", (-1,)).values(jnp.array([[3.0, 0.0], [4.0, 2.0]]), (2,))
    Array([5., 2.], dtype=float32)
    """

    kernel: str
    kept: tuple[int, ...]

    def __call__(
        self, key: Key, shape: Shape, dtype: DType = None, out_sharding: OutSharding = None
    ) -> Array:
        """Raises: norms are computed from a kernel, not drawn."""
        raise _not_drawn(f"the norms of {self.kernel!r}")

    def values(self, kernel: Array | np.ndarray, shape: tuple[int, ...]) -> Array:
        """The norms of a drawn kernel, in the shape of the leaf."""
        kernel = jnp.asarray(kernel)
        kept = {axis % kernel.ndim for axis in self.kept}
        summed = tuple(axis for axis in range(kernel.ndim) if axis not in kept)
        wide = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
        norms = jnp.sqrt(jnp.sum(jnp.abs(wide) ** 2, axis=summed))
        return norms.reshape(shape).astype(kernel.dtype)


def kernel_of(norm: NormOf, paths: Sequence[str]) -> int:
    """The position of the kernel among the leaves.

    Raises:
      ValueError: the tree has no such leaf.
    """
    if norm.kernel not in paths:
        raise errors.refusal(
            f"kernel {norm.kernel!r} of a weight norm",
            "no such leaf",
            f"one of {list(paths)}",
            "pass the layers of the model to which the tree belongs",
        )
    return paths.index(norm.kernel)


def check_left_out(left_out: Iterable[TreeLeaf], drawn: Container[str]) -> None:
    """Refuses a drawn kernel whose norms keep their values, because ``where`` leaves them out.

    >>> check_left_out([], {"v"})
    """
    for leaf in left_out:
        layout = leaf.layout
        if layout is not None and layout.kind == NORM and layout.of in drawn:
            raise errors.refusal(
                f"where for kernel {layout.of!r}",
                f"no match for {leaf.path!r}, which holds the norms of the kernel",
                f"both leaves: the layer uses {layout.of!r} only divided by its norm, so the draw "
                "has no effect on the scale of the layer",
                f"match {leaf.path!r} by where=, too; to keep the norms, put "
                f"{{{leaf.path!r}: 'keep'}} before the other rules",
            )


def _not_drawn(what: str) -> errors.ValueRefusal:
    return errors.refusal(
        "initializer",
        what,
        "a rule that draws alone",
        "draw the whole tree by jinit.initialize, which sets the scales of weight norms",
    )
