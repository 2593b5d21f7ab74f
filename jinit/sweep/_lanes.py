"""Makes the lanes of a training program: weights from small programs, numbers from the grid."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jinit.calibrate._registry import split
from jinit.engine._program import Program
from jinit.sweep._calibrated import CalibratedWeights
from jinit.sweep._grid import Grid
from jinit.sweep._network import LANE_NUMBERS, lane_shapes
from jinit.sweep._plan import PlannedProgram
from jinit.sweep._rules import InitializerLike
from jinit.sweep._weights import Weights
from jinit.typing import PyTree


class NetworkLanes:
    """The lanes of one training program, drawn tile by tile to keep memory constant."""

    def __init__(self, grid: Grid, program: PlannedProgram) -> None:
        self.count = program.runs
        self.lane = lane_shapes(program.shapes)
        self._index = LaneIndex(grid, program.numbers)
        labels = itertools.product(grid.labels("initializer"), grid.labels("bias_initializer"))
        self._weights = [
            _weights(program, pair, _purpose(grid, names))
            for pair, names in zip(self._index.initializers, labels, strict=True)
        ]

    def programs(self, width: int) -> Sequence[Program]:
        """The different small programs that draw weights."""
        programs = [program for weights in self._weights for program in weights.programs(width)]
        return list(dict.fromkeys(programs))

    def take(self, numbers: np.ndarray, device: jax.Device | None) -> PyTree:
        """Draws the weights of these lanes and adds their numbers."""
        lanes = self._index.lanes(numbers)
        seeds = lanes["seed"].astype(np.uint32)
        tile: Any = None
        for index, weights in enumerate(self._weights):
            chosen = lanes["pair"] == index
            if chosen.any():
                drawn = weights.draw(seeds, device)
                tile = drawn if tile is None else _merged(chosen, drawn, tile)
        params, calibrated = tile
        scalars = {name: lanes[name].astype(np.float32) for name in LANE_NUMBERS}
        return {
            "params": params,
            "calibrated": calibrated,
            "data_seed": lanes["data_seed"].astype(np.uint32),
            **scalars,
        }


def _weights(
    program: PlannedProgram, pair: tuple[InitializerLike, InitializerLike], purpose: str
) -> Weights | CalibratedWeights:
    """The weights of one (kernel, bias) pair, calibrated if the kernel's spec asks for it."""
    kernel, calibration = split(pair[0])
    weights = Weights(program.shapes, program.rules(kernel, pair[1]), purpose)
    if calibration is None:
        return weights
    network = program.network
    return CalibratedWeights(
        weights, calibration, network.model, program.shapes, program.dataset, network.loss
    )


class LaneIndex:
    """Maps a lane number to the value of every number axis; the seed varies fastest.

    Attributes:
      axes: number axis → its values, in lane order.
      initializers: all pairs of a kernel initializer and a bias initializer.
    """

    def __init__(self, grid: Grid, numbers: Mapping[str, tuple[Any, ...]]) -> None:
        self.axes: dict[str, Sequence[Any]] = dict(numbers)
        data_seeds = grid.data_seed_values
        self._tied = data_seeds is None
        if data_seeds is not None:
            self.axes["data_seed"] = data_seeds
        self.axes["seed"] = grid.seed_values
        self._labels = {
            axis: np.array(grid.labels(axis), object)
            for axis in ("initializer", "bias_initializer")
        }
        biases = self.axes["bias_initializer"]
        self.initializers = [
            (kernel, bias) for kernel in self.axes["initializer"] for bias in biases
        ]
        self._shape = tuple(len(values) for values in self.axes.values())

    def positions(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Axis → position of each lane's value on that axis, ``(len(numbers),)``."""
        return dict(zip(self.axes, np.unravel_index(numbers, self._shape), strict=True))

    def lanes(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Axis → value of each lane; ``"pair"`` → index of the lane's pair in ``initializers``."""
        at = self.positions(numbers)
        values = {name: _pick(self.axes[name], at[name]) for name in at if name not in self._labels}
        if self._tied:
            values["data_seed"] = values["seed"]
        biases = len(self.axes["bias_initializer"])
        values["pair"] = at["initializer"] * biases + at["bias_initializer"]
        return values

    def columns(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Axis → value of each lane as tables show it."""
        at = self.positions(numbers)
        columns = {
            name: self._labels[name][at[name]]
            if name in self._labels
            else _pick(self.axes[name], at[name])
            for name in at
        }
        if self._tied:
            columns["data_seed"] = columns["seed"]
        return columns


def _purpose(grid: Grid, pair: tuple[str, str]) -> str:
    """The purpose of a pair's keys; common pairing gives all pairs one purpose and so one noise."""
    return "init" if grid.pairing == "common" else f"init|{pair[0]}|{pair[1]}"


def _merged(chosen: np.ndarray, drawn: PyTree, rest: PyTree) -> PyTree:
    """``drawn`` for the chosen lanes, ``rest`` for the others."""

    def choose(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        return np.where(chosen.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, drawn, rest)


def _pick(values: Sequence[Any], positions: np.ndarray) -> np.ndarray:
    if isinstance(values, range):
        return values.start + positions.astype(np.int64)
    return np.asarray(values)[positions]
