"""Trains one network in one ``lax.scan``: minibatches, steps and evaluations on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jinit import clipping
from jinit.clipping import _statistics
from jinit.data import Dataset
from jinit.train._batches import Batches
from jinit.train._config import FitConfig
from jinit.train._early import scan_until
from jinit.train._positions import fitted
from jinit.train._precision import computing, kept
from jinit.train._step import StatefulApply, Status, TrainState, make_train_step
from jinit.train.losses import Loss
from jinit.typing import Apply, Array, Key, PyTree

# Folded into a run's key for the noise of a loss; the numbers of steps are smaller.
_OF_LOSS = 2**32 - 1


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Progress:
    """The scan's carry besides the training state: scalars.

    Attributes:
      loss_sum: float32, sum of the minibatch losses since the last evaluation.
      gradient_norm: float32, norm of the last step's gradient, before clipping.
      steps_to_target: int32, −1 until the target is reached.
    """

    loss_sum: Array
    gradient_norm: Array
    steps_to_target: Array


_Carry: TypeAlias = tuple[TrainState, _Progress, Array | tuple[()]]
"""The scan's carry: the run, what is measured, and the order of the examples in the epoch."""


def fit(
    params: PyTree,
    data: Dataset,
    key: Key,
    *,
    apply: Apply | StatefulApply,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    config: FitConfig,
    watch: Callable[[PyTree], PyTree] | None = None,
) -> tuple[TrainState, dict[str, Any]]:
    """Trains one network; ``jax.vmap`` over ``params`` and ``key`` trains many.

    Step i draws its minibatch with ``fold_in(key, i)``, or epoch e its order of the examples with
    ``fold_in(key, e)``, so that two runs with the same key see the same examples in the same order,
    whatever their weights.

    Args:
      params: initial parameters.
      data: the data set.
      key: PRNG key of the data order.
      apply, loss, optimizer: as in :func:`make_train_step`; numbers inside the optimizer may be
        traced. A :class:`StatefulApply` starts from its own ``state`` and draws noise from its own
        ``key``; evaluations use its ``evaluate``.
      config: steps, batch size, sampling, evaluations and target accuracy.
      watch: ``watch(params) -> pytree`` of arrays, called at every evaluation, for example a probe
        of the parameters. The result does not influence the run. Default None.

    Returns:
      The final :class:`TrainState` and a dict of metrics. Scalars:

      - ``train_loss``, ``train_accuracy``, ``test_loss``, ``test_accuracy``: values of the final
        parameters on the whole training or test set;
      - ``steps_to_target``: first evaluated step that reaches the target of ``config``, −1 if none
        does; under ``stop_at_target`` the run ends there, the values are those of this step, and
        the curves are NaN after it;
      - ``status``: a :class:`Status`;
      - ``first_bad_step``: first step whose loss or gradient is not finite, counted from 1; −1 if
        none; steps + 1 if only the final training loss is not finite;
      - ``gradient_norm``: norm of the last step's gradient, before clipping;
      - ``clip_fraction``: share of updates that the clip changed, NaN without a clip;
      - ``skipped``: number of steps whose gradient was not finite and which the optimizer skipped
        or repaired (see :func:`make_train_step`); 0 without such an optimizer.

      If the data has a validation set: ``best_step``, the evaluated step of the least validation
      loss (−1 if none is finite), ``best_validation_loss``, and the test set's ``best_test_loss``
      and ``best_test_accuracy`` at that step; the curves ``curve_validation_loss`` and
      ``curve_validation_accuracy``.

      The loss's own metrics: ``test_NAME`` of the final parameters, ``curve_test_NAME``, and with a
      validation set ``best_test_NAME`` and ``curve_validation_NAME``.

      Curves ``(evaluations,)``: ``curve_train_loss`` (mean over the minibatches since the previous
      evaluation), ``curve_test_loss``, ``curve_test_accuracy``, ``curve_gradient_norm``. With
      ``watch``, ``watched`` holds its values with a leading axis ``(evaluations,)``.

    Raises:
      ValueError: draws with replacement of a batch larger than the training set; float64 without
        ``jax_enable_x64``.

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
    batches, loss = Batches.of(data, key, config), fitted(loss, data)
    if "key" in loss.takes and loss.key is None:
        loss = replace(loss, key=jax.random.fold_in(key, _OF_LOSS))
    params, apply = kept(params, config.precision), computing(apply, config.precision)
    step = make_train_step(apply, loss, optimizer, config.accumulate)
    goal = config.goal
    zero = jnp.zeros((), jnp.float32)

    def train(number: Array, carry: _Carry) -> _Carry:
        state, progress, order = carry
        (state, metrics), order = batches.each(number, order, lambda batch: step(state, batch))
        progress = _Progress(
            progress.loss_sum + metrics.loss, metrics.gradient_norm, progress.steps_to_target
        )
        return state, progress, order

    def segment(carry: _Carry, bounds: tuple[Array, Array]) -> tuple[_Carry, dict[str, Any]]:
        start, stop = bounds
        state, progress, order = jax.lax.fori_loop(start, stop, train, carry)
        curves: dict[str, Any] = {
            "curve_train_loss": progress.loss_sum / (stop - start),
            "curve_gradient_norm": progress.gradient_norm,
            **_held_out(state, data, apply, loss),
        }
        reached = goal.reached(curves[f"curve_{goal.metric}"]) & (progress.steps_to_target < 0)
        if watch is not None:
            curves["watched"] = watch(state.evaluated)
        first = jnp.where(reached, stop, progress.steps_to_target)
        return (state, _Progress(zero, progress.gradient_norm, first), order), curves

    stops = jnp.asarray(config.evaluation_steps(), jnp.int32)
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), stops[:-1]])
    begin = TrainState.create(params, optimizer, apply)
    idle = _Progress(zero, zero, jnp.full((), -1, jnp.int32))
    carry, bounds = _of_lane((begin, idle, batches.begin()), key), (starts, stops)
    last: Array | int = -1
    if config.stop_at_target:
        (state, progress, _), curves, last = scan_until(segment, carry, bounds, _is_done)
    else:
        (state, progress, _), curves = jax.lax.scan(segment, carry, bounds)
    on_train = _evaluate(state, batches.x, batches.y, apply, replace(loss, metrics=()))
    final = {name: curves[f"curve_test_{name}"][last] for name in measured(loss)}
    return state, {
        **_ending(state, progress, on_train),
        **{f"test_{name}": value for name, value in final.items()},
        **_best(curves, stops, loss),
        **curves,
    }


def _ending(
    state: TrainState, progress: _Progress, on_train: Mapping[str, Array]
) -> dict[str, Array]:
    """What the end of a run says, besides the test set."""
    # The update of the last step may overflow the parameters; no later step would notice.
    broken = (state.status == Status.RUNNING) & ~jnp.isfinite(on_train["loss"])
    status = jnp.where(broken, Status.LOSS_NOT_FINITE, state.status)
    return {
        "train_loss": on_train["loss"],
        "train_accuracy": on_train["accuracy"],
        "steps_to_target": progress.steps_to_target,
        "status": status,
        "first_bad_step": jnp.where(status == Status.RUNNING, -1, state.step + 1),
        "gradient_norm": progress.gradient_norm,
        "clip_fraction": _clip_fraction(state.opt_state),
        "skipped": _skipped(state.opt_state),
    }


def _of_lane(carry: _Carry, key: Key) -> _Carry:
    """The same carry, which ``jax.vmap`` over the key takes to differ by lane from the start.

    Zeros and counters are equal in all lanes before the first step, not after it. To find that out,
    ``vmap`` would transform the loops' bodies again and again, until nothing changes any more.
    """
    words = jax.random.key_data(key)
    true = jnp.sum(words[:0]) == 0  # XLA sees that this holds, and drops what follows

    def chosen(leaf: Array) -> Array:
        return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else _where(true, leaf)

    return jax.tree.map(chosen, carry)


def _where(true: Array, leaf: Array) -> Array:
    return jax.lax.select_n(jnp.broadcast_to(true, jnp.shape(leaf)), leaf, leaf)


def _is_done(carry: _Carry) -> Array:
    state, progress, _ = carry
    return (progress.steps_to_target >= 0) | (state.status != Status.RUNNING)


def _held_out(
    state: TrainState, data: Dataset, apply: Apply | StatefulApply, loss: Loss
) -> dict[str, Array]:
    """Loss, accuracy and metrics on the test set, and on the validation set if there is one."""
    sets = {"test": (data.x_test, data.y_test)}
    if data.x_validation is not None:
        sets["validation"] = (data.x_validation, data.y_validation)
    return {
        f"curve_{where}_{name}": value
        for where, (x, y) in sets.items()
        for name, value in _evaluate(state, x, y, apply, loss).items()
    }


def _best(curves: Mapping[str, Array], stops: Array, loss: Loss) -> dict[str, Array]:
    """The evaluation of the least validation loss, the earliest of equal ones."""
    if "curve_validation_loss" not in curves:
        return {}
    losses = curves["curve_validation_loss"]
    finite = jnp.where(jnp.isfinite(losses), losses, jnp.inf)
    best = jnp.argmin(finite)
    return {
        "best_step": jnp.where(finite[best] < jnp.inf, stops[best], -1),
        "best_validation_loss": losses[best],
        **{f"best_test_{name}": curves[f"curve_test_{name}"][best] for name in measured(loss)},
    }


def measured(loss: Loss) -> tuple[str, ...]:
    """The names of what :func:`_evaluate` returns."""
    return ("loss", "accuracy", *(name for name, _ in loss.metrics))


def _evaluate(
    state: TrainState, x: ArrayLike, y: PyTree, apply: Apply | StatefulApply, loss: Loss
) -> dict[str, Array]:
    """Loss, accuracy and the loss's metrics on a whole set: name → float32 scalar."""
    x, y = jnp.asarray(x), jax.tree.map(jnp.asarray, y)
    if isinstance(apply, StatefulApply):
        outputs = apply.evaluate(state.evaluated, state.model_state, x)
    else:
        outputs = apply(state.evaluated, x)
    value = loss.at(state.evaluated, _OF_LOSS)(outputs, y)
    return {
        "loss": value.astype(jnp.float32),
        "accuracy": loss.accuracy(outputs, y),
        **loss.further(outputs, y),
    }


def _skipped(opt_state: PyTree) -> Array:
    count = _statistics.nonfinite_updates(opt_state)
    return jnp.zeros((), jnp.int32) if count is None else jnp.asarray(count, jnp.int32)


def _clip_fraction(opt_state: PyTree) -> Array:
    counts = clipping.statistics(opt_state)
    if counts is None:
        return jnp.full((), math.nan, jnp.float32)
    return counts.clipped / jnp.maximum(counts.updates, 1)
