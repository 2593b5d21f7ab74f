"""How far a signal and its gradient get at the start: numbers per layer, of one network or many."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np

from jinit import engine, errors
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.engine import _executors
from jinit.frameworks._capture import Captured, Layer, by_path
from jinit.frameworks._layout import Layers
from jinit.parameters import initialize
from jinit.parameters._rules import Rules
from jinit.probes._losses import Loss, check_loss, check_scalar
from jinit.probes._symmetry import duplicate_units
from jinit.typing import Array, PyTree

# Where |φ′| is below this share of its largest value a unit counts as saturated.
SATURATED = 0.05
_TINY = float(np.finfo(np.float32).tiny)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Profile:
    """What goes through each layer; every array is ``(…, layers)``, the output layer last.

    "Units" are the last axis of a pre-activation z (channels of a convolution); "inputs" are the
    examples of the batch, and for convolutions also the places.

    Attributes:
      mean: of z over inputs and units.
      second_moment: E z².
      input_variance: variance over inputs, averaged over units.
      unit_variance: variance over units of z averaged over inputs.
      correlation: mean cosine between z of two different examples.
      effective_rank: (tr C)² / tr C², C the covariance of z over examples; at most examples − 1.
      saturated: share of z at which |φ′| ≤ 5 % of its largest value; NaN for the output layer and
        where no activation was given.
      dead: share of units with φ′ = 0 at every input; NaN as above.
      gradient_norm: √E‖∂L/∂z‖², L one example's loss, E over examples.
      kernel_gradient_norm, bias_gradient_norm: Frobenius norms of the gradient of the mean loss;
        NaN without a bias.
      kernel_norm: Frobenius norm of the kernel.
      duplicates: share of units whose incoming weights and bias equal another unit's.
      near_duplicates: share of those within about 1 % of another's length, see
        :func:`duplicate_units` with 16 projections; 0 where units have fewer than 4 weights, which
        chance alone puts that close.
    """

    mean: Array
    second_moment: Array
    input_variance: Array
    unit_variance: Array
    correlation: Array
    effective_rank: Array
    saturated: Array
    dead: Array
    gradient_norm: Array
    kernel_gradient_norm: Array
    bias_gradient_norm: Array
    kernel_norm: Array
    duplicates: Array
    near_duplicates: Array

    def update_ratio(self, learning_rate: float) -> Array:
        """‖η ∂L/∂W‖ / ‖W‖ of one step of SGD, dimensionless, ``(…, layers)``."""
        return learning_rate * self.kernel_gradient_norm / self.kernel_norm


def propagation(
    captured: Captured,
    params: PyTree,
    x: Array,
    loss: Loss,
    *,
    activation: ActivationLike | None = None,
) -> Profile:
    """One network's profile: a forward and a backward pass; pure, so it jits and vmaps.

    Args:
      captured: from :func:`jinit.frameworks.capture`.
      params: its parameters.
      x: ``(batch, …)``, at least two examples.
      loss: ``loss(outputs) -> scalar``, a mean over the batch.
      activation: what follows every layer but the last, for ``saturated`` and ``dead``; they mean
        nothing where a normalization stands between (``models.MLP``'s own is taken into account).

    Returns:
      A :class:`Profile` with arrays ``(layers,)`` in float32.

    Raises:
      ValueError: fewer than two examples, an unknown activation, parameters of another tree, a
        loss that is not a scalar or does not fit the outputs. TypeError: a loss that is no
        function.

    >>> from jinit.frameworks import capture
    >>> from jinit.probes import random_projection
    >>> from jinit.models import MLP
    >>> x = jax.random.normal(jax.random.key(1), (16, 4))
    >>> captured = capture(MLP(features=(8, 8, 3)), x)
    >>> params = initialize(jax.random.key(0), captured.params, {"*": "zeros"})
    >>> loss = random_projection(jax.random.key(2))
    >>> propagation(captured, params, x, loss).second_moment
    Array([0., 0., 0.], dtype=float32)
    """
    if not hasattr(x, "shape") or x.ndim < 1 or x.shape[0] < 2:
        got = f"shape {x.shape}" if hasattr(x, "shape") else type(x).__name__
        raise errors.refusal("x", got, "an array of at least 2 examples", "pass a larger batch")
    check_loss(loss)
    wanted: Any = jax.tree.structure(captured.params)
    if jax.tree.structure(params) != wanted:
        raise errors.refusal(
            "params", jax.tree.structure(params), f"the tree of captured.params, {wanted}",
            "pass what belongs to the captured model (without Flax's outer 'params')",
        )  # fmt: skip
    phi = None if activation is None else get_activation(activation)

    def scalar(params: PyTree, taps: Any) -> tuple[Array, Any]:
        outputs, values = captured.apply(params, x, taps)
        return loss(outputs), values

    outputs, shapes = _outputs(captured, params, x)
    check_scalar(jax.eval_shape(loss, outputs), "outputs")
    taps = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (gradient, tapped), values = jax.grad(scalar, argnums=(0, 1), has_aux=True)(params, taps)
    stacks = {layer.value for layer in captured.layers if layer.index is not None}
    seen = {}
    for name, z in values.items():
        last = name == captured.layers[-1].value
        layer = next(each for each in captured.layers if each.value == name)
        look = functools.partial(_signal, phi=None if last else phi, layer=layer)
        seen[name] = (jax.vmap(look) if name in stacks else look)(z, tapped[name])
    leaves, gradients = by_path(params), by_path(gradient)
    weights = _weights(captured.layers, leaves, gradients)
    rows = [
        _at(seen[layer.value], layer.index) | own
        for layer, own in zip(captured.layers, weights, strict=True)
    ]
    return Profile(**{
        item.name: jnp.stack([row[item.name] for row in rows])
        for item in dataclasses.fields(Profile)
    })  # fmt: skip


def _outputs(captured: Captured, params: PyTree, x: Array) -> tuple[Any, Any]:
    """Shapes of the outputs and of the taps; says which inputs do not fit, not where in XLA."""
    try:
        found: tuple[Any, Any] = jax.eval_shape(lambda p: captured.apply(p, x, None), params)
        return found
    except (TypeError, ValueError, IndexError, flax.errors.FlaxError) as problem:
        text = str(problem).partition("\n")[0]
        raise errors.refusal(
            "x", jnp.shape(x), f"inputs of the captured model ({text})",
            "x of the shape that was captured, parameters of the same model",
        ) from problem  # fmt: skip


def ensemble(
    captured: Captured,
    rules: Rules,
    x: Array,
    loss: Loss,
    *,
    seeds: int | np.ndarray = 64,
    activation: ActivationLike | None = None,
    host: str | None = None,
    layers: Layers | None = None,
) -> Profile:
    """The profiles of many networks that differ in the seed of their weights alone.

    Network i has the key ``jax.random.key(seeds[i])``; all run in one compiled program.

    Args:
      captured, x, loss, activation: as :func:`propagation`.
      rules, host, layers: how weights are drawn, as :func:`jinit.initialize`; host and layers are
        those of the captured model unless given.
      seeds: how many, or the seeds themselves.

    Returns:
      A :class:`Profile` with NumPy arrays ``(seeds, layers)``.

    Raises:
      ValueError: as :func:`propagation` and :func:`jinit.initialize`; no seeds, another ``x``.

    >>> from jinit.models import MLP
    >>> from jinit.frameworks import capture
    >>> from jinit.probes import random_projection
    >>> x = jax.random.normal(jax.random.key(1), (16, 4))
    >>> captured, loss = capture(MLP(features=(8, 3)), x), random_projection(jax.random.key(2))
    >>> profile = ensemble(captured, {"*/kernel": "he_normal", "*": "zeros"}, x, loss, seeds=3)
    >>> profile.gradient_norm.shape
    (3, 2)
    """
    if isinstance(seeds, int | np.integer):
        errors.check_integer("seeds", seeds, low=1, fix="use 64")
        seeds = np.arange(seeds)
    seeds = np.asarray(seeds)
    if seeds.ndim != 1 or seeds.dtype.kind not in "iu" or not seeds.size:
        raise errors.refusal("seeds", seeds, "a list of whole numbers", "use 64")
    for seed in (seeds.min(), seeds.max()):
        errors.check_seed(seed, "seeds", errors.SEED_LIMIT)
    if hasattr(x, "dtype") and not np.isfinite(np.asarray(x, np.float64)).all():
        raise errors.refusal("x", "NaN or inf", "finite inputs", "clean the data")
    _outputs(captured, captured.params, x)
    host, layers = host or captured.host, captured.layouts if layers is None else layers
    # Refused here, not inside a worker thread's trace.
    jax.eval_shape(
        lambda key: initialize(key, captured.params, rules, host=host, layers=layers),
        jax.random.key(0),
    )

    network = _Network(captured, _Fixed(rules), _Fixed(layers), loss, activation, host)
    machine = _executors.local()
    workers = len(machine.devices) if machine.platform == "cpu" else None
    rows = _rows(seeds.astype(np.uint32), workers)
    found = engine.run(network, rows, x, tile=2 if rows.shape[1] > 1 else None)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1])[: seeds.size], found)


def _rows(seeds: np.ndarray, workers: int | None) -> np.ndarray:
    """``(lanes, networks one after the other)``, the last seed repeated: two lanes a CPU worker.

    Every call of a program begins with fresh memory, which the kernel has to clear: a third of the
    time of a deep network, were it called for every two.
    """
    length = min(16, -(-seeds.size // (2 * workers))) if workers else 1
    return np.pad(seeds, (0, -seeds.size % length), mode="edge").reshape(-1, length)


@dataclass(frozen=True)
class _Fixed:
    """A mapping as part of a recipe: equal contents are equal, whatever the object."""

    value: Any

    def __hash__(self) -> int:
        return hash(tuple(self.value) if isinstance(self.value, Mapping) else self.value)


@dataclass(frozen=True)
class _Network:
    """``(seeds, x) -> Profile``; equal recipes are equal functions, so the engine compiles once."""

    captured: Captured
    rules: _Fixed
    layers: _Fixed
    loss: Loss
    activation: ActivationLike | None
    host: str

    def __call__(self, seeds: Array, x: Array) -> Profile:
        found: Profile = jax.lax.map(lambda seed: self._one(seed, x), seeds)
        return found

    def _one(self, seed: Array, x: Array) -> Profile:
        params = initialize(
            jax.random.key(seed),
            self.captured.params,
            self.rules.value,
            host=self.host,
            layers=self.layers.value,
        )
        return propagation(self.captured, params, x, self.loss, activation=self.activation)


def _signal(z: Array, gradient: Array, *, phi: Any, layer: Layer) -> dict[str, Array]:
    """Everything about one layer's pre-activation ``(batch, …)`` and its gradient."""
    z = jnp.moveaxis(z, layer.unit_axis, -1)
    z, gradient = z.astype(jnp.float32), gradient.astype(jnp.float32)
    batch = z.shape[0]
    flat = z.reshape(batch, -1)
    units = z.reshape(-1, z.shape[-1])
    centred = flat - flat.mean(0)
    covariance = jnp.matmul(centred, centred.T, precision="highest")
    # z as it is for angles: two inputs with one large common part are close to parallel.
    gram = jnp.matmul(flat, flat.T, precision="highest")
    length = jnp.sqrt(jnp.diagonal(gram))
    cosine = gram / jnp.maximum(length[:, None] * length, _TINY)
    # Scale-free: the squares of very small or large covariances would leave float32.
    spectrum = covariance / jnp.maximum(jnp.trace(covariance), _TINY)
    entering = _standardized(z) if layer.normalized else z
    slopes = None if phi is None else _slope(phi, entering.reshape(-1, z.shape[-1]))
    nan = jnp.float32(jnp.nan)
    # What is not finite is neither dead nor saturated, and a gradient through it no gradient.
    there = jnp.where(jnp.isfinite(flat).all(), 1.0, nan)
    return {
        "mean": flat.mean(),
        "second_moment": (flat**2).mean(),
        "input_variance": units.var(0).mean(),
        "unit_variance": units.mean(0).var(),
        "correlation": (cosine.sum() - jnp.trace(cosine)) / (batch * (batch - 1)),
        "effective_rank": jnp.trace(spectrum) ** 2 / jnp.maximum((spectrum**2).sum(), _TINY),
        "saturated": nan if slopes is None else there * (slopes <= SATURATED).mean(),
        "dead": nan if slopes is None else there * (slopes <= 0).all(0).mean(),
        # The loss is a mean over the batch; one example's gradient is batch times as large.
        "gradient_norm": there * batch**0.5 * _norms(gradient[None])[0],
    }


def _standardized(z: Array) -> Array:
    """LayerNorm at the start, scale 1 and shift 0."""
    centred = z - z.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6)


def _slope(phi: Any, z: Array) -> Array:
    """|φ′(z)| as a share of its largest value on [−10, 10]."""
    derivative = jax.vmap(jax.grad(lambda u: phi(u)))
    largest = jnp.abs(derivative(jnp.linspace(-10.0, 10.0, 2001))).max()
    return jnp.abs(derivative(z.ravel())).reshape(z.shape) / largest


def _weights(
    layers: tuple[Layer, ...], leaves: dict[str, Any], gradients: dict[str, Any]
) -> list[dict[str, Array]]:
    """What concerns parameters alone, one vmapped computation for all layers of a shape."""
    alike: dict[Any, list[int]] = {}
    for place, layer in enumerate(layers):
        bias = None if layer.bias is None else leaves[layer.bias].shape
        shape = leaves[layer.kernel].shape, layer.kernel_unit_axis
        alike.setdefault((shape, bias), []).append(place)
    rows: list[dict[str, Array]] = [{} for _ in layers]
    for ((_, axis), bias), places in alike.items():
        chosen = [layers[place] for place in places]

        def stacked(tree: dict[str, Any], what: str, chosen: list[Layer] = chosen) -> Array:
            return jnp.stack([tree[getattr(layer, what)] for layer in chosen])

        kernel, biases = stacked(leaves, "kernel"), None
        norms = {"bias_gradient_norm": jnp.full(len(places), jnp.nan)}
        if bias is not None:
            biases = stacked(leaves, "bias")
            norms = {"bias_gradient_norm": _norms(stacked(gradients, "bias"))}
        # One layer after the other: each is gone through many times, and stays in the cache.
        equal, near = jax.lax.map(
            lambda layer: (duplicate_units(*layer), _near_duplicates(*layer)),
            (jnp.moveaxis(kernel, axis + (axis >= 0), -1), biases),
        )
        norms |= {
            "kernel_norm": _norms(kernel),
            "kernel_gradient_norm": _norms(stacked(gradients, "kernel")),
            "duplicates": equal,
            "near_duplicates": near,
        }
        for row, place in enumerate(places):
            rows[place] = {name: value[row] for name, value in norms.items()}
    return rows


def _near_duplicates(kernel: Array, bias: Array | None) -> Array:
    # n units of d weights each have about n · 0.01^d others this close by chance.
    if kernel.size // kernel.shape[-1] < 4:
        return jnp.zeros((), jnp.float32)
    return duplicate_units(kernel, bias, 0.01, projections=16)


def _norms(stack: Array) -> Array:
    """Frobenius norms over all but the first axis, in float32; entries may be tiny or huge.

    Gradients of deep networks reach 1e-30, whose squares float32 does not hold.
    """
    flat = stack.astype(jnp.float32).reshape(stack.shape[0], -1)
    largest = jnp.abs(flat).max(axis=1, keepdims=True)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    return scale[:, 0] * jnp.linalg.norm(flat / scale, axis=1)


def _at(values: dict[str, Array], index: int | None) -> dict[str, Array]:
    return values if index is None else {name: value[index] for name, value in values.items()}
