"""One whole training run as one ``lax.scan``: minibatches, steps and evaluations on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinit import clipping, errors
from jinit.data import Dataset
from jinit.train._step import Status, TrainState, make_train_step
from jinit.train.losses import Loss
from jinit.typing import Apply, Array, Key, PyTree

# The scan counts steps in int32; the curves of every run are kept in memory.
MOST_STEPS = 2**31 - 2
MOST_EVALUATIONS = 10_000


@dataclass(frozen=True)
class FitConfig:
    """What shapes the program of a run; numbers that only change values are arguments of ``fit``.

    Attributes:
      steps: optimizer steps.
      batch_size: examples per step, drawn with replacement.
      evaluations: points of the learning curves, log-spaced from step 1 to the last.
      target_accuracy: test accuracy that ``steps_to_target`` waits for, in (0, 1].
    """

    steps: int = 300
    batch_size: int = 32
    evaluations: int = 20
    target_accuracy: float = 0.9

    def __post_init__(self) -> None:
        most = MOST_STEPS
        errors.check_integer("steps", self.steps, low=1, high=most, fix="use 300")
        errors.check_integer("batch_size", self.batch_size, low=1, fix="use 32")
        most = MOST_EVALUATIONS
        errors.check_integer("evaluations", self.evaluations, low=1, high=most, fix="use 20")
        errors.check_number(
            "target_accuracy", self.target_accuracy, low=0.0, high=1.0, open_low=True, fix="try 0.9"
        )

    def evaluation_steps(self) -> tuple[int, ...]:
        """Completed steps at which the test set is evaluated; the last is ``steps``.

        >>> FitConfig(steps=100, evaluations=5).evaluation_steps()
        (1, 3, 10, 32, 100)
        """
        count = min(self.evaluations, self.steps)
        points = np.geomspace(1, self.steps, count) if count > 1 else ()
        return tuple(sorted({*(round(point) for point in points), self.steps}))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Progress:
    """What the scan carries beside the state: scalars."""

    loss_sum: Array
    gradient_norm: Array
    steps_to_target: Array


def fit(
    params: PyTree,
    data: Dataset,
    key: Key,
    *,
    apply: Apply,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    config: FitConfig,
    watch: Callable[[PyTree], PyTree] | None = None,
) -> tuple[TrainState, dict[str, Any]]:
    """Trains one network; vmap it for many.

    Step i draws its minibatch with ``fold_in(key, i)``, so that two runs with one key see the same
    examples in the same order whatever their weights.

    Args:
      params: initial parameters.
      data: the data set.
      key: PRNG key of the data order.
      apply, loss, optimizer: as in :func:`make_train_step`; the optimizer may hold traced numbers.
      config: the shape of the run.
      watch: ``watch(params) -> pytree`` of arrays, looked at wherever the test set is; it cannot
        change the run. Probes are such functions.

    Returns:
      The final :class:`TrainState`, and metrics: scalars ``train_loss``, ``train_accuracy``,
      ``test_loss``, ``test_accuracy`` (final parameters, whole sets), ``steps_to_target`` (first
      evaluated step whose test accuracy reaches the target, −1 never), ``status``
      (:class:`Status`), ``first_bad_step`` (1-based, −1 none; steps + 1 if the last update broke
      the weights), ``gradient_norm`` (last step),
      ``clip_fraction`` (share of steps that the clip changed, NaN without a clip), and curves
      ``(evaluations,)``:
      ``curve_train_loss`` (mean over the minibatches since the point before), ``curve_test_loss``,
      ``curve_test_accuracy``, ``curve_gradient_norm``; with ``watch`` its values under
      ``watched``, a leading ``(evaluations,)`` on each.

    Raises:
      ValueError: a batch larger than the training set.

    >>> from jinit import data, models, parameters
    >>> from jinit.train import losses, optimizers
    >>> xor, model = data.get("xor"), models.as_model(models.MLP((8, 1), "tanh"))
    >>> rules = {"*kernel": "he_normal", "*": "zeros"}
    >>> params = parameters.initialize(jax.random.key(0), model.shapes(xor.x_train[:1]), rules)
    >>> _, metrics = fit(
    ...     params, xor, jax.random.key(1), apply=model.apply, loss=losses.get(None, "binary"),
    ...     optimizer=optimizers.make("adam", 0.03), config=FitConfig(steps=200),
    ... )
    >>> bool(metrics["test_accuracy"] > 0.95)
    True
    """
    examples = data.x_train.shape[0]
    if config.batch_size > examples:
        raise errors.refusal(
            "batch_size", config.batch_size, f"at most {examples} training examples", "lower it"
        )
    x_train, y_train = jnp.asarray(data.x_train), jnp.asarray(data.y_train)
    step = make_train_step(apply, loss, optimizer)
    zero = jnp.zeros((), jnp.float32)

    def train(number: Array, carry: tuple[TrainState, _Progress]) -> tuple[TrainState, _Progress]:
        state, progress = carry
        chosen = minibatch(key, number, config.batch_size, examples)
        state, metrics = step(state, (_rows(x_train, chosen), _rows(y_train, chosen)))
        return state, _Progress(
            progress.loss_sum + metrics.loss, metrics.gradient_norm, progress.steps_to_target
        )

    def segment(
        carry: tuple[TrainState, _Progress], bounds: tuple[Array, Array]
    ) -> tuple[tuple[TrainState, _Progress], dict[str, Any]]:
        start, stop = bounds
        state, progress = jax.lax.fori_loop(start, stop, train, carry)
        test_loss, test_accuracy = _evaluate(state.params, data.x_test, data.y_test, apply, loss)
        reached = (test_accuracy >= config.target_accuracy) & (progress.steps_to_target < 0)
        curves: dict[str, Any] = {
            "curve_train_loss": progress.loss_sum / (stop - start),
            "curve_test_loss": test_loss,
            "curve_test_accuracy": test_accuracy,
            "curve_gradient_norm": progress.gradient_norm,
        }
        if watch is not None:
            curves["watched"] = watch(state.params)
        first = jnp.where(reached, stop, progress.steps_to_target)
        return (state, _Progress(zero, progress.gradient_norm, first)), curves

    stops = jnp.asarray(config.evaluation_steps(), jnp.int32)
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), stops[:-1]])
    begin = TrainState.create(params, optimizer)
    idle = _Progress(zero, zero, jnp.full((), -1, jnp.int32))
    (state, progress), curves = jax.lax.scan(segment, (begin, idle), (starts, stops))
    train_loss, train_accuracy = _evaluate(state.params, x_train, y_train, apply, loss)
    # An update can overflow the parameters on the last step, after which no step looks at them.
    broken = (state.status == Status.RUNNING) & ~jnp.isfinite(train_loss)
    status = jnp.where(broken, Status.LOSS_NOT_FINITE, state.status)
    return state, {
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "test_loss": curves["curve_test_loss"][-1],
        "test_accuracy": curves["curve_test_accuracy"][-1],
        "steps_to_target": progress.steps_to_target,
        "status": status,
        "first_bad_step": jnp.where(status == Status.RUNNING, -1, state.step + 1),
        "gradient_norm": progress.gradient_norm,
        "clip_fraction": _clip_fraction(state.opt_state),
        **curves,
    }


def minibatch(key: Key, number: Any, batch_size: int, examples: int) -> Array:
    """Example numbers ``(batch_size,)`` int32 of step ``number``: uniform, with replacement.

    ⌊u · examples / 2³²⌋ for 32 random bits u: no example is favoured by more than
    examples/2³². ``jax.random.randint`` draws twice the bits and takes two remainders, which costs
    5 % of a small network's step.

    >>> minibatch(jax.random.key(0), 7, 4, 100).shape
    (4,)
    """
    bits = jax.random.bits(jax.random.fold_in(key, number), (batch_size,), jnp.uint32)
    return _high_word(bits, examples).astype(jnp.int32)


def _high_word(bits: Array, factor: int) -> Array:
    """⌊bits · factor / 2³²⌋ in 32-bit arithmetic, by 16-bit halves; factor < 2³²."""
    high, low = bits >> 16, bits & 0xFFFF
    factor_high, factor_low = jnp.uint32(factor >> 16), jnp.uint32(factor & 0xFFFF)
    if factor < 2**16:
        return (high * factor_low + (low * factor_low >> 16)) >> 16
    cross, other = high * factor_low, low * factor_high
    carry = (low * factor_low >> 16) + (cross & 0xFFFF) + (other & 0xFFFF)
    return high * factor_high + (cross >> 16) + (other >> 16) + (carry >> 16)


def _rows(array: Array, chosen: Array) -> Array:
    return array.at[chosen].get(mode="promise_in_bounds")


def _evaluate(params: PyTree, x: Any, y: Any, apply: Apply, loss: Loss) -> tuple[Array, Array]:
    outputs, y = apply(params, jnp.asarray(x)), jnp.asarray(y)
    return loss(outputs, y).astype(jnp.float32), loss.accuracy(outputs, y)


def _clip_fraction(opt_state: PyTree) -> Array:
    found = clipping.statistics(opt_state)
    if found is None:
        return jnp.full((), math.nan, jnp.float32)
    return found.clipped / jnp.maximum(found.updates, 1)
