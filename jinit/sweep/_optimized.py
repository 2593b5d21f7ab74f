"""Tells an optimizer what it must know of a model's leaves: which decay, which are matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jinit import errors
from jinit.engine._traced import Recall
from jinit.frameworks._paths import leaf_name
from jinit.parameters._leaves import TreeLeaf
from jinit.sweep._network import TrainNetwork
from jinit.sweep._roles import roles_of
from jinit.sweep._rules import ModelLeaves
from jinit.train import optimizers
from jinit.train._muon import Matrix
from jinit.train._named import Optimizer
from jinit.train._own import OwnOptimizer, check_update
from jinit.train._traced_optimizer import ByStep, TracedOptimizer
from jinit.typing import Array, PyTree

# Whether the optimizers of the user that were checked are sound, by what their functions trace as.
_CHECKED: Recall[bool] = Recall()
_KERNELS = ("kernel", "recurrent")


def decayed(leaves: ModelLeaves) -> tuple[bool, ...]:
    """One flag per leaf: False for biases, norm scales and shifts, and other vectors."""
    return tuple(_decays(leaf) for leaf in leaves.leaves)


def _decays(leaf: TreeLeaf) -> bool:
    if leaf.layout is not None:
        return leaf.layout.is_cut
    return leaf_name(leaf.path) not in ("scale", "shift", "bias") and len(leaf.value.shape) > 1


def needs_matrices(optimizer: Optimizer | OwnOptimizer) -> bool:
    """Whether an optimizer treats hidden kernels as matrices."""
    return isinstance(optimizer, Optimizer) and optimizer.matrices


def matrices(leaves: ModelLeaves) -> tuple[Matrix | None, ...]:
    """One :class:`Matrix` per hidden kernel, None for each other leaf.

    Input layers are the embeddings or, in a model without embeddings, the kernels that read the
    data. Grouped kernels are no matrices.

    Raises:
      ValueError: the model has no hidden kernel, or its first and last layers cannot be seen.
    """
    try:
        roles = roles_of(leaves.model, leaves.x, "muon")
    except errors.Refusal as problem:
        raise _refused(problem.got) from None
    kinds = {leaf.layout.kind for leaf in leaves.leaves if leaf.layout is not None}
    outside = roles.last | (frozenset() if "embedding" in kinds else roles.first)
    made = tuple(None if leaf.path in outside else _matrix(leaf) for leaf in leaves.leaves)
    if not any(made):
        raise _refused(f"{leaves.model.name}, which has no hidden kernel")
    return made


def _matrix(leaf: TreeLeaf) -> Matrix | None:
    layout = leaf.layout
    if layout is None or layout.kind not in _KERNELS or layout.groups > 1:
        return None
    count = len(leaf.value.shape)
    out, batch = ({axis % count for axis in axes} for axes in (layout.out_axes, layout.batch_axes))
    ins = tuple(axis for axis in range(count) if axis not in out | batch)
    if not ins or not out:
        return None
    return Matrix(ins, tuple(axis % count for axis in layout.out_axes), layout.fused)


def _refused(got: str) -> errors.ValueRefusal:
    return errors.refusal(
        "optimizer 'muon'",
        got,
        "a model with hidden kernels, neither first nor last, in layers that jinit can see",
        "another optimizer, or optimizer=lambda learning_rate: optax.contrib.muon(…)",
    )


def check_own(network: TrainNetwork, numbers: Mapping[str, Any], shapes: PyTree) -> None:
    """Refuses a user's optimizer whose updates do not fit the parameters, or are NaN.

    One that computes the same as an earlier one was checked then.
    """
    optimizer = network.optimizer
    if not (isinstance(optimizer, TracedOptimizer) and optimizer.own):
        return
    factors = jnp.ones(network.config.steps)

    def make(rate: Array, momentum: Array, decay: Array) -> optax.GradientTransformation:
        return optimizers.make(
            optimizer,
            ByStep(rate, factors) if network.scheduled else rate,
            momentum=momentum,
            weight_decay=decay if network.decays else 0.0,
        )

    names = ("learning_rate", "momentum", "weight_decay")
    first = tuple(float(numbers[name][0]) for name in names)
    leaves, tree = jax.tree.flatten(shapes)
    described = tuple((tuple(leaf.shape), str(leaf.dtype)) for leaf in leaves)
    key = (first, tree, described, network.scheduled, network.config.steps, network.decays)
    parts = (optimizer.begin, optimizer.update)
    if not _CHECKED.find(key, parts):
        check_update(make, first, shapes)
        _CHECKED.keep(key, parts, True)
