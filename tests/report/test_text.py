"""Numbers as text, values for JSON, and what works without rich or without matplotlib."""

import math
import subprocess
import sys

import numpy as np
import pytest

from jinit.report import _text, interval_text, plain
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


def test_pictures_need_no_rich():
    done = fresh("rich", "from jinit.report import plots\nprint(plots.ranking(table).get_xlabel())")
    assert done.stdout == "test accuracy, median [95 %]\n", done.stderr


def test_json_and_interval_text_need_neither_rich_nor_matplotlib():
    code = """
sys.modules["matplotlib"] = None
import jinit.report
print(jinit.report.table_json(table, baseline="a")["summary"][0]["arm"])
from jinit.stats import Interval
print(jinit.report.interval_text(Interval(0.5, 0.4, 0.6)))
"""
    done = fresh("rich", code)
    assert done.stdout == "a\n.500 [.400, .600]\n", done.stderr


def test_tables_need_no_matplotlib():
    done = fresh("matplotlib", "from jinit.report import print_table\nprint_table(table)")
    assert "test accuracy [95 %]" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("rich", "from jinit.report import print_table"),
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
    assert plain(nest) == {
        "1": [0.5, None, True],
        "a": {"estimate": None, "low": 0.0, "high": None},
    }
    assert plain([math.inf, 0.25], str) == ["inf", "0.25"]
