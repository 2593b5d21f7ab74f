"""Refusals that a new user meets name the cause, and their fixes run."""

import os
import subprocess
import sys

import numpy as np
import optax
import pytest

import jinit
from jinit import data, errors
from jinit.data._from_arrays import from_arrays
from jinit.report import _console

pd = pytest.importorskip("pandas")
SMALL = {"depth": 1, "width": 4, "steps": 2, "seeds": 2, "evaluations": 2}
X = np.random.default_rng(0).normal(size=(60, 3)).astype("f")
Y = np.arange(60) % 2


@pytest.mark.parametrize(
    ("got", "name"), [("HE_NORMAL", "he_normal"), ("mse", "mean_squared_error"), ("zzz", None)]
)
def test_another_case_and_initials_are_recognized(got, name):
    known = ["he_normal", "hinge", "mean_squared_error"]
    message = str(errors.unknown_name("name", got, known, "names()"))
    assert (f"did you mean {name!r}?" in message) == (name is not None)


@pytest.mark.parametrize(
    "column", [["a", None] * 30, pd.array([True, None] * 30, dtype="boolean"),
               pd.Categorical(["a", None] * 30)],
)  # fmt: skip
def test_the_fix_for_missing_values_of_a_column_assigns(column):
    x = pd.DataFrame({"a": X[:, 0], "t": column})
    with pytest.raises(ValueError, match="30 missing values") as caught:
        from_arrays(x, Y, encode=True)
    exec(caught.value.fix, {"x": x})  # the fix is a statement
    assert from_arrays(x, Y, encode=True).x_test.shape[1] == 3


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [(optax.adam(1e-3), "an optimizer that is already made"),
     (lambda: optax.adam(1e-3), "cannot be called with a learning rate"),
     (lambda rate: 3, "returns a int")],
)  # fmt: skip
def test_an_optimizer_that_is_no_function_of_the_rate_is_named(optimizer, said):
    with pytest.raises(TypeError, match=said) as caught:
        jinit.run(jinit.Grid(optimizer=optimizer, dataset="xor", **SMALL))
    assert "Tracer" not in str(caught.value)


def test_a_probe_that_indexes_a_missing_leaf_names_the_leaves():
    grid = jinit.Grid(watch={"l": lambda params: params["nope"]}, dataset="xor", **SMALL)
    with pytest.raises(ValueError, match=r"probe 'l'.*KeyError.*hidden_0/kernel"):
        jinit.run(grid)


def test_a_target_on_a_metric_of_ones_own_says_how_to_pass_it():
    with pytest.raises(ValueError, match="metric of the target") as caught:
        jinit.run(jinit.Grid(target="test_f1>=0.8", dataset="xor", **SMALL))
    assert "metrics={'f1': function}" in caught.value.fix


def table(rates=(0.1,), steps=(1, 5)):
    rows = [(rate, arm, seed) for rate in rates for arm in ("a", "b") for seed in range(4)]
    rate, arm, seed = (np.array(column) for column in zip(*rows, strict=True))
    return jinit.results.Table(
        {"learning_rate": rate, "initializer": arm.astype(object), "seed": seed,
         "data_seed": seed.copy(), "test_loss": np.arange(len(rows), dtype=float)},
        ("learning_rate", "initializer", "seed", "data_seed"), {}, np.array(steps),
        {"grid": {"steps": steps[-1], "evaluations": 2}},
    )  # fmt: skip


def test_what_a_comparison_cannot_use_is_named():
    one = table()
    with pytest.raises(ValueError, match="of one value here"):
        jinit.compare(one, "test_loss", tune="learning_rate")
    empty = one.with_column("e", [float("nan")] * len(one))
    with pytest.raises(ValueError, match="every value of 'e' is NaN"):
        jinit.compare(empty, "e", higher_is_better=True)
    with pytest.raises(ValueError, match="a column of text"):
        jinit.compare(one.with_column("t", ["a"] * len(one)), "t", higher_is_better=True)
    with pytest.raises(ValueError, match="steps: 5 and 6"):
        jinit.concat([one, table(steps=(1, 6))])


def test_a_table_counts_no_axis_that_follows_another():
    assert "data_seed" not in repr(table())
    assert "seed × 4" in repr(table())


def test_a_file_that_does_not_exist_is_said_to_be_missing():
    with pytest.raises(ValueError, match="a file that exists"):
        jinit.read("nope.parquet")


def test_one_class_does_not_make_every_network_right():
    with pytest.warns(UserWarning, match="only has to learn which output"):
        data.from_arrays(X, np.zeros(60, int))


def test_columns_set_the_width_of_a_file(monkeypatch):
    with open(os.devnull, "w") as stream:
        assert _console.console_width(stream) == 142
        monkeypatch.setenv("COLUMNS", "300")
        assert _console.console_width(stream) == 300


def test_a_torch_model_is_not_advised_to_wrap_its_function():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="models that JAX computes") as caught:
        jinit.run(jinit.Grid(dataset="xor", steps=2, seeds=2), model=torch.nn.Linear(2, 2))
    assert "functional" not in caught.value.fix


def test_a_script_is_bad_input_of_verify(tmp_path):
    from jinit.cli import main

    script = tmp_path / "sig.py"
    script.write_text("print('this is no store at all')\n")
    assert main(["verify", str(script)]) == 2


@pytest.mark.full
def test_a_reader_that_has_enough_ends_the_list_of_experiments_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "list"], stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 0
