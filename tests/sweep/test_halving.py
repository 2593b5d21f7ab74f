"""Successive halving: what is left has the runs of the plain sweep, what is dropped is marked."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

import jinit
from jinit.cli import main
from jinit.engine import MemoryStore
from jinit.results import Table
from jinit.results._looks import Look, decisive
from jinit.stats import paired
from jinit.sweep import Halving, SweepInterrupted, run_halving
from jinit.sweep._halving import _boxes
from jinit.sweep._objectives import with_objective

SMALL = {"dataset": "xor", "depth": 1, "width": 4, "steps": 4, "evaluations": 2}
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def synthetic(value, seen=None):
    """Runs batches whose test accuracy is ``value(rate, seed)``."""

    def run(grid):
        seeds, rates = list(grid.seed_values), grid.values("learning_rate")
        if seen is not None:
            seen.append((rates, len(seeds)))
        pairs = list(itertools.product(rates, seeds))
        columns = {
            "learning_rate": np.array([rate for rate, _ in pairs]),
            "seed": np.array([seed for _, seed in pairs]),
            "test_accuracy": np.array([value(*pair) for pair in pairs], float),
            "diverged": np.zeros(len(pairs), bool),
        }
        settings = {"seconds": 1.0, "grid": {"seeds": seeds, "learning_rate": list(rates)}}
        return Table(columns, ("learning_rate", "seed"), {}, np.array([]), settings)

    return run


def halved(value, seeds=36, seen=None, **asked):
    grid = jinit.Grid(learning_rate=RATES, seeds=seeds)
    return run_halving(grid, Halving(**asked), run=synthetic(value, seen))


def counts(table, axis="learning_rate"):
    return dict(zip(*(part.tolist() for part in np.unique(table[axis], return_counts=True)),
                    strict=True))  # fmt: skip


def test_the_best_third_gets_three_times_the_seeds():
    seen = []
    table = halved(lambda rate, seed: rate, seen=seen)
    assert seen == [(RATES, 4), (RATES[-3:], 8), (RATES[-1:], 24)]
    assert counts(table) == {rate: {0.9: 36, 0.8: 12, 0.7: 12}.get(rate, 4) for rate in RATES}
    said = dict(zip(table["learning_rate"].tolist(), table["dropped"].tolist(), strict=True))
    assert said == {rate: {0.9: 0, 0.8: 2, 0.7: 2}.get(rate, 1) for rate in RATES}
    for rate in RATES[:-1]:
        assert set(table.select(learning_rate=rate)["dropped_score"].tolist()) == {rate}
    assert np.isnan(table.select(learning_rate=0.9)["dropped_score"]).all()
    found = table.settings["halving"]
    assert found["rungs"] == [{"seeds": 4, "configurations": 9, "kept": 3},
                              {"seeds": 12, "configurations": 3, "kept": 1}]  # fmt: skip
    assert (found["factor"], found["metric"], found["across"]) == (
        3, "test_accuracy", ["learning_rate"])  # fmt: skip


def test_the_seeds_of_a_configuration_are_judged_together():
    """One lucky seed does not help; the median decides, the mean where medians tie."""
    lucky = halved(lambda rate, seed: 10.0 * (seed == 0) if rate < 0.9 else 0.5)
    assert counts(lucky)[0.9] == 36
    tied = halved(lambda rate, seed: rate if seed % 4 == 3 else 0.5)
    assert counts(tied)[0.9] == 36


def test_a_value_that_is_not_finite_is_the_worst():
    table = halved(lambda rate, seed: np.nan if rate > 0.85 else rate)
    assert counts(table)[0.9] == 4
    assert counts(table)[0.8] == 36


def test_fewer_seeds_mean_fewer_decisions_and_what_is_kept_stays():
    seen = []
    halved(lambda rate, seed: rate, seeds=12, seen=seen)
    assert seen == [(RATES, 4), (RATES[-3:], 8)]
    table = halved(lambda rate, seed: rate, keep={"learning_rate": 0.1})
    assert counts(table)[0.1] == counts(table)[0.9] == 36


def test_products_cover_every_configuration_once():
    rng = np.random.default_rng(0)
    for _ in range(50):
        left = [tuple(each) for each in np.argwhere(rng.random((3, 4, 2)) < 0.5).tolist()]
        if left:
            covered = [each for box in _boxes(left) for each in itertools.product(*box)]
            assert sorted(covered) == sorted(left)


def test_every_comparison_spends_the_share_of_its_decision_only():
    """An arm that was dropped is not judged again with the larger share of later decisions."""
    gaps = np.random.default_rng(3).normal(size=300)
    table = halved(lambda rate, seed: -rate + 0.01 * gaps[seed] * rate, seeds=81, first_seeds=9,
                   keep={"learning_rate": 0.1})  # fmt: skip
    assert table.settings["looks"] == {"seeds": [9, 27, 81], "most": 81, "shares": [1 / 3] * 3}
    found = {item.arm: item for item in jinit.compare(table, across="learning_rate", baseline=0.1)}
    for rate in RATES[1:]:
        pairs = {0.2: 27, 0.3: 27}.get(rate, 9)
        assert found[rate].result.pairs == pairs
        assert found[rate].verdict == ("loses" if pairs == 27 else "not settled")


def test_the_pairs_of_a_dropped_arm_are_judged_once():
    """Later looks add no pair to a dropped arm and must not lend its pairs their larger share."""
    gaps = np.random.default_rng(0).normal(1, size=9)
    found = paired(gaps, np.zeros(9))
    judged = decisive([found, found], [Look(9, 0.2), Look(27, 0.8)])
    assert judged.p_value == found.p_value / 0.2 < 1


@pytest.mark.full
def test_sweeps_of_equal_arms_rarely_settle_anything():
    """400 null sweeps; 5 % of 400 is 20, three standard errors above is 33."""
    rng, alarms = np.random.default_rng(5), 0
    for _ in range(400):
        values = rng.normal(size=(10, 72))
        table = halved(lambda rate, seed, v=values: v[round(10 * rate), seed], seeds=72,
                       keep={"learning_rate": 0.1})  # fmt: skip
        found = jinit.compare(table, across="learning_rate", baseline=0.1)
        alarms += any(item.verdict in ("wins", "loses") for item in found)
    assert alarms <= 33


def assert_same_runs(found, expected):
    for name, column in expected.columns.items():
        np.testing.assert_array_equal(found[name], column, err_msg=name)
    for name, curve in expected.curves.items():
        assert found.curves[name].tobytes() == curve.tobytes(), name


GRID = {**SMALL, "initializer": ("zeros", "he_normal", "ones"),
        "learning_rate": (0.1, 0.01, 1e-3, 1e-4)}  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    return jinit.run(jinit.Grid(**GRID, seeds=12), tile=4)


@pytest.mark.full
def test_what_is_left_has_the_bits_of_the_plain_sweep_and_a_store_goes_on(tmp_path, whole):
    computed = []

    def note(event):
        computed.append(event.runs if event.kind == "tile" else 0)

    def run(batch):
        return jinit.run(batch, tile=4, store=tmp_path / "runs.db", progress=note)

    def race():
        computed.clear()
        return run_halving(jinit.Grid(**GRID, seeds=12), Halving(metric="test_loss"), run=run)

    table = race()
    assert sum(computed) == len(table) == 12 * 4 + 4 * 8
    arms = list(zip(whole["initializer"], whole["learning_rate"], whole["seed"], strict=True))
    place = {arm: row for row, arm in enumerate(arms)}
    rows = [place[arm] for arm in zip(table["initializer"], table["learning_rate"],
                                      table["seed"], strict=True)]  # fmt: skip
    assert rows == sorted(rows)  # the order of the grid
    assert_same_runs(table, whole.take(np.array(rows)))
    medians = {arm: np.median(whole["test_loss"][[place[(*arm, seed)] for seed in range(4)]])
               for arm in dict.fromkeys(arm[:2] for arm in arms)}  # fmt: skip
    best = sorted(medians, key=medians.get)[:4]
    left = table.take(table["dropped"] == 0)
    assert set(zip(left["initializer"], left["learning_rate"], strict=True)) == set(best)
    again = race()
    assert sum(computed) == 0
    assert_same_runs(again, table)


@pytest.mark.slow
def test_every_value_of_the_other_axes_is_a_race_of_its_own(whole):
    asked = Halving(factor=2, metric="test_loss", across=("learning_rate",))
    store = MemoryStore()
    table = run_halving(jinit.Grid(**GRID, seeds=12), asked,
                        run=lambda batch: jinit.run(batch, tile=4, store=store))  # fmt: skip
    left = table.take(table["dropped"] == 0)
    assert counts(left, "initializer") == dict.fromkeys(GRID["initializer"], 24)
    rungs = table.settings["halving"]["rungs"]
    assert rungs == [{"seeds": 6, "configurations": 12, "kept": 6}]


def test_an_interruption_keeps_what_was_trained_and_decided():
    run = synthetic(lambda rate, seed: rate)

    def interrupted(grid):
        if len(grid.values("learning_rate")) == 1:
            raise SweepInterrupted(run(jinit.Grid(learning_rate=0.9, seeds=(12, 13))), 24)
        return run(grid)

    with pytest.raises(SweepInterrupted) as caught:
        run_halving(jinit.Grid(learning_rate=RATES, seeds=36), Halving(), run=interrupted)
    table = caught.value.table
    assert counts(table)[0.9] == 14
    assert len(table.settings["halving"]["rungs"]) == 2
    assert set(table.select(learning_rate=0.1)["dropped"].tolist()) == {1}


@pytest.mark.parametrize(
    ("grid", "halving", "match"),
    [({"seeds": (3, 4)}, {}, "seeds"), ({"seeds": 8}, {}, "at least 3 and 12"),
     ({"learning_rate": (0.1, 0.2)}, {}, "halve"), ({}, {"factor": 1}, "factor"),
     ({}, {"across": ("depth",)}, "depth"), ({}, {"across": ("seed",)}, "seed"),
     ({}, {"across": ()}, "across"), ({}, {"first_seeds": 1}, "first_seeds"),
     ({}, {"keep": {"learning_rate": 7.0}}, "learning_rate to keep"),
     ({}, {"metric": "skipped"}, "metric"), ({}, {"metric": "regret"}, "regret"),
     ({"loss": (None, "hinge")}, {}, "softmax_cross_entropy")],
)  # fmt: skip
def test_races_without_a_result_are_refused(grid, halving, match):
    given = jinit.Grid(**{"learning_rate": RATES, "seeds": 36, **SMALL, **grid})

    def run(batch):
        table = synthetic(lambda rate, seed: rate)(batch)
        return table.with_column("skipped", np.zeros(len(table)))

    with pytest.raises(ValueError, match=match):
        run_halving(given, Halving(**halving), run=run)
    with pytest.raises(TypeError, match="Halving"):
        run_halving(given, 3, run=run)


@pytest.mark.parametrize(
    "asked", [{"keep": "he_normal"}, {"keep": {"depth": [2, 8]}}, {"keep": {3: 4}}, {"across": 5}]
)
def test_what_is_kept_is_one_value_of_an_axis(asked):
    with pytest.raises(TypeError, match=r"keep: got|to keep: got|across: got"):
        Halving(**asked)


def test_models_that_the_grid_does_not_know_are_no_race():
    def run(grid):
        table = synthetic(lambda rate, seed: rate)(grid)
        models = np.where(table["seed"] % 2, "a", "b").astype(object)
        table = table.with_column("model", models)
        return dataclasses.replace(table, axes=(*table.axes, "model"))

    with pytest.raises(ValueError, match="column 'model' of a race: got 'b, a'") as caught:
        run_halving(jinit.Grid(learning_rate=RATES, seeds=36), Halving(), run=run)
    assert len(caught.value.table) == 9 * 4


@pytest.mark.parametrize(
    ("axes", "last"),
    [({"optimizer": "adamw", "weight_decay": (0.0, 0.01), "weight_decay_on": "weights"},
      {"weight_decay": (0.0,)}),
     ({"optimizer": ("sgd", "momentum"), "momentum": 0.95}, {"optimizer": ("sgd",)}),
     ({"residual": True, "depth": (1, 4)}, {"depth": (1,)})],
)  # fmt: skip
def test_a_part_of_a_grid_may_lack_what_gives_an_option_its_effect(axes, last):
    grid = jinit.Grid(**{**SMALL, **axes, "seeds": 8})
    (axis, kept), seen = *last.items(), []

    def run(batch):
        seen.append({axis: batch.values(axis)})
        batch = with_objective(batch, None, {"mine": lambda outputs, y: outputs.mean()})
        rows = list(itertools.product(map(str, batch.values(axis)), batch.seed_values))
        columns = {
            axis: np.array([name for name, _ in rows], object),
            "seed": np.array([seed for _, seed in rows]),
            "test_loss": np.array([name != str(kept[0]) for name, _ in rows], float),
        }
        if axis != "optimizer":
            columns[axis] = columns[axis].astype(float)
        return Table(columns, (axis, "seed"), {}, np.array([]))

    table = run_halving(grid, Halving(factor=2, metric="test_loss"), run=run)
    assert seen == [{axis: grid.values(axis)}, last]
    assert len(table) == 8 + 4


@pytest.mark.slow
def test_the_command_line_halves_and_marks(capsys, tmp_path):
    flags = ["sweep", "--dataset", "xor", "--initializer", "zeros", "he_normal", "ones", "--depth",
             "1", "--width", "4", "--steps", "4", "--evaluations", "2", "--seeds", "12",
             "--halving", "3"]  # fmt: skip
    assert main([*flags, "--baseline", "zeros", "--out", str(tmp_path / "runs.csv"),
                 "--store", str(tmp_path / "runs.db"), "--json"]) == 0  # fmt: skip
    printed = capsys.readouterr()
    assert "3 configurations with 4 seeds" in printed.err
    found = json.loads(printed.out)
    assert found["settings"]["halving"]["keep"] == [["initializer", "zeros"]]
    table = jinit.read(tmp_path / "runs.csv")
    assert counts(table, "initializer")["zeros"] == 12
    assert set(table["dropped"].tolist()) <= {0, 1}
    stored = jinit.read(tmp_path / "runs.db")
    assert stored["dropped"].tolist() == table["dropped"].tolist()
    assert stored.settings["halving"] == found["settings"]["halving"]
    assert main([*flags, "--until-settled"]) == 2
    assert "--halving" in capsys.readouterr().err
    assert main([*flags, "--tune", "initializer"]) == 2
