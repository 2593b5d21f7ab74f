"""What all calibrations share: a model opened at its layers, factors on kernels, and the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.frameworks import Captured, capture
from jinit.frameworks._capture import by_path
from jinit.frameworks._paths import path_of
from jinit.frameworks._taps import Taps
from jinit.typing import Array, PyTree

# What a model or a framework says of parameters or a batch that are not its own.
_UNFIT = (TypeError, ValueError, IndexError, KeyError, AssertionError)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Trace:
    """What a calibration did; arrays are ``(kernels,)``, in the order of their first calls.

    That is an entry a layer, and one for all layers that share a kernel.

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
    """The captured model, its parameters and the batch fitting each other.

    Raises:
      TypeError, ValueError: as :func:`jinit.frameworks.capture`; parameters of another model or
        batch, or that are not finite, or whose kernels and biases are not real; a batch that is
        no array, complex, not finite, or not what the model takes.

    >>> from jinit.models import MLP
    >>> model, x = MLP(features=(4, 2)), jnp.zeros((3, 5))
    >>> opened(model, model.init(jax.random.key(0), x)["params"], x).layers[-1].name
    'output'
    """
    _check_batch(batch)
    arrays(params)
    try:
        captured = model if isinstance(model, Captured) else capture(model, batch, params)
        _check_params(params, captured)
        _, values = jax.eval_shape(lambda p: captured.apply(p, batch, None), params)
    except (*_UNFIT, flax.errors.FlaxError) as problem:
        if isinstance(problem, errors.Refusal):
            raise
        raise errors.refusal(
            "batch", f"{batch.dtype}{list(batch.shape)}",
            f"what the model takes ({str(problem).partition(chr(10))[0]})",
            "a batch (batch, …) and the parameters of this model",
        ) from problem  # fmt: skip
    for layer in captured.layers:
        if len(values[layer.value].shape) - (layer.index is not None) < 2:
            raise errors.refusal(
                "batch", batch.shape, f"(batch, …): the units of {layer.name} are all it gives",
                "add an axis of examples, x[None]",
            )  # fmt: skip
    return captured


def arrays(params: PyTree) -> dict[str, Array]:
    """The leaves by their paths.

    Raises:
      TypeError: one that is no array.

    >>> list(arrays({"w": jnp.ones(2)}))
    ['w']
    """
    leaves = by_path(params)
    for path, leaf in leaves.items():
        # NumPy's and JAX's arrays, tracers among them.
        if not isinstance(leaf, np.ndarray | jax.Array):
            raise errors.wrong_type(path or "params", leaf, "an array", "jinit.initialize(…)")
    return leaves


def by_kernel(captured: Captured) -> dict[str, list[int]]:
    """The places of the layers of each kernel; several where layers share it. By first calls.

    >>> from jinit.models import MLP
    >>> model, x = MLP(features=(4, 2)), jnp.zeros((3, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> by_kernel(opened(model, params, x))
    {'hidden_0/kernel': [0], 'output/kernel': [1]}
    """
    found: dict[str, list[int]] = {}
    for place, layer in enumerate(captured.layers):
        found.setdefault(layer.kernel, []).append(place)
    return found


def kernels_by_layer(captured: Captured) -> Array:
    """For each layer its kernel's place in :func:`by_kernel`.

    >>> from jinit.models import MLP
    >>> model, x = MLP(features=(4, 2)), jnp.zeros((3, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> kernels_by_layer(opened(model, params, x)).tolist()
    [0, 1]
    """
    kernels = list(by_kernel(captured))
    return jnp.asarray([kernels.index(layer.kernel) for layer in captured.layers])


def _check_batch(batch: Any) -> None:
    """An array of real finite numbers."""
    if not isinstance(batch, np.ndarray | jax.Array):
        raise errors.wrong_type("batch", batch, "an array (batch, …)", "jnp.asarray(batch)")
    if not (jnp.issubdtype(batch.dtype, jnp.floating) or jnp.issubdtype(batch.dtype, jnp.integer)):
        raise errors.wrong_type("batch", str(batch.dtype), "real numbers", "pass the real part")
    if not batch.ndim or not batch.size:
        raise errors.refusal("batch", f"shape {batch.shape}", "(batch, …)", "pass examples")
    known = not isinstance(batch, jax.core.Tracer)
    if known and not np.isfinite(np.asarray(batch, np.float64)).all():
        raise errors.refusal("batch", "NaN or inf", "finite inputs", "clean the data")


def _check_params(params: PyTree, captured: Captured) -> None:
    """They have the model's paths and shapes, real kernels and, unless traced, are finite."""
    leaves, model = by_path(params), by_path(captured.params)
    if set(leaves) != set(model):
        raise errors.refusal(
            "params", ", ".join(leaves) or type(params).__name__,
            f"the leaves of this model, {', '.join(model)}",
            "pass what belongs to it (without Flax's outer 'params')",
        )  # fmt: skip
    scaled = {path for each in captured.layers for path in (each.kernel, each.bias)}
    for path, leaf in leaves.items():
        if leaf.shape != model[path].shape:
            raise errors.refusal(
                path, leaf.shape, f"{model[path].shape}, what the model has on this batch",
                "pass the parameters and a batch of the same model",
            )  # fmt: skip
        if path in scaled and not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise errors.wrong_type(path, str(leaf.dtype), "real floating-point numbers", "cast")
        known = not isinstance(leaf, jax.core.Tracer) and jnp.issubdtype(leaf.dtype, jnp.inexact)
        if known and not np.isfinite(np.asarray(leaf, np.complex128)).all():
            raise errors.refusal(path, "NaN or inf", "finite parameters", "draw them again")


def class_outputs(captured: Captured, params: PyTree, batch: Array) -> int:
    """How many outputs an example has.

    Raises:
      ValueError: outputs that are not ``(batch, outputs)`` or ``(batch,)``.

    >>> from jinit.models import MLP
    >>> model, x = MLP(features=(4, 2)), jnp.zeros((3, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> class_outputs(opened(model, params, x), params, x)
    2
    """
    shape = jax.eval_shape(lambda p: captured.apply(p, batch, None)[0], params).shape
    if len(shape) not in (1, 2) or shape[0] != batch.shape[0]:
        raise errors.refusal(
            "outputs", shape, f"({batch.shape[0]}, classes)",
            "wrap the model so that an example has one row of class scores",
        )  # fmt: skip
    return int(shape[1]) if len(shape) == 2 else 1


def check_number(what: str, value: Any, **allowed: Any) -> None:
    """:func:`jinit.errors.check_number` of one number, not of several.

    >>> check_number("target", 1.0, low=0.0, fix="use 1.0")
    """
    if getattr(value, "shape", ()) != ():
        raise errors.wrong_type(what, value, "one number", "call this once per number, or vmap it")
    errors.check_number(what, value, **allowed)


def epsilon(dtype: Any) -> float:
    """The relative rounding of a dtype.

    >>> epsilon(jnp.bfloat16)
    0.0078125
    """
    return float(jnp.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def beyond_rounding(deviation: Array, size: Array, dtype: Any) -> Array:
    """Whether values of this size differ by more than rounding does.

    >>> bool(beyond_rounding(jnp.float32(1e-7), jnp.float32(1.0), jnp.float32))
    False
    """
    relative = 8 * max(epsilon(dtype), epsilon(jnp.float32))
    return (deviation > relative * size) & jnp.isfinite(deviation)


def check_several(batch: Array, why: str) -> None:
    """At least two examples.

    >>> check_several(jnp.ones((2, 5)), "a variance")
    """
    if batch.shape[0] < 2:
        raise errors.refusal("batch", batch.shape, f"two examples or more: {why}", "pass more")


def pre_activations(captured: Captured, params: PyTree, x: Array) -> list[Array]:
    """z of every layer in float32, units last.

    >>> from jinit.models import MLP
    >>> import jax
    >>> model, x = MLP(features=(4, 2)), jnp.ones((3, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> [z.shape for z in pre_activations(opened(model, params, x), params, x)]
    [(3, 4), (3, 2)]
    """
    return by_layer(captured, captured.apply(params, x, None)[1])


def by_layer(captured: Captured, values: Taps) -> list[Array]:
    """The values of a captured model, or taps, as one array a layer in float32, units last.

    >>> from jinit.models import MLP
    >>> model, x = MLP(features=(4, 2)), jnp.ones((3, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> captured = opened(model, params, x)
    >>> len(by_layer(captured, captured.apply(params, x, None)[1]))
    2
    """
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
