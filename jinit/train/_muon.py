"""Rescales the gradients of hidden kernels by Muon and those of all other leaves by Adam."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from jinit import errors
from jinit.typing import Array, PyTree, Shape


@dataclass(frozen=True)
class Matrix:
    """Says how a leaf is a matrix from in to out; axes that are in neither are a batch.

    Attributes:
      in_axes: axes whose product is the number of rows, the receptive field included.
      out_axes: axes whose product is the number of columns.
      blocks: columns of each matrix, if the leaf packs several side by side; () is one matrix.

    >>> [block.shape for block in Matrix((0,), (1, 2)).split(jnp.ones((6, 2, 3)))]
    [(1, 6, 6)]
    """

    in_axes: tuple[int, ...]
    out_axes: tuple[int, ...]
    blocks: tuple[int, ...] = ()

    def split(self, leaf: Array) -> list[Array]:
        """The matrices ``(batch, in, out)`` of a leaf."""
        order, sizes = self._order(leaf.shape)
        whole = leaf.transpose(order).reshape(sizes)
        stops = list(itertools.accumulate(self.blocks))[:-1]
        return jnp.split(whole, stops, axis=2)

    def join(self, matrices: Sequence[Array], shape: Shape) -> Array:
        """The leaf of this shape from its matrices."""
        order, _ = self._order(shape)
        whole = jnp.concatenate(list(matrices), axis=2)
        back = sorted(range(len(order)), key=order.__getitem__)
        return whole.reshape([shape[axis] for axis in order]).transpose(back)

    def _order(self, shape: Shape) -> tuple[tuple[int, ...], tuple[int, int, int]]:
        count = len(shape)
        ins, outs = ([axis % count for axis in axes] for axes in (self.in_axes, self.out_axes))
        batch = [axis for axis in range(count) if axis not in (*ins, *outs)]
        groups = (batch, ins, outs)
        first, second, third = (math.prod(shape[axis] for axis in group) for group in groups)
        return (*batch, *ins, *outs), (first, second, third)


def scale_by_muon(
    momentum: float | Array, matrices: Sequence[Matrix | None] | None
) -> optax.GradientTransformation:
    """Hidden kernels: √max(1, out/in) · the orthogonal factor of their momentum; the rest: Adam.

    Args:
      momentum: β of Muon's Nesterov momentum, β₁ of Adam; may be traced.
      matrices: one :class:`Matrix` per hidden kernel, None for each other leaf, in the order of
        ``jax.tree.leaves``.

    Raises:
      ValueError: ``matrices`` is None, or of another length than the tree.

    Reference: Jordan et al. 2024.
    """
    if matrices is None:
        raise errors.refusal(
            "matrices of optimizer 'muon'",
            None,
            "which leaves are hidden kernels, because Muon treats them alone as matrices",
            "jinit.Grid(optimizer='muon'), which asks the layers; or optax.contrib.muon",
        )
    kinds = list(matrices)
    muon = optax.contrib.scale_by_muon(beta=momentum, weight_dimension_numbers=_last_two)
    adam = optax.scale_by_adam(momentum)

    def parts(tree: PyTree) -> tuple[list[list[Array]], list[Array]]:
        leaves = jax.tree.leaves(tree)
        if len(leaves) != len(kinds):
            raise errors.refusal(
                "matrices of optimizer 'muon'",
                f"{len(kinds)} entries",
                f"one for each of the {len(leaves)} leaves",
                "list them in the order of jax.tree.leaves(params)",
            )
        pairs = list(zip(leaves, kinds, strict=True))
        hidden = [kind.split(leaf) for leaf, kind in pairs if kind is not None]
        return hidden, [leaf for leaf, kind in pairs if kind is None]

    def init(params: PyTree) -> PyTree:
        hidden, rest = parts(params)
        return muon.init(hidden), adam.init(rest)

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.OptState]:
        hidden, rest = parts(updates)
        turned: PyTree
        rescaled: PyTree
        turned, of_muon = muon.update(hidden, state[0])
        rescaled, of_adam = adam.update(rest, state[1])
        matrices, others = iter(turned), iter(rescaled)
        leaves, tree = jax.tree.flatten(updates)
        made = [
            next(others)
            if kind is None
            else kind.join([_wide(block) for block in next(matrices)], leaf.shape)
            for leaf, kind in zip(leaves, kinds, strict=True)
        ]
        return jax.tree.unflatten(tree, made), (of_muon, of_adam)

    return optax.GradientTransformation(init, update)


def _last_two(tree: PyTree) -> PyTree:
    numbers = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    return jax.tree.map(lambda leaf: numbers, tree)


def _wide(block: Array) -> Array:
    """Times √max(1, out/in): the update then changes outputs alike whatever the widths."""
    return math.sqrt(max(1.0, block.shape[2] / max(block.shape[1], 1))) * block
