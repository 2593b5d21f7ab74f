"""Kernel norms learnt before training: by the gradient quotient, or by the loss after one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jinit import errors
from jinit.calibrate._common import Trace, adjusted, by_kernel, check_number, class_outputs, opened
from jinit.frameworks._capture import by_path
from jinit.typing import Array, Key, PyTree

# Of ln ‖W‖ in gradinit: a factor of e takes some thirty steps.
_ADAM = 0.03
# ln of the factors on all kernels from which metainit may start.
_STARTS = (0.0, -0.25, -0.5, -0.75, -1.0, -1.25, -1.5)


def gradient_quotient(
    loss: Callable[[PyTree], Array], params: PyTree, *, epsilon: float = 1e-5
) -> Array:
    """GQ = mean |(g − Hg)/(g + ε sign g) − 1|: how much a gradient changes along itself.

    Args:
      loss: ``loss(params) -> scalar``, twice differentiable.
      params: where.
      epsilon: keeps the quotient finite where g is 0, > 0.

    Returns:
      A scalar ≥ 0; 0 for a linear loss.

    Reference: Dauphin & Schoenholz 2019, equation 1.

    >>> round(float(gradient_quotient(lambda p: (3 * p).sum(), jnp.ones(4))), 4)
    0.0
    """
    gradient = jax.grad(loss)
    g, hg = jax.jvp(gradient, (params,), (gradient(params),))

    def parts(g: Array, hg: Array) -> tuple[Array, Array]:
        # What has no gradient and gets none (a dead unit's weights) has no part in the mean.
        moves = (g != 0) | (hg != 0)
        quotient = (g - hg) / (g + epsilon * jnp.where(g >= 0, 1.0, -1.0)) - 1
        return jnp.where(moves, jnp.abs(quotient), 0.0).sum(), moves.sum()

    pairs = [parts(*leaves) for leaves in zip(*map(jax.tree.leaves, (g, hg)), strict=True)]
    total, count = (sum(column) for column in zip(*pairs, strict=True))
    return jnp.asarray(total) / jnp.maximum(count, 1)


def metainit(
    key: Key,
    model: Any,
    params: PyTree,
    batch: Array,
    *,
    classes: int | None = None,
    steps: int = 200,
    learning_rate: float = 0.005,
    momentum: float = 0.9,
) -> tuple[PyTree, Trace]:
    """Norms of all kernels by signed gradient descent on the gradient quotient; no labels needed.

    Each kernel keeps its direction; its log-norm moves against the sign of ∂GQ/∂ ln‖W‖. In a
    chaotic network that sign says nothing: it starts at the first common factor of 1, e^−¼, …,
    e^−1.5 at which GQ is half of what it was; at 1 where none is.

    Args:
      key: of the random labels.
      model, params: as :func:`jinit.calibrate.lsuv`; φ must be smooth (for ReLU φ″ is 0).
      batch: ``(batch, …)``; the paper uses N(0, 1).
      classes: number of random labels, 2 to the number of outputs (2 of one output, by its
        log-odds); None: all of them.
      steps: ≥ 1. learning_rate: of ln‖W‖, > 0. momentum: in [0, 1).

    Returns:
      Parameters of the smallest quotient that was met, and a :class:`Trace` of one entry, GQ before
      and after; converged if it fell by half.

    Raises:
      ValueError: a number out of range, outputs that are not ``(batch, outputs)``; as
        :func:`jinit.frameworks.capture`. TypeError: no key.

    Reference: Dauphin & Schoenholz 2019, algorithm 1 (with ln‖W‖ in place of ‖W‖ and a start).

    >>> from jinit.models import MLP
    >>> x = jax.random.normal(jax.random.key(1), (16, 8))
    >>> model = MLP(features=(16, 16, 4), activation="tanh")
    >>> params = jax.tree.map(lambda w: 3 * w, model.init(jax.random.key(0), x)["params"])
    >>> _, trace = metainit(jax.random.key(2), model, params, x, steps=60)
    >>> bool(trace.after[0] < trace.before[0])
    True
    """
    errors.check_integer("steps", steps, low=1, fix="use 200")
    check_number("learning_rate", learning_rate, low=0.0, open_low=True, fix="use 0.005")
    check_number("momentum", momentum, low=0.0, high=0.999, fix="use 0.9")
    captured = opened(model, params, batch)
    outputs = class_outputs(captured, params, batch)
    if classes is None:
        classes = max(2, outputs)
    errors.check_integer("classes", classes, low=2, high=max(2, outputs), fix="one per output")
    errors.check_key(key)
    labels = jax.random.randint(key, batch.shape[:1], 0, classes)
    kernels = list(by_kernel(captured))

    def loss(params: PyTree) -> Array:
        z = captured.apply(params, batch, None)[0]
        if outputs == 1:
            return optax.sigmoid_binary_cross_entropy(z.reshape(labels.shape), labels).mean()
        return optax.softmax_cross_entropy_with_integer_labels(z, labels).mean()

    def scaled(log: Array) -> PyTree:
        return adjusted(params, dict(zip(kernels, jnp.exp(log), strict=True)))

    def quotient(log: Array) -> Array:
        return gradient_quotient(loss, scaled(log))

    def step(state: Any, nothing: None) -> tuple[Any, None]:
        log, speed, best, least = state
        value, slope = jax.value_and_grad(quotient)(log)
        better = value < least
        best, least = jnp.where(better, log, best), jnp.where(better, value, least)
        # NaN has no sign: such a network stays where it was best.
        speed = momentum * speed - learning_rate * jnp.sign(jnp.nan_to_num(slope))
        return (log + speed, speed, best, least), None

    starts = jnp.broadcast_to(jnp.asarray(_STARTS)[:, None], (len(_STARTS), len(kernels)))
    values = jax.lax.map(quotient, starts)
    # The smallest quotient would be that of a network in which everything vanishes.
    first = jnp.argmax(values <= values[0] / 2)
    start = starts[first], jnp.zeros(len(kernels)), starts[first], values[first]
    (_, _, best, least), _ = jax.lax.scan(step, start, None, length=steps)
    before, after = values[:1], least[None]
    trace = Trace(before, after, jnp.full(1, steps, jnp.int32), after <= before / 2)
    return scaled(best), trace


def gradinit(
    key: Key,
    model: Any,
    params: PyTree,
    batch: Array,
    loss: Callable[[Array], Array],
    *,
    learning_rate: float = 0.1,
    gradient_norm: float = 1.0,
    steps: int = 100,
) -> tuple[PyTree, Trace]:
    """Norms of all kernels that make the loss smallest after one step of SGD.

    Minimizes L(θ − η g) over ln‖W_k‖ by Adam while ‖g‖ ≤ γ, and ‖g‖ itself while it is larger.

    Args:
      key: not used.
      model, params: as :func:`jinit.calibrate.lsuv`.
      batch: ``(batch, …)``. loss: ``loss(outputs) -> scalar`` for this batch.
      learning_rate: η of the step, > 0. gradient_norm: γ, > 0.
      steps: of Adam, ≥ 1.

    Returns:
      Parameters of the smallest loss after the step that was met with ‖g‖ ≤ γ (or the last), and a
      :class:`Trace` of one entry, that loss before and after; converged if it fell.

    Raises:
      ValueError: a number out of range, a loss that is not one real number; as
        :func:`jinit.frameworks.capture`.

    Reference: Zhu et al. 2021, equation 1 and algorithm 1.

    >>> from jinit.models import MLP
    >>> from jinit.probes import cross_entropy
    >>> x = jax.random.normal(jax.random.key(1), (16, 8))
    >>> loss, model = cross_entropy(jnp.arange(16) % 4), MLP(features=(16, 16, 4))
    >>> params = jax.tree.map(lambda w: 3 * w, model.init(jax.random.key(0), x)["params"])
    >>> _, trace = gradinit(jax.random.key(2), model, params, x, loss)
    >>> bool(trace.after[0] < trace.before[0])
    True
    """
    if not callable(loss):
        raise errors.wrong_type(
            "loss", loss, "loss(outputs) -> scalar", "jinit.probes.cross_entropy(labels)"
        )
    errors.check_integer("steps", steps, low=1, fix="use 100")
    for name, value in (("learning_rate", learning_rate), ("gradient_norm", gradient_norm)):
        check_number(name, value, low=0.0, open_low=True, fix="use a positive number")
    captured = opened(model, params, batch)
    kernels = list(by_kernel(captured))

    def scaled(log: Array) -> PyTree:
        return adjusted(params, dict(zip(kernels, jnp.exp(log), strict=True)))

    def of(params: PyTree) -> Array:
        return jnp.asarray(loss(captured.apply(params, batch, None)[0]))

    _check_loss(of, params)

    def after_step(log: Array) -> tuple[Array, Array]:
        theta = scaled(log)
        g = jax.grad(of)(theta)
        size = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in by_path(g).values()) + 1e-30)
        return of(jax.tree.map(lambda w, d: w - learning_rate * d, theta, g)), size

    def objective(log: Array) -> tuple[Array, tuple[Array, Array]]:
        value, size = after_step(log)
        return jnp.where(size > gradient_norm, size, value), (value, size)

    adam = optax.adam(_ADAM)

    def step(state: Any, nothing: None) -> tuple[Any, None]:
        log, moments, best, least = state
        (_, (value, size)), slope = jax.value_and_grad(objective, has_aux=True)(log)
        better = (value < least) & (size <= gradient_norm)
        best, least = jnp.where(better, log, best), jnp.where(better, value, least)
        updates, moments = adam.update(jnp.nan_to_num(slope), moments)
        return (log + updates, moments, best, least), None

    zero = jnp.zeros(len(kernels))
    start = zero, adam.init(zero), zero, jnp.asarray(jnp.inf)
    (last, _, best, least), _ = jax.lax.scan(step, start, None, length=steps)
    chosen = jnp.where(jnp.isfinite(least), best, last)
    before, after = after_step(zero)[0][None], after_step(chosen)[0][None]
    trace = Trace(before, after, jnp.full(1, steps, jnp.int32), after < before)
    return scaled(chosen), trace


def _check_loss(of: Callable[[PyTree], Array], params: PyTree) -> None:
    """It takes the outputs and gives one real number."""
    try:
        found = jax.eval_shape(of, params)
    except (TypeError, ValueError, AttributeError) as problem:
        if isinstance(problem, errors.Refusal):
            raise
        found, got = None, str(problem).partition("\n")[0]
    else:
        got = f"{found.dtype}{list(found.shape)}"
    if found is None or found.shape or not jnp.issubdtype(found.dtype, jnp.floating):
        raise errors.refusal("loss", got, "one real number", "the mean over the batch")
