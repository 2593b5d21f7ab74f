"""What is finished is kept, runs can be compared at any moment, and old programs are not used."""

import contextlib
import itertools
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import activations, engine, errors
from jinit.sweep import SweepInterrupted, _run, _trackers
from jinit.sweep._lanes import LaneIndex

SMALL = {"dataset": "xor", "depth": 1, "width": 4, "steps": 4, "evaluations": 2}
ARMS = ("he_normal", "zeros", "normal(stddev=0.1)")
ACTIVATION = nn.relu
RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(60, 3)).astype(np.float32), RNG.integers(0, 2, 60)


@pytest.mark.parametrize("error", [ConnectionError, KeyboardInterrupt, SystemExit, MemoryError])
def test_a_callback_that_raises_ends_the_sweep_with_its_table(error):
    done = []

    def tracker(event):
        done.append(event.runs)
        if sum(done) >= 8:
            raise error("the tracker is down")

    with pytest.raises(error) as caught:
        jinit.run(jinit.Grid(**SMALL, seeds=16, initializer=ARMS), tile=4, workers=1,
                  progress=tracker)  # fmt: skip
    assert len(caught.value.table) >= 8
    if error is not KeyboardInterrupt:
        assert "of 48 runs are finished" in caught.value.__notes__[-1]


def test_an_error_before_the_first_run_says_that_there_is_no_table():
    def tracker(event):
        raise ConnectionError("down")

    with pytest.raises(ConnectionError) as caught:
        jinit.run(jinit.Grid(**SMALL, seeds=4), progress=tracker)
    assert caught.value.table is None


@pytest.mark.full
def test_a_program_that_raises_keeps_the_runs_of_the_others():
    def refuse(x):
        raise MemoryError("stands in for a device without memory")

    @jax.custom_jvp
    def heavy(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(refuse, shape, x, vmap_method="expand_dims")

    heavy.defjvp(lambda primals, tangents: (heavy(primals[0]), tangents[0]))
    grid = jinit.Grid(**SMALL, seeds=4, activation=("tanh", heavy))
    order = [program.labels["activation"] for program in jinit.plan(grid).programs]
    with pytest.raises(Exception, match="without memory") as caught:
        jinit.run(grid, workers=1)
    if order[0] == "tanh":
        assert set(caught.value.table["activation"]) == {"tanh"}
    else:
        assert caught.value.table is None


@pytest.mark.parametrize(("seeds", "data_seeds", "block"), [(7, None, 3), (4, 3, 5), (2, 2, 16)])
def test_lanes_of_any_start_of_a_sweep_have_the_same_seeds_in_every_arm(seeds, data_seeds, block):
    grid = jinit.Grid(**SMALL, seeds=seeds, data_seeds=data_seeds, initializer=ARMS,
                      learning_rate=(0.1, 0.2))  # fmt: skip
    index = LaneIndex(grid, jinit.plan(grid).programs[0].numbers, block)
    names = ("initializer", "learning_rate", "data_seed", "seed")
    columns = index.columns(np.arange(grid.runs))
    lanes = list(zip(*(columns[name].tolist() for name in names), strict=True))
    # An independent enumeration of all combinations, in the order of the grid.
    kernels, rates = grid.labels("initializer"), grid.values("learning_rate")
    repeats = [(s, s) for s in range(seeds)]
    if data_seeds is not None:
        repeats = list(itertools.product(range(data_seeds), range(seeds)))
    expected = [(k, r, *both) for k in kernels for r in rates for both in repeats]
    order = index.order(np.arange(grid.runs))
    assert [lanes[place] for place in np.argsort(order)] == expected
    for finished in range(0, grid.runs, block):
        counts = [sum(lane[:2] == arm for lane in lanes[:finished])
                  for arm in itertools.product(kernels, rates)]  # fmt: skip
        assert max(counts) - min(counts) <= block


def test_rows_are_in_the_order_of_the_grid_and_the_order_of_lanes_changes_no_bit(assert_same_bits):
    grid = {**SMALL, "learning_rate": (0.1, 0.3)}
    whole = jinit.run(jinit.Grid(**grid, seeds=7, initializer=ARMS), tile=4)
    assert whole["seed"].tolist() == [*range(7)] * 6
    assert whole["initializer"].tolist() == [arm for arm in ARMS for _ in range(14)]
    alone = jinit.run(jinit.Grid(**grid, seeds=7, initializer=ARMS[2]), tile=4)
    same = whole.select(initializer=ARMS[2])
    for name in ("train_loss", "test_loss", "gradient_norm"):
        assert_same_bits(alone[name], same[name])


def test_an_interrupted_sweep_has_pairs_to_compare():
    def stop(event):
        if event.kind == "tile":
            raise KeyboardInterrupt

    class Slow(engine.MemoryStore):
        """Keeps the first four tiles: two of each arm."""

        def put(self, job, tile, result):
            if tile < 4:
                super().put(job, tile, result)

    grid = jinit.Grid(**SMALL, seeds=40, initializer=("he_normal", "zeros"))
    with pytest.raises(SweepInterrupted) as caught:
        jinit.run(grid, tile=4, workers=1, progress=stop, store=Slow())
    found = caught.value.table
    seeds = [set(found.select(initializer=arm)["seed"]) for arm in ("he_normal", "zeros")]
    assert abs(len(seeds[0]) - len(seeds[1])) <= 4
    assert seeds[0] & seeds[1]


@pytest.mark.parametrize("stopped", [False, True], ids=["all runs", "some runs"])
def test_an_interrupt_while_a_tracker_closes_keeps_the_table(stopped, monkeypatch):
    def interrupted(tracking):
        raise KeyboardInterrupt

    def stop(event):
        if stopped and event.kind == "tile":
            raise KeyboardInterrupt

    monkeypatch.setattr(_trackers.Tracking, "close", interrupted)
    with pytest.raises(SweepInterrupted) as caught:
        jinit.run(
            jinit.Grid(**SMALL, seeds=12), tile=4, workers=1, progress=stop, tracker=lambda _: None
        )
    assert (len(caught.value.table) < 12) == stopped


def test_a_lost_process_after_the_last_run_keeps_the_table(monkeypatch):
    class Group:
        first = True

        def same(self, table, hang_after):
            raise errors.HangError("process 1 is lost")

    monkeypatch.setattr(_run, "joined", lambda **_: contextlib.nullcontext(Group()))
    with pytest.raises(errors.HangError) as caught:
        jinit.run(jinit.Grid(**SMALL, seeds=4), tile=4)
    assert len(caught.value.table) == 4


@pytest.mark.slow
def test_a_store_continues_a_sweep_without_running_anything_twice():
    store, grid = engine.MemoryStore(), jinit.Grid(**SMALL, seeds=12, initializer=ARMS)

    def stop(event):
        if event.kind == "tile":
            raise ConnectionError

    with pytest.raises(ConnectionError) as caught:
        jinit.run(grid, tile=4, workers=1, progress=stop, store=store)
    seen = []
    found = jinit.run(grid, tile=4, store=store, progress=lambda event: seen.append(event.runs))
    assert sum(seen) == 36 - len(caught.value.table)
    np.testing.assert_array_equal(found["test_loss"], jinit.run(grid, tile=4)["test_loss"])
    # Other arms or seeds are further runs; the same ones trained otherwise are a mistake.
    more = jinit.Grid(**SMALL, seeds=4, initializer=ARMS[0])
    assert len(jinit.run(more, tile=4, store=store)) == 4
    other = jinit.Grid(**(SMALL | {"target_accuracy": 0.7}), seeds=12, initializer=ARMS)
    with pytest.raises(ValueError, match="store of job"):
        jinit.run(other, tile=4, store=store)


@pytest.mark.slow
def test_signals_while_the_table_is_made_lose_nothing(monkeypatch):
    from jinit.sweep import _rows

    original = _rows.table

    def signalled(grid, results, settings):
        if settings["seconds"] is not None:
            signal.raise_signal(signal.SIGINT)
        return original(grid, results, settings)

    monkeypatch.setattr(_rows, "table", signalled)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SweepInterrupted) as caught:
            jinit.run(jinit.Grid(**SMALL, seeds=4))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(caught.value.table) == 4


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(ACTIVATION(nn.Dense(4)(x)))


def by_activation(x):
    return ACTIVATION(x)


def by_apply(params, x):
    return ACTIVATION(x @ params["kernel"])


PAIR = {"kernel": jax.ShapeDtypeStruct((3, 2), "float32")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {"model": Network()},
        pytest.param({"model": (PAIR, by_apply)}, marks=pytest.mark.full),
        pytest.param({"activation": by_activation}, marks=pytest.mark.full),
        {"activation": "registered"},
    ],
)
@pytest.mark.sampled(2)
def test_a_sweep_sees_that_a_global_of_the_model_has_changed(arguments, monkeypatch):
    """The reference is the same function with the value written into it."""
    activations.register("registered", lambda: activations.Activation("registered", by_activation))
    axes = {"seeds": 2, "steps": 4, "loss": "softmax_cross_entropy"}
    if "activation" in arguments:
        axes |= {"depth": 1, "width": 4, "activation": arguments["activation"]}
    given = {"model": arguments["model"]} if "model" in arguments else {}

    def losses(**more):
        grid = jinit.Grid(**axes | more)
        return jinit.run(grid, data=DATA, **given)["test_loss"].tolist()

    try:
        relu = losses()
        assert losses() == relu
        monkeypatch.setattr(f"{__name__}.ACTIVATION", jnp.tanh)
        tanh = losses()
        assert tanh != relu
        monkeypatch.setattr(f"{__name__}.ACTIVATION", nn.relu)
        assert losses() == relu
    finally:
        activations._REGISTRY.remove("registered")


@pytest.mark.slow
def test_a_store_in_memory_does_not_mix_up_models_of_other_values():
    """Functions with equal names and shapes, whose own parameters differ, are two models."""
    values = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    grid = jinit.Grid(initializer="own", steps=2, seeds=2, evaluations=2,
                      loss="softmax_cross_entropy")  # fmt: skip
    store = engine.MemoryStore()

    def apply(params, x):
        return x @ params["kernel"]

    def trained(kernel):
        return jinit.run(grid, model=({"kernel": kernel}, apply), data=DATA, store=store)

    first = trained(values)["train_loss"].tolist()
    assert trained(values.copy())["train_loss"].tolist() == first
    with pytest.raises(ValueError, match="fresh MemoryStore"):
        trained(2 * values)


@pytest.mark.slow
def test_an_initializer_that_reads_a_global_is_seen_to_change(monkeypatch):
    def scaled(key, shape, dtype=jnp.float32, out_sharding=None):
        return SCALE * jax.random.normal(key, shape, dtype)

    grid = jinit.Grid(**SMALL, seeds=2, initializer=scaled)
    small = jinit.run(grid)["test_loss"].tolist()
    monkeypatch.setattr(f"{__name__}.SCALE", 2.0)
    assert jinit.run(grid)["test_loss"].tolist() != small


SCALE = 0.1
