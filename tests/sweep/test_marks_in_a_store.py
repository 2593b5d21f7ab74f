"""A table read from a store has the looks and decisions of the one that was returned."""

import functools

import numpy as np
import pytest

import jinit
from jinit import _database as database
from jinit._database import Entry
from jinit._database._marks import of_sweep
from jinit.sweep import Halving, Settle, run_halving, run_until_settled

SMALL = {"dataset": "xor", "depth": 1, "width": 4, "steps": 4, "evaluations": 2}
RATES = {**SMALL, "learning_rate": (0.5, 0.1, 0.001), "seeds": 12}


def stored(path):
    return functools.partial(jinit.run, store=path, progress=False)


def verdicts(table, **question):
    return [
        (item.cell, item.arm, item.baseline, item.verdict, item.p_value, item.result.pairs)
        for item in jinit.compare(table, **question)
    ]


def assert_same(read, live):
    assert list(read.columns) == list(live.columns)
    for name, column in live.columns.items():
        np.testing.assert_array_equal(read[name], column, err_msg=name)
    for name in ("looks", "halving"):
        assert read.settings.get(name) == live.settings.get(name)
    assert "marks" not in read.settings


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grid", "halving", "across"),
    [
        (RATES, Halving(), "learning_rate"),
        (
            {**SMALL, "initializer": ("zeros", "he_normal", "ones"), "learning_rate": (0.1, 0.5),
             "seeds": 16},
            Halving(factor=2, keep={"initializer": "zeros"}), "initializer",
        ),
    ],
)  # fmt: skip
def test_what_halving_dropped_comes_back(tmp_path, grid, halving, across):
    path = tmp_path / "runs.db"
    live = run_halving(jinit.Grid(**grid), halving, run=stored(path))
    assert set(live["dropped"].tolist()) >= {0, 1}
    assert_same(jinit.read(path), live)
    assert verdicts(jinit.read(path), across=across) == verdicts(live, across=across)
    # The same command again finds all runs, and enters its sweeps anew.
    again = run_halving(jinit.Grid(**grid), halving, run=stored(path))
    assert_same(jinit.read(path), again)
    # Without the looks p is smaller than the decisions allow.
    part = jinit.read(path, columns=["test_accuracy", "test_loss", "diverged"])
    np.testing.assert_array_equal(part["dropped"], live["dropped"])
    assert part.settings["looks"] == live.settings["looks"]


@pytest.mark.slow
def test_a_race_goes_on_from_a_plain_sweep(tmp_path):
    """Its runs have other digits of the same number, and the file gives the table of the race."""
    path, rates = tmp_path / "runs.db", RATES["learning_rate"]
    stored(path)(jinit.Grid(**RATES | {"seeds": 4, "learning_rate": [*map(np.float32, rates)]}))
    live = run_halving(jinit.Grid(**RATES), Halving(), run=stored(path))
    assert live["learning_rate"].tolist() == live["learning_rate"].astype(float).tolist()
    assert set(live["learning_rate"].tolist()) == set(rates)
    assert_same(jinit.read(path), live)


def test_an_interrupted_race_is_marked_as_far_as_decided(tmp_path):
    path, batches = tmp_path / "runs.db", []

    def run(batch):
        batches.append(batch)
        if len(batches) == 3:
            raise RuntimeError("stopped")
        return stored(path)(batch)

    grid = jinit.Grid(**RATES | {"seeds": 18, "learning_rate": (0.5, 0.2, 0.1, 0.01)})
    with pytest.raises(RuntimeError) as caught:
        run_halving(grid, Halving(factor=2), run=run)
    live, read = caught.value.table, jinit.read(path)
    assert set(live["dropped"].tolist()) == {0, 1, 2}
    # A decision is noted with the batch that follows it, which was never entered.
    assert read.settings["looks"] == live.settings["looks"]
    assert read.settings["halving"]["rungs"] == live.settings["halving"]["rungs"][:1]
    assert (read["dropped"] == np.where(live["dropped"] == 1, 1, 0)).all()


@pytest.mark.slow
def test_the_looks_of_a_sweep_come_back(tmp_path):
    path = tmp_path / "runs.db"
    grid = jinit.Grid(**SMALL, initializer=("he_normal", "glorot_normal"), seeds=4)
    settle = Settle(most_seeds=16, baseline="he_normal")
    live = run_until_settled(grid, settle, run=stored(path))
    assert len(live.settings["looks"]["seeds"]) > 1
    assert_same(jinit.read(path), live.take(_order(live)))
    assert verdicts(jinit.read(path)) == verdicts(live)
    # A plain sweep of the same kind that comes later has a number of seeds that was fixed.
    plain = stored(path)(jinit.Grid(**SMALL, initializer=("he_normal", "glorot_normal"), seeds=16))
    assert "looks" not in jinit.read(path).settings
    assert verdicts(jinit.read(path)) == verdicts(plain)
    assert jinit.read(path, sweep=3).settings["looks"] == live.settings["looks"]


@pytest.mark.slow
def test_a_store_stays_with_its_sweep_between_batches(tmp_path):
    """Whoever watches sees a sweep that goes on, and nobody else takes the store."""
    path, seen = tmp_path / "runs.db", []

    def states():
        with database.reading(path) as connection:
            return [entry.state for entry in database.sweeps(connection)]

    def note(text):
        seen.append(states())
        with pytest.raises(ValueError, match="one writer"):
            database.Writer(path)
        if len(states()) == 2:
            raise RuntimeError("stopped")

    grid = jinit.Grid(**SMALL, initializer=("he_normal", "glorot_normal"), seeds=2)
    settle = Settle(most_seeds=8, baseline="he_normal")
    with pytest.raises(RuntimeError, match="stopped"):
        run_until_settled(grid, settle, run=stored(path), note=note)
    assert seen == [["running"], ["complete", "running"]]
    assert states() == ["complete", "complete"]
    assert [each.name for each in tmp_path.iterdir()] == ["runs.db"]
    # Another store of a later batch closes the one before.
    other = [path, tmp_path / "other.db"]
    run_until_settled(
        grid,
        Settle(most_seeds=4, baseline="he_normal"),
        run=lambda batch: jinit.run(batch, store=other.pop(), progress=False),
    )
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other.db", "runs.db"]


def test_a_look_that_was_not_completed_was_not_made(tmp_path):
    path = tmp_path / "runs.db"

    class Stop(Exception):
        pass

    def run(batch):
        if batch.seeds == 4:
            return stored(path)(batch)

        def stop(event):
            raise Stop

        return jinit.run(batch, store=path, progress=stop)

    grid = jinit.Grid(**SMALL, initializer=("he_normal", "glorot_normal"), seeds=4)
    with pytest.raises(Stop) as caught:
        run_until_settled(grid, Settle(most_seeds=16, baseline="he_normal"), run=run)
    live = caught.value.table
    assert live.settings["looks"]["seeds"] == [4]
    assert jinit.read(path).settings["looks"] == live.settings["looks"]


@pytest.mark.parametrize(
    "marks", [3, {"looks": 3}, {"looks": {"seeds": 4}}, {"halving": {}}, {"halving": None}]
)
def test_marks_that_somebody_made_up_are_refused(marks):
    entry = Entry(1, 0.0, None, "stopped", 4, 4, "", {"marks": marks})
    with pytest.raises(ValueError, match="marks of the store"):
        of_sweep(entry, [entry])


def _order(table):
    """The rows in the order of a store: by arm, then by seed."""
    arms = list(dict.fromkeys(table["initializer"].tolist()))
    place = np.array([arms.index(arm) for arm in table["initializer"].tolist()])
    return np.lexsort([table["seed"], place])
