"""Activations against float64 formulas; kinks against an adaptive quadrature that gets them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from jinit import activations, theory
from jinit._quadrature import mean_square
from jinit.initializers import gain

SELU_A, SELU_L = 1.6732632423543772, 1.0507009873554805
REFERENCE = {
    "identity": lambda x: x,
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: SELU_L * np.where(x > 0, x, SELU_A * np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * stats.norm.cdf(x),
    "silu": lambda x: x * special.expit(x),
    "softplus": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sin": np.sin,
    "erf": special.erf,
    "lecun_tanh": lambda x: 1.7159 * np.tanh(2 * x / 3),
}
GRID = np.linspace(-8, 8, 401)


def test_the_catalogue_is_the_reference_list():
    assert set(activations.names()) == set(REFERENCE)


@pytest.mark.parametrize("name", activations.names())
def test_values(name):
    found = np.asarray(activations.get(name)(jnp.asarray(GRID, jnp.float32)))
    np.testing.assert_allclose(found, REFERENCE[name](GRID), rtol=3e-6, atol=3e-7)


@pytest.mark.parametrize("name", activations.names())
def test_gaussian_second_moment_with_the_listed_kinks(name):
    activation = activations.get(name)

    def integrand(z):
        return REFERENCE[name](z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    # Split at every integer: no reference may depend on our list of kinks.
    exact = sum(integrate.quad(integrand, a, a + 1)[0] for a in range(-12, 12))
    assert mean_square(activation, activation.kinks) == pytest.approx(exact, rel=1e-10)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", activations.names())
@pytest.mark.slow
def test_away_from_kinks_second_derivatives_are_continuous(name):
    activation = activations.get(name)
    second = jax.vmap(jax.grad(jax.grad(activation.function)))
    x = np.linspace(-7, 7, 2801, dtype=np.float32)
    jumps = np.abs(np.diff(np.asarray(second(x))))
    near_kink = np.zeros(len(jumps), bool)
    for kink in activation.kinks:
        near_kink |= np.abs(x[:-1] - kink) < 0.02
    assert jumps[~near_kink].max() < 0.05
    if activation.kinks and name not in ("relu", "leaky_relu", "hard_tanh", "relu6"):
        assert jumps[near_kink].max() > 0.3, "a listed kink where nothing jumps"


def test_spec_strings_and_callables():
    assert activations.get("leaky_relu(0.2)").name == "leaky_relu(negative_slope=0.2)"
    assert float(activations.get("leaky_relu(0.2)")(jnp.float32(-1))) == pytest.approx(-0.2)
    assert activations.get(jnp.cos).name == "cos"
    assert activations.get(jax.nn.relu) == activations.get("relu")
    assert activations.get(jax.nn.leaky_relu).name == "leaky_relu"


@pytest.mark.slow
def test_another_function_of_a_known_name_is_told_from_it():
    def relu(x):
        return x**3

    assert activations.get(relu).name == "<relu>"
    assert activations.get(jax.nn.gelu).name == "<gelu>"  # it approximates by default


def cubic(slope=1.0):
    return activations.Activation("cubic", lambda x: slope * x**3, kinks=())


def test_a_registered_activation_works_wherever_a_name_may_stand():
    activations.register("cubic", cubic)
    try:
        assert activations.names()[-1] == "cubic"
        assert str(activations.get("cubic(slope=2.0)")) == "cubic(slope=2.0)"
        assert gain("cubic") == pytest.approx(1 / math.sqrt(15), rel=1e-6)
        activations.register("cubic", cubic)  # the same factory again
        assert activations.names().count("cubic") == 1
        with pytest.raises(ValueError, match="taken"):
            activations.register("cubic", lambda: activations.get("relu"))
    finally:
        activations._REGISTRY.remove("cubic")
    with pytest.raises(ValueError, match="taken"):
        activations.register("swish", cubic)
    for factory in (3, lambda slope: activations.get("relu")):
        with pytest.raises(TypeError, match="a callable whose parameters have defaults"):
            activations.register("cubic", factory)


@pytest.mark.slow
def test_a_registered_activation_need_not_list_its_kinks():
    def bent():
        return activations.Activation("bent", lambda x: jnp.where(x > 0.5, x, 0.1 * x))

    activations.register("bent", bent)
    try:
        listed = activations.Activation("same", bent().function, (0.5,))
        assert gain("bent") == pytest.approx(gain(listed), rel=1e-9)
        named, given = (theory.moments(phi, 1.3) for phi in ("bent", listed))
        np.testing.assert_allclose(named.second, given.second, rtol=1e-6)
    finally:
        activations._REGISTRY.remove("bent")


def test_factories_that_return_no_activation_are_named():
    activations.register("junk", lambda: jnp.tanh)
    try:
        with pytest.raises(TypeError, match="factory of 'junk'"):
            activations.get("junk")
    finally:
        activations._REGISTRY.remove("junk")


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ("relo", ValueError, "did you mean 'relu'"),
        ("relu(3)", ValueError, "arguments"),
        ("leaky_relu(slope=1)", ValueError, "negative_slope"),
        (3, TypeError, "activation: got 3"),
    ],
)
def test_bad_names(given, error, match):
    with pytest.raises(error, match=match):
        activations.get(given)
