"""A profile against NumPy in float64, against closed forms, and many seeds against one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jinit
from jinit import frameworks, probes
from jinit.models import MLP
from jinit.probes._symmetry import duplicate_units

X = jax.random.normal(jax.random.key(5), (24, 16))
LOSS = probes.random_projection(jax.random.key(7))


def made(features, initializer="he_normal", seed=0, bias="normal(0.5)", **options):
    model = MLP(features=features, **options)
    captured = frameworks.capture(model, X)
    rules = {"*/kernel": initializer, "*/bias": bias}
    return captured, jinit.initialize(jax.random.key(seed), captured.params, rules)


@pytest.mark.slow
def test_forward_numbers():
    captured, params = made((20, 20, 20, 5), activation="tanh")
    found = probes.propagation(captured, params, X, LOSS, activation="tanh")
    h = np.asarray(X, np.float64)
    for index, name in enumerate(("hidden_0", "hidden_1", "hidden_2", "output")):
        w, b = (np.asarray(params[name][part], np.float64) for part in ("kernel", "bias"))
        z = h @ w + b
        h = np.tanh(z)
        covariance = np.cov(z.T, bias=True)
        lengths = np.linalg.norm(z, axis=1)
        cosine = (z @ z.T) / np.outer(lengths, lengths)
        expected = {
            "mean": z.mean(),
            "second_moment": (z**2).mean(),
            "input_variance": z.var(0).mean(),
            "unit_variance": z.mean(0).var(),
            "correlation": cosine[~np.eye(24, dtype=bool)].mean(),
            "effective_rank": np.trace(covariance) ** 2 / (covariance**2).sum(),
            "kernel_norm": np.linalg.norm(w),
            "duplicates": 0.0,
        }
        if name != "output":
            expected["saturated"] = (1 - h**2 <= 0.05).mean()
            expected["dead"] = 0.0
        for field, value in expected.items():
            assert getattr(found, field)[index] == pytest.approx(value, rel=2e-4, abs=1e-5), field
    assert np.isnan(found.saturated[-1])
    assert np.isnan(found.dead[-1])


@pytest.mark.slow
def test_the_backward_pass_is_grad():
    captured, params = made((12, 12, 12, 12, 5), activation="relu", residual=True)
    labels = jnp.arange(24) % 5
    found = probes.propagation(captured, params, X, probes.cross_entropy(labels))
    model = MLP(features=(12, 12, 12, 12, 5), activation="relu", residual=True)

    def loss(params):
        scores = jax.nn.log_softmax(model.apply({"params": params}, X))
        return -scores[jnp.arange(24), labels].mean()

    gradient = jax.grad(loss)(params)
    for index, layer in enumerate(captured.layers):
        for part in ("kernel", "bias"):
            norms = getattr(found, f"{part}_gradient_norm")
            expected = jnp.linalg.norm(gradient[layer.name][part].ravel())
            assert float(norms[index]) == pytest.approx(float(expected), rel=1e-4)
    ratio = found.update_ratio(0.1)
    np.testing.assert_allclose(ratio, 0.1 * found.kernel_gradient_norm / found.kernel_norm)


@pytest.mark.full
def test_an_orthogonal_linear_network_is_an_isometry():
    captured, params = made((16, 16, 16, 16), "orthogonal", bias="zeros", activation="identity")
    found = probes.propagation(captured, params, X, LOSS)
    np.testing.assert_allclose(found.second_moment, (X**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(found.gradient_norm, found.gradient_norm[-1], rtol=1e-5)
    np.testing.assert_allclose(found.effective_rank, found.effective_rank[0], rtol=1e-4)


@pytest.mark.full
def test_he_keeps_the_second_moment_of_wide_relu_networks():
    """E over weights of E z²_l is E z²_1 exactly (He et al. 2015, equation 10), both ways."""
    captured = frameworks.capture(MLP(features=(256,) * 6 + (16,)), X)
    found = probes.ensemble(
        captured, {"*/kernel": "variance_scaling(2.0, fan_in, normal)", "*/bias": "zeros"},
        X, LOSS, seeds=48, activation="relu",
    )  # fmt: skip
    ratios = (
        found.second_moment[:, 5] / found.second_moment[:, 0],
        found.gradient_norm[:, 0] ** 2 / found.gradient_norm[:, 4] ** 2,
    )
    for ratio in ratios:
        error = ratio.std(ddof=1) / np.sqrt(48)
        assert abs(ratio.mean() - 1) < stats.norm.isf(1e-4) * error
        assert error < 0.05


@pytest.mark.full
def test_an_ensemble_is_its_networks():
    captured = frameworks.capture(MLP(features=(8, 8, 3), activation="tanh"), X)
    rules = {"*/kernel": "glorot_uniform", "*/bias": "zeros"}
    many = probes.ensemble(captured, rules, X, LOSS, seeds=np.array([3, 9]), activation="tanh")
    for row, seed in enumerate((3, 9)):
        params = jinit.initialize(jax.random.key(seed), captured.params, rules)
        one = probes.propagation(captured, params, X, LOSS, activation="tanh")
        for item in dataclasses.fields(one):
            np.testing.assert_allclose(
                getattr(many, item.name)[row], getattr(one, item.name), rtol=1e-4, atol=1e-5
            )


@pytest.mark.full
def test_a_network_is_the_same_in_any_row():
    captured = frameworks.capture(MLP(features=(8, 3)), X)
    rules = {"*/kernel": "glorot_uniform", "*/bias": "zeros"}
    many = probes.ensemble(captured, rules, X, LOSS, seeds=11)
    few = probes.ensemble(captured, rules, X, LOSS, seeds=np.array([10, 4]))
    for item in dataclasses.fields(many):
        value = getattr(many, item.name)
        assert value.shape == (11, 2)
        np.testing.assert_allclose(
            value[[10, 4]], getattr(few, item.name), rtol=1e-5, atol=1e-6, err_msg=item.name
        )


@pytest.mark.full
def test_a_second_ensemble_compiles_nothing():
    from jinit.engine import _program

    captured = frameworks.capture(MLP(features=(8, 3)), X)
    rules = {"*/kernel": "glorot_uniform", "*/bias": "zeros"}
    # Another test may have compiled the same code in this process.
    _program.forget()

    def compiled(**rules):
        before = set(_program._EXECUTABLES)
        probes.ensemble(captured, rules, X, LOSS, seeds=2)
        return len(set(_program._EXECUTABLES) - before)

    assert compiled(**rules) == 1
    assert compiled(**dict(rules)) == 0
    assert compiled(**rules | {"*/bias": "ones"}) == 1


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("kernel", "bias", "tolerance", "share"),
    [
        (np.zeros((3, 5)), None, 0.0, 1.0),
        (np.zeros((3, 5)), np.arange(5.0), 0.0, 0.0),
        (np.eye(3), None, 0.0, 0.0),
        ([[1.0, 2, 1, 3]], None, 0.0, 0.5),
        ([[1.0, 2, 1.001, 3]], None, 0.0, 0.0),
        ([[1.0, 2, 1.001, 3]], None, 0.01, 0.5),
        ([[1.0]], None, 0.0, 0.0),
        (np.tile(np.random.default_rng(0).normal(size=(7, 4)), 3), None, 0.0, 1.0),
    ],
)
@pytest.mark.slow
def test_duplicate_units(kernel, bias, tolerance, share):
    bias = None if bias is None else jnp.asarray(bias)
    found = duplicate_units(jnp.asarray(kernel, jnp.float32), bias, tolerance)
    assert float(found) == pytest.approx(share)


@pytest.mark.slow
def test_bad_input():
    captured, params = made((8, 3))
    with pytest.raises(ValueError, match="at least 2"):
        probes.propagation(captured, params, X[:1], LOSS)
    with pytest.raises(ValueError, match="activation 'rellu' is not known"):
        probes.propagation(captured, params, X, LOSS, activation="rellu")
    for seeds in (0, np.array([]), np.array([-1]), np.array([2**32])):
        with pytest.raises(ValueError, match="seeds"):
            probes.ensemble(captured, {"*": "zeros"}, X, LOSS, seeds=seeds)
    with pytest.raises(ValueError, match="he_norml"):
        probes.ensemble(captured, {"*": "he_norml"}, X, LOSS)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
@pytest.mark.full
def test_effective_rank_has_no_scale(scale):
    captured, params = made((8, 3), bias="zeros", activation="identity")
    scaled = jax.tree.map(lambda leaf: leaf * scale, params)
    ranks = [probes.propagation(captured, p, X, LOSS).effective_rank[0] for p in (params, scaled)]
    assert float(ranks[1]) == pytest.approx(float(ranks[0]), rel=1e-3)


def test_mistakes_are_named():
    captured, params = made((8, 3))
    with pytest.raises(ValueError, match="outer 'params'"):
        probes.propagation(captured, {"params": params}, X, LOSS)
    with pytest.raises(ValueError, match="a scalar function of the outputs"):
        probes.propagation(captured, params, X, lambda outputs: outputs)
    with pytest.raises(TypeError, match=r"x: got \[1.0, 2.0\]"):
        probes.propagation(captured, params, [1.0, 2.0], LOSS)
    with pytest.raises(ValueError, match="finite inputs"):
        probes.ensemble(captured, {"*": "zeros"}, X.at[0, 0].set(jnp.nan), LOSS)
    with pytest.raises(TypeError, match="loss: got None"):
        probes.propagation(captured, params, X, None)
    with pytest.raises(TypeError, match="key: got 3"):
        probes.random_projection(3)
    for seeds in ([0.5], [True, False]):
        with pytest.raises(ValueError, match="seeds"):
            probes.ensemble(captured, {"*": "zeros"}, X, LOSS, seeds=seeds)


def test_labels_of_another_batch_are_refused_by_name():
    captured = frameworks.capture(MLP(features=(4, 3)), X)
    params = jinit.initialize(jax.random.key(0), captured.params, {"*": "zeros"})
    with pytest.raises(ValueError, match="one per example"):
        probes.propagation(captured, params, X, probes.cross_entropy(jnp.zeros(3, int)))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_norms_of_gradients_whose_squares_float32_does_not_hold(scale):
    captured, params = made((8, 3), activation="identity")
    found, scaled = (
        probes.propagation(captured, params, X, lambda outputs, f=f: f * LOSS(outputs))
        for f in (1.0, scale)
    )
    for name in ("gradient_norm", "kernel_gradient_norm", "bias_gradient_norm"):
        np.testing.assert_allclose(
            getattr(scaled, name) / np.float32(scale), getattr(found, name), rtol=1e-5
        )
