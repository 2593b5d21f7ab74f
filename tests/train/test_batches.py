"""Epochs without replacement: every example once, odd last batches, the same order in all arms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinit
from jinit import data
from jinit.train import FitConfig, StatefulApply, fit, losses, optimizers
from jinit.train._batches import Batches, epoch_order

RNG = np.random.default_rng(0)
KEY = jax.random.key(5)
SQUARED = losses.get(None, "regression")


def numbered(examples):
    """A data set in which an example is its number."""
    x = np.arange(examples, dtype=np.float32)[:, None]
    return data.Dataset(x, x, x, x, task="regression", outputs=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("examples", "size"), [(12, 4), (13, 4), (13, 12), (5, 1), (4, 4), (4, 9), (1, 3)]
)
@pytest.mark.sampled(3)
def test_every_example_is_seen_exactly_once_per_epoch(examples, size):
    batches = Batches.of(numbered(examples), KEY, FitConfig(batch_size=size, sampling="epochs"))
    order, seen, sizes = batches.begin(), [], []
    steps = -(-examples // size)
    each = jax.jit(
        lambda number, order, whole: batches.each(
            number,
            order,
            # Both branches give one shape: the batch, filled up with −1.
            lambda batch: jnp.full(size, -1.0).at[: len(batch[0])].set(batch[0][:, 0]),
        ),
        static_argnums=2,
    )
    for number in range(3 * steps):
        batch, order = each(number, order, None)
        there = np.asarray(batch)[np.asarray(batch) >= 0].astype(int)
        seen.append(there.tolist())
        sizes.append(len(there))
    epochs = [
        [example for batch in seen[i * steps : (i + 1) * steps] for example in batch]
        for i in range(3)
    ]
    for number, epoch in enumerate(epochs):
        assert sorted(epoch) == list(range(examples))
        assert epoch == epoch_order(KEY, number, examples).tolist()
    assert sizes[:steps] == [min(size, examples - i * size) for i in range(steps)]
    assert examples < 5 or epochs[0] != epochs[1] != epochs[2]


@pytest.mark.slow
def test_orders_of_epochs_are_uniform():
    from scipy import stats

    orders = np.asarray(jax.vmap(lambda epoch: epoch_order(KEY, epoch, 4))(jnp.arange(2400)))
    codes = orders @ np.array([64, 16, 4, 1])
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def batch_mean(params, mean, x, key):
    """A network with the state of BatchNorm: the running mean of its inputs."""
    return params * (x - x.mean()), 0.5 * mean + 0.5 * x.mean()


@pytest.mark.full
def test_a_run_is_the_loop_of_numpy_with_its_odd_last_batch():
    x = RNG.normal(size=(7, 1)).astype(np.float32)
    y = (2 * x + 1).astype(np.float32)
    split = data.Dataset(x, y, x, y, task="regression", outputs=1)
    network = StatefulApply(
        batch_mean, lambda params, mean, x: params * (x - mean), state=jnp.zeros(())
    )
    config = FitConfig(steps=8, batch_size=3, sampling="epochs", evaluations=2)
    state, metrics = fit(
        jnp.float32(0.3), split, KEY, apply=network, loss=SQUARED, optimizer=optax.sgd(0.1),
        config=config,
    )  # fmt: skip
    weight, mean, said = 0.3, 0.0, []
    for number in range(8):
        epoch, place = divmod(number, 3)
        rows = np.asarray(epoch_order(KEY, epoch, 7))[3 * place : 3 * place + 3]
        centred, target = x[rows] - x[rows].mean(), y[rows]
        said.append(np.mean((weight * centred - target) ** 2))
        mean = 0.5 * mean + 0.5 * x[rows].mean()
        weight -= 0.1 * np.mean(2 * (weight * centred - target) * centred)
    np.testing.assert_allclose(state.params, weight, rtol=1e-5)
    np.testing.assert_allclose(state.model_state, mean, rtol=1e-4)
    np.testing.assert_allclose(metrics["curve_train_loss"][-1], np.mean(said[1:]), rtol=1e-5)


@pytest.mark.full
def test_a_batch_larger_than_the_data_is_the_whole_set():
    def trained(size, sampling):
        return fit(
            jnp.zeros((1, 1)), numbered(6), KEY, apply=lambda w, x: x @ w, loss=SQUARED,
            optimizer=optimizers.make("sgd", 0.01),
            config=FitConfig(steps=4, batch_size=size, sampling=sampling),
        )[0].params  # fmt: skip

    whole = trained(100, "epochs")
    np.testing.assert_allclose(whole, trained(6, "epochs"), rtol=1e-6)
    weight, x = 0.0, np.arange(6.0)
    for _ in range(4):
        weight -= 0.01 * np.mean(2 * x * (weight * x - x))
    np.testing.assert_allclose(whole, [[weight]], rtol=1e-5)
    with pytest.raises(ValueError, match=r"batch_size: got 100.*sampling='epochs'"):
        trained(100, "replacement")


GRID = {"dataset": "iris", "depth": 1, "width": 4, "steps": 6, "evaluations": 2, "seeds": 3,
        "batch_size": 50, "sampling": "epochs"}  # fmt: skip


@pytest.mark.full
def test_arms_of_a_sweep_see_the_same_epochs(assert_same_bits):
    arms = ("he_normal", "normal(stddev=1.0)")
    both = jinit.run(jinit.Grid(**GRID, initializer=arms))
    for arm in arms:
        alone = jinit.run(jinit.Grid(**GRID, initializer=arm))
        assert_same_bits(both.select(initializer=arm)["test_loss"], alone["test_loss"])
    # Networks that start alike and see the same examples in the same order end alike.
    orders = jinit.run(jinit.Grid(**GRID, initializer=("zeros", "constant(0.0)"), data_seeds=2))
    losses_of = [orders.select(initializer=arm)["test_loss"] for arm in sorted(
        set(orders["initializer"]))]  # fmt: skip
    assert_same_bits(*losses_of)
    assert len(set(losses_of[0].tolist())) == 2
    replaced = jinit.run(jinit.Grid(**{**GRID, "sampling": "replacement"}, initializer=arms))
    assert (both["test_loss"] != replaced["test_loss"]).all()
    assert both.settings["grid"]["sampling"] == "epochs"


@pytest.mark.slow
def test_the_plan_says_what_an_epoch_is(capsys):
    from jinit import report

    report.show(jinit.plan(jinit.Grid(**GRID)))
    assert "data iris · epochs: 3 steps of 50 examples, the last of 20" in capsys.readouterr().out
    report.show(jinit.plan(jinit.Grid(**{**GRID, "batch_size": 200})))
    assert "data iris · epochs: 1 step of 120 examples\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match="sampling 'epoch' is not known; did you mean 'epochs'"):
        jinit.Grid(sampling="epoch")
    with pytest.raises(ValueError, match="at most the 120 training examples of 'iris'"):
        jinit.plan(jinit.Grid(**{**GRID, "batch_size": 200, "sampling": "replacement"}))
