"""The MLP against NumPy; scanned against unrolled; what is accepted as a model."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinit import errors, initializers, models, parameters
from jinit.frameworks._paths import path_of
from jinit.parameters._patterns import matches

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def params_of(model, seed=0):
    rules = {
        "*/kernel": "he_normal",
        "*/bias": "normal(stddev=0.1)",
        "*/scale": "ones",
        "*/shift": "zeros",
    }
    shapes = models.as_model(model).shapes(X)
    paths = [path_of(p) for p, _ in jax.tree_util.tree_leaves_with_path(shapes)]
    rules = {p: r for p, r in rules.items() if any(matches(p, path) for path in paths)}
    return parameters.initialize(jax.random.key(seed), shapes, rules)


def reference(params, x, *, residual=False, norm=False, activation=np.tanh):
    names = sorted((n for n in params if n.startswith("hidden")), key=lambda n: int(n[7:]))
    h = x.astype(np.float64)
    for name in names:
        layer = {k: np.asarray(v, np.float64) for k, v in params[name].items()}
        z = h @ layer["kernel"] + layer["bias"]
        if norm:
            z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-6)
            z = z * layer["scale"] + layer["shift"]
        a = activation(z)
        h = a + h if residual and a.shape == h.shape else a
    out = {k: np.asarray(v, np.float64) for k, v in params["output"].items()}
    return h @ out["kernel"] + out["bias"]


@pytest.mark.slow
@pytest.mark.parametrize("features", [(3,), (7, 3), (7, 7, 7, 3)])
@pytest.mark.parametrize("options", [{}, {"residual": True}, {"layer_norm": True}])
def test_against_numpy(features, options):
    model = models.MLP(features, "tanh", **options)
    params = params_of(model)
    expected = reference(
        params, X, residual=options.get("residual", False), norm="layer_norm" in options
    )
    np.testing.assert_allclose(model.apply({"params": params}, X), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.full
@pytest.mark.parametrize("options", [{}, {"residual": True, "layer_norm": True}])
def test_scanned_layers_are_the_unrolled_ones(options, monkeypatch):
    model = models.MLP((8,) * 70 + (3,), "tanh", **options)
    params = params_of(model)
    scanned = jax.jit(lambda p: model.apply({"params": p}, X))
    assert "scan" in str(jax.make_jaxpr(lambda p: model.apply({"params": p}, X))(params))
    gradient = jax.grad(lambda p: scanned(p).sum())(params)
    found = scanned(params)
    monkeypatch.setattr("jinit.models._mlp.UNROLL_LIMIT", 100)
    unrolled = model.apply({"params": params}, X)
    np.testing.assert_allclose(found, unrolled, rtol=1e-4, atol=1e-5)
    other = jax.grad(lambda p: model.apply({"params": p}, X).sum())(params)
    first = gradient["hidden_1"]["kernel"]
    np.testing.assert_allclose(first, other["hidden_1"]["kernel"], rtol=2e-3, atol=1e-5)


@pytest.mark.slow
def test_pre_activations_are_sown_and_perturbable():
    model = models.MLP((4, 4, 2), "tanh")
    variables = model.init(jax.random.key(0), X)
    _, seen = model.apply({"params": variables["params"]}, X, mutable="intermediates")
    assert seen["intermediates"]["pre_activation_1"][0].shape == (6, 4)

    def loss(perturbations):
        return model.apply({"params": variables["params"], "perturbations": perturbations}, X).sum()

    zero = jax.tree.map(lambda leaf: jnp.zeros((6, 4)), variables["perturbations"])
    assert jax.grad(loss)(zero)["pre_activation_0"].shape == (6, 4)


@pytest.mark.slow
def test_flax_init_uses_the_given_initializers():
    model = models.MLP((9, 3), kernel_init=initializers.zeros, bias_init=initializers.ones)
    params = model.init(jax.random.key(0), X)["params"]
    assert not np.any(params["hidden_0"]["kernel"])
    assert np.all(np.asarray(params["output"]["bias"]) == 1)
    assert (
        "bias"
        not in models.MLP((3,), use_bias=False).init(jax.random.key(0), X)["params"]["output"]
    )


@pytest.mark.slow
def test_a_flax_layer_takes_our_initializer():
    layer = nn.Dense(4, kernel_init=initializers.orthogonal())
    kernel = layer.init(jax.random.key(0), X)["params"]["kernel"]
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(4), atol=1e-5)


def test_models_are_accepted_in_three_forms():
    shapes = {"w": jax.ShapeDtypeStruct((5, 2), jnp.float32)}
    for given in (nn.Dense(2), (shapes, lambda p, x: x @ p["w"]), models.functional(shapes, abs)):
        assert isinstance(models.as_model(given), models.Model)
    with pytest.raises(TypeError, match="model: got 3"):
        models.as_model(3)
    with pytest.raises(TypeError, match="apply: got 3"):
        models.functional(shapes, 3)


def test_equal_modules_are_equal_models():
    assert models.as_model(models.MLP((4, 2))) == models.as_model(models.MLP((4, 2)))
    assert models.as_model(models.MLP((4, 2))) != models.as_model(models.MLP((4, 2), "tanh"))


def test_state_beyond_parameters_is_refused():
    class Normalized(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=False)(nn.Dense(2)(x))

    with pytest.raises(ValueError, match="batch_stats"):
        models.as_model(Normalized()).shapes(X)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"features": ()}, "features"),
        ({"features": (0,)}, "width: got 0"),
        ({"features": (2,), "activation": "rleu"}, "did you mean 'relu'"),
        ({"features": (2,), "layer_norm": "layer"}, "layer_norm: got 'layer'; allowed: True or"),
        ({"features": (2,), "residual": 1}, "residual: got 1"),
        ({"features": (2,), "use_bias": None}, "use_bias: got None"),
    ],
)
def test_bad_models(options, match):
    with pytest.raises(errors.Refusal, match=match):
        models.MLP(**options).init(jax.random.key(0), X)
