"""Draws the initial weights of many networks by small programs that all networks share.

Keys are derived on the host. One program per family draws leaves with independent entries, of all
shapes and by all initializers of the family; one program per (initializer, shape, dtype) draws a
batch of other leaves. Networks of depth 8 and 16 use the same few programs, so a grid compiles them
once. One program per architecture would spend seconds compiling random bits for every depth and
activation.
"""

from __future__ import annotations

import functools
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
from jinit.parameters._keys import equal_draws, path_words
from jinit.parameters._norms import NormOf, kernel_of
from jinit.parameters._rules import Assignment
from jinit.sweep._entries import EntriesProgram, LeafEntries, drawn
from jinit.sweep._network import leaf_words
from jinit.typing import Array, Initializer, PyTree

# Small leaves are drawn at least _BATCH at a time, so that few calls serve a tile; a batch of large
# leaves would be mostly padding.
_BATCH = 16
_SMALL_LEAF_ENTRIES = 8192


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
        self._entries: dict[LeafEntries, list[int]] = {}
        for positions in equal_draws(assignments):
            first = assignments[positions[0]]
            if first.initializer is None or isinstance(first.initializer, NormOf):
                continue
            entries = LeafEntries.of(first)
            if entries is not None:
                # Equal entries may come from different initializers.
                self._entries.setdefault(entries, []).extend(positions)
                continue
            draw = _DrawLeaf(first.initializer, first.shape, str(first.dtype), first.layout)
            self._groups[draw] = positions
        self._words = path_words([assignment.leaf for assignment in assignments])
        self._programs: dict[_DrawLeaf, Program] = {}
        self._of_entries: dict[EntriesProgram, Program] = {}

    def programs(self, width: int) -> Sequence[Program]:
        """The programs that :meth:`draw` calls for tiles of this width."""
        batch = max(_BATCH, width)
        key = {"key": jax.ShapeDtypeStruct((2,), np.dtype(np.uint32))}
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
        functions = (entries.program for entries in self._entries)
        self._of_entries = {one: one.made(width) for one in functions if one is not None}
        return [*self._of_entries.values(), *self._programs.values()]

    def code(self) -> tuple[Any, ...]:
        """What decides the drawn bits besides the seed; call after :meth:`programs`."""
        draws = [
            (program.fingerprint(), tuple(self._groups[draw]))
            for draw, program in self._programs.items()
        ]
        of_entries = [program.fingerprint() for program in self._of_entries.values()]
        entries = [(repr(leaf), tuple(positions)) for leaf, positions in self._entries.items()]
        words = hashlib.blake2b(self._words.tobytes()).hexdigest()
        made = sorted(draws), sorted(of_entries), sorted(entries)
        return self._purpose, words, *made, repr(self._norms), self.kept

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
        keys = leaf_words(seeds, self._purpose, self._words)
        leaves: list[Any] = [kept.get(position) for position in range(self._tree.num_leaves)]
        for draw, positions in self._groups.items():
            flat = keys[:, positions].reshape(-1, 2)
            values = in_batches(self._programs[draw], {"key": flat}, (), device)
            if not isinstance(draw.initializer, NamedInitializer):
                check_drawn(f"value of initializer {label(draw.initializer)}", values, flat)
            values = values.reshape(len(seeds), len(positions), *draw.shape)
            for place, position in enumerate(positions):
                leaves[position] = values[:, place]
        self._draw_entries(leaves, keys, device)
        paths = [assignment.leaf for assignment in self._assignments]
        for position, norm in self._norms.items():
            shape = self._assignments[position].shape
            kernels = leaves[kernel_of(norm, paths)]
            leaves[position] = np.stack([np.asarray(norm.values(one, shape)) for one in kernels])
        return jax.tree.unflatten(self._tree, leaves), np.ones(len(seeds), bool)

    def _draw_entries(self, leaves: list[Any], keys: np.ndarray, device: jax.Device | None) -> None:
        """Puts the leaves with independent entries into their places of ``leaves``."""
        for function in dict.fromkeys(entries.program for entries in self._entries):
            chosen = {leaf: at for leaf, at in self._entries.items() if leaf.program == function}
            if function is None:
                found = [leaf.constant(len(keys) * len(at)) for leaf, at in chosen.items()]
            else:
                words = [keys[:, at].reshape(-1, 2) for at in chosen.values()]
                program = self._of_entries[function]
                call = functools.partial(in_batches, program, shared=(), device=device)
                found = drawn(list(chosen), words, call)
            for values, at in zip(found, chosen.values(), strict=True):
                each = values.reshape(len(keys), len(at), *values.shape[1:])
                for place, position in enumerate(at):
                    leaves[position] = each[:, place]


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


def check_drawn(what: str, values: np.ndarray, keys: np.ndarray) -> None:
    """Refuses NaN among what a function of the user drew: inside a program nothing sees them.

    Args:
      what: the value, for messages.
      values: ``(draws, …)``; a warning says that different keys gave the same values, if these
        are not a constant.
      keys: ``(draws, …)``, the key or the seed of each draw; a padded tile repeats its last one.

    >>> check_drawn("value of initializer f", np.zeros(3), np.arange(3))
    """
    if np.issubdtype(values.dtype, np.inexact) or values.dtype.kind == "V":
        missing = int(np.isnan(values).sum())
        if missing:
            got = f"{missing} NaN of {values.size}"
            raise errors.ValueRefusal(what, got, "no NaN", "return a number for every entry")
    differ = len(values) > 0 and bool((keys != keys[:1]).any())
    if differ and (values == values[:1]).all() and (values != values.flat[0]).any():
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
