"""Jacobians against their own matrices, curvature against the whole Hessian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jinit
from jinit import probes, theory
from jinit.models import MLP

X = jax.random.normal(jax.random.key(5), (6, 12))


def made(features, initializer, **options):
    model = MLP(features=features, **options)
    shapes = jax.eval_shape(model.init, jax.random.key(0), X)["params"]
    rules = {"*/kernel": initializer, "*/bias": "zeros"}
    params = jinit.initialize(jax.random.key(3), shapes, rules)
    return (lambda params, x: model.apply({"params": params}, x)), params


@pytest.mark.full
def test_a_deep_orthogonal_linear_network_is_an_isometry():
    apply, params = made((12,) * 9, "orthogonal", activation="identity")
    values = probes.jacobian_singular_values(apply, params, X)
    assert values.shape == (6, 12)
    np.testing.assert_allclose(values, 1, atol=1e-5)


@pytest.mark.slow
def test_gaussian_layers_spread_the_spectrum():
    """σ² of a product of L Gaussian layers has mean 1 and a variance that grows like L."""
    spread = []
    for depth in (1, 8):
        apply, params = made((12,) * depth, "lecun_normal", activation="identity")
        spread.append(float((probes.jacobian_singular_values(apply, params, X) ** 2).var()))
    assert spread[1] > 3 * spread[0]


@pytest.mark.full
@pytest.mark.parametrize(
    "features", [(20, 5), pytest.param((8, 30), marks=pytest.mark.full), (12,)]
)
@pytest.mark.sampled(2)
def test_singular_values_are_those_of_the_matrix(features):
    apply, params = made(features, "glorot_uniform", activation="tanh")
    found = probes.jacobian_singular_values(apply, params, X)
    largest = probes.jacobian_largest_singular_values(
        jax.random.key(1), apply, params, X, count=3, iterations=300
    )
    for index, x in enumerate(X):
        matrix = np.asarray(jax.jacobian(lambda x: apply(params, x[None])[0])(x), np.float64)
        expected = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(found[index], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(largest[index], expected[:3], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-25, 1e20])
def test_singular_values_whose_squares_float32_does_not_hold(scale):
    weights = jnp.diag(jnp.array([3.0, 2.0, 1.0])) * scale
    found = probes.jacobian_largest_singular_values(
        jax.random.key(0), lambda w, x: x @ w, weights, jnp.zeros((1, 3)), count=2
    )
    np.testing.assert_allclose(found[0], np.array([3.0, 2.0]) * scale, rtol=1e-4)


@pytest.mark.full
def test_the_ntk_is_that_of_the_parameter_jacobian():
    apply, params = made((9, 4), "he_normal")
    flat, rebuild = ravel_pytree(params)
    jacobian = np.asarray(jax.jacobian(lambda flat: apply(rebuild(flat), X))(flat), np.float64)
    expected = np.einsum("iop,jop->ij", jacobian, jacobian) / 4
    np.testing.assert_allclose(probes.empirical_ntk(apply, params, X), expected, rtol=1e-4)
    condition = float(theory.condition_number(probes.empirical_ntk(apply, params, X)))
    assert condition == pytest.approx(np.linalg.cond(expected), rel=1e-2)
    twice = jnp.concatenate([X[:1], X[:1]])
    assert float(theory.condition_number(probes.empirical_ntk(apply, params, twice))) > 1e6


@pytest.mark.full
@pytest.mark.parametrize("examples", [1, 2, 5])
def test_kernels_of_many_parameters_lose_no_digits(examples):
    """A product of this length that is added term by term in float32 is off by 3·10⁻²."""
    x = np.random.default_rng(0).normal(size=(examples, 2**24 + 5)).astype(np.float32)
    found = jax.jit(
        lambda x: probes.empirical_ntk(lambda p, x: x @ p, jnp.zeros((*x.shape[1:], 1)), x)
    )(x)
    expected = np.array([[np.dot(a.astype(float), b.astype(float)) for b in x] for a in x])
    np.testing.assert_allclose(found, expected, atol=1e-5 * 2**24)


@pytest.mark.slow
def test_the_largest_eigenvalue_of_many_parameters_loses_no_digits():
    found = probes.hessian_largest_eigenvalue(
        jax.random.key(0), lambda p: 1.5 * (p**2).sum(), jnp.ones(2**24), iterations=2
    )
    assert float(found) == pytest.approx(3.0, rel=1e-5)


@pytest.mark.full
def test_the_largest_eigenvalue_is_that_of_the_hessian():
    apply, params = made((6, 6, 3), "glorot_uniform", activation="tanh")
    flat, rebuild = ravel_pytree(params)

    def loss(params):
        return probes.cross_entropy(jnp.arange(6) % 3)(apply(params, X))

    hessian = np.asarray(jax.hessian(lambda flat: loss(rebuild(flat)))(flat), np.float64)
    expected = np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]
    found = jax.jit(
        lambda key: probes.hessian_largest_eigenvalue(key, loss, params, iterations=40)
    )(jax.random.key(2))
    assert float(found) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("curve", [[1.0, 1.0, 1.0], [-3.0, -2.0, -5.0], [0.0, 0.0, 2.0], [7.0]])
def test_few_distinct_eigenvalues(curve):
    """Lanczos breaks down when the subspace is invariant; no 0 may come from that."""
    curve = jnp.array(curve)
    found = probes.hessian_largest_eigenvalue(
        jax.random.key(0), lambda p: 0.5 * (curve * p**2).sum(), jnp.ones(curve.size)
    )
    assert float(found) == pytest.approx(float(curve.max()), abs=1e-5)


def test_bad_input():
    apply, params = made((3,), "zeros")
    with pytest.raises(ValueError, match="iterations"):
        probes.jacobian_largest_singular_values(jax.random.key(0), apply, params, X, iterations=0)
    with pytest.raises(ValueError, match="count"):
        probes.jacobian_largest_singular_values(jax.random.key(0), apply, params, X, count=4)
    with pytest.raises(ValueError, match="iterations"):
        probes.hessian_largest_eigenvalue(jax.random.key(0), jnp.sum, jnp.ones(3), iterations=1)
    wide = jnp.zeros((1, 3000))
    with pytest.raises(ValueError, match="matrix-free"):
        probes.jacobian_singular_values(lambda params, x: jnp.tile(x, 2), None, wide)


def test_losses_and_labels_that_do_not_fit():
    with pytest.raises(ValueError, match="a scalar function of the parameters"):
        probes.hessian_largest_eigenvalue(jax.random.key(0), lambda p: p, jnp.ones(3))
    with pytest.raises(TypeError, match="integers"):
        probes.cross_entropy(jnp.array([0.5]))
