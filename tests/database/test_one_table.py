"""Which runs of a store are one table, and what tells their environments apart."""

import json
import sqlite3

import numpy as np
import pytest
import test_store_files as files
from test_store_files import FIELDS, LAYOUT, fill, identities

import jinit
from jinit import _database as database

SETTINGS = {
    "grid": {"seeds": 4, "initializer": ["zeros", "ones"], "learning_rate": 0.1},
    "backend": "cpu",
    "rules": None,
    "versions": {"jinit": "0.1", "python": "3.11.1", "jax": "0.9", "jaxlib": "0.9", "optax": "1"},
    "machine": {"device": "cpu", "architecture": "x86_64", "processor": "one"},
    "jax": {"jax_enable_x64": False, "jax_debug_nans": False},
    "environment": {"XLA_FLAGS": "--b --a", "LIBTPU_INIT_ARGS": ""},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


def sweep(path, monkeypatch, seeds, **changed):
    settings = SETTINGS | {
        name: SETTINGS[name] | value if isinstance(SETTINGS.get(name), dict) else value
        for name, value in changed.items()
    }
    monkeypatch.setitem(FIELDS, "settings", json.dumps(settings))
    fill(path, seeds)


@pytest.mark.parametrize(
    "changed",
    [
        {"versions": {"python": "3.11.2", "jinit": "0.2", "optax": "2"}},
        {"machine": {"processor": "two"}},
        {"jax": {"jax_debug_nans": True}},
        {"environment": {"XLA_FLAGS": "--a  --b --xla_force_host_platform_device_count=4"}},
    ],
)
def test_what_changes_no_identity_does_not_split_a_table(path, monkeypatch, changed):
    """The second sweep finds the runs of the first, so its table has them."""
    sweep(path, monkeypatch, range(3))
    sweep(path, monkeypatch, range(3, 5), **changed)
    assert jinit.read(path)["seed"].tolist() == [0, 1, 2, 3, 4]
    assert len(jinit.read(path, sweep=1)) == 5


@pytest.mark.parametrize(
    "changed",
    [
        {"versions": {"jax": "0.10"}},
        {"machine": {"architecture": "arm64"}},
        {"jax": {"jax_enable_x64": True}},
        {"environment": {"XLA_FLAGS": "--a"}},
        {"rules": {"kernel": "zeros"}},
    ],
)
def test_what_changes_every_identity_splits_a_table(path, monkeypatch, changed):
    sweep(path, monkeypatch, range(3))
    sweep(path, monkeypatch, range(3, 5), **changed)
    with pytest.raises(ValueError, match="one sweep of each kind"):
        jinit.read(path)


def race(number):
    marks = {
        "halving": {"factor": 2, "across": ["learning_rate"], "keep": []},
        "looks": {"seeds": [2], "most": 4},
        "grid": {"learning_rate": [0.1, 0.2]},
        "dropped": [[0.2, number, "0.5"]],
    }
    return {"marks": marks}


def test_a_plain_sweep_and_a_race_are_one_table(path, monkeypatch):
    sweep(path, monkeypatch, range(3))
    sweep(path, monkeypatch, range(3, 5), **race(1))
    table = jinit.read(path)
    assert table["seed"].tolist() == [0, 1, 2, 3, 4]
    assert table["dropped"].tolist() == [0] * 5


def computed_by(path, program, environment, seeds):
    """Adds the runs of a program of another environment to the newest sweep."""
    writer = database.Writer(path)
    with writer.transaction() as connection:
        number = database.registered(connection, "environments", environment.encode().ljust(16),
                                     {"settings": json.dumps({"caches": environment})})  # fmt: skip
        place = database.registered(connection, "programs", program.encode().ljust(16), {
            "environment": number, "label": b"l" * 16, "name": program, "tile": 2,
            "layout": LAYOUT.text()})  # fmt: skip
        first = database.next_run(connection)
        newest = connection.execute("SELECT max(id) FROM sweeps").fetchone()[0]
    rows = database.RunRows(LAYOUT, sweep=newest, program=place, machine="there")
    curves = {"test_loss": np.zeros((len(seeds), 2), np.float32)}
    writer.put(rows.rows(first, identities(seeds, program), files.columns(seeds), curves,
                         [{} for _ in seeds]))  # fmt: skip
    writer.close()


@pytest.mark.parametrize("columns", [None, ("test_loss",)])
def test_runs_of_several_environments_are_marked(path, columns):
    fill(path, [])
    computed_by(path, "first", "avx2", [0, 1, 4])
    assert "environment" not in jinit.read(path, columns=columns).columns
    computed_by(path, "second", "avx512", [2, 3])
    with pytest.warns(UserWarning, match="several environments"):
        table = jinit.read(path, columns=columns)
    other = "caches avx2 (here avx512)"
    assert table["seed"].tolist() == [0, 1, 2, 3, 4]
    assert table["environment"].tolist() == [other, other, "this", "this", other]
    assert "environment" not in table.axes


@pytest.mark.parametrize("asked", [0.1, float(np.float32(0.1))])
def test_two_numbers_that_are_one_float32_are_one_value(path, monkeypatch, asked):
    short, long = 0.1, float(np.float32(0.1))
    made = files.columns
    for seeds, value in ((range(2), short), (range(2, 5), long)):
        monkeypatch.setattr(
            files, "columns",
            lambda *a, v=value: {**made(*a), "learning_rate": np.full(len(a[0]), v)},
        )  # fmt: skip
        sweep(path, monkeypatch, seeds, grid={"learning_rate": [asked, 0.5]})
    table = jinit.read(path)
    assert table["seed"].tolist() == [0, 1, 2, 3, 4]
    assert table["learning_rate"].tolist() == [asked] * 5


@pytest.mark.parametrize(
    "change",
    ["planned = 'many'", "started = 'once'", "started = 1e300", "ended = 'later'",
     "planned = 1.5", "settings = '{\"grid\": 3}'", "settings = '[]'",
     """settings = '{"marks": {"looks": {"seeds": 3}}}'""",
     """settings = '{"marks": {"grid": 3}}'"""],
)  # fmt: skip
def test_a_sweep_that_somebody_made_up_is_refused(path, change, capsys):
    from jinit.cli import main

    fill(path)
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE sweeps SET {change}")
    connection.commit()
    connection.close()
    with pytest.raises(ValueError, match="what jinit wrote"):
        jinit.read(path)
    if "marks" not in change:
        assert main(["ls", str(path)]) == 2
        assert "what jinit wrote" in capsys.readouterr().err


def test_a_grid_of_nested_values_is_read(path, monkeypatch):
    grid = {"learning_rate": [[0.1]], "initializer": [["zeros"]]}
    sweep(path, monkeypatch, range(3), grid=grid)
    monkeypatch.setitem(FIELDS, "settings", json.dumps(SETTINGS | {"grid": grid}))
    fill(path, range(3), arm="ones")
    assert jinit.read(path).settings["grid"]["initializer"][1:] == ["zeros", "ones"]
