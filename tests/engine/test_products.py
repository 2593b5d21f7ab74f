"""Rewritten products against the plain function: other sums, the same values, in any model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinit.engine._products import with_fast_products

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def dense(w, x):
    return jnp.mean(jnp.tanh(x @ w) ** 2)


def sequences(w, x):
    return jnp.mean(jnp.tanh(jnp.einsum("btd,dhk->bthk", x, w)) ** 2)


def called(w, x):
    return jax.jit(dense)(w, x)


def outwards(w, x):
    """A layer with kernels of (out, in), as Equinox calls it for each example."""
    return jnp.mean(jnp.tanh(jax.vmap(lambda one: w @ one)(x)) ** 2)


def looped(w, x):
    return jnp.mean(jax.lax.scan(lambda h, _: (jnp.tanh(h @ w), None), x, None, length=3)[0] ** 2)


MODELS = {
    "dense": (dense, (12, 8), (16, 12)),
    "sequences": (sequences, (12, 2, 4), (4, 5, 12)),
    "called": (called, (12, 8), (16, 12)),
    "outwards": (outwards, (8, 12), (16, 12)),
    "looped": (looped, (8, 8), (16, 8)),
}


def barriers(function, *args):
    return str(jax.make_jaxpr(function)(*args)).count("optimization_barrier")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_gradient_is_the_plain_one_and_its_products_are_rewritten(name):
    model, *shapes = MODELS[name]
    args = [normal(3, *shape) for shape in shapes]
    plain = jax.vmap(jax.value_and_grad(model))
    fast = jax.vmap(with_fast_products(jax.value_and_grad(model)))
    assert barriers(fast, *args) == 1
    assert barriers(plain, *args) == 0
    for ours, exact in zip(jax.jit(fast)(*args), jax.jit(plain)(*args), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=2e-5, atol=2e-7)


def test_products_that_a_copy_would_slow_down_are_left_alone():
    for shapes in (((12, 3), (16, 12)), ((12, 8), (4, 12)), ((512, 512), (8, 512))):
        args = [normal(*shape) for shape in shapes]
        assert barriers(with_fast_products(jax.grad(dense)), *args) == 0


def test_values_that_are_not_traced_are_not_traced():
    """Python code may look at them, as without the rewriting."""
    found = with_fast_products(lambda x: x if x.sum() > 0 else -x)(jnp.full(3, -1.0))
    assert found.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.slow
def test_what_a_function_closes_over_may_be_traced():
    x = normal(16, 12)

    def inside(scale):
        return with_fast_products(jax.grad(lambda w: dense(w, x) * scale))(jnp.ones((12, 8)))

    exact = jax.grad(lambda w: dense(w, x))(jnp.ones((12, 8)))
    found = jax.jit(jax.vmap(inside))(jnp.arange(3.0))
    np.testing.assert_allclose(found[2], 2 * exact, rtol=2e-5, atol=2e-7)
