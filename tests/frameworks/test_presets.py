"""Presets against what the packages themselves draw: two-sample KS per leaf, and moments.

Many layers of one kind are pooled; ALPHA is shared by all leaves of the file, keys and seeds fixed.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from jinit import frameworks, parameters

pytestmark = pytest.mark.slow
ALPHA = 1e-3 / 120
K = jax.random.key(0)


def agree(theirs, ours, leaf):
    theirs, ours = (np.asarray(x, np.float64).ravel() for x in (theirs, ours))
    assert theirs.size == ours.size
    if theirs.std() < 1e-7:
        np.testing.assert_allclose(ours, theirs, err_msg=leaf)
        return
    if len(np.unique(theirs)) < 4:
        np.testing.assert_allclose(ours, theirs, err_msg=leaf)
        return
    assert stats.ks_2samp(theirs, ours).pvalue > ALPHA, leaf
    assert ours.std() == pytest.approx(theirs.std(), rel=6 / np.sqrt(theirs.size)), leaf


def compare(real, layers, host, preset=None):
    ours = parameters.initialize(jax.random.key(7), real, preset or host, host=host, layers=layers)
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(real), jax.tree_util.tree_leaves(ours), strict=True
    )
    for (path, theirs), made in pairs:
        agree(theirs, made, frameworks.path_of(path))
        # Orthogonal entries have the σ and nearly the law of independent ones.
        assert orthogonal(theirs) == orthogonal(made), frameworks.path_of(path)


def orthogonal(matrix):
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim != 2 or min(matrix.shape) < 2:
        return False
    narrow = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    product = narrow.T @ narrow
    return np.allclose(product, np.eye(len(product)) * product[0, 0], atol=1e-3)


IMAGE = jnp.zeros((1, 12, 12, 16))
LINEN = [
    (nn.Dense(200), jnp.zeros((1, 100))),
    (nn.DenseGeneral((10, 30)), jnp.zeros((1, 100))),
    (nn.DenseGeneral(50, axis=-1, batch_dims=0), jnp.zeros((8, 5, 40))),
    (nn.Conv(64, (3, 3)), IMAGE),
    (nn.Conv(64, (3, 3), feature_group_count=16), IMAGE),
    (nn.ConvTranspose(64, (3, 3)), IMAGE),
    (nn.ConvTranspose(64, (3, 3), transpose_kernel=True), IMAGE),
    (nn.Embed(300, 40), jnp.zeros(3, int)),
    (nn.LayerNorm(), jnp.zeros((1, 100))),
    (nn.MultiHeadDotProductAttention(4), jnp.zeros((1, 5, 64))),
    (nn.Einsum((24, 5, 60), "bi,iho->bho"), jnp.zeros((4, 24))),
    (nn.PReLU(), jnp.zeros((1, 100))),
]
CELLS = ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell", "MGUCell")


@pytest.mark.parametrize("name", CELLS)
def test_linen_cells(name):
    cell = getattr(nn, name)(40)
    inputs = cell.initialize_carry(K, (4, 30)), jnp.zeros((4, 30))
    compare(cell.init(K, *inputs)["params"], frameworks.layers(cell, *inputs), "flax")
    assert any(made.kind == "recurrent" for made in frameworks.layers(cell, *inputs).values())


@pytest.mark.parametrize("index", range(len(LINEN)))
def test_linen(index):
    module, x = LINEN[index]
    compare(module.init(K, x)["params"], frameworks.layers(module, x), "flax")


def test_nnx():
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


def test_haiku():
    hk = pytest.importorskip("haiku")
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


def test_equinox():
    eqx = pytest.importorskip("equinox")
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


def test_keras():
    keras = pytest.importorskip("keras")
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


def test_torch():
    torch = pytest.importorskip("torch", reason="PyTorch layers need the extra 'bench'")
    torch.manual_seed(3)
    for module in (
        torch.nn.Linear(100, 2000),
        torch.nn.Conv2d(16, 64, 3, groups=4),
        torch.nn.ConvTranspose2d(16, 64, 3),
        torch.nn.Embedding(300, 40),
        torch.nn.LSTM(30, 40),
        torch.nn.GRU(30, 40),
        torch.nn.MultiheadAttention(64, 4),
        torch.nn.LayerNorm(30),
        torch.nn.LayerNorm((4, 8)),
        torch.nn.PReLU(8),
        torch.nn.MultiheadAttention(512, 4, add_bias_kv=True),
        torch.nn.Transformer(64, 2, 1, 1, 128, batch_first=True),
    ):
        real = {name: value.detach().numpy() for name, value in module.named_parameters()}
        compare(real, frameworks.layers(module), "torch")


def test_leaves_of_a_torch_module_of_ones_own_are_not_guessed():
    torch = pytest.importorskip("torch", reason="PyTorch layers need the extra 'bench'")

    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = torch.nn.Linear(4, 3)
            self.position = torch.nn.Parameter(torch.zeros(1, 17, 32))

    tree, layers = frameworks.shapes(Mine()), frameworks.layers(Mine())
    assert set(layers) == {"dense.weight", "dense.bias"}
    with pytest.raises(ValueError, match=r"position.*no layer"):
        parameters.assign(tree, "torch", host="torch", layers=layers)


def test_leaves_of_a_reparametrized_torch_layer_are_not_guessed():
    torch = pytest.importorskip("torch", reason="PyTorch layers need the extra 'bench'")
    normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"'bias'.*no layer.*'vector'"):
        parameters.assign(
            frameworks.shapes(normed), "torch", host="torch", layers=frameworks.layers(normed)
        )


def test_a_preset_serves_another_host():
    model, x = nn.Dense(2000), jnp.zeros((1, 100))
    tree = frameworks.shapes(model, x)
    made = parameters.initialize(K, tree, "torch", layers=frameworks.layers(model, x))
    assert float(jnp.abs(made["bias"]).max()) == pytest.approx(0.1, rel=0.01)
    assert float(jnp.abs(made["kernel"]).max()) == pytest.approx(0.1, rel=0.01)
