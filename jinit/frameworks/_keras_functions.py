"""Turns Keras models on the JAX backend into the pure functions that a sweep trains."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jinit import errors
from jinit._anew import anew
from jinit.frameworks._modes import checked
from jinit.models import Model
from jinit.train import StatefulApply
from jinit.typing import Array, Key, PyTree

if TYPE_CHECKING:
    import keras as package


def functions(model: package.Layer, x: Array) -> Model:
    """``stateless_call`` with ``training=``; generators of seeds start each step from a new key.

    Parameters are the trainable variables by path, state is the list of all other variables.
    """
    import keras as package

    if package.backend.backend() != "jax":
        raise errors.refusal(
            f"backend of {model.name}", package.backend.backend(), "'jax'", "KERAS_BACKEND=jax"
        )
    if not model.built:
        raise errors.refusal(
            f"model {model.name}",
            "a model that is not built",
            "a built model",
            "model.build((None, *x.shape[1:])), or call the model once on an example",
        )
    variables = model.trainable_variables
    params = {variable.path: jnp.asarray(variable.value) for variable in variables}
    if len(params) < len(variables):
        raise errors.refusal(
            f"variables of {model.name}",
            "two variables with one path",
            "a path for each variable",
            "give every layer a name of its own",
        )
    if model.losses:
        raise errors.refusal(
            f"model {model.name}",
            f"{len(model.losses)} losses of its own, such as regularizers of layers",
            "a model whose only loss is that of the sweep",
            "leave kernel_regularizer= out, and pass loss=lambda outputs, y, params: … with the "
            "penalty, or an optimizer with weight_decay",
        )
    others = model.non_trainable_variables
    seeds = tuple(_is_seed(variable) for variable in others)
    state = tuple(
        jnp.asarray(variable.value)
        for variable, is_seed in zip(others, seeds, strict=True)
        if not is_seed
    )

    def start(key: Key, x: Array) -> tuple[PyTree, PyTree]:
        return params, state

    def shapes(x: Array) -> PyTree:
        return jax.eval_shape(anew(start), jax.random.key(0), x)[0]

    takes_training = "training" in inspect.signature(model.call).parameters
    if not takes_training and (state or any(seeds)):
        raise errors.refusal(
            f"model {model.name}",
            "a call without training=, and layers that need it",
            "a call that says whether it trains",
            "def call(self, x, training=None), which passes training to its layers",
        )
    call = _Call(model, tuple(variable.path for variable in variables), seeds, takes_training)
    apply = StatefulApply(call, _Evaluate(call))
    return checked(Model(shapes, apply, model.name, start, source=model), x)


def _is_seed(variable: package.Variable) -> bool:
    """Whether a variable is the state of a ``keras.random.SeedGenerator``."""
    return "seed_generator" in variable.path and str(variable.dtype).startswith("uint")


@dataclass(frozen=True)
class _Call:
    """``(params, state, x, key) -> (outputs, state)``, in training mode."""

    model: package.Layer
    paths: tuple[str, ...]
    seeds: tuple[bool, ...]
    takes_training: bool

    def __call__(
        self, params: PyTree, state: PyTree, x: Array, key: Key | None
    ) -> tuple[Array, PyTree]:
        return self.run(params, state, x, key, training=True)

    def run(
        self, params: PyTree, state: PyTree, x: Array, key: Key | None, *, training: bool
    ) -> tuple[Array, PyTree]:
        """One call; seed generator i starts from bits of ``fold_in(key, i)``."""
        key = jax.random.key(0) if key is None else key
        left = iter(state)
        others = [
            jax.random.bits(jax.random.fold_in(key, number), (2,), jnp.uint32)
            if is_seed
            else next(left)
            for number, is_seed in enumerate(self.seeds)
        ]
        trainable = [params[path] for path in self.paths]
        mode = {"training": training} if self.takes_training else {}
        outputs, after = self.model.stateless_call(trainable, others, x, **mode)
        kept = [value for value, is_seed in zip(after, self.seeds, strict=True) if not is_seed]
        return outputs, tuple(kept)


@dataclass(frozen=True)
class _Evaluate:
    """``(params, state, x) -> outputs``."""

    call: _Call

    def __call__(self, params: PyTree, state: PyTree, x: Array) -> Array:
        return self.call.run(params, state, x, None, training=False)[0]
