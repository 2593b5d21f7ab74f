"""Draws the initial weights of many networks by small programs that all networks share.

One program derives keys, and one program per (initializer, shape, dtype) draws a batch of leaves.
Networks of depth 8 and 16 use the same few programs, so a grid compiles them once. One program per
architecture would spend seconds compiling random bits for every depth and activation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import errors, frameworks
from jinit._specs import label
from jinit._warn import warn
from jinit.engine._program import Program, cached
from jinit.initializers import NamedInitializer
from jinit.initializers._base import checked_draw
from jinit.parameters import Assignment
from jinit.parameters._keys import equal_draws, fold_words, path_words
from jinit.parameters._norms import NormOf, kernel_of
from jinit.sweep._network import run_key
from jinit.typing import Array, Initializer, PyTree

# Small leaves are drawn at least _BATCH at a time, so that few calls serve a tile; a batch of large
# leaves would be mostly padding. Leaf keys are made in multiples of _LEAVES, so that networks of
# different depths share the program.
_BATCH = 16
_SMALL_LEAF_ENTRIES = 8192
_LEAVES = 64


class Weights:
    """Draws the initial parameters of a tile of networks.

    Each drawn leaf is bit for bit that of ``jinit.initialize(run_key(seed, purpose), …)``.
    """

    def __init__(self, shapes: PyTree, assignments: Sequence[Assignment], purpose: str) -> None:
        """Args:
        shapes: the parameter tree, leaves ``jax.ShapeDtypeStruct``.
        assignments: one per leaf; leaves without an initializer are kept.
        purpose: purpose of the keys, see :func:`run_key`; networks with equal seed and purpose get
          equal noise.
        """
        self._tree: jax.tree_util.PyTreeDef = jax.tree.structure(shapes)
        self._purpose = purpose
        self.kept = tuple(i for i, one in enumerate(assignments) if one.initializer is None)
        self._assignments = tuple(assignments)
        self._norms = {
            i: one.initializer
            for i, one in enumerate(assignments)
            if isinstance(one.initializer, NormOf)
        }
        self._groups: dict[_DrawLeaf, list[int]] = {}
        for positions in equal_draws(assignments):
            first = assignments[positions[0]]
            if first.initializer is None or isinstance(first.initializer, NormOf):
                continue
            draw = _DrawLeaf(first.initializer, first.shape, str(first.dtype), first.layout)
            self._groups[draw] = positions
        words = path_words([assignment.leaf for assignment in assignments])
        padding = -len(words) % _LEAVES
        self._words = np.concatenate([words, np.zeros((padding, 2), np.uint32)])
        self._programs: dict[_DrawLeaf, Program] = {}
        self._keys: Program | None = None

    def programs(self, width: int) -> Sequence[Program]:
        """The programs that :meth:`draw` calls for tiles of this width."""
        batch = max(_BATCH, width)
        word = jax.ShapeDtypeStruct(self._words.shape, np.dtype(np.uint32))
        seed = {"seed": jax.ShapeDtypeStruct((), np.dtype(np.uint32))}
        key = {"key": jax.ShapeDtypeStruct((2,), np.dtype(np.uint32))}
        self._keys = cached(_LeafKeys(self._purpose), seed, (word,), width=batch, name="leaf keys")
        self._programs = {
            draw: cached(
                draw,
                key,
                (),
                width=batch if math.prod(draw.shape) <= _SMALL_LEAF_ENTRIES else width,
                name=f"draw {draw.initializer} {draw.shape}",
            )
            for draw in self._groups
        }
        return [self._keys, *self._programs.values()]

    def code(self) -> tuple[Any, ...]:
        """What decides the drawn bits besides the seed; call after :meth:`programs`."""
        assert self._keys is not None
        draws = [
            (program.fingerprint(), tuple(self._groups[draw]))
            for draw, program in self._programs.items()
        ]
        words = hashlib.blake2b(self._words.tobytes()).hexdigest()
        return self._keys.fingerprint(), words, sorted(draws), repr(self._norms), self.kept

    def draw(
        self,
        seeds: np.ndarray,
        kept: Mapping[int, np.ndarray],
        state: PyTree,
        device: jax.Device | None,
    ) -> tuple[PyTree, np.ndarray]:
        """Draws the parameters of networks with these seeds.

        Args:
          seeds: one per network.
          kept: position → values ``(len(seeds), …)`` of the leaves without an initializer.
          state: of the networks; only calibrations need it.
          device: None for the default device.

        Returns:
          The parameters, NumPy leaves ``(len(seeds), …)``, and ``(len(seeds),)`` bool, whether
          calibration converged: always True here, where nothing is calibrated.
        """
        assert self._keys is not None
        keys = in_batches(self._keys, {"seed": seeds}, (self._words,), device)
        leaves: list[Any] = [kept.get(position) for position in range(self._tree.num_leaves)]
        for draw, positions in self._groups.items():
            flat = keys[:, positions].reshape(-1, 2)
            drawn = in_batches(self._programs[draw], {"key": flat}, (), device)
            if not isinstance(draw.initializer, NamedInitializer):
                check_drawn(f"value of initializer {label(draw.initializer)}", drawn)
            drawn = drawn.reshape(len(seeds), len(positions), *draw.shape)
            for place, position in enumerate(positions):
                leaves[position] = drawn[:, place]
        paths = [assignment.leaf for assignment in self._assignments]
        for position, norm in self._norms.items():
            shape = self._assignments[position].shape
            kernels = leaves[kernel_of(norm, paths)]
            leaves[position] = np.stack([np.asarray(norm.values(one, shape)) for one in kernels])
        return jax.tree.unflatten(self._tree, leaves), np.ones(len(seeds), bool)


@dataclass(frozen=True)
class _LeafKeys:
    """Maps a seed and hashed leaf paths to the leaves' key data, both ``(leaves, 2)`` uint32."""

    purpose: str

    def __call__(self, lane: Mapping[str, Any], words: Array) -> Array:
        key = run_key(lane["seed"], self.purpose)
        return jax.random.key_data(fold_words(key, words))


@dataclass(frozen=True)
class _DrawLeaf:
    """Maps key data ``(2,)`` uint32 to one leaf."""

    initializer: Initializer
    shape: tuple[int, ...]
    dtype: str
    layout: frameworks.Layout | None

    def __call__(self, lane: Mapping[str, Any]) -> Array:
        key = jax.random.wrap_key_data(lane["key"], impl="threefry2x32")
        if self.layout is None:
            return checked_draw(self.initializer, key, self.shape, np.dtype(self.dtype))
        return self.layout.draw(self.initializer, key, self.shape, np.dtype(self.dtype))


def check_drawn(what: str, values: np.ndarray) -> None:
    """Refuses NaN among what a function of the user drew: inside a program nothing sees them.

    Args:
      what: the value, for messages.
      values: ``(draws, …)``; a warning says that all draws are alike, and not a constant.

    >>> check_drawn("value of initializer f", np.zeros(3))
    """
    if np.issubdtype(values.dtype, np.inexact) or values.dtype.kind == "V":
        missing = int(np.isnan(values).sum())
        if missing:
            got = f"{missing} NaN of {values.size}"
            raise errors.ValueRefusal(what, got, "no NaN", "return a number for every entry")
    if len(values) > 1 and (values == values[:1]).all() and (values != values.flat[0]).any():
        warn(
            f"{what}: all seeds get the same weights; if the function draws at random, it must"
            " draw with the key that it gets"
        )


def in_batches(
    program: Program, lanes: PyTree, shared: tuple[PyTree, ...], device: jax.Device | None
) -> Any:
    """Runs a program over any number of lanes, the last batch padded; returns NumPy leaves.

    >>> one = jax.ShapeDtypeStruct((), "float32")
    >>> program = cached(abs, one, (), width=2, name="abs")
    >>> in_batches(program, np.array([-1, 2, -3], np.float32), (), None).tolist()
    [1.0, 2.0, 3.0]
    """
    count = len(jax.tree.leaves(lanes)[0])
    batches = []
    for start in range(0, count, program.width):
        rows = np.minimum(np.arange(start, start + program.width), count - 1)
        tile = jax.tree.map(lambda leaf, rows=rows: leaf[rows], lanes)
        result = program(tile, shared, device)
        batches.append(jax.tree.map(lambda leaf, most=count - start: leaf[:most], result))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *batches)
