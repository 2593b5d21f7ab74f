"""Captures a model, checks the input, and applies factors to kernels, for all calibrations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import KeyPath

from jinit import errors
from jinit._examples import check_examples
from jinit.frameworks import Captured, capture
from jinit.frameworks._capture import by_path
from jinit.frameworks._paths import path_of
from jinit.frameworks._taps import Taps
from jinit.typing import Array, DType, ModelLike, PyTree

# Errors that a model or its framework raises for parameters or a batch of another model.
_UNFIT = (TypeError, ValueError, IndexError, KeyError, AssertionError)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Trace:
    """The record of a calibration. Arrays are ``(kernels,)``, in the order of the first calls.

    Layers that share a kernel share one entry. ``fixup`` has one entry per branch, ``skipinit`` and
    ``rezero`` one per scalar; ``metainit``, ``gradinit``, ``antisymmetric`` and ``output_bias``
    have one for the network.

    Attributes:
      before: the calibrated quantity before calibration, e.g. the variance of pre-activations.
      after: the same quantity after calibration.
      iterations: number of steps taken.
      converged: True if the goal was reached.
    """

    before: Array
    after: Array
    iterations: Array
    converged: Array


def opened(model: ModelLike, params: PyTree, batch: Array) -> Captured:
    """The captured model, after checking that model, parameters and batch fit each other.

    Raises:
      TypeError, ValueError: as :func:`jinit.frameworks.capture`; parameters of another model or
        batch, parameters that are not finite, kernels or biases that are not real; a batch that is
        not an array, not real, not finite, or that the model does not take.
    """
    check_examples(batch, name="batch", real=True, finite=True)
    arrays(params)
    try:
        captured = model if isinstance(model, Captured) else capture(model, batch, params)
        _check_params(params, captured)
        _, values = jax.eval_shape(lambda p: captured.apply(p, batch, None), params)
    except (*_UNFIT, flax.errors.FlaxError) as problem:
        if isinstance(problem, errors.Refusal):
            raise
        raise errors.refusal(
            "batch",
            f"{batch.dtype}{list(batch.shape)}",
            f"a batch that the model takes ({str(problem).partition(chr(10))[0]})",
            "pass a batch (batch, …) and the parameters of this model",
        ) from problem
    for layer in captured.layers:
        if len(values[layer.value].shape) - (layer.index is not None) < 2:
            raise errors.refusal(
                "batch",
                batch.shape,
                f"(batch, …): the output of {layer.name} has an axis of units only",
                "add an axis of examples, x[None]",
            )
    return captured


def arrays(params: PyTree) -> dict[str, Array]:
    """The leaves by their paths; refuses a leaf that is not an array."""
    leaves = by_path(params)
    for path, leaf in leaves.items():
        # A jax.Array may be a tracer.
        if not isinstance(leaf, np.ndarray | jax.Array):
            raise errors.wrong_type(path or "params", leaf, "an array", "jinit.initialize(…)")
    return leaves


def by_kernel(captured: Captured) -> dict[str, list[int]]:
    """Kernel path → indices of the layers that use the kernel, in the order of first calls."""
    layers: dict[str, list[int]] = {}
    for index, layer in enumerate(captured.layers):
        layers.setdefault(layer.kernel, []).append(index)
    return layers


def kernels_by_layer(captured: Captured) -> Array:
    """``(layers,)``: the index of each layer's kernel in :func:`by_kernel`."""
    kernels = list(by_kernel(captured))
    return jnp.asarray([kernels.index(layer.kernel) for layer in captured.layers])


def _check_params(params: PyTree, captured: Captured) -> None:
    """Refuses paths or shapes unlike the model's, complex or integer kernels, NaN and inf."""
    leaves, model = by_path(params), by_path(captured.params)
    if set(leaves) != set(model):
        raise errors.refusal(
            "params",
            ", ".join(leaves) or type(params).__name__,
            f"the leaves of this model, {', '.join(model)}",
            "pass parameters of this model (without Flax's outer 'params')",
        )
    scaled = {path for layer in captured.layers for path in (layer.kernel, layer.bias)}
    for path, leaf in leaves.items():
        if leaf.shape != model[path].shape:
            raise errors.refusal(
                path,
                leaf.shape,
                f"{model[path].shape}, as in the model on this batch",
                "pass the parameters and a batch of the same model",
            )
        if path in scaled and not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise errors.wrong_type(path, str(leaf.dtype), "real floating-point numbers", "cast")
        concrete = not isinstance(leaf, jax.core.Tracer)
        inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
        if concrete and inexact and not np.isfinite(np.asarray(leaf, np.complex128)).all():
            raise errors.refusal(path, "NaN or inf", "finite parameters", "draw them again")


def class_outputs(captured: Captured, params: PyTree, batch: Array) -> int:
    """The number of outputs per example; refuses shapes but ``(batch, k)`` and ``(batch,)``."""
    shape = jax.eval_shape(lambda p: captured.apply(p, batch, None)[0], params).shape
    if len(shape) not in (1, 2) or shape[0] != batch.shape[0]:
        raise errors.refusal(
            "outputs",
            shape,
            f"({batch.shape[0]}, classes)",
            "wrap the model so that each example has one row of class scores",
        )
    return int(shape[1]) if len(shape) == 2 else 1


def check_number(
    what: str,
    value: float | Array,
    *,
    low: float,
    high: float = 1e30,
    open_low: bool = False,
    fix: str,
) -> None:
    """:func:`jinit.errors.check_number` for a scalar of float32; refuses several numbers."""
    if getattr(value, "shape", ()) != ():
        raise errors.wrong_type(what, value, "one number", "call this once per number, or vmap it")
    errors.check_number(what, value, low=low, high=high, open_low=open_low, fix=fix)


def epsilon(dtype: DType) -> float:
    """Machine epsilon of a dtype."""
    return float(jnp.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def beyond_rounding(deviation: Array, size: Array, dtype: DType) -> Array:
    """Whether the deviation of values of this size exceeds their rounding error."""
    relative = 8 * max(epsilon(dtype), epsilon(jnp.float32))
    return (deviation > relative * size) & jnp.isfinite(deviation)


def check_several(batch: Array, why: str) -> None:
    """Refuses a batch of fewer than two examples."""
    if batch.shape[0] < 2:
        raise errors.refusal("batch", batch.shape, f"two examples or more: {why}", "pass more")


def pre_activations(captured: Captured, params: PyTree, x: Array) -> list[Array]:
    """z of every layer in float32, units last."""
    return by_layer(captured, captured.apply(params, x, None)[1])


def by_layer(captured: Captured, values: Taps) -> list[Array]:
    """The values or taps of a captured model as one float32 array per layer, units last."""
    arrays_by_layer = []
    for layer in captured.layers:
        z = values[layer.value]
        z = z if layer.index is None else z[layer.index]
        arrays_by_layer.append(jnp.moveaxis(z, layer.unit_axis, -1).astype(jnp.float32))
    return arrays_by_layer


def adjusted(
    params: PyTree,
    factors: Mapping[str, Array | float],
    shifts: Mapping[str, Array] | None = None,
) -> PyTree:
    """The tree with leaves multiplied by ``factors`` and then shifted, by path; dtypes are kept."""
    shifts = {} if shifts is None else shifts

    def one(path: KeyPath[Any], leaf: Array) -> Array:
        name = path_of(path)
        if name not in factors and name not in shifts:
            return leaf
        changed = leaf * factors.get(name, 1.0) + shifts.get(name, 0.0)
        return changed.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(one, params)


def per_unit(factor: Array, axis: int, rank: int) -> Array:
    """A vector over units, reshaped to multiply a kernel of this rank with units on ``axis``."""
    shape = [1] * rank
    shape[axis] = factor.shape[0]
    return factor.reshape(shape)
