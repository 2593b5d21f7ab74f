"""Each precision against a loop of optax that computes in this precision by hand."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinit
from jinit.data import Dataset
from jinit.train import FitConfig, StatefulApply, fit, losses
from jinit.train._batches import minibatch
from jinit.train._precision import computing

KEY, STEPS, RATE = jax.random.key(5), 20, 0.3


@pytest.fixture
def bits64():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5)).astype(np.float32)
    y = rng.integers(0, 3, 40).astype(np.int32)
    params = {
        "first": rng.normal(size=(5, 8)).astype(np.float32) / 2,
        "second": rng.normal(size=(8, 3)).astype(np.float32) / 2,
    }
    data = Dataset(x, y, x[:10], y[:10], outputs=3, task="multiclass", name="made")
    return data, params


def network(params, x):
    return jnp.tanh(x @ params["first"]) @ params["second"]


def ours(precision):
    data, params = problem()
    state, metrics = jax.jit(
        lambda params: fit(
            params,
            data,
            KEY,
            apply=network,
            loss=losses.get(None, "multiclass"),
            optimizer=optax.adam(RATE / 10),
            config=FitConfig(steps=STEPS, batch_size=8, evaluations=2, precision=precision),
        )
    )(params)
    return state, metrics


def by_hand(compute, keep):
    """The parameters and the final training loss of a plain loop."""
    data, params = problem()
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, keep), params)
    optimizer = optax.adam(RATE / 10)
    state = optimizer.init(params)

    def objective(params, x, y):
        low = {name: leaf.astype(compute) for name, leaf in params.items()}
        outputs = network(low, jnp.asarray(x).astype(compute)).astype(keep)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

    slope = jax.jit(jax.grad(objective))
    for step in range(STEPS):
        rows = np.asarray(minibatch(KEY, step, 8, 40))
        updates, state = optimizer.update(
            slope(params, data.x_train[rows], data.y_train[rows]), state, params
        )
        params = optax.apply_updates(params, updates)
    return params, float(objective(params, data.x_train, data.y_train))


def apart(one, other):
    return max(
        float(jnp.abs(a.astype(float) - b.astype(float)).max())
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


@pytest.mark.full
def test_bfloat16_computes_low_and_keeps_float32():
    state, metrics = ours("bfloat16")
    low, loss = by_hand(jnp.bfloat16, jnp.float32)
    full, _ = by_hand(jnp.float32, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    # XLA may keep more digits inside a fusion than the loop does.
    assert apart(state.params, low) < apart(low, full) / 3
    np.testing.assert_allclose(metrics["train_loss"], loss, rtol=2e-2)
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), state.params)
    assert apart(rounded, state.params) > 0


@pytest.mark.slow
def test_float32_is_the_plain_loop():
    state, metrics = ours("float32")
    full, loss = by_hand(jnp.float32, jnp.float32)
    assert apart(state.params, full) < 2e-5
    np.testing.assert_allclose(metrics["train_loss"], loss, rtol=1e-5)


@pytest.mark.full
def test_float64_computes_and_keeps_64_bits(bits64):
    state, metrics = ours("float64")
    full, loss = by_hand(jnp.float64, jnp.float64)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float64")}
    assert apart(state.params, full) < 1e-13
    np.testing.assert_allclose(metrics["train_loss"], loss, rtol=1e-6)


@pytest.mark.slow
def test_float64_is_refused_in_32_bits_before_training():
    grid = jinit.Grid(dataset="xor", depth=1, width=4, steps=2, seeds=2, precision="float64")
    with pytest.raises(ValueError, match="JAX_ENABLE_X64=1"):
        jinit.plan(grid)
    with pytest.raises(ValueError, match="precision"):
        FitConfig(precision="float16")


@pytest.mark.slow
def test_running_statistics_keep_their_dtype():
    seen = []

    def train(params, mean, x, key):
        seen.append((params.dtype, mean.dtype, x.dtype))
        return params * (x - x.mean()), 0.5 * mean + 0.5 * x.mean().astype(jnp.float32)

    def evaluate(params, mean, x):
        return params * (x - mean)

    half = computing(StatefulApply(train, evaluate, state=jnp.zeros(())), "bfloat16")
    outputs, mean = half.train(jnp.ones(()), jnp.zeros(()), jnp.ones(4), None)
    assert seen == [tuple(map(jnp.dtype, ("bfloat16", "float32", "bfloat16")))]
    assert (outputs.dtype, mean.dtype) == (jnp.dtype("float32"),) * 2


def test_whole_numbers_are_not_rounded():
    tokens = computing(lambda table, x: table[x], "bfloat16")
    table = jnp.arange(1000.0)
    assert float(tokens(table, jnp.array([256]))[0]) == 256.0
    assert float(tokens(table, jnp.array([257]))[0]) == 256.0  # bfloat16 has 8 bits


@pytest.mark.full
def test_a_sweep_computes_in_its_precision_and_its_table_says_so():
    model = nn.Sequential([nn.Dense(6), nn.LayerNorm(), nn.tanh, nn.Dense(3)])
    grid = jinit.Grid(dataset="iris", steps=4, seeds=2, evaluations=2)
    full, low = (
        jinit.run(dataclasses.replace(grid, precision=precision), model=model, progress=False)
        for precision in ("float32", "bfloat16")
    )
    assert low.settings["grid"]["precision"] == "bfloat16"
    assert low["test_loss"].dtype == np.float32
    gap = np.abs(full["test_loss"] - low["test_loss"])
    assert (gap > 0).all()
    assert (gap < 0.05).all()
