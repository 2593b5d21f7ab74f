"""Calibrates the mean and variance of pre-activations, and the output bias, on data."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.calibrate._common import (
    Trace,
    adjusted,
    beyond_rounding,
    by_kernel,
    check_number,
    check_several,
    class_outputs,
    epsilon,
    kernels_by_layer,
    opened,
    per_unit,
    pre_activations,
)
from jinit.frameworks._capture import Layer, by_path
from jinit.probes._losses import check_classes
from jinit.typing import Array, Key, ModelLike, PyTree


def lsuv(
    key: Key,
    model: ModelLike,
    params: PyTree,
    batch: Array,
    *,
    tolerance: float = 0.1,
    iterations: int = 10,
) -> tuple[PyTree, Trace]:
    """Layer-sequential unit variance: divides each kernel by the std of its pre-activations.

    Layer by layer, W ← W/√Var z until |Var z − 1| ≤ tolerance, where Var is over inputs and units.
    If n layers share a kernel, Var is over all of these layers, a step is W ← W/(Var z)^(1/2n), and
    the pass through the layers is repeated.

    Args:
      key: unused. Draw ``params`` with ``orthogonal``, as the paper does.
      model: a model that :func:`jinit.frameworks.capture` takes.
      params: its parameters.
      batch: ``(batch, …)``, at least two examples.
      tolerance: largest |Var z − 1| of a converged layer, > 0.
      iterations: largest number of steps per layer and pass, ≥ 1; if layers share a kernel, also
        the number of passes.

    Returns:
      Parameters, and a :class:`Trace` of the variances. A layer with constant output keeps its
      kernel and has not converged.

    Raises:
      ValueError: a number out of range; as :func:`jinit.frameworks.capture`.

    Reference: Mishkin & Matas 2016, algorithm 1.

    >>> import jinit
    >>> from jinit.models import MLP
    >>> model, x = MLP(features=(32, 32, 4)), jax.random.normal(jax.random.key(1), (64, 16))
    >>> params = jinit.initialize(jax.random.key(0), model.init(jax.random.key(0), x)["params"],
    ...     {"*/kernel": "orthogonal", "*/bias": "zeros"})
    >>> params, trace = lsuv(jax.random.key(0), model, params, x)
    >>> bool(trace.converged.all()), bool(abs(trace.after - 1).max() <= 0.1)
    (True, True)
    """
    check_number("tolerance", tolerance, low=0.0, open_low=True, fix="use 0.1")
    errors.check_integer("iterations", iterations, low=1, high=10**6, fix="use 10")
    captured = opened(model, params, batch)
    check_several(batch, "Var z is over inputs too")
    layers = by_kernel(captured)
    kernels, passes = list(layers), 1 if len(layers) == len(captured.layers) else iterations
    dtypes = [by_path(params)[name].dtype for name in kernels]
    powers = jnp.asarray([1 / len(own) for own in layers.values()])

    def variances(scales: Array) -> Array:
        changed, result = adjusted(params, dict(zip(kernels, scales, strict=True))), []
        values = pre_activations(captured, changed, batch)
        for own, dtype in zip(layers.values(), dtypes, strict=True):
            z = jnp.concatenate([values[place].ravel() for place in own])
            variance, size = z.var(), jnp.sqrt(jnp.mean(jnp.square(z)))
            # The variance of equal values is rounding error: do not divide by it.
            varies = beyond_rounding(jnp.sqrt(variance), size, dtype) | ~jnp.isfinite(variance)
            result.append(jnp.where(varies, variance, 0.0))
        return jnp.stack(result)

    def layer(state: tuple[Array, Array], place: Array) -> tuple[tuple[Array, Array], None]:
        scales, counts = state

        def unfinished(state: tuple[Array, Array, Array]) -> Array:
            _, count, variance = state
            off = jnp.abs(variance - 1) > tolerance
            return off & (count < iterations) & (variance > 0) & jnp.isfinite(variance)

        def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            scales, count, variance = state
            scales = scales.at[place].mul(jax.lax.rsqrt(variance) ** powers[place])
            return scales, count + 1, variances(scales)[place]

        start = scales, jnp.zeros((), jnp.int32), variances(scales)[place]
        scales, count, _ = jax.lax.while_loop(unfinished, step, start)
        return (scales, counts.at[place].add(count)), None

    count = len(kernels)
    start = jnp.ones(count), jnp.zeros(count, jnp.int32)
    order = jnp.tile(kernels_by_layer(captured), passes)
    (scales, counts), _ = jax.lax.scan(layer, start, order)
    after = variances(scales)
    trace = Trace(variances(jnp.ones(count)), after, counts, jnp.abs(after - 1) <= tolerance)
    return adjusted(params, dict(zip(kernels, scales, strict=True))), trace


def within_layer(
    key: Key, model: ModelLike, params: PyTree, batch: Array, *, iterations: int = 2
) -> tuple[PyTree, Trace]:
    """Gives the pre-activation of every unit mean 0 and standard deviation 1 over the batch.

    Layer by layer, W_j ← W_j/σ_j and b_j ← (b_j − μ_j)/σ_j. If n layers share a kernel, μ_j and σ_j
    are over all of these layers, and a step is one n-th (σ_j^(1/n), μ_j/n). The result equals the
    data-dependent initialization of weight normalization (Salimans & Kingma 2016, equation 6),
    which stores σ_j in g_j.

    Args:
      key: unused.
      model: as in :func:`lsuv`; every layer needs a bias.
      params: its parameters.
      batch: ``(batch, …)``, at least two examples.
      iterations: number of passes through all layers, ≥ 1. One pass is exact up to rounding.
        Shared kernels need about 20, and a residual stream that passes one kernel many times may
        not converge.

    Returns:
      Parameters, and a :class:`Trace` of the largest |μ_j| + |σ_j − 1| over the units of each
      kernel. Units that do not vary over the batch keep their weights.

    Raises:
      ValueError: a layer without bias, or with several biases per unit of its kernel; a number out
        of range; as :func:`jinit.frameworks.capture`.

    Reference: Krähenbühl et al. 2016, algorithm 1.

    >>> import jinit
    >>> from jinit.models import MLP
    >>> model, x = MLP(features=(8, 3)), jax.random.normal(jax.random.key(1), (32, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> params, trace = within_layer(jax.random.key(0), model, params, x)
    >>> bool(trace.after.max() < 1e-4)
    True
    """
    errors.check_integer("iterations", iterations, low=1, high=10**6, fix="use 2")
    captured = opened(model, params, batch)
    check_several(batch, "a unit's variance is over examples")
    for layer in captured.layers:
        if layer.bias is None:
            raise errors.refusal(
                "model",
                f"{layer.name} without a bias",
                "a bias in every layer",
                "use lsuv, which sets variances alone",
            )

    leaves, calls = by_path(params), by_kernel(captured)
    kernels = list(calls)
    layers = [captured.layers[own[0]] for own in calls.values()]
    biases = [first.bias or "" for first in layers]
    units = [
        _units(first, leaves[k], leaves[b])
        for first, k, b in zip(layers, kernels, biases, strict=True)
    ]

    def moments(params: PyTree) -> list[tuple[Array, Array, Array]]:
        values, result = pre_activations(captured, params, batch), []
        for own, shape in zip(calls.values(), units, strict=True):
            per_call = [values[place].reshape(-1, *shape) for place in own]
            z = jnp.concatenate(per_call)
            # A unit that differs only from call to call does not vary over the batch.
            varying = jnp.stack([call.std(0) for call in per_call]).max(0)
            result.append((z.mean(0), z.std(0), varying))
        return result

    def distances(params: PyTree) -> Array:
        return jnp.stack([(jnp.abs(m) + jnp.abs(s - 1)).max() for m, s, _ in moments(params)])

    def step(params: PyTree, place: Array) -> tuple[PyTree, None]:
        factors: dict[str, Array] = {}
        shifts: dict[str, Array] = {}
        for index, (mean, deviation, varying) in enumerate(moments(params)):
            kernel, bias = leaves[kernels[index]], leaves[biases[index]]
            varies = beyond_rounding(varying, jnp.abs(mean) + deviation, kernel.dtype)
            power = 1 / len(calls[kernels[index]])
            scale = jnp.where((index == place) & varies, (1 / deviation) ** power, 1.0)
            shift = jnp.where((index == place) & jnp.isfinite(mean), -mean * power * scale, 0.0)
            # If units have several axes, they are the last axes of the kernel.
            axis = layers[index].kernel_unit_axis
            factor = per_unit(scale, axis, kernel.ndim) if scale.ndim == 1 else scale
            factors |= {kernels[index]: factor, biases[index]: scale.reshape(bias.shape)}
            shifts[biases[index]] = shift.reshape(bias.shape)
        return adjusted(params, factors, shifts), None

    order = jnp.tile(kernels_by_layer(captured), iterations)
    before = distances(params)
    changed, _ = jax.lax.scan(step, params, order)
    after = distances(changed)
    steps = jnp.full(len(kernels), iterations, jnp.int32)
    rounding = max(epsilon(leaves[name].dtype) for name in kernels)
    return changed, Trace(before, after, steps, after < max(1e-3, 2 * rounding))


def _units(layer: Layer, kernel: Array, bias: Array) -> tuple[int, ...]:
    """The shape of a layer's units: one axis, or several as in attention heads.

    Raises:
      ValueError: a bias that has other axes than the units of the kernel.
    """
    axis = layer.kernel_unit_axis % kernel.ndim
    last = axis == kernel.ndim - 1
    several = last and bias.ndim > 1 and kernel.shape[-bias.ndim :] == bias.shape
    if not several and kernel.shape[axis] != bias.size:
        raise errors.refusal(
            "model",
            f"{layer.name}, whose bias {bias.shape} has several entries for a unit of its kernel "
            f"{kernel.shape}",
            "layers with one bias per unit",
            "use lsuv, which sets variances alone",
        )
    return tuple(bias.shape) if several else (bias.size,)


def output_bias(
    key: Key,
    model: ModelLike,
    params: PyTree,
    batch: Array,
    labels: Array,
    *,
    smoothing: float = 1.0,
) -> tuple[PyTree, Trace]:
    """Sets the output bias so that the mean output on the batch equals the log class frequencies.

    b_k ← b_k + ln p_k − mean f_k(x) with p_k = (count_k + smoothing)/(n + smoothing · classes).
    With small weights the loss then starts at the entropy of the labels. For a single output, the
    log-odds of class 1 replace ln p_k.

    Args:
      key: unused.
      model: as in :func:`lsuv`; the output layer needs a bias.
      params: its parameters.
      batch: ``(batch, …)``.
      labels: ``(batch,)`` integers below the number of outputs (below 2 for a single output).
      smoothing: pseudo-count per class, 1e-30 to 1e30.

    Returns:
      Parameters, and a :class:`Trace` with one entry: the largest |mean output − goal|.

    Raises:
      ValueError: an output layer that has no bias per output or shares its kernel; labels that are
        not integers ``(batch,)`` below the number of classes; a number out of range; as
        :func:`jinit.frameworks.capture`.
      TypeError: labels that are not an array.

    Reference: Lin et al. 2017, section 4.1; Karpathy 2019.

    >>> from jinit.models import MLP
    >>> model, x = MLP(features=(4, 2)), jax.random.normal(jax.random.key(1), (8, 3))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> _, trace = output_bias(jax.random.key(0), model, params, x, jnp.zeros(8, int))
    >>> bool(trace.after.max() < 1e-5)
    True
    """
    check_number("smoothing", smoothing, low=1e-30, high=1e30, fix="use 1.0")
    captured = opened(model, params, batch)
    last, classes = captured.layers[-1], class_outputs(captured, params, batch)
    bias = last.bias
    alone = len(by_kernel(captured)[last.kernel]) == 1
    if bias is None or by_path(params)[bias].size != classes or not alone:
        raise errors.refusal(
            "model",
            f"{last.name}, the last layer, has no bias per output or shares its kernel",
            "an output layer that is called last and has its own kernel and biases",
            "use_bias=True",
        )
    own = by_path(params)[bias]

    def outputs(params: PyTree) -> Array:
        return captured.apply(params, batch, None)[0].reshape(batch.shape[0], -1).mean(0)

    mean = outputs(params)
    _check_labels(labels, batch.shape[0], max(2, classes))
    counts = jnp.bincount(labels, length=max(2, classes)) + jnp.asarray(smoothing, mean.dtype)
    wanted = jnp.log(counts / counts.sum())
    wanted = wanted if classes > 1 else wanted[1:] - wanted[:1]
    # A bias cannot correct outputs that overflow.
    shift = jnp.where(jnp.isfinite(mean), wanted - mean, 0.0)
    changed = adjusted(params, {}, {bias: shift.reshape(own.shape)})
    before, after = (jnp.abs(output - wanted).max()[None] for output in (mean, outputs(changed)))
    # The goal itself is rounded to the dtype of the bias.
    rounding = epsilon(own.dtype) * jnp.abs(wanted).max()
    return changed, Trace(before, after, jnp.ones(1, jnp.int32), after < 1e-4 + rounding)


def _check_labels(labels: Array, examples: int, classes: int) -> None:
    """Refuses labels other than ``(examples,)`` integers in [0, classes)."""
    fix = "pass the integer labels of this batch"
    if not hasattr(labels, "dtype"):
        raise errors.wrong_type("labels", labels, f"an array ({examples},) of integers", fix)
    if labels.shape != (examples,) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise errors.refusal(
            "labels", f"{labels.dtype}{list(labels.shape)}", f"class numbers ({examples},)", fix
        )
    check_classes(labels, classes)
