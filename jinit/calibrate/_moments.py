"""Calibrations that set the mean and variance of pre-activations on data."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.calibrate._common import (
    Trace,
    adjusted,
    along,
    beyond_rounding,
    by_kernel,
    check_number,
    check_several,
    class_outputs,
    epsilon,
    kernels_by_layer,
    opened,
    pre_activations,
)
from jinit.frameworks._capture import by_path
from jinit.probes._losses import check_classes
from jinit.typing import Array, Key, PyTree


def lsuv(
    key: Key,
    model: Any,
    params: PyTree,
    batch: Array,
    *,
    tolerance: float = 0.1,
    iterations: int = 10,
) -> tuple[PyTree, Trace]:
    """Layer-sequential unit variance: each kernel divided by the deviation of its layer's output.

    Layer after layer, W ← W/√Var z until |Var z − 1| ≤ tolerance, Var over inputs and units. For
    a kernel that n layers share it is over all of them, a step is W ← W/(Var z)^(1/2n), and the
    pass through the layers is repeated.

    Args:
      key: not used: the batch decides. Draw ``params`` with ``orthogonal``, as the paper does.
      model, params: what :func:`jinit.frameworks.capture` opens, and its parameters.
      batch: ``(batch, …)``, at least two examples.
      tolerance: > 0. iterations: the most steps per layer, ≥ 1; where layers share a kernel also
        the number of passes, each with as many.

    Returns:
      Parameters, and a :class:`Trace` of the variances. A layer whose output is constant keeps its
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
    errors.check_integer("iterations", iterations, low=1, fix="use 10")
    captured = opened(model, params, batch)
    check_several(batch, "Var z is over inputs too")
    layers = by_kernel(captured)
    kernels, passes = list(layers), 1 if len(layers) == len(captured.layers) else iterations
    dtypes = [by_path(params)[name].dtype for name in kernels]
    powers = jnp.asarray([1 / len(own) for own in layers.values()])

    def variances(scales: Array) -> Array:
        changed, found = adjusted(params, dict(zip(kernels, scales, strict=True))), []
        values = pre_activations(captured, changed, batch)
        for own, dtype in zip(layers.values(), dtypes, strict=True):
            z = jnp.concatenate([values[place].ravel() for place in own])
            variance, size = z.var(), jnp.sqrt(jnp.mean(jnp.square(z)))
            # What equal values differ by in rounding is no variance to divide by.
            varies = beyond_rounding(jnp.sqrt(variance), size, dtype) | ~jnp.isfinite(variance)
            found.append(jnp.where(varies, variance, 0.0))
        return jnp.stack(found)

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
    key: Key, model: Any, params: PyTree, batch: Array, *, iterations: int = 2
) -> tuple[PyTree, Trace]:
    """Every unit's pre-activation gets mean 0 and deviation 1 over the batch, layer after layer.

    W_j ← W_j/σ_j, b_j ← (b_j − μ_j)/σ_j; for a kernel that n layers share μ_j and σ_j are over all
    of them and steps are the n-th part (σ_j^(1/n), μ_j/n). The same point as data-dependent
    initialization of weight normalization (Salimans & Kingma 2016, equation 6), which writes σ_j
    into g_j.

    Args:
      key: not used: the batch decides.
      model, params: as :func:`lsuv`; every layer needs a bias.
      batch: ``(batch, …)``, at least two examples.
      iterations: passes through all layers; one is exact but for rounding. Where layers share a
        kernel it takes some 20, and a residual stream that goes through one many times may never
        settle.

    Returns:
      Parameters, and a :class:`Trace` of the largest distance |μ_j| + |σ_j − 1| of each kernel;
      units that do not vary over the batch keep their kernel.

    Raises:
      ValueError: a layer without bias, a number out of range; as :func:`jinit.frameworks.capture`.

    Reference: Krähenbühl et al. 2016, algorithm 1.

    >>> import jinit
    >>> from jinit.models import MLP
    >>> model, x = MLP(features=(8, 3)), jax.random.normal(jax.random.key(1), (32, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> params, trace = within_layer(jax.random.key(0), model, params, x)
    >>> bool(trace.after.max() < 1e-4)
    True
    """
    errors.check_integer("iterations", iterations, low=1, fix="use 2")
    captured = opened(model, params, batch)
    check_several(batch, "a unit's variance over them")
    for each in captured.layers:
        if each.bias is None:
            raise errors.refusal(
                "model", f"{each.name} without a bias", "a bias in every layer",
                "use lsuv, which sets variances alone",
            )  # fmt: skip

    leaves, calls = by_path(params), by_kernel(captured)
    kernels = list(calls)
    layers = [captured.layers[own[0]] for own in calls.values()]
    biases = [each.bias or "" for each in layers]
    units = [_units(leaves[k], leaves[b]) for k, b in zip(kernels, biases, strict=True)]

    def moments(params: PyTree) -> list[tuple[Array, Array, Array]]:
        values, found = pre_activations(captured, params, batch), []
        for own, shape in zip(calls.values(), units, strict=True):
            parts = [values[place].reshape(-1, *shape) for place in own]
            # What differs from call to call alone does not vary over the batch.
            varying, z = jnp.stack([part.std(0) for part in parts]).max(0), jnp.concatenate(parts)
            found.append((z.mean(0), z.std(0), varying))
        return found

    def distances(params: PyTree) -> Array:
        return jnp.stack([(jnp.abs(m) + jnp.abs(s - 1)).max() for m, s, _ in moments(params)])

    def layer(params: PyTree, place: Array) -> tuple[PyTree, None]:
        factors: dict[str, Array] = {}
        shifts: dict[str, Array] = {}
        for index, (mean, deviation, varying) in enumerate(moments(params)):
            kernel, bias = leaves[kernels[index]], leaves[biases[index]]
            varies = beyond_rounding(varying, jnp.abs(mean) + deviation, kernel.dtype)
            power = 1 / len(calls[kernels[index]])
            scale = jnp.where((index == place) & varies, (1 / deviation) ** power, 1.0)
            shift = jnp.where((index == place) & jnp.isfinite(mean), -mean * power * scale, 0.0)
            # Several axes of units are the kernel's last ones.
            axis = layers[index].kernel_unit_axis
            one = along(scale, axis, kernel.ndim) if scale.ndim == 1 else scale
            factors |= {kernels[index]: one, biases[index]: scale.reshape(bias.shape)}
            shifts[biases[index]] = shift.reshape(bias.shape)
        return adjusted(params, factors, shifts), None

    order = jnp.tile(kernels_by_layer(captured), iterations)
    before = distances(params)
    changed, _ = jax.lax.scan(layer, params, order)
    after = distances(changed)
    steps = jnp.full(len(kernels), iterations, jnp.int32)
    rounding = max(epsilon(leaves[name].dtype) for name in kernels)
    return changed, Trace(before, after, steps, after < max(1e-3, 2 * rounding))


def _units(kernel: Array, bias: Array) -> tuple[int, ...]:
    """The shape of a layer's units: one axis, or several, as heads of attention have."""
    several = bias.ndim > 1 and kernel.shape[-bias.ndim :] == bias.shape
    return tuple(bias.shape) if several else (bias.size,)


def output_bias(
    key: Key, model: Any, params: PyTree, batch: Array, labels: Array, *, smoothing: float = 1.0
) -> tuple[PyTree, Trace]:
    """The output bias that makes the mean output on the batch the log-frequencies of the classes.

    b_k ← b_k + ln p_k − mean f_k(x), p_k = (count_k + smoothing)/(n + smoothing · classes), so that
    the loss of small weights starts at the entropy of the labels; for a single output the log-odds
    of class 1 take the place of ln p_k.

    Args:
      key: not used.
      model, params: as :func:`lsuv`; the output layer needs a bias.
      batch: ``(batch, …)``. labels: ``(batch,)`` integers below the number of outputs.
      smoothing: pseudo-count, 1e-30 to 1e30.

    Returns:
      Parameters, and a :class:`Trace` of one entry: the largest |mean output − goal| before, after.

    Raises:
      ValueError: an output layer without a bias of its own; labels that are not integers, one an
        example, below the number of classes. TypeError: labels that are no array.

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
            "model", f"{last.name} called last, without a bias of each output alone",
            "an output layer with biases of its own, called last", "use_bias=True",
        )  # fmt: skip
    own = by_path(params)[bias]

    def outputs(params: PyTree) -> Array:
        return captured.apply(params, batch, None)[0].reshape(batch.shape[0], -1).mean(0)

    mean = outputs(params)
    _check_labels(labels, batch.shape[0], max(2, classes))
    counts = jnp.bincount(labels, length=max(2, classes)) + smoothing
    wanted = jnp.log(counts / counts.sum())
    wanted = wanted if classes > 1 else wanted[1:] - wanted[:1]
    # Outputs that overflow have no bias that helps.
    shift = jnp.where(jnp.isfinite(mean), wanted - mean, 0.0)
    changed = adjusted(params, {}, {bias: shift.reshape(own.shape)})
    before, after = (jnp.abs(each - wanted).max()[None] for each in (mean, outputs(changed)))
    # Half precision cannot hold the goal itself any nearer.
    rounding = epsilon(own.dtype) * jnp.abs(wanted).max()
    return changed, Trace(before, after, jnp.ones(1, jnp.int32), after < 1e-4 + rounding)


def _check_labels(labels: Any, examples: int, classes: int) -> None:
    """Integers in [0, classes), one an example; traced ones pass unread."""
    fix = "pass the integer labels of this batch"
    if not hasattr(labels, "dtype"):
        raise errors.wrong_type("labels", labels, f"an array ({examples},) of integers", fix)
    if labels.shape != (examples,) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise errors.refusal(
            "labels", f"{labels.dtype}{list(labels.shape)}", f"class numbers ({examples},)", fix
        )
    check_classes(labels, classes)
