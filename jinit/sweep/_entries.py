"""Draws leaves with independent entries: one program per family, for leaves of all shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _prng
from jinit.engine._program import Program, cached
from jinit.initializers import NamedInitializer
from jinit.initializers._definition import wide
from jinit.initializers._entries import Standard
from jinit.initializers._exists import check_exists
from jinit.parameters._rules import Assignment
from jinit.typing import Array

# A leaf is drawn in pieces of _PIECE entries, _PIECES or more in one call. A call of 65,536 entries
# takes some .3 ms, of which a tenth is the call itself.
_PIECE = 256
_PIECES = 256
_PIECES_PER_LANE = 16


@dataclass(frozen=True)
class LeafEntries:
    """The entries of a leaf: ``scale`` times standard ones.

    Attributes:
      standard: the family.
      shape, dtype: of the leaf.
      scale: in the dtype of the computation.
    """

    standard: Standard
    shape: tuple[int, ...]
    dtype: str
    scale: float

    @classmethod
    def of(cls, one: Assignment) -> LeafEntries | None:
        """The entries of a leaf; None if its initializer and layout do not draw it that way."""
        made, dtype = one.initializer, np.dtype(one.dtype)
        if not isinstance(made, NamedInitializer) or made.definition.entries is None:
            return None
        shape = one.shape if one.layout is None else one.layout.drawn_whole(one.shape)
        size = math.prod(one.shape)
        if shape is None or not 0 < size < 2**32 or not jnp.issubdtype(dtype, jnp.floating):
            return None
        if not _prng.partitionable():
            return None
        check_exists(made.name, made.law(shape, dtype), dtype)
        computed = np.dtype(wide(dtype))
        scale = made.definition.entries.scale(shape, computed)
        return cls(made.definition.entries.standard, one.shape, str(dtype), float(scale))

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def program(self) -> EntriesProgram | None:
        """The function that draws pieces of such leaves; None for a constant."""
        if self.standard.name == "one":
            return None
        return EntriesProgram(self.standard, self.dtype)

    def constant(self, count: int) -> np.ndarray:
        """``count`` leaves that hold the scale alone, ``(count, …)``."""
        return np.full((count, *self.shape), self.scale, np.dtype(self.dtype))


@dataclass(frozen=True)
class EntriesProgram:
    """Maps a leaf's key words, its first entry and its scale to ``_PIECE`` of its entries."""

    standard: Standard
    dtype: str

    def __call__(self, lane: Mapping[str, Any]) -> Array:
        dtype = jnp.dtype(self.dtype)
        key = _prng.starting(lane["key"], lane["first"])
        return (self.standard(key, (_PIECE,), wide(dtype)) * lane["scale"]).astype(dtype)

    def made(self, width: int) -> Program:
        """The program for tiles of this width."""
        word = np.dtype(np.uint32)
        lane = {
            "key": jax.ShapeDtypeStruct((2,), word),
            "first": jax.ShapeDtypeStruct((), word),
            "scale": jax.ShapeDtypeStruct((), np.dtype(wide(jnp.dtype(self.dtype)))),
        }
        pieces = max(_PIECES, _PIECES_PER_LANE * width)
        return cached(self, lane, (), width=pieces, name=f"draw {self.standard.name}")


Call = Callable[[dict[str, np.ndarray]], np.ndarray]
"""Runs a program over all pieces: lanes → ``(pieces, _PIECE)``."""


def drawn(
    leaves: Sequence[LeafEntries], keys: Sequence[np.ndarray], call: Call
) -> list[np.ndarray]:
    """Draws leaves of one program.

    Args:
      leaves: all with the same program.
      keys: for each of them the key words of its draws, ``(draws, 2)`` uint32.
      call: runs the program.

    Returns:
      For each leaf its draws, ``(draws, *shape)``.
    """
    lanes: dict[str, list[np.ndarray]] = {"key": [], "first": [], "scale": []}
    counts = []
    for leaf, words in zip(leaves, keys, strict=True):
        pieces = -(-leaf.size // _PIECE)
        counts.append(len(words) * pieces)
        firsts = np.arange(pieces, dtype=np.uint32) * np.uint32(_PIECE)
        lanes["key"].append(np.repeat(words, pieces, axis=0))
        lanes["first"].append(np.tile(firsts, len(words)))
        scale = np.asarray(leaf.scale, wide(jnp.dtype(leaf.dtype)))
        lanes["scale"].append(np.full(counts[-1], scale))
    entries = call({name: np.concatenate(parts) for name, parts in lanes.items()})
    found = []
    for leaf, rows in zip(leaves, np.split(entries, np.cumsum(counts)[:-1]), strict=True):
        pieces = -(-leaf.size // _PIECE)
        flat = rows.reshape(-1, pieces * _PIECE)[:, : leaf.size]
        found.append(flat.reshape(len(flat), *leaf.shape))
    return found
