"""Learns kernel norms before training: MetaInit by the gradient quotient, GradInit by the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from jinit import errors
from jinit._anew import anew
from jinit.calibrate._common import Trace, adjusted, by_kernel, check_number, class_outputs, opened
from jinit.frameworks._capture import by_path
from jinit.typing import Array, Key, ModelLike, PyTree

# Adam's learning rate for ln ‖W‖ in gradinit: a factor of e takes about thirty steps.
_ADAM = 0.03
# Logarithms of the common factors on all kernels from which metainit chooses its start.
_STARTS = (0.0, -0.25, -0.5, -0.75, -1.0, -1.25, -1.5)
# Log-norms, velocity or Adam's state, best log-norms so far, smallest value so far.
_Descent: TypeAlias = tuple[Array, Array, Array, Array]
_AdamState: TypeAlias = tuple[Array, optax.OptState, Array, Array]


def gradient_quotient(
    loss: Callable[[PyTree], Array], params: PyTree, *, epsilon: float = 1e-5
) -> Array:
    """The gradient quotient GQ = mean |(g − Hg)/(g + ε sign g) − 1| over parameters.

    GQ measures how much a step along the gradient g changes the gradient. H is the Hessian.
    Parameters with g = 0 and Hg = 0 (weights of a dead unit) are left out of the mean.

    Args:
      loss: ``loss(params) -> scalar``, twice differentiable.
      params: the point at which g and H are taken.
      epsilon: ε > 0, which keeps the quotient finite where g is 0.

    Returns:
      A scalar ≥ 0; about 0 for a linear loss.

    Reference: Dauphin & Schoenholz 2019, equation 1.

    >>> round(float(gradient_quotient(lambda p: (3 * p).sum(), jnp.ones(4))), 4)
    0.0
    """
    gradient = jax.grad(loss)
    g, hg = jax.jvp(gradient, (params,), (gradient(params),))

    def sums(g: Array, hg: Array) -> tuple[Array, Array]:
        moves = (g != 0) | (hg != 0)
        quotient = (g - hg) / (g + epsilon * jnp.where(g >= 0, 1.0, -1.0)) - 1
        return jnp.where(moves, jnp.abs(quotient), 0.0).sum(), moves.sum()

    pairs = [sums(*leaves) for leaves in zip(*map(jax.tree.leaves, (g, hg)), strict=True)]
    total, count = (sum(column) for column in zip(*pairs, strict=True))
    return jnp.asarray(total) / jnp.maximum(count, 1)


def metainit(
    key: Key,
    model: ModelLike,
    params: PyTree,
    batch: Array,
    *,
    classes: int | None = None,
    steps: int = 200,
    learning_rate: float = 0.005,
    momentum: float = 0.9,
) -> tuple[PyTree, Trace]:
    """Learns the norms of all kernels by signed gradient descent on the gradient quotient GQ.

    No labels are needed. Each kernel keeps its direction; its log-norm moves against the sign of
    ∂GQ/∂ ln‖W‖. In a chaotic network this sign is uninformative. Descent therefore starts at the
    first of the common factors 1, e^−¼, …, e^−1.5 at which GQ is at most half its initial value,
    or at 1 if there is none.

    Args:
      key: draws random labels.
      model: as in :func:`jinit.calibrate.lsuv`; φ must be smooth (φ″ = 0 for ReLU).
      params: its parameters.
      batch: ``(batch, …)``; the paper uses N(0, 1).
      classes: number of different random labels, from 2 to the number of outputs. A single output
        is the log-odds of 2 classes. None takes all classes.
      steps: number of steps, ≥ 1.
      learning_rate: step of ln‖W‖, > 0.
      momentum: in [0, 0.999].

    Returns:
      The parameters with the smallest GQ of all steps, and a :class:`Trace` with one entry, GQ;
      converged if GQ fell to half or less.

    Raises:
      ValueError: a number out of range; outputs other than ``(batch, k)`` or ``(batch,)``; as
        :func:`jinit.frameworks.capture`.
      TypeError: ``key`` is not a PRNG key.

    Reference: Dauphin & Schoenholz 2019, algorithm 1 (here in ln‖W‖, from a chosen start).

    >>> from jinit.models import MLP
    >>> x = jax.random.normal(jax.random.key(1), (16, 8))
    >>> model = MLP(features=(16, 16, 4), activation="tanh")
    >>> params = jax.tree.map(lambda w: 3 * w, model.init(jax.random.key(0), x)["params"])
    >>> _, trace = metainit(jax.random.key(2), model, params, x, steps=60)
    >>> bool(trace.after[0] < trace.before[0])
    True
    """
    errors.check_integer("steps", steps, low=1, high=10**6, fix="use 200")
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

    def step(state: _Descent, _: None) -> tuple[_Descent, None]:
        log, speed, best, least = state
        value, slope = jax.value_and_grad(quotient)(log)
        better = value < least
        best, least = jnp.where(better, log, best), jnp.where(better, value, least)
        # A NaN slope counts as 0; the best log-norms so far are kept.
        speed = momentum * speed - learning_rate * jnp.sign(jnp.nan_to_num(slope))
        return (log + speed, speed, best, least), None

    starts = jnp.broadcast_to(jnp.asarray(_STARTS)[:, None], (len(_STARTS), len(kernels)))
    values = jax.lax.map(quotient, starts)
    # The first start that halves GQ, not the smallest GQ: GQ is smallest where all signals vanish.
    first = jnp.argmax(values <= values[0] / 2)
    start = starts[first], jnp.zeros(len(kernels)), starts[first], values[first]
    (_, _, best, least), _ = jax.lax.scan(step, start, None, length=steps)
    before, after = values[:1], least[None]
    trace = Trace(before, after, jnp.full(1, steps, jnp.int32), after <= before / 2)
    return scaled(best), trace


def gradinit(
    key: Key,
    model: ModelLike,
    params: PyTree,
    batch: Array,
    loss: Callable[[Array], Array],
    *,
    learning_rate: float = 0.1,
    gradient_norm: float = 1.0,
    steps: int = 100,
) -> tuple[PyTree, Trace]:
    """Learns the norms of all kernels so that the loss after one step of SGD is smallest.

    With g = ∂L/∂θ, Adam minimizes L(θ − η g) over ln‖W_k‖ if ‖g‖ ≤ γ, and ‖g‖ if ‖g‖ > γ.

    Args:
      key: unused.
      model: as in :func:`jinit.calibrate.lsuv`.
      params: its parameters.
      batch: ``(batch, …)``.
      loss: ``loss(outputs) -> scalar`` for this batch.
      learning_rate: η of the SGD step, > 0.
      gradient_norm: γ, the largest ‖g‖ of a solution, > 0.
      steps: number of steps of Adam, ≥ 1.

    Returns:
      The parameters with the smallest L(θ − η g) of all steps with ‖g‖ ≤ γ (the last parameters if
      there is no such step), and a :class:`Trace` with one entry, L(θ − η g); converged if it fell.

    Raises:
      ValueError: a number out of range; a loss that does not return one real number; as
        :func:`jinit.frameworks.capture`.
      TypeError: a loss that is not callable.

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
    errors.check_integer("steps", steps, low=1, high=10**6, fix="use 100")
    for name, value in (("learning_rate", learning_rate), ("gradient_norm", gradient_norm)):
        check_number(name, value, low=0.0, open_low=True, fix="use a positive number")
    captured = opened(model, params, batch)
    kernels = list(by_kernel(captured))

    def scaled(log: Array) -> PyTree:
        return adjusted(params, dict(zip(kernels, jnp.exp(log), strict=True)))

    def loss_of(params: PyTree) -> Array:
        return jnp.asarray(loss(captured.apply(params, batch, None)[0]))

    _check_loss(loss_of, params)

    def after_step(log: Array) -> tuple[Array, Array]:
        theta = scaled(log)
        g = jax.grad(loss_of)(theta)
        size = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in by_path(g).values()) + 1e-30)
        return loss_of(jax.tree.map(lambda w, d: w - learning_rate * d, theta, g)), size

    def objective(log: Array) -> tuple[Array, tuple[Array, Array]]:
        value, size = after_step(log)
        return jnp.where(size > gradient_norm, size, value), (value, size)

    adam = optax.adam(_ADAM)

    def step(state: _AdamState, _: None) -> tuple[_AdamState, None]:
        log, moments, best, least = state
        (_, (value, size)), slope = jax.value_and_grad(objective, has_aux=True)(log)
        better = (value < least) & (size <= gradient_norm)
        best, least = jnp.where(better, log, best), jnp.where(better, value, least)
        updates, moments = adam.update(jnp.nan_to_num(slope), moments)
        return (log + jnp.asarray(updates), moments, best, least), None

    zero = jnp.zeros(len(kernels))
    start = zero, adam.init(zero), zero, jnp.asarray(jnp.inf)
    (last, _, best, least), _ = jax.lax.scan(step, start, None, length=steps)
    chosen = jnp.where(jnp.isfinite(least), best, last)
    before, after = after_step(zero)[0][None], after_step(chosen)[0][None]
    trace = Trace(before, after, jnp.full(1, steps, jnp.int32), after < before)
    return scaled(chosen), trace


def _check_loss(loss_of: Callable[[PyTree], Array], params: PyTree) -> None:
    """Refuses a loss that does not map the outputs to one real number."""
    try:
        value = jax.eval_shape(anew(loss_of), params)
    except (TypeError, ValueError, AttributeError) as problem:
        if isinstance(problem, errors.Refusal):
            raise
        value, got = None, str(problem).partition("\n")[0]
    else:
        got = f"{value.dtype}{list(value.shape)}"
    if value is None or value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise errors.refusal("loss", got, "one real number", "take the mean over the batch")
