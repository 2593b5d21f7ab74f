"""Every calibration by the property that its paper promises."""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinit
from jinit import activations, calibrate, frameworks, probes
from jinit.calibrate import _registry
from jinit.calibrate._learned import gradient_quotient
from jinit.models import MLP

KEY = jax.random.key(3)


def drawn(model, x, kernel="he_normal", bias="zeros", seed=0):
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    return jinit.initialize(jax.random.key(seed), shapes, {"*/kernel": kernel, "*/bias": bias})


@pytest.fixture(scope="module")
def x(digits):
    return jnp.asarray(digits.x_train[:256])


COMMON = ("relu", "tanh", "sigmoid")
OTHERS = [name for name in activations.names() if name not in COMMON]


@pytest.mark.slow
def test_calibrations_run_inside_jit_with_a_batch_of_known_values(x):
    model = MLP(features=(8, 10))
    params = drawn(model, x)
    outside, _ = calibrate.lsuv(KEY, model, params, x)
    inside, _ = jax.jit(lambda params: calibrate.lsuv(KEY, model, params, x))(params)
    chex.assert_trees_all_close(inside, outside, rtol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize(
    "name", [*COMMON, *(pytest.param(n, marks=pytest.mark.full) for n in OTHERS)]
)
@pytest.mark.sampled(3)
def test_lsuv_gives_unit_variance_and_keeps_orthogonality(name, x):
    model = MLP(features=(64,) * 20 + (10,), activation=name)
    params = drawn(model, x, "orthogonal")
    run = jax.jit(lambda params: calibrate.lsuv(KEY, model, params, x))
    changed, trace = run(params)
    assert bool(trace.converged.all())
    assert int(trace.iterations.max()) <= 10
    np.testing.assert_allclose(trace.after, 1, atol=0.1)
    captured = frameworks.capture(model, x)
    values = captured.apply(changed, x, None)[1]
    np.testing.assert_allclose(values["output"].var(), trace.after[-1], rtol=1e-4)
    for layer in ("hidden_0", "hidden_7", "output"):
        kernel = np.asarray(changed[layer]["kernel"], np.float64)
        gram = kernel.T @ kernel
        scale = np.trace(gram) / len(gram)
        np.testing.assert_allclose(gram, scale * np.eye(len(gram)), atol=1e-5 * scale)
    np.testing.assert_array_equal(changed["hidden_3"]["bias"], params["hidden_3"]["bias"])


@pytest.mark.full
def test_lsuv_says_where_it_cannot(x):
    model = MLP(features=(16, 16, 4))
    params = drawn(model, x, "zeros")
    changed, trace = calibrate.lsuv(KEY, model, params, x)
    assert not bool(trace.converged.any())
    assert np.isfinite(jax.tree.leaves(changed)[0]).all()


@pytest.mark.full
def test_calibrations_jit_and_vmap_over_networks(x):
    model = MLP(features=(32, 32, 4), activation="tanh")
    many = jax.vmap(lambda seed: drawn_traced(model, x, seed))(jnp.arange(3))
    found, trace = jax.jit(jax.vmap(lambda params: calibrate.lsuv(KEY, model, params, x)))(many)
    alone, _ = calibrate.lsuv(KEY, model, jax.tree.map(lambda leaf: leaf[1], many), x)
    np.testing.assert_allclose(
        found["hidden_1"]["kernel"][1], alone["hidden_1"]["kernel"], rtol=1e-5
    )
    assert trace.after.shape == (3, 3)


def drawn_traced(model, x, seed):
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    rules = {"*/kernel": "lecun_normal", "*/bias": "zeros"}
    return jinit.initialize(jax.random.key(seed), shapes, rules)


@pytest.mark.full
@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
def test_within_layer_standardizes_every_unit(name, x):
    model = MLP(features=(48,) * 6 + (10,), activation=name)
    changed, trace = jax.jit(lambda p: calibrate.within_layer(KEY, model, p, x))(drawn(model, x))
    values = frameworks.capture(model, x).apply(changed, x, None)[1]
    for z in (values["hidden_0"], *values["hidden"], values["output"]):
        z = np.asarray(z, np.float64)
        assert np.abs(z.mean(0)).max() <= 1e-5
        np.testing.assert_allclose(z.std(0), 1, atol=1e-4)
    assert bool(trace.converged.all())


@pytest.mark.full
def test_between_layers_gives_one_rate_and_keeps_the_function(x):
    model = MLP(features=(48,) * 8 + (10,))
    params, _ = calibrate.within_layer(KEY, model, drawn(model, x), x)
    changed, trace = jax.jit(lambda p: calibrate.between_layers(KEY, model, p, x))(params)
    assert float(trace.after.max() / trace.after.min()) <= 1.1
    assert float(trace.before.max() / trace.before.min()) > 1.3
    apply = frameworks.capture(model, x).apply
    before, after = apply(params, x, None)[0], apply(changed, x, None)[0]
    np.testing.assert_allclose(after, before, atol=1e-4 * float(jnp.abs(before).max()))


@pytest.mark.slow
def test_the_gradient_quotient_of_a_quadratic_in_closed_form():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 6))
    a, at = a @ a.T / 6, rng.normal(size=6)
    g = a @ at
    expected = np.abs((g - a @ g) / (g + 1e-5 * np.where(g >= 0, 1, -1)) - 1).mean()
    found = gradient_quotient(lambda p: p @ jnp.asarray(a, jnp.float32) @ p / 2,
                                        jnp.asarray(at, jnp.float32))  # fmt: skip
    assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.full
def test_metainit_halves_the_gradient_quotient_and_helps_training(x, digits):
    model = MLP(features=(64,) * 20 + (10,), activation="tanh")
    params = jax.tree.map(lambda leaf: 3 * leaf, drawn(model, x, "lecun_normal"))
    noise = jax.random.normal(KEY, (64, x.shape[1]))
    changed, trace = jax.jit(lambda p: calibrate.metainit(KEY, model, p, noise))(params)
    assert float(trace.after[0]) <= 0.5 * float(trace.before[0])
    assert bool(trace.converged[0])
    for layer in ("hidden_0", "hidden_9"):
        ratio = np.asarray(changed[layer]["kernel"] / params[layer]["kernel"])
        np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-4)
    loss = probes.cross_entropy(jnp.asarray(digits.y_train[:256]))
    assert after_training(model, changed, x, loss) < after_training(model, params, x, loss)


@pytest.mark.full
@pytest.mark.parametrize(
    ("depth", "activation"),
    [(2, "tanh"), *(pytest.param(4, name, marks=pytest.mark.full) for name in ("tanh", "gelu"))],
)
def test_metainit_halves_the_quotient_of_any_chaotic_network(depth, activation):
    """Three times Flax's default: the slope of the quotient says nothing there, a start does."""
    noise = jax.random.normal(jax.random.key(1), (32, 16))
    model = MLP(features=(32,) * depth + (4,), activation=activation)
    run = jax.jit(lambda key, params: calibrate.metainit(key, model, params, noise, steps=100)[1])
    for seed in range(4):
        key = jax.random.key(seed)
        params = jax.tree.map(lambda leaf: 3 * leaf, model.init(key, noise)["params"])
        trace = run(key, params)
        assert float(trace.after[0]) <= 0.5 * float(trace.before[0])


def after_training(model, params, x, loss, steps=200):
    """The smallest loss over learning rates after gradient descent on the whole batch."""

    def of(params):
        return loss(model.apply({"params": params}, x))

    def trained(rate):
        def step(params, _):
            gradient = jax.grad(of)(params)
            return jax.tree.map(lambda w, g: w - rate * g, params, gradient), None

        return of(jax.lax.scan(step, params, None, length=steps)[0])

    losses = jax.jit(jax.vmap(trained))(jnp.array([0.003, 0.01, 0.03, 0.1, 0.3]))
    return float(jnp.nanmin(losses))


@pytest.mark.full
def test_gradinit_lowers_the_loss_after_one_step(x, digits):
    model = MLP(features=(48,) * 6 + (10,))
    loss = probes.cross_entropy(jnp.asarray(digits.y_train[:256]))
    run = jax.jit(lambda p: calibrate.gradinit(KEY, model, p, x, loss, steps=60)[1])
    lowered = 0
    for seed in range(10):
        factor = (0.3, 3.0)[seed % 2]
        params = jax.tree.map(lambda leaf: factor * leaf, drawn(model, x, seed=seed))  # noqa: B023
        trace = run(params)
        lowered += float(trace.after[0]) < float(trace.before[0]) and bool(trace.converged[0])
    assert lowered >= 9


@pytest.mark.full
def test_metainit_of_a_model_with_one_output(x):
    model = MLP(features=(16, 16, 16, 1), activation="tanh")
    params = jax.tree.map(lambda w: 4 * w, drawn(model, x))
    _, trace = calibrate.metainit(KEY, model, params, x, steps=100)
    assert bool(trace.converged[0])


@pytest.mark.slow
def test_complex_batches_are_refused(x):
    model = MLP(features=(8, 4))
    with pytest.raises(TypeError, match="batch: got 'complex64'"):
        calibrate.lsuv(KEY, model, drawn(model, x), x + 1j)


@pytest.mark.slow
def test_output_bias_starts_at_the_entropy_of_the_labels(x, digits):
    labels = jnp.asarray(np.where(digits.y_train[:256] < 8, 0, digits.y_train[:256]))
    model = MLP(features=(32, 10))
    params = drawn(model, x, "normal(0.01)")
    changed, _ = calibrate.output_bias(KEY, model, params, x, labels)
    loss = optax.softmax_cross_entropy_with_integer_labels(
        model.apply({"params": changed}, x), labels
    ).mean()
    counts = np.bincount(np.asarray(labels), minlength=10)
    smooth = (counts + 1) / (counts + 1).sum()
    entropy = -(counts / counts.sum() * np.log(smooth)).sum()
    assert float(loss) == pytest.approx(entropy, abs=0.02)
    assert float(loss) < math.log(10) - 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, p, x: calibrate.lsuv(KEY, m, p, x, tolerance=0.0), "tolerance: got 0.0"),
        (lambda m, p, x: calibrate.lsuv(KEY, m, p, x, iterations=0), "iterations: got 0"),
        (lambda m, p, x: calibrate.metainit(KEY, m, p, x, momentum=1.0), "momentum"),
        (lambda m, p, x: calibrate.analytic(KEY, m, p, x, target=0.0), "target"),
        (lambda m, p, x: calibrate.output_bias(KEY, m, p, x, jnp.zeros(3, int)), "labels"),
        (lambda m, p, x: calibrate.lsuv(KEY, m, p, x * jnp.nan), "batch: got 'NaN or inf'"),
        (lambda m, p, x: calibrate.lsuv(KEY, m, {"a": x}, x), "the leaves of this model"),
        (lambda m, p, x: calibrate.get("lsuv(lsuv(he_normal))"), "one calibration"),
        (lambda m, p, x: _registry.resolve("lsvu(he_normal)"), "did you mean 'lsuv'"),
    ],
)
def test_bad_input_is_refused(call, message, x):
    model = MLP(features=(8, 4))
    with pytest.raises(ValueError, match=message):
        call(model, drawn(model, x), x)
    with pytest.raises(TypeError, match="loss: got"):
        calibrate.gradinit(KEY, model, drawn(model, x), x, jnp.zeros(3))
    bare = MLP(features=(8, 4), use_bias=False)
    params = jinit.initialize(KEY, jax.eval_shape(bare.init, KEY, x)["params"], {"*": "he_normal"})
    with pytest.raises(ValueError, match="hidden_0 without a bias"):
        calibrate.within_layer(KEY, bare, params, x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, p, x: calibrate.lsuv(KEY, m, p, x[:, :9]), ValueError, r"\(9, 8\), as in"),
        (lambda m, p, x: calibrate.lsuv(KEY, m, p, x[:1]), ValueError, "two examples or more"),
        (lambda m, p, x: calibrate.within_layer(KEY, m, p, x[:1]), ValueError, "two examples"),
        (
            lambda m, p, x: calibrate.analytic(KEY, m, jax.tree.map(lambda w: w * jnp.nan, p), x),
            ValueError, "hidden_0/bias: got 'NaN or inf'",
        ),
        (lambda m, p, x: calibrate.metainit(7, m, p, x), TypeError, "key: got 7"),
        (lambda m, p, x: calibrate.metainit(KEY, m, p, x, classes=0), ValueError, "classes: got 0"),
        (lambda m, p, x: calibrate.metainit(KEY, m, p, x, classes=5), ValueError, "and <= 4"),
        (lambda m, p, x: calibrate.metainit(KEY, m, p, x, classes="a"), TypeError, "classes"),
        (lambda m, p, x: calibrate.skipinit(KEY, m, p, x, scales=3), TypeError, "scales: got 3"),
        (
            lambda m, p, x: calibrate.gradinit(KEY, m, p, x, lambda z: z.sum(1)),
            ValueError, r"loss: got 'float32\[256\]'; allowed: one real number",
        ),
        (
            lambda m, p, x: calibrate.output_bias(KEY, m, p, x, jnp.full(256, 4)),
            ValueError, "labels: got 4; allowed: 0 to 3",
        ),
        (
            lambda m, p, x: calibrate.output_bias(KEY, m, p, x, jnp.full(256, -1)),
            ValueError, "labels: got -1",
        ),
        (lambda m, p, x: calibrate.output_bias(KEY, m, p, x, None), TypeError, "labels: got None"),
        (lambda m, p, x: jinit.initializers.get("lsuv(orthogonal)"), ValueError,
         "need a model and data"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_by_name(call, error, message, x):
    model = MLP(features=(8, 4))
    with pytest.raises(error, match=message):
        call(model, drawn(model, x), x)


@pytest.mark.full
@pytest.mark.parametrize("examples", [3, 7, 100])
@pytest.mark.parametrize("calibration", [calibrate.lsuv, calibrate.within_layer])
def test_rounding_is_no_variance(calibration, examples):
    """The output of equal inputs differs by rounding alone: kernels of its layers stay."""
    batch = jnp.full((examples, 5), 0.137)
    # LSUV's variance is over units too: one unit makes a constant layer.
    model = MLP(features=(8, 1 if calibration is calibrate.lsuv else 3))
    params = jax.tree.map(lambda leaf: leaf + 0.1, model.init(KEY, batch)["params"])
    changed, trace = calibration(KEY, model, params, batch)
    assert not bool(trace.converged[-1])
    before, after = (float(jnp.abs(p["output"]["kernel"]).max()) for p in (params, changed))
    assert after == pytest.approx(before, rel=1e-6)


@pytest.mark.full
def test_between_layers_leaves_a_layer_of_zeros(x):
    model = MLP(features=(8, 8, 3))
    params = drawn(model, x, "lecun_normal")
    params["output"] |= {"kernel": 0 * params["output"]["kernel"]}
    changed, trace = calibrate.between_layers(KEY, model, params, x)
    assert not trace.converged.any()
    chex.assert_trees_all_equal(changed, params)


@pytest.mark.full
def test_within_layer_of_attention_and_of_equinox_convolutions():
    """Heads × head_dim are units of their own; channels stand first."""
    eqx = pytest.importorskip("equinox")
    attention = nn.MultiHeadDotProductAttention(num_heads=2)
    words = jax.random.normal(KEY, (32, 5, 8))
    conv = eqx.nn.Sequential([
        eqx.nn.Conv2d(3, 8, 3, key=KEY),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Conv2d(8, 4, 3, key=KEY),
    ])  # fmt: skip
    images = jax.random.normal(KEY, (16, 3, 8, 8))
    cases = (
        (attention, attention.init(KEY, words)["params"], words, {}),
        (conv, eqx.filter(conv, eqx.is_inexact_array), images, {"layers/0": 1, "layers/2": 1}),
    )
    for model, params, batch, channels in cases:
        changed, trace = calibrate.within_layer(KEY, model, params, batch)
        assert bool(trace.converged.all())
        for name, z in (
            frameworks.capture(model, batch, params).apply(changed, batch, None)[1].items()
        ):
            # All axes but those of units.
            units = [1] if channels else [2, 3] if z.ndim == 4 else [2]
            rest = tuple(axis for axis in range(z.ndim) if axis not in units)
            np.testing.assert_allclose(z.mean(rest), 0, atol=1e-4, err_msg=name)
            np.testing.assert_allclose(z.std(rest), 1, atol=1e-4, err_msg=name)


class Tied(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(11, 8)
        return embed.attend(nn.gelu(nn.Dense(8)(embed(tokens))))


@pytest.mark.full
def test_tied_embeddings_are_seen():
    nnx = pytest.importorskip("flax.nnx")

    class TiedNnx(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(11, 8, rngs=rngs)
            self.dense = nnx.Linear(8, 8, rngs=rngs)

        def __call__(self, tokens):
            return self.embed.attend(nn.gelu(self.dense(self.embed(tokens))))

    tokens = jnp.arange(12).reshape(3, 4) % 11
    linen, nnx_model = Tied(), TiedNnx(nnx.Rngs(0))
    trees = linen.init(KEY, tokens)["params"], nnx.to_pure_dict(nnx.state(nnx_model, nnx.Param))
    for model, params in zip((linen, nnx_model), trees, strict=True):
        names = [layer.name for layer in frameworks.capture(model, tokens).layers]
        assert names[-1].endswith("#2")
        changed, trace = calibrate.lsuv(KEY, model, params, tokens)
        assert trace.before.shape == (2,)
        assert bool(trace.converged.all())
        z = list(frameworks.capture(model, tokens).apply(changed, tokens, None)[1].values())
        pooled = np.concatenate([np.ravel(z[0]), np.ravel(z[2])])
        np.testing.assert_allclose(trace.after, [pooled.var(), np.var(z[1])], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, p, x: calibrate.lsuv(KEY, m, None, x), ValueError, "params: got 'NoneType'"),
        (lambda m, p, x: calibrate.lsuv(KEY, m, jax.eval_shape(lambda: p), x), TypeError,
         "hidden_0/bias: got ShapeDtypeStruct"),
        (lambda m, p, x: calibrate.lsuv(KEY, m, jax.tree.map(lambda w: w.astype(int), p), x),
         TypeError, "'int32'; allowed: real floating-point"),
        (lambda m, p, x: calibrate.analytic(KEY, m, jax.tree.map(lambda w: w + 0j, p), x),
         TypeError, "'complex64'; allowed: real floating-point"),
        (lambda m, p, x: calibrate.lsuv(KEY, frameworks.capture(m, x), p, x[:, :9]), ValueError,
         r"batch: got 'float32\[256, 9\]'; allowed: a batch that the model takes"),
        (lambda m, p, x: calibrate.lsuv(KEY, m, p, x.tolist()[:1]), TypeError, "an array"),
        (lambda m, p, x: calibrate.lsuv(KEY, m, p, "x"), TypeError, "batch: got 'x'"),
        (lambda m, p, x: calibrate.lsuv(KEY, nn.Dense(8), p["hidden_0"], x[0]), ValueError,
         "an axis of examples"),
        (lambda m, p, x: calibrate.lsuv(KEY, _plain, p, x), ValueError, "that the model takes"),
        (lambda m, p, x: calibrate.skipinit(KEY, m, {"scale": "x"}, x), TypeError, "scale: got"),
        (lambda m, p, x: calibrate.output_bias(KEY, m, p, x, jnp.zeros(256, int), smoothing=1e39),
         ValueError, "smoothing: got 1e\\+39"),
        (lambda m, p, x: calibrate.lsuv(KEY, m, p, x, tolerance=np.array([0.1])), TypeError,
         "tolerance: got .*; allowed: one number"),
        (lambda m, p, x: calibrate.metainit(KEY, m, p, x, learning_rate=np.ones(2)), TypeError,
         "learning_rate"),
        (lambda m, p, x: calibrate.analytic(jnp.uint32(3), frameworks.capture(m, x), p, x),
         TypeError, "a PRNG key"),
        (lambda m, p, x: calibrate.gradinit(KEY, m, p, x, lambda z: (z, z)), ValueError, "loss"),
        (lambda m, p, x: calibrate.gradinit(KEY, m, p, x, lambda: 1.0), ValueError, "loss"),
        (lambda m, p, x: calibrate.gradinit(KEY, m, p, x, lambda z: z.argmax()), ValueError,
         "one real number"),
        (lambda m, p, x: calibrate.Calibration("foo", "zeros"), ValueError, "calibration 'foo'"),
        (lambda m, p, x: calibrate.Calibration("lsuv", "zeros", (("foo", 1),)), ValueError,
         "option of lsuv 'foo'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(call, error, message, x):
    model = MLP(features=(8, 4))
    with pytest.raises(error, match=message):
        call(model, drawn(model, x), x)


def _plain(params, x, tap):
    return tap("first", x @ params["first"]["kernel"])


@pytest.mark.slow
def test_outputs_that_overflow_keep_their_bias(x):
    model = MLP(features=(8, 4))
    params = jax.tree.map(lambda w: 1e30 * w, drawn(model, x))
    changed, trace = calibrate.output_bias(KEY, model, params, x, jnp.zeros(256, int))
    chex.assert_trees_all_equal(changed, params)
    assert not trace.converged.any()


@pytest.mark.slow
def test_outputs_that_are_no_classes_are_refused():
    class Tokens(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(7)(x)

    words = jax.random.normal(KEY, (4, 5, 8))
    params = Tokens().init(KEY, words)["params"]
    labels = jnp.zeros(4, int)
    for call in (
        lambda: calibrate.output_bias(KEY, Tokens(), params, words, labels),
        lambda: calibrate.metainit(KEY, Tokens(), params, words),
    ):
        with pytest.raises(ValueError, match=r"outputs: got \(4, 5, 7\); allowed: \(4, classes\)"):
            call()


@pytest.mark.parametrize("name", calibrate.names())
def test_a_calibration_asked_for_as_an_initializer_points_to_the_list_of_calibrations(name):
    with pytest.raises(ValueError, match=f"'{name}' is not known.*jinit.calibrate.names()"):
        jinit.initializers.get(name)


@pytest.mark.slow
def test_a_subclass_of_the_mlp_is_opened_as_what_it_computes(x):
    """Its own __call__ decides, not the layers that an MLP of its fields would have."""

    class Doubled(MLP):
        @nn.compact
        def __call__(self, x):
            return 2 * nn.Dense(self.features[-1], name="only")(x)

    model = Doubled(features=(8, 4))
    captured = frameworks.capture(model, x)
    assert [layer.name for layer in captured.layers] == ["only"]
    params = model.init(KEY, x)["params"]
    np.testing.assert_allclose(
        captured.apply(params, x, None)[0], model.apply({"params": params}, x), rtol=1e-6
    )


def units_of_their_own(model, params, batch, axis):
    """Every unit along an axis of the outputs has mean 0 and standard deviation 1."""
    changed, trace = calibrate.within_layer(KEY, model, params, batch)
    assert bool(trace.converged.all())
    (z,) = frameworks.capture(model, batch, params).apply(changed, batch, None)[1].values()
    units = np.moveaxis(np.asarray(z), axis, 0).reshape(z.shape[axis], -1)
    np.testing.assert_allclose(units.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(units.std(1), 1, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [4, 6])
def test_within_layer_scales_the_units_of_a_transposed_kernel(outputs):
    hk, x = pytest.importorskip("haiku"), jax.random.normal(KEY, (8, 5, 5, 4))
    linen = nn.ConvTranspose(outputs, (3, 3), transpose_kernel=True)
    haiku = hk.without_apply_rng(hk.transform(lambda x: hk.Conv2DTranspose(outputs, 3)(x)))
    units_of_their_own(linen, linen.init(KEY, x)["params"], x, -1)
    units_of_their_own(haiku, haiku.init(KEY, x), x, -1)


@pytest.mark.slow
def test_within_layer_of_an_equinox_convolution_of_one_tap_with_as_many_outputs_as_inputs():
    eqx = pytest.importorskip("equinox")
    conv, x = eqx.nn.Conv2d(4, 4, 1, key=KEY), jax.random.normal(KEY, (8, 4, 5, 5))
    units_of_their_own(conv, eqx.filter(conv, eqx.is_inexact_array), x, 1)


def test_within_layer_refuses_several_biases_of_one_unit():
    local, x = nn.ConvLocal(3, (2,)), jnp.zeros((8, 5, 2))
    with pytest.raises(ValueError, match="one bias per unit"):
        calibrate.within_layer(KEY, local, local.init(KEY, x)["params"], x)
