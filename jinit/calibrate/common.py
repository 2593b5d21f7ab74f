"""What all calibrations share: a model opened at its layers, factors on kernels, and the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.parameters.rules import path_of
from jinit.probes import Captured, capture
from jinit.probes.capture import by_path
from jinit.probes.frameworks import Taps
from jinit.typing import Array, PyTree


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Trace:
    """What a calibration did; arrays are ``(layers,)``, in the order of the captured layers.

    Attributes:
      before, after: the quantity that it sets, e.g. the variance of pre-activations.
      iterations: steps that were taken.
      converged: whether the goal was reached.
    """

    before: Array
    after: Array
    iterations: Array
    converged: Array


def opened(model: Any, params: PyTree, batch: Array) -> Captured:
    """The captured model; every kernel must belong to one layer.

    Raises:
      TypeError, ValueError: as :func:`jinit.probes.capture`; a kernel that two layers share;
        parameters of another model or batch, or not finite; a batch that is not finite.

    >>> from jinit.models import MLP
    >>> len(opened(MLP(features=(4, 2)), None, jnp.zeros((3, 5))).layers)
    2
    """
    if jnp.iscomplexobj(batch):
        raise errors.wrong_type("batch", str(batch.dtype), "real numbers", "pass the real part")
    known = not isinstance(batch, jax.core.Tracer) and hasattr(batch, "shape")
    if known and not np.isfinite(np.asarray(batch, np.float64)).all():
        raise errors.refusal("batch", "NaN or inf", "finite inputs", "clean the data")
    captured = model if isinstance(model, Captured) else capture(model, batch, params)
    if params is not None:
        _check_params(params, captured.params)
    kernels = [layer.kernel for layer in captured.layers]
    if len(set(kernels)) < len(kernels):
        shared = next(name for name in kernels if kernels.count(name) > 1)
        raise errors.refusal(
            "model", f"layers that share {shared!r}", "a kernel for each layer",
            "calibrate has no one scale for two layers: draw such a network by a rule",
        )  # fmt: skip
    return captured


def _check_params(params: PyTree, model: PyTree) -> None:
    """They have the model's tree and shapes and, unless traced, are finite."""
    wanted: Any = jax.tree.structure(model)
    if jax.tree.structure(params) != wanted:
        raise errors.refusal(
            "params", jax.tree.structure(params), f"the tree of this model, {wanted}",
            "pass what belongs to it (without Flax's outer 'params')",
        )  # fmt: skip
    leaves = zip(by_path(params).items(), by_path(model).values(), strict=True)
    for (path, leaf), like in leaves:
        if jnp.shape(leaf) != jnp.shape(like):
            raise errors.refusal(
                path, jnp.shape(leaf), f"{jnp.shape(like)}, what the model has on this batch",
                "pass the parameters and a batch of the same model",
            )  # fmt: skip
        known = not isinstance(leaf, jax.core.Tracer) and jnp.issubdtype(leaf.dtype, jnp.inexact)
        if known and not np.isfinite(np.asarray(leaf, np.float64)).all():
            raise errors.refusal(path, "NaN or inf", "finite parameters", "draw them again")


def check_several(batch: Array, why: str) -> None:
    """At least two examples.

    >>> check_several(jnp.ones((2, 5)), "a variance")
    """
    if batch.shape[0] < 2:
        raise errors.refusal("batch", batch.shape, f"two examples or more: {why}", "pass more")


def pre_activations(
    captured: Captured, params: PyTree, x: Array, taps: Taps | None = None
) -> list[Array]:
    """z of every layer in float32, units last; taps are added to it.

    >>> from jinit.models import MLP
    >>> import jax
    >>> model, x = MLP(features=(4, 2)), jnp.ones((3, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> [z.shape for z in pre_activations(opened(model, params, x), params, x)]
    [(3, 4), (3, 2)]
    """
    _, values = captured.apply(params, x, taps)
    found = []
    for layer in captured.layers:
        z = values[layer.value]
        z = z if layer.index is None else z[layer.index]
        found.append(jnp.moveaxis(z, layer.unit_axis, -1).astype(jnp.float32))
    return found


def adjusted(
    params: PyTree,
    factors: Mapping[str, Array | float],
    shifts: Mapping[str, Array] | None = None,
) -> PyTree:
    """The tree with some leaves multiplied, then shifted; dtypes stay.

    >>> adjusted({"w": jnp.ones(2)}, {"w": 3.0})
    {'w': Array([3., 3.], dtype=float32)}
    """
    shifts = {} if shifts is None else shifts

    def one(path: Any, leaf: Any) -> Any:
        name = path_of(path)
        if name not in factors and name not in shifts:
            return leaf
        changed = leaf * factors.get(name, 1.0) + shifts.get(name, 0.0)
        return changed.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(one, params)


def along(factor: Array, axis: int, rank: int) -> Array:
    """A vector over units, shaped to multiply a kernel of this rank.

    >>> along(jnp.ones(3), -1, 2).shape, along(jnp.ones(3), 0, 4).shape
    ((1, 3), (3, 1, 1, 1))
    """
    shape = [1] * rank
    shape[axis] = factor.shape[0]
    return factor.reshape(shape)
