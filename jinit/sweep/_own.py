"""Draws what a model brings itself: the leaves that no rule names, and its first state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import errors
from jinit.engine._program import Program, cached
from jinit.sweep._network import run_key
from jinit.sweep._rules import ModelLeaves
from jinit.sweep._weights import in_batches
from jinit.typing import Array, PyTree


class OwnStart:
    """The model's own values for the lanes of a tile, each lane's from the seed's own key."""

    def __init__(self, leaves: ModelLeaves, positions: Sequence[int], state: PyTree) -> None:
        """Args:
        leaves: the leaves of the model, and the values that the user gave for them.
        positions: positions of the kept leaves in the parameter tree.
        state: the shapes of the network's state.
        """
        self._given = leaves.given
        self._kept = tuple(positions)
        self._x = leaves.x
        self._state = state
        # Given leaves are the same in every lane: no program draws them.
        self._drawn = () if self._given is not None else self._kept
        start = leaves.model.start
        self._draw = None if start is None else _OwnStart(start, self._drawn)
        self._program: Program | None = None

    def __eq__(self, other: object) -> bool:
        """Whether both draw the same values: the same start, or starts of the same code."""
        if not isinstance(other, OwnStart) or len(self.made) != len(other.made):
            return False
        if self._draw == other._draw:
            return True
        try:
            mine, theirs = ([p.fingerprint() for p in one.made] for one in (self, other))
        except errors.Refusal:  # a start that calls back into Python has no fingerprint
            return False
        return mine == theirs

    def __hash__(self) -> int:
        return hash(self._kept)

    @property
    def is_empty(self) -> bool:
        """Whether no program draws anything, as for the built-in networks."""
        if self._given is not None and self._given.state is not None:
            return True
        return not self._drawn and not jax.tree.leaves(self._state)

    def programs(self, width: int) -> Sequence[Program]:
        """The programs that :meth:`draw` calls for tiles of this width."""
        if self.is_empty:
            return []
        assert self._draw is not None
        lane = {"seed": jax.ShapeDtypeStruct((), np.dtype(np.uint32))}
        self._program = cached(self._draw, lane, (self._x,), width=width, name="own start")
        return [self._program]

    @property
    def made(self) -> Sequence[Program]:
        """The programs that :meth:`programs` returned."""
        return [] if self._program is None else [self._program]

    def draw(
        self, seeds: np.ndarray, device: jax.Device | None
    ) -> tuple[dict[int, np.ndarray], PyTree]:
        """Position → values ``(len(seeds), …)`` of the kept leaves; the state, leaves likewise."""
        leaves: dict[int, np.ndarray] = {}
        state = self._state
        if not self.is_empty:
            assert self._program is not None
            drawn, own = in_batches(self._program, {"seed": seeds}, (self._x,), device)
            leaves = dict(zip(self._drawn, drawn, strict=True))
            # A plain network takes no state, whatever empty tree its start returns.
            state = own if jax.tree.leaves(self._state) else self._state
        if self._given is not None:
            leaves = {place: _repeated(self._given.leaves[place], seeds) for place in self._kept}
            if self._given.state is not None:
                state = jax.tree.map(lambda leaf: _repeated(leaf, seeds), self._given.state)
        return leaves, state


def _repeated(leaf: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The same array for each seed, without a copy."""
    return np.broadcast_to(leaf, (len(seeds), *leaf.shape))


@dataclass(frozen=True)
class _OwnStart:
    """``({seed}, x) -> (leaves, state)``; equal instances share a program."""

    start: Any
    positions: tuple[int, ...]

    def __call__(self, lane: Mapping[str, Any], x: Array) -> tuple[list[Array], PyTree]:
        params, state = self.start(run_key(lane["seed"], "own"), x)
        leaves = jax.tree.leaves(params)
        return [leaves[position] for position in self.positions], state
