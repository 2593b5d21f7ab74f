"""Models of a sweep: factories of the grid's axes, several models by name."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

import jinit
from jinit import results

eqx, hk = pytest.importorskip("equinox"), pytest.importorskip("haiku")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 6)), np.arange(60) % 3
GRID = {"initializer": "he_normal", "steps": 4, "batch_size": 8, "evaluations": 2, "seeds": 2}
METRICS = ("train_loss", "test_loss", "gradient_norm")


class Net(nn.Module):
    width: int = 4
    depth: int = 1
    activation: object = nn.relu
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x):
        for _ in range(self.depth):
            x = nn.Dense(self.width)(x)
            x = self.activation(nn.LayerNorm()(x) if self.layer_norm else x)
        return nn.Dense(3)(x)


class NnxNet(nnx.Module):
    def __init__(self, width, rngs):
        self.hidden, self.out = nnx.Linear(6, width, rngs=rngs), nnx.Linear(width, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.hidden(x)))


def equinox_mlp(width):
    return eqx.nn.MLP(6, 3, width, 1, key=jax.random.key(0))


def haiku_mlp(width):
    return hk.transform(lambda x: hk.nets.MLP([width, 3])(x))


def linear(params, x):
    return x @ params["kernel"]


FACTORIES = {
    "linen": Net,
    "nnx": lambda width: NnxNet(width, nnx.Rngs(0)),
    "equinox": equinox_mlp,
    "haiku": haiku_mlp,
    "functions": lambda width: ({"kernel": jax.ShapeDtypeStruct((6, 3), np.float32)}, linear),
}


@pytest.mark.full
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind == "linen" else pytest.mark.full) for kind in FACTORIES],
)
def test_a_factorys_combination_is_the_sweep_of_that_model_alone(kind, assert_same_bits):
    make = FACTORIES[kind]
    # A class is no factory.
    factory = (lambda width: Net(width)) if make is Net else make
    whole = jinit.run(jinit.Grid(width=(8, 4), **GRID), model=factory, data=(X, Y))
    assert whole["width"].tolist() == [8, 8, 4, 4]
    alone = jinit.run(jinit.Grid(**GRID), model=make(width=4), data=(X, Y))
    for metric in METRICS:
        assert_same_bits(whole.select(width=4)[metric], alone[metric])
    if kind != "functions":
        differs = whole.select(width=8)["test_loss"] != alone["test_loss"]
        assert differs.all()


@pytest.mark.slow
def test_a_factory_takes_any_of_the_grids_axes_and_options():
    seen = []

    def factory(activation, layer_norm, depth=7, other=1):
        seen.append((str(activation), float(activation(-1.0)), layer_norm, depth, other))
        return Net(4, depth, activation, layer_norm)

    grid = jinit.Grid(activation=("relu", "tanh"), depth=(2, 1), layer_norm=True, **GRID)
    planned = jinit.plan(grid, model=factory, data=(X, Y))
    assert seen == [
        (name, pytest.approx(value), True, depth, 1)
        for name, value in (("relu", 0.0), ("tanh", -0.7615942))
        for depth in (2, 1)
    ]
    assert len(planned.programs) == 4
    for program in planned.programs:
        assert {"activation", "depth"} <= set(program.labels)
        assert "width" not in program.labels
        scales = [one.leaf for one in program.assignments() if one.leaf.endswith("scale")]
        assert len(scales) == program.labels["depth"]
    everything = []
    grid = jinit.Grid(depth=1, **GRID)
    jinit.plan(grid, model=lambda **axes: everything.append(axes) or Net(), data=(X, Y))
    assert set(everything[0]) == {"activation", "depth", "width", "residual", "layer_norm"}


def test_the_number_of_outputs_follows_the_data():
    """A linear layer in a factory that needs no axis at all."""
    planned = jinit.plan(jinit.Grid(**GRID), model=lambda: nn.Dense(3), data=(X, Y))
    assert planned.programs[0].network.model.name == "Dense"


@pytest.mark.full
def test_models_by_name_are_arms_on_the_same_seeds(assert_same_bits):
    models = {"small": Net(), "equinox": equinox_mlp(8), "made": lambda: haiku_mlp(4)}
    grid = jinit.Grid(**GRID | {"seeds": 6})
    table = jinit.run(grid, model=models, data=(X, Y))
    assert "model" in table.axes
    assert list(dict.fromkeys(table["model"])) == list(models)
    alone = jinit.run(grid, model=equinox_mlp(8), data=(X, Y))
    for metric in METRICS:
        assert_same_bits(table.select(model="equinox")[metric], alone[metric])
    verdicts = jinit.compare(table, "test_loss", across="model", baseline="small")
    assert [one.arm for one in verdicts] == ["equinox", "made"]
    losses = [table.select(model=name)["test_loss"] for name in ("equinox", "small")]
    assert verdicts[0].result.pairs == 6
    assert verdicts[0].result.better == int((losses[0] < losses[1]).sum())
    # Each model's description stands under its name, and tables of other arms join.
    assert set(table.settings["models"]) == set(models)
    assert table.settings["models"]["equinox"]["parameters"]["layers/0/weight"][0] == [8, 6]
    other = jinit.run(grid, model={"wide": Net(8)}, data=(X, Y))
    joined = results.concat([table, other])
    assert set(joined.settings["models"]) == {*models, "wide"}
    changed = jinit.run(
        jinit.Grid(**GRID | {"seeds": (7, 8)}), model={"small": Net(8)}, data=(X, Y)
    )
    with pytest.raises(ValueError, match=r"models\.small\.parameters"):
        results.concat([table, changed])


@pytest.mark.slow
def test_a_plan_prints_the_leaves_of_each_named_model(capsys):
    models = {"linen": Net(), "torch-like": lambda width: equinox_mlp(width)}
    with pytest.raises(ValueError, match=r"'width': got 16.*model 'linen' does not take it"):
        jinit.plan(jinit.Grid(width=16, **GRID), model=models, data=(X, Y))
    planned = jinit.plan(jinit.Grid(**GRID), model=models, data=(X, Y))
    # Only axes that all models take are columns.
    assert [("model" in p.labels, "width" in p.labels) for p in planned.programs] == [
        (True, False)
    ] * 2
    jinit.report.show(planned)
    printed = capsys.readouterr().out
    for text in ("leaf of linen", "Dense_0/kernel", "leaf of torch-like", "layers/0/weight"):
        assert text in printed
    assert sorted(p.name.split(", ")[1] for p in planned.programs) == [
        "model=linen",
        "model=torch-like",
    ]


def raises():
    raise RuntimeError("no GPU in here")


@pytest.mark.parametrize(
    ("model", "axes", "message"),
    [
        (Net, {}, "the class Net.*call the class first, or pass a factory"),
        (NnxNet, {}, "the class NnxNet"),
        ({"a": eqx.nn.MLP}, {}, "model 'a': got 'the class MLP'"),
        (lambda depth: None, {}, "model depth=2: model: got None"),
        (lambda depth: Net, {"depth": (3, 1)}, "model depth=3: model: got 'Net'"),
        (lambda depth: linear, {}, "model depth=2: factory: got 'linear'; allowed: a model"),
        ({"b": raises}, {}, "model b: factory: got 'RuntimeError'.*it raised: no GPU in here"),
        (linear, {}, "factory 'linear': got \"the argument 'params'\".*axes of the grid"),
        (functools.partial(linear, 1), {}, "the argument 'x'"),
        ({}, {}, "at least one model"),
        ({1: Net()}, {}, "name of a model: got 1"),
        ({" ": Net()}, {}, "name of a model"),
        (Net(), {"depth": 3}, "'depth': got 3.*because the model does not take it"),
        (lambda depth: Net(), {"layer_norm": True}, "'layer_norm': got True"),
        (lambda: nn.Dense(4), {}, r"outputs of Dense: got \(2, 4\)"),
        (
            {"a": lambda depth: nn.Dense(depth)},
            {"depth": (3, 4)},
            r"model a, depth=4: outputs of Dense",
        ),
    ],
)  # fmt: skip
def test_models_that_cannot_be_made_are_refused_before_any_work(model, axes, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        jinit.run(jinit.Grid(**GRID, **axes), model=model, data=(X, Y))
    assert isinstance(caught.value, jinit.errors.Refusal)
