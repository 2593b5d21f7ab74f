"""Schedules, own optimizers and validation in a sweep, against plain loops over optax."""

import jax
import numpy as np
import optax
import pytest

import jinit
from jinit import data, models
from jinit.sweep import run_key
from jinit.train import losses
from jinit.train._batches import minibatch

GRID = {"dataset": "iris", "depth": 1, "width": 8, "steps": 20, "evaluations": 3, "seeds": 2}


def decayed(learning_rate, weight_decay):
    def mask(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    return optax.adamw(learning_rate, weight_decay=weight_decay, mask=mask)


def loop(optimizer, seed):
    """Final test loss of one network of GRID, trained by optax step by step."""
    iris, loss = data.get("iris"), losses.get(None, "multiclass")
    model = models.as_model(models.MLP((8, 3), "relu"))
    params = jinit.initialize(
        run_key(seed, "init"),
        model.shapes(iris.x_train[:1]),
        {"*kernel": "glorot_uniform", "*": "zeros"},
    )
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, number):
        chosen = minibatch(run_key(seed, "data"), number, 32, len(iris.x_train))
        x, y = jax.numpy.asarray(iris.x_train)[chosen], jax.numpy.asarray(iris.y_train)[chosen]
        gradient = jax.grad(lambda params: loss(model.apply(params, x), y))(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    for number in range(20):
        params, state = step(params, state, number)
    return float(loss(model.apply(params, iris.x_test), iris.y_test))


@pytest.mark.full
def test_a_run_is_the_loop_of_optax_with_its_schedule():
    decay = optax.exponential_decay(1.0, 5, 0.5)
    grid = jinit.Grid(**GRID, learning_rate=0.3, schedule=("warmup_cosine(warmup=0.2)", decay))
    assert len(jinit.plan(grid).programs) == 1
    table = jinit.run(grid)
    exact = {
        "warmup_cosine(warmup=0.2)": optax.warmup_cosine_decay_schedule(0, 0.3, 4, 20),
        "exponential_decay.schedule": optax.exponential_decay(0.3, 5, 0.5),
    }
    for label, schedule in exact.items():
        found = table.select(schedule=label)["test_loss"]
        expected = [loop(optax.sgd(schedule), seed) for seed in range(2)]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.full
def test_an_arm_under_a_schedule_is_that_arm_alone():
    both = jinit.run(jinit.Grid(**GRID, schedule=("constant", "cosine")))
    for schedule in ("constant", "cosine"):
        alone = jinit.run(jinit.Grid(**GRID, schedule=schedule))
        np.testing.assert_array_equal(
            both.select(schedule=schedule)["test_loss"], alone["test_loss"]
        )
    plain = jinit.run(jinit.Grid(**GRID))
    np.testing.assert_array_equal(both.select(schedule="constant")["test_loss"], plain["test_loss"])


@pytest.mark.full
def test_an_own_optimizer_is_optax_run_alone_with_masks_and_schedule():
    grid = jinit.Grid(**GRID, learning_rate=(0.01, 0.1), weight_decay=0.1, schedule="linear")
    table = jinit.run(grid, optimizer=decayed)
    assert set(table["optimizer"]) == {"decayed"}
    for rate in (0.01, 0.1):
        optimizer = decayed(optax.linear_schedule(rate, 0.0, 20), 0.1)
        exact = [loop(optimizer, seed) for seed in range(2)]
        np.testing.assert_allclose(table.select(learning_rate=rate)["test_loss"], exact, rtol=1e-3)


@pytest.mark.parametrize(
    ("grid", "optimizer", "error", "match"),
    [
        ({}, 0.1, TypeError, "optimizer: got 0.1"),
        ({}, optax.sgd(0.1), TypeError, "a function of the learning rate"),
        ({}, lambda learning_rate: 3, TypeError, "optax.GradientTransformation"),
        ({"optimizer": "adam"}, lambda learning_rate: 3, ValueError, "grid axis 'optimizer'"),
        ({"weight_decay": 0.1}, lambda learning_rate: 3, ValueError, "'weight_decay'"),
    ],
)
def test_own_optimizers_that_do_not_fit(grid, optimizer, error, match):
    with pytest.raises(error, match=match):
        jinit.plan(jinit.Grid(**GRID, **grid), optimizer=optimizer)


def test_schedules_that_do_not_fit():
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        jinit.Grid(schedule="cosin")
    with pytest.raises(ValueError, match="finite factors"):
        jinit.plan(jinit.Grid(**GRID, schedule=lambda step: -1.0))


@pytest.mark.slow
def test_the_best_step_is_chosen_by_the_validation_set():
    noisy = {**GRID, "evaluations": 12, "steps": 60, "seeds": 8, "learning_rate": 2.0}
    grid = jinit.Grid(**noisy, validation=0.25)
    table = jinit.run(grid)
    curves = table.curves["validation_loss"]
    best = curves.argmin(axis=1)
    assert (best != table.curves["test_loss"].argmin(axis=1)).any()
    rows = np.arange(len(table))
    np.testing.assert_array_equal(table["best_step"], table.curve_steps[best])
    np.testing.assert_array_equal(table["best_validation_loss"], curves[rows, best])
    np.testing.assert_array_equal(table["best_test_loss"], table.curves["test_loss"][rows, best])
    np.testing.assert_array_equal(
        table["best_test_accuracy"], table.curves["test_accuracy"][rows, best]
    )
    by_hand = jinit.run(
        jinit.Grid(**{**noisy, "dataset": "digits"}),
        data=data.get("iris").hold_out(0.25),
    )
    np.testing.assert_array_equal(by_hand["best_test_loss"], table["best_test_loss"])
    with pytest.raises(ValueError, match=r"validation: got 0\.95"):
        jinit.Grid(validation=0.95)
