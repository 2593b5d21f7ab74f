"""How each framework lets its layers be seen: ``(parameter shapes, opened)`` for a model.

``opened(params, x, taps) -> (outputs, values)``, as in :func:`jinit.frameworks.capture`. A
framework is imported when a model of that framework is there.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from flax.core.tracers import current_trace

from jinit import errors
from jinit.frameworks._paths import path_of
from jinit.typing import Array, PyTree

Taps: TypeAlias = OrderedDict[str, Array]
Opened: TypeAlias = Callable[[PyTree, Array, Taps | None], tuple[Array, Taps]]


class Recorder:
    """Adds taps to values and keeps the sums, in the order of the calls.

    A second value of one name is kept as ``name#2``.

    Raises:
      ValueError: a value inside ``scan``, ``vmap`` or ``remat``: it could not leave.

    >>> tap = Recorder(None)
    >>> tap("dense", 1.0), tap("dense", 2.0), list(tap.values)
    (1.0, 2.0, ['dense', 'dense#2'])
    """

    def __init__(self, taps: Taps | None) -> None:
        # An OrderedDict: a plain dictionary comes out of a trace sorted.
        self.values: Taps = OrderedDict()
        self._taps = taps
        self._trace = current_trace()

    def __call__(self, name: str, z: Any) -> Any:
        """The value with its tap; what is no array passes unseen."""
        if not hasattr(z, "shape") and not isinstance(z, float):
            return z
        if current_trace() != self._trace:
            raise errors.refusal(
                "model", f"layer {name!r} inside scan, vmap or remat",
                "layers called outside of them",
                "probe a plain apply(params, x, tap) that unrolls the loop",
            )  # fmt: skip
        calls = sum(each.partition("#")[0] == name for each in self.values)
        name = f"{name}#{calls + 1}" if calls else name
        self.values[name] = z if self._taps is None else z + self._taps[name]
        return self.values[name]


def plain(apply: Callable[..., Any]) -> Opened:
    """An ``apply(params, x, tap)`` that calls the tap itself.

    >>> opened = plain(lambda params, x, tap: tap("dense", x * params))
    >>> outputs, values = opened(2.0, 3.0, None)
    >>> outputs, dict(values)
    (6.0, {'dense': 6.0})
    """

    try:
        inspect.signature(apply).bind(None, None, None)
    except ValueError:
        pass  # A function that does not say what it takes.
    except TypeError as problem:
        raise errors.wrong_type(
            "model", f"a function with {problem}", "apply(params, x, tap)",
            "z = tap('path/of/its/parameters', z) on each layer's pre-activation",
        ) from None  # fmt: skip

    def opened(params: PyTree, x: Array, taps: Taps | None) -> tuple[Array, Taps]:
        tap = Recorder(taps)
        return apply(params, x, tap), tap.values

    return opened


def check_taps(opened: Opened, params: PyTree, x: Any) -> None:
    """Every tap reaches the output: else its gradient would be 0, whatever the network does.

    Raises:
      ValueError: a call ``tap(name, z)`` whose value the model does not go on with.

    >>> check_taps(plain(lambda params, x, tap: tap("dense", x * params)), 2.0, 3.0)
    """
    _, values = jax.eval_shape(lambda params, x: opened(params, x, None), params, x)
    jaxpr = jax.make_jaxpr(lambda taps, params, x: opened(params, x, taps)[0])(values, params, x)
    # Backwards from the output; a literal has a value, a variable has not.
    needed = {id(each) for each in jaxpr.jaxpr.outvars}
    for equation in reversed(jaxpr.jaxpr.eqns):
        if needed & {id(each) for each in equation.outvars}:
            needed |= {id(each) for each in equation.invars if not hasattr(each, "val")}
    for name, variable in zip(values, jaxpr.jaxpr.invars, strict=False):
        if id(variable) not in needed:
            raise errors.refusal(
                f"tap {name!r}", "a value that is not used", "the model going on with it",
                f"z = tap({name!r}, z)",
            )  # fmt: skip


def linen(model: Any, x: Any) -> tuple[PyTree, Opened, set[str]]:
    """A Flax linen module; calls are intercepted, a jinit MLP in it at each of its layers.

    Also the names of layers whose values LayerNorm standardizes, which only an MLP tells.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> shapes, opened, _ = linen(nn.Dense(3), jnp.zeros((5, 4)))
    >>> params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    >>> opened(params, jnp.ones((5, 4)), None)[0][0]
    Array([5., 5., 5.], dtype=float32)
    """
    import flax.linen as nn
    from flax import errors as flax_errors

    from jinit.models import MLP, as_model
    from jinit.models._mlp import unrolled_apply

    normalized: set[str] = set()

    def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module, name = context.module, "/".join(context.module.path)
        if type(module) is MLP and module.layer_norm:
            normalized.update(f"{name}/hidden_{index}" for index in range(module.depth))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        shapes = as_model(model).shapes(x)
    owners = _owners(shapes)

    def apply(params: PyTree, x: Array, tap: Any) -> Array:
        def interceptor(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            module, name = context.module, "/".join(context.module.path)
            # A tied embedding is called once more, as the layer of the logits.
            if context.method_name not in ("__call__", "attend"):
                return call(*args, **kwargs)
            # A subclass may compute something else: what it does with its layers stays unseen.
            if type(module) is MLP:
                # Its layers own parameters only: the arithmetic is the MLP's.
                own, inputs = module.variables["params"], args[0] if args else kwargs["x"]
                return unrolled_apply(module, own, inputs, lambda its, z: tap(f"{name}/{its}", z))
            out = call(*args, **kwargs)
            return tap(name, out) if name in owners else out

        try:
            with nn.intercept_methods(interceptor):
                return model.apply({"params": params}, x)
        except flax_errors.InvalidRngError as error:
            raise errors.refusal(
                "model", str(error).partition(" (http")[0], "a model that draws nothing",
                "inference mode (deterministic=True), or a wrapping apply(params, x, tap)",
            ) from None  # fmt: skip

    return shapes, plain(apply), normalized


def haiku(model: Any, x: Any) -> tuple[PyTree, Opened]:
    """A Haiku ``Transformed``; calls are intercepted, and no key is given to apply.

    >>> import pytest, jax.numpy as jnp
    >>> hk = pytest.importorskip("haiku")
    >>> haiku(hk.transform(lambda x: hk.Linear(3)(x)), jnp.zeros((5, 4)))[0]["linear"]["w"].shape
    (4, 3)
    """
    import haiku as hk

    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    owners = _owners(shapes)
    # `without_apply_rng` takes the key away.
    key = (None,) if len(inspect.signature(model.apply).parameters) > 2 else ()

    def apply(params: PyTree, x: Array, tap: Any) -> Array:
        def interceptor(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            out, name = call(*args, **kwargs), context.module.module_name
            return tap(name, out) if context.method_name == "__call__" and name in owners else out

        with hk.intercept_methods(interceptor):
            return model.apply(params, *key, x)

    return shapes, plain(apply)


def nnx(model: Any) -> tuple[PyTree, Opened]:
    """An nnx module; the layers of a merged copy are tapped.

    >>> from flax import nnx as flax_nnx
    >>> nnx(flax_nnx.Linear(4, 3, rngs=flax_nnx.Rngs(0)))[0]["kernel"].shape
    (4, 3)
    """
    from flax import nnx as flax_nnx

    graph, state, *rest = flax_nnx.split(model, flax_nnx.Param, ...)
    shapes = flax_nnx.to_pure_dict(state)
    owners = _owners(shapes)
    _check_tied(model)

    def apply(params: PyTree, x: Array, tap: Any) -> Array:
        filled = jax.tree.map(lambda leaf: leaf, state)
        flax_nnx.replace_by_pure_dict(filled, params)
        copy = flax_nnx.merge(graph, filled, *rest)
        for place, module in list(flax_nnx.iter_graph(copy)):
            name = "/".join(map(str, place))
            if isinstance(module, flax_nnx.Module) and name in owners:
                object.__setattr__(module, _TAP, functools.partial(tap, name))
                object.__setattr__(module, "__class__", _tapped(type(module)))
        return copy(x)

    return shapes, plain(apply)


def _check_tied(model: Any) -> None:
    """No kernel stands in two modules: only one of them would be seen."""
    from flax import nnx as flax_nnx

    owners: dict[int, str] = {}
    for place, module in flax_nnx.iter_graph(model):
        own = vars(module).values() if isinstance(module, flax_nnx.Module) else ()
        for each in own:
            name = "/".join(map(str, place))
            if not isinstance(each, flax_nnx.Param) or each.ndim < 2:
                continue
            if owners.setdefault(id(each), name) != name:
                raise errors.refusal(
                    "model", f"one kernel in {owners[id(each)]} and {name}",
                    "a kernel for each module", "call one module twice",
                )  # fmt: skip


_TAP = "_jinit_tap"


@functools.lru_cache(maxsize=256)
def _tapped(layer: type) -> type:
    """The class of a layer whose output goes through its tap."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__[_TAP](layer.__call__(self, *args, **kwargs))

    def attend(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__[_TAP](layer.attend(self, *args, **kwargs))  # type: ignore[attr-defined]

    # A tied embedding is called once more, as the layer of the logits.
    methods = {"__call__": call} | ({"attend": attend} if hasattr(layer, "attend") else {})
    return type(layer.__name__, (layer,), methods)


def equinox(model: Any) -> tuple[PyTree, Opened]:
    """An Equinox module, which takes one example and is vmapped; layers of a copy are replaced.

    >>> import pytest
    >>> eqx = pytest.importorskip("equinox")
    >>> equinox(eqx.nn.Linear(4, 3, key=jax.random.key(0)))[0].weight.shape
    (3, 4)
    """
    import equinox as eqx

    shapes, static = eqx.partition(model, eqx.is_inexact_array)
    owners = _owners(shapes)
    places = {
        _owner(path): path[:-1]
        for path, _ in jax.tree.leaves_with_path(shapes)
        if _owner(path) in owners
    }

    class Tapped(eqx.Module):
        """A layer whose output goes through the tap."""

        layer: Any
        tap: Any = eqx.field(static=True)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.tap(self.layer(*args, **kwargs))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.layer, name)

    def one(params: PyTree, x: Array, taps: Taps | None) -> tuple[Array, Taps]:
        whole, tap = eqx.combine(params, static), Recorder(taps)
        for name, place in places.items():
            wrapped = Tapped(_at(whole, place), functools.partial(tap, name))
            whole = eqx.tree_at(functools.partial(_at, path=place), whole, wrapped)
        return whole(x), tap.values

    return shapes, jax.vmap(one, in_axes=(None, 0, 0))


def _at(node: Any, path: Any) -> Any:
    """The node at a path of JAX's tree keys."""
    for key in path:
        node = (
            getattr(node, key.name)
            if hasattr(key, "name")
            else node[key.idx if hasattr(key, "idx") else key.key]
        )
    return node


def _owners(shapes: PyTree) -> set[str]:
    """Paths of the layers that own an array of rank ≥ 2.

    A module that owns one beside whole layers is left out: what it returns is not its kernel's.
    """
    owners = {
        _owner(path) for path, leaf in jax.tree.leaves_with_path(shapes) if len(leaf.shape) > 1
    }
    return {
        owner
        for owner in owners
        if not any(other != owner and f"/{other}".startswith(f"/{owner}/".replace("//", "/"))
                   for other in owners)
    }  # fmt: skip


def _owner(path: Any) -> str:
    """The path of a leaf's layer; cut from the text, for a layer may be called ``value``."""
    return path_of(path).rpartition("/")[0]


def framework_of(model: Any) -> str:
    """``"nnx"``, ``"equinox"``, ``"haiku"`` or ``""``, without importing any of them.

    >>> framework_of(print)
    ''
    """
    for cls in type(model).__mro__:
        if cls.__module__.startswith("flax.nnx") and cls.__name__ == "Module":
            return "nnx"
        if cls.__module__.startswith("equinox") and cls.__name__ == "Module":
            return "equinox"
        if cls.__module__.startswith("haiku") and cls.__name__ == "Transformed":
            return "haiku"
    return ""
