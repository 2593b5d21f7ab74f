"""Accumulated gradients against one large batch, against optax.MultiSteps, and with state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinit
from jinit.train import FitConfig, StatefulApply, TrainState, make_train_step

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 12, 4)).astype(np.float32)
Y = RNG.standard_normal((3, 12, 2)).astype(np.float32)
PARAMS = {"bias": np.zeros(2, np.float32), "kernel": RNG.standard_normal((4, 2), np.float32)}


def apply(params, x):
    return jnp.tanh(x @ params["kernel"] + params["bias"])


def squared(outputs, y):
    return jnp.mean((outputs - y) ** 2)


def trained(optimizer, accumulate, x=X, y=Y, network=apply, params=PARAMS):
    step = make_train_step(network, squared, optimizer, accumulate)
    state = TrainState.create(jax.tree.map(jnp.asarray, params), optimizer, network)
    metrics = []
    for batch in zip(x, y, strict=True):
        state, of_step = step(state, batch)
        metrics.append(of_step)
    return state, metrics


def assert_close(one, other, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), one, other)


@pytest.mark.full
def test_parts_give_the_steps_of_the_whole_batch():
    for optimizer in (optax.adam(0.1), jinit.train.optimizers.make("sgd", 0.5, clip="global_norm")):
        whole, of_whole = trained(optimizer, 1)
        parts, of_parts = trained(optimizer, 4)
        assert_close(parts.params, whole.params)
        assert_close(of_parts, of_whole)
        assert int(parts.step) == 3


@pytest.mark.slow
def test_parts_are_the_small_steps_of_multi_steps():
    adam = optax.adam(0.1)
    several = optax.MultiSteps(adam, 4)
    state = TrainState.create(jax.tree.map(jnp.asarray, PARAMS), several)
    step = make_train_step(apply, squared, several)
    small = [array.reshape(12, 3, -1) for array in (X, Y)]
    for batch in zip(*small, strict=True):
        state, _ = step(state, batch)
    parts, _ = trained(adam, 4)
    assert_close(parts.params, state.params)
    assert int(state.step) == 12  # small steps of optax, updates of ours


@pytest.mark.slow
def test_half_precision_gradients_add_up_in_float32():
    # 1 + 2⁻⁸ · 1: bfloat16 sums would lose each of the small gradients.
    def linear(params, x):
        return x * params

    def total(outputs, y):
        return jnp.mean(outputs)

    x = jnp.array([[256.0] + [1.0] * 127], jnp.bfloat16)
    step = make_train_step(linear, total, optax.sgd(1.0), 128)
    state = TrainState.create(jnp.zeros((), jnp.bfloat16), optax.sgd(1.0))
    after, _ = step(state, (x[0], x[0]))
    assert float(after.params) == -float(jnp.bfloat16((256 + 127) / 128))


@pytest.mark.slow
def test_the_state_passes_through_the_parts_and_each_part_has_noise_of_its_own():
    def train(params, count, x, key):
        noise = jax.random.uniform(key)
        return x * params, {"count": count["count"] + 1, "noise": count["noise"] + noise}

    start = {"count": jnp.zeros(()), "noise": jnp.zeros(())}
    network = StatefulApply(train, lambda w, s, x: x * w, start, jax.random.key(3))
    x, y = jnp.ones((2, 4)), jnp.ones((2, 4))
    state, _ = trained(optax.sgd(0.1), 4, x, y, network, jnp.zeros(()))
    assert float(state.model_state["count"]) == 8
    keys = [
        jax.random.fold_in(jax.random.fold_in(jax.random.key(3), step), part)
        for step in range(2)
        for part in range(4)
    ]
    draws = [float(jax.random.uniform(key)) for key in keys]
    np.testing.assert_allclose(float(state.model_state["noise"]), sum(draws), rtol=1e-6)
    assert len(set(draws)) == 8


def test_a_part_that_is_not_finite_freezes_the_run():
    x = X.copy()
    x[1, 7] = np.nan
    state, _ = trained(optax.adam(0.1), 4, x)
    before, _ = trained(optax.adam(0.1), 4, X[:1], Y[:1])
    assert int(state.status) == 1
    assert_close(state.params, before.params, rtol=0)


GRID = {
    "dataset": "iris", "depth": 1, "width": 4, "steps": 6, "evaluations": 3, "seeds": 2,
    "optimizer": "adam", "learning_rate": 0.02, "schedule": "cosine",
}  # fmt: skip


@pytest.mark.full
def test_a_grid_accumulates_and_sees_the_examples_of_large_batches():
    parts = jinit.run(jinit.Grid(**GRID, batch_size=8, accumulate=4))
    whole = jinit.run(jinit.Grid(**GRID, batch_size=32))
    np.testing.assert_allclose(parts["test_loss"], whole["test_loss"], rtol=1e-4)
    np.testing.assert_allclose(
        parts.curves["train_loss"], whole.curves["train_loss"], rtol=1e-4, atol=1e-6
    )
    with pytest.raises(ValueError, match="a multiple of accumulate=7"):
        jinit.plan(jinit.Grid(**GRID, batch_size=5, accumulate=7, sampling="epochs"))
    assert parts.settings["grid"]["accumulate"] == 4
    small = jinit.run(jinit.Grid(**GRID, batch_size=8))
    assert (small["test_loss"] != parts["test_loss"]).all()


@pytest.mark.full
def test_a_grid_accumulates_in_epochs():
    epochs = jinit.run(jinit.Grid(**GRID, batch_size=5, accumulate=4, sampling="epochs"))
    whole = jinit.run(jinit.Grid(**GRID, batch_size=20, sampling="epochs"))
    np.testing.assert_allclose(epochs["test_loss"], whole["test_loss"], rtol=1e-4)


def test_accumulation_that_cannot_be():
    with pytest.raises(ValueError, match="accumulate: got 0"):
        FitConfig(accumulate=0)
    with pytest.raises(TypeError, match=r"accumulate: got 1\.5"):
        jinit.Grid(accumulate=1.5)
    with pytest.raises(ValueError, match="a multiple of accumulate=5"):
        trained(optax.sgd(0.1), 5)
    grid = jinit.Grid(dataset="xor", depth=1, accumulate=2, clip="per_example(1.0)")
    with pytest.raises(ValueError, match="clip_per_example"):
        jinit.plan(grid)
