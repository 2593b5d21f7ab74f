"""Turns Equinox modules into the pure functions that a sweep trains."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jinit import errors
from jinit._anew import anew
from jinit.frameworks._common import comes_from
from jinit.frameworks._modes import checked, mode_flags
from jinit.models import Model
from jinit.train import StatefulApply
from jinit.typing import Array, Key, PyTree

if TYPE_CHECKING:
    import equinox as eqx


def functions(model: eqx.Module, params: PyTree, x: Array, state: eqx.nn.State | None) -> Model:
    """The module as pure functions of a batch: its call is vmapped over examples.

    Training and evaluation are ``inference_mode`` False and True; each example has its own key.
    """
    import equinox as eqx

    names = inspect.signature(type(model).__call__).parameters
    if "state" in names and state is None:
        raise errors.refusal(
            f"model {type(model).__name__}",
            "a call that takes a state, and no state",
            "(model, state)",
            "model=eqx.nn.make_with_state(YourModel)(…)",
        )
    if state is not None and not comes_from(state, "equinox", "State"):
        raise errors.wrong_type("state", state, "an equinox.nn.State", "eqx.nn.make_with_state")
    chosen = jax.tree.map(lambda leaf: leaf is not None, params, is_leaf=lambda leaf: leaf is None)
    own, static = eqx.partition(model, chosen)
    carried, tree = jax.tree.flatten(state)

    def start(key: Key, x: Array) -> tuple[PyTree, PyTree]:
        return own, tuple(map(jnp.asarray, carried))

    def call(*, training: bool) -> _Call:
        mode = eqx.nn.inference_mode(static, value=not training)
        flags = tuple(mode_flags(type(model).__call__, training=training).items())
        return _Call(_Static.of(mode), tree, "state" in names, "key" in names, flags)

    train, evaluate = call(training=True), call(training=False)
    name, plain = type(model).__name__, _Plain(train)
    if state is None and not train.flags and _runs_without_key(plain, own, x):
        return Model(lambda x: params, plain, name, start, source=model)
    apply = StatefulApply(train, _Evaluate(evaluate))
    return checked(Model(lambda x: params, apply, name, start, source=model), x)


def _runs_without_key(plain: _Plain, params: PyTree, x: Array) -> bool:
    """Whether the module in training mode needs no key; layers with noise raise without one."""
    if not plain.call.takes_key:
        return True
    try:
        jax.eval_shape(anew(plain), params, x)
    except Exception:
        return False
    return True


@dataclass(frozen=True, eq=False)
class _Static:
    """The part of a module that is not trained; compared by value, arrays included."""

    tree: PyTree
    axis_names: frozenset[str]
    value: tuple[PyTree, ...]

    @classmethod
    def of(cls, tree: PyTree) -> _Static:
        leaves, structure = jax.tree.flatten(tree)
        values = tuple(
            (leaf.dtype.name, leaf.shape, jax.device_get(leaf).tobytes())
            if hasattr(leaf, "dtype") and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
            else leaf
            for leaf in leaves
        )
        nodes = jax.tree.leaves(tree, is_leaf=lambda node: hasattr(node, "axis_name"))
        names = (getattr(node, "axis_name", None) for node in nodes)
        return cls(tree, frozenset(name for name in names if name), (structure, values))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


@dataclass(frozen=True)
class _Call:
    """``(params, state, x, key) -> (outputs, state)`` of a batch; state is a tuple of arrays."""

    static: _Static
    tree: jax.tree_util.PyTreeDef
    takes_state: bool
    takes_key: bool
    flags: tuple[tuple[str, bool], ...]

    def __call__(
        self, params: PyTree, state: PyTree, x: Array, key: Key | None
    ) -> tuple[Array, PyTree]:
        import equinox as eqx

        model = eqx.combine(params, self.static.tree)
        keys, axes = self.keys(key, x)
        # A new State each time: Equinox forbids a second use of one that has been updated.
        given = jax.tree.unflatten(self.tree, state)

        def one(x: Array, key: Key | None) -> tuple[Array, PyTree]:
            return self.one(model, given, x, key)

        outputs, after = jax.vmap(
            one, in_axes=(0, axes), out_axes=(0, None), axis_name=self.axis_name
        )(x, keys)
        return outputs, tuple(jax.tree.leaves(after))

    @property
    def axis_name(self) -> str | None:
        """The name of the batch axis, by which BatchNorm sees other examples."""
        names = sorted(self.static.axis_names)
        if len(names) > 1:
            raise errors.refusal("axis names of BatchNorm", names, "one name", "use one axis_name")
        return names[0] if names else None

    def keys(self, key: Key | None, x: Array) -> tuple[Array | None, int | None]:
        """A key for each example with its vmapped axis; None if the call takes none."""
        if key is None or not self.takes_key:
            return None, None
        return jax.random.split(key, len(x)), 0

    def one(
        self, model: eqx.Module, state: PyTree, x: Array, key: Key | None
    ) -> tuple[Array, PyTree]:
        """The call of the module for one example."""
        keywords = dict(self.flags) | ({"key": key} if self.takes_key else {})
        if self.takes_state:
            outputs, after = model(x, state, **keywords)  # type: ignore[operator]
            return outputs, after
        return model(x, **keywords), state  # type: ignore[operator]


@dataclass(frozen=True)
class _Evaluate:
    """``(params, state, x) -> outputs``."""

    call: _Call

    def __call__(self, params: PyTree, state: PyTree, x: Array) -> Array:
        return self.call(params, state, x, None)[0]


@dataclass(frozen=True)
class _Plain:
    """``(params, x) -> outputs`` of a module without state, noise and modes."""

    call: _Call

    def __call__(self, params: PyTree, x: Array) -> Array:
        return self.call(params, (), x, None)[0]
