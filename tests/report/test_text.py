"""Numbers as text, values for JSON, and what works without rich or without matplotlib."""

import io
import json
import math
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import frameworks, initializers, models, probes, report, theory
from jinit.findings import healthy
from jinit.report import _text, interval_text, to_json
from jinit.stats import Interval

TABLE = """
import sys
sys.modules[{missing!r}] = None  # importing it fails
import numpy as np
from jinit.results import Table
columns = {{
    "initializer": np.repeat(np.array(["a", "b"], object), 4),
    "seed": np.tile(np.arange(4), 2),
    "test_accuracy": np.linspace(0.1, 0.8, 8),
    "steps_to_target": np.full(8, np.inf),
    "diverged": np.zeros(8, bool),
}}
table = Table(columns, ("initializer", "seed"), {{}}, np.array([]))
"""


def fresh(missing, code):
    """Runs code in a new interpreter in which one package cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", TABLE.format(missing=missing) + code],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.full
def test_pictures_need_no_rich():
    done = fresh("rich", "from jinit.report import plots\nprint(plots.ranking(table).get_xlabel())")
    assert done.stdout == "test accuracy, median [95 %]\n", done.stderr


@pytest.mark.slow
def test_json_and_interval_text_need_neither_rich_nor_matplotlib():
    code = """
sys.modules["matplotlib"] = None
import jinit.report
print(jinit.report.to_json(table, baseline="a")["summary"][0]["arm"])
from jinit.stats import Interval
print(jinit.report.interval_text(Interval(0.5, 0.4, 0.6)))
"""
    done = fresh("rich", code)
    assert done.stdout == "a\n.500 [.400, .600]\n", done.stderr


@pytest.mark.full
def test_tables_need_no_matplotlib():
    done = fresh("matplotlib", "from jinit.report import show\nshow(table)")
    assert "test accuracy [95 %]" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("rich", "from jinit.report import show"),
        ("rich", "from jinit.report import SweepProgress"),
        ("matplotlib", "from jinit.report import plots\nplots.ranking(table)"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(missing, code):
    done = fresh(missing, code)
    assert "MissingExtraError" in done.stderr
    assert "lab" in done.stderr.splitlines()[-1]


def test_numbers():
    assert _text.number(0.123456) == "0.1235"
    assert _text.number(0.123456, 2) == "0.12"
    assert [_text.number(x) for x in (math.nan, math.inf, -math.inf)] == ["—", "∞", "−∞"]
    assert [_text.fixed(x) for x in (0.0, -0.0, 1.0, -0.25)] == [".000", ".000", "1.000", "−.250"]
    assert _text.fixed(1234.5, sign=True) == "1.23e+03"
    assert _text.percent(math.nan) == "—"
    assert interval_text(Interval(math.nan, 0.0, 1.0)) == "—"
    assert interval_text(Interval(0.5, 0.25, math.inf)) == ".500 [.250, ∞]"


def test_plain_values_of_a_nest():
    nest = {1: (np.float32(0.5), None, True), "a": Interval(math.nan, 0.0, np.inf)}
    assert to_json(nest) == {
        "1": [0.5, None, True],
        "a": {"estimate": None, "low": 0.0, "high": None},
    }
    assert to_json([math.inf, 0.25], real=str) == ["inf", "0.25"]


@pytest.mark.full
def test_results_are_shown_and_converted_by_kind():
    x = jnp.eye(4)
    captured = frameworks.capture(models.MLP(features=(8, 2)), x)
    rules = {"*/kernel": "he_normal", "*/bias": "zeros"}
    loss = probes.cross_entropy(jnp.array([0, 1, 0, 1]))
    profile = probes.ensemble(captured, rules, x, loss, seeds=2)
    found = probes.verdict(captured, profile)
    prediction = theory.predict(
        models.MLP(features=(8, 2)), 4, kernel=initializers.he_normal(), bias=initializers.zeros
    )
    expected = [
        (profile, {"model": captured, "findings": found}, " hidden_0 ", "layers"),
        (prediction, {}, "infinite-width theory", "scales"),
        (initializers.describe("he_normal", (2, 2)), {}, "standard deviation", "law"),
        (jinit.plan(jinit.Grid(dataset="xor", depth=1, seeds=2)), {}, "1 training program", None),
        (found, {}, f"{len(found)} finding", None),
    ]
    for result, options, text, key in expected:
        stream = io.StringIO()
        report.show(result, stream=stream, **options)
        assert text in stream.getvalue()
        if key is not None:
            assert key in json.loads(json.dumps(report.to_json(result, **options)))
    assert report.to_json(found)[0]["kind"] == found[0].kind
    measured = report.to_json(profile, model=captured)["layers"][0]["second_moment"]["estimate"]
    assert measured == pytest.approx(float(jnp.median(profile.second_moment[:, 0])))


@pytest.mark.slow
def test_an_option_of_another_kind_of_result_is_refused():
    found = [healthy("nothing vanishes")]
    for call in (report.show, report.to_json):
        with pytest.raises(ValueError, match=r"baseline: got .*a list.* option of a Table"):
            call(found, baseline="a")
        with pytest.raises(ValueError, match=r"model: got .* option of a Profile"):
            call(found, model=3)
    with pytest.raises(TypeError, match="result: got"):
        report.show([*found, 3])
    with pytest.raises(TypeError, match="result: got"):
        report.show(None)
    with pytest.raises(ValueError, match="metric"):
        report.show(jinit.plan(jinit.Grid(dataset="xor")), metric="test_loss")


def printed(table, **options):
    out = io.StringIO()
    report.show(table, stream=out, **options)
    return " ".join(out.getvalue().split())


@pytest.mark.slow
def test_an_accuracy_stands_beside_what_the_most_frequent_class_gives():
    y = np.repeat([0, 1], [70, 30])
    x = np.random.default_rng(0).normal(size=(100, 3)).astype("f4")
    grid = jinit.Grid(steps=2, seeds=2, depth=1, width=4)
    table = jinit.run(grid, data=(x[:60], y[20:80], x[:40], y[np.r_[0:28, 80:92]]))
    (described,) = table.settings["data"].values()
    assert described["majority_share"] == 28 / 40
    assert "predicting the most frequent class alone gives 0.700" in printed(table)
    for metric in ("test_loss", "test_balanced_accuracy"):
        assert "most frequent class" not in printed(table, metric=metric)
    assert "steps to 0.9" in printed(table)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the targets y")
@pytest.mark.parametrize(("scale", "said"), [(1.0, False), (300.0, True)])
def test_a_regression_has_no_steps_to_target_and_says_that_its_targets_are_large(scale, said):
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("f4")
    y = scale * np.where(x[:, 0] > 0, np.linspace(0.9, 1.1, 40), -1.0)
    table = jinit.run(jinit.Grid(steps=2, seeds=2, depth=1, width=4), data=(x, y))
    (described,) = table.settings["data"].values()
    assert described["target_rms"] == pytest.approx(scale, rel=0.1)
    near = described["target_rms"] ** 2
    text = printed(table)
    assert "steps to" not in text
    assert ("standardize the targets" in text) == said
    assert (f"starts near {near:.2g}" in text) == said


def test_a_line_of_progress_in_a_file_is_one_line():
    file = io.StringIO()
    progress = report.SweepProgress(stream=file)
    jinit.run(
        jinit.Grid(dataset="xor", depth=1, width=4, steps=2, evaluations=2, seeds=2),
        progress=progress,
    )
    lines = [line for line in file.getvalue().splitlines() if "runs/s" in line]
    assert lines
    assert all(line.endswith("compilations, draws included") for line in lines)


@pytest.mark.slow
def test_a_program_without_the_metric_of_the_rows_prints_none_of_them():
    file = io.StringIO()
    grid = jinit.Grid(dataset="xor", depth=1, width=4, steps=2, evaluations=2, seeds=2,
                      clip=(None, "global_norm(0.001)"))  # fmt: skip
    table = jinit.run(grid, progress=report.SweepProgress("clip_fraction", file))
    assert len(table) == 4
    assert file.getvalue().count("glorot_uniform") == 1
