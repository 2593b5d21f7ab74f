"""Layers of Haiku: variances, gates, default draws."""

import jax
import jax.numpy as jnp
import pytest
from draws import (
    IMAGE,
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

from jinit import frameworks, parameters

hk = pytest.importorskip("haiku")
pytestmark = pytest.mark.slow

HAIKU = {
    "dense": (lambda x: hk.Linear(30)(x), "dense"),
    "conv1": (lambda x: hk.Conv1D(12, 3, padding="VALID")(x), "conv1"),
    "conv2": (lambda x: hk.Conv2D(12, 3, padding="VALID")(x), "conv2"),
    "conv3": (lambda x: hk.Conv3D(12, 3, padding="VALID")(x), "conv3"),
    "grouped": (lambda x: hk.Conv2D(12, 3, padding="VALID", feature_group_count=4)(x), "conv2"),
    "depthwise": (lambda x: hk.DepthwiseConv2D(2, 3, padding="VALID")(x), "conv2"),
    "depthwise 1-d": (lambda x: hk.DepthwiseConv1D(2, 3, padding="VALID")(x), "conv1"),
    "depthwise 3-d": (lambda x: hk.DepthwiseConv3D(2, 3, padding="VALID")(x), "conv3"),
    "transposed": (lambda x: hk.Conv2DTranspose(12, 3, padding="VALID")(x), "conv2"),
    "strided": (lambda x: hk.Conv2DTranspose(12, 4, stride=2)(x), "conv2"),
}


@pytest.mark.parametrize("name", sample(HAIKU, 2))
@pytest.mark.sampled(3)
def test_haiku(name):
    function, kind = HAIKU[name]
    model, x = hk.without_apply_rng(hk.transform(function)), example(kind)
    layers = frameworks.layers(model, x)
    trees = drawn(frameworks.shapes(model, x), layers, "haiku")
    y = jax.vmap(lambda params: model.apply(params, x))(trees)
    with_unit_variance(y[:, :, 5:-5, 5:-5] if name in ("transposed", "strided") else y)


def test_haiku_gates_and_embeddings():
    model = hk.transform(lambda x: hk.LSTM(16)(x, hk.LSTM(16).initial_state(4)))
    layers = frameworks.layers(model, jnp.zeros((4, 8)))
    assert layers["lstm/linear/w"].fused == (16,) * 4
    gru = hk.transform(lambda x: hk.GRU(16)(x, jnp.zeros((4, 16))))
    assert frameworks.layers(gru, jnp.zeros((4, 8)))["gru/w_h"].kind == "recurrent"
    embed = hk.without_apply_rng(hk.transform(lambda i: hk.Embed(50, 64)(i)))
    ids = jnp.arange(50)
    trees = drawn(frameworks.shapes(embed, ids), frameworks.layers(embed, ids), "haiku")
    with_unit_variance(jax.vmap(lambda params: embed.apply(params, ids))(trees))


@pytest.mark.full
@pytest.mark.parametrize("side", SIDES)
def test_gates_of_haiku(side):
    gru = hk.without_apply_rng(hk.transform(lambda x, h: hk.GRU(UNITS)(x, h)[0]))
    zero = jnp.zeros((256, UNITS))
    layers = packed(frameworks.layers(gru, zero, zero), 3)
    trees = drawn(frameworks.shapes(gru, zero, zero), layers, "haiku")
    from_a_cell("reset before", side, jax.vmap(gru.apply, (0, None, None)), trees)
    # The LSTM's one kernel takes inputs and hidden units together: their mean square is ½.
    lstm = hk.without_apply_rng(
        hk.transform(lambda x, h: hk.LSTM(UNITS)(2**0.5 * x, hk.LSTMState(2**0.5 * h, 0 * h))[0])
    )
    layers = packed(frameworks.layers(lstm, zero, zero), 4)
    trees = drawn(frameworks.shapes(lstm, zero, zero), layers, "haiku")
    from_a_cell("lstm", side, jax.vmap(lstm.apply, (0, None, None)), trees)


def test_attention_of_haiku():
    def attend(x):
        return hk.MultiHeadAttention(4, 8, w_init=hk.initializers.Constant(1.0))(x, x, x)

    model = hk.without_apply_rng(hk.transform(attend))
    trees = drawn(frameworks.shapes(model, TOKEN), frameworks.layers(model, TOKEN), "haiku")
    with_unit_variance(jax.vmap(lambda params: model.apply(params, TOKEN))(trees))


@pytest.mark.full
def test_a_layer_stack_of_haiku():
    stack = hk.transform(lambda x: hk.experimental.layer_stack(6)(lambda x: hk.Linear(32)(x))(x))
    layers = frameworks.layers(stack, jnp.zeros((2, 32)))
    (kernel,) = [layout for path, layout in layers.items() if path.endswith("/w")]
    assert kernel.fans((6, 32, 32)).fan_in == 32


@pytest.mark.full
def test_default_draws_of_haiku():
    for function, x in (
        (lambda x: hk.Linear(200)(x), jnp.zeros((1, 100))),
        (lambda x: hk.Conv2D(64, 3)(x), IMAGE),
        (lambda x: hk.Conv2D(64, 3, feature_group_count=4)(x), IMAGE),
        (lambda x: hk.DepthwiseConv2D(20, 3)(x), IMAGE),
        (lambda x: hk.Conv2DTranspose(64, 3, stride=2)(x), IMAGE),
        (lambda x: hk.Embed(300, 40)(x), jnp.zeros(3, int)),
        (lambda x: hk.GRU(40)(x, jnp.zeros((1, 40))), jnp.zeros((1, 30))),
        (lambda x: hk.LayerNorm(-1, True, True)(x), jnp.zeros((1, 30))),
        (lambda x: hk.nets.VectorQuantizer(30, 100, 0.25)(x, True)["quantize"], jnp.zeros((1, 30))),
        (lambda x: hk.DepthwiseConv1D(20, 3)(x), jnp.zeros((1, 12, 16))),
        (lambda x: hk.VanillaRNN(40)(x, jnp.zeros((1, 40))), jnp.zeros((1, 30))),
    ):
        model = hk.transform(function)
        compare(model.init(K, x), frameworks.layers(model, x), "haiku")


def test_gates_of_a_convolutional_lstm_of_haiku_are_cut_and_start_as_haiku_draws_them():
    x, h = jnp.zeros((1, 4, 4, 5)), jnp.zeros((1, 4, 4, 16))
    net = hk.transform(lambda x, h: hk.Conv2DLSTM((4, 4, 5), 16, 3)(x, hk.LSTMState(h, h))[0])
    layers = frameworks.layers(net, x, h)
    assert {layout.fused for layout in layers.values()} == {(16,) * 4}
    assert layers["conv2_dlstm/hidden_to_hidden/w"].kind == "recurrent"
    real = net.init(K, x, h)
    for each in parameters.assign(real, "haiku", host="haiku", layers=layers):
        name, _, leaf = each.leaf.rpartition("/")
        assert float(real[name][leaf].std()) == pytest.approx(each.stddev, rel=0.07)
