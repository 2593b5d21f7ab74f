"""Which leaves of a model decay and which are matrices; a user's own optimizer in a sweep."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinit
from jinit import models
from jinit.sweep import _optimized
from jinit.sweep._rules import ModelLeaves
from jinit.train._muon import Matrix
from jinit.train._own import check_update

GRID = {"dataset": "xor", "depth": 2, "width": 4, "steps": 3, "evaluations": 2, "seeds": 2}


class Block(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(11, 6)(tokens)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
        x = x + nn.Dense(6)(nn.relu(nn.Dense(12)(nn.LayerNorm()(x))))
        return nn.Dense(3)(x.mean(axis=1))


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3))(x))
        x = nn.relu(nn.Conv(8, (3, 3))(x))
        x = nn.relu(nn.Conv(8, (3, 3), feature_group_count=8)(x))
        return nn.Dense(3)(x.mean(axis=(1, 2)))


def leaves_of(module, x):
    leaves = ModelLeaves.of(jinit.frameworks.as_model(module, x), x, None)
    return leaves, [leaf.path for leaf in leaves.leaves]


@pytest.mark.slow
def test_muon_takes_the_hidden_kernels_by_their_layers():
    leaves, paths = leaves_of(Block(), jnp.zeros((2, 5), jnp.int32))
    found = {path: m for path, m in zip(paths, _optimized.matrices(leaves), strict=True) if m}
    attention = "MultiHeadDotProductAttention_0"
    assert found == {
        f"{attention}/query/kernel": Matrix((0,), (1, 2)),
        f"{attention}/key/kernel": Matrix((0,), (1, 2)),
        f"{attention}/value/kernel": Matrix((0,), (1, 2)),
        f"{attention}/out/kernel": Matrix((0, 1), (2,)),
        "Dense_0/kernel": Matrix((0,), (1,)),
        "Dense_1/kernel": Matrix((0,), (1,)),
    }
    leaves, paths = leaves_of(Convolutional(), jnp.ones((1, 8, 8, 1)))
    found = {path: m for path, m in zip(paths, _optimized.matrices(leaves), strict=True) if m}
    assert found == {"Conv_1/kernel": Matrix((0, 1, 2), (3,))}


def test_biases_and_norms_do_not_decay_if_only_weights_do():
    leaves, paths = leaves_of(Block(), jnp.zeros((2, 5), jnp.int32))
    flags = dict(zip(paths, _optimized.decayed(leaves), strict=True))
    for path, flag in flags.items():
        assert flag is path.endswith(("kernel", "embedding")), path


@pytest.mark.full
def test_the_grid_says_which_leaves_decay():
    axes = {**GRID, "optimizer": "adamw", "learning_rate": 0.05, "bias_initializer": "ones"}
    everything, weights = (
        jinit.run(jinit.Grid(**axes, weight_decay=0.5, weight_decay_on=on))
        for on in ("all", "weights")
    )
    own = jinit.run(jinit.Grid(**{**axes, "optimizer": decayed}, weight_decay=0.5))
    assert (everything["test_loss"] != weights["test_loss"]).all()
    np.testing.assert_allclose(own["test_loss"], weights["test_loss"], rtol=1e-5)
    assert weights.settings["grid"]["weight_decay_on"] == "weights"


def decayed(learning_rate, weight_decay):
    def mask(params):
        return {layer: {"bias": False, "kernel": True} for layer in params}

    return optax.adamw(learning_rate, weight_decay=weight_decay, mask=mask)


def heavy(learning_rate, momentum):
    return optax.sgd(learning_rate, momentum=momentum)


@pytest.mark.full
def test_functions_are_values_of_the_optimizer_axis():
    axes = {**GRID, "momentum": (0.5, 0.9)}
    table = jinit.run(jinit.Grid(**axes, optimizer=("momentum", heavy)))
    assert list(dict.fromkeys(table["optimizer"])) == ["momentum", "heavy"]
    mine, named = (table.select(optimizer=name)["test_loss"] for name in ("heavy", "momentum"))
    np.testing.assert_allclose(mine, named, rtol=1e-5)
    with pytest.raises(ValueError, match="'heavy', which has none"):
        jinit.Grid(**GRID, optimizer=heavy, weight_decay=(0.0, 0.1))


def test_muon_is_refused_where_no_hidden_kernel_can_be_seen():
    for axes in ({"depth": 0}, {"depth": 1}):
        with pytest.raises(ValueError, match=r"optimizer 'muon'.*hidden kernels"):
            jinit.plan(jinit.Grid(**{**GRID, **axes}, optimizer="muon"))
    shapes = {"kernel": np.ones((2, 1), np.float32)}
    model = models.functional(shapes, lambda params, x: x @ params["kernel"])
    grid = jinit.Grid(dataset="xor", optimizer="muon")
    with pytest.raises(ValueError, match="optimizer 'muon'"):
        jinit.plan(grid, model=model)


def labels(params):
    return {layer: "hidden" if "hidden" in layer else "output" for layer in params}


def partitioned(learning_rate, weight_decay):
    parts = {
        "hidden": optax.adamw(learning_rate, weight_decay=weight_decay),
        "output": optax.sgd(learning_rate),
    }
    return optax.partition(parts, labels)


def injected(learning_rate, momentum):
    return optax.inject_hyperparams(optax.sgd)(learning_rate=learning_rate, momentum=momentum)


def averaged(learning_rate):
    parts = {"hidden": optax.contrib.schedule_free_sgd(learning_rate), "output": optax.sgd(0.1)}
    return optax.partition(parts, labels)


def by_value(learning_rate):
    return optax.polyak_sgd(max_learning_rate=1.0)


def several(learning_rate):
    return optax.MultiSteps(optax.adam(learning_rate), 2)


@pytest.mark.slow
@pytest.mark.parametrize("own", [partitioned, injected, averaged, by_value, several, decayed])
@pytest.mark.sampled(3)
def test_transforms_of_optax_that_users_bring_fit(own):
    for schedule in ("constant", "cosine"):
        grid = jinit.Grid(**GRID, optimizer=own, schedule=schedule)
        assert jinit.plan(grid).programs[0].labels["optimizer"] == own.__name__


@pytest.mark.full
@pytest.mark.parametrize("own", [partitioned, injected, averaged, by_value])
@pytest.mark.sampled(4)
def test_transforms_of_optax_that_users_bring_train(own):
    table = jinit.run(jinit.Grid(**{**GRID, "steps": 20}, optimizer=own, learning_rate=0.1))
    assert not table["diverged"].any()
    assert (table.curves["test_loss"][:, -1] < table.curves["test_loss"][:, 0]).all()


def changed(function):
    return lambda learning_rate: optax.stateless(lambda updates, params: function(updates))


def growing(learning_rate):
    return optax.GradientTransformation(
        lambda params: (), lambda updates, state, params=None: (updates, (*state, 1.0))
    )


@pytest.mark.parametrize(
    ("own", "error", "match"),
    [
        (changed(lambda tree: list(tree.values())), ValueError, "one update per parameter"),
        (
            changed(lambda tree: {k: {n: w[None] for n, w in v.items()} for k, v in tree.items()}),
            ValueError,
            "keep the shape",
        ),
        (
            changed(
                lambda tree: {
                    k: {n: w.astype(jnp.int32) for n, w in v.items()} for k, v in tree.items()
                }
            ),
            ValueError,
            r"int32.; allowed: shape .*float32",
        ),
        (
            changed(lambda tree: {k: {n: w / 0 for n, w in v.items()} for k, v in tree.items()}),
            ValueError,
            "NaN or inf in the first update of 'hidden_0/bias'",
        ),
        (growing, ValueError, "state of constant structure"),
        (lambda learning_rate: 3, TypeError, "an optax.GradientTransformation"),
        (lambda learning_rate: optax.adam, TypeError, "an optax.GradientTransformation"),
    ],
)
def test_transforms_that_do_not_fit_are_refused_before_training(own, error, match):
    with pytest.raises(error, match=match):
        jinit.plan(jinit.Grid(**GRID, optimizer=own))
    with pytest.raises(error, match=match):
        jinit.plan(jinit.Grid(**GRID), optimizer=own)


def test_wider_updates_are_narrowed():
    def widened(tree):
        return {name: leaf.astype(jnp.float32) for name, leaf in tree.items()}

    shapes = {"w": jnp.zeros(2, jnp.bfloat16)}
    check_update(changed(widened), [0.1], shapes)
