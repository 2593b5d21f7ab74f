"""Draws what a model brings itself: the leaves that no rule names, and its first state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit.engine._program import Program, cached
from jinit.models import Model
from jinit.sweep._network import run_key
from jinit.sweep._weights import in_batches
from jinit.typing import Array, PyTree


class OwnStart:
    """The model's own values for the lanes of a tile, each lane's from the seed's own key."""

    def __init__(self, model: Model, x: Array, positions: Sequence[int], state: PyTree) -> None:
        """Args:
        model: the model.
        x: an example batch.
        positions: positions of the kept leaves in the parameter tree.
        state: the shapes of the network's state.
        """
        self.positions = tuple(positions)
        self._x = x
        self._state = state
        self._draw = _OwnStart(model.start, self.positions) if model.start is not None else None
        self._program: Program | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the model brings nothing, as the built-in networks."""
        return not self.positions and not jax.tree.leaves(self._state)

    def programs(self, width: int) -> Sequence[Program]:
        """The programs that :meth:`draw` calls for tiles of this width."""
        if self.is_empty:
            return []
        assert self._draw is not None
        lane = {"seed": jax.ShapeDtypeStruct((), np.dtype(np.uint32))}
        self._program = cached(self._draw, lane, (self._x,), width=width, name="own start")
        return [self._program]

    def draw(
        self, seeds: np.ndarray, device: jax.Device | None
    ) -> tuple[dict[int, np.ndarray], PyTree]:
        """Position → values ``(len(seeds), …)`` of the kept leaves; the state, leaves likewise."""
        if self.is_empty:
            return {}, self._state
        assert self._program is not None
        leaves, state = in_batches(self._program, {"seed": seeds}, (self._x,), device)
        # A plain network takes no state, whatever empty tree its start returns.
        state = state if jax.tree.leaves(self._state) else self._state
        return dict(zip(self.positions, leaves, strict=True)), state


@dataclass(frozen=True)
class _OwnStart:
    """``({seed}, x) -> (leaves, state)``; equal instances share a program."""

    start: Any
    positions: tuple[int, ...]

    def __call__(self, lane: Mapping[str, Any], x: Array) -> tuple[list[Array], PyTree]:
        params, state = self.start(run_key(lane["seed"], "own"), x)
        leaves = jax.tree.leaves(params)
        return [leaves[position] for position in self.positions], state
