"""Gaussian moments against closed forms, scipy's adaptive quadrature and Mehler's expansion."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from jinit import activations, theory
from jinit._float64 import in_float64
from jinit._quadrature import find_kinks
from jinit.theory._tabulate import moment_table

COMMON = ("relu", "tanh", "gelu", "sigmoid", "hard_tanh", "sin")
NAMES = [
    name if name in COMMON else pytest.param(name, marks=pytest.mark.full)
    for name in activations.names()
]


def numpy_of(tree):
    return jax.tree.map(np.asarray, tree)


def moments64(activation, q):
    return in_float64(lambda: numpy_of(theory.moments(activation, jnp.asarray(q, jnp.float64))))


def cross64(activation, q, c):
    return in_float64(
        lambda: numpy_of(
            theory.cross_moments(activation, *(jnp.asarray(x, jnp.float64) for x in (q, c)))
        )
    )


@functools.cache
def pointwise(name):
    """φ, φ′ and φ″ as float functions, in float64."""
    phi = activations.get(name).function
    orders = phi, jax.grad(phi), jax.grad(jax.grad(phi))

    def at(order):
        compiled = jax.jit(jax.vmap(orders[order]))
        return lambda x: in_float64(lambda: np.asarray(compiled(jnp.asarray(x, jnp.float64))))

    return [at(order) for order in range(3)]


def reference(name, q, of, kinks):
    """E of(φ(u), φ′(u), φ″(u), u), by scipy's 61-point Gauss–Kronrod rule on every piece."""
    points = np.array([-40, -12, -8, -5, -3, -1.5, -0.7, 0, 0.7, 1.5, 3, 5, 8, 12, 40.0])
    inner = np.array([-3, -1, -0.3, 0.3, 1, 3]) / math.sqrt(q)
    cuts = np.unique(np.concatenate([points, inner, np.asarray(kinks) / math.sqrt(q)]))
    cuts = cuts[np.abs(cuts) <= 40]
    phis = pointwise(name)

    def integrand(z):
        u = math.sqrt(q) * z
        values = [phi(u) for phi in phis]
        return of(*values, u) * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    return sum(integrate.fixed_quad(integrand, a, b, n=61)[0] for a, b in itertools.pairwise(cuts))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("q", [1e-3, 0.3, 1.0, 9.0])
@pytest.mark.sampled(3)
def test_every_activation_against_scipy(name, q):
    kinks = activations.get(name).kinks
    found = moments64(name, q)
    wanted = {
        "mean": lambda f, d, e, u: f,
        "second": lambda f, d, e, u: f**2,
        "fourth": lambda f, d, e, u: f**4,
        "slope_second": lambda f, d, e, u: d**2,
        "slope_fourth": lambda f, d, e, u: d**4,
        "growth": lambda f, d, e, u: u * f * d / q,
        "mixed": lambda f, d, e, u: (f * d) ** 2,
    }
    if math.isfinite(found.curvature_second):
        wanted["curvature_second"] = lambda f, d, e, u: e**2
    scale = reference(name, q, wanted["second"], kinks) ** 0.5
    for what, of in wanted.items():
        expected = reference(name, q, of, kinks)
        # Odd moments and the growth of a saturated length may vanish: then against their size.
        floor = 1e-9 * {"mean": scale, "growth": found.slope_second}.get(what, 0)
        assert getattr(found, what) == pytest.approx(expected, rel=1e-8, abs=floor), what


@pytest.mark.slow
def test_closed_forms():
    q = np.array([1e-8, 1e-3, 0.2, 1.0, 7.0, 400.0])
    relu, identity = moments64("relu", q), moments64("identity", q)
    np.testing.assert_allclose(relu.second, q / 2, rtol=1e-12)
    np.testing.assert_allclose(relu.fourth, 1.5 * q**2, rtol=1e-12)
    np.testing.assert_allclose(relu.mean, np.sqrt(q / 2 / np.pi), rtol=1e-12)
    np.testing.assert_allclose(relu.slope_second, 0.5, rtol=1e-12)
    np.testing.assert_allclose(relu.growth, 0.5, rtol=1e-12)
    assert np.isinf(relu.curvature_second).all()
    np.testing.assert_allclose(identity.fourth, 3 * q**2, rtol=1e-12)
    leaky = moments64("leaky_relu(0.3)", q)
    np.testing.assert_allclose(leaky.second, q * (1 + 0.09) / 2, rtol=1e-12)
    erf = moments64("erf", q)
    np.testing.assert_allclose(erf.second, 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)), rtol=1e-10)
    np.testing.assert_allclose(erf.slope_second, 4 / np.pi / np.sqrt(1 + 4 * q), rtol=1e-10)
    sine = moments64("sin", q[:-1])
    np.testing.assert_allclose(sine.second, -np.expm1(-2 * q[:-1]) / 2, rtol=1e-10)
    np.testing.assert_allclose(sine.growth, np.exp(-2 * q[:-1]), rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_selu_is_normalized():
    found = moments64("selu", 1.0)
    assert abs(found.mean) < 1e-8
    assert found.second == pytest.approx(1, abs=1e-8)


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("q", [0.1, 1.0, 30.0])
def test_cross_moments_closed_forms(q):
    c = np.array([-1, -0.999, -0.5, 0.0, 0.3, 0.9, 1 - 1e-6, 1.0])
    angle = np.arccos(c)
    relu = cross64("relu", q, c)
    np.testing.assert_allclose(
        relu.value, q * (np.sin(angle) + (np.pi - angle) * c) / (2 * np.pi), atol=1e-10 * q
    )
    np.testing.assert_allclose(relu.slope, (np.pi - angle) / (2 * np.pi), atol=1e-10)
    erf = cross64("erf", q, c)
    x = 2 * q * c / (1 + 2 * q)
    np.testing.assert_allclose(erf.value, 2 / np.pi * np.arcsin(x), atol=1e-10)
    np.testing.assert_allclose(
        erf.slope, 4 / np.pi / np.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2), atol=1e-9
    )
    linear = cross64("identity", q, c)
    np.testing.assert_allclose(linear.value, q * c, atol=1e-10 * q)
    # E (u − v)² / 2 of nearly equal inputs has its own digits: no cancellation.
    assert cross64("identity", q, 1 - 1e-13).difference == pytest.approx(q * 1e-13, rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.sampled(3)
def test_cross_moments_against_mehler(name):
    """E φ(u₁)φ(u₂) = Σ a_k² c^k with a_k = E φ(√q z) He_k(z)/√k!."""
    q, c, terms = 1.7, np.array([-0.4, 0.0, 0.45]), 48
    kinks = np.asarray(activations.get(name).kinks) / math.sqrt(q)
    cuts = np.unique(np.concatenate([np.arange(-14, 15), kinks]))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half, centre = np.diff(cuts)[:, None] / 2, (cuts[1:] + cuts[:-1])[:, None] / 2
    z, w = (centre + half * nodes).ravel(), (half * weights).ravel()
    w = w * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    hermite = [np.ones_like(z), z]
    for k in range(2, terms):
        hermite.append((z * hermite[-1] - math.sqrt(k - 1) * hermite[-2]) / math.sqrt(k))
    found = cross64(name, q, c)
    for what, order in (("value", 0), ("slope", 1)):
        values = pointwise(name)[order](math.sqrt(q) * z)
        a = np.array([(w * values * h).sum() for h in hermite])
        expected = a**2 @ c ** np.arange(terms)[:, None]
        np.testing.assert_allclose(getattr(found, what), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_value_slope_and_difference_agree():
    q, c = 2.0, np.array([0.2, 0.7])
    found = cross64("gelu", q, c)
    step = 1e-4
    ahead, behind = cross64("gelu", q, c + step), cross64("gelu", q, c - step)
    np.testing.assert_allclose(
        (ahead.value - behind.value) / (2 * step) / q, found.slope, rtol=1e-6
    )
    np.testing.assert_allclose(
        moments64("gelu", q).second - found.value, found.difference, rtol=1e-9
    )


@pytest.mark.slow
def test_float32_is_close_and_traced():
    q = jnp.array([1e-4, 0.5, 3.0])
    single = jax.jit(lambda q: theory.moments("tanh", q))(q)
    double = moments64("tanh", q)
    for what in ("second", "slope_second", "growth", "fourth"):
        np.testing.assert_allclose(getattr(single, what), getattr(double, what), rtol=1e-5)
    assert single.second.dtype == jnp.float32
    cross = jax.jit(jax.vmap(lambda c: theory.cross_moments("tanh", 2.0, c).value))
    np.testing.assert_allclose(
        cross(jnp.array([0.1, 0.9])), cross64("tanh", 2.0, [0.1, 0.9]).value, rtol=2e-5
    )


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "sigmoid"])
def test_derivatives_against_finite_differences(name):
    def at(q):
        return theory.moments(name, q).second

    def check():
        q, step = jnp.float64(1.3), 1e-5
        numeric = (at(q + step) - at(q - step)) / (2 * step)
        return float(jax.grad(at)(q)), float(theory.moments(name, q).growth), float(numeric)

    by_grad, growth, numeric = in_float64(check)
    assert by_grad == pytest.approx(numeric, rel=1e-6)
    assert growth == pytest.approx(numeric, rel=1e-6)


@pytest.mark.slow
def test_a_users_callable_with_kinks_nobody_named():
    def bent(x):
        return jnp.where(x > 0.37, 2 * x - 0.37, x) + 0.5

    q, cut = 1.0, 0.37
    assert find_kinks(bent) == pytest.approx((cut,), abs=1e-6)
    at = moments64(bent, q)
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    tail = special.ndtr(-cut)
    # φ = u + .5 + (u − k)₊
    assert at.mean == pytest.approx(0.5 + density - cut * tail, rel=1e-6)
    assert at.slope_second == pytest.approx(1 + 3 * tail, rel=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("steepness", [5.0, 300.0])
def test_a_steep_activation_is_the_gentle_one_in_another_unit(steepness):
    def steep(x):
        return jnp.tanh(steepness * x)

    q = np.array([1e-6, 1e-4, 0.01, 0.1, 1.0, 10.0, 100.0])
    found, expected = moments64(steep, q), moments64("tanh", steepness**2 * q)
    chained = {"slope_second": 2, "slope_fourth": 4, "curvature_second": 4, "mixed": 2, "growth": 2}
    for field in ("second", "fourth", *chained):
        scaled = getattr(expected, field) * steepness ** chained.get(field, 0)
        # It vanishes with q, and is known in units of its usual size.
        least = 1e-8 * scaled.max() if field == "curvature_second" else 0.0
        np.testing.assert_allclose(getattr(found, field), scaled, 1e-8, least, err_msg=field)
    c = np.array([-0.9, 0.3, 0.999])
    two, same = cross64(steep, 0.5 / steepness**2, c), cross64("tanh", 0.5, c)
    np.testing.assert_allclose(two.value, same.value, rtol=1e-8)
    np.testing.assert_allclose(two.slope, same.slope * steepness**2, rtol=1e-8)
    edge = theory.edge_of_chaos(steep, sigma_b=0.2 / steepness)
    assert edge * steepness == pytest.approx(theory.edge_of_chaos("tanh", sigma_b=0.2), rel=1e-9)


@pytest.mark.parametrize(
    ("phi", "numpy_phi"),
    [
        (lambda x: jnp.tanh(100 * x) + jnp.tanh(x), lambda x: np.tanh(100 * x) + np.tanh(x)),
        (lambda x: x + jnp.tanh(30 * x), lambda x: x + np.tanh(30 * x)),
        (
            lambda x: jnp.where(abs(x) > 0.02, x - 0.02 * jnp.sign(x), 0),
            lambda x: np.where(abs(x) > 0.02, x - 0.02 * np.sign(x), 0),
        ),
    ],
)
@pytest.mark.slow
@pytest.mark.sampled(3)
def test_activations_that_bend_on_two_scales(phi, numpy_phi):
    for q in (1e-4, 0.01, 1.0, 100.0, 1e4):
        s = math.sqrt(q)
        places = [p / s for p in (0.005, 0.02, 0.1, 1, 5, 30)]
        edges = [0.0, *(p for p in places if p < 12), 12.0]
        expected = 2 * sum(
            integrate.quad(
                lambda z, s=s: numpy_phi(s * z) ** 2 * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi),
                *panel, epsabs=0, epsrel=1e-12,
            )[0]
            for panel in itertools.pairwise(edges)
        )  # fmt: skip
        assert moments64(phi, q).second == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_what_is_not_resolved_is_nan_and_never_a_wrong_number():
    assert np.isnan(moments64("sin", 1e5).second)
    assert np.isnan(cross64("sin", 900.0, 0.5).value)
    growing = moments64(jnp.exp, np.array([1.0, 16.0, 1e6]))
    assert growing.second[0] == pytest.approx(math.exp(2), rel=1e-12)
    # E e^{2u} at q = 16 lies at u = 32, close to where the rules end.
    assert np.isnan(growing.second[1:]).all()
    assert np.isnan(growing.mean[1:]).all()


@pytest.mark.slow
@pytest.mark.parametrize("power", [2, 3, 4, 6, 8])
@pytest.mark.sampled(3)
def test_powers(power):
    q = np.geomspace(0.1, 1e5, 60)
    found = moments64(lambda x: x**power, q)
    double = [float(special.factorial2(n * power - 1)) for n in (2, 4)]
    np.testing.assert_allclose(found.second, double[0] * q**power, rtol=1e-9)
    np.testing.assert_allclose(found.fourth, double[1] * q ** (2 * power), rtol=1e-8)
    slope = power**2 * float(special.factorial2(2 * power - 3)) * q ** (power - 1)
    np.testing.assert_allclose(found.slope_second, slope, rtol=1e-9)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("steepness", "largest"), [(0.5, 16.0), (1.0, 4.0), (2.0, 1.0)])
@pytest.mark.slow
def test_exponentials(steepness, largest):
    q = np.linspace(0.0, largest, 60)
    found = moments64(lambda x: jnp.exp(steepness * x), q)
    square = np.exp(2 * steepness**2 * q)
    np.testing.assert_allclose(found.mean, np.exp(steepness**2 * q / 2), rtol=1e-11)
    np.testing.assert_allclose(found.second, square, rtol=1e-9)
    np.testing.assert_allclose(found.slope_second, steepness**2 * square, rtol=1e-9)
    np.testing.assert_allclose(found.growth, 2 * steepness**2 * square, rtol=1e-8)


@pytest.mark.full
def test_float32_loses_few_digits():
    q = np.geomspace(1e-6, 1e5, 500, dtype=np.float32)
    for name in ("tanh", "relu", "gelu", "softplus"):
        short, known = theory.moments(name, q), moments64(name, q.astype(float))
        for what in ("second", "fourth", "slope_second", "slope_fourth"):
            np.testing.assert_allclose(getattr(short, what), getattr(known, what), 1.5e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.full
def test_half_precision_is_computed_in_float32(dtype):
    one, half = jnp.ones((), dtype), jnp.asarray(0.5, dtype)
    x = jnp.eye(3, 4, dtype=dtype)
    for call in (
        lambda f: theory.moments("tanh", f(one)).second,
        lambda f: theory.cross_moments("tanh", f(one), f(half)).value,
        lambda f: theory.correlation_map("tanh", f(half), f(one), f(half), f(one)),
        lambda f: theory.length_map("tanh", f(one), f(half), f(one)),
        lambda f: theory.propagate("tanh", f(one), f(half), depth=3).q,
        lambda f: theory.fluctuations("tanh", [8, 8], f(one), f(half)).length,
        lambda f: theory.jacobian_spectrum("tanh", f(one), f(half), depth=3).variance,
        lambda f: theory.kernels("tanh", f(x), depth=2).ntk,
        lambda f: theory.kernels("relu", f(x), depth=2).ntk,
        lambda f: theory.condition_number(f(jnp.eye(3, dtype=dtype))),
        lambda f: theory.linearized_loss(
            f(jnp.eye(3, dtype=dtype)), f(jnp.ones(3, dtype)), learning_rate=0.1, steps=2
        ),
    ):
        found, expected = call(lambda x: x), call(lambda x: x.astype(jnp.float32))
        assert found.dtype == jnp.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_beyond_the_table_the_power_law_goes_on():
    q = np.array([1e8, 1e20])
    np.testing.assert_allclose(moments64("relu", q).second, q / 2, rtol=1e-9)
    np.testing.assert_allclose(moments64("tanh", q).second, 1, rtol=2e-3)
    # elu: E φ² = q/2 + ½ − 2/√(2πq) + …; softplus: E φ² = q/2 + π²/6 √(2/(πq)) + …
    np.testing.assert_allclose(moments64("elu", q).second, q / 2, rtol=2e-8)
    np.testing.assert_allclose(moments64("softplus", q).second, q / 2, rtol=2e-8)
    # Odd moments are 0 by symmetry, and rounding errors of theirs are not carried on.
    far = moments64("sigmoid", np.array([1e8, 1e20, 1e300]))
    np.testing.assert_array_equal(far.mean, 0.5)
    np.testing.assert_allclose(far.fourth[:2], 0.5, rtol=2e-4)
    np.testing.assert_array_equal(moments64("tanh", q).mean, 0)


COSINE = {
    "mean": lambda q: np.exp(-q / 2),
    "second": lambda q: (1 + np.exp(-2 * q)) / 2,
    "slope_second": lambda q: -np.expm1(-2 * q) / 2,
    "growth": lambda q: -np.exp(-2 * q),
    "curvature_second": lambda q: (1 + np.exp(-2 * q)) / 2,
}
SQUARE = {
    "mean": lambda q: q,
    "second": lambda q: 3 * q**2,
    "fourth": lambda q: 105 * q**4,
    "slope_second": lambda q: 4 * q,
    "growth": lambda q: 6 * q,
    "curvature_second": lambda q: 4 + 0 * q,
    "mixed": lambda q: 60 * q**3,
}
BELL = {  # exp(−x²)
    "mean": lambda q: (1 + 2 * q) ** -0.5,
    "second": lambda q: (1 + 4 * q) ** -0.5,
    "fourth": lambda q: (1 + 8 * q) ** -0.5,
    "slope_second": lambda q: 4 * q * (1 + 4 * q) ** -1.5,
    "growth": lambda q: -2 * (1 + 4 * q) ** -1.5,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phi", "wanted", "largest"),
    [
        (jnp.cos, COSINE, 4.0),
        (jnp.square, SQUARE, 1e5),
        (lambda x: jnp.sqrt(2) * jnp.maximum(x, 0) * x, {"second": SQUARE["second"]}, 1e5),
        (lambda x: jnp.exp(-jnp.square(x)), BELL, 1e4),
        (lambda x: x + 1, {"second": lambda q: 1 + q, "growth": lambda q: 1 + 0 * q}, 1e5),
    ],
)  # fmt: skip
@pytest.mark.sampled(3)
def test_an_activation_whose_value_or_slope_vanishes_at_0(phi, wanted, largest):
    q = np.geomspace(1e-6, largest, 40)
    found = moments64(phi, q)
    for what, of in wanted.items():
        # Where a moment vanishes with q, errors count against its value at q = 1.
        expected, floor = of(q), 1e-9 * abs(of(1.0))
        np.testing.assert_allclose(getattr(found, what), expected, 2e-9, floor, err_msg=what)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("name", "value", "slope", "curvature"),
    [
        ("softplus", math.log(2), 0.5, 0.25),
        ("sigmoid", 0.5, 0.25, 0.0),
        ("tanh", 0.0, 1.0, 0.0),
        ("gelu", 0.0, 0.5, math.sqrt(2 / math.pi)),
    ],
)
@pytest.mark.slow
def test_moments_at_no_variance_are_those_of_the_taylor_series(name, value, slope, curvature):
    found = moments64(name, 0.0)
    assert (found.mean, found.second) == (value, pytest.approx(value**2, rel=1e-15))
    assert found.slope_second == pytest.approx(slope**2, rel=1e-12)
    assert found.growth == pytest.approx(slope**2 + value * curvature, rel=1e-10)

    mean, second = in_float64(
        lambda: jax.jacrev(
            lambda q: jnp.stack([theory.moments(name, q).mean, theory.moments(name, q).second])
        )(0.0)
    )
    assert mean == pytest.approx(curvature / 2, abs=1e-10)
    assert second == pytest.approx(found.growth, abs=1e-10)


@pytest.mark.slow
def test_a_kink_at_0_of_an_activation_that_is_not_0_there():
    """E (1 + relu)² = 1 + 2√(q/2π) + q/2: the growth is infinite at q = 0."""
    q = np.array([0.0, 1e-6, 0.01, 1.0, 1e4])
    found = moments64(lambda x: jax.nn.relu(x) + 1, q)
    np.testing.assert_allclose(found.second, 1 + 2 * np.sqrt(q / 2 / np.pi) + q / 2, rtol=1e-12)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found.growth, 0.5 + 1 / np.sqrt(2 * np.pi * q), rtol=1e-12)


@pytest.mark.slow
def test_a_column_that_is_not_known_takes_only_what_needs_it():
    """E φ′² of √|x| is infinite and its mean singular at 0; E φ² is √(2q/π) and E φ⁴ is q."""
    found = moments64(lambda x: jnp.sqrt(jnp.abs(x)), np.array([0.01, 1.0, 100.0]))
    np.testing.assert_allclose(found.second, np.sqrt([0.02 / np.pi, 2 / np.pi, 200 / np.pi]), 1e-7)
    np.testing.assert_allclose(found.fourth, [0.01, 1, 100], rtol=1e-6)
    assert np.isnan(found.slope_second).all()
    # A jump whose place float32 does not have is one too.
    assert moment_table(lambda x: jnp.where(x > 0.3, 1.0, 0.0)).jump == pytest.approx(0.3, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.moments("relu", -1.0), "q: got -1.0"),
        (lambda: theory.moments("rellu", 1.0), "did you mean 'relu'"),
        (
            lambda: theory.cross_moments("relu", 1.0, 1.5),
            r"c: got 1.5; allowed: a number in \[-1, 1\]",
        ),
        (lambda: theory.cross_moments("relu", 0.0, 0.5), "q: got 0.0"),
        (lambda: theory.cross_moments(jnp.sign, 1.0, 0.5), "a jump at 0"),
        (lambda: theory.moments(lambda x: 1 / x, 1.0), "finite"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_a_table_is_made_once():
    assert moment_table("tanh") is moment_table("tanh")
    assert moment_table("leaky_relu(0.2)") is moment_table("leaky_relu(negative_slope=0.2)")
    other = activations.get("tanh")
    assert moment_table(other) is moment_table(other)
    assert moment_table(jnp.tanh) is moment_table("tanh")


@pytest.mark.parametrize(
    "given",
    ["Activation", *(pytest.param(x, marks=pytest.mark.slow) for x in ("function", "name"))],
)
def test_a_function_that_changed_has_another_table(given):
    """E (kz)² is k² q, for the k that is there now."""
    k = 2.0

    def scaled(z):
        return k * z

    phi = {"function": scaled, "Activation": activations.Activation("mine", scaled, ())}.get(given)
    if given == "name":
        phi = "scaled_by_k"
        activations.register(phi, lambda: activations.Activation(phi, lambda z: scaled(z), ()))
    try:
        first = moment_table(phi)
        assert moment_table(phi) is first
        assert theory.moments(phi, 1.0).second == pytest.approx(4.0, rel=1e-6)
        k = 3.0
        assert theory.moments(phi, 1.0).second == pytest.approx(9.0, rel=1e-6)
        k = 2.0
        assert moment_table(phi) is first
    finally:
        if given == "name":
            activations._REGISTRY.remove(phi)


@pytest.mark.slow
def test_another_function_of_the_same_trace_does_not_lend_what_it_reads():
    """Programs call the function of a table later: it must still compute what the table says."""
    factor = {"first": 2.0, "second": 3.0}

    def named(one):
        return activations.Activation("mine", lambda z: factor[one] * z, ())

    first, second = named("first"), named("second")
    moment_table(first)
    factor |= {"first": 5.0, "second": 2.0}
    assert theory.cross_moments(second, 1.0, 0.5).value == pytest.approx(2.0, rel=1e-5)


@pytest.mark.slow
def test_a_name_that_is_registered_anew_has_another_table():
    for function, square in ((jnp.positive, 1.0), (jnp.square, 3.0)):
        activations.register("mine", lambda f=function: activations.Activation("mine", f, ()))
        try:
            assert theory.moments("mine", 1.0).second == pytest.approx(square, rel=1e-6)
        finally:
            activations._REGISTRY.remove("mine")


@pytest.mark.sampled(6)
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_critical_points_of_the_catalogue_to_eight_digits(name):
    """By scipy's rule alone: lengths stay at q*, and χ₁ is 1 there; or the reason is said."""
    sigma_b = 0.3
    kinks = activations.get(name).kinks
    none = dict.fromkeys(("identity", "relu", "leaky_relu", "softplus"), "no critical point")
    refused = none | dict.fromkeys(("gelu", "silu"), "unstable")
    if name in refused:
        with pytest.raises(ValueError, match=refused[name]):
            theory.edge_of_chaos(name, sigma_b)
        return
    sigma_w = theory.edge_of_chaos(name, sigma_b)
    q = float(in_float64(lambda: theory.length_fixed_point(name, sigma_w, sigma_b)))
    assert sigma_w**2 * reference(name, q, lambda f, d, e, u: d**2, kinks) == pytest.approx(
        1, rel=1e-8
    )
    length = sigma_w**2 * reference(name, q, lambda f, d, e, u: f**2, kinks) + sigma_b**2
    assert length == pytest.approx(q, rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high", "q"), [(-0.3, 0.7, 1.0), (-0.1234567, 2.3456789, 10.0)])
def test_kinks_at_any_place(low, high, q):
    found = moments64(lambda x: jnp.clip(x, low, high), q)
    exact = special.ndtr(high / q**0.5) - special.ndtr(low / q**0.5)
    assert found.slope_second == pytest.approx(exact, rel=1e-9)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("activation", "error", "message"),
    [
        (lambda x: (x - x.mean()) / (x.std() + 1e-5), TypeError, "elementwise"),
        (jnp.flip, TypeError, "elementwise"),
        (jnp.sqrt, ValueError, "NaN"),
        (lambda x: jnp.where(x > 5, jnp.nan, x), ValueError, "NaN"),
    ],
)
@pytest.mark.slow
def test_functions_that_are_no_activations(activation, error, message):
    with pytest.raises(error, match=message):
        theory.moments(activation, 1.0)


def test_an_activation_that_has_no_hash():
    class Unhashable:
        __hash__ = None

        def __call__(self, x):
            return jnp.tanh(x)

    found = moments64(Unhashable(), 1.0).second
    assert found == pytest.approx(float(moments64("tanh", 1.0).second), rel=1e-12)
