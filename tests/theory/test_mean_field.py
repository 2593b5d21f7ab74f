"""Mean field numbers against scipy's quadrature and root finder, and against sampled networks."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, special

from jinit import theory
from jinit._float64 import in_float64
from jinit._quadrature import find_kinks
from jinit.activations import get as get_activation
from jinit.theory._edge_of_chaos import critical_sigma_b
from jinit.theory._fixed_points import depth_scales_at
from jinit.theory._mean_field import susceptibility
from jinit.theory._tabulate import moment_table

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


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1100.0, 0.1), (1e4, 0.1), (1.5, 1000.0)])
def test_fixed_points_beyond_the_table(sigma_w, sigma_b):
    """hard_tanh's E φ² and E φ′² have closed forms at any q."""

    def length(q):
        z = 1 / math.sqrt(q)
        tail, density = special.ndtr(-z), math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        inside = q * (1 - 2 * tail - 2 * z * density)
        return sigma_w**2 * (inside + 2 * tail) + sigma_b**2

    expected = optimize.brentq(lambda q: length(q) - q, 1e5, 1e12)
    found = in_float64(theory.depth_scales, "hard_tanh", sigma_w, sigma_b)
    assert found.q_star == pytest.approx(expected, rel=1e-6)
    slope = 1 - 2 * special.ndtr(-1 / math.sqrt(expected))
    assert found.chi_1 == pytest.approx(sigma_w**2 * slope, rel=1e-5)
    points = theory.length_fixed_points("hard_tanh", sigma_w, sigma_b)
    assert points[-1].value == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sigma_b"), [("softplus", 0.0), ("gelu", 1.0), ("silu", 1.0)])
@pytest.mark.sampled(3)
def test_lengths_that_grow_for_ever_have_no_depth_scale(name, sigma_b):
    """χ₁ tends to 1 with them, as a power of the depth: neither critical nor 10⁶ layers."""
    found = in_float64(theory.depth_scales, name, 2**0.5, sigma_b)
    assert np.isinf(found.q_star)
    assert found.chi_1 == pytest.approx(1, abs=1e-6)
    assert np.isnan([found.trainable_depth, found.xi_gradient]).all()
    below = in_float64(theory.depth_scales, name, 1.9**0.5, sigma_b)
    assert np.isfinite([below.q_star, below.trainable_depth]).all()


@pytest.mark.slow
@pytest.mark.parametrize("start", [0.6, 3.0, 50.0])
def test_a_length_falls_and_rises_to_the_same_fixed_point(start):
    def change(q):
        def weighted(z):
            return (1.5 * np.tanh(q**0.5 * z)) ** 2 * np.exp(-(z**2) / 2) / (2 * np.pi) ** 0.5

        return integrate.quad(weighted, -12, 12)[0] + 0.3**2 - q

    q = optimize.brentq(change, 0.1, 5)
    found = theory.length_fixed_point("tanh", 1.5, 0.3, start=start)
    assert float(found) == pytest.approx(q, rel=1e-5)


@pytest.mark.slow
def test_a_jump_has_no_chi_1():
    def step(x):
        return jnp.where(x > 0, 1.0, 0.0)

    assert np.isinf(susceptibility(step, 1.0, 1.0))
    assert np.isinf(theory.moments(step, 1.0).slope_fourth)
    for call in (
        lambda: theory.edge_of_chaos(step),
        lambda: critical_sigma_b(step, 1.0),
        lambda: theory.isometry(step),
        lambda: theory.jacobian_spectrum(step, 1.0, 1.0, depth=3),
        lambda: theory.fluctuations(step, [10] * 3, 1.0),
        lambda: theory.length_fixed_points(step, 1.0),
    ):
        with pytest.raises(ValueError, match="a jump at 0"):
            call()


@pytest.mark.sampled(3)
@pytest.mark.slow
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
    assert susceptibility(name, sigma_w, q) == pytest.approx(1, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [("relu", 2.0), ("identity", 1.0), ("leaky_relu(0.5)", 2 / 1.25), ("tanh", 1.0),
     ("erf", math.pi / 4), ("sin", 1.0)],
)  # fmt: skip
def test_closed_forms_without_bias(name, expected):
    assert theory.edge_of_chaos(name) ** 2 == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
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


def in64(function, *args, **kwargs):
    return in_float64(lambda: jax.tree.map(np.asarray, function(*args, **kwargs)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b"),
    [("tanh", 1.0, 0.05**0.5), ("tanh", 2.0, 0.05**0.5), ("erf", 1.8, 0.3), ("erf", 2.5, 0.1),
     ("sigmoid", 3.0, 0.5)],
)  # fmt: skip
@pytest.mark.sampled(3)
def test_depth_scales_against_scipy(name, sigma_w, sigma_b):
    """An own solution of the same equations: brentq on Gauss–Hermite sums, doubled integrals."""
    value, slope = FUNCTIONS[name]
    q = optimize.brentq(
        lambda q: sigma_w**2 * mean(lambda x: value(x) ** 2, q) + sigma_b**2 - q, 1e-4, 50
    )
    z, w = np.polynomial.hermite_e.hermegauss(150)
    w = w / w.sum()

    def double(function, c):
        first = math.sqrt(q) * z[:, None]
        second = math.sqrt(q) * (c * z[:, None] + math.sqrt(max(1 - c * c, 0)) * z)
        return (w[:, None] * w * function(first) * function(second)).sum()

    chi_1 = sigma_w**2 * mean(lambda x: slope(x) ** 2, q)
    c = 1.0
    if chi_1 > 1:
        c = optimize.brentq(
            lambda c: (sigma_w**2 * double(value, c) + sigma_b**2) / q - c, -0.2, 1 - 1e-5
        )
    found = in64(theory.depth_scales, name, sigma_w, sigma_b)
    assert found.q_star == pytest.approx(q, rel=1e-8)
    assert found.chi_1 == pytest.approx(chi_1, rel=1e-8)
    assert found.c_star == pytest.approx(c, abs=1e-6)
    at_c = chi_1 if c == 1 else sigma_w**2 * double(slope, c)
    assert found.xi_c == pytest.approx(-1 / math.log(at_c), rel=1e-4)
    growth = mean(lambda x: value(x) ** 2, q * 1.0001) - mean(lambda x: value(x) ** 2, q * 0.9999)
    assert found.xi_q == pytest.approx(-1 / math.log(sigma_w**2 * growth / (0.0002 * q)), rel=1e-4)
    assert found.xi_gradient == pytest.approx(1 / math.log(chi_1), rel=1e-6)


@pytest.mark.slow
def test_published_depth_scales_of_tanh():
    """6 ξ_c at σ_b² = 0.05 (Schoenholz et al. 2017, figure 5), computed with mpmath elsewhere."""
    sigma_w = np.sqrt([1.0, 1.4, 1.76, 2.5, 4.0])
    found = in64(theory.depth_scales, "tanh", sigma_w, 0.05**0.5)
    np.testing.assert_allclose(found.trainable_depth, [21.8, 64.4, 29470, 70.8, 41.9], rtol=2e-3)
    assert theory.edge_of_chaos("tanh", 0.05**0.5) ** 2 == pytest.approx(1.760955, abs=5e-7)


@pytest.mark.slow
def test_correlations_of_relu_on_its_edge():
    """l² (1 − c_l) → 9π²/2 from c = 0 (Hayou et al. 2019); 43.1297325 at l = 1,000."""
    found = in64(theory.propagate, "relu", 2**0.5, depth=1001)
    assert found.gap[1000] * 1000**2 == pytest.approx(43.1297325, rel=1e-7)
    assert theory.critical_rate("relu") == 0.0


@pytest.mark.full
def test_correlations_of_tanh_on_its_edge_fall_as_beta_over_l():
    sigma_w = theory.edge_of_chaos("tanh", 0.3)
    beta = theory.critical_rate("tanh", 0.3)
    found = in64(theory.propagate, "tanh", sigma_w, 0.3, depth=4001, tabulated=True)
    # 1/gap grows by 1/β a layer, whatever the start.
    assert 1000 / (1 / found.gap[4000] - 1 / found.gap[3000]) == pytest.approx(beta, rel=2e-3)


@pytest.mark.full
def test_fixed_points_are_all_found_with_their_stability():
    points = theory.length_fixed_points("tanh", 1.5)
    assert [p.kind for p in points] == ["unstable", "stable"]
    assert points[1].value == pytest.approx(
        optimize.brentq(lambda q: 2.25 * mean(lambda x: np.tanh(x) ** 2, q) - q, 0.1, 9), rel=1e-9
    )
    assert [p.value for p in theory.length_fixed_points("relu", 1.0)] == [0.0]
    (critical,) = theory.length_fixed_points("relu", 2**0.5)
    assert (critical.value, critical.kind) == (0.0, "marginal")
    # V is convex for gelu: an attracting and a repelling length.
    kinds = [p.kind for p in theory.length_fixed_points("gelu", 1.45, 0.1)]
    assert kinds == ["stable", "unstable"]
    correlations = theory.correlation_fixed_points("tanh", 2.0, 0.0, 2.0)
    assert [round(p.value, 6) for p in correlations] == [1.0, 0.0, -1.0]
    assert [p.kind for p in correlations] == ["unstable", "stable", "unstable"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b", "q"),
    [("tanh", 0.5, 1e-3, 1e-6 / 0.75), ("relu", 1.0, 1e-3, 2e-6), ("tanh", 0.1, 1e-6, 1e-12 / 0.99),
     ("softplus", 1e-3, 0.0, 1e-6 * math.log(2) ** 2)],
)  # fmt: skip
def test_small_fixed_points_are_found(name, sigma_w, sigma_b, q):
    (found,) = theory.length_fixed_points(name, sigma_w, sigma_b)
    assert found.value == pytest.approx(q, rel=1e-5)
    assert found.kind == "stable"


@pytest.mark.full
def test_an_activation_that_is_flat_at_0_has_an_edge_of_chaos():
    """cos: σ_w² E sin² = 1 and q = σ_w² E cos² + σ_b², by scipy's root finder."""
    sigma_b = 0.3

    def excess(q):
        slope, value = -math.expm1(-2 * q) / 2, (1 + math.exp(-2 * q)) / 2
        return q - value / slope - sigma_b**2

    q = optimize.brentq(excess, 0.5, 3, xtol=1e-14)
    sigma_w = (-math.expm1(-2 * q) / 2) ** -0.5
    assert theory.edge_of_chaos(jnp.cos, sigma_b) == pytest.approx(sigma_w, rel=1e-9)
    settled = in64(theory.length_fixed_point, jnp.cos, sigma_w, sigma_b)
    assert settled == pytest.approx(q, rel=1e-9)
    assert not theory.isometry(jnp.cos).attainable


@pytest.mark.full
def test_where_moments_are_unknown_nothing_is_claimed():
    assert np.isnan(in64(theory.length_fixed_point, "sin", 100.0, 0.3))
    assert np.isnan(in64(theory.length_fixed_point, jnp.exp, 1.0))
    # From where nothing is known, nothing is.
    assert np.isnan(in64(theory.length_fixed_point, "sin", 1.0, 0.3, start=1e5))
    found = theory.phase_diagram(lambda x: jnp.sin(30 * x), [3.0, 4.0], [0.0, 0.3])
    for value in (found.scales.q_star, found.scales.c_star, found.scales.xi_c):
        assert np.isnan(value).all()
    for call in (theory.length_fixed_points, theory.edge_of_chaos):
        arguments = (1.0, 40.0) if call is theory.length_fixed_points else (40.0,)
        with pytest.raises(ValueError, match="none where its moments are known"):
            call("sin", *arguments)
    # Moments that are known on the whole grid of critical points, but not at larger lengths.
    with pytest.raises(ValueError, match="none where its moments are known"):
        theory.length_fixed_points(lambda x: x + 1 + jnp.sin(0.1 * x), 1.5)


def test_a_network_without_weights_or_biases_has_the_limits():
    found = in64(theory.depth_scales, "tanh", 0.0, 0.0)
    assert (found.q_star, found.c_star, found.xi_c) == (0, 1, math.inf)
    assert not any(np.isnan(value) for value in jax.tree.leaves(found))


@pytest.mark.full
def test_isometry_looks_at_large_lengths_and_at_their_stability():
    """sigmoid's critical line begins at q* = 45.6; silu's at small q repels."""
    assert "4.45" in theory.isometry("sigmoid").reason
    assert not theory.isometry("silu").attainable
    assert theory.edge_of_chaos("sigmoid") == pytest.approx(10.14926371, rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_the_critical_line_is_that_of_its_points(name):
    line = theory.critical_line(name)
    chosen = np.flatnonzero((line.sigma_b > 1e-3) & (line.sigma_b < 50))[::100]
    assert len(chosen) > 2
    for i in chosen:
        assert theory.edge_of_chaos(name, line.sigma_b[i]) == pytest.approx(line.sigma_w[i], 1e-8)


@pytest.mark.slow
def test_no_critical_point_is_said():
    with pytest.raises(ValueError, match="no critical point"):
        theory.edge_of_chaos("softplus")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_an_unstable_critical_point_is_said(name):
    with pytest.raises(ValueError, match="unstable"):
        theory.edge_of_chaos(name, 0.05)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("sigma_b", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("name", ["tanh", "erf", "softsign", "lecun_tanh", "hard_tanh", "sin"])
@pytest.mark.slow
def test_critical_sigma_b_is_the_inverse(name, sigma_b):
    sigma_w = theory.edge_of_chaos(name, sigma_b)
    assert critical_sigma_b(name, sigma_w) == pytest.approx(sigma_b, rel=1e-6)


@pytest.mark.full
def test_a_phase_diagram_is_the_scales_point_by_point():
    sigma_w, sigma_b = np.array([0.8, 1.3, 1.9, 3.0]), np.array([0.0, 0.2, 0.7])
    for name in ("tanh", "softplus"):
        found = theory.phase_diagram(name, sigma_w, sigma_b).scales
        alone = in64(theory.depth_scales, name, sigma_w, sigma_b[:, None])
        np.testing.assert_allclose(found.q_star, alone.q_star, rtol=1e-12)
        np.testing.assert_allclose(1 - found.c_star, 1 - alone.c_star, rtol=2e-5, atol=1e-9)
        np.testing.assert_allclose(found.xi_c, alone.xi_c, rtol=1e-4)


@pytest.mark.full
def test_the_table_of_correlations_is_the_integral():
    depth = 12
    for name, sigma_w in (("tanh", 1.7), ("gelu", 1.4)):
        table, whole = (
            in64(theory.propagate, name, sigma_w, 0.1, depth=depth, tabulated=tabulated)
            for tabulated in (True, False)
        )
        np.testing.assert_allclose(table.gap, whole.gap, rtol=1e-4)
        np.testing.assert_allclose(table.q, whole.q, rtol=1e-14)


@pytest.mark.full
def test_maps_jit_vmap_and_have_derivatives():
    def settled(sigma_w):
        return theory.length_fixed_point("tanh", sigma_w, 0.2)

    def check():
        step = 1e-5
        numeric = (settled(1.5 + step) - settled(1.5 - step)) / (2 * step)
        return float(jax.grad(settled)(1.5)), float(numeric)

    by_grad, numeric = in_float64(check)
    assert by_grad == pytest.approx(numeric, rel=1e-6)
    sigma_w = jnp.linspace(1.2, 2.0, 5)
    lanes = jax.jit(jax.vmap(lambda w: theory.depth_scales("tanh", w, 0.1).xi_c))(sigma_w)
    np.testing.assert_allclose(lanes, theory.depth_scales("tanh", sigma_w, 0.1).xi_c, rtol=1e-4)
    gradient = jax.grad(lambda w: theory.propagate("gelu", w, depth=6, tabulated=True).gap[-1])(1.4)
    ends = [theory.propagate("gelu", w, depth=6, tabulated=True).gap[-1] for w in (1.401, 1.399)]
    assert float(gradient) == pytest.approx(float(ends[0] - ends[1]) / 0.002, rel=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b"),
    [("tanh", 1.2, 0.3), ("tanh", 2.0, 0.3),
     *(pytest.param(*case, marks=pytest.mark.full)
       for case in (("gelu", 1.3, 0.3), ("erf", 2.5, 0.1), ("tanh", 0.5, 0.0)))],
)  # fmt: skip
@pytest.mark.full
def test_depth_scales_have_derivatives_in_every_phase(name, sigma_w, sigma_b):
    def at(sigma_w):
        found = theory.depth_scales(name, sigma_w, sigma_b)
        return jnp.stack([found.xi_c, found.c_star, found.trainable_depth, found.q_star,
                          found.chi_1, found.xi_q, found.xi_gradient])  # fmt: skip

    def check():
        step, values = 1e-5, at(sigma_w)
        numeric = (at(sigma_w + step) - at(sigma_w - step)) / (2 * step)
        return values, jax.jacrev(at)(sigma_w), jax.jacfwd(at)(sigma_w), numeric

    values, backward, forward, numeric = map(np.asarray, in_float64(check))
    finite = np.isfinite(values)
    np.testing.assert_allclose(backward[finite], numeric[finite], rtol=1e-5, atol=1e-9)
    # ξ_c is inf at every σ_w below 1 without biases: its derivative is 0, not NaN.
    np.testing.assert_allclose(backward[~finite], 0)
    np.testing.assert_allclose(forward, backward, rtol=1e-9, atol=1e-12)


@pytest.mark.full
def test_infinite_depth_scales_have_the_derivative_0_and_not_nan():
    def of_sigma_w(sigma_w):
        return theory.depth_scales("identity", sigma_w).xi_gradient

    assert np.isinf(of_sigma_w(1.0))
    assert jax.grad(of_sigma_w)(1.0) == 0

    # From the table the slope may miss 1 by rounding, and nothing divides by 0: given, it is 1.
    table, one = moment_table("identity"), jnp.asarray(1.0)

    def of_slope(slope):
        return depth_scales_at(table, one, one, 0 * one, slope).xi_c

    assert of_slope(one) == np.inf
    assert jax.grad(of_slope)(one) == 0


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b"),
    [("relu", 2**0.5, 0.0), ("tanh", 1.3, 0.2), ("tanh", 2.5, 0.1), ("gelu", 1.4, 0.1),
     ("erf", 1.5, 0.1), ("sigmoid", 2.0, 0.3), ("hard_tanh", 1.4, 0.1), ("softsign", 1.8, 0.2),
     ("leaky_relu(0.2)", 1.3, 0.1), ("sin", 1.2, 0.2)],
)  # fmt: skip
def test_sampled_networks_agree_within_their_standard_errors(name, sigma_w, sigma_b):
    """256 units, 32 networks, 64 layers: lengths, correlations and factors of gradients."""
    width, networks, depth = 256, 32, 64
    phi = get_activation(name).function

    def network(key):
        keys = jax.random.split(key, depth + 1)
        start = jax.random.normal(keys[0], (2, width))
        mixed = jnp.stack([start[0], 0.6 * start[0] + 0.8 * start[1]])

        def layer(h, key):
            inner, outer = jax.random.split(key)
            w = jax.random.normal(inner, (width, width)) * sigma_w / width**0.5
            following = phi(h) @ w + sigma_b * jax.random.normal(outer, (width,))
            slopes = jax.vmap(jax.grad(lambda x: phi(x)))(h[0])
            return following, (jnp.mean(h[0] ** 2), jnp.mean(h[0] * h[1]), jnp.mean(slopes**2))

        return jax.lax.scan(layer, mixed, keys[1:])[1]

    length, product, slope = jax.jit(jax.vmap(network))(
        jax.random.split(jax.random.key(3), networks)
    )
    expected = theory.propagate(name, sigma_w, sigma_b, depth=depth, q=1.0, c=0.6)
    cross = expected.q * expected.correlation
    for at in (1, 3, 7, 15, 31, 63):
        for sample, value in (
            (length, expected.q[at]),
            (product, cross[at]),
            (slope, susceptibility(name, 1.0, expected.q[at])),
        ):
            seen = np.asarray(sample, np.float64)[:, at]
            error = seen.std(ddof=1) / math.sqrt(networks)
            # The next order of 1/width, which grows with depth.
            bias = 3 * (at + 1) / width * abs(float(value)) * 0.25
            assert abs(seen.mean() - value) < 4 * error + bias + 1e-6, at


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sigma_b"), [("gelu", 1.5), ("gelu", 3.0), ("silu", 3.0), ("sigmoid", 0.0)]
)
def test_the_bias_of_the_first_critical_point_that_is_stable(name, sigma_b):
    """The line passes some σ_w twice, first where lengths run away."""
    sigma_w = theory.edge_of_chaos(name, sigma_b)
    found = critical_sigma_b(name, sigma_w)
    assert theory.edge_of_chaos(name, found) == pytest.approx(sigma_w, rel=1e-8)
    if sigma_b in (1.5, 0.0):
        assert found == pytest.approx(sigma_b, abs=1e-6)


@pytest.mark.slow
def test_isometry_where_some_moments_on_the_line_are_not_known():
    found = theory.isometry("sin")
    assert found.attainable
    sigma_w, sigma_b = theory.isometric_point("sin", 10)
    q = theory.length_fixed_point("sin", sigma_w, sigma_b)
    spread = theory.jacobian_spectrum("sin", sigma_w, q, depth=10, weights="orthogonal").variance
    assert float(spread) <= 0.26
