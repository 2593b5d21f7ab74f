"""Calibrations as arms for models with state, dropout and modes, in every framework."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx
from tiers import sample

import jinit
from jinit import data
from jinit.frameworks import as_model
from jinit.frameworks._capture import capture_in_training
from jinit.sweep import plan, run_key
from jinit.sweep._calibrated import BATCH
from jinit.sweep._lanes import NetworkLanes

eqx, hk = pytest.importorskip("equinox"), pytest.importorskip("haiku")
RNG = np.random.default_rng(0)
X, Y = (3 * RNG.normal(size=(60, 6)) + 1).astype("f4"), np.arange(60) % 3
GRID = {"steps": 1, "batch_size": 8, "evaluations": 1, "seeds": 3}


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(not train, name="norm")(nn.Dense(16, name="body")(x))
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return nn.Dense(3, name="head")(x)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.body, self.head = nnx.Linear(6, 16, rngs=rngs), nnx.Linear(16, 3, rngs=rngs)
        self.norm, self.dropout = nnx.BatchNorm(16, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.head(self.dropout(nnx.relu(self.norm(self.body(x)))))


class Equinox(eqx.Module):
    body: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    head: eqx.nn.Linear

    def __init__(self, key):
        self.body, self.head = eqx.nn.Linear(6, 16, key=key), eqx.nn.Linear(16, 3, key=key)
        self.norm = eqx.nn.BatchNorm(16, axis_name="batch", mode="ema")
        self.dropout = eqx.nn.Dropout(0.5)

    def __call__(self, x, state, key):
        x, state = self.norm(self.body(x), state)
        return self.head(self.dropout(jax.nn.relu(x), key=key)), state


def haiku_net(x, is_training):
    x = hk.BatchNorm(True, True, 0.9, name="norm")(hk.Linear(16, name="body")(x), is_training)
    x = jax.nn.relu(x)
    x = hk.dropout(hk.next_rng_key(), 0.5, x) if is_training else x
    return hk.Linear(3, name="head")(x)


MODELS = {
    "linen": lambda: Linen(),
    "nnx": lambda: Nnx(nnx.Rngs(0)),
    "equinox": lambda: eqx.nn.make_with_state(Equinox)(jax.random.key(0)),
    "haiku": lambda: hk.transform_with_state(haiku_net),
}


def started(model, arm, seed):
    """The sweep's parameters and state of one seed, and whether its calibration converged."""
    grid = jinit.Grid(initializer=arm, **GRID)
    (program,) = plan(grid, model=model, data=(X, Y)).programs
    lanes = NetworkLanes(grid, program)
    lanes.programs(program.tile)
    taken = lanes.take(np.array([seed]), None)
    one = jax.tree.map(lambda leaf: leaf[0], (taken["params"], taken["state"]))
    return (*one, bool(taken["calibrated"][0]), program)


@pytest.mark.full
@pytest.mark.parametrize("kind", sample(MODELS, 2))
def test_calibrated_layers_have_variance_1_in_training(kind):
    """The first layer's outputs by hand, the last one's as the model's own training step."""
    model = MODELS[kind]()
    params, state, converged, program = started(model, "lsuv(orthogonal, tolerance=0.01)", 1)
    assert converged
    names = [leaf.path for leaf in program.leaves.leaves]
    leaves = dict(zip(names, jax.tree.leaves(params), strict=True))
    kernel, bias = {"haiku": ("w", "b"), "equinox": ("weight", "bias")}.get(
        kind, ("kernel", "bias")
    )

    def dense(layer, x):
        w = leaves[f"{layer}/{kernel}"]
        return x @ (w.T if kind == "equinox" else w) + leaves[f"{layer}/{bias}"]

    x = np.asarray(program.dataset.spread(BATCH)[0])
    assert dense("body", x).var() == pytest.approx(1, abs=0.011)
    # The last layer makes the outputs, with the dropout of one draw and the batch's statistics.
    key = jax.random.fold_in(run_key(1, "calibrate"), 0)
    outputs, _ = as_model(model, x[:1]).apply.train(params, state, x, key)
    assert outputs.var() == pytest.approx(1, abs=0.011)
    others = jax.tree.leaves(as_model(model, x[:1]).apply.train(params, state, x, run_key(9, "x")))
    assert others[0].var() != outputs.var()


@pytest.mark.full
def test_the_table_says_that_models_with_state_were_calibrated():
    arms = ("he_normal", "lsuv(orthogonal)", "output_bias(normal(0.001))")
    grid = jinit.Grid(initializer=arms, **GRID | {"learning_rate": 1e-30})
    table = jinit.run(grid, model=Linen(), data=(X, np.arange(60) % 4 % 3))
    assert table["calibrated"].all()
    source = data.from_arrays(X, np.arange(60) % 4 % 3)
    share = np.bincount(source.y_train) / 48
    start = table.select(initializer=grid.labels("initializer")[2])["test_loss"].astype(float)
    # Tiny weights, and the log frequencies (with a pseudo-count of 1) as biases.
    smooth = (share * 48 + 1) / 51
    shares = np.bincount(source.y_test) / len(source.y_test)
    np.testing.assert_allclose(start, -(shares * np.log(smooth)).sum(), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", ["between_layers", "within_layer", "analytic", "gradinit"])
@pytest.mark.sampled(6)
def test_every_calibration_of_layers_takes_every_stateful_model(kind, name):
    options = ", steps=1" if name == "gradinit" else ""
    grid = jinit.Grid(initializer=f"{name}(he_normal{options})", **GRID)
    assert jinit.plan(grid, model=MODELS[kind](), data=(X, Y)).runs == 3


def keras_net():
    keras = pytest.importorskip("keras")
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name", "reason"),
    [
        (Linen, "fixup", "fixup reads branches or copies from the module"),
        (MODELS["nnx"], "antisymmetric", "which has state, noise or two modes"),
        (keras_net, "lsuv", "a keras model.*whose layers can be tapped"),
        (
            lambda: ({"w": np.ones((6, 3), "f4")}, lambda p, x: x @ p["w"]),
            "lsuv",
            "a module of a framework: calibration reads its layers",
        ),
    ],
)
def test_a_calibration_that_cannot_be_done_is_refused_by_name(model, name, reason):
    with pytest.raises((ValueError, TypeError), match=f"{reason}") as caught:
        jinit.plan(
            jinit.Grid(initializer=f"{name}(he_normal)", **GRID),
            model=model(),
            data=(X, Y),
            layers={"w": "dense"} if isinstance(model(), tuple) and name == "lsuv" else None,
            rules=(lambda kernel, bias: {"w": kernel}) if isinstance(model(), tuple) else None,
        )
    assert name in str(caught.value) or "keras" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_first_and_last_layers_are_seen_in_models_with_state(kind):
    grid = jinit.Grid(initializer="mup", **GRID)
    (program,) = plan(grid, model=MODELS[kind](), data=(X, Y)).programs
    sigmas = {one.leaf[:4]: one.stddev for one in program.assignments() if one.stddev}
    assert sigmas == pytest.approx({"body": 6**-0.5, "head": 1 / 16})


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.slow
def test_the_opened_model_is_the_training_step(kind):
    """The same outputs as the functions that the sweep trains, and taps that reach them."""
    model = as_model(MODELS[kind](), X[:1])
    params, state = model.start(jax.random.key(0), X[:1])
    key = jax.random.key(3)
    captured = capture_in_training(model, state, X, key)
    assert [layer.name for layer in captured.layers] == ["body", "head"]
    assert captured.unseen == ()
    outputs, values = captured.apply(params, X, None)
    expected, _ = model.apply.train(params, state, X, key)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values["head"], expected, rtol=1e-5, atol=1e-5)
    taps = jax.tree.map(np.zeros_like, values)
    taps["head"] = taps["head"] + 1
    np.testing.assert_allclose(
        captured.apply(params, X, taps)[0], expected + 1, rtol=1e-5, atol=1e-5
    )
