"""Printers fit the terminal: columns are left out by name, cells are never cut off."""

import io

import jax.numpy as jnp
import pytest

from jinit import frameworks, initializers, models, probes, theory
from jinit.advise._recommend import Candidate
from jinit.findings import Finding, healthy
from jinit.report import _console
from jinit.report._candidates import print_candidates
from jinit.report._findings import print_findings
from jinit.report._prediction import print_prediction
from jinit.report._profile import print_profile

WIDTHS = pytest.mark.parametrize("width", [60, 80, 140])


@pytest.fixture
def printed(monkeypatch, width):
    """Prints into a terminal of this width and returns its lines."""
    monkeypatch.setattr(_console, "console_width", lambda stream: width)

    def lines(printer, *arguments):
        stream = io.StringIO()
        printer(*arguments, stream)
        shown = stream.getvalue().splitlines()
        assert max(map(len, shown)) <= width
        assert not any("…" in line for line in shown if "activation=…" not in line)
        return [line.rstrip() for line in shown]

    return lines


@WIDTHS
def test_candidates(printed, width):
    long = "variance_scaling(scale=2.0, mode=fan_out, distribution=uniform)"
    numbers = [0.1, -8.0, -8.0, -8.0, -8.0, 0.5, 0.1, 0.3, 0.0]
    rows = [Candidate(long, "normal(1)", *numbers, "a reason of several words", "code")]
    lines = printed(print_candidates, rows)
    text = "\n".join(lines)
    assert "10^−3.5" in text
    assert ("a reason" in text) == (width == 140)
    assert ("Too narrow for:" in text) == (width < 140)


@pytest.mark.slow
@WIDTHS
def test_predictions_leave_out_their_bands(monkeypatch, width):
    monkeypatch.setattr(_console, "console_width", lambda stream: width)
    kernel, bias = initializers.get("he_normal"), initializers.get("zeros")
    network = models.MLP(features=(*[64] * 20, 10), activation="tanh")
    stream = io.StringIO()
    print_prediction(theory.predict(network, 64, kernel=kernel, bias=bias), stream)
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert ("Too narrow for the bands" in text) == (width < 100)
    assert "output   " in text


@pytest.mark.full
@pytest.mark.parametrize("width", [80, 140])  # the medians alone need 80 columns
def test_profiles_leave_out_their_intervals(printed, width):
    x, rules = jnp.eye(4), {"*/kernel": "he_normal", "*/bias": "zeros"}
    captured = frameworks.capture(models.MLP(features=(8, 2)), x)
    loss = probes.cross_entropy(jnp.array([0, 1, 0, 1]))
    profile = probes.ensemble(captured, rules, x, loss, seeds=4, activation="relu")
    lines = printed(print_profile, captured, profile, [healthy("nothing vanishes")])
    assert ("with 95 % intervals" in "\n".join(lines)) == (width == 140)
    assert any(line.startswith(" hidden_0 ") for line in lines)


@WIDTHS
def test_findings_are_indented_paragraphs(printed, width):
    finding = Finding("dead units", "a/[0]", "word " * 40, "0.5", "He 2015", "fix [it]")

    def printer(stream):
        print_findings(_console.open_console(stream), [finding])

    lines = printed(printer)
    assert lines[0] == "a/[0]  dead units"
    assert all(line.startswith("  ") for line in lines[1:])
    assert lines[-2:] == ["  threshold: 0.5 (He 2015)", "  fix: fix [it]"]


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_fix_is_printed_as_it_is(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    fix = f"params = {{'a[[]:key:[b]\\\\[c]': {'1 + ' * 40}1}}  # {'word ' * 40}end"
    stream = io.StringIO()
    print_findings(_console.open_console(stream), [Finding("zero", "a", "0", fix=fix)])
    assert stream.getvalue().splitlines()[-1] == f"  fix: {fix}"
