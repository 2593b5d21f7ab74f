"""Tables out, summaries and verdicts against hand-made runs."""

import dataclasses
import io
import json
import math

import numpy as np
import pandas
import pytest

import jinit
from jinit.report import _console, to_json
from jinit.report._sweep_table import print_table
from jinit.results import Table, _metrics


def made(**arms):
    """A table with one accuracy per seed for each arm."""
    n = len(next(iter(arms.values())))
    values = np.concatenate([np.asarray(v, float) for v in arms.values()])
    columns = {
        "initializer": np.repeat(np.array(list(arms), object), n),
        "seed": np.tile(np.arange(n), len(arms)),
        "test_accuracy": values,
        "test_loss": 1 - values,
        "steps_to_target": np.where(values > 0.5, 100.0, math.inf),
        "diverged": values == 0,
    }
    return Table(columns, ("initializer", "seed"), {}, np.array([]))


RNG = np.random.default_rng(0)
BASE = 0.5 + 0.1 * RNG.normal(size=32)
ARMS = made(base=BASE, better=BASE + 0.05 + 0.02 * RNG.normal(size=32),
            same=BASE + 0.05 * RNG.normal(size=32), equal=BASE, dead=np.zeros(32))  # fmt: skip


def test_verdicts():
    found = {c.arm: c for c in jinit.compare(ARMS, baseline="base")}
    assert found["better"].verdict == "wins"
    assert found["dead"].verdict == "loses"
    assert found["dead"].diverged == 32
    assert found["same"].verdict == "not settled"
    assert "more seeds" in found["same"].sentence
    assert found["equal"].sentence == "not settled (no difference seen)"
    by_loss = {c.arm: c for c in jinit.compare(ARMS, "test_loss", baseline="base")}
    assert by_loss["better"].verdict == "wins"
    assert by_loss["better"].result.difference.estimate < 0
    by_time = {c.arm: c for c in jinit.compare(ARMS, "steps_to_target", baseline="base")}
    assert by_time["dead"].verdict in ("loses", "not settled")


def test_the_correction_counts_all_comparisons():
    found = jinit.compare(ARMS, baseline="base")
    raw = [c.result.p_value for c in found]
    assert [c.p_value for c in found] == pytest.approx(jinit.stats.holm(raw))


def test_without_a_baseline_every_pair_is_compared_once():
    found = jinit.compare(ARMS)
    assert len({frozenset((c.arm, c.baseline)) for c in found}) == len(found) == 10
    raw = [c.result.p_value for c in found]
    assert [c.p_value for c in found] == pytest.approx(jinit.stats.holm(raw))
    against_base = {c.arm: c for c in jinit.compare(ARMS, baseline="base")}
    for one in (c for c in found if c.baseline == "base"):
        # The same difference, under a stricter correction.
        np.testing.assert_equal(
            dataclasses.astuple(one.result.difference),
            dataclasses.astuple(against_base[one.arm].result.difference),
        )
        assert one.p_value >= against_base[one.arm].p_value


def test_diverged_runs_are_shown_with_and_without(capsys):
    half = BASE.copy()
    half[:8] = 0
    table = made(base=BASE, half=half)
    found = {s.arm: s for s in jinit.summarize(table)}
    assert found["half"].diverged_rate == jinit.stats.wilson(8, 32)
    assert found["half"].without_diverged == jinit.stats.bootstrap(BASE[8:])
    assert found["base"].without_diverged == found["base"].metric
    print_table(table, baseline="base")
    assert "without diverged" in capsys.readouterr().out
    print_table(made(base=BASE, dead=np.zeros(32)), baseline="base")
    assert "without diverged" not in capsys.readouterr().out


def test_a_metric_without_a_better_end_is_not_won():
    table = made(base=BASE, more=BASE)
    table.columns["gradient_norm"] = np.where(table["initializer"] == "more", 2.0, 1.0)
    assert [c.verdict for c in jinit.compare(table, "gradient_norm", baseline="base")] == ["higher"]


def test_a_task_without_accuracy_has_none_even_where_all_runs_diverged():
    table = made(base=BASE, dead=np.zeros(32))
    table.columns["test_accuracy"][:] = math.nan
    table.columns["steps_to_target"][:] = math.inf
    for summary in jinit.summarize(table, "test_loss"):
        assert math.isnan(summary.steps_to_target)
    dead = table.select(initializer="dead")
    assert _metrics.undefined(dead, "test_accuracy")


def test_summary():
    found = {s.arm: s for s in jinit.summarize(ARMS)}
    assert found["dead"].steps_to_target == math.inf
    assert found["base"].metric.low < np.median(BASE) < found["base"].metric.high
    assert found["dead"].diverged == found["dead"].runs == 32


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: jinit.compare(ARMS, baseline="bose"), "did you mean 'base'"),
        (lambda: jinit.compare(ARMS, "test_acuracy", baseline="base"), "did you mean"),
        (lambda: jinit.compare(ARMS, baseline="base", by=("depth",)), "axis 'depth'"),
        (lambda: ARMS["sed"], "did you mean 'seed'"),
        (lambda: ARMS.select(seed=99), "rows"),
        (lambda: ARMS.select(seed=(0, 99)), r"seed: got \[99\]"),
        (lambda: ARMS.select(seed=()), "seed"),
        (lambda: ARMS.with_column("f1", [1.0]), "values of 'f1': got '1 values'"),
        (lambda: ARMS.with_column("seed", np.zeros(len(ARMS))), "a new name"),
        (lambda: ARMS.write("x.xlsx"), "output path"),
        (lambda: ARMS.write("no/such/folder/x.csv"), "create the folder"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


SMALL = jinit.Grid(
    dataset="xor", depth=(1, 2), initializer=("zeros", "he_normal"), steps=20, seeds=4
)


@pytest.fixture(scope="module")
def table():
    return jinit.run(SMALL)


@pytest.mark.full
def test_files_hold_every_run(table, tmp_path):
    table.write(tmp_path / "t.csv")
    table.write(tmp_path / "t.parquet")
    csv, parquet = pandas.read_csv(tmp_path / "t.csv"), pandas.read_parquet(tmp_path / "t.parquet")
    assert len(csv) == len(parquet) == 16
    np.testing.assert_allclose(parquet["test_loss"], table["test_loss"])
    np.testing.assert_allclose(np.stack(parquet["curve_test_loss"]), table.curves["test_loss"])
    assert csv["initializer"].tolist() == table["initializer"].tolist()


@pytest.mark.slow
def test_xarray(table):
    found = table.to_xarray()
    assert found["curve_test_loss"].shape == (16, len(table.curve_steps))
    assert found.where(found["depth"] == 2, drop=True).sizes["run"] == 8


def test_the_printed_table_has_every_cell(table):
    out = io.StringIO()
    comparisons = print_table(table, baseline="zeros", stream=out)
    text = out.getvalue()
    assert len(comparisons) == 2
    for word in ("he_normal", "zeros", "baseline", "verdict", "− zeros", "depth 2"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 142


def test_json_is_strict(table):
    text = json.dumps(to_json(table, baseline="zeros"), allow_nan=False)
    found = json.loads(text)
    assert len(found["columns"]["seed"]) == 16
    assert found["comparisons"][0]["verdict"] in ("wins", "loses", "not settled")
    assert found["settings"]["versions"]["jax"]


def test_never_against_always_needs_few_more_seeds():
    table = made(base=np.zeros(4), arm=np.full(4, 0.9))
    columns = dict(table.columns) | {"diverged": np.zeros(8, bool)}
    table = Table(columns, table.axes, {}, np.array([]))
    (found,) = jinit.compare(table, "steps_to_target", baseline="base")
    assert found.result.more_pairs < 10
    assert "10,000" not in found.sentence


def test_a_metric_the_task_lacks_is_neither_zero_nor_a_verdict():
    columns = {
        "dataset": np.repeat(np.array(["digits", "linear_teacher"], object), 6),
        "initializer": np.tile(np.repeat(np.array(["a", "b"], object), 3), 2),
        "seed": np.tile(np.arange(3), 4),
        "test_accuracy": np.array([0.5] * 3 + [0.6] * 3 + [math.nan] * 6),
        "steps_to_target": np.ones(12),
        "diverged": np.zeros(12, bool),
    }
    table = Table(columns, ("dataset", "initializer", "seed"), {}, np.array([]))
    assert np.isnan(jinit.summarize(table)[-1].metric.estimate)
    assert [c.cell for c in jinit.compare(table, baseline="a")] == [{"dataset": "digits"}]
    stream = io.StringIO()
    print_table(table, baseline="a", stream=stream)
    assert ".000" not in stream.getvalue()


def test_crossed_data_seeds_are_averaged_before_pairing():
    rng = np.random.default_rng(0)
    columns = {
        "initializer": np.repeat(np.array(["a", "b"], object), 24),
        "seed": np.tile(np.repeat(np.arange(3), 8), 2),
        "data_seed": np.tile(np.arange(8), 6),
        "test_accuracy": rng.uniform(size=48),
        "diverged": np.zeros(48, bool),
    }
    table = Table(columns, ("initializer", "seed", "data_seed"), {}, np.array([]))
    assert jinit.compare(table, baseline="a")[0].result.pairs == 3


@pytest.mark.parametrize("width", [60, 80, 100, 142])
def test_the_verdict_is_never_cut_off(width, monkeypatch):
    monkeypatch.setattr(_console, "console_width", lambda stream: width)
    stream = io.StringIO()
    print_table(ARMS, baseline="base", stream=stream)
    text = stream.getvalue()
    assert "wins" in text
    assert "…" not in text.replace("1, …", "")
    assert max(map(len, text.splitlines()[:12])) <= width


def test_long_cells_leave_the_verdict_its_width(monkeypatch):
    count = 2 * len(ARMS)
    columns = {name: np.concatenate([column, column]) for name, column in ARMS.columns.items()}
    title = "two_moons_with_a_long_name"
    columns["dataset"] = np.repeat(np.array([title, title + "_2"], object), count // 2)
    table = Table(columns, (*ARMS.axes, "dataset"), {}, np.array([]))
    monkeypatch.setattr(_console, "console_width", lambda stream: 110)
    stream = io.StringIO()
    print_table(table, baseline="base", stream=stream)
    heading = next(line for line in stream.getvalue().splitlines() if "verdict" in line)
    assert len(heading) <= 110
    assert "not settled" in stream.getvalue() or "wins" in stream.getvalue()


def test_settings_travel_with_a_parquet_file(tmp_path):
    import pyarrow.parquet

    table = Table(ARMS.columns, ARMS.axes, {}, np.array([]), {"grid": {"depth": 3}})
    table.to_parquet(tmp_path / "runs.parquet")
    metadata = pyarrow.parquet.read_schema(tmp_path / "runs.parquet").metadata
    assert json.loads(metadata[b"jinit"]) == {"grid": {"depth": 3}}


def test_several_values_are_selected():
    some = ARMS.select(initializer=("base", "dead"), seed=np.array([3, 1]))
    assert some["seed"].tolist() == [1, 3, 1, 3]
    assert some["initializer"].tolist() == ["base"] * 2 + ["dead"] * 2
    assert len(ARMS.select(seed=range(3))) == 15


def test_a_column_of_ones_own_is_a_metric():
    values = np.where(ARMS["initializer"] == "better", 2.0, 1.0)
    table = ARMS.with_column("f1", values.tolist())
    assert "f1" not in ARMS.columns
    found = {c.arm: c for c in jinit.compare(table, "f1", baseline="base", higher_is_better=True)}
    assert (found["better"].verdict, found["same"].verdict) == ("wins", "not settled")
    named = ARMS.with_column("kind", ["a", None, *["b"] * (len(ARMS) - 2)])
    assert named["kind"].tolist()[:3] == ["a", None, "b"]


@pytest.mark.slow
def test_results_are_shown_in_a_line_and_in_html(table):
    for shown in (table, jinit.compare(table, baseline="zeros")[0], jinit.plan(SMALL),
                  jinit.plan(SMALL).programs[0], jinit.summarize(table)[0].metric):  # fmt: skip
        assert len(repr(shown)) < 200
        assert "array" not in repr(shown)
    for shown in (table, jinit.compare(table, baseline="zeros")[0], jinit.plan(SMALL)):
        assert shown._repr_html_().count("<table>") >= 1
        assert "he_normal" in shown._repr_html_() or "16" in shown._repr_html_()
    assert str(jinit.stats.Interval(0.123456, 0.1, math.nan)) == "0.1235 [0.1, nan]"
    columns = {"initializer": np.array(["<b>"], object), "loss": np.ones(1)}
    assert "&lt;b&gt;" in Table(columns, ("initializer",), {}, np.array([]))._repr_html_()
