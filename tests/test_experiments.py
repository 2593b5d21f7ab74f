"""Every experiment runs, and every committed verdict follows from its committed numbers."""

import json

import pytest

from experiments import __main__ as command
from experiments import harness

NAMES = harness.names()
COMMITTED = {
    name: json.loads(path.read_text())
    for name in NAMES
    if (path := harness.RESULTS / f"{name}.json").exists()
}


def test_the_fourteen_claims_are_all_there():
    numbers = [harness.load(name).NUMBER for name in NAMES]
    assert [number for number in numbers if number] == list(range(1, 15))
    assert set(COMMITTED) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_scripts_are_short_and_say_what_they_test(name):
    module = harness.load(name)
    assert len((harness.FOLDER / f"{name}.py").read_text().splitlines()) <= 120
    assert module.__doc__.strip().endswith("?")
    for words in (module.TITLE, module.CLAIM, module.WHERE, module.TEST):
        assert words.strip() == words
    assert "old" in module.TEST  # Holds if …


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_verdict_follows_from_the_committed_numbers(name):
    result, module = COMMITTED[name], harness.load(name)
    assert result["scale"] == "full"
    found = module.decide(harness.restored(result["numbers"]))
    assert result["verdict"] == {"kind": found.kind, "answer": found.answer}
    if name != "interval_calibration":  # Thousands of simulated experiments.
        assert result["numbers"]["seeds"] >= 32
    assert (result["claim"], result["test"]) == (module.CLAIM, module.TEST)
    assert found.kind in (harness.HOLDS, harness.LIMITED, harness.FAILS)
    assert (harness.RESULTS / f"{name}.png").stat().st_size > 5000


def test_tables_are_fresh():
    inside = command.PAGE.read_text().partition(command.START)[2].partition(command.END)[0]
    assert inside.strip() == harness.markdown_tables()


# Small runs of these take a few seconds each; the full tier makes all of them.
QUICK = ("clip_theory", "jacobian_spectra", "zero_weights")


@pytest.mark.full
@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.full) for n in NAMES]
)
@pytest.mark.sampled(3)
def test_small_runs_agree_with_the_committed_verdict(name, tmp_path):
    pytest.importorskip("evosax" if name == "populations" else "jinit")
    found = harness.run(name, harness.Scale("small"), tmp_path)
    result = json.loads((tmp_path / f"{name}.json").read_text())
    assert result["verdict"]["answer"] == found.answer
    assert (tmp_path / f"{name}.png").exists()
    if harness.load(name).NUMBER is not None or hasattr(harness.load(name), "PAPER"):
        assert found.kind == COMMITTED[name]["verdict"]["kind"], found.answer


def test_the_command(capsys):
    assert command.main(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(NAMES)
    assert command.main(["table"]) == 0
    papers = [name for name in NAMES if hasattr(harness.load(name), "PAPER")]
    assert capsys.readouterr().out.count("](results/") == 14 + len(papers)
    assert command.main(["run", "zero_wieghts"]) == 2
    assert "did you mean 'zero_weights'" in capsys.readouterr().err


@pytest.mark.full
def test_a_failed_experiment_does_not_stop_the_others(tmp_path, capfd):
    names = ["clip_theory", "zero_wieghts", "linear_modes"]
    assert command.run_all(names, harness.Scale("small"), tmp_path) == 1
    printed = capfd.readouterr()
    assert "failed: zero_wieghts" in printed.err
    assert {path.stem for path in tmp_path.glob("*.json")} == {"clip_theory", "linear_modes"}
    assert printed.out.count("holds.") == 2


def test_plain_numbers_survive_the_file():
    import numpy as np

    from jinit import stats

    value = {"a": np.float32(0.1), "b": np.array([1, 2]), "c": stats.Interval(1.0, -np.inf, 2.0)}
    found = harness.restored(json.loads(json.dumps(harness.plain(value), allow_nan=False)))
    assert found["b"] == [1, 2]
    assert harness.interval(found["c"]) == stats.Interval(1.0, -np.inf, 2.0)
