"""Estimates the FLOPs and the memory of one training run by tracing it, without running it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Protocol, TypeVar

import jax
import numpy as np

from jinit.data import Dataset
from jinit.engine import _cost, _kept_notes, _kept_programs
from jinit.engine._known import is_known
from jinit.engine._traced import Recall
from jinit.sweep._network import PRECISION, TrainNetwork, lane_shapes
from jinit.train import StatefulApply, TrainState, make_train_step, optimizers
from jinit.typing import Array, PyTree

# A round figure for one modern core in float32, which turns FLOPs into a rough time.
NOMINAL_GFLOPS_PER_CORE = 25.0
# The costs of models of the user, by what their functions trace as.
_OF_TRACES: Recall[tuple[int, _cost.LaneBytes]] = Recall()


def run_costs(
    network: TrainNetwork, shapes: PyTree, state: PyTree, dataset: Dataset
) -> tuple[int, _cost.LaneBytes]:
    """FLOPs of one run, and its memory; cached, because tracing takes 0.1 s."""
    # The width of a tile must not depend on the option, or a run's last bits might.
    config = dataclasses.replace(network.config, stop_at_target=False)
    network = dataclasses.replace(network, config=config)
    leaves, tree = jax.tree.flatten((shapes, state, dataset))
    leaf_shapes = tuple((tuple(leaf.shape), str(leaf.dtype)) for leaf in leaves)
    try:
        hash(network)
        known = is_known(network)
    except TypeError:
        known = False
    if known:
        return _kept_costs(network, tree, leaf_shapes)
    # It may read something that has changed.
    rest, parts = network.divided() or (None, ())
    key = (rest, tree, leaf_shapes)
    costs = _OF_TRACES.find(key, parts) if parts else None
    if costs is None:
        costs = _traced_costs(network, tree, leaf_shapes)
        if parts:
            _OF_TRACES.keep(key, parts, costs)
    return costs


class _Program(Protocol):
    @property
    def tiles(self) -> int: ...
    @property
    def flops(self) -> int: ...
    @property
    def padded_flops(self) -> int: ...


P = TypeVar("P", bound=_Program)


def in_turn(programs: Sequence[P]) -> list[P]:
    """The programs as they run: the cheapest one, then the others from the dearest on.

    The first rows are then there soon, and short programs at the end leave no core idle.
    """
    longest = sorted(programs, key=lambda program: -program.flops)
    first = min(longest, key=lambda program: program.flops, default=None)
    return longest if first is None else [first, *(one for one in longest if one is not first)]


def rough_seconds(programs: Sequence[_Program], workers: int) -> float:
    """Rough training time; a worker without a tile does not make it shorter."""
    busy = min(workers, sum(program.tiles for program in programs))
    padded = sum(program.padded_flops for program in programs)
    return padded / (NOMINAL_GFLOPS_PER_CORE * 1e9 * busy)


def working_bytes(lane: _cost.LaneBytes, platform: str) -> int:
    """Memory of one network in a tile.

    Carried state, its gradients and a copy of both, and on CPU the windows of a convolution; on
    accelerators at least all arrays that are alive at once.
    """
    state = 4 * lane.carried
    return state + lane.windows if platform == "cpu" else max(state, lane.peak)


@functools.lru_cache(maxsize=256)
def _kept_costs(
    network: TrainNetwork,
    tree: jax.tree_util.PyTreeDef,
    leaf_shapes: tuple[tuple[tuple[int, ...], str], ...],
) -> tuple[int, _cost.LaneBytes]:
    """The costs of a network without functions of the user, as an earlier process kept them."""
    folder = _kept_programs.folder() if jax.default_backend() == "cpu" else None
    note = _kept_notes.place(folder, "costs", network, str(tree), leaf_shapes, PRECISION)
    try:
        fact = _kept_notes.read(note) or {}
        return int(fact["flops"]), _cost.LaneBytes(**fact["bytes"])
    except (KeyError, TypeError):  # there is none yet
        flops, memory = _traced_costs(network, tree, leaf_shapes)
    _kept_notes.write(note, {"flops": flops, "bytes": dataclasses.asdict(memory)})
    return flops, memory


def _traced_costs(
    network: TrainNetwork,
    tree: jax.tree_util.PyTreeDef,
    leaf_shapes: tuple[tuple[tuple[int, ...], str], ...],
) -> tuple[int, _cost.LaneBytes]:
    leaves = [jax.ShapeDtypeStruct(shape, np.dtype(dtype)) for shape, dtype in leaf_shapes]
    shapes, state, dataset = jax.tree.unflatten(tree, leaves)
    memory = _cost.lane_bytes(network, _lane(network, shapes, state), (dataset,))
    # With the precision of training, the model's function is not traced a second time.
    with jax.default_matmul_precision(PRECISION):
        return _flops_per_run(network, shapes, state, dataset), memory


def _lane(network: TrainNetwork, shapes: PyTree, state: PyTree) -> PyTree:
    steps = network.config.steps if network.scheduled else None
    return lane_shapes(shapes, state, steps)


def _flops_per_run(network: TrainNetwork, shapes: PyTree, state: PyTree, dataset: Dataset) -> int:
    """FLOPs of all steps and evaluations, with SGD: built-in optimizers add no matrix products."""
    optimizer = optimizers.make("sgd", 0.1)
    apply = network.apply
    step = make_train_step(apply, network.loss, optimizer)

    def begin(params: PyTree, state: PyTree) -> TrainState:
        starts = apply
        if isinstance(starts, StatefulApply):
            starts = starts.starting(state, jax.random.key(0))
        return TrainState.create(params, optimizer, starts)

    def evaluate(params: PyTree, state: PyTree, x: Array) -> Array:
        if isinstance(apply, StatefulApply):
            return apply.evaluate(params, state, x)
        return apply(params, x)

    before = jax.eval_shape(begin, shapes, state)

    def examples(array: jax.ShapeDtypeStruct, count: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, *array.shape[1:]), array.dtype)

    size = network.config.examples
    if network.config.sampling == "epochs":
        size = min(size, len(dataset.x_train))
    batch = jax.tree.map(lambda array: examples(array, size), (dataset.x_train, dataset.y_train))
    training = network.config.steps * _cost.matmul_flops(step, before, batch)
    evaluations = len(network.config.evaluation_steps())
    on_test, on_train = (
        _cost.matmul_flops(evaluate, shapes, state, x) for x in (dataset.x_test, dataset.x_train)
    )
    return training + evaluations * on_test + on_train
