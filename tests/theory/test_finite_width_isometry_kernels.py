"""Finite width, Jacobian spectra and kernels against exact values and sampled networks."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinit import probes, theory
from jinit._float64 import in_float64
from jinit.activations import get as get_activation
from jinit.initializers import orthogonal as haar


@functools.cache
def sampled(name, widths, sigma_w, sigma_b, networks, orthogonal=False):
    """ln of the mean squared pre-activation and of the squared gradient, ``(networks, layers)``."""
    phi = get_activation(name).function

    def network(key):
        keys = jax.random.split(key, len(widths))
        x = jax.random.normal(keys[0], (widths[0],))
        if orthogonal:
            x = x / jnp.sqrt(jnp.mean(x**2))

        def weights(key, fan_in, fan_out):
            if orthogonal:
                size = max(fan_in, fan_out)
                # Drawn by reflections: faster under vmap than a QR decomposition.
                part = haar(method="householder")(key, (size, size))[:fan_in, :fan_out]
                return sigma_w * (size / fan_in) ** 0.5 * part
            return sigma_w * jax.random.normal(key, (fan_in, fan_out)) / fan_in**0.5

        def outputs(taps):
            h, seen = x, []
            for index, key in enumerate(keys):
                inner, outer = jax.random.split(key)
                # x stands for N(0, 1) pre-activations of the first layer.
                z = h if index == 0 else h @ weights(inner, len(h), widths[index])
                if index:
                    z = z + sigma_b * jax.random.normal(outer, z.shape)
                z = z + taps[index]
                seen.append(jnp.mean(z**2))
                h = phi(z)
            return jnp.sum(z * jax.random.normal(key, z.shape)), jnp.stack(seen)

        taps = [jnp.zeros(n) for n in widths]
        grads, seen = jax.grad(outputs, has_aux=True)(taps)
        size = jnp.stack([jnp.sum(g**2) for g in grads])
        return jnp.log(seen), jnp.log(size) - jnp.log(size[-1])

    run = jax.jit(jax.vmap(network))
    return [np.asarray(x, np.float64) for x in run(jax.random.split(jax.random.key(5), networks))]


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b", "orthogonal"),
    [("relu", 2**0.5, 0.0, False), ("tanh", 1.4, 0.2, False), ("identity", 1.0, 0.0, False),
     ("relu", 2**0.5, 0.0, True), ("erf", 1.5, 0.1, False)],
)  # fmt: skip
def test_fluctuations_against_sampled_networks(name, sigma_w, sigma_b, orthogonal):
    widths, networks = (100,) * 8, 1000
    length, gradient = sampled(name, widths, sigma_w, sigma_b, networks, orthogonal)
    found = theory.fluctuations(name, widths, sigma_w, sigma_b, orthogonal=orthogonal)
    # A variance of 1,000 has a standard error of 4.5 %; the next order in 1/width is some percent.
    for at in (2, 4, 7):
        assert length[:, at].var() == pytest.approx(float(found.length[at]), rel=0.18), at
    for at in (0, 3, 5):
        assert gradient[:, at].var() == pytest.approx(float(found.gradient[at]), rel=0.2), at


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b"),
    [("identity", 1.0, 0.0), ("tanh", 1.4, 0.2), ("tanh", 1.4, 0.0), ("relu", 2**0.5, 0.0)],
)
@pytest.mark.parametrize("orthogonal", [False, True])
def test_fluctuations_of_networks_that_narrow_and_widen(name, sigma_w, sigma_b, orthogonal):
    widths = (100, 50, 100, 30, 30, 120, 40, 20)
    length, gradient = sampled(name, widths, sigma_w, sigma_b, 2000, orthogonal)
    found = theory.fluctuations(
        name, widths, sigma_w, sigma_b, orthogonal=orthogonal, inputs=widths[0]
    )
    # 2,000 networks: a standard error of 3 %; the next order in 1/width is more at these widths.
    np.testing.assert_allclose(length.var(0), found.length, rtol=0.2, atol=2e-3)
    np.testing.assert_allclose(gradient.var(0), found.gradient, rtol=0.25, atol=2e-3)


@pytest.mark.slow
def test_log_length_is_exact():
    rng = np.random.default_rng(0)
    k = np.maximum(rng.binomial(50, 0.5, 400_000), 1)
    factor = np.log(2 / 50 * rng.chisquare(k))
    mean, variance = theory.log_length("relu", 50)
    assert mean == pytest.approx(factor.mean(), abs=4 * factor.std() / 400_000**0.5)
    assert variance == pytest.approx(factor.var(), rel=0.02)
    assert 10 * mean == pytest.approx(-0.517388, abs=1e-6)
    assert 10 * variance == pytest.approx(1.081681, abs=1e-6)
    # The gain √(σ_w² exp(−mean)) keeps the mean log length (Sussillo & Abbott 2014, section 3).
    for name, critical, gain in (("relu", 2, 1.4323036), ("identity", 1, 1.0050293)):
        mean, _ = theory.log_length(name, 100)
        assert (critical * np.exp(-mean)) ** 0.5 == pytest.approx(gain, abs=1e-7)


@pytest.mark.slow
def test_failure_modes():
    found = theory.failure_modes("relu", [25] * 20 + [1], 2**0.5)
    assert found.log_mean_length == pytest.approx(0, abs=1e-9)
    assert found.length_variance == pytest.approx(5 * 20 / 25, rel=1e-6)
    assert found.sum_inverse_width == pytest.approx(0.8)


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "weights", "sigma_w", "q", "expected"),
    [("identity", "gaussian", 1.0, 1.0, 10), ("relu", "orthogonal", 2**0.5, 1.0, 10),
     ("relu", "gaussian", 2**0.5, 1.0, 20), ("identity", "orthogonal", 1.0, 1.0, 0)],
)  # fmt: skip
def test_jacobian_spectra_against_sampled_products(name, weights, sigma_w, q, expected):
    n, depth, networks = 256, 10, 8
    found = theory.jacobian_spectrum(name, sigma_w, q, depth=depth, weights=weights)
    assert float(found.variance) == pytest.approx(expected, abs=1e-5)
    assert float(found.log_mean) == pytest.approx(0, abs=1e-5)
    slope = jax.vmap(jax.grad(lambda x: get_activation(name).function(x)))

    def spread(key):
        product = jnp.eye(n)
        for layer in jax.random.split(key, depth):
            inner, outer = jax.random.split(layer)
            w = (
                jax.random.orthogonal(inner, n)
                if weights == "orthogonal"
                else jax.random.normal(inner, (n, n)) / n**0.5
            )
            z = jax.random.normal(outer, (n,)) * q**0.5
            product = slope(z)[:, None] * (sigma_w * w @ product)
        values = jnp.linalg.svd(product, compute_uv=False) ** 2
        return jnp.var(values / values.mean())

    seen = jax.lax.map(spread, jax.random.split(jax.random.key(0), networks))
    # Finite n lowers the largest eigenvalues, by some percent at n = 256.
    assert float(seen.mean()) == pytest.approx(expected, rel=0.12, abs=1e-4)


@pytest.mark.full
def test_isometry_is_for_smooth_saturating_activations():
    assert theory.isometry("tanh").attainable
    assert theory.isometry("erf").attainable
    assert theory.isometry("hard_tanh").attainable
    for name in ("relu", "leaky_relu(0.1)", "softplus"):
        found = theory.isometry(name)
        assert not found.attainable
        assert found.reason
    sigma_w, sigma_b = theory.isometric_point("tanh", 100, 0.168937)
    q = float(in_float64(lambda: theory.length_fixed_point("tanh", sigma_w, sigma_b)))
    assert q == pytest.approx(1 / 64, rel=0.02)
    with pytest.raises(ValueError, match="isometry of relu at depth 50"):
        theory.isometric_point("relu", 50)


INPUTS = np.random.default_rng(3).normal(size=(5, 7))


@pytest.mark.slow
def test_kernels_closed_forms():
    x = INPUTS * np.sqrt(7) / np.linalg.norm(INPUTS, axis=1, keepdims=True)
    found = in_float64(lambda: theory.kernels("relu", jnp.asarray(x), depth=2))
    c = x @ x.T / 7
    expected, tangent = 2 * c, 2 * c
    for _ in range(2):
        q = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        angle = np.arccos(np.clip(expected / q, -1, 1))
        value = q * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        slope = (np.pi - angle) / (2 * np.pi)
        expected = 2 * value
        tangent = expected + 2 * slope * tangent
    np.testing.assert_allclose(found.nngp, expected, rtol=1e-10)
    np.testing.assert_allclose(found.ntk, tangent, rtol=1e-10)
    np.testing.assert_allclose(np.diag(found.ntk), 2 * 3, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "leaky_relu(0.3)", "erf", "identity"])
@pytest.mark.sampled(4)
def test_kernels_by_quadrature_are_the_closed_forms(name):
    """The same function under another name has no closed form."""
    phi = get_activation(name)

    def both():
        x = jnp.asarray(INPUTS)
        other = type(phi)("nobody's", phi.function, phi.kinks)
        return [theory.kernels(a, x, depth=2, sigma_w=1.3, sigma_b=0.2) for a in (name, other)]

    closed, numeric = in_float64(both)
    np.testing.assert_allclose(closed.nngp, numeric.nngp, rtol=1e-7)
    np.testing.assert_allclose(closed.ntk, numeric.ntk, rtol=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_kernels_against_the_empirical_ones_of_wide_networks(name):
    width, depth, sigma_w, sigma_b, networks = 4096, 2, 1.4, 0.1, 8
    phi, x = get_activation(name).function, jnp.asarray(INPUTS, jnp.float32)
    sizes = [7, width, width, 1]

    def apply(params, x):
        h = x
        for index, (w, b) in enumerate(params):
            h = sigma_w * h @ w / w.shape[0] ** 0.5 + sigma_b * b
            h = phi(h) if index < depth else h
        return h

    @jax.jit
    def empirical(key):
        keys = jax.random.split(key, 2 * len(sizes))
        params = [
            (jax.random.normal(keys[2 * i], (n, m)), jax.random.normal(keys[2 * i + 1], (m,)))
            for i, (n, m) in enumerate(itertools.pairwise(sizes))
        ]
        return probes.empirical_ntk(apply, params, x)

    expected = np.asarray(
        theory.kernels(name, x, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b).ntk
    )
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    found = [np.asarray(empirical(key)) for key in jax.random.split(jax.random.key(1), networks)]
    errors = (np.array(found, np.float64) - expected) / scale
    # One network's error is of order 1/√n, and the mean of several is that much nearer.
    spread = np.sqrt((errors**2).mean())
    assert 0.3 / math.sqrt(width) < spread < 3 / math.sqrt(width)
    assert np.abs(errors.mean(0)).max() < 4 * spread / math.sqrt(networks)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(6,), (6, 3)])
def test_linearized_loss_is_gradient_descent_on_the_kernel(shape):
    rng = np.random.default_rng(0)
    features, y, rate = rng.normal(size=(6, 40)), rng.normal(size=shape), 0.02
    kernel = features @ features.T
    w, losses = np.zeros((40, *shape[1:])), []
    for _ in range(21):
        residual = features @ w - y
        losses.append(0.5 * np.mean(residual**2))
        w -= rate * features.T @ residual / y.size
    found = theory.linearized_loss(kernel, y, learning_rate=rate, steps=20)
    np.testing.assert_allclose(found, losses, rtol=2e-4)
    values = np.linalg.eigvalsh(kernel)
    assert float(theory.condition_number(kernel)) == pytest.approx(values[-1] / values[0], rel=1e-3)


@pytest.mark.full
@pytest.mark.parametrize("name", ["relu", "erf", "leaky_relu(0.2)", "tanh"])
def test_kernels_jit_and_have_derivatives(name):
    def trace(sigma_w):
        return jnp.sum(theory.kernels(name, jnp.asarray(INPUTS[:3]), depth=2, sigma_w=sigma_w).ntk)

    def check():
        slope = jax.jit(jax.grad(trace))(1.3)
        assert float(jax.jit(trace)(1.3)) == pytest.approx(float(trace(1.3)), rel=1e-12)
        return slope, (trace(1.3 + 1e-4) - trace(1.3 - 1e-4)) / 2e-4

    slope, difference = in_float64(check)
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "erf"])
def test_kernels_of_large_inputs_keep_their_slope(name):
    x = np.array([[300.0, -200.0], [250.0, 10.0]], np.float32)
    exact = in_float64(lambda: np.asarray(theory.kernels(name, x.astype(float), depth=1).ntk))
    np.testing.assert_allclose(theory.kernels(name, x, depth=1).ntk, exact, rtol=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.kernels("relu", np.ones(3), depth=1), "x: got"),
        (lambda: theory.fluctuations("relu", [], 1.0), "widths"),
        (lambda: theory.fluctuations("relu", [8, 0], 1.0), "width: got 0"),
        (lambda: theory.log_length("tanh", 10), "tanh"),
        (lambda: theory.jacobian_spectrum("relu", 1.0, 1.0, depth=0), "depth: got 0"),
        (lambda: theory.jacobian_spectrum("relu", 1.0, 1.0, depth=1, weights="haar"), "haar"),
        (
            lambda: theory.linearized_loss(np.eye(3), np.ones(2), learning_rate=1, steps=1),
            "targets",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_a_users_function_is_not_taken_for_the_catalogues_by_its_name():
    def erf(x):
        return jnp.tanh(x)

    x = jnp.asarray(INPUTS[:2], jnp.float32)
    mine, tanh = (theory.kernels(name, x, depth=1, sigma_b=0.1) for name in (erf, "tanh"))
    np.testing.assert_allclose(mine.ntk, tanh.ntk, rtol=1e-5)
