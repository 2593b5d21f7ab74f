"""Every layer of every framework, run for real: what comes out has the variance that was asked for.

Inputs are standard normal, the rule is lecun_normal, so every output of a layer has variance 1
if and only if the fan was right. The tolerance is six standard errors of the mean square over the
independent weights and inputs drawn.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinit
from jinit import frameworks, parameters

pytestmark = pytest.mark.slow
DRAWS = 24


def with_unit_variance(outputs):
    """E y² = 1 over draws of weights, for outputs (draws, …)."""
    squares = np.asarray(outputs, np.float64) ** 2
    each = squares.reshape(len(squares), -1).mean(axis=1)
    error = each.std(ddof=1) / np.sqrt(len(each))
    assert abs(each.mean() - 1) < max(6 * error, 0.01), (each.mean(), error)
    assert error < 0.1, "too few draws to tell"


def rules_for(layers):
    """Kernels LeCun, everything else zero or one."""
    words = {"bias": "zeros", "vector": "ones"}
    return {path: words.get(made.kind, "lecun_normal") for path, made in layers.items()}


def drawn(shapes, layers, host):
    """One tree per key, all by one vmapped draw."""
    paths = {frameworks.path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)}
    rules = {p: r for p, r in rules_for(layers).items() if p in paths}
    keys = jax.random.split(jax.random.key(1), DRAWS)

    def one(key):
        return parameters.initialize(key, shapes, rules, host=host, layers=layers)

    return jax.vmap(one)(keys)


X = {
    "dense": (64, 24),
    "conv1": (8, 40, 8),
    "conv2": (4, 14, 14, 8),
    "conv3": (2, 9, 9, 9, 4),
}


def example(name):
    x = jax.random.normal(jax.random.key(5), X[name])
    return x / jnp.sqrt(jnp.mean(x**2))


LINEN = {
    "dense": (nn.Dense(30), "dense"),
    "general": (nn.DenseGeneral((5, 6)), "dense"),
    "contracting": (nn.DenseGeneral(20, axis=(-2, -1)), "conv1"),
    "batched": (nn.DenseGeneral(16, axis=-1, batch_dims=0), "conv1"),
    "conv1": (nn.Conv(12, (3,), padding="VALID"), "conv1"),
    "conv2": (nn.Conv(12, (3, 3), padding="VALID"), "conv2"),
    "conv3": (nn.Conv(12, (3, 3, 3), padding="VALID"), "conv3"),
    "grouped": (nn.Conv(12, (3, 3), padding="VALID", feature_group_count=4), "conv2"),
    "depthwise": (nn.Conv(16, (3, 3), padding="VALID", feature_group_count=8), "conv2"),
}


@pytest.mark.parametrize("name", LINEN)
def test_linen(name):
    module, kind = LINEN[name]
    x = example(kind)
    layers = frameworks.layers(module, x)
    trees = drawn(frameworks.shapes(module, x), layers, "flax")
    with_unit_variance(jax.vmap(lambda params: module.apply({"params": params}, x))(trees))


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_linen_transposed(transpose_kernel, strides):
    x = example("conv2")
    if transpose_kernel:
        module = nn.ConvTranspose(12, (4, 4), strides, transpose_kernel=True)
    else:
        module = nn.ConvTranspose(12, (4, 4), strides)
    layers = frameworks.layers(module, x)
    trees = drawn(frameworks.shapes(module, x), layers, "flax")
    y = jax.vmap(lambda params: module.apply({"params": params}, x))(trees)
    with_unit_variance(y[:, :, 5:-5, 5:-5])


def test_linen_embedding_attention_and_recurrence():
    embed = nn.Embed(50, 64)
    ids = jnp.arange(50)
    trees = drawn(frameworks.shapes(embed, ids), frameworks.layers(embed, ids), "flax")
    with_unit_variance(jax.vmap(lambda p: embed.apply({"params": p}, ids))(trees))
    attention = nn.MultiHeadDotProductAttention(num_heads=4)
    x = jax.random.normal(jax.random.key(5), (2, 6, 32))
    layers = frameworks.layers(attention, x)
    assert layers["query/kernel"].out_axes == (1, 2)
    assert layers["out/kernel"].in_axes == (0, 1)
    found = parameters.assign(frameworks.shapes(attention, x), rules_for(layers), layers=layers)
    assert {each.leaf: each.fan_in for each in found}["out/kernel"] == 32
    cell = nn.OptimizedLSTMCell(16)
    carry = cell.initialize_carry(jax.random.key(0), (4, 8))
    layers = frameworks.layers(cell, carry, x[0, :4, :8])
    assert layers["hi/kernel"].fans((16, 16)).fan_in == 16


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


@pytest.mark.parametrize("name", nnx_layers())
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


hk = pytest.importorskip("haiku")
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


@pytest.mark.parametrize("name", HAIKU)
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


eqx = pytest.importorskip("equinox")
K = jax.random.key(0)
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


@pytest.mark.parametrize("name", EQUINOX)
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


keras = pytest.importorskip("keras")
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


@pytest.mark.parametrize("name", KERAS)
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


def test_initializers_go_into_other_peoples_layers():
    from jinit import initializers

    x = jnp.ones((1, 4))
    linen = nn.Dense(3, kernel_init=initializers.he_normal()).init(K, x)["params"]["kernel"]
    assert linen.shape == (4, 3)
    module = nnx.Linear(4, 3, kernel_init=initializers.orthogonal(), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(module.kernel[...].T @ module.kernel[...], np.eye(3), atol=1e-5)
    made = hk.transform(lambda x: hk.Linear(3, w_init=frameworks.haiku("he_normal"))(x)).init(K, x)
    assert made["linear"]["w"].shape == (4, 3)


IDS = jnp.arange(50)


def test_what_comes_out_of_embeddings():
    module = nnx.Embed(50, 64, rngs=nnx.Rngs(0))
    graph, _, rest = nnx.split(module, nnx.Param, ...)
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "flax")
    with_unit_variance(jax.vmap(lambda params: nnx.merge(graph, params, rest)(IDS))(trees))

    module = eqx.nn.Embedding(50, 64, key=K)
    static = eqx.partition(module, eqx.is_inexact_array)[1]
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "equinox")
    with_unit_variance(jax.vmap(lambda p: jax.vmap(eqx.combine(p, static))(IDS))(trees))

    layer = keras.layers.Embedding(50, 64)
    layer.build((1, 50))
    trees = drawn(frameworks.shapes(layer), frameworks.layers(layer), "keras")
    path = layer.trainable_variables[0].path
    with_unit_variance(jax.vmap(lambda p: layer.stateless_call([p[path]], [], IDS)[0])(trees))


# A recurrent cell of 64 units, from an input and a hidden state of which one is zero: every gate's
# pre-activation is then standard normal, if and only if the fan of the other's kernel is right.
UNITS = 64
SIDES = {"input": (1.0, 0.0), "hidden": (0.0, 1.0)}
NORMALS = np.random.default_rng(0).normal(size=(3, 2_000_000))


def expected_square(kind, side, mean_square):
    """E h′² of a cell from its equations, for independent gates ~ N(0, 1)."""
    i, g, o = NORMALS
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    if kind == "lstm":  # from c = 0
        return np.mean((sigmoid(o) * np.tanh(sigmoid(i) * np.tanh(g))) ** 2)
    if side == "input":
        return np.mean((sigmoid(i) * np.tanh(g)) ** 2)
    new = (
        np.tanh(sigmoid(o) * g) if kind == "gru" else np.tanh(g * np.sqrt(np.mean(sigmoid(o) ** 2)))
    )
    return np.mean((sigmoid(i) * new) ** 2) + np.mean(sigmoid(i) ** 2) * mean_square


def packed(layers, count):
    """Every kernel packs so many gates, one kernel at least is hidden to hidden."""
    kernels = [made for made in layers.values() if made.kind in ("kernel", "recurrent")]
    assert kernels
    assert all(made.fused == (UNITS,) * count for made in kernels)
    return layers


def from_a_cell(kind, side, run, trees):
    """Runs the cell on inputs of mean square 1 and compares E h′² with its equations."""
    x, h = (scale * jax.random.normal(jax.random.key(n), (256, UNITS))
            for n, scale in enumerate(SIDES[side]))  # fmt: skip
    norm = jnp.sqrt(jnp.mean((x + h) ** 2, axis=1, keepdims=True))
    x, h = x / norm, h / norm
    out = np.asarray(run(trees, x, h), np.float64)
    with_unit_variance(out / np.sqrt(expected_square(kind, side, 1.0)))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("name", "kind"),
    [("LSTMCell", "lstm"), ("OptimizedLSTMCell", "lstm"), ("GRUCell", "gru")],
)
def test_gates_of_flax(name, kind, side):
    cell = getattr(nn, name)(UNITS)

    def carried(h):
        return (jnp.zeros_like(h), h) if kind == "lstm" else h

    zero = jnp.zeros((256, UNITS))
    inputs = (carried(zero), zero)
    trees = drawn(frameworks.shapes(cell, *inputs), frameworks.layers(cell, *inputs), "flax")
    from_a_cell(
        kind, side,
        lambda trees, x, h: jax.vmap(lambda p: cell.apply({"params": p}, carried(h), x)[1])(trees),
        trees,
    )  # fmt: skip
    module = getattr(nnx, name)(UNITS, UNITS, rngs=nnx.Rngs(0))
    graph, _, rest = nnx.split(module, nnx.Param, ...)
    layers = frameworks.layers(module)
    if name != "LSTMCell":  # which has a layer for each gate
        packed(layers, 4 if kind == "lstm" else 3)
    trees = drawn(frameworks.shapes(module), layers, "flax")
    from_a_cell(
        kind, side,
        lambda trees, x, h: jax.vmap(lambda p: nnx.merge(graph, p, rest)(carried(h), x)[1])(trees),
        trees,
    )  # fmt: skip


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


# One token attends to itself alone, with weight 1: what comes out is out(value(x)).
TOKEN = jax.random.normal(jax.random.key(5), (64, 1, 32))


def test_what_comes_out_of_attention():
    linen = nn.MultiHeadDotProductAttention(num_heads=4)
    trees = drawn(frameworks.shapes(linen, TOKEN), frameworks.layers(linen, TOKEN), "flax")
    with_unit_variance(jax.vmap(lambda params: linen.apply({"params": params}, TOKEN))(trees))

    module = nnx.MultiHeadAttention(4, 32, decode=False, rngs=nnx.Rngs(0))
    graph, _, rest = nnx.split(module, nnx.Param, ...)
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "flax")
    with_unit_variance(jax.vmap(lambda params: nnx.merge(graph, params, rest)(TOKEN))(trees))

    model = hk.without_apply_rng(
        hk.transform(
            lambda x: hk.MultiHeadAttention(4, 8, w_init=hk.initializers.Constant(1.0))(x, x, x)
        )
    )
    trees = drawn(frameworks.shapes(model, TOKEN), frameworks.layers(model, TOKEN), "haiku")
    with_unit_variance(jax.vmap(lambda params: model.apply(params, TOKEN))(trees))

    module = eqx.nn.MultiheadAttention(4, 32, key=K)
    static = eqx.partition(module, eqx.is_inexact_array)[1]
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "equinox")
    with_unit_variance(
        jax.vmap(lambda p: jax.vmap(eqx.combine(p, static))(TOKEN, TOKEN, TOKEN))(trees)
    )

    layer = keras.layers.MultiHeadAttention(4, 8)
    layer.build(TOKEN.shape, TOKEN.shape)
    trees = drawn(frameworks.shapes(layer), frameworks.layers(layer), "keras")

    def outputs(params):
        values = [params[variable.path] for variable in layer.trainable_variables]
        return layer.stateless_call(values, [], TOKEN, TOKEN)[0]

    with_unit_variance(jax.vmap(outputs)(trees))


@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_every_projection_of_attention(part):
    """Queries and keys meet in a softmax: their variance is taken where they leave their layer."""

    model = nn.MultiHeadDotProductAttention(num_heads=4)
    captured = frameworks.capture(model, TOKEN)
    trees = drawn(captured.params, frameworks.layers(model, TOKEN), "flax")
    with_unit_variance(jax.vmap(lambda p: captured.apply(p, TOKEN, None)[1][part])(trees))


torch = pytest.importorskip("torch", reason="PyTorch layers need the extra 'bench'")
TORCH = {
    "dense": (lambda: torch.nn.Linear(24, 30), "dense"),
    "conv1": (lambda: torch.nn.Conv1d(40, 12, 3), "conv1"),
    "conv2": (lambda: torch.nn.Conv2d(14, 12, 3), "conv2"),
    "conv3": (lambda: torch.nn.Conv3d(9, 12, 3), "conv3"),
    "grouped": (lambda: torch.nn.Conv2d(14, 14, 3, groups=7), "conv2"),
    "depthwise": (lambda: torch.nn.Conv2d(14, 28, 3, groups=14), "conv2"),
    "transposed": (lambda: torch.nn.ConvTranspose2d(14, 12, 3), "conv2"),
    "transposed groups": (lambda: torch.nn.ConvTranspose2d(14, 12, 3, groups=2), "conv2"),
    "strided": (lambda: torch.nn.ConvTranspose2d(14, 12, 4, stride=2), "conv2"),
    "embedding": (lambda: torch.nn.Embedding(50, 64), None),
}


@pytest.mark.parametrize("name", TORCH)
def test_torch(name):
    make, kind = TORCH[name]
    module = make()
    x = torch.arange(50) if kind is None else torch.from_numpy(np.array(example(kind)))
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "torch")
    outputs = []
    for draw in range(DRAWS):
        state = {n: torch.from_numpy(np.array(v[draw])) for n, v in trees.items()}
        module.load_state_dict(state)
        with torch.no_grad():
            outputs.append(module(x).numpy())
    y = np.stack(outputs)
    cut = 5 if name == "strided" else 2
    with_unit_variance(
        y[..., cut:-cut, cut:-cut] if "transposed" in name or name == "strided" else y
    )


def test_what_comes_out_of_torch_attention():
    """Queries, keys and values are packed in one leaf: each has LeCun's variance of its own."""
    module = torch.nn.MultiheadAttention(32, 4, batch_first=True)
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "torch")
    x = torch.from_numpy(np.array(TOKEN))
    outputs = []
    for draw in range(DRAWS):
        module.load_state_dict({n: torch.from_numpy(np.array(v[draw])) for n, v in trees.items()})
        with torch.no_grad():
            outputs.append(module(x, x, x)[0].numpy())
    with_unit_variance(np.stack(outputs))
    packed = np.asarray(trees["in_proj_weight"])
    for block in np.split(packed, 3, axis=1):
        with_unit_variance(block * np.sqrt(32))


@pytest.mark.parametrize("side", SIDES)
def test_gates_of_torch(side):
    for kind, cell in (
        ("lstm", torch.nn.LSTMCell(UNITS, UNITS)),
        ("gru", torch.nn.GRUCell(UNITS, UNITS)),
    ):

        def run(trees, x, h, cell=cell, kind=kind):
            x, h = (torch.from_numpy(np.array(value)) for value in (x, h))
            found = []
            for draw in range(DRAWS):
                state = {n: torch.from_numpy(np.array(v[draw])) for n, v in trees.items()}
                cell.load_state_dict(state)
                with torch.no_grad():
                    out = cell(x, (h, 0 * h))[0] if kind == "lstm" else cell(x, h)
                found.append(out.numpy())
            return np.stack(found)

        layers = packed(frameworks.layers(cell), 4 if kind == "lstm" else 3)
        from_a_cell(kind, side, run, drawn(frameworks.shapes(cell), layers, "torch"))


def test_what_comes_out_of_torch_attention_with_separate_projections():
    """Keys and values of other sizes than the queries': three leaves instead of one."""
    module = torch.nn.MultiheadAttention(32, 4, kdim=8, vdim=48, batch_first=True)
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "torch")
    assert np.asarray(trees["k_proj_weight"]).var() == pytest.approx(1 / 8, rel=0.1)
    query, key, value = (
        torch.from_numpy(np.array(jax.random.normal(jax.random.key(5), (64, 1, size))))
        for size in (32, 8, 48)
    )
    outputs = []
    for draw in range(DRAWS):
        module.load_state_dict({n: torch.from_numpy(np.array(v[draw])) for n, v in trees.items()})
        with torch.no_grad():
            outputs.append(module(query, key, value)[0].numpy())
    with_unit_variance(np.stack(outputs))


def test_torch_attention_and_gates():
    layers = frameworks.layers(torch.nn.MultiheadAttention(8, 2))
    assert layers["in_proj_weight"].fused == (8, 8, 8)
    lstm = frameworks.layers(torch.nn.LSTM(3, 5))
    assert lstm["weight_hh_l0"].fused == (5,) * 4
    assert lstm["bias_hh_l0"].fan_in == 5


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(x.shape[-1], name="dense")(x), None


class Scanned(nn.Module):
    axis: int = 0

    @nn.compact
    def __call__(self, x):
        scan = nn.scan(
            Block, variable_axes={"params": self.axis}, split_rngs={"params": True}, length=6
        )
        return scan()(x, None)[0]


VMapped = nn.vmap(
    nn.Dense,
    variable_axes={"params": 0},
    split_rngs={"params": True},
    axis_size=5,
    in_axes=None,
)
LIFTED = {
    "scan": lambda: Scanned(),
    "scan along axis 1": lambda: Scanned(1),
    "vmap": lambda: VMapped(40),
    "einsum": lambda: nn.Einsum((24, 5, 6), "bi,iho->bho"),
    "local": lambda: nn.ConvLocal(8, (3,), padding="VALID"),
}


@pytest.mark.parametrize("name", LIFTED)
def test_linen_lifted_layers_and_einsum(name):
    module, x = LIFTED[name](), example("conv1" if name == "local" else "dense")
    layers = frameworks.layers(module, x)
    trees = drawn(frameworks.shapes(module, x), layers, "flax")
    with_unit_variance(jax.vmap(lambda params: module.apply({"params": params}, x))(trees))
    if "scan" in name:
        rules = {"*kernel": "orthogonal", "*": "zeros"}
        made = parameters.initialize(K, frameworks.shapes(module, x), rules, layers=layers)
        (kernel,) = [leaf for leaf in jax.tree.leaves(made) if leaf.ndim == 3]
        one = np.moveaxis(np.asarray(kernel), module.axis, 0)[3]
        np.testing.assert_allclose(one.T @ one, np.eye(24), atol=1e-5)
    findings = jinit.audit(module.init(K, x)["params"], layers=layers)
    # Flax draws local and Einsum kernels with fans of the last two axes: traps, and found.
    assert [finding.kind for finding in findings] in ([], ["wrong fan"])
    assert findings == [] or name in ("einsum", "local")


def test_other_stacked_layers():
    @nnx.vmap(in_axes=0, out_axes=0)
    def many(key):
        return nnx.Linear(32, 64, rngs=nnx.Rngs(params=key))

    assert frameworks.layers(many(jax.random.split(K, 5)))["kernel"].fans((5, 32, 64)).fan_in == 32
    stack = hk.transform(lambda x: hk.experimental.layer_stack(6)(lambda x: hk.Linear(32)(x))(x))
    found = frameworks.layers(stack, jnp.zeros((2, 32)))
    (kernel,) = [made for path, made in found.items() if path.endswith("/w")]
    assert kernel.fans((6, 32, 32)).fan_in == 32
    ensemble = eqx.filter_vmap(lambda key: eqx.nn.MLP(32, 16, 64, 2, key=key))
    made = ensemble(jax.random.split(K, 5))
    layers = frameworks.layers(made)
    assert layers["layers/0/weight"].fans((5, 64, 32)).fan_in == 32
    assert jinit.audit(frameworks.shapes(made), host="equinox", layers=layers) == []


def test_what_a_model_does_not_say_is_not_guessed():
    class Position(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x + self.param("pos", nn.initializers.normal(0.02), (1, 8, 24))
            return nn.Dense(4)(x)

    x = jnp.ones((2, 8, 24))
    layers, shapes = frameworks.layers(Position(), x), frameworks.shapes(Position(), x)
    with pytest.raises(ValueError, match=r"leaf 'pos'.*no layer"):
        parameters.assign(shapes, {"*": "he_normal"}, layers=layers)
    rules = {"pos": "normal(stddev=0.02)", "*kernel": "he_normal", "*bias": "zeros"}
    assert parameters.assign(shapes, rules, layers=layers)
    assert jinit.audit(Position().init(K, x)["params"], layers=layers) == []

    class Own(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x @ self.param("kernel", nn.initializers.normal(0.02), (24, 5))

    layers, shapes = frameworks.layers(Own(), x), frameworks.shapes(Own(), x)
    assert layers == {}
    with pytest.raises(ValueError, match=r"leaf 'kernel'.*no layer"):
        parameters.assign(shapes, {"*": "he_normal"}, layers=layers)
    assert parameters.assign(shapes, {"*": "he_normal"}, layers={"*": "dense"})
    norm = eqx.nn.Sequential([eqx.nn.Linear(8, 16, key=K), eqx.nn.BatchNorm(16, "b", mode="ema")])
    tree = frameworks.shapes(norm)
    drawn_tree = parameters.initialize(
        K, tree, "equinox", host="equinox", layers=frameworks.layers(norm)
    )
    assert jax.tree.structure(drawn_tree) == jax.tree.structure(tree)
    with pytest.raises(ValueError, match="inputs of the model"):
        frameworks.layers(nn.Dense(8))
    with pytest.raises(TypeError, match="call the class"):
        frameworks.layers(nn.Dense)


def test_torch_layers_with_projections_and_reparametrizations():
    lstm = torch.nn.LSTM(30, 24, proj_size=8)
    found = parameters.assign(
        frameworks.shapes(lstm), "torch", host="torch", layers=frameworks.layers(lstm)
    )
    for each in found:
        value = dict(lstm.named_parameters())[each.leaf].detach().numpy()
        assert value.std() == pytest.approx(each.stddev, rel=0.15), each.leaf
    bilinear = torch.nn.Bilinear(16, 8, 32)
    found = parameters.assign(
        frameworks.shapes(bilinear), "torch", host="torch", layers=frameworks.layers(bilinear)
    )
    assert found[0].stddev == pytest.approx((1 / 48) ** 0.5)
    normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(16, 16))
    assert frameworks.layers(normed) is not None
