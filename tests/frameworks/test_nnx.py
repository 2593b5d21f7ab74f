"""Layers of Flax nnx: variances, gates, default draws."""

import jax
import jax.numpy as jnp
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
from flax import nnx
from tiers import sample

from jinit import frameworks, parameters

pytestmark = pytest.mark.slow


def nnx_layers():
    rngs = nnx.Rngs(0)
    return {
        "dense": (nnx.Linear(24, 30, rngs=rngs), "dense"),
        "general": (nnx.LinearGeneral(24, (5, 6), rngs=rngs), "dense"),
        "batched": (
            nnx.LinearGeneral(8, 16, axis=-1, batch_axis={0: 8}, rngs=rngs),
            "conv1",
        ),
        "conv1": (nnx.Conv(8, 12, (3,), padding="VALID", rngs=rngs), "conv1"),
        "conv2": (nnx.Conv(8, 12, (3, 3), padding="VALID", rngs=rngs), "conv2"),
        "conv3": (nnx.Conv(4, 12, (3, 3, 3), padding="VALID", rngs=rngs), "conv3"),
        "grouped": (
            nnx.Conv(8, 12, (3, 3), padding="VALID", feature_group_count=4, rngs=rngs),
            "conv2",
        ),
        "depthwise": (
            nnx.Conv(8, 16, (3, 3), padding="VALID", feature_group_count=8, rngs=rngs),
            "conv2",
        ),
        "transposed": (
            nnx.ConvTranspose(8, 12, (3, 3), padding="VALID", rngs=rngs, transpose_kernel=True),
            "conv2",
        ),
    }


NNX = (
    "dense",
    "general",
    "batched",
    "conv1",
    "conv2",
    "conv3",
    "grouped",
    "depthwise",
    "transposed",
)


@pytest.mark.full
def test_every_layer_of_nnx_has_a_name():
    assert tuple(nnx_layers()) == NNX


@pytest.mark.parametrize("name", sample(NNX, 2))
def test_nnx(name):
    module, kind = nnx_layers()[name]
    x = example(kind)
    graph, state, rest = nnx.split(module, nnx.Param, ...)
    layers = frameworks.layers(module)
    trees = drawn(frameworks.shapes(module), layers, "flax")
    assert jax.tree.structure(trees) == jax.tree.structure(state)
    y = jax.vmap(lambda params: nnx.merge(graph, params, rest)(x))(trees)
    with_unit_variance(y[:, :, 2:-2, 2:-2] if name == "transposed" else y)


class MyLSTMCell(nnx.OptimizedLSTMCell):
    pass


@pytest.mark.parametrize("kind", [nnx.OptimizedLSTMCell, MyLSTMCell])
def test_nnx_gates_are_drawn_alone(kind):
    cell = kind(8, 16, rngs=nnx.Rngs(0))
    layers = frameworks.layers(cell)
    assert layers["dense_h/kernel"].fused == (16,) * 4
    assert layers["dense_h/kernel"].kind == "recurrent"
    rules = {"*dense_h/kernel": "orthogonal", "*/kernel": "lecun_normal", "*": "zeros"}
    made = parameters.initialize(jax.random.key(0), frameworks.shapes(cell), rules, layers=layers)
    kernel = np.asarray(jax.tree.leaves(made["dense_h"]["kernel"])[0])
    for gate in np.split(kernel, 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(16), atol=1e-5)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("name", "kind"),
    [("LSTMCell", "lstm"), ("OptimizedLSTMCell", "lstm"), ("GRUCell", "gru")],
)
@pytest.mark.sampled(3)
def test_gates_of_nnx(name, kind, side):
    def carried(h):
        return (jnp.zeros_like(h), h) if kind == "lstm" else h

    module = getattr(nnx, name)(UNITS, UNITS, rngs=nnx.Rngs(0))
    graph, _, rest = nnx.split(module, nnx.Param, ...)
    layers = frameworks.layers(module)
    if name != "LSTMCell":  # which has a layer for each gate
        packed(layers, 4 if kind == "lstm" else 3)
    trees = drawn(frameworks.shapes(module), layers, "flax")

    def run(trees, x, h):
        return jax.vmap(lambda p: nnx.merge(graph, p, rest)(carried(h), x)[1])(trees)

    from_a_cell(kind, side, run, trees)


def test_embeddings_of_nnx():
    module = nnx.Embed(50, 64, rngs=nnx.Rngs(0))
    graph, _, rest = nnx.split(module, nnx.Param, ...)
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "flax")
    with_unit_variance(jax.vmap(lambda params: nnx.merge(graph, params, rest)(IDS))(trees))


def test_attention_of_nnx():
    module = nnx.MultiHeadAttention(4, 32, decode=False, rngs=nnx.Rngs(0))
    graph, _, rest = nnx.split(module, nnx.Param, ...)
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "flax")
    with_unit_variance(jax.vmap(lambda params: nnx.merge(graph, params, rest)(TOKEN))(trees))


def test_a_vmapped_layer_of_nnx():
    @nnx.vmap(in_axes=0, out_axes=0)
    def many(key):
        return nnx.Linear(32, 64, rngs=nnx.Rngs(params=key))

    assert frameworks.layers(many(jax.random.split(K, 5)))["kernel"].fans((5, 32, 64)).fan_in == 32


@pytest.mark.full
def test_default_draws_of_nnx():
    rngs = nnx.Rngs(0)
    for module in (
        nnx.Linear(100, 200, rngs=rngs),
        nnx.LinearGeneral((4, 25), (10, 20), axis=(-2, -1), rngs=rngs),
        nnx.Conv(16, 64, (3, 3), feature_group_count=4, rngs=rngs),
        nnx.ConvTranspose(16, 64, (3, 3), transpose_kernel=True, rngs=rngs),
        nnx.Embed(300, 40, rngs=rngs),
        nnx.OptimizedLSTMCell(40, 50, rngs=rngs),
        nnx.LayerNorm(40, rngs=rngs),
        nnx.Einsum("nta,hab->nthb", (4, 16, 80), (4, 80), rngs=rngs),
    ):
        compare(nnx.state(module, nnx.Param), frameworks.layers(module), "flax")
