"""Holds the registry of losses: function to minimise, accuracy rule, and number of outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import optax

from jinit import _specs, errors
from jinit._registry import Registry
from jinit.data import Task
from jinit.data._arrays import CLASSES, WITHOUT_CLASSES
from jinit.train._correct import argmax_correct, sign_correct, signs_correct
from jinit.train._own_loss import LabelsCorrect, MetricFunction, OwnLossFunction, own_function
from jinit.typing import Array, Key, LossFunction, PyTree

__all__ = [
    "Loss",
    "get",
    "hinge",
    "mean_squared_error",
    "multiclass_hinge",
    "names",
    "register",
    "sigmoid_binary_cross_entropy",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]


@dataclass(frozen=True)
class Loss:
    """A loss function, its accuracy rule, and the number of outputs that it needs.

    Attributes:
      name: the name under which it is registered.
      function: ``function(outputs (batch, k), y) -> scalar``, the mean over the batch.
      correct: ``correct(outputs, y) -> (batch,)`` bool, True for an example classified correctly;
        None for regression. ``get("softmax_cross_entropy", "multiclass").correct`` compares the
        largest output, ``get("hinge", "binary").correct`` the sign.
      tasks: the tasks the loss can train: ``"multiclass"``, ``"binary"``, ``"multilabel"``,
        ``"regression"``.
      single_output: True if a binary task needs one output instead of one per class; default
        False.
      takes: which of ``"params"`` and ``"key"`` the function takes besides outputs and y.
      metrics: (name, ``metric(outputs, y) -> scalar``) of each further metric of a set.
      key: the key of the noise of a loss that takes one.
      training: what training steps minimise where it differs from ``function``; default None.
      ignores: whether labels of −1 are not counted by :meth:`accuracy`; default False.

    >>> loss = get("hinge", "binary")
    >>> float(loss(jnp.array([[0.25]]), jnp.array([1]))), loss.outputs(2)
    (0.75, 1)
    """

    name: str
    function: Callable[..., Array]
    correct: Callable[[Array, Array], Array | None] | None
    tasks: tuple[Task, ...]
    single_output: bool = False
    takes: tuple[str, ...] = ()
    metrics: tuple[tuple[str, MetricFunction], ...] = ()
    key: Key | None = field(default=None, compare=False)
    training: Callable[..., Array] | None = None
    ignores: bool = False

    def __str__(self) -> str:
        return self.name

    def __call__(self, outputs: Array, y: Array) -> Array:
        """The loss, a scalar: the mean over the batch.

        Args:
          outputs: outputs of the network, ``(batch, k)``; ``(batch,)`` if k = 1.
          y: classes ``(batch,)``, or targets ``(batch, k)``.

        Raises:
          ValueError: the loss takes parameters or a key.
        """
        if self.takes:
            raise errors.refusal(
                f"loss {self.name!r}",
                f"a function that takes {' and '.join(self.takes)}",
                "a function of outputs and y, where only these are known",
                "train with the loss, without calibrating by the loss",
            )
        return self.function(_columns(outputs), y)

    def at(self, params: PyTree, *numbers: Array | int) -> LossFunction:
        """The loss of outputs and y at these parameters.

        Args:
          params: the parameters, for a loss that takes them.
          numbers: folded into the key of a loss that takes one, such as the number of the step.
        """
        if not self.takes:
            return self
        extras: dict[str, PyTree] = {"params": params}
        if "key" in self.takes:
            key = jax.random.key(0) if self.key is None else self.key
            for number in numbers:
                key = jax.random.fold_in(key, number)
            extras["key"] = key
        given = {name: extras[name] for name in self.takes}
        return lambda outputs, y: self.function(_columns(outputs), y, **given)

    def outputs(self, dataset_outputs: int) -> int:
        """The number of outputs the network needs.

        Args:
          dataset_outputs: number of classes, or of regression targets.
        """
        return 1 if self.single_output else dataset_outputs

    def accuracy(self, outputs: Array, y: Array) -> Array:
        """Share of labels answered correctly, float32 scalar in [0, 1]; NaN for regression.

        A label is an example's, or a position's; of several labels of an example all must be right.
        """
        right = None if self.correct is None else self.correct(_columns(outputs), y)
        if right is None:
            return jnp.full((), jnp.nan, jnp.float32)
        if self.ignores:
            return jnp.mean(right, dtype=jnp.float32, where=y >= 0)
        return jnp.mean(right, dtype=jnp.float32)

    def further(self, outputs: Array, y: Array) -> dict[str, Array]:
        """The metrics besides loss and accuracy: name → float32 scalar."""
        given = _columns(outputs)
        return {name: jnp.asarray(f(given, y), jnp.float32) for name, f in self.metrics}


def at(loss: LossFunction, params: PyTree, *numbers: Array | int) -> LossFunction:
    """What a training step minimises: :meth:`Loss.at`; any other function as it is."""
    if not isinstance(loss, Loss):
        return loss
    if loss.training is not None:
        loss = dataclasses.replace(loss, function=loss.training)
    return loss.at(params, *numbers)


def _columns(outputs: Array) -> Array:
    """Outputs ``(batch,)`` as the one column that they are."""
    return outputs[:, None] if getattr(outputs, "ndim", 0) == 1 else outputs


def softmax_cross_entropy(outputs: Array, y: Array) -> Array:
    """Mean of −log softmax(outputs)_y, in nats.

    Args:
      outputs: logits ``(batch, classes)``.
      y: class numbers ``(batch,)``, int32.

    Returns:
      A scalar.

    Reference: Bishop 2006, equation 4.108.

    >>> round(float(softmax_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]))), 6)
    0.693147
    """
    # One-hot labels: the gather of optax's integer-label loss costs 7 % under vmap on CPU.
    return optax.softmax_cross_entropy(outputs, jax.nn.one_hot(y, outputs.shape[-1])).mean()


def sigmoid_binary_cross_entropy(outputs: Array, y: Array) -> Array:
    """Mean of −y log σ(z) − (1 − y) log(1 − σ(z)), in nats.

    Args:
      outputs: logits z, ``(batch, 1)``.
      y: classes 0 or 1, ``(batch,)``.

    Returns:
      A scalar.

    Reference: Bishop 2006, equation 4.90.

    >>> round(float(sigmoid_binary_cross_entropy(jnp.zeros((1, 1)), jnp.array([1]))), 6)
    0.693147
    """
    return optax.sigmoid_binary_cross_entropy(outputs[:, 0], y.astype(outputs.dtype)).mean()


def sigmoid_cross_entropy(outputs: Array, y: Array) -> Array:
    """Mean over examples and labels of −y log σ(z) − (1 − y) log(1 − σ(z)), in nats.

    Args:
      outputs: logits z, ``(batch, labels)``.
      y: ``(batch, labels)``, float, 1 for each label that the example has, else 0.

    Returns:
      A scalar.

    Reference: Bishop 2006, equation 4.90.

    >>> round(float(sigmoid_cross_entropy(jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]]))), 6)
    0.693147
    """
    return optax.sigmoid_binary_cross_entropy(outputs, y).mean()


def hinge(outputs: Array, y: Array) -> Array:
    """Mean of max(0, 1 − t z) with t = 2y − 1.

    Args:
      outputs: scores z, ``(batch, 1)``.
      y: classes 0 or 1, ``(batch,)``.

    Returns:
      A scalar.

    Reference: Cortes & Vapnik 1995.

    >>> float(hinge(jnp.array([[0.25]]), jnp.array([1])))
    0.75
    """
    return optax.hinge_loss(outputs[:, 0], 2.0 * y - 1.0).mean()


def multiclass_hinge(outputs: Array, y: Array) -> Array:
    """Mean of max(0, 1 + max_{j≠y} z_j − z_y).

    Args:
      outputs: scores z, ``(batch, classes)``.
      y: class numbers ``(batch,)``.

    Returns:
      A scalar.

    Reference: Crammer & Singer 2001, section 3.

    >>> float(multiclass_hinge(jnp.array([[2.0, 1.5, 0.0]]), jnp.array([0])))
    0.5
    """
    right = jax.nn.one_hot(y, outputs.shape[-1], dtype=bool)
    score = jnp.where(right, outputs, 0.0).sum(-1)
    rival = jnp.where(right, -jnp.inf, outputs).max(-1)
    return jax.nn.relu(1.0 + rival - score).mean()


def mean_squared_error(outputs: Array, y: Array) -> Array:
    """Mean over examples and outputs of (z − y)²; class numbers become one-hot targets.

    Args:
      outputs: z, ``(batch, k)``.
      y: targets ``(batch, k)`` float, or class numbers ``(batch,)``.

    Returns:
      A scalar.

    >>> float(mean_squared_error(jnp.zeros((1, 2)), jnp.array([1])))
    0.5
    """
    if jnp.issubdtype(y.dtype, jnp.integer):
        y = jax.nn.one_hot(y, outputs.shape[-1], dtype=outputs.dtype)
    return optax.squared_error(outputs, y).mean()


_DEFAULTS: dict[Task, str] = {
    "multiclass": "softmax_cross_entropy",
    "binary": "sigmoid_binary_cross_entropy",
    "multilabel": "sigmoid_cross_entropy",
    "regression": "mean_squared_error",
}
_REGISTRY = Registry(
    "loss",
    "jinit.train.losses.names()",
    {
        loss.name: loss
        for loss in (
            Loss("softmax_cross_entropy", softmax_cross_entropy, argmax_correct, CLASSES),
            Loss(
                "sigmoid_binary_cross_entropy",
                sigmoid_binary_cross_entropy,
                sign_correct,
                ("binary",),
                single_output=True,
            ),
            Loss("sigmoid_cross_entropy", sigmoid_cross_entropy, signs_correct, ("multilabel",)),
            Loss("hinge", hinge, sign_correct, ("binary",), single_output=True),
            Loss("multiclass_hinge", multiclass_hinge, argmax_correct, CLASSES),
            Loss(
                "mean_squared_error",
                mean_squared_error,
                argmax_correct,
                (*CLASSES, "regression"),
            ),
        )
    },
    item_type=Loss,
)


def names() -> tuple[str, ...]:
    """All loss names, the built-in ones first.

    >>> names()[0]
    'softmax_cross_entropy'
    """
    return _REGISTRY.names()


def get(loss: str | Loss | OwnLossFunction | None, task: Task, classes: int = 0) -> Loss:
    """The loss of this name or function for a task; None means the task's default loss.

    Args:
      loss: one of :func:`names`; a :class:`Loss`; your own ``loss(outputs, y)``, a mean over the
        batch or one value per example, which may also take ``params`` and ``key``; or None:
        cross-entropy for classes and labels, the squared error for regression.
      task: ``"multiclass"``, ``"binary"``, ``"multilabel"`` or ``"regression"``.
      classes: number of classes, for the accuracy under your own loss; default 0: no accuracy.

    Returns:
      The :class:`Loss`; ``correct`` is None for regression.

    Raises:
      ValueError: an unknown name or task; a loss that cannot train the task; a function that needs
        other arguments.
      TypeError: neither a name nor a function.

    >>> get(None, "binary").name
    'sigmoid_binary_cross_entropy'
    """
    errors.check_choice("task", task, (*_DEFAULTS, "several"))
    if task == "several" and (loss is None or isinstance(loss, str)):
        raise errors.refusal(
            "loss", loss, "a function of your own for a data set of several targets",
            "loss=lambda outputs, y: …, with the dict y of all targets",
        )  # fmt: skip
    if loss is None or isinstance(loss, str):
        chosen = _REGISTRY.get(_DEFAULTS[task] if loss is None else loss)
    else:
        chosen = loss if isinstance(loss, Loss) else own(_specs.label(loss), loss)
    if task not in chosen.tasks:
        fits = [other for other in names() if task in _REGISTRY.get(other).tasks]
        raise errors.refusal(
            f"loss {chosen.name!r}", f"a {task} data set", ", ".join(chosen.tasks), f"use {fits}"
        )
    if task in WITHOUT_CLASSES:
        return dataclasses.replace(chosen, correct=None)
    if chosen.correct is None and task == "multilabel":
        return dataclasses.replace(chosen, correct=signs_correct)
    if chosen.correct is None and classes:
        return dataclasses.replace(chosen, correct=LabelsCorrect(classes))
    return chosen


def own(name: str, loss: str | Loss | OwnLossFunction) -> Loss:
    """A function of the user, or a loss known by another name, as a loss of this name."""
    if isinstance(loss, str):
        loss = _REGISTRY.get(loss)
    if isinstance(loss, Loss):
        return dataclasses.replace(loss, name=name)
    function = own_function(loss)
    return Loss(name, function, None, (*_DEFAULTS, "several"), takes=function.takes)


def register(name: str, loss: Loss) -> None:
    """Adds a loss: afterwards ``get``, :class:`jinit.Grid` and ``jinit sweep`` know its name.

    Args:
      name: an identifier not yet taken; the same as ``loss.name``.
      loss: the loss. Registering an equal one again changes nothing.

    Raises:
      TypeError: not a :class:`Loss`.
      ValueError: the name is taken, is not an identifier or differs from ``loss.name``; the loss
        has no task or an unknown task.

    >>> def absolute(outputs, y):
    ...     return jnp.abs(outputs - y).mean()
    >>> register("absolute", Loss("absolute", absolute, None, ("regression",)))
    >>> get("absolute", "regression").function is absolute
    True
    >>> _REGISTRY.remove("absolute")
    """
    if isinstance(loss, Loss) and loss.name != name:
        raise errors.refusal("name of the loss", loss.name, repr(name), "give it the same name")
    if isinstance(loss, Loss) and not set() < set(loss.tasks) <= set(_DEFAULTS):
        raise errors.refusal(
            f"tasks of loss {name!r}",
            loss.tasks,
            f"at least one of {', '.join(_DEFAULTS)}",
            "pass a tuple such as ('multiclass',)",
        )
    _REGISTRY.register(name, loss)
