"""The commands that read and change stores."""

import contextlib
import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_store_files import fill, traced

import jinit
from jinit.cli import main


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "runs.db"
    fill(path)
    fill(path, arm="ones")
    return path


def test_show_prints_the_table(path, capsys):
    assert main(["show", str(path), "--metric", "test_loss", "--baseline", "zeros"]) == 0
    said = capsys.readouterr()
    assert "zeros" in said.out
    assert "complete: 4 of 4 runs" in said.err
    assert main(["show", str(path), "--json", "--watch"]) == 0
    assert json.loads(capsys.readouterr().out)["columns"]["seed"] == [0, 1, 2, 3] * 2


@pytest.mark.parametrize("command", ["show", "compare"])
@pytest.mark.parametrize("metric", ["test_loss", "regret"])
def test_printed_tables_read_few_columns(path, monkeypatch, capsys, command, metric):
    """No curves, and no metric that is not printed; a metric that no run has is refused."""
    statements = traced(monkeypatch)
    arguments = [command, str(path), "--metric", metric, "--baseline", "zeros"]
    code = main(arguments)
    said = capsys.readouterr()
    if metric == "regret":
        assert code == 2
        assert "diverged" in said.err
        return
    assert code == 0
    assert not any("FROM curves" in text for text in statements)
    monkeypatch.undo()
    jinit.report.show(jinit.read(path), metric=metric, baseline="zeros")
    assert capsys.readouterr().out == said.out


def test_ls_lists_sweeps(path, capsys):
    assert main(["ls", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("1  20")
    assert main(["ls", str(path), "--json"]) == 0
    assert [entry["computed"] for entry in json.loads(capsys.readouterr().out)] == [4, 4]


def test_verify_says_what_is_wrong_and_exits_with_1(path, capsys):
    assert main(["verify", str(path)]) == 0
    content = bytearray(path.read_bytes())
    place = content.index(b"jinit sweep")
    content[place : place + 5] = b"jimit"
    path.write_bytes(content)
    assert main(["verify", str(path)]) == 1
    assert "sweeps: row" in capsys.readouterr().out


def test_merge_and_rm(path, tmp_path, capsys):
    whole = tmp_path / "whole.db"
    assert main(["merge", str(whole), str(path)]) == 0
    assert "8 runs copied" in capsys.readouterr().err
    assert main(["rm", str(whole), "--sweep", "1"]) == 0
    assert jinit.read(whole)["initializer"].tolist() == ["ones"] * 4
    assert main(["rm", str(whole), "--sweep", "1"]) == 2


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_export_writes_tables(path, tmp_path, ending):
    out = tmp_path / f"runs.{ending}"
    assert main(["export", str(path), str(out)]) == 0
    found = jinit.read(out)
    assert found["test_loss"].astype("float32").tolist() == jinit.read(path)["test_loss"].tolist()


@pytest.mark.slow
def test_export_writes_netcdf(path, tmp_path):
    xarray = pytest.importorskip("xarray")
    out = tmp_path / "runs.nc"
    assert main(["export", str(path), str(out)]) == 0
    with xarray.open_dataset(out) as found:
        assert found["test_loss"].values.tolist() == jinit.read(path)["test_loss"].tolist()
        assert [str(arm) for arm in found["initializer"].values] == ["zeros"] * 4 + ["ones"] * 4


@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_an_exported_dataset_is_a_table_again(path, tmp_path, ending):
    xarray = pytest.importorskip("xarray")
    out = tmp_path / f"runs.{ending}"
    if ending == "zarr" and importlib.util.find_spec("zarr") is None:
        assert main(["export", str(path), str(out)]) == 2
        assert not out.exists()
        return
    assert main(["export", str(path), str(out)]) == 0
    opened = xarray.open_dataset if ending == "nc" else xarray.open_zarr
    with opened(out) as found:
        table = jinit.read(found.load())
    expected = jinit.read(path)
    assert table.axes == expected.axes
    for name, column in expected.columns.items():
        assert table[name].tolist() == column.tolist(), name
        assert table[name].dtype == column.dtype, name
    for name, curve in expected.curves.items():
        np.testing.assert_array_equal(table.curves[name], curve)


def test_pandas_reads_the_file(path):
    pandas = pytest.importorskip("pandas")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = pandas.read_sql("select initializer, avg(test_loss) m from runs group by 1",
                                connection)  # fmt: skip
    table = jinit.read(path)
    for arm, mean in zip(found["initializer"], found["m"], strict=True):
        assert mean == pytest.approx(table.select(initializer=arm)["test_loss"].mean(), rel=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [["show", "none.db"], ["ls", "runs.parquet"], ["export", "{}", "runs.doc"],
     ["merge", "{}", "{}"], ["sweep", "--mirror", "x"], ["sweep", "--accept-environment"],
     ["sweep", "--store", "no/folder/runs.db"], ["show", "{}", "--sweep", "9"]],
)  # fmt: skip
def test_bad_input_is_exit_code_2(path, arguments):
    assert main([each.format(path) for each in arguments]) == 2


@pytest.mark.slow
def test_ls_needs_no_jax(path):
    code = f"""
import sys
from pathlib import Path
sys.argv = ["jinit", "ls", {str(path)!r}]
from jinit.cli import main
main(sys.argv[1:])
print("jax" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=os.environ)  # fmt: skip
    assert done.stdout.splitlines()[-1] == "False"


GRID = """
dataset = "xor"
depth = 1
width = 4
steps = 4
seeds = 2
layer_norm = true
residual = false
initializer = ["he_normal", "zeros"]
"""


@pytest.mark.full
def test_a_grid_comes_from_a_file_and_options_win(tmp_path, capsys):
    file, store = tmp_path / "grid.toml", tmp_path / "runs.db"
    file.write_text(GRID)
    assert main(["sweep", "--grid", str(file), "--store", str(store), "--seeds", "3"]) == 0
    said = capsys.readouterr()
    assert "to go on" not in said.err
    table = jinit.read(store)
    assert table.settings["grid"]["layer_norm"] is True
    assert sorted(table["seed"]) == [0, 0, 1, 1, 2, 2]
    assert table.settings["grid"]["steps"] == 4


@pytest.mark.parametrize(
    ("text", "match"),
    [("depht = 3", "did you mean 'depth'"), ("depth = ", "grid.toml"), ("depth = [{}]", "depth"),
     ("seeds = 1979-05-27", "seeds")],
)  # fmt: skip
def test_a_file_that_is_no_grid_is_refused(tmp_path, monkeypatch, capsys, text, match):
    monkeypatch.chdir(tmp_path)  # an error cuts a long path
    Path("grid.toml").write_text(text)
    assert main(["plan", "--grid=grid.toml"]) == 2
    assert match in capsys.readouterr().err
    assert main(["plan", "--grid"]) == 2
    assert main(["plan", "--time-limit", "2 weeks"]) == 2


@pytest.mark.full
@pytest.mark.parametrize("interrupts", ["default_int_handler", "SIG_IGN"])
def test_a_time_limit_stops_cleanly_and_says_how_to_go_on(tmp_path, interrupts):
    """Also in a background job of a shell script, which ignores Ctrl-C."""
    store = tmp_path / "runs.db"
    started = (f"import runpy, signal; signal.signal(signal.SIGINT, signal.{interrupts}); "
               "runpy.run_module('jinit', run_name='__main__', alter_sys=True)")  # fmt: skip
    command = [sys.executable, "-c", started, "sweep", "--dataset", "xor", "--depth", "1",
               "--width", "4", "--steps", "20000", "--seeds", "4000", "--initializer", "he_normal",
               "zeros", "--tile", "16", "--store", str(store), "--time-limit", "8s"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 124
    assert done.stderr.splitlines()[-1] == f"to go on: jinit {' '.join(command[3:])}"
    assert "Traceback" not in done.stderr
    assert main(["verify", str(store)]) == 0
