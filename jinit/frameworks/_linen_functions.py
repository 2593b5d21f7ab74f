"""Turns linen modules into the pure functions that a sweep trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import jax

from jinit._anew import anew
from jinit.engine._traced import Traced
from jinit.frameworks._modes import checked, mode_flags
from jinit.models import Model
from jinit.train import StatefulApply
from jinit.typing import Array, Key, PyTree

if TYPE_CHECKING:
    from flax import linen as nn
    from flax.linen.module import InterceptorContext

# Collections that a call fills for the caller; they are not state.
_NOT_STATE = ("params", "perturbations", "intermediates")


def functions(model: nn.Module, x: Array) -> Model:
    """The module as pure functions; collections besides ``params`` are state, boxes are opened.

    Training steps pass ``rngs={"dropout": key}`` and another key for all other streams. In
    evaluations Dropout returns its input and BatchNorm uses its running averages, also in modules
    whose call takes no flag.
    """
    from flax import errors as flax_errors

    given, model = model, _frozen(model)
    flags = _flags(model, training=True)
    start = _Start(model, flags)
    once = Traced(start)

    def shapes(x: Array) -> PyTree:
        return jax.eval_shape(anew(once), jax.random.key(0), x)[0]

    name, plain = type(model).__name__, _Plain(model)
    params, state = jax.eval_shape(anew(once), jax.random.key(0), x)
    if not state and not flags:
        try:
            jax.eval_shape(anew(plain), params, x)
        except flax_errors.InvalidRngError:
            pass
        else:
            return Model(shapes, plain, name, start, source=given)
    test = _Evaluate(model, _flags(model, training=False))
    apply = StatefulApply(_Train(model, flags), test)
    return checked(Model(shapes, apply, name, start, source=given), x)


def _frozen(module: Any) -> Any:
    """Flax's own Sequential with a tuple of layers in place of a list, which could change.

    A module that holds constants alone needs no new trace to show that it computes the same.
    """
    import flax.linen as nn

    if type(module) is not nn.Sequential or not isinstance(module.layers, list | tuple):
        return module
    return module.clone(layers=tuple(map(_frozen, module.layers)))


@dataclass(frozen=True)
class _Start:
    """``(key, x) -> (params, state)``: the module's own initialization."""

    module: nn.Module
    flags: tuple[tuple[str, bool], ...]

    def __call__(self, key: Key, x: Array) -> tuple[PyTree, PyTree]:
        from flax.core import meta

        variables = dict(meta.unbox(self.module.init(key, x, **_keywords(self.flags))))
        state = {name: tree for name, tree in variables.items() if name not in _NOT_STATE}
        return variables.get("params", {}), state


@dataclass(frozen=True)
class _Plain:
    """``(params, x) -> outputs`` of a module without state, noise and modes."""

    module: nn.Module

    def __call__(self, params: PyTree, x: Array) -> Array:
        return cast(Array, self.module.apply({"params": params}, x))


@dataclass(frozen=True)
class _Train:
    """``(params, state, x, key) -> (outputs, state)``."""

    module: nn.Module
    flags: tuple[tuple[str, bool], ...]

    def __call__(
        self, params: PyTree, state: PyTree, x: Array, key: Key | None
    ) -> tuple[Array, PyTree]:
        assert key is not None
        # A stream without a key of its own takes that of "params".
        rngs = {"dropout": key, "params": jax.random.fold_in(key, 0)}
        variables = {"params": params, **state}
        outputs, after = self.module.apply(
            variables, x, rngs=rngs, mutable=list(state), **_keywords(self.flags)
        )
        return outputs, dict(after)


@dataclass(frozen=True)
class _Evaluate:
    """``(params, state, x) -> outputs``."""

    module: nn.Module
    flags: tuple[tuple[str, bool], ...]

    def __call__(self, params: PyTree, state: PyTree, x: Array) -> Array:
        import flax.linen as nn

        with nn.intercept_methods(_in_evaluation):
            outputs, _ = self.module.apply(
                {"params": params, **state},
                x,
                mutable=list(state),
                **_keywords(self.flags),
            )
        return cast(Array, outputs)


def _flags(model: nn.Module, *, training: bool) -> tuple[tuple[str, bool], ...]:
    """The mode flags of the module's call that its constructor has not fixed."""
    flags = mode_flags(type(model).__call__, training=training)
    return tuple((name, flag) for name, flag in flags.items() if getattr(model, name, None) is None)


def _keywords(flags: tuple[tuple[str, bool], ...]) -> dict[str, Any]:
    return dict(flags)


def _in_evaluation(
    call: Callable[..., PyTree],
    args: tuple[PyTree, ...],
    kwargs: dict[str, PyTree],
    context: InterceptorContext,
) -> PyTree:
    """Calls Dropout, attention and BatchNorm as in evaluation, however they are built."""
    from flax import linen as nn

    module = context.module
    if context.method_name != "__call__":
        return call(*args, **kwargs)
    if isinstance(module, nn.Dropout):
        return args[0] if args else kwargs["inputs"]
    # The instance belongs to this call: Flax clones the user's modules when it binds them.
    if isinstance(module, nn.BatchNorm) and module.use_running_average is False:
        object.__setattr__(module, "use_running_average", True)
    if isinstance(module, nn.MultiHeadDotProductAttention):
        if module.deterministic is False:
            object.__setattr__(module, "deterministic", True)
        if kwargs.get("deterministic") is False:
            kwargs = {**kwargs, "deterministic": True}
    return call(*args, **kwargs)
