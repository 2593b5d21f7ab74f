"""The same formulas and fans as torch and Keras, and what Flax and JAX expect of a drop-in."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import sample

from jinit import frameworks, initializers, typing
from jinit.initializers import _registry

pytestmark = pytest.mark.slow
K = jax.random.key(0)
# (receptive field…, in, out) in Flax and Keras, (out, in, receptive field…) in torch.
CONVOLUTIONS = [(20, 30), (5, 20, 30), (3, 3, 20, 30), (3, 3, 3, 8, 12)]


def torch_shape(shape):
    return (shape[-1], shape[-2], *shape[:-2])


@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_fans_are_torchs_and_keras(shape):
    ours = initializers.fans(shape)
    keras = pytest.importorskip("keras")
    compute_fans = keras.src.initializers.random_initializers.compute_fans
    assert compute_fans(shape) == (ours.fan_in, ours.fan_out)
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs the extra 'bench'")
    weight = torch.empty(torch_shape(shape))
    theirs = torch.nn.init._calculate_fan_in_and_fan_out(weight)
    assert theirs == (ours.fan_in, ours.fan_out)
    layout = frameworks.layout("conv", "torch")
    assert layout.fans(torch_shape(shape)) == ours


TORCH = {
    "kaiming_normal_": ("he_normal", {}),
    "kaiming_uniform_": ("he_uniform", {}),
    "xavier_normal_": ("glorot_normal", {}),
    "xavier_uniform_": ("glorot_uniform(gain=1.5)", {"gain": 1.5}),
}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_variances_are_torchs(name, shape):
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs the extra 'bench'")
    torch.manual_seed(1)
    spec, arguments = TORCH[name]
    weights = [
        getattr(torch.nn.init, name)(torch.empty(torch_shape(shape)), **arguments).numpy()
        for _ in range(40)
    ]
    drawn = np.stack(weights)
    expected = initializers.get(spec).law(shape).stddev
    assert drawn.std() == pytest.approx(expected, rel=5 / math.sqrt(2 * drawn.size))
    if "uniform" in name:
        assert np.abs(drawn).max() == pytest.approx(
            initializers.get(spec).law(shape).high, rel=0.01
        )


KERAS = {
    "HeNormal": "he_normal", "HeUniform": "he_uniform", "GlorotNormal": "glorot_normal",
    "GlorotUniform": "glorot_uniform", "LecunNormal": "lecun_normal",
    "LecunUniform": "lecun_uniform",
}  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", sample(KERAS, 2))
@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_variances_are_keras(name, shape):
    keras = pytest.importorskip("keras")
    drawn = np.stack(
        [np.asarray(getattr(keras.initializers, name)(seed=seed)(shape)) for seed in range(40)]
    )
    law = initializers.get(name).law(shape)
    assert str(initializers.get(name)) == KERAS[name]
    assert drawn.std() == pytest.approx(law.stddev, rel=5 / math.sqrt(2 * drawn.size))
    assert np.abs(drawn).max() <= law.high * (1 + 1e-6)


def test_torch_deterministic_kernels():
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs the extra 'bench'")
    for groups in (1, 2):
        theirs = torch.nn.init.dirac_(torch.empty(6, 4, 3, 3), groups).numpy()
        ours = initializers.dirac(groups)(K, (3, 3, 4, 6))
        np.testing.assert_array_equal(np.transpose(theirs, (2, 3, 1, 0)), ours)
    eye = torch.nn.init.eye_(torch.empty(3, 5)).numpy()
    np.testing.assert_array_equal(eye.T, initializers.identity()(K, (5, 3)))


@pytest.mark.full
def test_flax_modules_take_every_initializer():
    for name in ("he_normal", "orthogonal", "scaled_for(activation=gelu)", "hadamard", "sparse"):
        made = initializers.get(name)
        kernel = nn.Dense(6, kernel_init=made).init(K, jnp.ones((1, 4)))["params"]["kernel"]
        assert kernel.shape == (4, 6)
        module = nnx.Linear(4, 6, kernel_init=made, bias_init=initializers.zeros, rngs=nnx.Rngs(0))
        assert module.kernel.shape == (4, 6)
    for name in ("he_normal", "dirac", "delta_orthogonal"):
        conv = nn.Conv(8, (3, 3), kernel_init=initializers.get(name))
        assert conv.init(K, jnp.ones((1, 5, 5, 4)))["params"]["kernel"].shape == (3, 3, 4, 8)
    partitioned = nn.with_partitioning(initializers.he_normal(), ("in", "out"))
    boxed = nn.Dense(6, kernel_init=partitioned).init(K, jnp.ones((1, 4)))["params"]["kernel"]
    assert boxed.names == ("in", "out")


def test_what_jax_expects_of_an_initializer():
    """JAX's own expectations: positional calls, dtypes, several axes, batch axes, 1-D refused."""
    for shape in [(2, 3), (2, 3, 4), (2, 3, 4, 5)]:
        for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
            assert initializers.he_uniform()(K, shape, dtype).dtype == dtype
    for in_axis, out_axis in (((0, 1), 2), ((0, 2), 1), (1, (0, 2))):
        shape = (3, 4, 5)
        fans = initializers.fans(shape, in_axis, out_axis)
        made = initializers.variance_scaling(1.0, "fan_in", "normal", in_axis, out_axis)
        assert made.law(shape).stddev == pytest.approx(fans.fan_in**-0.5)
    shared = initializers.variance_scaling(1.0, "fan_in", "truncated_normal", batch_axis=0)
    assert shared.law((9, 16, 4)).stddev == pytest.approx(0.25)
    with pytest.raises(ValueError, match="rank >= 2"):
        initializers.lecun_normal()(K, (3,))
    assert isinstance(initializers.he_normal(), typing.Initializer)


def draw_of_torch(alias, shape):
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs the extra 'bench'")
    torch.manual_seed(3)
    return getattr(torch.nn.init, alias)(torch.empty(torch_shape(shape))).numpy()


def draw_of_keras(alias, shape):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(3)
    return getattr(keras.initializers, alias)()(shape)


def draw_of_haiku(alias, shape):
    hk = pytest.importorskip("haiku")
    made = getattr(hk.initializers, alias)()
    return hk.transform(lambda: made(shape, jnp.float32)).apply({}, K)


DRAWS = {
    draw_of_torch: ("zeros_", "ones_", "eye_", "dirac_", "normal_", "uniform_", "trunc_normal_",
                    "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_",
                    "orthogonal_"),
    draw_of_keras: ("Zeros", "Ones", "RandomNormal", "RandomUniform", "TruncatedNormal",
                    "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal",
                    "LecunUniform", "Orthogonal"),
    draw_of_haiku: ("RandomNormal", "RandomUniform", "TruncatedNormal", "Identity", "Orthogonal"),
}  # fmt: skip
ASKS = ("normal_", "uniform_", "trunc_normal_", "RandomNormal", "RandomUniform", "TruncatedNormal")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("draw", "alias"), [(draw, alias) for draw, aliases in DRAWS.items() for alias in aliases]
)
def test_a_bare_alias_has_the_moments_of_its_library_or_asks(draw, alias):
    row = _registry.row(alias)
    shape = (250, 400) if len(row.shape) == 2 else row.shape
    theirs = np.asarray(draw(alias, shape), np.float64)
    if alias in ASKS:
        ours = initializers.get(row.name).law(shape).stddev
        # Keras and jinit agree on RandomUniform; Haiku and KotlinDL do not.
        agree = draw is draw_of_keras and alias == "RandomUniform"
        assert agree == (abs(theirs.std() - ours) < 0.05 * ours)
        with pytest.raises(ValueError, match=f"{alias} with .*: torch"):
            initializers.get(alias)
        return
    law = initializers.get(alias).law(shape)
    error = 5 * law.stddev / math.sqrt(theirs.size)  # five standard errors, also of σ
    assert abs(theirs.mean() - law.mean) <= error + 1e-6
    assert abs(theirs.std() - law.stddev) <= error + 1e-6
