"""Tables are joined, written without pandas, and read back as they were."""

import io
import os
import subprocess
import sys

import numpy as np
import pandas
import pytest

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


def test_parquet_comes_back_with_curves_axes_and_settings(tmp_path):
    table = made()
    table.write(tmp_path / "runs.parquet")
    found = results.read(tmp_path / "runs.parquet")
    assert (found.axes, found.settings) == (table.axes, table.settings)
    assert list(found.columns) == list(table.columns)
    for name, column in table.columns.items():
        np.testing.assert_array_equal(found[name], column)
        assert found[name].dtype == column.dtype
    np.testing.assert_array_equal(found.curves["test_loss"], CURVES["test_loss"])
    np.testing.assert_array_equal(found.curve_steps, table.curve_steps)


def test_files_that_are_no_tables_are_refused(tmp_path):
    made().write(tmp_path / "runs.csv")
    (tmp_path / "text.parquet").write_text("text")
    pandas.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    for name in ("runs.csv", "text.parquet", "foreign.parquet", "none.parquet"):
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


def test_what_may_differ_can_be_named():
    other = made({"versions": {"jax": "2"}}, seed=np.array([7, 8, 9]))
    assert len(results.concat([made(), other], ignore=("versions.jax",))) == 6
    for wrong in (made(), [made(), 3], 3):
        with pytest.raises(TypeError):
            results.concat(wrong)
    with pytest.raises(ValueError, match="tables: got 'none'"):
        results.concat([])
