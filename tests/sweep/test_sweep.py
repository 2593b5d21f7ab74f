"""Tests sweeps: equal to a single run, independent lanes, few programs, own models and data."""

import dataclasses
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export

import jinit
from jinit import data, models
from jinit.engine._program import Program
from jinit.sweep import SweepInterrupted
from jinit.sweep._lanes import LaneIndex
from jinit.train import FitConfig, fit, losses, optimizers

SMALL = {"dataset": "xor", "width": 8, "depth": 2, "steps": 30, "evaluations": 3, "seeds": 6}
ARMS = ("glorot_uniform", "he_normal", "orthogonal")


@pytest.fixture(scope="module")
def table():
    return jinit.run(jinit.Grid(**SMALL, initializer=ARMS, learning_rate=(0.1, 0.3)))


def same_rows(a, b, same):
    for name in a.columns:
        exact = a[name].dtype == object
        (np.testing.assert_array_equal if exact else same)(a[name], b[name])
    for name in a.curves:
        same(a.curves[name], b.curves[name])


@pytest.mark.slow
def test_shape_of_the_table(table):
    assert len(table) == 3 * 2 * 6
    assert table.varying() == ("initializer", "learning_rate", "seed", "data_seed")
    assert table.curves["test_accuracy"].shape == (36, 3)
    assert table.curve_steps[-1] == 30
    assert np.isfinite(table["test_loss"]).all()
    assert table.settings["versions"]["jax"] == jax.__version__


@pytest.mark.slow
def test_data_sets_of_several_tasks_are_one_table():
    sets = ("linear_teacher", "xor")
    small = {**SMALL, "initializer": ("zeros", "he_normal"), "steps": 3}
    table = jinit.run(jinit.Grid(**{**small, "dataset": sets}))
    for name in sets:
        alone = jinit.run(jinit.Grid(**{**small, "dataset": name}))
        mine = table.select(dataset=name)
        for column in table.columns:
            if column in alone.columns:
                np.testing.assert_array_equal(mine[column], alone[column])
            else:
                assert np.isnan(mine[column]).all(), column
    found = jinit.compare(table, "test_r2", baseline="zeros")
    assert [item.cell["dataset"] for item in found] == ["linear_teacher"]


@pytest.mark.slow
def test_a_run_is_initialize_and_fit(table):
    """A sweep equals its public steps, called one by one for one seed."""
    xor = data.get("xor")
    model = models.as_model(models.MLP((8, 8, 1)))
    rules = {"*/kernel": "he_normal", "*/bias": "zeros"}
    seed = 4
    params = jinit.initialize(
        jinit.sweep.run_key(seed, "init"), model.shapes(xor.x_train[:1]), rules
    )
    _, metrics = fit(
        params,
        xor,
        jinit.sweep.run_key(seed, "data"),
        apply=model.apply,
        loss=losses.get(None, "binary"),
        optimizer=optimizers.make("sgd", 0.3),
        config=FitConfig(steps=30, evaluations=3),
    )
    row = table.select(initializer="he_normal", learning_rate=0.3, seed=seed)
    assert float(row["test_loss"][0]) == pytest.approx(float(metrics["test_loss"]), rel=1e-4)
    assert float(row["test_accuracy"][0]) == pytest.approx(
        float(metrics["test_accuracy"]), abs=0.02
    )


@pytest.mark.slow
@settings(max_examples=8)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True),
    st.permutations(ARMS),
    st.integers(1, 3),
    st.integers(1, 2),
)
def test_a_run_is_the_same_whatever_else_the_grid_holds(
    table, assert_same_bits, seeds, arms, count, workers
):
    grid = {
        **SMALL,
        "seeds": tuple(seeds),
        "initializer": tuple(arms[:count]),
        "learning_rate": 0.3,
    }
    found = jinit.run(jinit.Grid(**grid), workers=workers, tile=16)
    for arm in arms[:count]:
        for seed in seeds:
            same_rows(
                found.select(initializer=arm, seed=seed),
                table.select(initializer=arm, seed=seed, learning_rate=0.3),
                assert_same_bits,
            )


@pytest.mark.full
def test_adding_initializers_or_seeds_compiles_no_training_program(monkeypatch):
    compiled = []
    original = Program.compile

    def counted(self, device=None):
        before = self.traces
        original(self, device)
        if self.traces > before:
            compiled.append(self.name)

    monkeypatch.setattr(Program, "compile", counted)
    base = {**SMALL, "width": 11}
    jinit.run(jinit.Grid(**base, initializer="he_normal"))
    assert sum(name.startswith("dataset=") for name in compiled) == 1
    compiled.clear()
    more = base | {"seeds": 20, "learning_rate": (0.05, 0.1)}
    jinit.run(jinit.Grid(**more, initializer=("he_normal", "normal(stddev=0.3)", "zeros")))
    assert not [name for name in compiled if name.startswith("dataset=")]


@pytest.mark.slow
def test_arms_of_one_seed_see_the_same_noise_and_the_same_batches():
    common = jinit.run(
        jinit.Grid(
            **SMALL, initializer=("he_normal", "variance_scaling(2.0, fan_in, truncated_normal)")
        )
    )
    same = [common.select(initializer=a)["test_loss"] for a in dict.fromkeys(common["initializer"])]
    np.testing.assert_array_equal(*same)
    grid = jinit.Grid(**SMALL, initializer=("he_normal", "lecun_normal"), pairing="independent")
    independent = jinit.run(grid).select(initializer="he_normal")["test_loss"]
    assert not np.any(independent == same[0])


@pytest.mark.slow
def test_data_seeds_are_crossed_with_seeds():
    found = jinit.run(jinit.Grid(**SMALL | {"seeds": 3}, data_seeds=(7, 8)))
    assert len(found) == 6
    losses_seen = found["train_loss"].reshape(2, 3)
    assert not np.any(losses_seen[0] == losses_seen[1])
    tied = jinit.run(jinit.Grid(**SMALL | {"seeds": (7,)}))
    row = jinit.run(jinit.Grid(**SMALL | {"seeds": (7,)}, data_seeds=(7, 8))).select(data_seed=7)
    np.testing.assert_array_equal(tied["train_loss"], row["train_loss"])


@pytest.mark.full
def test_label_noise_gain_decay_and_clip_do_something():
    off = {"label_noise": 0.0, "gain": 1.0, "weight_decay": 0.0}
    on = {"label_noise": 0.5, "gain": 2.0, "weight_decay": 0.1}
    both = jinit.run(jinit.Grid(**SMALL, **{name: (off[name], on[name]) for name in off}))
    base = both.select(**off)["train_loss"]
    for name in off:
        found = both.select(**off | {name: on[name]})
        assert not np.any(found["train_loss"] == base), name
    found = jinit.run(jinit.Grid(**SMALL, clip="leaf_norm(0.01)"))
    assert not np.any(found["train_loss"] == base)
    assert np.all(found["clip_fraction"] == 1.0)
    noisy = jinit.run(
        jinit.Grid(**SMALL | {"steps": 300}, label_noise=(0.0, 1.0), learning_rate=0.5)
    )
    assert np.median(noisy.select(label_noise=1.0)["test_accuracy"]) < 0.75
    assert np.median(noisy.select(label_noise=0.0)["test_accuracy"]) > 0.95


@pytest.mark.full
def test_a_grid_in_which_everything_diverges():
    grid = jinit.Grid(
        **SMALL | {"depth": 30},
        initializer=("normal(stddev=100.0)", "he_normal"),
        learning_rate=1e30,
    )
    found = jinit.run(grid)
    assert found["diverged"].all()
    assert set(found["where"]) <= {"loss", "gradient"}
    assert (found["first_bad_step"] >= 1).all()
    comparisons = jinit.compare(found, baseline="he_normal")
    assert comparisons[0].diverged == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    "axis",
    [
        {"dataset": "iris", "loss": "multiclass_hinge"},
        {"dataset": "xor", "loss": "hinge"},
        {"dataset": "xor", "loss": "mean_squared_error"},
        {"dataset": "linear_teacher"},
        pytest.param(
            {
                "optimizer": ("momentum", "nesterov", "adam", "adamw", "rmsprop"),
                "learning_rate": 0.01,
            },
            marks=pytest.mark.full,
        ),
        {"depth": 0},
        {"residual": True, "layer_norm": True},
    ],
)
@pytest.mark.sampled(3)
def test_every_kind_of_run(axis):
    found = jinit.run(jinit.Grid(**SMALL | axis | {"seeds": 2}))
    assert not found["diverged"].any()
    assert np.isfinite(found["test_loss"]).all()


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3))(x))
        return nn.Dense(3)(x.reshape(x.shape[0], -1))


IMAGES = np.random.default_rng(0).normal(size=(60, 6, 6, 1))
LABELS = np.arange(60) % 3


@pytest.mark.slow
def test_own_flax_model_on_own_arrays():
    grid = jinit.Grid(initializer=("he_normal", "zeros"), seeds=4, steps=20, batch_size=8)
    found = jinit.run(grid, model=Convolutional(), data=(IMAGES, LABELS))
    assert len(found) == 8
    assert "depth" not in found.axes
    assert set(found["dataset"]) == {"arrays"}
    assert found.select(initializer="he_normal")["train_loss"].mean() < np.log(3)


@pytest.mark.slow
def test_own_apply_and_shapes():
    shapes = {
        "w1": jax.ShapeDtypeStruct((2, 8), jnp.float32),
        "w2": jax.ShapeDtypeStruct((8, 1), jnp.float32),
    }
    grid = jinit.Grid(
        **{k: SMALL[k] for k in ("dataset", "steps", "seeds")}, initializer="he_normal"
    )
    model = (shapes, lambda p, x: jnp.tanh(x @ p["w1"]) @ p["w2"])
    options = {"model": model, "rules": lambda initializer, bias: {"*": initializer}}
    # A tree of one's own does not say which axis is in and which is out.
    with pytest.raises(ValueError, match=r"'w1'.*no layer kind"):
        jinit.run(grid, **options)
    found = jinit.run(grid, layers={"*": "dense"}, **options)
    assert len(found) == 6
    with pytest.raises(ValueError, match="no rule"):
        jinit.run(grid, model=(shapes, lambda p, x: x @ p["w1"] @ p["w2"]))


@pytest.mark.full
def test_own_callables_as_axis_values():
    def tiny(key, shape, dtype=jnp.float32, out_sharding=None):
        return 0.1 * jax.random.normal(key, shape, dtype)

    found = jinit.run(jinit.Grid(**SMALL, initializer=(tiny, "he_normal"), activation=jnp.sin))
    assert set(found["activation"]) == {"sin"}
    assert len(set(found["initializer"])) == 2


@pytest.mark.full
def test_an_interruption_keeps_what_was_finished():
    def stop(event):
        if event.kind == "tile":
            raise KeyboardInterrupt

    with pytest.raises(SweepInterrupted) as caught:
        jinit.run(jinit.Grid(**SMALL | {"seeds": 64}), progress=stop, tile=4, workers=1)
    assert len(caught.value.table) >= 4
    assert "of 64 runs" in str(caught.value)


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_training_program_lowers_for_chips_this_machine_lacks(platform, digits):
    from jinit.sweep._network import lane_shapes

    grid = jinit.Grid(
        depth=3, width=16, optimizer="adamw", clip="global_norm(1.0)", label_noise=0.1, seeds=4
    )
    program = jinit.plan(grid).programs[0]
    shared = (jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), program.dataset),)
    train = Program(program.network, lane_shapes(program.shapes), shared, width=64, name="train")
    lowered = export.export(train._jitted(), platforms=(platform,))(*train._arguments(None))
    assert lowered.platforms == (platform,)
    assert len(lowered.mlir_module_serialized) > 1000


@pytest.mark.slow
def test_memory_does_not_hold_all_weights(monkeypatch):
    """Weights are drawn tile by tile, never for all runs at once."""
    from jinit.sweep import _lanes

    alive, most = [], []
    original = _lanes.NetworkLanes.take

    def counted(self, numbers, device):
        alive.append(len(numbers))
        most.append(len(numbers))
        return original(self, numbers, device)

    monkeypatch.setattr(_lanes.NetworkLanes, "take", counted)
    jinit.run(jinit.Grid(**SMALL | {"seeds": 100}), tile=4)
    assert max(most) == 4
    assert sum(alive) == 100


def test_lane_index_gives_every_combination_once():
    grid = jinit.Grid(**SMALL, initializer=ARMS, learning_rate=(0.1, 0.2), data_seeds=2)
    index = LaneIndex(grid, jinit.plan(grid).programs[0].numbers, 5)
    columns = index.columns(np.arange(3 * 2 * 2 * 6))
    rows = set(
        zip(
            *(columns[a].tolist() for a in ("initializer", "learning_rate", "data_seed", "seed")),
            strict=True,
        )
    )
    assert len(rows) == 72


@pytest.mark.full
@pytest.mark.timeout(280)
def test_two_hundred_threaded_sweeps_with_orthogonal_layers_do_not_hang():
    grid = {**SMALL, "initializer": "orthogonal", "steps": 3, "depth": 4, "width": 16}
    for repetition in range(200):
        seeds = tuple(range(repetition * 16, repetition * 16 + 16))
        found = jinit.run(jinit.Grid(**grid | {"seeds": seeds}), workers=2, tile=4, hang_after=60)
    assert len(found) == 16


@pytest.mark.full
def test_label_noise_0_is_the_same_alone_and_beside_noisy_arms(assert_same_bits):
    axes = {"dataset": "xor", "depth": 1, "width": 16, "steps": 30, "seeds": 3}
    alone = jinit.run(jinit.Grid(**axes))
    beside = jinit.run(jinit.Grid(**axes, label_noise=(0.2, 0.0))).select(label_noise=0.0)
    for column in ("train_loss", "test_loss"):
        assert_same_bits(beside[column], alone[column])


@pytest.mark.full
def test_adamw_decays_as_much_as_its_column_says():
    axes = {"dataset": "xor", "depth": 1, "width": 8, "steps": 50, "seeds": 3, "optimizer": "adamw"}
    alone = jinit.run(jinit.Grid(**axes))
    beside = jinit.run(jinit.Grid(**axes, weight_decay=(0.0, 0.01))).select(weight_decay=0.0)
    np.testing.assert_array_equal(beside["test_loss"], alone["test_loss"])


@pytest.mark.full
def test_a_bias_rule_may_use_the_kernels_fan():
    grid = jinit.Grid(dataset="xor", bias_initializer="fan_in_uniform", depth=1, steps=5, seeds=2)
    assert np.isfinite(jinit.run(grid)["test_loss"]).all()


@pytest.mark.full
def test_independent_noise_of_a_callable_does_not_depend_on_the_process():
    code = """
import jax, jinit
grid = jinit.Grid(dataset="xor", initializer=(jax.nn.initializers.he_normal(), "he_normal"),
                  pairing="independent", depth=1, steps=5, seeds=2)
print(jinit.run(grid)["test_loss"].tolist(), grid.labels("initializer"))
"""
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert first.stdout == second.stdout
    assert "0x" not in first.stdout


@pytest.mark.full
def test_labels_of_an_axis_are_what_the_table_says():
    grid = jinit.Grid(
        dataset="xor",
        clip=(None, "leaf_norm(1.0)", "value(0.25)"),
        activation=("relu", "tanh"),
        depth=1,
        width=8,
        steps=2,
        seeds=2,
    )
    table = jinit.run(grid)
    for axis in ("clip", "activation", "initializer"):
        assert set(table[axis]) == set(grid.labels(axis))


@pytest.mark.full
@pytest.mark.parametrize("dataset", ["two_moons", "linear_teacher"])
@pytest.mark.sampled(2)
def test_one_output_may_have_no_axis_of_its_own(dataset):
    """A model that returns (batch,) is trained like the same model with outputs (batch, 1)."""
    one = data.get(dataset)
    if one.task == "regression":
        one = dataclasses.replace(
            one, y_train=one.y_train[:, :1], y_test=one.y_test[:, :1], outputs=1
        )

    def shapes(x):
        return {"kernel": jax.ShapeDtypeStruct((x.shape[1], 1), jnp.float32)}

    def column(params, x):
        return x @ params["kernel"]

    def flat(params, x):
        return (x @ params["kernel"])[:, 0]

    loss = "hinge" if one.task == "binary" else None
    tables = [
        jinit.run(
            jinit.Grid(initializer="he_normal", steps=20, seeds=3, loss=loss),
            model=(shapes, apply), data=one, rules=lambda kernel, bias: {"kernel": kernel},
        )
        for apply in (column, flat)
    ]  # fmt: skip
    for name in ("train_loss", "test_loss", "test_accuracy"):
        np.testing.assert_allclose(*(table[name] for table in tables), rtol=1e-5)
