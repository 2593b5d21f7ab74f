"""Final parameters of chosen runs: those whose losses the table holds, and of no other run."""

import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import _database as database
from jinit import data, models
from jinit.sweep import _kept_parameters
from jinit.train import losses

ARMS = {"initializer": ("zeros", "he_normal"), "data_seeds": (0, 3)}
GRID = jinit.Grid(
    dataset="xor", depth=1, width=4, steps=4, seeds=(2, 5, 7), evaluations=2, batch_size=8, **ARMS
)


@pytest.fixture(scope="module")
def table():
    return jinit.run(GRID, tile=2, keep="all", progress=False)


def loss_of(params):
    xor, model = data.get("xor"), models.as_model(models.MLP((4, 1)))
    outputs = model.apply(params, jnp.asarray(xor.x_test))
    return losses.get(None, "binary")(outputs, jnp.asarray(xor.y_test))


@pytest.mark.full
def test_the_parameters_of_a_row_have_the_losses_of_the_row(table):
    assert list(table.parameters) == list(range(12))
    found = [loss_of(params) for params in table.parameters.values()]
    np.testing.assert_allclose(found, table["test_loss"], rtol=1e-5)
    assert len(set(table["test_loss"].tolist())) > 6  # another row would be seen


@pytest.mark.full
def test_rows_that_are_taken_or_joined_keep_their_parameters(table):
    some = table.take(np.array([7, -1]))
    assert some.parameters == {0: table.parameters[7], 1: table.parameters[11]}
    joined = jinit.concat([table.select(seed=2), table.select(seed=(5, 7))])
    for row, params in joined.parameters.items():
        np.testing.assert_allclose(loss_of(params), joined["test_loss"][row], rtol=1e-5)
    assert len(joined.parameters) == 12


def test_best_of_each_arm_and_seeds(table):
    # The test set would choose otherwise.
    columns = {**table.columns, "train_loss": -table["test_loss"]}
    turned = jinit.results.Table(columns, table.axes, {}, table.curve_steps)
    rows = np.arange(12).reshape(2, 6)
    expected = [arm[np.argmax(table["test_loss"][arm])] for arm in rows]
    assert _kept_parameters._rows(turned, "best of each arm").tolist() == expected
    # A validation set chooses where there is one; runs that failed are never the best.
    curves = np.full((12, 2), 3.0)
    curves[4], curves[8] = [0.5, 1.0], [2.0, np.nan]
    curves[:4], curves[9:] = np.nan, np.inf
    held = jinit.results.Table(
        table.columns, table.axes, {"validation_loss": curves}, table.curve_steps
    )
    assert _kept_parameters._rows(held, "best of each arm").tolist() == [4, 8]
    failed = held.columns["diverged"].copy()
    failed[4] = True  # its last loss was finite and small
    held = dataclasses.replace(held, columns={**held.columns, "diverged": failed})
    assert _kept_parameters._rows(held, "best of each arm").tolist() == [5, 8]
    assert _kept_parameters._rows(table, (2, 7)).tolist() == [0, 2, 3, 5, 6, 8, 9, 11]


def assert_same(found, expected):
    assert list(found) == list(expected)
    jax.tree.map(np.testing.assert_array_equal, list(found.values()), list(expected.values()))


@pytest.mark.slow
def test_a_store_changes_no_parameters(tmp_path):
    """Nothing stored, a part, all: the kept runs have the same bits, and the file none of them."""
    path, table = tmp_path / "runs.db", jinit.run(GRID, keep="all", progress=False)
    options = {"store": path, "progress": False}
    jinit.run(dataclasses.replace(GRID, seeds=(5,)), **options)
    for _ in range(2):
        found = jinit.run(GRID, keep="all", **options)
        np.testing.assert_array_equal(found["test_loss"], table["test_loss"])
        assert_same(found.parameters, table.parameters)
    assert len(jinit.read(path)) == 12
    assert not jinit.read(path).parameters
    assert database.verify(path) == []


@pytest.mark.full
def test_an_executor_changes_no_parameters(table, tmp_path):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for store in (None, tmp_path / "runs.db"):
            found = jinit.run(GRID, tile=2, keep=(2, 7), executor=pool, store=store, progress=False)
            expected = {row: table.parameters[row] for row in found.parameters}
            assert set(found["seed"][list(expected)].tolist()) == {2, 7}
            assert_same(found.parameters, expected)


@pytest.mark.parametrize(
    ("keep", "match"),
    [
        ("best", "keep.*best of each arm"),
        (3, "seeds of the grid"),
        ((2, 4), r"keep: got \[4\].*seeds of the grid"),
        (2.5, "keep"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_training(keep, match):
    events = []
    with pytest.raises((ValueError, TypeError), match=match):
        jinit.run(GRID, keep=keep, progress=events.append)
    assert not events


def test_parameters_beyond_the_memory_are_refused(monkeypatch):
    planned = jinit.plan(GRID)
    monkeypatch.setattr(_kept_parameters._executors, "host_memory", lambda: 500)
    with pytest.raises(ValueError, match=r"parameters of 12 runs.*best of each arm"):
        _kept_parameters.checked_keep("all", GRID, planned)
    monkeypatch.setattr(_kept_parameters._executors, "host_memory", lambda: 10**6)
    assert _kept_parameters.checked_keep([2, 7], GRID, planned) == (2, 7)
