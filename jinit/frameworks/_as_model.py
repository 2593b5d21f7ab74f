"""Turns a model of any framework into the pure functions that a sweep trains."""

from __future__ import annotations

import inspect

import jax

from jinit import errors, models
from jinit.frameworks import _table
from jinit.models import MLP, Model
from jinit.typing import Array, ModelLike


def as_model(model: ModelLike, x: Array) -> Model:
    """Makes a :class:`jinit.models.Model` from whatever a sweep can train.

    A module's state (running statistics) and noise (dropout) become arguments of pure functions;
    the module itself is never changed. Training steps run in training mode, tests in evaluation
    mode: by ``model.train()`` and ``model.eval()`` in nnx, ``inference_mode`` in Equinox,
    ``training=`` in Keras, and by the flag of the model's own call (``train``, ``training``,
    ``is_training``, ``is_train``, ``deterministic``, ``use_running_average``, ``inference``, …).
    linen's ``Dropout``, attention and ``BatchNorm`` without a flag evaluate as with one.

    Args:
      model: a linen, nnx or Equinox module (which takes one example), ``(module, state)`` as
        ``equinox.nn.make_with_state`` returns them, a Haiku ``Transformed`` or
        ``TransformedWithState``, a built Keras model on the JAX backend; or the arguments of
        :func:`jinit.models.functional` as a tuple; or a :class:`jinit.models.Model`.
      x: an example batch ``(batch, …)``, an array or ``jax.ShapeDtypeStruct``.

    Returns:
      A model. Equal modules give equal functions, so that compiled programs are shared.

    Raises:
      TypeError: ``model`` is anything else.
      ValueError: the model does not run on ``x``, or lacks its state.

    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> model = as_model(nn.BatchNorm(use_running_average=False), jnp.ones((2, 3)))
    >>> sorted(model.start(jax.random.key(0), jnp.ones((2, 3)))[1]["batch_stats"])
    ['mean', 'var']
    """
    if isinstance(model, Model) or type(model) is MLP:
        return models.as_model(model)
    module, *state = model if isinstance(model, tuple) and _is_module(model) else (model,)
    framework = _table.find(module)
    if framework is None and isinstance(model, tuple) and len(model) in (2, 3):
        return models.functional(*model)
    if framework is None or framework.functions is None:
        raise errors.wrong_type(
            "model",
            model.__name__ if isinstance(model, type) else model,
            f"a model of {_table.listed(trained=True)}, (shapes, apply) or (shapes, apply, state)",
            "call the class first" if isinstance(model, type) else _how_to_train(model),
        )
    if state and "state" not in inspect.signature(framework.functions).parameters:
        raise errors.refusal(
            "model",
            f"a {framework.name} module with {type(state[0]).__name__} beside it",
            f"the module alone: jinit finds the state of a {framework.name} module itself",
            "pass the module; start=params keeps given values",
        )
    try:
        return framework.functions(module, x, *state)
    except errors.Refusal:
        raise
    except Exception as error:
        raise does_not_run(type(module).__name__, x, error) from error


def does_not_run(name: str, x: Array | jax.ShapeDtypeStruct, error: Exception) -> errors.Refusal:
    """The refusal of a model whose call raises an error of its own.

    Args:
      name: of the model.
      x: the examples that it was called on.
      error: what it raised.

    >>> does_not_run("Net", jax.ShapeDtypeStruct((2, 3), "float32"), ValueError("4 features")).fix
    'correct the model or the data; the model raised: 4 features'
    """
    reason = str(error).strip().partition("\n")[0][:200]
    return errors.refusal(
        f"model {name}",
        f"{type(error).__name__} on inputs of shape {x.shape}",
        "a model that runs on a batch of the data",
        f"correct the model or the data; the model raised: {reason}",
    )


def _how_to_train(model: ModelLike) -> str:
    """What to do with a model that a sweep cannot train."""
    framework = _table.find(model)
    if framework is None:
        return "wrap your apply function with jinit.models.functional"
    return (
        f"sweeps train models that JAX computes: write the {framework.name} model in one of these; "
        "jinit.initialize draws the weights of its jinit.frameworks.shapes(model)"
    )


def _is_module(model: tuple[ModelLike, ...]) -> bool:
    """Whether a tuple is a module with its state; Haiku's Transformed is a tuple itself."""
    if _table.find(model) is not None or len(model) != 2 or _is_functions(model):
        return False
    return _table.find(model[0]) is not None


def _is_functions(model: ModelLike) -> bool:
    """Whether a tuple is the tree of an Equinox module, which is a module, beside a function."""
    if not isinstance(model, tuple) or len(model) < 2 or _table.find(model) is not None:
        return False
    framework = _table.find(model[0])
    return framework is not None and not framework.needs_inputs and callable(model[1])
