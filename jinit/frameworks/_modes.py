"""Finds the flags by which a model's call distinguishes training from evaluation."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import jax

from jinit import errors
from jinit._anew import anew
from jinit.models import Model
from jinit.train import StatefulApply
from jinit.typing import Array, ModelLike, PyTree

# The names that frameworks and their examples give the flag: True in training, or in evaluation.
TRAINING = ("train", "training", "is_training", "is_train", "train_mode", "training_mode")
EVALUATION = (
    "deterministic",
    "use_running_average",
    "inference",
    "is_eval",
    "eval_mode",
    "testing",
)


def mode_flags(call: Callable[..., PyTree], *, training: bool) -> dict[str, bool]:
    """The keyword arguments that put one call of a model into training or evaluation mode.

    >>> mode_flags(lambda x, train, deterministic=True: x, training=True)
    {'train': True, 'deterministic': False}
    """
    parameters = inspect.signature(call).parameters
    flags = {name: training for name in TRAINING if name in parameters}
    return flags | {name: not training for name in EVALUATION if name in parameters}


def call_of(model: ModelLike) -> Callable[..., PyTree]:
    """The function whose signature shows a model's flags; Haiku's transforms have ``apply``."""
    if isinstance(model, tuple) and hasattr(model, "apply"):
        return model.apply
    return type(model).__call__


def checked(model: Model, x: Array) -> Model:
    """The model, after a trace of one training step's forward pass on an example batch.

    Raises:
      ValueError: the state that the model returns has other leaves, shapes or dtypes than the state
        that it takes.
    """
    assert model.start is not None
    assert isinstance(model.apply, StatefulApply)
    params, state = jax.eval_shape(anew(model.start), jax.random.key(0), x)
    _, after = jax.eval_shape(anew(model.apply.train), params, state, x, jax.random.key(0))
    if _described(after) != _described(state):
        raise errors.refusal(
            f"state of {model.name} after a step",
            ", ".join(sorted(_described(after) ^ _described(state))),
            "the leaves, shapes and dtypes that it had before",
            "let the model keep what it carries in arrays of constant shape",
        )
    return model


def _described(tree: PyTree) -> set[str]:
    return {
        f"{jax.tree_util.keystr(path)} {leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
