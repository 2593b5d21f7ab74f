"""Functions of the user, traced once per set of shapes and compared by their traces."""

import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinit.engine._traced import Recall, Signature, Traced

X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
W = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
SCALE, SLOPE, TABLE = 2.0, 3.0, np.arange(2, dtype=np.float32)


@jax.custom_jvp
def ruled(x):
    return 2 * x


ruled.defjvp(lambda primals, tangents: (ruled(*primals), SLOPE * tangents[0]))


@jax.custom_vjp
def reversed_(x):
    return 2 * x


reversed_.defvjp(lambda x: (2 * x, x), lambda x, g: (SLOPE * g * x,))


def scaled(w, x):
    return SCALE * nn.gelu(x @ w) + TABLE


def looped(w, x):
    def body(h, _):
        return nn.tanh(h * SCALE), None

    return jax.lax.scan(body, nn.relu(x @ w), None, length=3)[0]


def noisy(w, x):
    kept = jax.random.bernoulli(jax.random.key(3), 0.5, x.shape)
    return nn.softmax(jnp.where(kept, x, 0) @ w) * SCALE


def with_rule(w, x):
    return ruled(x @ w) * jax.checkpoint(jnp.sin)(x @ w)


def with_reverse(w, x):
    return reversed_(x @ w)


FUNCTIONS = [scaled, looped, noisy, with_rule, with_reverse]


def code_of(function, *args):
    traced = Traced(function)
    traced(*args)
    return traced.code(*traced.signatures())


def again(monkeypatch, function, name, value):
    """Whether what was made from a function is found again after a global has changed."""
    kept, first = Recall(), Traced(function)
    first(W, X)
    kept.keep("key", (first,), "made")
    monkeypatch.setitem(globals(), name, value)
    return kept.find("key", (Traced(function),)) is not None


@pytest.mark.slow
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_traced_function_lowers_to_the_code_of_the_function(function):
    def program(apply):
        def gradient(w, x):
            return jax.grad(lambda w: apply(w, x).sum())(w)

        lanes = jnp.stack([W, 2 * W])
        lowered = jax.jit(jax.vmap(gradient, in_axes=(0, None))).lower(lanes, X)
        return lowered.as_text(), lowered.compile()(lanes, X)

    (expected, values), (found, ours) = program(function), program(Traced(function))
    assert found == expected
    np.testing.assert_array_equal(ours, values)


@pytest.mark.slow
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_called_once_per_shape_dtype_and_precision(function):
    traced = Traced(function)
    for _ in range(3):
        jax.jit(jax.vmap(traced, in_axes=(0, None)))(W[None], X)
    assert traced.traces == 1
    traced(W, X[:2])
    with jax.default_matmul_precision("highest"):
        traced(W, X[:2])
    assert traced.traces == 3 == len(traced.signatures())


@pytest.mark.slow
@pytest.mark.parametrize("function", FUNCTIONS)
def test_two_traces_of_one_function_have_one_code(function):
    first = code_of(function, W, X)
    assert first is not None
    assert first == code_of(lambda w, x: function(w, x), W, X)
    others = [one for one in FUNCTIONS if one is not function]
    assert all(code_of(one, W, X) != first for one in others)


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        (scaled, "SCALE", 2.5),
        (scaled, "TABLE", np.array([0, 2], np.float32)),
        (looped, "SCALE", 2.5),
        (with_rule, "SLOPE", 2.5),
        (with_reverse, "SLOPE", 2.5),
    ],
)
def test_a_change_of_a_global_constant_or_derivative_is_seen(function, name, value, monkeypatch):
    assert again(monkeypatch, function, name, globals()[name])
    assert not again(monkeypatch, function, name, value)


def test_zeros_of_both_signs_and_ranks_are_different_constants():
    codes = [
        code_of(lambda w, x, zero=zero: x * zero, W, X)
        for zero in (0.0, -0.0, np.zeros(4, np.float32), -np.zeros(4, np.float32))
    ]
    assert len(set(codes)) == 4


def test_a_function_that_calls_back_into_python_is_never_found_again(monkeypatch):
    def calls(w, x):
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    def calls_known(w, x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    def prints(w, x):
        jax.debug.print("{x}", x=x.sum())
        return x

    for function in (calls, calls_known, prints):
        assert code_of(function, W, X) is None
        assert not again(monkeypatch, function, "SCALE", SCALE)


def test_a_value_is_found_only_if_every_shape_that_it_was_made_for_repeats(monkeypatch):
    def other_for_many(w, x):
        return x * SCALE if len(x) > 2 else x

    kept, first = Recall(), Traced(other_for_many)
    first(W, X[:2])
    first(W, X)
    kept.keep("key", (first,), "made")
    assert kept.find("key", (Traced(other_for_many),)) == "made"
    assert kept.find("another key", (Traced(other_for_many),)) is None
    monkeypatch.setitem(globals(), "SCALE", 7.0)
    assert kept.find("key", (Traced(other_for_many),)) is None


def test_values_of_several_functions_stay_under_one_key_and_old_ones_go():
    kept = Recall(each=2)
    made = [Traced(lambda w, x, n=n: x * n) for n in (2.0, 3.0, 4.0)]
    for number, one in enumerate(made):
        one(W, X)
        kept.keep("key", (one,), number)
    assert [kept.find("key", (Traced(one.function),)) for one in made] == [None, 1, 2]


def test_a_traced_function_is_pickled_as_the_function_and_compared_as_the_function():
    traced = Traced(scaled)
    traced(W, X)
    copy = pickle.loads(pickle.dumps(traced))
    assert (copy.function, copy.traces) == (scaled, 0)
    assert copy == traced
    assert hash(copy) == hash(traced)
    assert traced != Traced(looped)


def test_signatures_tell_weak_types_apart():
    strong = jnp.asarray(1.0, jnp.float32) + 0
    assert Signature.of((jnp.asarray(1.0),), {}) != Signature.of((strong,), {})


@jax.custom_jvp
def recursive(x):
    return 2 * x


# The rule calls the function on another shape each time.
recursive.defjvp(lambda primals, tangents: (
    recursive(*primals), tangents[0] * recursive(jnp.concatenate([primals[0]] * 2)).mean()
))  # fmt: skip


def test_a_derivative_that_calls_its_own_function_is_not_compared():
    assert code_of(lambda w, x: recursive(x @ w), W, X) is None


def signs(slope):
    """A sign whose derivative is a number."""
    sign = jax.custom_jvp(jnp.sign)
    sign.defjvp(lambda primals, tangents: (jnp.sign(*primals), slope * tangents[0]))
    return sign


def test_the_second_of_two_functions_with_one_code_has_its_own_derivative():
    one, other = signs(1.0), signs(3.0)
    both = code_of(lambda w, x: one(x @ w) + other(x @ w), W, X)
    assert both != code_of(lambda w, x: one(x @ w) + one(x @ w), W, X)
    assert both == code_of(lambda w, x: signs(1.0)(x @ w) + signs(3.0)(x @ w), W, X)
