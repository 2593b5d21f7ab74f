"""What a sweep measures while it trains: evaluations at equal distances, and probes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jinit
from jinit import data
from jinit.sweep._network import run_key
from jinit.train import FitConfig

TINY = {"dataset": "xor", "width": 4, "seeds": 2, "batch_size": 8, "initializer": "normal(0.5)"}
MOST = 10_000


@pytest.mark.parametrize(
    ("steps", "every", "points"),
    [(40, 1, list(range(1, 41))), (10, 4, [4, 8, 10]), (8, 4, [4, 8]), (3, 3, [3])],
)
def test_evaluations_at_equal_distances(steps, every, points):
    assert list(FitConfig(steps=steps, evaluate_every=every).evaluation_steps()) == points


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"evaluate_every": 0}, "evaluate_every: got 0"),
        ({"evaluate_every": 301}, "evaluate_every: got 301"),
        ({"evaluate_every": 1, "steps": MOST + 1}, "use 2"),
        ({"evaluate_every": 10, "evaluations": 5}, "evaluations: got 5"),
        ({"watch": "parameter_nrm"}, "did you mean 'parameter_norm'"),
        ({"watch": {"test_loss": jnp.sum}}, "a name that no other curve has"),
        ({"watch": {"weight_rms": jnp.sum}}, "a name that no other curve has"),
        ({"watch": ("weight_rms", "weight_rms")}, "a name that no other curve has"),
    ],
)
def test_bad_points_and_probes_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        jinit.Grid(**options)


def test_probes_that_give_no_numbers_are_refused_before_training():
    for watch, kind in (
        ({"a": lambda params: params["output"]["kernel"]}, ValueError),
        ({"a": lambda params: {}}, ValueError),
        ({"a": 3}, TypeError),
    ):
        with pytest.raises(kind, match="probe 'a'"):
            jinit.plan(jinit.Grid(**TINY, watch=watch))
    shapes = {"w": jax.ShapeDtypeStruct((2, 1), "float32")}
    with pytest.raises(ValueError, match="second_moment"):
        jinit.plan(
            jinit.Grid(seeds=2, watch="second_moment"),
            model=(shapes, lambda params, x: x @ params["w"]),
            data=(np.ones((50, 2)) * np.arange(50)[:, None], np.arange(50) % 2),
            rules=lambda kernel, bias: {"w": kernel},
            layers={"w": "dense"},
        )


@pytest.mark.full
def test_probes_measure_the_parameters_and_change_nothing():
    """With a learning rate of 1e-30 the parameters stay those of jinit.initialize."""
    watch = ("parameter_norm", "weight_rms", "second_moment")
    grid = jinit.Grid(
        **TINY, depth=(1, 3), steps=3, learning_rate=(1e-30, 0.5), watch=watch, evaluate_every=1
    )
    table = jinit.run(grid)
    other = jinit.run(jinit.Grid(**TINY, depth=(1, 3), steps=3, learning_rate=(1e-30, 0.5)))
    np.testing.assert_array_equal(table["test_loss"], other["test_loss"])
    x = np.asarray(data.get("xor").x_test)[:64].astype(np.float64)
    for depth in (1, 3):
        planned = jinit.plan(jinit.Grid(**TINY, depth=depth)).programs[0]
        rules = {"*/kernel": "normal(0.5)", "*/bias": "zeros"}
        for seed in range(2):
            params = jinit.initialize(run_key(seed, "init"), planned.shapes, rules)
            run = table.select(depth=depth, seed=seed, learning_rate=1e-30)
            leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]
            norm = np.sqrt(sum((leaf**2).sum() for leaf in leaves))
            np.testing.assert_allclose(run.curves["parameter_norm"][0], norm, rtol=1e-6)
            h = x
            for name in [*(f"hidden_{i}" for i in range(depth)), "output"]:
                kernel = np.asarray(params[name]["kernel"], np.float64)
                rms = run.curves[f"weight_rms[{name}/kernel]"][0]
                np.testing.assert_allclose(rms, np.sqrt((kernel**2).mean()), rtol=1e-6)
                z = h @ kernel
                moment = run.curves[f"second_moment[{name}]"][0]
                np.testing.assert_allclose(moment, (z**2).mean(), rtol=1e-5)
                h = np.maximum(z, 0)
    trained = table.select(learning_rate=0.5).curves["parameter_norm"]
    assert (np.diff(trained, axis=1) != 0).all()
    # Layers that an architecture lacks are NaN.
    lacking = table.select(depth=1).curves["second_moment[hidden_2]"]
    assert np.isnan(lacking).all()
    assert table.to_xarray(unstack=True)["curve_parameter_norm"].sizes["curve_step"] == 3


@pytest.mark.slow
def test_own_probes_see_the_parameters_of_own_models():
    model = nn.Sequential([nn.Dense(4), nn.tanh, nn.Dense(1)])
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(60, 3)), np.arange(60) % 2

    def norm(params):
        return jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(params)))

    watch = {"mine": norm, "each": lambda params: jax.tree.map(jnp.mean, params)}
    grid = jinit.Grid(steps=4, seeds=2, batch_size=8, watch=watch | {"parameter_norm": None})
    table = jinit.run(grid, model=model, data=arrays)
    np.testing.assert_allclose(table.curves["mine"], table.curves["parameter_norm"], rtol=1e-6)
    assert {name for name in table.curves if name.startswith("each")} == {
        f"each[layers_{i}/{leaf}]" for i in (0, 2) for leaf in ("kernel", "bias")
    }
