"""Losses, metrics, optimizers and initializers of the user are traced once, as their models are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jinit import Grid, run
from jinit.engine import _program
from jinit.engine._divided import OnceTraced, parts_of, untraced
from jinit.engine._known import is_known
from jinit.sweep import plan
from jinit.sweep._network import TrainNetwork
from jinit.train import losses

FACTORS, CALLS = {"loss": 1.0, "metric": 1.0, "optimizer": 1.0, "initializer": 1.0}, []


def own_loss(outputs, y, params):
    CALLS.append("loss")
    size = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
    each = optax.softmax_cross_entropy_with_integer_labels(outputs, y)
    return FACTORS["loss"] * (each + 1e-3 * size)


def own_metric(outputs, y):
    CALLS.append("metric")
    return FACTORS["metric"] * (1 + (outputs.argmax(-1) == y).mean())


def own_optimizer(learning_rate, weight_decay):
    CALLS.append("optimizer")
    decay = optax.add_decayed_weights(weight_decay)
    return optax.chain(decay, optax.sgd(learning_rate), optax.scale(FACTORS["optimizer"]))


def own_initializer(key, shape, dtype):
    CALLS.append("initializer")
    return FACTORS["initializer"] * 0.5 * jax.random.normal(key, shape, dtype)


GRID = Grid(
    dataset="xor", depth=1, width=4, seeds=2, steps=2, batch_size=4, schedule="cosine",
    weight_decay=(0.0, 0.1), class_weights=(1.0, 2.0), initializer={"mine": own_initializer},
    loss=own_loss, metrics={"mine": own_metric},
)  # fmt: skip


def train():
    table = run(GRID, optimizer=own_optimizer, progress=False)
    names = ("train_loss", "test_loss", "test_mine", "gradient_norm")
    return {name: table[name] for name in names}


def assert_same(found, expected):
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.fixture(scope="module")
def trained():
    return train()


@pytest.mark.slow
def test_a_second_run_compiles_and_lowers_nothing_and_has_the_same_bits(trained, monkeypatch):
    monkeypatch.setattr(_program.Program, "_lowered", lambda *_: pytest.fail("lowered again"))
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *_: pytest.fail("compiled again"))
    CALLS.clear()
    assert_same(train(), trained)
    # A batch in training, all training examples, all test examples, and each function's check.
    most = {"loss": 6, "metric": 2, "optimizer": 4, "initializer": 8}
    counts = {name: CALLS.count(name) for name in most}
    assert all(counts[name] <= most[name] for name in most), counts


@pytest.mark.parametrize("what", FACTORS)
@pytest.mark.slow
@pytest.mark.sampled(2)
def test_a_changed_global_is_another_program(what, trained, monkeypatch):
    monkeypatch.setitem(FACTORS, what, 0.25)
    name = "test_mine" if what == "metric" else "test_loss"
    assert (train()[name] != trained[name]).all()


@pytest.mark.slow
def test_traced_functions_train_the_bits_of_untraced_ones(trained, monkeypatch):
    monkeypatch.setattr(OnceTraced, "of", lambda self, value: value)
    monkeypatch.setattr(TrainNetwork, "once_traced", lambda self, once: self)
    monkeypatch.setattr(_program, "divided", lambda function: (None, ()))
    monkeypatch.setattr(_program.Program, "_divided", lambda self, what: (None, ()))
    _program.forget()
    assert_same(train(), trained)


@pytest.mark.slow
def test_programs_with_one_loss_share_its_traces():
    planned = plan(Grid(dataset="xor", seeds=2, loss=own_loss, optimizer=("sgd", "adam"))).programs
    one, two = (parts_of(program.network.loss)[1] for program in planned)
    assert one[0] is two[0]


def test_what_is_left_of_a_loss_is_known_and_the_loss_comes_back():
    loss = losses.get(own_loss, "binary", 2)
    loss = losses.Loss("a", loss.function, loss.correct, loss.tasks, metrics=(("m", own_metric),))
    once = OnceTraced().of(loss)
    rest, parts = parts_of(once)
    assert is_known(rest)
    assert not is_known(once)
    assert untraced(once) == loss
    assert {part.function for part in parts} == {own_loss, own_metric}
