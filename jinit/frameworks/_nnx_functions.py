"""Turns nnx modules into the pure functions that a sweep trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jinit._anew import anew
from jinit.frameworks._modes import checked, mode_flags
from jinit.models import Model
from jinit.train import StatefulApply
from jinit.typing import Array, Key, PyTree

if TYPE_CHECKING:
    from flax import nnx


def functions(model: nnx.Module, x: Array) -> Model:
    """The module's graph and its variables as pure functions; the module itself is not changed.

    Training and evaluation are ``model.train()`` and ``model.eval()`` of a copy, and every stream
    of ``nnx.Rngs`` starts each step from a key of its own.
    """
    from flax import nnx

    trained, evaluated = nnx.clone(model), nnx.clone(model)
    trained.train()
    evaluated.eval()
    train, evaluate = _Run.of(trained, training=True), _Run.of(evaluated, training=False)
    _, params, _, state = _parts(model)

    def start(key: Key, x: Array) -> tuple[PyTree, PyTree]:
        return nnx.to_pure_dict(params), nnx.to_pure_dict(state)

    def shapes(x: Array) -> PyTree:
        return jax.eval_shape(anew(start), jax.random.key(0), x)[0]

    name = type(model).__name__
    if jax.tree.leaves((state, train.templates[1])) or train.flags:
        apply = StatefulApply(train, _Evaluate(evaluate))
        return checked(Model(shapes, apply, name, start, source=model), x)
    return Model(shapes, _Plain(train), name, start, source=model)


def _parts(model: nnx.Module) -> tuple[nnx.GraphDef[nnx.Module], PyTree, PyTree, PyTree]:
    """The graph, the parameters, the random streams and all other variables of a module."""
    from flax import nnx

    graph, params, *others = nnx.split(model, nnx.Param, nnx.RngState, nnx.Intermediate, ...)
    streams, _, state = others
    return graph, params, streams, state


@dataclass(frozen=True)
class _Run:
    """``(params, state, x, key) -> (outputs, state)``: one call of the module in one mode."""

    graph: nnx.GraphDef[nnx.Module]
    flags: tuple[tuple[str, bool], ...]
    # Parameters, streams and state with shapes only; the graph determines them.
    templates: tuple[PyTree, PyTree, PyTree] = field(compare=False)

    @classmethod
    def of(cls, model: nnx.Module, *, training: bool) -> _Run:
        graph, *states = _parts(model)
        flags = mode_flags(type(model).__call__, training=training)
        params, streams, state = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), states
        )
        return cls(graph, tuple(flags.items()), (params, streams, state))

    def __call__(
        self,
        params: PyTree,
        state: PyTree,
        x: Array,
        key: Key | None,
        prepare: Callable[[nnx.Module], None] | None = None,
    ) -> tuple[Array, PyTree]:
        """``prepare`` changes the copy of the module that is called."""
        from flax import nnx

        of_params, of_streams, of_state = self.templates
        model = nnx.merge(
            self.graph,
            _filled(of_params, params),
            _seeded(of_streams, key),
            _filled(of_state, state),
        )
        if prepare is not None:
            prepare(model)
        outputs = model(x, **dict(self.flags))
        return outputs, nnx.to_pure_dict(_parts(model)[3])


@dataclass(frozen=True)
class _Evaluate:
    """``(params, state, x) -> outputs``."""

    run: _Run

    def __call__(self, params: PyTree, state: PyTree, x: Array) -> Array:
        return self.run(params, state, x, None)[0]


@dataclass(frozen=True)
class _Plain:
    """``(params, x) -> outputs`` of a module without state, streams and modes."""

    run: _Run

    def __call__(self, params: PyTree, x: Array) -> Array:
        return self.run(params, {}, x, None)[0]


def _filled(template: PyTree, values: PyTree) -> PyTree:
    """A state of the template's structure with other values, given as a pure dictionary."""
    from flax import nnx

    filled = jax.tree.map(lambda leaf: leaf, template)
    nnx.replace_by_pure_dict(filled, values)
    return filled


def _seeded(streams: PyTree, key: Key | None) -> PyTree:
    """Random streams that start at count 0, each from its own key; without ``key``, from key 0."""
    key = jax.random.key(0) if key is None else key
    leaves, tree = jax.tree.flatten(streams)

    def seeded(number: int, leaf: jax.ShapeDtypeStruct) -> Array:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.zeros(leaf.shape, leaf.dtype)
        own = jax.random.fold_in(key, number)
        return jax.random.split(own, leaf.shape) if leaf.shape else own

    return jax.tree.unflatten(tree, [seeded(i, leaf) for i, leaf in enumerate(leaves)])
