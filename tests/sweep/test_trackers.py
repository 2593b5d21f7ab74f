"""Trackers get records of a sweep; whatever they do, the sweep is the same."""

import json
import re
import sys
import threading
import time
import types
import warnings

import numpy as np
import pytest

import jinit
from jinit.sweep import _trackers
from jinit.sweep._run import SweepEvent

GRID = jinit.Grid(
    dataset="xor", width=4, depth=1, steps=3, batch_size=8, seeds=40,
    initializer=("zeros", "he_normal"),
)  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return jinit.run(GRID, tile=8)


def same(found, table):
    np.testing.assert_array_equal(found["test_loss"], table["test_loss"])


@pytest.mark.slow
def test_a_jsonl_file_has_a_record_of_every_tile(tmp_path, table):
    path = tmp_path / "runs.jsonl"
    same(jinit.run(GRID, tile=8, tracker=path), table)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = [record["kind"] for record in records]
    assert (kinds[0], kinds[-1], kinds.count("tile")) == ("plan", "end", 10)
    assert records[0]["settings"]["grid"]["depth"] == 1
    done = [record["runs"] for record in records]
    assert (done[0], done[-1], done) == (0, 80, sorted(done))
    (program,) = [record for record in records if record["kind"] == "program"]
    median = np.median(table.select(initializer="he_normal")["test_loss"])
    assert program["metrics"]["test_loss/he_normal"] == pytest.approx(median)
    jinit.run(GRID, tile=8, tracker=str(path))  # a second run is added
    assert len(path.read_text().splitlines()) >= 2 * len(records) - 4


def test_a_tracker_that_raises_is_named_at_the_end(table):
    def broken(record):
        raise ValueError("no network")

    with pytest.warns(UserWarning, match="tracker .*broken failed: ValueError: no network"):
        same(jinit.run(GRID, tile=8, tracker=broken), table)


def test_a_tracker_that_hangs_delays_no_tile(monkeypatch, table):
    monkeypatch.setattr(_trackers, "PATIENCE", 0.2)
    monkeypatch.setattr(_trackers, "WAITING", 3)
    never, finished, start = threading.Event(), [], time.monotonic()

    def hanging(record):
        never.wait(60)

    def progress(event):
        finished.append(event.runs if event.kind == "tile" else 0)

    try:
        with pytest.warns(UserWarning, match="hanging did not finish within 0.2 s"):
            same(jinit.run(GRID, tile=8, tracker=hanging, progress=progress), table)
        assert sum(finished) == 80
        assert time.monotonic() - start < 25
    finally:
        never.set()


def test_records_beyond_the_queue_are_counted():
    go = threading.Event()
    seen = []

    def slow(record):
        go.wait(60)
        seen.append(record["kind"])

    tracking = _trackers.Tracking(slow, {}, waiting=2)
    event = SweepEvent("plan", jinit.plan(GRID))
    start = time.monotonic()
    for _ in range(10):
        tracking.event(event)
    assert time.monotonic() - start < 4  # a full queue is not waited for
    go.set()
    with pytest.warns(UserWarning, match="slow was too slow: [789] records were dropped"):
        tracking.close()
    assert 2 <= len(seen) <= 4


def test_where_warnings_are_errors_the_table_comes_back(table, capsys):
    def broken(record):
        raise OSError("full")

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        same(jinit.run(GRID, tile=8, tracker=broken), table)
    assert "tracker" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["wandb", "mlflow", "tensorboard", "trackio"])
def test_a_sweep_is_one_run_of_a_tracker(kind, monkeypatch, table):
    calls, module = [], types.ModuleType("tensorboardX" if kind == "tensorboard" else kind)

    class Run:
        config = types.SimpleNamespace(update=lambda settings: calls.append("settings"))

        def __enter__(self):
            calls.append("start")
            return self

        def __exit__(self, *problem):
            calls.append("end")

        def finish(self):
            calls.append("end")

        close = finish

        def log(self, numbers, step):
            calls.append((step, numbers))

        def add_scalar(self, name, value, step):
            calls.append((step, {name: value}))

    def init(project, config=None):
        calls.extend(["start"] if config is None else ["start", "settings"])
        return Run()

    def log_metrics(numbers, step):
        # MLflow's own rule for names.
        assert all(re.fullmatch(r"[/\w.\- :]+", name) for name in numbers)
        calls.append((step, numbers))

    module.init = init
    module.log_dict = lambda settings, file: calls.append("settings")
    module.SummaryWriter = lambda folder: calls.append("start") or Run()
    module.set_experiment = lambda name: None
    module.start_run = Run
    module.log_metrics = log_metrics
    module.__spec__ = types.SimpleNamespace(name=module.__name__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    same(jinit.run(GRID, tile=8, tracker=f"{kind}:mine"), table)
    assert (calls.count("start"), calls.count("end")) == (1, 1)
    numbers = {k: v for call in calls if isinstance(call, tuple) for k, v in call[1].items()}
    assert numbers["runs"] == 80
    assert "test_accuracy/he_normal" in numbers
    assert calls.count("settings") == (kind != "tensorboard")


def test_one_diverged_run_does_not_hide_the_median_of_the_others():
    columns = {
        "initializer": np.full(4, "zeros", object),
        "seed": np.arange(4),
        "train_loss": np.array([1.0, 5.0, 3.0, np.nan]),
        "test_loss": np.array([2.0, np.inf, 4.0, np.nan]),
        "test_accuracy": np.full(4, np.nan),
        "diverged": np.array([False, True, False, True]),
    }
    found = _trackers._medians(
        jinit.results.Table(columns, ("initializer", "seed"), {}, np.array([]))
    )
    assert found == {"train_loss/zeros": 3.0, "test_loss/zeros": 3.0, "diverged/zeros": 2.0}


def test_names_that_mlflow_refuses_are_changed():
    changed = _trackers._NOT_IN_MLFLOW.sub("_", "test_loss/normal(stddev=0.1)/0.1")
    assert changed == "test_loss/normal_stddev_0.1_/0.1"


@pytest.mark.parametrize("tracker", ["runs.txt", "no/such/folder/runs.jsonl", "other:mine"])
def test_what_is_no_tracker_is_refused(tracker):
    with pytest.raises(ValueError, match="tracker: got"):
        jinit.run(GRID, tracker=tracker)
    with pytest.raises(TypeError, match="tracker: got 3"):
        jinit.run(GRID, tracker=3)
