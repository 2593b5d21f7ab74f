"""Mean field numbers against scipy's own quadrature and root finder."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, special

from jinit import theory
from jinit.quadrature import find_kinks

FUNCTIONS = {
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "erf": (special.erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2))),
    "sigmoid": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "hard_tanh": (lambda x: np.clip(x, -1, 1), lambda x: (np.abs(x) < 1) * 1.0),
}


def mean(function, q):
    def integrand(z):
        return function(math.sqrt(q) * z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    edges = [-12, -1 / math.sqrt(q), 1 / math.sqrt(q), 12]
    return sum(integrate.quad(integrand, a, b)[0] for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize(
    ("name", "sigma_b"), [("tanh", 0.05**0.5), ("tanh", 0.3), ("erf", 0.2), ("hard_tanh", 0.2)]
)
def test_edge_of_chaos(name, sigma_b):
    value, slope = FUNCTIONS[name]

    def excess(q):
        chi_1_scale = mean(lambda x: slope(x) ** 2, q)
        return q - mean(lambda x: value(x) ** 2, q) / chi_1_scale - sigma_b**2

    q = optimize.brentq(excess, 1e-3, 10)
    sigma_w = 1 / math.sqrt(mean(lambda x: slope(x) ** 2, q))
    assert theory.edge_of_chaos(name, sigma_b) == pytest.approx(sigma_w, rel=2e-6)
    assert theory.length_fixed_point(name, sigma_w, sigma_b) == pytest.approx(q, rel=1e-3)
    assert theory.susceptibility(name, sigma_w, q) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("relu", 2.0), ("identity", 1.0), ("leaky_relu(0.5)", 2 / 1.25), ("tanh", 1.0),
     ("erf", math.pi / 4), ("sin", 1.0)],
)  # fmt: skip
def test_closed_forms_without_bias(name, expected):
    assert theory.edge_of_chaos(name) ** 2 == pytest.approx(expected, rel=1e-6)


def test_the_length_dies_and_explodes():
    assert theory.length_fixed_point("relu", 1.0) == 0.0
    assert theory.length_fixed_point("relu", 2.0) == math.inf
    assert theory.length_fixed_point("relu", 1.0, 1.0) == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize(
    ("function", "kinks"),
    [
        (lambda x: jnp.abs(x - 0.3), (0.3,)),
        (lambda x: jnp.clip(x, -1, 1.5), (-1.0, 1.5)),
        (jnp.sign, (0.0,)),
        (lambda x: jnp.where(x > 0, x, jnp.expm1(x)), (0.0,)),
        (lambda x: jnp.sin(8 * x), ()),
        (lambda x: x**3, ()),
    ],
)
def test_kinks(function, kinks):
    assert find_kinks(function) == pytest.approx(kinks, abs=2e-6)
