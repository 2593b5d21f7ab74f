"""A compiled program is used again exactly where a new one would compute the same."""

import functools
import gc

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinit import activations, engine, initializers
from jinit.engine import _program
from jinit.engine._known import is_known
from jinit.train import losses, optimizers

X = np.linspace(-2, 2, 5, dtype=np.float32)
ACTIVATION = nn.relu


def read_global(x):
    return ACTIVATION(x)


class Scaled:
    factor = 2.0

    def __call__(self, x):
        return self.factor * x


def test_a_function_that_reads_a_global_is_seen_to_change(monkeypatch):
    np.testing.assert_array_equal(engine.run(read_global, X), np.maximum(X, 0))
    monkeypatch.setattr(f"{__name__}.ACTIVATION", nn.tanh)
    np.testing.assert_allclose(engine.run(read_global, X), np.tanh(X), rtol=1e-5)


def test_closures_attributes_methods_and_arrays_are_seen_to_change(monkeypatch):
    scale, scaled, array = 2.0, Scaled(), np.full((), 2.0, np.float32)

    def closure(x):
        return scale * x

    def holds(x):
        return array * x

    ways = [closure, scaled, functools.partial(scaled), scaled.__call__, holds]
    for way in ways:
        np.testing.assert_array_equal(engine.run(way, X), 2 * X)
    scale, scaled.factor, array[...] = 3.0, 3.0, 3.0
    for way in ways:
        np.testing.assert_array_equal(engine.run(way, X), 3 * X)
    monkeypatch.setattr(Scaled, "__call__", lambda self, x: -x)
    np.testing.assert_array_equal(engine.run(scaled, X), -X)


def test_constants_decide_which_program_is_used():
    found = []
    for place in (1, 500):
        constant = jnp.zeros(1000).at[place].set(1.0)
        found.append(engine.run(lambda x, c=constant: x * c[500], X))
    np.testing.assert_array_equal(found, [0 * X, X])


def test_calls_back_into_python_are_never_mixed_up():
    for factor in (2, 3):
        found = engine.run(
            lambda x, f=factor: jax.pure_callback(
                lambda v: v * np.float32(f), jax.ShapeDtypeStruct((), "float32"), x,
                vmap_method="expand_dims",
            ),
            X,
        )  # fmt: skip
        np.testing.assert_array_equal(found, factor * X)


@pytest.mark.slow
def test_equal_code_is_compiled_once_and_fresh_classes_do_not_pile_up():
    compiled, before = [], len(_program._CACHE)
    for _ in range(3):

        class Layer(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.tanh(x) * 5

        module = Layer()
        engine.run(lambda x, m=module: m.apply({}, x), X, progress=compiled.append)
    assert [event.kind for event in compiled].count("compiled") == 1
    assert len(_program._CACHE) == before
    gc.collect()
    assert sum(issubclass(type(each), type) and each.__qualname__ == Layer.__qualname__
               for each in gc.get_objects()) <= 2  # fmt: skip


def test_what_jinit_ships_is_traced_once():
    """Else a sweep of built-in names would be traced anew each time."""
    built_in = [getattr(initializers, name) for name in ("zeros", "ones")]
    built_in += [initializers.get(name) for name in ("he_normal", "orthogonal", "normal")]
    built_in += [activations.get(name) for name in activations.names()]
    built_in += [optimizers.get(name) for name in optimizers.names()]
    built_in += [losses.get("softmax_cross_entropy", "multiclass"), nn.Dense(3), nn.relu]
    assert all(map(is_known, built_in))


@pytest.mark.parametrize(
    "value",
    [read_global, lambda x: x, Scaled(), Scaled, Scaled().__call__, jax.jit(lambda x: x), X,
     functools.partial(read_global), functools.partial(jnp.clip, min=X), nn.Sequential([abs]),
     jax.custom_jvp(read_global), [1], {"a": 1}],
)  # fmt: skip
def test_what_may_change_is_traced_anew(value):
    assert not is_known(value)
