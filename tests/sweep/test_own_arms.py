"""Initializers of the user's own on the axis: functions, names, the model's start, whole trees."""

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import frameworks, initializers
from jinit.sweep._network import run_key
from jinit.sweep._weights import check_drawn


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, bias_init=nn.initializers.normal(0.3))(x)
        return nn.Dense(1)(nn.LayerNorm()(nn.relu(x)))


NETWORK = Network()
RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(60, 3)), np.arange(60) % 2
SHAPES = frameworks.shapes(NETWORK, np.ones((1, 3), np.float32))
RULES = {"*/kernel": "he_normal", "*/bias": "zeros", "*/scale": "ones"}


def half(key, shape, dtype):
    return 0.5 * jax.random.normal(key, shape, dtype)


def drawn(key):
    return jinit.initialize(key, SHAPES, RULES)


def grid(initializer, **options):
    given = {"steps": 3, "seeds": 3, "batch_size": 8} | options
    return jinit.Grid(initializer=initializer, **given)


def losses(table, arm):
    return table.select(initializer=arm)["test_loss"].tolist()


@pytest.mark.full
def test_arms_of_ones_own_train_as_the_initializers_that_they_equal():
    """One program trains all arms; the same weights give the same bits."""
    own = {"mine": half, "calibrated": "lsuv(orthogonal)", "small": "uniform(0.1)"}
    arms = grid(("he_normal", "normal(0.5)", "lsuv(orthogonal)"))
    table = jinit.run(arms, model=NETWORK, data=DATA)
    other = jinit.run(grid((own, "own", drawn)), model=NETWORK, data=DATA)
    assert list(dict.fromkeys(other["initializer"])) == [
        "mine", "calibrated", "small", "own", "drawn",
    ]  # fmt: skip
    assert losses(other, "mine") == losses(table, "normal(stddev=0.5)")
    assert losses(other, "calibrated") == losses(table, "lsuv(orthogonal)")
    assert losses(other, "drawn") == losses(table, "he_normal")
    assert len({tuple(losses(other, arm)) for arm in set(other["initializer"])}) == 5
    assert other.settings["grid"]["initializer"] == ["mine", "calibrated", "small", "own", "drawn"]


@pytest.mark.slow
def test_the_models_own_start_is_kept_with_its_biases():
    """The run of the arm is the run of a model whose start is that tree and that draws nothing."""
    start = drawn(jax.random.key(5))

    def apply(params, x):
        return NETWORK.apply({"params": params}, x)

    with pytest.warns(UserWarning, match="all seeds get the same weights"):
        table = jinit.run(
            grid(("own", {"start": lambda key: start})), model=(start, apply), data=DATA
        )
    assert losses(table, "own") == losses(table, "start")
    planned = jinit.plan(grid(("own", "zeros")), model=NETWORK, data=DATA)
    assert {one.initializer for one in planned.programs[0].assignments(0)} == {None}
    # A rule of the user that names no initializer of the grid still draws.
    rules = {"*_1/kernel": "zeros"}
    planned = jinit.plan(
        grid("own"), model=NETWORK, data=DATA,
        rules=lambda kernel, bias: rules | {"*/kernel": kernel, "*/bias": bias},
    )  # fmt: skip
    named = {one.leaf: str(one.initializer) for one in planned.programs[0].assignments()}
    assert {path for path, rule in named.items() if rule != "None"} == {"Dense_1/kernel"}
    drawn_bias = jinit.plan(grid("zeros", bias_initializer="own"), model=NETWORK, data=DATA)
    named = {one.leaf: str(one.initializer) for one in drawn_bias.programs[0].assignments()}
    assert (named["Dense_0/bias"], named["Dense_0/kernel"]) == ("None", "zeros")


@pytest.mark.slow
def test_a_function_of_the_key_gets_the_key_of_the_run():
    seen = {}

    def noted(key):
        return jax.tree.map(
            lambda leaf: jnp.full(leaf.shape, jax.random.uniform(key), leaf.dtype), SHAPES
        )

    planned = jinit.plan(grid(noted), model=NETWORK, data=DATA)
    from jinit.sweep._lanes import NetworkLanes

    lanes = NetworkLanes(grid(noted), planned.programs[0])
    lanes.programs(4)
    tile = lanes.take(np.arange(3), None)
    for seed in range(3):
        seen[seed] = float(jax.random.uniform(run_key(seed, "init")))
        for leaf in jax.tree.leaves(tile["params"]):
            np.testing.assert_array_equal(leaf[seed], np.float32(seen[seed]))
    assert len(set(seen.values())) == 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"initializer": {"he_normal": half}}, "name on the axis"),
        ({"initializer": {"kaiming_normal_": half}}, "name on the axis"),
        ({"initializer": {"lsuv": half}}, "name on the axis"),
        ({"initializer": {"a(b": half}}, "name on the axis"),
        ({"initializer": {3: half}}, "name on the axis"),
        ({"initializer": {"x": "own"}}, "'x': got 'own'"),
        ({"initializer": {"x": "he_norml"}}, "did you mean 'he_normal'"),
        ({"initializer": {}}, "at least one value"),
        ({"initializer": lambda key, shape: 0}, r"parameters \(key, shape\)"),
        ({"initializer": (half, {"mine": half})}, "half and mine.*the same function"),
        ({"initializer": ("normal", "normal(0.01)")}, r"both are normal\(stddev=0.01"),
        ({"initializer": ("normal", {"mine": "normal(0.01)"})}, "normal and mine"),
        ({"initializer": ("lsuv(normal)", "lsuv(normal(0.01))")}, "values that differ"),
        ({"initializer": ("lsuv(normal)", "lsuv(normal, tolerance=0.1)")}, "values that differ"),
        ({"bias_initializer": ("uniform", "uniform(0.01)")}, "bias_initializer: got 'uniform and"),
        ({"activation": ("leaky_relu", "leaky_relu(0.01)")}, "leaky_relu and leaky_relu"),
        ({"schedule": ("step", "step(factor=0.1)")}, "schedule: got 'step and"),
        ({"initializer": "own", "bias_initializer": ("zeros", "ones")}, "sets the biases, too"),
        ({"initializer": drawn, "bias_initializer": ("zeros", "ones")}, "sets the biases, too"),
    ],
)  # fmt: skip
def test_arms_that_mean_nothing_new_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        jinit.Grid(**options)


def test_values_that_differ_in_an_option_are_no_twins():
    values = ("normal", "normal(0.02)", "lsuv(normal)", "lsuv(normal, tolerance=0.2)", "own")
    assert len(jinit.Grid(initializer=values).values("initializer")) == 5
    assert len(jinit.Grid(activation=("leaky_relu", "leaky_relu(0.02)")).values("activation")) == 2


@pytest.mark.parametrize(
    ("initializer", "kind", "match"),
    [
        (lambda key, shape, dtype: np.ones(shape), TypeError, "dtype float64"),
        (lambda key, shape, dtype: np.asarray(key), ValueError, "a function that JAX can trace"),
        (lambda key, shape, dtype: jnp.ones(3), ValueError, r"Dense_0.*shape \(3,\)"),
        (lambda key: {"a": jnp.ones(3)}, ValueError, "got no Dense_0/bias"),
        (lambda key: {**drawn(key), "b": jnp.ones(3)}, ValueError, "got also b"),
        (lambda key: jax.tree.map(lambda leaf: leaf[None], drawn(key)), ValueError,
         r"'Dense_0/bias' .*shape \(1, 4\)"),
        (lambda key: jax.tree.map(lambda leaf: leaf.astype("bfloat16"), drawn(key)), ValueError,
         "dtype bfloat16"),
    ],
)  # fmt: skip
def test_what_a_function_returns_is_checked_before_training(initializer, kind, match):
    with pytest.raises(kind, match=match):
        jinit.plan(grid(initializer), model=NETWORK, data=DATA)


@pytest.mark.slow
@pytest.mark.parametrize(
    "initializer",
    [
        lambda key, shape, dtype: half(key, shape, dtype).at[0].set(jnp.nan),
        lambda key: jax.tree.map(lambda leaf: leaf / 0 * 0, drawn(key)),
    ],
)
def test_nan_among_drawn_weights_is_an_error(initializer):
    with pytest.raises(ValueError, match="NaN of"):
        jinit.run(grid(initializer), model=NETWORK, data=DATA)


def test_numbers_that_ignore_the_key_are_warned_of():
    def fixed(key, shape, dtype):
        return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)

    with pytest.warns(UserWarning, match="fixed: all seeds get the same weights"):
        jinit.run(grid(fixed), model=NETWORK, data=DATA)


def test_equal_weights_of_one_seed_are_no_surprise():
    normal = RNG.normal(size=(4, 2))
    one = np.broadcast_to(normal, (3, 4, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_drawn("value", one, np.array([7, 7, 7]))  # a padded tile
        check_drawn("value", one, np.array([[1, 2]] * 3))
        check_drawn("value", one[:1], np.array([7]))
    with pytest.warns(UserWarning, match="all seeds"):
        check_drawn("value", one, np.array([7, 7, 8]))
    with pytest.warns(UserWarning, match="all seeds"):
        check_drawn("value", one, np.array([[1, 2], [1, 3], [1, 2]]))


@pytest.mark.slow
def test_a_registered_function_has_its_spec_string():
    def scaled(scale=0.5):
        return lambda key, shape, dtype=None: scale * jax.random.normal(key, shape, dtype)

    initializers.register("scaled_draw", scaled, aliases=("ScaledDraw",))
    try:
        made = initializers.get("ScaledDraw(scale=0.25)")
        assert str(made) == "scaled_draw(scale=0.25)"
        assert made == initializers.get("scaled_draw(0.25)") != initializers.get("scaled_draw")
        arms = jinit.Grid(initializer=("scaled_draw", "scaled_draw(0.25)", "normal(0.5)"))
        assert arms.labels("initializer")[1] == "scaled_draw(scale=0.25)"
        table = jinit.run(grid(("ScaledDraw", "normal(0.5)")), model=NETWORK, data=DATA)
        assert losses(table, "scaled_draw") == losses(table, "normal(stddev=0.5)")
    finally:
        initializers._registry._REGISTRY.remove("scaled_draw")


def test_the_built_in_networks_have_no_start_of_their_own():
    with pytest.raises(ValueError, match="a model with a start of its own; MLP has shapes alone"):
        jinit.plan(jinit.Grid(initializer="own"))
