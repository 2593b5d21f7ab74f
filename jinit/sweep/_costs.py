"""Estimates the FLOPs and the memory of one training run by tracing it, without running it."""

from __future__ import annotations

import functools

import jax
import numpy as np

from jinit.data import Dataset
from jinit.engine import _cost
from jinit.engine._known import is_known
from jinit.sweep._network import TrainNetwork, lane_shapes
from jinit.train import TrainState, make_train_step, optimizers
from jinit.typing import PyTree

# A round figure for one modern core in float32, which turns FLOPs into a rough time.
NOMINAL_GFLOPS_PER_CORE = 25.0


def run_costs(network: TrainNetwork, shapes: PyTree, dataset: Dataset) -> tuple[int, int]:
    """FLOPs of one run, and bytes of its state; cached, because tracing takes 0.1 s."""
    leaves, tree = jax.tree.flatten((shapes, dataset))
    leaf_shapes = tuple((tuple(leaf.shape), str(leaf.dtype)) for leaf in leaves)
    try:
        hash(network)
        known = is_known(network)
    except TypeError:
        known = False
    if not known:  # it may read something that has changed
        return _traced_costs.__wrapped__(network, tree, leaf_shapes)
    return _traced_costs(network, tree, leaf_shapes)


@functools.lru_cache(maxsize=256)
def _traced_costs(
    network: TrainNetwork,
    tree: jax.tree_util.PyTreeDef,
    leaf_shapes: tuple[tuple[tuple[int, ...], str], ...],
) -> tuple[int, int]:
    leaves = [jax.ShapeDtypeStruct(shape, np.dtype(dtype)) for shape, dtype in leaf_shapes]
    shapes, dataset = jax.tree.unflatten(tree, leaves)
    lane_bytes = _cost.carried_bytes(network, lane_shapes(shapes), (dataset,))
    return _flops_per_run(network, shapes, dataset), lane_bytes


def _flops_per_run(network: TrainNetwork, shapes: PyTree, dataset: Dataset) -> int:
    """FLOPs of all steps and evaluations, with SGD: built-in optimizers add no matrix products."""
    optimizer = optimizers.make("sgd", 0.1)
    step = make_train_step(network.model.apply, network.loss, optimizer)
    state = jax.eval_shape(lambda params: TrainState.create(params, optimizer), shapes)

    def examples(array: jax.ShapeDtypeStruct, count: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, *array.shape[1:]), array.dtype)

    size = network.config.batch_size
    batch = (examples(dataset.x_train, size), examples(dataset.y_train, size))
    training = network.config.steps * _cost.matmul_flops(step, state, batch)
    evaluations = len(network.config.evaluation_steps())
    on_test, on_train = (
        _cost.matmul_flops(network.model.apply, shapes, x)
        for x in (dataset.x_test, dataset.x_train)
    )
    return training + evaluations * on_test + on_train
