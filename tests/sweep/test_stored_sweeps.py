"""A store on disk: what is finished is never computed twice, and never mixed with other things."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import sample

import jinit
from jinit import _database as database
from jinit import engine
from jinit._database import _kinds
from jinit.engine import _environment, _identity
from jinit.sweep._grid import CODE_AXES, NUMBER_AXES

SMALL = {"dataset": "xor", "depth": 1, "width": 4, "steps": 4, "evaluations": 2}
ARMS = ("he_normal", "zeros")


def run(store=None, seeds=6, seen=None, **more):
    grid = {**SMALL, "initializer": ARMS, **more}
    arguments = {name: grid.pop(name) for name in ("model", "data", "rules") if name in grid}
    events = []
    table = jinit.run(
        jinit.Grid(**grid, seeds=seeds), store=store, tile=4, progress=events.append, **arguments
    )
    if seen is not None:
        seen.append((sum(e.runs for e in events if e.kind == "tile"),
                     sum(e.runs for e in events if e.kind == "stored"),
                     "; ".join(e.note for e in events if e.note)))  # fmt: skip
    return table


def assert_same(found, expected):
    assert list(found.columns) == list(expected.columns)
    assert found.axes == expected.axes
    assert found.curve_steps.tolist() == expected.curve_steps.tolist()
    for mine, theirs in ((found.columns, expected.columns), (found.curves, expected.curves)):
        for name, column in theirs.items():
            assert mine[name].dtype == column.dtype, name
            if column.dtype == object:
                assert mine[name].tolist() == column.tolist(), name
            else:
                assert mine[name].tobytes() == column.tobytes(), name


@pytest.fixture(scope="module")
def whole():
    """Seed count → the table of a sweep without a store."""
    return {seeds: run(seeds=seeds) for seeds in (6, 11)}


@pytest.mark.slow
def test_the_same_sweep_again_computes_nothing_and_more_seeds_only_themselves(tmp_path, whole):
    seen, path = [], tmp_path / "runs.db"
    assert_same(run(path, seen=seen), whole[6])
    assert_same(run(path, seen=seen), whole[6])
    assert_same(run(path, seeds=11, seen=seen), whole[11])
    assert_same(run(path, initializer="zeros", seen=seen), whole[6].select(initializer="zeros"))
    assert [(computed, kept) for computed, kept, _ in seen] == [(12, 0), (0, 12), (10, 12), (0, 6)]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["runs.db"]


@pytest.mark.parametrize(
    "change",
    sample([{"steps": 5}, {"learning_rate": 0.2}, {"width": 5}, {"target_accuracy": 0.8},
     {"pairing": "independent"}, {"clip": "leaf_norm(0.1)"}, {"activation": "tanh"},
     {"initializer": ("normal(stddev=0.1)", "normal(stddev=0.2)")}, {"optimizer": "momentum"},
     {"schedule": "cosine"}, {"label_noise": 0.1}, {"validation": 0.2}, {"dataset": "two_moons"}]),
)  # fmt: skip
@pytest.mark.slow
@pytest.mark.sampled(2)
def test_whatever_changes_the_numbers_makes_another_run(tmp_path, change):
    seen, path = [], tmp_path / "runs.db"
    run(path, seeds=2, seen=seen)
    run(path, seeds=2, seen=seen, **change)
    assert [computed for computed, _, _ in seen] == [4, 4]


@pytest.mark.slow
def test_a_user_model_is_known_by_its_code_and_its_data(tmp_path):
    shapes = {"kernel": np.zeros((3, 1), np.float32)}
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 2, 60)
    factor = 1.0

    def apply(params, x):
        """Words that change no number."""
        return factor * jnp.tanh(x @ params["kernel"])

    seen = []
    given = {"model": (shapes, apply), "data": (x, y), "depth": jinit.Grid.depth,
             "width": jinit.Grid.width, "dataset": jinit.Grid.dataset}  # fmt: skip
    path = tmp_path / "runs.db"
    run(path, seeds=2, seen=seen, **given)
    apply.__doc__ = "Other words."
    run(path, seeds=2, seen=seen, **given)
    factor = 2.0
    run(path, seeds=2, seen=seen, **given)
    x = x + 1
    run(path, seeds=2, seen=seen, **(given | {"data": (x, y)}))
    assert [computed for computed, _, _ in seen] == [4, 0, 4, 4]
    assert "other code" in seen[2][2]
    # Two versions of a run are no two runs: the reader says which one is meant.
    with pytest.raises(ValueError, match=r"sweeps 1, 3, 4 computed the same.*sweep=4"):
        jinit.read(path)
    assert len(jinit.read(path, sweep=4)) == 4
    database.remove(path, [1, 3])
    assert len(jinit.read(path)) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axes", "arms"),
    [({"depth": 0, "width": (4, 8), "initializer": "he_normal"}, 2),
     ({"initializer": ("zeros", "constant(0.0)")}, 2),
     ({"schedule": (lambda step: 0.5, lambda step: 0.25 + 0.25)}, 4)],
)  # fmt: skip
def test_runs_of_equal_code_have_a_row_for_each_name(tmp_path, axes, arms):
    seen, path = [], tmp_path / "runs.db"
    table = run(path, seeds=2, seen=seen, **axes)
    assert len(table) == 2 * arms
    assert_same(run(path, seeds=2, seen=seen, **axes), table)
    assert len(jinit.read(path)) == 2 * arms
    assert [computed for computed, _, _ in seen] == [2 * arms, 0]


@pytest.mark.slow
def test_a_run_that_is_found_has_the_name_that_was_asked_for(tmp_path):
    def mine(key, shape, dtype=jnp.float32):
        return jax.random.normal(key, shape, dtype)

    path = tmp_path / "runs.db"
    for name in ("mine", "better"):
        assert set(run(path, seeds=2, initializer={name: mine})["initializer"]) == {name}
    shapes = {"kernel": np.zeros((2, 1), np.float32)}
    given = {"depth": jinit.Grid.depth, "width": jinit.Grid.width, "seeds": 2}

    def apply(params, x):
        return x @ params["kernel"]

    run(path, model=(shapes, apply), **given)
    table = run(path, model={"a": (shapes, apply), "b": (shapes, apply)}, **given)
    assert table["model"].tolist() == ["a"] * 4 + ["b"] * 4


def test_a_run_that_is_found_has_the_number_that_was_asked_for(tmp_path):
    """A run knows float32; the value that was asked for is the label of all its rows."""
    seen, path, other = [], tmp_path / "runs.db", np.float32(0.1)
    run(path, seeds=2, initializer="zeros", learning_rate=0.1)
    table = run(path, seeds=4, initializer="zeros", learning_rate=other, seen=seen)
    assert seen[0][:2] == (2, 2)
    assert table["learning_rate"].tolist() == [float(other)] * 4
    read = jinit.read(path)
    assert read["learning_rate"].tolist() == [float(other)] * 4
    assert read["test_loss"].tolist() == table["test_loss"].tolist()


@pytest.mark.slow
def test_runs_that_began_from_other_parameters_are_not_taken(tmp_path, monkeypatch):
    shapes = {"kernel": np.zeros((2, 1), np.float32)}
    here = _identity.describe()

    def trained(value):
        store = engine.FileStore(tmp_path / "runs.db", accept_environment=True)
        start = {"kernel": np.full((2, 1), value, np.float32)}
        model = (shapes, lambda params, x: x @ params["kernel"])
        grid = jinit.Grid(dataset="xor", steps=2, evaluations=2, seeds=2)
        return jinit.run(grid, model=model, start=start, store=store, progress=False)

    monkeypatch.setattr(_identity, "describe", lambda: {**here, "jax": "another"})
    trained(1.0)
    monkeypatch.setattr(_identity, "describe", lambda: here)
    assert "environment" not in trained(2.0).columns
    assert "environment" in trained(1.0).columns


@pytest.mark.slow
def test_runs_of_another_environment_are_named_and_taken_only_if_asked(
    tmp_path, monkeypatch, whole
):
    here, path, seen = _identity.describe(), tmp_path / "runs.db", []
    monkeypatch.setattr(_identity, "describe", lambda: {**here, "jaxlib": "0.0.1"})
    run(path, seen=seen)
    monkeypatch.setattr(_identity, "describe", lambda: here)
    accepting = engine.FileStore(path, accept_environment=True)
    accepted = run(accepting, seen=seen)
    assert_same(run(path, seen=seen), whole[6])
    assert [computed for computed, _, _ in seen] == [12, 0, 12]
    assert f"jaxlib 0.0.1 (here {here['jaxlib']})" in seen[2][2]
    assert set(accepted["environment"]) == {f"jaxlib 0.0.1 (here {here['jaxlib']})"}
    assert accepted["test_loss"].tolist() == whole[6]["test_loss"].tolist()
    # Runs of this environment come first.
    assert "environment" not in run(accepting).columns


@pytest.mark.parametrize(
    ("entry", "taken"), [("caches", False), ("instructions", False), ("jax", True)]
)
def test_a_changed_program_of_another_environment_is_not_taken_silently(
    tmp_path, monkeypatch, entry, taken
):
    """Equal versions lower equal code alike; otherwise nobody knows, and the row says so."""
    shapes = {"kernel": np.zeros((3, 1), np.float32)}
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 2, 60)
    factor, seen, path = 1.0, [], tmp_path / "runs.db"

    def apply(params, x):
        return factor * jnp.tanh(x @ params["kernel"])

    given = {"model": (shapes, apply), "data": (x, y), "depth": jinit.Grid.depth,
             "width": jinit.Grid.width, "dataset": jinit.Grid.dataset}  # fmt: skip
    here = _identity.describe()
    monkeypatch.setattr(_identity, "describe", lambda: {**here, entry: "another"})
    run(path, seeds=2, **given)
    monkeypatch.setattr(_identity, "describe", lambda: here)
    factor = 2.0
    accepting = engine.FileStore(path, accept_environment=True)
    table = run(accepting, seeds=2, seen=seen, **given)
    computed, _, note = seen[0]
    assert computed == (0 if taken else 4)
    assert ("may have changed" if taken else "other code") in note
    if taken:
        assert all("code cannot be compared" in each for each in table["environment"])
    else:
        assert "environment" not in table.columns


def test_sql_sees_numbers_and_says_why_one_is_missing(tmp_path, whole):
    path = tmp_path / "runs.db"
    run(path, learning_rate=(0.1, 1e38))
    connection = sqlite3.connect(path)
    query = "select initializer, avg(test_accuracy) from runs where learning_rate < 1 group by 1"
    found = dict(connection.execute(query))
    for arm in ARMS:
        expected = whole[6].select(initializer=arm)["test_accuracy"].astype(float).mean()
        assert found[arm] == pytest.approx(expected, rel=1e-12)
    rows = connection.execute("select missing, clip_fraction, train_loss, diverged from runs")
    for missing, clip_fraction, train_loss, diverged in rows:
        assert clip_fraction is None
        assert "clip_fraction: no clip" in missing
        assert (train_loss is None) == ("train_loss: diverged" in missing)
        assert train_loss is not None or diverged
    kinds = connection.execute("select distinct typeof(test_loss), typeof(depth) from runs")
    assert set(kinds.fetchall()) <= {("real", "integer"), ("null", "integer")}
    connection.close()


SCRIPT = """
import sys, time, jinit
def slowly(event):
    if event.kind == "tile":
        print(event.runs, flush=True)
        time.sleep(0.1)
grid = jinit.Grid(dataset="xor", depth=1, width=4, steps=4, evaluations=2, seeds=20,
                  initializer=("he_normal", "zeros"))
jinit.run(grid, store=sys.argv[1], tile=4, progress=slowly)
"""


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("after", sample([0, 1, 4, 8]))
def test_kill_9_loses_nothing_that_was_finished_half_a_second_ago(tmp_path, after):
    path = tmp_path / "runs.db"
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.PIPE) as one:
        finished = [(int(one.stdout.readline()), time.monotonic()) for _ in range(after + 1)]
        os.kill(one.pid, signal.SIGKILL)
        killed = time.monotonic()
    connection = sqlite3.connect(path)
    kept = connection.execute("select count(*) from runs").fetchone()[0]
    connection.close()
    assert kept >= sum(runs for runs, when in finished if when < killed - 0.5)
    seen = []
    assert_same(run(path, seeds=20, seen=seen), run(seeds=20))
    assert seen[0][:2] == (40 - kept, kept)


def test_a_store_knows_every_axis():
    """Sweeps that differ in their axes alone are one table."""
    assert set(_kinds.AXES) == {*CODE_AXES, *NUMBER_AXES, "clip"}


def test_a_store_knows_which_switches_are_no_part_of_an_identity():
    assert {*_kinds.CHECKS} == {*_environment.SWITCHES} - {*_environment.OF_BITS}


@pytest.mark.slow
def test_what_only_some_programs_have_is_read(tmp_path):
    """A task has metrics of its own, and a deeper network curves for further layers."""
    path, short = tmp_path / "runs.db", {"steps": 4, "evaluations": 2, "width": 4, "seeds": 2}
    grid = jinit.Grid(dataset=("xor", "linear_teacher"), depth=(1, 2), watch="weight_rms", **short)
    table = jinit.run(grid, store=path)
    found = jinit.read(path)
    for mine, theirs in ((found.columns, table.columns), (found.curves, table.curves)):
        assert set(mine) == set(theirs)
        for name, values in theirs.items():
            np.testing.assert_array_equal(mine[name], values, err_msg=name)
    one = jinit.read(path, columns=("test_r2",))
    np.testing.assert_array_equal(one["test_r2"], table["test_r2"])
    with pytest.raises(ValueError, match="test_r3"):
        jinit.read(path, columns=("test_r3",))
