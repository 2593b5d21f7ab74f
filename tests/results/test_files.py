"""Tables are joined, written without pandas, and read back as they were."""

import io
import os
import subprocess
import sys

import numpy as np
import pandas
import pytest

import jinit
from jinit import results
from jinit.results import Table

COLUMNS = {
    "initializer": np.array(["he_normal", 'a "b", c', "zeros"], object),
    "depth": np.array([1, 2, 3]),
    "seed": np.array([0, 1, 2**32 - 1]),
    "test_loss": np.array([0.1, np.nan, 1e30], np.float32),
    "steps_to_target": np.array([np.inf, 3.0, -0.0]),
    "diverged": np.array([True, False, True]),
    "where": np.array(["", "loss", "ä"], object),
}
CURVES = {"test_loss": np.array([[0.5, np.nan], [np.inf, 1.0], [0.0, 0.1]], np.float32)}


def made(settings=None, **changes):
    columns = COLUMNS | changes
    return Table(columns, ("initializer", "depth", "seed"), CURVES, np.array([1, 4]),
                 {"grid": {"steps": 4, "depth": [1, 2, 3], "seeds": 3}, "seconds": 2.0,
                  "versions": {"jax": "1"}, **(settings or {})})  # fmt: skip


def test_csv_is_what_pandas_writes(tmp_path):
    made().to_csv(tmp_path / "ours.csv")
    text = io.StringIO()
    pandas.DataFrame(COLUMNS).to_csv(text, index=False)
    assert (tmp_path / "ours.csv").read_text(encoding="utf-8") == text.getvalue()


@pytest.mark.slow
def test_csv_needs_no_pandas(tmp_path):
    code = """if True:
        import sys
        sys.modules["pandas"] = None
        import numpy as np
        from jinit.results import Table
        Table({"seed": np.arange(3)}, ("seed",), {}, np.array([])).write(sys.argv[1])
        """
    path = tmp_path / "runs.csv"
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=100)
    assert path.read_text().split() == ["seed", "0", "1", "2"]


def equal(found, table):
    """Both tables have the same axes, columns, curves, dtypes, values and settings, in order."""
    assert (found.axes, found.settings) == (table.axes, table.settings)
    for mine, theirs in ((found.columns, table.columns), (found.curves, table.curves)):
        assert list(mine) == list(theirs)
        for name, array in theirs.items():
            assert mine[name].dtype == array.dtype, name
            if array.dtype.kind == "O":  # a NaN inside equals itself alone
                assert repr(mine[name].tolist()) == repr(array.tolist())
            else:
                np.testing.assert_array_equal(mine[name], array)
    np.testing.assert_array_equal(found.curve_steps, table.curve_steps)
    assert found.curve_steps.dtype == table.curve_steps.dtype


WAYS = {
    "parquet": lambda table, folder: table.write(folder / "t.parquet") or folder / "t.parquet",
    "pandas": lambda table, folder: table.to_pandas(),
    "xarray": lambda table, folder: table.to_xarray(),
}
ODD = {
    "plain": made(),
    "more": made(
        {"nothing": None, "nan": 0.5, "list": [1, "a", None, True]},
        none=np.array([None, "text", None], object),
        mixed=np.array([None, 1, "1"], object),
        gaps=np.array([None, np.nan, True], object),
        half=np.array([0.1, np.nan, -0.0], np.float16),
        small=np.array([-1, 0, 127], np.int8),
        large=np.array([0, 1, 2**64 - 1], np.uint64),
        unicode=np.array(["", "ä", "x"]),
        f1=np.array([0.1, np.nan, -np.inf]),
    ),
    "no curves": Table({"seed": np.arange(2)}, ("seed",), {}, np.array([])),
    "empty": made().take(np.array([], int)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("table", ODD.values(), ids=ODD)
def test_tables_come_back_exactly(way, table, tmp_path):
    equal(jinit.read(WAYS[way](table, tmp_path)), table)


def test_a_part_of_a_frame_with_a_further_column_is_a_table():
    frame = made().to_pandas()
    frame["f1"] = [0.5, 0.25, 0.125]
    equal(jinit.read(frame[frame["depth"] > 1]),
          made().with_column("f1", [0.5, 0.25, 0.125]).take(np.array([1, 2])))  # fmt: skip
    frame = made().to_pandas().astype({"depth": float, "test_loss": float})  # as a merge may do
    equal(jinit.read(frame), made())
    assert jinit.read(frame.assign(depth=[0.5, 1, 2]))["depth"].tolist() == [0.5, 1, 2]
    data = made().to_xarray().assign(f1=("run", [0.5, 0.25, 0.125])).isel(run=[2, 0])
    equal(jinit.read(data), made().with_column("f1", [0.5, 0.25, 0.125]).take(np.array([2, 0])))


@pytest.mark.full
def test_csv_gives_back_the_runs_of_a_sweep(tmp_path):
    table = jinit.run(jinit.Grid(dataset="xor", depth=1, width=4, learning_rate=(0.1, 1e-5),
                                 clip=(None, "leaf_norm(1.0)"), steps=3, seeds=2))  # fmt: skip
    path = tmp_path / "runs.csv"
    table.write(path)
    equal(jinit.read(path), Table(table.columns, table.axes, {}, np.array([], int)))


def test_foreign_frames_are_refused():
    for source in (pandas.DataFrame({"a": [1]}), made().to_xarray(unstack=True)):
        with pytest.raises(ValueError, match="got"):
            jinit.read(source)
    for source in (3, None, np.ones(3)):
        with pytest.raises(TypeError, match="source"):
            jinit.read(source)
    with pytest.raises(TypeError, match="settings of the table"):
        made({"function": len}).to_pandas()


def test_xarray_has_the_axes_as_dimensions():
    axes = {"initializer": ["zeros", "he_normal"], "depth": [8, 2], "seed": [0, 1, 2]}
    places = np.array(np.meshgrid(*(range(len(v)) for v in axes.values()), indexing="ij"))
    columns = {a: np.array(v, object if a == "initializer" else int)[p.ravel()]
               for (a, v), p in zip(axes.items(), places, strict=True)}  # fmt: skip
    value = np.arange(12) * 10
    table = Table(
        columns | {"data_seed": columns["seed"], "width": np.full(12, 4), "skipped": value},
        (*axes, "data_seed", "width"), {"loss": np.outer(value, [1.0, 2.0])}, np.array([1, 5]),
    )  # fmt: skip
    shuffled = table.take(np.random.default_rng(0).permutation(12))
    for each in (table, shuffled):
        found = each.to_xarray(unstack=True)
        assert set(found["curve_loss"].dims) == {*axes, "curve_step"}
        for row in range(12):
            at = {axis: each[axis][row] for axis in axes}
            assert found["skipped"].sel(at).item() == each["skipped"][row]
            assert (
                found["curve_loss"].sel(at | {"curve_step": 5}).item() == 2 * each["skipped"][row]
            )
        assert found["skipped"].dtype == int
        assert found["width"].item() == 4
    part = table.take(np.arange(11)).to_xarray(unstack=True)
    missing = {"initializer": "he_normal", "depth": 2, "seed": 2}
    assert np.isnan(part["skipped"].sel(missing))
    text = np.array(["a host"] * 11)  # not an array of objects
    rows = table.take(np.arange(11))
    hosts = Table({**rows.columns, "host": text}, rows.axes, rows.curves, rows.curve_steps)
    assert pandas.isna(hosts.to_xarray(unstack=True)["host"].sel(missing).item())
    with pytest.raises(ValueError, match="two runs that agree"):
        table.take(np.array([0, 0])).to_xarray(unstack=True)


def test_files_that_are_no_tables_are_refused(tmp_path):
    (tmp_path / "runs.csv").write_text("name,age\nada,36\n")
    (tmp_path / "uneven.csv").write_text("seed,test_loss\n1\n")
    (tmp_path / "text.parquet").write_text("text")
    pandas.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    for name in ("runs.csv", "uneven.csv", "text.parquet", "foreign.parquet", "none.parquet"):
        with pytest.raises(ValueError, match="path: got"):
            results.read(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO on this system")
def test_a_fifo_is_refused_and_a_link_keeps_pointing(tmp_path):
    os.mkfifo(tmp_path / "runs.csv")
    with pytest.raises(ValueError, match="no regular file"):
        results.check_output(tmp_path / "runs.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    (tmp_path / "real.csv").write_text("old")
    made().write(tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert "he_normal" in (tmp_path / "real.csv").read_text()


def test_joined_tables_have_all_rows_and_settings():
    more = made({"grid": {"steps": 4, "depth": 7, "seeds": [5, 6]}, "seconds": 1.0},
                depth=np.array([7, 7, 7]))  # fmt: skip
    found = results.concat([made(), more])
    assert found["depth"].tolist() == [1, 2, 3, 7, 7, 7]
    assert found.settings["grid"] == {"steps": 4, "depth": [1, 2, 3, 7], "seeds": [0, 1, 2, 5, 6]}
    assert found.settings["seconds"] == 3.0
    assert results.concat([made()]).settings == made().settings


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (made({"versions": {"jax": "2"}}, seed=np.array([7, 8, 9])), "versions.jax: '1' and '2'"),
        (made({"grid": {"steps": 5, "depth": 1, "seeds": 3}}, seed=np.array([7, 8, 9])),
         "grid.steps: 4 and 5"),
        (made({"x64": True}, seed=np.array([7, 8, 9])), "x64: 'absent' and True"),
        (made(extra=np.zeros(3), seed=np.array([7, 8, 9])), "columns of the tables"),
        (made(seed=np.array([0, 8, 9])), "2 times .*'seed': 0"),
    ],
)  # fmt: skip
def test_tables_of_other_sweeps_are_refused(other, match):
    with pytest.raises(ValueError, match=match):
        results.concat([made(), other])


def arms(initializer, seeds):
    count = len(seeds)
    columns = {"initializer": np.array([initializer] * count, object), "seed": np.array(seeds),
               "test_loss": np.zeros(count)}  # fmt: skip
    return Table(columns, ("initializer", "seed"), {}, np.array([]))


def test_arms_of_two_tables_share_seeds():
    with pytest.raises(ValueError, match=r"seeds of table 0: .*\[0, 1\] for initializer=a"):
        jinit.concat([arms("a", [0, 1]), arms("b", [2, 3])])
    assert len(jinit.concat([arms("a", [0, 1]), arms("b", [2, 3])], ignore=("seeds",))) == 4
    # More seeds of one arm, and a bridge between the arms.
    assert len(jinit.concat([arms("a", [0, 1]), arms("a", [2, 3])])) == 4
    assert len(jinit.concat([arms("a", [0, 1]), arms("a", [2, 3]), arms("b", [2, 3])])) == 6
    assert len(jinit.concat([arms("a", [0, 1]), arms("b", [1, 2])])) == 4


def test_what_may_differ_can_be_named():
    other = made({"versions": {"jax": "2"}}, seed=np.array([7, 8, 9]))
    assert len(results.concat([made(), other], ignore=("versions.jax",))) == 6
    for wrong in (made(), [made(), 3], 3):
        with pytest.raises(TypeError):
            results.concat(wrong)
    with pytest.raises(ValueError, match="tables: got 'none'"):
        results.concat([])
