"""Analytic calibration: theory where layers stand one after another, the own graph elsewhere."""

import itertools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import calibrate, frameworks, models
from jinit.frameworks._capture import by_path
from jinit.models import MLP

KEY = jax.random.key(3)


def drawn(model, x, kernel="he_normal", bias="zeros", **others):
    shapes = jax.eval_shape(model.init, KEY, x)["params"]
    rules = {"*/kernel": kernel, "*/bias": bias} | others
    return jinit.initialize(jax.random.key(0), shapes, rules)


def scales(before, after):
    """What each kernel was multiplied by."""
    ratios = by_path(jax.tree.map(lambda old, new: jnp.mean(new / old), before, after))
    return {name: float(r) for name, r in ratios.items() if name.endswith("kernel")}


@pytest.fixture(scope="module")
def x(digits):
    return jnp.asarray(digits.x_train[:256])


@pytest.mark.full
def test_analytic_calibration_leaves_what_theory_does_not_know(x):
    model = MLP(features=(8, 8, 4), activation=lambda z: jnp.sin(60 * z))
    params = drawn(model, x)
    changed, trace = calibrate.analytic(KEY, model, params, x)
    assert trace.converged.tolist() == [True, False, False]
    assert np.isnan(trace.after).tolist() == [False, True, True]
    np.testing.assert_array_equal(changed["output"]["kernel"], params["output"]["kernel"])


@pytest.mark.full
@pytest.mark.parametrize("make", [MLP, lambda f: models.ResidualMLP(f[0], 2, f[-1])])
def test_analytic_calibration_leaves_what_no_factor_helps(make, x):
    model = make((16, 16, 4))
    params = model.init(KEY, x)["params"]
    changed, trace = calibrate.analytic(KEY, model, params, 0 * x)
    assert trace.converged.tolist() == [False, *[True] * (len(trace.converged) - 1)]
    stem = "stem" if "stem" in params else "hidden_0"
    np.testing.assert_array_equal(changed[stem]["kernel"], params[stem]["kernel"])
    large = jax.tree.map(lambda leaf: leaf + 2.0 if leaf.ndim == 1 else leaf, params)
    changed, trace = calibrate.analytic(KEY, model, large, x)
    assert not trace.converged.any()
    assert bool((trace.after > 4).all())
    chex.assert_trees_all_equal(changed, large)


@pytest.mark.full
@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "sigmoid", "selu"])
def test_analytic_calibration_is_what_wide_networks_measure(name):
    model = MLP(features=(2048,) * 4 + (64,), activation=name)
    x = jax.random.normal(jax.random.key(1), (16, 256))
    params = drawn(model, x, "lecun_uniform")
    changed, trace = calibrate.analytic(KEY, model, params, x)
    np.testing.assert_allclose(trace.after, 1, atol=1e-3)
    values = frameworks.capture(model, x).apply(changed, x, None)[1]
    seen = [float(jnp.mean(z**2)) for z in (values["hidden_0"], *values["hidden"])]
    np.testing.assert_allclose(seen, 1, atol=0.08)


class Images(nn.Module):
    """Convolutions and a dense layer one after another, no padding."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(256, (3, 3), padding="VALID")(x)
        x = nn.Conv(256, (3, 3), padding="VALID")(nn.gelu(x))
        x = nn.gelu(x).reshape(x.shape[0], -1)
        return nn.Dense(128)(x)


@pytest.mark.full
def test_analytic_calibration_of_other_models_takes_their_activation():
    eqx = pytest.importorskip("equinox")
    images = jax.random.normal(jax.random.key(1), (16, 8, 8, 16))
    vectors = jax.random.normal(jax.random.key(1), (64, 32))
    conv, mlp = Images(), eqx.nn.MLP(32, 64, 1024, 2, activation=jnp.tanh, key=KEY)
    cases = (
        (conv, conv.init(KEY, images)["params"], images, lambda z: nn.gelu(z)),
        (mlp, eqx.filter(mlp, eqx.is_inexact_array), vectors, "tanh"),
    )
    for model, params, x, activation in cases:
        changed, trace = calibrate.analytic(KEY, model, params, x, activation=activation)
        np.testing.assert_allclose(trace.after, 1, atol=1e-3)
        assert abs(np.asarray(trace.before) - 1).max() > 0.2
        values = frameworks.capture(model, x, params).apply(changed, x, None)[1]
        seen = [float(jnp.mean(jnp.square(z))) for z in values.values()]
        np.testing.assert_allclose(seen, 1, atol=0.15)
        # Without it the model's own graph says the same.
        changed, _ = calibrate.analytic(KEY, model, params, x)
        values = frameworks.capture(model, x, params).apply(changed, x, None)[1]
        seen = [float(jnp.mean(jnp.square(z))) for z in values.values()]
        np.testing.assert_allclose(seen, 1, atol=0.15)
    residual = models.ResidualMLP(width=8, blocks=2, outputs=3)
    drawn_params = residual.init(KEY, vectors)["params"]
    with pytest.raises(ValueError, match=r"activation: got 'relu'.*more than φ"):
        calibrate.analytic(KEY, residual, drawn_params, vectors, activation="relu")
    with pytest.raises(TypeError, match="key"):
        calibrate.analytic(None, residual, drawn_params, vectors)
    with pytest.raises(ValueError, match="activation: got 'tanh'"):
        calibrate.analytic(KEY, MLP(features=(4,)), drawn_params, vectors, activation="tanh")


@pytest.mark.full
@pytest.mark.parametrize("target", [1.0, 0.25])
def test_analytic_calibration_of_a_residual_network_is_its_recursion(target):
    """Every branch adds a pre-activation of the target's length to the stream."""
    width, blocks = 256, 6
    model = models.ResidualMLP(width=width, blocks=blocks, outputs=128, activation="relu")
    x = jax.random.normal(jax.random.key(1), (8, 64))
    params = drawn(model, x, "lecun_normal", **{"*/scale": "ones"})
    changed, trace = calibrate.analytic(KEY, model, params, x, target=target)
    np.testing.assert_allclose(trace.after, target, rtol=1e-3)
    found = scales(params, changed)
    for block in range(blocks):
        # Var W = 1/fan_in: what enters is the stream of block + 1 pre-activations, or E relu² = ½.
        assert found[f"block_{block}/layer_0/kernel"] == pytest.approx(
            (block + 1) ** -0.5, rel=0.02
        )
        assert found[f"block_{block}/layer_1/kernel"] == pytest.approx(2**0.5, rel=0.02)
    assert found["output/kernel"] == pytest.approx((blocks + 1) ** -0.5, rel=0.02)
    stem = float(target / jnp.mean(jnp.square(x))) ** 0.5
    assert found["stem/kernel"] == pytest.approx(stem, rel=0.02)


@pytest.mark.full
def test_analytic_calibration_of_skips_that_end_in_an_activation(x):
    """h_l = h_{l−1} + relu(z_l): means add up too, so E h² grows faster than by E relu²."""
    model = MLP(features=(256, 256, 256, 64), residual=True)
    params = drawn(model, x, "lecun_normal")
    changed, trace = calibrate.analytic(KEY, model, params, x)
    found = scales(params, changed)
    mean, square = (2 * np.pi) ** -0.5, 0.5
    entering = square
    for layer, name in enumerate(("hidden_1", "hidden_2", "output"), start=1):
        assert found[f"{name}/kernel"] == pytest.approx(entering**-0.5, rel=0.03)
        entering += square + 2 * layer * mean**2
    assert bool(trace.converged.all())


@pytest.mark.full
def test_analytic_calibration_of_doubled_normalized_and_attentive_networks():
    class Attentive(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(64)(x)
            x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
            return nn.Dense(32)(nn.gelu(x).mean(1))

    vectors = jax.random.normal(jax.random.key(1), (16, 32))
    words = jax.random.normal(jax.random.key(1), (16, 6, 32))
    cases = (
        (models.Antisymmetric(MLP(features=(64, 64, 8))), vectors),
        (MLP(features=(64, 64, 8), layer_norm=True, residual=True), vectors),
        (Attentive(), words),
    )
    for model, batch in cases:
        params = jax.tree.map(lambda w: 2 * w, model.init(KEY, batch)["params"])
        changed, trace = calibrate.analytic(KEY, model, params, batch)
        assert bool(trace.converged.all()), trace
        np.testing.assert_allclose(trace.after, 1, atol=1e-3)
        # What is expected of other draws is what the next calibration sees of these.
        _, again = calibrate.analytic(jax.random.key(5), model, changed, batch)
        np.testing.assert_allclose(again.before, 1, atol=0.15)


@pytest.mark.full
def test_drawn_calibration_agrees_with_theory_and_counts_each_bias(x):
    """A captured model does not say its φ; the same network as an MLP is known to theory."""
    model = MLP(features=(512, 512, 512, 256), activation="gelu")
    params = drawn(model, x, "lecun_normal", "normal(stddev=0.5)")
    by_theory, _ = calibrate.analytic(KEY, model, drawn(model, x, "lecun_normal"), x)
    captured = frameworks.capture(model, x)
    unbiased, _ = calibrate.analytic(KEY, captured, drawn(model, x, "lecun_normal"), x)
    changed, trace = calibrate.analytic(KEY, captured, params, x)
    np.testing.assert_allclose(trace.after, 1, atol=1e-3)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    for before, after in itertools.pairwise(("hidden_0", "hidden_1", "hidden_2", "output")):
        name = f"{after}/kernel"
        assert scales(params, unbiased)[name] == pytest.approx(
            scales(params, by_theory)[name], rel=0.02
        )
        # z = b + N(0, 1 − E b²) with the biases of this network, by quadrature.
        b, own = (np.asarray(params[layer]["bias"], np.float64) for layer in (before, after))
        z = b[:, None] + np.sqrt(1 - np.mean(b**2)) * nodes
        square = np.mean(np.asarray(nn.gelu(z, approximate=False)) ** 2 @ weights) / np.sqrt(
            2 * np.pi
        )
        left = 1 - np.mean(own**2)
        variance = np.mean(np.asarray(params[after]["kernel"]) ** 2) * 512
        assert scales(params, changed)[name] == pytest.approx(
            np.sqrt(left / (variance * square)), rel=0.02
        )


class Scaled(nn.Module):
    """A kernel that is normalized before it is used: its length does nothing."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(nn.relu(nn.WeightNorm(nn.Dense(32))(x)))


class Wrapped(nn.Module):
    """A kernel whose layer bends what it gives."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], 8))
        return nn.tanh(x @ kernel)


class Bent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(Wrapped()(x))


class Placed(nn.Module):
    """A layer that adds more than a bias."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], 32))
        return x @ kernel + self.param(
            "position", nn.initializers.normal(0.6), (*x.shape[1:-1], 32)
        )


class Positions(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(64)(nn.relu(Placed(name="placed")(x)))


@pytest.mark.full
def test_analytic_calibration_knows_what_a_kernel_does_not_decide():
    vectors = jax.random.normal(jax.random.key(1), (16, 24))
    for model, layer in ((Scaled(), "Dense_1"), (Bent(), "Wrapped_0")):
        params = model.init(KEY, vectors)["params"]
        changed, trace = calibrate.analytic(KEY, model, params, vectors)
        assert trace.converged.tolist() == [False, True]
        assert np.isnan(trace.after).tolist() == [True, False]
        np.testing.assert_array_equal(changed[layer]["kernel"], params[layer]["kernel"])
    model, words = Positions(), jax.random.normal(jax.random.key(1), (64, 6, 24))
    params = model.init(KEY, words)["params"]
    changed, trace = calibrate.analytic(KEY, model, params, words)
    assert bool(trace.converged.all())
    values = frameworks.capture(model, words).apply(changed, words, None)[1]
    assert float(jnp.mean(jnp.square(values["placed"]))) == pytest.approx(1, abs=0.1)


@pytest.mark.full
def test_analytic_calibration_reads_the_scale_and_shift_of_normalization():
    model = MLP(features=(256, 256, 256, 64), layer_norm=True)
    x = jax.random.normal(jax.random.key(1), (64, 128))
    params = model.init(KEY, x)["params"]
    for name in ("hidden_0", "hidden_1", "hidden_2"):
        params[name] |= {"scale": params[name]["scale"] * 3, "shift": params[name]["shift"] + 2}
    changed, _ = calibrate.analytic(KEY, model, params, x)
    values = frameworks.capture(model, x).apply(changed, x, None)[1]
    seen = [float(jnp.mean(jnp.square(z))) for z in (values["hidden_0"], *values["hidden"])]
    np.testing.assert_allclose(seen, 1, atol=0.25)
    with pytest.raises(ValueError, match="more than φ"):
        calibrate.analytic(KEY, model, params, x, activation="relu")


@pytest.mark.slow
def test_analytic_counts_the_inputs_of_units_that_the_layer_names():
    """Transposed kernels, strides, and units with several axes; wide layers, no padding."""
    x = jax.random.normal(jax.random.key(3), (8, 12, 64))
    transposed = {"kernel_size": (4,), "strides": (2,), "transpose_kernel": True}
    for model in (
        nn.ConvTranspose(256, **transposed),
        nn.DenseGeneral((16, 64)),
    ):
        params = model.init(jax.random.key(0), x)["params"]
        params, _ = calibrate.analytic(jax.random.key(1), model, params, x, activation="relu")
        inner = model.apply({"params": params}, x)[:, 4:-4]
        assert float(jnp.mean(jnp.square(inner))) == pytest.approx(1.0, abs=0.1)
