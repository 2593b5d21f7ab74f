"""Layers of Equinox: variances, gates, default draws."""

import jax
import numpy as np
import pytest
from draws import (
    IDS,
    SIDES,
    TOKEN,
    UNITS,
    K,
    compare,
    drawn,
    example,
    from_a_cell,
    packed,
    with_unit_variance,
)  # fmt: skip
from tiers import sample

import jinit
from jinit import frameworks, parameters

eqx = pytest.importorskip("equinox")
pytestmark = pytest.mark.slow

EQUINOX = {
    "dense": (lambda: eqx.nn.Linear(24, 30, key=K), "dense"),
    "conv1": (lambda: eqx.nn.Conv1d(40, 12, 3, key=K), "conv1"),
    "conv2": (lambda: eqx.nn.Conv2d(14, 12, 3, key=K), "conv2"),
    "conv3": (lambda: eqx.nn.Conv3d(9, 12, 3, key=K), "conv3"),
    "grouped": (lambda: eqx.nn.Conv2d(14, 14, 3, groups=7, key=K), "conv2"),
    "depthwise": (lambda: eqx.nn.Conv2d(14, 28, 3, groups=14, key=K), "conv2"),
    "transposed": (lambda: eqx.nn.ConvTranspose2d(14, 12, 3, key=K), "conv2"),
    "transposed groups": (lambda: eqx.nn.ConvTranspose2d(14, 12, 3, groups=2, key=K), "conv2"),
    "transposed strided": (lambda: eqx.nn.ConvTranspose2d(14, 12, 4, stride=2, key=K), "conv2"),
    "transposed 1-d": (lambda: eqx.nn.ConvTranspose1d(40, 12, 3, key=K), "conv1"),
}


@pytest.mark.parametrize("name", sample(EQUINOX, 2))
@pytest.mark.sampled(3)
def test_equinox(name):
    make, kind = EQUINOX[name]
    module, x = make(), example(kind)
    layers = frameworks.layers(module)
    static = eqx.partition(module, eqx.is_inexact_array)[1]
    trees = drawn(frameworks.shapes(module), layers, "equinox")

    def outputs(params):
        return jax.vmap(eqx.combine(params, static))(x)

    y = jax.vmap(outputs)(trees)
    if "transposed" in name:
        y = y[..., 3:-3] if name == "transposed 1-d" else y[..., 3:-3, 3:-3]
    with_unit_variance(y)


@pytest.mark.full
def test_equinox_attention_and_cells_have_layers():
    attention = eqx.nn.MultiheadAttention(4, 32, key=K)
    assert frameworks.layers(attention)["query_proj/weight"].in_axes == (1,)
    cell = eqx.nn.LSTMCell(8, 16, key=K)
    assert frameworks.layers(cell)["weight_hh"].fused == (16,) * 4
    made = parameters.initialize(
        K, frameworks.shapes(cell), {"weight*": "orthogonal", "*": "zeros"}, host="equinox",
        layers=frameworks.layers(cell),
    )  # fmt: skip
    assert isinstance(made, eqx.nn.LSTMCell)
    for gate in np.split(np.asarray(made.weight_hh), 4):
        np.testing.assert_allclose(gate @ gate.T, np.eye(16), atol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("side", SIDES)
def test_gates_of_equinox(side):
    for kind, module in (
        ("lstm", eqx.nn.LSTMCell(UNITS, UNITS, key=K)),
        ("gru", eqx.nn.GRUCell(UNITS, UNITS, key=K)),
    ):
        static = eqx.partition(module, eqx.is_inexact_array)[1]
        layers = packed(frameworks.layers(module), 4 if kind == "lstm" else 3)
        trees = drawn(frameworks.shapes(module), layers, "equinox")

        def one(params, x, h, static=static, kind=kind):
            cell = eqx.combine(params, static)
            return cell(x, (h, 0 * h))[0] if kind == "lstm" else cell(x, h)

        many = jax.vmap(jax.vmap(one, (None, 0, 0)), (0, None, None))
        from_a_cell(kind, side, many, trees)


def test_embeddings_of_equinox():
    module = eqx.nn.Embedding(50, 64, key=K)
    static = eqx.partition(module, eqx.is_inexact_array)[1]
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "equinox")
    with_unit_variance(jax.vmap(lambda p: jax.vmap(eqx.combine(p, static))(IDS))(trees))


@pytest.mark.full
def test_attention_of_equinox():
    module = eqx.nn.MultiheadAttention(4, 32, key=K)
    static = eqx.partition(module, eqx.is_inexact_array)[1]
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "equinox")
    with_unit_variance(
        jax.vmap(lambda p: jax.vmap(eqx.combine(p, static))(TOKEN, TOKEN, TOKEN))(trees)
    )


def test_an_ensemble_of_equinox():
    ensemble = eqx.filter_vmap(lambda key: eqx.nn.MLP(32, 16, 64, 2, key=key))
    made = ensemble(jax.random.split(K, 5))
    layers = frameworks.layers(made)
    assert layers["layers/0/weight"].fans((5, 64, 32)).fan_in == 32
    assert jinit.audit(frameworks.shapes(made), host="equinox", layers=layers) == []


def test_state_of_equinox_is_not_drawn():
    norm = eqx.nn.Sequential([eqx.nn.Linear(8, 16, key=K), eqx.nn.BatchNorm(16, "b", mode="ema")])
    tree = frameworks.shapes(norm)
    drawn_tree = parameters.initialize(
        K, tree, "equinox", host="equinox", layers=frameworks.layers(norm)
    )
    assert jax.tree.structure(drawn_tree) == jax.tree.structure(tree)


@pytest.mark.full
def test_default_draws_of_equinox():
    for module in (
        eqx.nn.Linear(100, 2000, key=K),
        eqx.nn.Conv2d(16, 64, 3, groups=4, key=K),
        eqx.nn.ConvTranspose2d(16, 64, 3, key=K),
        eqx.nn.ConvTranspose2d(16, 640, 3, stride=2, groups=4, key=K),
        eqx.nn.Embedding(300, 40, key=K),
        eqx.nn.GRUCell(30, 40, key=K),
        eqx.nn.LSTMCell(30, 40, key=K),
        eqx.nn.LayerNorm(30),
        eqx.nn.PReLU(0.25),
    ):
        real = eqx.filter(module, eqx.is_inexact_array)
        compare(real, frameworks.layers(module), "equinox")
