"""Finds the parameters that an optimizer wants evaluated: those of the gradient, or an average."""

from __future__ import annotations

import jax
import optax

from jinit.typing import Array, PyTree


def evaluated(params: PyTree, opt_state: PyTree) -> PyTree:
    """The average x of ``optax.contrib.schedule_free``, x = (y − (1 − β₁) z)/β₁; else ``params``.

    Args:
      params: the parameters y at which gradients are taken.
      opt_state: the state of any optax transform, nested or not.

    >>> evaluated(1.0, optax.sgd(0.1).init(1.0))
    1.0
    """

    def is_average(node: PyTree) -> bool:
        return isinstance(node, optax.contrib.ScheduleFreeState)

    for node in jax.tree.leaves(opt_state, is_leaf=is_average):
        if isinstance(node, optax.contrib.ScheduleFreeState):
            params = _averaged(params, node)
    return params


def _averaged(params: PyTree, state: optax.contrib.ScheduleFreeState) -> PyTree:
    def is_masked(node: PyTree) -> bool:
        return isinstance(node, optax.MaskedNode)

    def average(z: Array | optax.MaskedNode, y: Array) -> Array:
        # optax.partition masks the leaves of other optimizers.
        if isinstance(z, optax.MaskedNode):
            return y
        return ((y - (1.0 - state.b1) * z) / state.b1).astype(y.dtype)

    return jax.tree.map(average, state.z, params, is_leaf=is_masked)
