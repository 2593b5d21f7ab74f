"""Settings are tuned past infinite runs, and a target that nobody reaches is said."""

import io
import math

import numpy as np
import pytest

import jinit
from jinit.report import show
from jinit.results import Table
from jinit.results._tuned import tuned


@pytest.mark.parametrize("lower", [True, False])
def test_infinite_runs_do_not_hide_the_best_setting(lower):
    never, seeds = math.inf, 8
    steps = np.full((3, seeds), never)
    steps[1, 2:] = 50.0  # one seed of each half never arrives
    steps[2, 2:] = 20.0
    columns = {
        "learning_rate": np.repeat([0.1, 0.2, 0.3], seeds),
        "seed": np.tile(np.arange(seeds), 3),
    }
    rows = Table(columns, ("learning_rate", "seed"), {}, np.array([]))
    values = steps.ravel() if lower else -steps.ravel()
    found = tuned(rows, values, ("learning_rate",), lower=lower)
    assert found.setting == {"learning_rate": 0.3}
    assert abs(found.values[7]) == 20


def targeted(grid, reached):
    names = list(reached)
    columns = {
        "dataset": np.repeat(np.array(names, object), 8),
        "initializer": np.tile(np.repeat(np.array(["a", "b"], object), 4), len(names)),
        "seed": np.tile(np.arange(4), 2 * len(names)),
        "test_accuracy": np.tile(np.linspace(0.3, 0.6, 8), len(names)),
        "test_loss": np.tile(np.linspace(0.3, 0.6, 8), len(names)),
        "diverged": np.zeros(8 * len(names), bool),
        "steps_to_target": np.repeat([5.0 if reached[name] else math.inf for name in names], 8),
    }
    axes = ("dataset", "initializer", "seed")
    stream = io.StringIO()
    show(Table(columns, axes, {}, np.array([]), {"grid": grid}), stream=stream)
    return " ".join(stream.getvalue().split())


LOSS = {"target_accuracy": 0.9, "target": "test_loss<=1e-9"}


def test_any_target_that_no_arm_reaches_is_said():
    text = targeted(LOSS, {"xor": False})
    assert "no run of any arm reaches the target test_loss<=1e-9:" in text
    assert "no run of any arm" not in targeted(LOSS, {"xor": True})


@pytest.mark.parametrize("grid", [LOSS, {"target_accuracy": 0.9}])
def test_a_data_set_that_no_arm_solves_is_named(grid):
    text = targeted(grid, {"xor": True, "moons": False})
    assert "moons: no run of any arm reaches the target" in text
    assert "xor: no run" not in text


def test_no_warning_arises_in_a_verdict():
    columns = {
        "initializer": np.repeat(np.array(["a", "b"], object), 16),
        "seed": np.tile(np.arange(16), 2),
        "test_loss": np.r_[np.full(16, 2.0), 2.0 + np.tile([1.0, -1.0], 8)],
        "diverged": np.zeros(32, bool),
    }
    table = Table(columns, ("initializer", "seed"), {}, np.array([]))
    with np.errstate(all="raise"):
        (found,) = jinit.compare(table, "test_loss", baseline="a")
        jinit.summarize(table, "test_loss")
    assert found.verdict == "not settled"
    assert found.result.mean.low < 0 < found.result.mean.high
