"""Sweeps that add seeds until they are settled: no more false alarms, and fewer seeds."""

import dataclasses

import numpy as np
import pytest

import jinit
from jinit.cli import main
from jinit.results import Table
from jinit.results._looks import Look, decisive, planned_looks
from jinit.stats import paired
from jinit.stats._signed_rank import signed_rank_tails
from jinit.stats._tests import two_sided
from jinit.sweep import Settle, SweepInterrupted, run_until_settled

NAMES = np.array(["base", *(f"arm {number}" for number in range(11))], object)
FIRST, MOST = 16, 256
LOOKS = planned_looks(FIRST, MOST)
GRID = {"dataset": "xor", "initializer": ("zeros", "he_normal"), "depth": 1, "width": 4,
        "evaluations": 2}  # fmt: skip


def synthetic(values):
    """Runs a batch of a sweep whose metrics are made up: ``(arms, most seeds)``."""

    def run(grid):
        seeds = np.array(grid.seed_values)
        columns = {
            "initializer": np.repeat(NAMES[: len(values)], len(seeds)),
            "seed": np.tile(seeds, len(values)),
            "test_accuracy": values[:, seeds].ravel(),
            "diverged": np.zeros(len(values) * len(seeds), bool),
        }
        return Table(columns, ("initializer", "seed"), {}, np.array([]), {"seconds": 1.0})

    return run


def settled(values, **question):
    """The table and the verdicts of a sweep that stops when it is settled."""
    table = run_until_settled(
        jinit.Grid(seeds=FIRST, initializer=("zeros", "ones")),
        Settle(most_seeds=MOST, baseline="base", **question),
        run=synthetic(values),
    )
    margin = question.get("margin", 0.0)
    return table, [item.verdict for item in jinit.compare(table, baseline="base", margin=margin)]


def test_looks_double_and_share_the_whole_error():
    from jinit.results._looks import looks_of

    table = Table({"seed": np.arange(4)}, ("seed",), {}, np.array([]),
                  {"looks": {"seeds": list(LOOKS), "most": MOST}})  # fmt: skip
    assert LOOKS == (16, 32, 64, 128, 256)
    shares = [look.share for look in looks_of(table)]
    assert sum(shares) == 1
    assert shares == [1 / 256, 3 / 256, 12 / 256, 48 / 256, 192 / 256]


def false_alarms(sweeps, seed):
    """Sweeps of twelve equal arms in which an arm wins or loses."""
    rng, alarms = np.random.default_rng(seed), 0
    shares = np.diff(np.square([0, *LOOKS])) / MOST**2
    for _ in range(sweeps):
        base = rng.normal(size=MOST)
        gaps = rng.normal(size=(11, MOST))
        # Holm's first step decides whether anything is settled; the rest needs no time.
        smallest = min(
            two_sided(signed_rank_tails(row[:n])) / share
            for row in gaps
            for n, share in zip(LOOKS, shares, strict=True)
        )
        if 11 * smallest < 0.05:
            alarms += set(settled(np.vstack([base, base + gaps]))[1]) != {"not settled"}
    return alarms


@pytest.mark.full
def test_sweeps_of_equal_arms_are_rarely_settled_at_any_look():
    # 2,000 sweeps gave 2.5 %; 5 % of 200 is 10, three standard errors above is 19.
    assert false_alarms(200, seed=1) <= 19


@pytest.mark.slow
def test_an_effect_that_looks_large_once_is_not_enough():
    """At the first look p = .013: enough for a sweep of 16 seeds, not for the first of 5 looks."""
    rng = np.random.default_rng(0)
    base, gaps = rng.normal(size=MOST), rng.normal(size=MOST)
    gaps[:FIRST] = np.abs(gaps[:FIRST]) + 0.1
    gaps[:6] = -np.linspace(0.04, 0.09, 6)
    values = np.vstack([base, base + gaps])
    alone = synthetic(values)(jinit.Grid(seeds=FIRST))
    found = jinit.compare(alone, baseline="base")[0]
    assert found.verdict == "wins"
    assert 0.05 / 16 < found.p_value < 0.05
    table, verdicts = settled(np.vstack([base, base + gaps]))
    assert table.settings["looks"]["seeds"] == list(LOOKS)
    assert verdicts == ["not settled"]


def test_each_p_value_of_a_look_is_divided_by_its_share():
    values = np.random.default_rng(0).normal(size=(2, 12))
    result = paired(values[0] + 1, values[1], margin=0.1)
    found = decisive([result], [Look(12, 0.5)])
    for name in ("p_value", "mean_p_value", "equivalence_p_value"):
        assert getattr(found, name) == pytest.approx(min(1, getattr(result, name) / 0.5))
    assert result.p_value < 0.5


@pytest.mark.slow
def test_what_is_settled_once_stays_settled():
    rng = np.random.default_rng(0)
    base, other, gaps = rng.normal(size=(3, MOST))
    gaps[:FIRST] = 3 + 0.1 * gaps[:FIRST]
    values = np.vstack([base, base + gaps, base + other])
    table, verdicts = settled(values)
    assert table.settings["looks"]["seeds"] == list(LOOKS)
    assert verdicts == ["wins", "not settled"]
    # With all seeds at once nothing is seen of this difference.
    whole = jinit.compare(synthetic(values)(jinit.Grid(seeds=MOST)), baseline="base")
    assert whole[0].p_value > 0.0005


@pytest.mark.slow
def test_large_effects_need_few_seeds_and_small_ones_the_rest():
    rng = np.random.default_rng(1)
    base, noise = rng.normal(size=MOST), rng.normal(size=(3, MOST))
    large, verdicts = settled(np.vstack([base, base + noise + 3]))
    assert large.settings["looks"]["seeds"] == [16]
    assert set(verdicts) == {"wins"}
    small, verdicts = settled(np.vstack([base, base + noise - 0.5]))
    assert 32 <= small.settings["looks"]["seeds"][-1] <= 256
    assert set(verdicts) == {"loses"}
    equal, verdicts = settled(np.vstack([base, base + 0.1 * noise]), margin=0.5)
    assert equal.settings["looks"]["seeds"] == [16]
    assert set(verdicts) == {"equivalent"}


@pytest.mark.slow
def test_a_sweep_that_adds_seeds_has_the_runs_of_one_that_had_them_all():
    said = []
    grid = jinit.Grid(**GRID, steps=4, seeds=4)
    table = run_until_settled(grid, Settle(most_seeds=10), note=said.append)
    assert said == [f"0 of 1 comparisons settled with {seeds} seeds" for seeds in (4, 8, 10)]
    whole = jinit.run(jinit.Grid(**GRID, steps=4, seeds=10))

    def order(found):
        return np.lexsort((found["seed"], found["initializer"].astype(str)))

    for name in whole.columns:
        np.testing.assert_array_equal(table[name][order(table)], whole[name][order(whole)])
    assert table.settings["grid"]["seeds"] == list(range(10))


def test_batches_with_tiles_of_other_widths_are_joined():
    """As on accelerators, where the width grows with the number of runs."""
    values = np.random.default_rng(0).normal(size=(2, MOST))

    def run(grid):
        table = synthetic(values)(grid)
        settings = {**table.settings, "tile": {"program": 2 * len(grid.seed_values)}}
        return dataclasses.replace(table, settings=settings)

    table = run_until_settled(jinit.Grid(seeds=FIRST, initializer=("zeros", "ones")),
                              Settle(most_seeds=64), run=run)  # fmt: skip
    assert len(table) == 2 * 64


def test_an_interruption_keeps_the_batches_before():
    values = np.random.default_rng(0).normal(size=(2, MOST))

    def run(grid):
        if len(grid.seed_values) > FIRST:
            raise SweepInterrupted(synthetic(values[:, :40])(jinit.Grid(seeds=(32, 33))), 64)
        return synthetic(values)(grid)

    with pytest.raises(SweepInterrupted) as caught:
        run_until_settled(jinit.Grid(seeds=FIRST, initializer=("zeros", "ones")),
                          Settle(most_seeds=MOST), run=run)  # fmt: skip
    assert len(caught.value.table) == 2 * (16 + 16 + 2)
    assert caught.value.table.settings["looks"]["seeds"] == [16, 32]


def test_batches_with_other_columns_and_curves_are_joined():
    """As with a store, where only the first batch has runs of another environment."""
    values = np.random.default_rng(0).normal(size=(2, MOST))

    def run(grid):
        table, first = synthetic(values)(grid), len(grid.seed_values) == FIRST and grid.seeds == 16
        if first:
            table = table.with_column("environment", np.full(len(table), "jax 0.0.1", object))
            curves = {"curve": np.ones((len(table), 2), np.float32)}
        else:
            table = table.with_column("test_f1", np.ones(len(table), np.float32))
            curves = {}
        return dataclasses.replace(table, curves=curves, curve_steps=np.array([1, 2]))

    table = run_until_settled(jinit.Grid(seeds=FIRST, initializer=("zeros", "ones")),
                              Settle(most_seeds=32), run=run)  # fmt: skip
    first = table["seed"] < FIRST
    assert set(table["environment"][first]) == {"jax 0.0.1"}
    assert set(table["environment"][~first]) == {"this"}
    assert np.isnan(table["test_f1"][first]).all()
    assert (table["test_f1"][~first] == 1).all()
    assert np.isnan(table.curves["curve"][~first]).all()
    assert (table.curves["curve"][first] == 1).all()


def test_a_question_that_fails_keeps_the_batches_before():
    values = np.random.default_rng(0).normal(size=(2, MOST))
    with pytest.raises(ValueError, match="learnig_rate") as caught:
        run_until_settled(jinit.Grid(seeds=FIRST, initializer=("zeros", "ones")),
                          Settle(across="learnig_rate"), run=synthetic(values))  # fmt: skip
    assert len(caught.value.table) == 2 * FIRST


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grid", "settle", "match"),
    [({"seeds": (3, 4)}, {}, "first batch"), ({"seeds": 64}, {"most_seeds": 32}, "at most 32"),
     ({"initializer": "zeros"}, {}, "two arms"), ({}, {"most_seeds": 1}, "most_seeds"),
     ({}, {"margin": -1.0}, "margin"), ({}, {"baseline": "ones"}, "baseline")],
)  # fmt: skip
def test_questions_that_cannot_be_settled_are_refused(grid, settle, match):
    with pytest.raises(ValueError, match=match):
        run_until_settled(jinit.Grid(**{**GRID, "steps": 2, "seeds": 4, **grid}), Settle(**settle))


@pytest.mark.full
def test_the_command_line_adds_seeds(capsys):
    flags = ["--dataset", "xor", "--initializer", "zeros", "he_normal", "--depth", "1", "--width",
             "16", "--steps", "60", "--evaluations", "2"]  # fmt: skip
    assert main(["sweep", *flags, "--seeds", "8", "--until-settled", "--most-seeds", "64"]) == 0
    printed = capsys.readouterr()
    assert "1 of 1 comparisons settled with" in printed.err
    assert "wins" in printed.out
    assert main(["sweep", *flags, "--seeds", "128", "--until-settled", "--most-seeds", "64"]) == 2


def test_one_store_in_memory_serves_all_batches_and_trains_nothing_twice():
    store, trained = jinit.engine.MemoryStore(), []

    def run(batch):
        def note(event):
            trained.append(event.runs if event.kind == "tile" else 0)

        return jinit.run(batch, store=store, progress=note)

    grid = jinit.Grid(**GRID, steps=4, seeds=4)
    tables = [run_until_settled(grid, Settle(most_seeds=8), run=run) for _ in range(2)]
    assert sum(trained) == len(tables[0]) == 16
    np.testing.assert_array_equal(*(table["test_loss"] for table in tables))
