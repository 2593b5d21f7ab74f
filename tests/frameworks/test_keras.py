"""Layers of Keras: variances, gates, default draws, and jinit's initializers in Keras models."""

import jax
import numpy as np
import pytest
from draws import (
    IDS,
    SIDES,
    TOKEN,
    UNITS,
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

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.slow

KERAS = {
    "dense": (lambda: keras.layers.Dense(30), "dense"),
    "einsum": (lambda: keras.layers.EinsumDense("abc,cde->abde", (None, 5, 6)), "conv1"),
    "conv1": (lambda: keras.layers.Conv1D(12, 3), "conv1"),
    "conv2": (lambda: keras.layers.Conv2D(12, 3), "conv2"),
    "conv3": (lambda: keras.layers.Conv3D(12, 3), "conv3"),
    "grouped": (lambda: keras.layers.Conv2D(12, 3, groups=4), "conv2"),
    "depthwise": (lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2), "conv2"),
    "separable": (lambda: keras.layers.SeparableConv2D(12, 3), "conv2"),
    "transposed": (lambda: keras.layers.Conv2DTranspose(12, 3), "conv2"),
    "strided": (lambda: keras.layers.Conv2DTranspose(12, 4, strides=2), "conv2"),
}


@pytest.mark.parametrize("name", sample(KERAS, 2))
@pytest.mark.sampled(2)
def test_keras(name):
    make, kind = KERAS[name]
    layer, x = make(), example(kind)
    layer.build(x.shape)
    trees = drawn(frameworks.shapes(layer), frameworks.layers(layer), "keras")

    def outputs(params):
        values = [params[variable.path] for variable in layer.trainable_variables]
        return layer.stateless_call(values, [], x)[0]

    y = jax.vmap(outputs)(trees)
    with_unit_variance(y[:, :, 5:-5, 5:-5] if name in ("transposed", "strided") else y)


def test_keras_attention_and_gates():
    attention = keras.layers.MultiHeadAttention(2, 4)
    attention.build((1, 5, 8), (1, 5, 8))
    layers = frameworks.layers(attention)
    (query,) = [made for path, made in layers.items() if path.endswith("query/kernel")]
    assert (query.in_axes, query.out_axes) == ((0,), (1, 2))
    lstm = keras.layers.LSTM(7)
    lstm.build((1, 5, 8))
    (inner,) = [
        m for path, m in frameworks.layers(lstm).items() if path.endswith("recurrent_kernel")
    ]
    assert inner.kind == "recurrent"
    assert inner.fused == (7,) * 4


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
def test_keras_models_with_our_initializers_are_copied_and_saved(tmp_path):
    shared = frameworks.keras("he_normal", seed=3)
    both = keras.layers.Bidirectional(keras.layers.LSTM(5, kernel_initializer=shared))
    model = keras.Sequential([keras.layers.Input((4, 3)), both])
    forward, backward = (w for w in model.trainable_weights if w.path.endswith("/kernel"))
    assert not np.allclose(forward.value, backward.value)
    copy = keras.models.clone_model(model)
    assert not np.allclose(copy.trainable_weights[0].value, model.trainable_weights[0].value)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for mine, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(mine.value, theirs.value)


def test_two_keras_layers_that_share_an_initializer_differ():
    shared = frameworks.keras("he_normal", seed=3)
    first, second = (keras.layers.Dense(5, kernel_initializer=shared) for _ in range(2))
    for layer in (first, second):
        layer.build((None, 4))
    assert not np.array_equal(first.kernel, second.kernel)
    again = keras.layers.Dense(5, kernel_initializer=frameworks.keras("he_normal", seed=3))
    again.build((None, 4))
    np.testing.assert_array_equal(again.kernel, first.kernel)


@pytest.mark.full
@pytest.mark.parametrize("side", SIDES)
def test_gates_of_keras(side):
    for kind, cell in (
        ("lstm", keras.layers.LSTMCell(UNITS)),
        ("gru", keras.layers.GRUCell(UNITS, reset_after=True)),
    ):
        cell.build((None, UNITS))
        layers = packed(frameworks.layers(cell), 4 if kind == "lstm" else 3)
        trees = drawn(frameworks.shapes(cell), layers, "keras")

        def one(params, x, h, cell=cell, kind=kind):
            values = [params[variable.path] for variable in cell.trainable_variables]
            states = [h, 0 * h] if kind == "lstm" else [h]
            return cell.stateless_call(values, cell.non_trainable_variables, x, states)[0][0]

        from_a_cell(kind, side, jax.vmap(one, (0, None, None)), trees)


def test_embeddings_of_keras():
    layer = keras.layers.Embedding(50, 64)
    layer.build((1, 50))
    trees = drawn(frameworks.shapes(layer), frameworks.layers(layer), "keras")
    path = layer.trainable_variables[0].path
    with_unit_variance(jax.vmap(lambda p: layer.stateless_call([p[path]], [], IDS)[0])(trees))


@pytest.mark.full
def test_attention_of_keras():
    layer = keras.layers.MultiHeadAttention(4, 8)
    layer.build(TOKEN.shape, TOKEN.shape)
    trees = drawn(frameworks.shapes(layer), frameworks.layers(layer), "keras")

    def outputs(params):
        values = [params[variable.path] for variable in layer.trainable_variables]
        return layer.stateless_call(values, [], TOKEN, TOKEN)[0]

    with_unit_variance(jax.vmap(outputs)(trees))


@pytest.mark.full
def test_default_draws_of_keras():
    keras.utils.set_random_seed(3)
    for layer, shape in (
        (keras.layers.Dense(200), (1, 100)),
        (keras.layers.EinsumDense("abc,cde->abde", (None, 5, 60)), (1, 4, 100)),
        (keras.layers.Conv2D(64, 3, groups=4), (1, 8, 8, 16)),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=8), (1, 8, 8, 64)),
        (keras.layers.SeparableConv2D(64, 3, depth_multiplier=8), (1, 8, 8, 64)),
        (keras.layers.Conv2DTranspose(64, 3), (1, 8, 8, 16)),
        (keras.layers.Embedding(300, 40), (1, 5)),
        (keras.layers.LSTM(40), (1, 5, 30)),
        (keras.layers.LayerNormalization(), (1, 30)),
        (keras.layers.AdditiveAttention(), [(1, 5, 400), (1, 5, 400)]),
        (keras.layers.Attention(use_scale=True), [(1, 5, 400), (1, 5, 400)]),
    ):
        layer.build(shape)
        real = {v.path: np.asarray(v.value) for v in layer.trainable_variables}
        compare(real, frameworks.layers(layer), "keras")


def test_a_class_that_is_derived_from_a_layer_of_keras_is_read_and_drawn_as_that_layer():
    class MyCell(keras.layers.LSTMCell):
        pass

    cell = MyCell(4)
    cell.build((None, 3))
    layers = frameworks.layers(cell)
    assert {layout.layer for layout in layers.values()} == {"LSTMCell"}
    drawn = jinit.initialize(jax.random.key(0), frameworks.shapes(cell), "keras", layers=layers)
    np.testing.assert_array_equal(drawn["my_cell/bias"], cell.bias.value)


@pytest.mark.skipif(not hasattr(keras.layers, "ReversibleEmbedding"), reason="since Keras 3.12")
def test_an_embedding_of_keras_that_is_not_tied_has_a_dense_kernel_too():
    layer = keras.layers.ReversibleEmbedding(300, 20, tie_weights=False)
    layer.build((None, 5))
    path = layer.reverse_embeddings.path
    shapes, layers = frameworks.shapes(layer), frameworks.layers(layer)
    found = {
        each.leaf: each for each in parameters.assign(shapes, "keras", host="keras", layers=layers)
    }
    assert found[path].fan_in == 20
    for value in (layer.embeddings, layer.reverse_embeddings):
        theirs = np.asarray(value.value).std()
        assert found[value.path].stddev == pytest.approx(theirs, rel=0.03)
