"""Makes one training step of one network: forward, loss, backward, then update or freeze."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from jinit import errors
from jinit.clipping import _statistics
from jinit.clipping._norms import norm
from jinit.engine._convolutions import with_fast_convolutions
from jinit.engine._products import with_fast_products
from jinit.train._accumulated import mean
from jinit.train._evaluated import evaluated
from jinit.train.losses import at
from jinit.typing import Apply, Array, Key, LossFunction, PyTree

T = TypeVar("T")


class Status(enum.IntEnum):
    """Whether a run is still finite, or which value first was not.

    Attributes:
      RUNNING: 0, every step so far was finite.
      LOSS_NOT_FINITE: 1, the forward pass overflowed: use smaller weights or a lower learning rate.
      GRADIENT_NOT_FINITE: 2, the backward pass overflowed: clip, or use smaller weights.

    >>> Status(1).name
    'LOSS_NOT_FINITE'
    """

    RUNNING = 0
    LOSS_NOT_FINITE = 1
    GRADIENT_NOT_FINITE = 2


@dataclass(frozen=True)
class StatefulApply:
    """A network with state (BatchNorm), noise (dropout) or two modes, as two pure functions.

    Attributes:
      train: ``train(params, state, x, key) -> (outputs, state)``, for training steps.
      evaluate: ``evaluate(params, state, x) -> outputs``, for tests.
      state: the state before the first step, a pytree; () if there is none.
      key: step i of a run draws its noise from ``fold_in(key, i)``; None without noise.

    >>> def train(w, mean, x, key):
    ...     return w * (x - x.mean()), 0.9 * mean + 0.1 * x.mean()
    >>> centred = StatefulApply(train, lambda w, mean, x: w * (x - mean), state=jnp.zeros(()))
    >>> centred.starting(jnp.ones(()), None).state
    Array(1., dtype=float32)
    """

    train: Callable[[PyTree, PyTree, Array, Key | None], tuple[Array, PyTree]]
    evaluate: Callable[[PyTree, PyTree, Array], Array]
    state: PyTree = field(default=(), compare=False)
    key: Key | None = field(default=None, compare=False)

    def starting(self, state: PyTree, key: Key | None) -> StatefulApply:
        """The same network with another first state and another key."""
        return replace(self, state=state, key=key)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """The state of one run between two steps.

    Attributes:
      params: the parameters, any pytree.
      opt_state: the optimizer's state, a pytree.
      step: int32 scalar, number of completed steps, skipped ones included; constant once the run
        is frozen.
      status: int32 scalar, a :class:`Status`.
      model_state: what the network carries from step to step, such as running statistics; () if
        the network is a plain ``apply(params, x)``.
      key: the key of the network's noise, constant; None without noise.

    >>> TrainState.create({"w": jnp.zeros(2)}, optax.sgd(0.1)).status.dtype
    dtype('int32')
    """

    params: PyTree
    opt_state: PyTree
    step: Array
    status: Array
    model_state: PyTree = ()
    key: Key | None = None

    @classmethod
    def create(
        cls,
        params: PyTree,
        optimizer: optax.GradientTransformation,
        apply: Apply | StatefulApply | None = None,
    ) -> TrainState:
        """The state before the first step.

        Args:
          params: initial parameters.
          optimizer: the optax transform that will train them.
          apply: the network; only a :class:`StatefulApply` is needed here.

        >>> int(TrainState.create({"w": jnp.zeros(2)}, optax.sgd(0.1)).step)
        0
        """
        none = jnp.zeros((), jnp.int32)
        if not isinstance(apply, StatefulApply):
            return cls(params, optimizer.init(params), none, none)
        return cls(params, optimizer.init(params), none, none, apply.state, apply.key)

    @property
    def evaluated(self) -> PyTree:
        """The parameters to evaluate and to keep: ``params``, or of schedule-free an average."""
        return evaluated(self.params, self.opt_state)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StepMetrics:
    """Loss and gradient norm of one minibatch, at the parameters before the update.

    Attributes:
      loss: float32 scalar, mean over the batch.
      gradient_norm: float32 scalar, ‖g‖₂ over all leaves, before clipping.

    >>> float(StepMetrics(jnp.ones(()), jnp.zeros(())).loss)
    1.0
    """

    loss: Array
    gradient_norm: Array


Step = Callable[[TrainState, tuple[Array, Array]], tuple[TrainState, StepMetrics]]


def make_train_step(
    apply: Apply | StatefulApply,
    loss: LossFunction,
    optimizer: optax.GradientTransformation,
    accumulate: int = 1,
) -> Step:
    """A pure step; ``jax.jit(jax.vmap(step, in_axes=(0, None)))`` trains many networks.

    The first step whose loss or gradient is not finite sets the status and freezes the run: neither
    that step nor later ones change anything else. Under vmap the bits of other runs do not change.

    If the optimizer contains a clip with ``on_nonfinite="skip"`` or ``"zero"``, or
    ``optax.apply_if_finite``, such a step costs that step only: the optimizer decides what it
    does, and the run is frozen only before a step that would make a parameter NaN or inf.

    If the optimizer contains :func:`jinit.clipping.clip_per_example`, it gets one gradient per
    example, of the loss of a batch with this example alone.

    Args:
      apply: ``apply(params, x) -> outputs``, x ``(batch, …)``, outputs ``(batch, k)``; or a
        :class:`StatefulApply`.
      loss: ``loss(outputs, y) -> scalar``, the mean over the batch; or a
        :class:`jinit.train.losses.Loss`, which may also take the parameters and a key.
      optimizer: any optax transform; numbers inside it may be traced.
      accumulate: number of equal parts of the batch, ≥ 1; the gradient is the mean of the parts'
        gradients, computed one after the other with the memory of one. Default 1. Batch statistics
        are those of a part; each part has noise of its own.

    Returns:
      ``step(state, (x, y)) -> (state, StepMetrics)``.

    Raises:
      ValueError: when the step is traced: parts of unequal sizes, or parts of per-example clips.

    >>> squared, sgd = lambda z, y: ((z - y) ** 2).mean(), optax.sgd(0.5)
    >>> step = make_train_step(lambda w, x: x * w, squared, sgd)
    >>> state = TrainState.create(jnp.zeros(()), sgd)
    >>> float(step(state, (jnp.ones(1), jnp.ones(1)))[0].params)
    1.0
    """

    update = optax.with_extra_args_support(optimizer).update

    def step(state: TrainState, batch: tuple[Array, Array]) -> tuple[TrainState, StepMetrics]:
        x, y = batch
        if _statistics.wants_examples(state.opt_state):
            if accumulate > 1:
                raise errors.refusal(
                    "accumulate",
                    accumulate,
                    "1 with clip_per_example, which needs the gradients of all examples at once",
                    "batch_size, or another clip",
                )
            value, gradient, gradient_norm = _per_example(apply, loss, state, x, y)
            model_state = state.model_state
        else:
            value, gradient, model_state = _accumulated(accumulate, apply, loss, state, x, y)
            gradient_norm = norm(gradient)
        updates, opt_state = update(
            gradient, state.opt_state, state.params, value=value, grad=gradient
        )
        params = optax.apply_updates(state.params, updates)
        if _statistics.nonfinite_updates(opt_state) is None:
            outcome = _status(value, gradient_norm)
        else:
            outcome = _status(jnp.zeros_like(value), norm(params))
            # The forward pass of a skipped step may have put NaN or inf into the state.
            finite = _status(value, gradient_norm) == Status.RUNNING
            model_state = jax.tree.map(_keep(finite), model_state, state.model_state)
        status = jnp.where(state.status == Status.RUNNING, outcome, state.status)
        running = status == Status.RUNNING
        keep = _keep(running)
        after = TrainState(
            params=jax.tree.map(keep, params, state.params),
            # A traced float32 momentum would widen a bfloat16 state; a scan needs constant dtypes.
            opt_state=jax.tree.map(
                lambda new, old: keep(_like(new, old), old), opt_state, state.opt_state
            ),
            step=state.step + running.astype(jnp.int32),
            status=status,
            model_state=jax.tree.map(
                lambda new, old: keep(_like(new, old), old), model_state, state.model_state
            ),
            key=state.key,
        )
        return after, StepMetrics(value.astype(jnp.float32), gradient_norm.astype(jnp.float32))

    return step


def _per_example(
    apply: Apply | StatefulApply, loss: LossFunction, state: TrainState, x: Array, y: Array
) -> tuple[Array, PyTree, Array]:
    """Mean loss; gradients with a leading axis of examples; the norm of their mean."""
    if isinstance(apply, StatefulApply) and jax.tree.leaves(state.model_state):
        raise errors.refusal(
            "clip_per_example",
            "a network with state, whose examples share statistics",
            "networks that treat each example alone",
            "use LayerNorm or GroupNorm, or another clip",
        )
    numbers = jnp.arange(len(x))

    def one(params: PyTree, x: Array, y: Array, number: Array) -> Array:
        if not isinstance(apply, StatefulApply):
            return at(loss, params, state.step, number)(apply(params, x[None]), _alone(y))
        of_step = None if state.key is None else jax.random.fold_in(state.key, state.step)
        key = None if of_step is None else jax.random.fold_in(of_step, number)
        outputs = apply.train(params, state.model_state, x[None], key)[0]
        return at(loss, params, state.step, number)(outputs, _alone(y))

    each = jax.vmap(jax.value_and_grad(with_fast_convolutions(one)), in_axes=(None, 0, 0, 0))
    values, gradients = each(state.params, x, y, numbers)
    mean = jax.tree.map(lambda g: jnp.mean(g, axis=0), gradients)
    return jnp.mean(values), gradients, norm(mean)


def _alone(y: PyTree) -> PyTree:
    """The targets of one example as a batch of it."""
    return jax.tree.map(lambda target: target[None], y)


def _accumulated(
    parts: int,
    apply: Apply | StatefulApply,
    loss: LossFunction,
    state: TrainState,
    x: Array,
    y: Array,
) -> tuple[Array, PyTree, PyTree]:
    if parts == 1:
        return _value_and_gradient(apply, loss, state, x, y)

    def of_part(
        model_state: PyTree, x: Array, y: Array, part: Array
    ) -> tuple[Array, PyTree, PyTree]:
        return _value_and_gradient(apply, loss, replace(state, model_state=model_state), x, y, part)

    return mean(of_part, parts, state.params, state.model_state, x, y)


def _value_and_gradient(
    apply: Apply | StatefulApply,
    loss: LossFunction,
    state: TrainState,
    x: Array,
    y: Array,
    *part: Array,
) -> tuple[Array, PyTree, PyTree]:
    """The loss of a minibatch, its gradient, and the network's state after the forward pass.

    ``part`` is the part's number if the minibatch is one of several parts of a step.
    """
    if not isinstance(apply, StatefulApply):
        plain = apply
        value, gradient = _slope(
            lambda params: at(loss, params, state.step, *part)(plain(params, x), y)
        )(state.params)
        return value, gradient, state.model_state
    network = apply
    key = None if state.key is None else jax.random.fold_in(state.key, state.step)
    if key is not None and part:
        key = jax.random.fold_in(key, part[0])

    def objective(params: PyTree) -> tuple[Array, PyTree]:
        outputs, model_state = network.train(params, state.model_state, x, key)
        return at(loss, params, state.step, *part)(outputs, y), model_state

    (value, model_state), gradient = _slope(objective, has_aux=True)(state.params)
    return value, gradient, model_state


def _slope(
    objective: Callable[[PyTree], T], *, has_aux: bool = False
) -> Callable[[PyTree], tuple[T, PyTree]]:
    """``jax.value_and_grad`` in the forms that XLA computes fastest."""
    return with_fast_products(
        jax.value_and_grad(with_fast_convolutions(objective), has_aux=has_aux)
    )


def _like(new: Array, old: Array) -> Array:
    """``new`` as an array of the dtype of ``old``; a scan needs constant dtypes."""
    return jnp.asarray(new, old.dtype)


def _status(value: Array, gradient_norm: Array) -> Array:
    """The :class:`Status` after one step; the loss is checked before the gradient."""
    return jnp.where(
        jnp.isfinite(value),
        jnp.where(jnp.isfinite(gradient_norm), Status.RUNNING, Status.GRADIENT_NOT_FINITE),
        Status.LOSS_NOT_FINITE,
    ).astype(jnp.int32)


def _keep(running: Array) -> Callable[[Array, Array], Array]:
    """``keep(new, old)``: new while the run goes on, old once it is frozen."""
    return lambda new, old: jnp.where(running, new, old)
