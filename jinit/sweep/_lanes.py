"""Makes the lanes of a training program: weights from small programs, numbers from the grid."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jinit.engine._program import Program
from jinit.sweep._arms import Arm, Whole, content
from jinit.sweep._assigned import WholeWeights, assigned
from jinit.sweep._calibrated import CalibratedWeights
from jinit.sweep._grid import Grid
from jinit.sweep._network import LANE_NUMBERS, lane_shapes
from jinit.sweep._own import OwnStart
from jinit.sweep._plan import PlannedProgram
from jinit.sweep._weights import Weights
from jinit.train import schedules
from jinit.typing import PyTree


class NetworkLanes:
    """The lanes of one training program, drawn tile by tile to keep memory constant."""

    def __init__(self, grid: Grid, program: PlannedProgram, given: Hashable = None) -> None:
        """Args:
        grid: the sweep.
        program: one of its programs.
        given: rules and layers of the user; lanes are equal only if these are, too.
        """
        self._made_of = (grid, program, given)
        self.count = program.runs
        network = program.network
        steps = network.config.steps if network.scheduled else None
        self.lane = lane_shapes(program.shapes, program.state, steps)
        self._factors = None
        if steps is not None:
            used = program.numbers["schedule"]
            self._factors = np.stack([schedules.factors(value, steps) for value in used])
        self._index = LaneIndex(grid, program.numbers, program.tile)
        labels = itertools.product(grid.labels("initializer"), grid.labels("bias_initializer"))
        self._names = list(labels)
        self._weights = [
            _weights(program, pair, _purpose(grid, names))
            for pair, names in zip(self._index.initializers, self._names, strict=True)
        ]
        kept = sorted({position for weights in self._weights for position in weights.kept})
        self._own = OwnStart(program.leaves, kept, program.state)
        self._start = program.leaves.given
        axes = tuple((name, tuple(values)) for name, values in self._index.axes.items())
        fingerprint = None if self._start is None else self._start.fingerprint
        self._identity = (axes, grid.pairing, grid.data_seeds is None, given, fingerprint)

    def __reduce__(self) -> tuple[type[NetworkLanes], tuple[Grid, PlannedProgram, Hashable]]:
        """Pickles what the lanes are made from; programs are made anew in each process."""
        return type(self), self._made_of

    def __eq__(self, other: object) -> bool:
        """Whether both make the same lanes, for a store that is passed a second time."""
        if not isinstance(other, NetworkLanes) or self._identity != other._identity:
            return False
        return self._own == other._own

    def __hash__(self) -> int:
        return hash(tuple(name for name, _ in self._identity[0]))

    def programs(self, width: int) -> Sequence[Program]:
        """The different small programs that draw weights."""
        programs = [program for weights in self._weights for program in weights.programs(width)]
        return list(dict.fromkeys([*self._own.programs(width), *programs]))

    def draws(self) -> list[bytes]:
        """For each pair of initializers 16 bytes that change with any code that draws weights.

        They also change with the names of the pair and the values that the user gave for leaves.

        Call after :meth:`programs`.
        """
        own: list[object] = [program.fingerprint() for program in self._own.made]
        own += [] if self._start is None else [self._start.fingerprint]
        return [
            hashlib.blake2b(repr((names, own, weights.code())).encode(), digest_size=16).digest()
            for names, weights in zip(self._names, self._weights, strict=True)
        ]

    def words(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What besides the code decides these lanes: ``(pair, words)``.

        Returns:
          The number of each lane's pair of initializers, ``(len(numbers),)``, and the lane's seeds,
          numbers and schedule with its name as ``(len(numbers), …)`` uint32.
        """
        lanes = self._index.lanes(numbers)
        seeds = [lanes[name].astype(np.uint32) for name in ("seed", "data_seed")]
        scalars = [lanes[name].astype(np.float32).view(np.uint32) for name in LANE_NUMBERS]
        words = np.stack([*seeds, *scalars], axis=1)
        if self._factors is not None:
            factors, names = self._factors.astype(np.float32), self._index.labels("schedule")
            digests = [hashlib.blake2b(row.tobytes() + name.encode(), digest_size=16).digest()
                       for row, name in zip(factors, names, strict=True)]  # fmt: skip
            table = np.frombuffer(b"".join(digests), np.uint32).reshape(len(digests), 4)
            words = np.concatenate([words, table[lanes["schedule"]]], axis=1)
        return lanes["pair"], words

    def take(self, numbers: np.ndarray, device: jax.Device | None) -> PyTree:
        """Draws the weights of these lanes and adds their numbers."""
        lanes = self._index.lanes(numbers)
        seeds = lanes["seed"].astype(np.uint32)
        kept, state = self._own.draw(seeds, device)
        tile: Any = None
        for index, weights in enumerate(self._weights):
            chosen = lanes["pair"] == index
            if chosen.any():
                drawn = weights.draw(seeds, kept, state, device)
                tile = drawn if tile is None else _merged(chosen, drawn, tile)
        params, calibrated = tile
        scalars = {name: lanes[name].astype(np.float32) for name in LANE_NUMBERS}
        if self._factors is not None:
            scalars["schedule"] = self._factors[lanes["schedule"]]
        return {
            "params": params,
            "state": state,
            "calibrated": calibrated,
            "data_seed": lanes["data_seed"].astype(np.uint32),
            **scalars,
        }


def _weights(
    program: PlannedProgram, pair: tuple[Arm, Arm], purpose: str
) -> Weights | CalibratedWeights | WholeWeights:
    """The weights of one (kernel, bias) pair, calibrated if the kernel's spec asks for it."""
    whole = content(pair[0])
    if isinstance(whole, Whole):
        return WholeWeights(program.leaves, whole, purpose)
    drawn, calibration = assigned(program.leaves, program.rules, pair)
    weights = Weights(program.shapes, drawn, purpose)
    if calibration is None:
        return weights
    return CalibratedWeights(
        weights,
        calibration,
        program.leaves,
        program.state,
        program.dataset,
        program.network.loss,
    )


class LaneIndex:
    """Maps a lane number to the value of every number axis.

    Lanes come in blocks of seeds: all arms with the first seeds, then all arms with the next ones.
    An interrupted sweep then has runs of all arms with the same seeds. A block has as many seeds as
    a tile has lanes, so that a tile draws from few initializers. Inside a block the seed varies
    fastest.

    Attributes:
      axes: number axis → its values, in the order of the grid.
      initializers: all pairs of a kernel initializer and a bias initializer.
    """

    def __init__(self, grid: Grid, numbers: Mapping[str, tuple[Any, ...]], block: int) -> None:
        """Args:
        grid: the sweep.
        numbers: number axis → its values.
        block: seeds per block.
        """
        self.axes: dict[str, Sequence[Any]] = dict(numbers)
        data_seeds = grid.data_seed_values
        self._tied = data_seeds is None
        if data_seeds is not None:
            self.axes["data_seed"] = data_seeds
        self.axes["seed"] = grid.seed_values
        self._labels = {
            axis: _labels(grid, axis, numbers[axis])
            for axis in ("initializer", "bias_initializer", "schedule")
            if axis in numbers
        }
        biases = self.axes["bias_initializer"]
        self.initializers = [
            (kernel, bias) for kernel in self.axes["initializer"] for bias in biases
        ]
        self._shape = tuple(len(values) for values in self.axes.values())
        self._arms = math.prod(len(values) for values in numbers.values())
        self._repeats = math.prod(self._shape) // self._arms
        self._block = block

    def order(self, numbers: np.ndarray) -> np.ndarray:
        """The place of each lane in the order of the grid, ``(len(numbers),)``.

        >>> arms = {"bias_initializer": ("zeros", "ones"), "initializer": ("he_normal",)}
        >>> index = LaneIndex(Grid(seeds=4, **arms), arms, 2)
        >>> index.order(np.arange(8)).tolist()
        [0, 1, 4, 5, 2, 3, 6, 7]
        """
        whole = self._repeats // self._block * self._block
        # After the whole blocks there is one with the seeds that are left.
        rest = numbers >= whole * self._arms
        block = np.where(rest, max(self._repeats - whole, 1), self._block)
        start, inside = np.divmod(numbers - rest * whole * self._arms, block * self._arms)
        arm, seed = np.divmod(inside, block)
        return arm * self._repeats + rest * whole + start * block + seed

    def positions(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Axis → position of each lane's value on that axis, ``(len(numbers),)``."""
        places = np.unravel_index(self.order(numbers), self._shape)
        return dict(zip(self.axes, places, strict=True))

    def lanes(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Axis → value of each lane; ``"pair"`` → index of the lane's pair in ``initializers``."""
        at = self.positions(numbers)
        values = {name: _pick(self.axes[name], at[name]) for name in at if name not in self._labels}
        if self._tied:
            values["data_seed"] = values["seed"]
        if "schedule" in at:
            values["schedule"] = at["schedule"]
        biases = len(self.axes["bias_initializer"])
        values["pair"] = at["initializer"] * biases + at["bias_initializer"]
        return values

    def labels(self, axis: str) -> list[str]:
        """The values of ``"schedule"`` or of an axis of initializers as tables show them."""
        return list(self._labels[axis])

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


def _labels(grid: Grid, axis: str, values: Sequence[Any]) -> np.ndarray:
    """The labels of these values of an axis, which may be a part of the grid's."""
    known = list(zip(grid.values(axis), grid.labels(axis), strict=True))
    return np.array([next(label for value, label in known if value == v) for v in values], object)


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
