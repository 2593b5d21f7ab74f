"""Draws against laws written down here, with one false-alarm rate for the whole file.

Keys are fixed, so a test passes or fails for good; ALPHA is shared by all of them.
"""

import itertools
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy import special, stats
from tiers import sample

from jinit import initializers, parameters
from jinit._float64 import in_float64
from jinit.initializers import _laws, _registry

ALPHA = 1e-3


def normal(stddev):
    return stats.norm(0, stddev)


def uniform(bound):
    return stats.uniform(-bound, 2 * bound)


def truncated(stddev):
    """N(0, s²) cut at ±2 s, with s such that the standard deviation is ``stddev``."""
    unit = stats.truncnorm(-2, 2)
    return stats.truncnorm(-2, 2, scale=stddev / unit.std())


def coordinate(size, scale=1.0):
    """One coordinate of a uniform point on the sphere of ℝ^size, times ``scale``."""
    half = (size - 1) / 2
    return stats.beta(half, half, loc=-scale, scale=2 * scale)


def gelu_gain():
    z, w = special.roots_hermitenorm(200)
    return 1 / math.sqrt((w * (z * special.ndtr(z)) ** 2).sum() / math.sqrt(2 * math.pi))


# spec -> the law of one entry of an (n, m) kernel, from the papers and not from jinit.
LAWS = {
    "normal(stddev=0.3)": lambda n, m: normal(0.3),
    "normal(stddev=0.3, mean=1.0)": lambda n, m: stats.norm(1.0, 0.3),
    "uniform(scale=0.3)": lambda n, m: stats.uniform(0, 0.3),
    "uniform_range(low=-0.2, high=0.4)": lambda n, m: stats.uniform(-0.2, 0.6),
    "truncated_normal(stddev=0.3)": lambda n, m: stats.truncnorm(-2, 2, scale=0.3),
    "truncated_normal(stddev=0.3, lower=-0.5, upper=2.0, mean=1.0)": lambda n, m: stats.truncnorm(
        -0.5, 2, loc=1.0, scale=0.3
    ),
    "truncated_normal(stddev=0.3, exact_std=True)": lambda n, m: truncated(0.3),
    "parametrized_truncated_normal(mean=0.5, stddev=0.3, p1=0.0, p2=1.4)": (
        lambda n, m: stats.truncnorm(-0.5 / 0.3, 3.0, loc=0.5, scale=0.3)
    ),
    "variance_scaling(scale=1.7, mode=fan_geo_avg, distribution=normal)": lambda n, m: normal(
        math.sqrt(1.7 / math.sqrt(n * m))
    ),
    "variance_scaling(scale=1.7, mode=fan_out, distribution=truncated_normal)": (
        lambda n, m: truncated(math.sqrt(1.7 / m))
    ),
    "variance_scaling(scale=2.0, mode=fan_avg, distribution=uniform)": lambda n, m: uniform(
        math.sqrt(12 / (n + m))
    ),
    "lecun_normal": lambda n, m: truncated(math.sqrt(1 / n)),
    "lecun_uniform": lambda n, m: uniform(math.sqrt(3 / n)),
    "glorot_normal": lambda n, m: truncated(math.sqrt(2 / (n + m))),
    "glorot_normal(gain=2.0)": lambda n, m: truncated(2 * math.sqrt(2 / (n + m))),
    "glorot_uniform": lambda n, m: uniform(math.sqrt(6 / (n + m))),
    "glorot_uniform(gain=0.5)": lambda n, m: uniform(0.5 * math.sqrt(6 / (n + m))),
    "he_normal": lambda n, m: truncated(math.sqrt(2 / n)),
    "he_normal(negative_slope=0.5)": lambda n, m: truncated(math.sqrt(2 / (1.25 * n))),
    "he_normal(mode=fan_out)": lambda n, m: truncated(math.sqrt(2 / m)),
    "he_uniform": lambda n, m: uniform(math.sqrt(6 / n)),
    "he_uniform(negative_slope=0.5)": lambda n, m: uniform(math.sqrt(6 / (1.25 * n))),
    "he_normal(groups=5)": lambda n, m: truncated(math.sqrt(2 / n)),
    "he_normal(mode=fan_out, groups=5)": lambda n, m: truncated(math.sqrt(10 / m)),
    "he_normal(transposed=True)": lambda n, m: truncated(math.sqrt(2 / m)),
    "he_normal(fan_in=7)": lambda n, m: truncated(math.sqrt(2 / 7)),
    "he_uniform(in_axis=-1, out_axis=-2)": lambda n, m: uniform(math.sqrt(6 / m)),
    "fan_in_normal": lambda n, m: normal(math.sqrt(1 / n)),
    "fan_in_normal(k=2.0)": lambda n, m: normal(math.sqrt(2 / n)),
    "fan_avg_normal": lambda n, m: normal(math.sqrt(2 / (n + m))),
    "fan_in_uniform": lambda n, m: uniform(1 / math.sqrt(n)),
    "scaled_for(activation=gelu)": lambda n, m: truncated(gelu_gain() / math.sqrt(n)),
    "scaled_for(activation=relu, mode=fan_out, distribution=uniform)": lambda n, m: uniform(
        math.sqrt(6 / m)
    ),
    "edge_of_chaos(activation=tanh, sigma_b=0.22360679774997896)": lambda n, m: normal(
        math.sqrt(1.760955 / n)
    ),
    "edge_of_chaos(activation=erf)": lambda n, m: normal(math.sqrt(math.pi / 4 / n)),
    "random_walk": lambda n, m: normal(math.sqrt(2 / n) * math.exp(1.2 / (n - 2.4))),
    "random_walk(activation=identity)": lambda n, m: normal(math.exp(0.5 / n) / math.sqrt(n)),
    "siren": lambda n, m: uniform(math.sqrt(6 / n) / 30),
    "siren(omega=10.0)": lambda n, m: uniform(math.sqrt(6 / n) / 10),
    "siren(is_first=True)": lambda n, m: uniform(1 / n),
    "spectral": lambda n, m: normal(min(1.0, math.sqrt(m / n)) / math.sqrt(n)),
    "mup": lambda n, m: normal(1 / math.sqrt(n)),
    "mup(role=output)": lambda n, m: normal(1 / n),
    "mup(role=output, base_fan_in=4.0)": lambda n, m: normal(2 / n),
    "orthogonal": lambda n, m: coordinate(max(n, m)),
    "orthogonal(scale=2.0, method=householder)": lambda n, m: coordinate(max(n, m), 2.0),
    "scaled_orthogonal(activation=relu)": lambda n, m: coordinate(
        max(n, m), math.sqrt(2 * max(1, m / n))
    ),
    "scaled_orthogonal(activation=relu, keep=norm)": lambda n, m: coordinate(
        max(n, m), math.sqrt(2)
    ),
}
SHAPES = [(120, 250), (250, 120), (3, 5, 8, 40)]
DTYPES = ("float32", "bfloat16", "float16", "float64")
# KS, mean, variance and two correlations of every draw, and as much again for all other tests.
PER_TEST = ALPHA / (2 * 5 * len(LAWS) * len(SHAPES) * len(DTYPES))


def fans(spec, shape):
    """n and m of a kernel: an orthogonal one is a matrix with the out axis as its columns."""
    field = 1 if "orthogonal" in spec else math.prod(shape[:-2])
    return math.prod(shape[:-1]), field * shape[-1]


@pytest.mark.full
@pytest.mark.parametrize("spec", LAWS)
def test_one_entry(spec):
    for shape, dtype in itertools.product(SHAPES, DTYPES):
        made, oracle = initializers.get(spec), LAWS[spec](*fans(spec, shape))
        drawn = in_float64(lambda: np.asarray(made(jax.random.key(11), shape, dtype)))  # noqa: B023
        assert drawn.dtype == dtype
        check_draw(drawn, oracle, independent="orthogonal" not in spec)
        law = made.law(shape)
        assert law.mean == pytest.approx(oracle.mean(), abs=1e-12)
        assert law.stddev == pytest.approx(oracle.std(), rel=2e-6)
        low, high = oracle.support()
        assert law.low == pytest.approx(low, rel=1e-6)
        assert law.high == pytest.approx(high, rel=1e-6)
        x = oracle.ppf(np.linspace(0.02, 0.98, 25))
        np.testing.assert_allclose(law.density(x), oracle.pdf(x), rtol=5e-6)


def test_the_density_of_scaled_entries_is_that_of_the_draw():
    """One column is of the Beta law, the others are normal."""
    whole = initializers.get("randomized_asymmetric").law((10, 4))
    half = initializers.scaled_by(initializers.get("randomized_asymmetric"), 0.5).law((10, 4))
    x = np.linspace(-1, 1, 101)
    np.testing.assert_allclose(half.density(x / 2), 2 * whole.density(x))


def check_draw(drawn, oracle, independent):
    """KS, and where entries are independent mean, variance (exact kurtosis) and bounds."""
    values, (low, high) = np.asarray(drawn, np.float64), oracle.support()
    grid = GRIDS[drawn.dtype.name]
    rounding = grid * max(abs(values.min()), abs(values.max()))
    assert values.min() >= low - rounding
    assert values.max() <= high + rounding
    if not independent:
        # Entries of one matrix are dependent: a thin subset is nearly independent.
        assert ks(values.ravel()[::97], oracle, rounding) > PER_TEST
        return
    n, sigma = values.size, oracle.std()
    reach = stats.norm.isf(PER_TEST / 2)
    assert abs(values.mean() - oracle.mean()) < reach * sigma / math.sqrt(n) + rounding
    variance_error = sigma**2 * math.sqrt((float(oracle.stats("k")) + 2) / n)
    assert abs(values.var() - sigma**2) < reach * variance_error + 2 * rounding * sigma
    assert ks(values.ravel(), oracle, rounding) > PER_TEST
    # Neighbours are uncorrelated: one key used twice, or rows repeated, would show.
    for lagged in (values[1:] * values[:-1], values[:, 1:] * values[:, :-1]):
        centred = lagged - oracle.mean() ** 2
        assert abs(centred.mean()) < reach * centred.std() / math.sqrt(centred.size)


# How far a draw may lie from the number before rounding, over the largest: half a unit in the last
# place in half precision, and JAX's sums and products in float32 and float64.
GRIDS = {"float64": 1e-15, "float32": 1e-6, "float16": 2**-11, "bfloat16": 2**-8}


def ks(values, oracle, rounding):
    """The p-value of Kolmogorov's test for values that were rounded by up to so much."""
    ordered, n = np.sort(values), values.size
    above = np.arange(1, n + 1) / n - oracle.cdf(ordered + rounding)
    below = oracle.cdf(ordered - rounding) - np.arange(n) / n
    return stats.kstwo.sf(max(above.max(), below.max(), 0.0), n)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("spec", ["he_normal", "glorot_uniform", "fan_in_normal", "orthogonal"])
def test_half_precision_keeps_the_variance(spec, dtype):
    shape = (120, 250)
    values = np.asarray(initializers.get(spec)(jax.random.key(2), shape, dtype), np.float64)
    oracle = LAWS[spec](*shape)
    assert values.std() == pytest.approx(oracle.std(), rel=0.02)
    # 30,000 entries: the standard error is 0.006 σ. JAX's own bfloat16 draws have −0.02 σ.
    assert abs(values.mean()) < 4 / math.sqrt(values.size) * oracle.std()


# The law of |w|²/E|w|² for a complex w whose phase is uniform: normal, uniform on a disk, and
# normal cut at twice the parent's σ.
CUT = stats.truncexpon(4.0)
SQUARES = {
    "normal": stats.expon(),
    "uniform": stats.uniform(0, 2),
    "truncated_normal": stats.truncexpon(4.0, scale=1 / CUT.mean()),
}


COMPLEX = [
    spec
    for spec in LAWS
    if initializers.get(spec).definition.dtypes == "complex" and "orthogonal" not in spec
]


@pytest.mark.full
@pytest.mark.parametrize("spec", sample(COMPLEX, 4))
def test_complex_entries(spec):
    made = initializers.get(spec)
    for shape, dtype in itertools.product(SHAPES, ("complex64", "complex128")):
        drawn = in_float64(lambda: np.asarray(made(jax.random.key(2), shape, dtype)))  # noqa: B023
        assert drawn.dtype == dtype
        law = made.law(shape, dtype)
        square, phase = np.abs((drawn - law.mean).ravel()) ** 2, np.angle(drawn - law.mean).ravel()
        oracle = SQUARES[law.distribution]
        assert ks(square / law.stddev**2, oracle, 1e-5) > PER_TEST
        assert ks(phase, stats.uniform(-math.pi, 2 * math.pi), 1e-5) > PER_TEST
        reach = stats.norm.isf(PER_TEST / 2) / math.sqrt(square.size)
        assert abs(square.mean() / law.stddev**2 - 1) < reach * oracle.std() + 1e-5
        # Neither the phase nor the next entry says anything about an entry's size.
        assert abs(np.corrcoef(square, np.cos(phase))[0, 1]) < reach
        assert abs(np.corrcoef(square[1:], square[:-1])[0, 1]) < reach


@pytest.mark.slow
@pytest.mark.parametrize(
    "factory", ["variance_scaling", "lecun_normal", "glorot_normal", "he_normal"]
)
def test_complex_truncated_draws_have_the_variance_that_is_stated(factory):
    """JAX divides by .95311 where the cut leaves .96196: 1.87 % too much, which the law says."""
    shape = (1000, 1000)
    arguments = (1.7, "fan_in", "truncated_normal") if factory == "variance_scaling" else ()
    make = getattr(initializers, factory)
    wanted = make(*arguments).law(shape).stddev ** 2
    cut = math.sqrt(CUT.mean())  # √E|z|² where E|z|² = 1 before the cut
    for exact, ratio in ((False, cut / 0.95311164380491208), (True, 1.0)):
        made = make(*arguments, exact_std=exact)
        drawn = np.asarray(made(jax.random.key(3), shape, "complex64"))
        square = np.abs(drawn.astype(complex)) ** 2
        law = made.law(shape, "complex64")
        assert law.stddev**2 == pytest.approx(wanted * ratio**2, rel=1e-9)
        error = stats.norm.isf(PER_TEST / 2) * square.std() / 1000
        assert abs(square.mean() - law.stddev**2) < error < 0.01 * wanted
        assert math.sqrt(square.max()) == pytest.approx(law.high, rel=1e-4)
        assert law.high == pytest.approx(2 * law.stddev / cut)
        assert initializers.get(str(made)) == made
        # Real draws do not depend on the choice, and the law of the dtype is described.
        real = made(jax.random.key(3), (20, 30))
        np.testing.assert_array_equal(real, make(*arguments)(jax.random.key(3), (20, 30)))
        told = initializers.describe(made.with_arguments(dtype="complex64"), (30, 40)).law
        assert told == made.law((30, 40), "complex64")


def test_the_page_says_what_offers_the_exact_complex_variance():
    page = (Path(initializers.__file__).parent / "README.md").read_text()
    sentence = page.partition("`exact_std=True` draws")[2].partition(". `scaled_for(φ)`")[0]
    offered = {"variance_scaling"}
    for row in map(_registry.row, initializers.names()):
        made = initializers.get(row.example or row.name)
        if made.definition.dtypes != "complex":
            continue
        shape = {2: (30, 40), 4: (3, 3, 4, 6)}[len(row.shape)]
        real, plane = made.law(shape), made.law(shape, "complex64")
        if plane.stddev == pytest.approx(real.stddev, rel=1e-6):
            continue
        if row.name == "scaled_for":
            made = initializers.variance_scaling(
                initializers.gain("gelu") ** 2, "fan_in", "truncated_normal"
            )
            np.testing.assert_array_equal(
                made(jax.random.key(0), shape),
                initializers.get(row.example)(jax.random.key(0), shape),
            )
        exact = made.with_arguments(exact_std=True)
        assert exact.law(shape, "complex64").stddev == pytest.approx(real.stddev, rel=1e-6)
        offered.add(made.name)
    assert offered == set(re.findall("`([a-z_]+)`", sentence))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "oracle"),
    [
        ("normal(stddev=0.3)", stats.norm(0, 0.3 / math.sqrt(2))),
        ("variance_scaling(scale=1.0, mode=fan_in, distribution=uniform)",
         stats.semicircular(scale=math.sqrt(2 / 300))),
        ("orthogonal(scale=2.0)", coordinate(2 * 300, 2.0)),
        ("he_normal", None),
        ("he_normal(exact_std=True, fused=(100, 200))", None),
    ],
)  # fmt: skip
@pytest.mark.sampled(3)
def test_the_density_of_a_complex_law_is_that_of_the_real_part(spec, oracle):
    made, shape = initializers.get(spec), (300, 300)
    law = made.law(shape, "complex64")
    drawn = np.asarray(made(jax.random.key(5), shape, "complex64")).real.ravel().astype(float)
    reach = max(abs(drawn).max(), min(law.high, 6 * law.stddev))
    x = np.linspace(-reach, reach, 20_001)
    density = law.density(x)
    mass = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)]) * (x[1] - x[0])
    assert mass[-1] == pytest.approx(1, abs=1e-4)
    assert stats.kstest(drawn[::7], lambda at: np.interp(at, x, mass)).pvalue > PER_TEST
    variance = (density * x**2).sum() * (x[1] - x[0])
    assert variance == pytest.approx(law.stddev**2 / 2, rel=1e-3)
    if oracle is not None:
        np.testing.assert_allclose(density, oracle.pdf(x), rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_complex_orthogonal_is_unitary():
    q = np.asarray(initializers.orthogonal()(jax.random.key(0), (12, 8), jnp.complex64))
    np.testing.assert_allclose(q.conj().T @ q, np.eye(8), atol=1e-5)


def test_rademacher():
    for spec, sigma in (
        ("rademacher(stddev=0.3)", 0.3),
        ("variance_scaling(scale=2.0, mode=fan_in, distribution=rademacher)", math.sqrt(2 / 120)),
    ):
        values = np.asarray(initializers.get(spec)(jax.random.key(4), (120, 250)))
        np.testing.assert_allclose(np.abs(values), sigma, rtol=1e-6)
        assert stats.binomtest(int((values > 0).sum()), values.size).pvalue > PER_TEST


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(100, 60), (60, 100)])
def test_sparse_units_have_k_random_incoming_weights(shape):
    n = shape[0]
    for made, k in (
        (initializers.sparse(stddev=0.5), 15),
        (initializers.sparse(k=7, stddev=0.5), 7),
        (initializers.sparse(0.93, stddev=0.5), n - math.ceil(0.93 * n)),
    ):
        values = np.asarray(made(jax.random.key(8), shape))
        assert ((values != 0).sum(axis=0) == k).all()
        places = stats.chisquare((values != 0).sum(axis=1))
        assert places.pvalue > PER_TEST
        assert stats.kstest(values[values != 0], normal(0.5).cdf).pvalue > PER_TEST
        assert made.law(shape).stddev == pytest.approx(0.5 * math.sqrt(k / n))


@pytest.mark.slow
def test_randomized_asymmetric():
    n, m = 20, 4000
    kernel = initializers.randomized_asymmetric()
    bias = initializers.randomized_asymmetric("bias", fan_in=n)
    key = jax.random.key(3)
    w, b = np.asarray(kernel(key, (n, m))), np.asarray(bias(key, (m,)))
    rows = np.vstack([w, b])
    # σ_w keeps the second moment through a ReLU layer: root of σ² + 4√2/(3√π) σ = 1.
    sigma = 0.600752
    large = rows > 6 * sigma / math.sqrt(n)  # Beta beyond the Gaussian's reach
    assert large.sum(axis=0).max() == 1
    expected = 1 - (6 * sigma / math.sqrt(n)) ** 2
    assert stats.binomtest(int(large.sum()), m, expected).pvalue > PER_TEST
    tail = rows[large]
    floor = 6 * sigma / math.sqrt(n)
    law = stats.kstest(tail, lambda x: (x**2 - floor**2) / (1 - floor**2))
    assert law.pvalue > PER_TEST
    assert rows.std() == pytest.approx(kernel.law((n, m)).stddev, rel=0.02)
    assert stats.chisquare(np.bincount(np.argmax(rows, axis=0), minlength=n + 1)).pvalue > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("method", ["qr", "householder"])
@pytest.mark.parametrize(("n", "m"), [(40, 40), (41, 41), (60, 25), (25, 60), (1, 5), (3, 1)])
@pytest.mark.sampled(6)
def test_orthogonality(method, n, m):
    q = np.asarray(initializers.orthogonal(method=method)(jax.random.key(1), (n, m)), np.float64)
    short = q if n >= m else q.T
    np.testing.assert_allclose(short.T @ short, np.eye(min(n, m)), atol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["qr", "householder"])
def test_haar_law(method):
    """Traces of powers of Haar matrices: E tr Q = 0, E (tr Q)² = 1, E (tr Q)⁴ = 3, E tr Q² = 1.

    Diaconis & Shahshahani 1994, theorem 4 (exact for n = 8). The signs of a QR that is not
    corrected, or reflections that are not the right ones, shift them.
    """
    keys = jax.random.split(jax.random.key(0), 20_000)
    made = initializers.orthogonal(method=method)
    q = np.asarray(jax.jit(jax.vmap(lambda key: made(key, (8, 8))))(keys), np.float64)
    trace, square = np.trace(q, axis1=1, axis2=2), np.einsum("kij,kji->k", q, q)
    reach = stats.norm.isf(PER_TEST / 2)
    for values, expected in ((trace, 0), (trace**2, 1), (trace**4, 3), (square, 1)):
        assert abs(values.mean() - expected) < reach * values.std() / math.sqrt(values.size)
    signs = np.linalg.slogdet(q)[0]
    assert stats.binomtest(int((signs > 0).sum()), signs.size).pvalue > PER_TEST
    # Invariance: a fixed rotation does not change the law of an entry far from the diagonal.
    assert stats.kstest(q[:, 0, 7], coordinate(8).cdf).pvalue > PER_TEST
    assert stats.kstest(q[:, 7, 0], coordinate(8).cdf).pvalue > PER_TEST


@pytest.mark.full
def test_householder_shapes_and_axes():
    for shape, axis in itertools.product([(3, 3, 4, 6), (5, 4)], (-1, 0)):
        made = initializers.orthogonal(2.0, axis, method="householder")
        w = np.moveaxis(np.asarray(made(jax.random.key(0), shape)), axis, -1)
        matrix = w.reshape(-1, w.shape[-1])
        short = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
        np.testing.assert_allclose(short.T @ short, 4 * np.eye(short.shape[1]), atol=1e-5)


@pytest.mark.slow
def test_dirac_keeps_a_signal_through_a_convolution():
    x = jax.random.normal(jax.random.key(0), (2, 9, 9, 6))
    for groups in (1, 2, 3):
        kernel = initializers.dirac(groups)(jax.random.key(1), (3, 3, 6 // groups, 6))
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )  # fmt: skip
        np.testing.assert_allclose(y, x, atol=1e-6)


@pytest.mark.slow
def test_hadamard_is_an_isometry_of_its_input():
    for n, m in ((8, 8), (12, 5), (5, 12), (16, 32), (3, 4)):
        w = np.asarray(initializers.hadamard()(jax.random.key(0), (n, m)))
        if n >= m:
            np.testing.assert_array_equal(w, np.eye(n, m))
        elif m & (m - 1) == 0:
            np.testing.assert_allclose(w @ w.T, np.eye(n), atol=1e-6)
        np.testing.assert_array_equal(w, initializers.hadamard()(jax.random.key(1), (n, m)))
    order = 32
    np.testing.assert_allclose(
        np.asarray(initializers.hadamard()(jax.random.key(0), (31, order))) * math.sqrt(order),
        hadamard_matrix(order)[:31],
    )


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 5), (5, 9), (6, 7), (27, 30), (6, 33), (3, 3, 3, 5), (5, 3)]
)
@pytest.mark.parametrize("gain", [1.0, -2.0])
@pytest.mark.slow
def test_laws_of_kernels_that_draw_nothing_are_those_of_their_entries(shape, gain):
    for made in (
        initializers.hadamard(gain),
        *([initializers.dirac()] if len(shape) > 2 else []),
        *([initializers.identity(gain)] if len(shape) == 2 else []),
    ):
        drawn = _laws.entries(np.asarray(made(jax.random.key(0), shape), np.float64))
        law = made.law(shape)
        for what in ("mean", "stddev", "low", "high"):
            assert getattr(law, what) == pytest.approx(getattr(drawn, what), abs=1e-6), what


def hadamard_matrix(order):
    from scipy.linalg import hadamard

    return hadamard(order)


@pytest.mark.full
def test_looks_linear_network_is_linear():
    keys = jax.random.split(jax.random.key(0), 3)
    first = initializers.looks_linear("input")(keys[0], (5, 12))
    middle = initializers.looks_linear()(keys[1], (12, 12))
    last = initializers.looks_linear("output")(keys[2], (12, 3))

    def network(x):
        return jax.nn.relu(jax.nn.relu(x @ first) @ middle) @ last

    x = jax.random.normal(jax.random.key(1), (7, 5))
    np.testing.assert_allclose(network(-x), -network(x), atol=1e-5)
    jacobian = jax.jacobian(network)(jnp.ones(5))
    np.testing.assert_allclose(network(x), x @ jacobian.T, atol=1e-5)
    lengths = [np.linalg.norm(np.asarray(v), axis=1) for v in (x, x @ first)]
    np.testing.assert_allclose(lengths[1], math.sqrt(2) * lengths[0], rtol=1e-5)


@pytest.mark.slow
def test_packed_kernel_is_its_blocks():
    key, sizes = jax.random.key(9), (4, 6, 2)
    for spec in ("glorot_uniform", "he_normal", "spectral"):
        packed = initializers.get(f"{spec}(fused={sizes})")(key, (10, sum(sizes)))
        blocks = [
            initializers.get(spec)(jax.random.fold_in(key, i), (10, size))
            for i, size in enumerate(sizes)
        ]
        np.testing.assert_array_equal(packed, np.concatenate(blocks, axis=1))


def test_class_prior_predicts_the_frequencies():
    labels = np.repeat([0, 1, 2], [5, 3, 12])
    bias = initializers.class_prior(labels)(jax.random.key(0), (3,))
    np.testing.assert_allclose(jax.nn.softmax(bias), [0.25, 0.15, 0.6], rtol=1e-6)
    single = initializers.class_prior([0, 0, 0, 1])(jax.random.key(0), (1,))
    np.testing.assert_allclose(jax.nn.sigmoid(single), [0.25], rtol=1e-6)
    smooth = initializers.class_prior([0, 2, 2], smoothing=1.0)(jax.random.key(0), (3,))
    np.testing.assert_allclose(jax.nn.softmax(smooth), np.array([2, 1, 3]) / 6, rtol=1e-6)


def test_a_bias_with_its_kernels_fan():
    made = initializers.fan_in_uniform(fan_in=100)
    values = np.asarray(made(jax.random.key(0), (5000,)))
    check_draw(values[:, None] * np.ones((1, 1)), uniform(0.1), independent=False)
    assert made.law((5000,)).high == pytest.approx(0.1)


@pytest.mark.full
def test_every_reflection_has_numbers_of_its_own():
    """The Gaussian directions behind Q, found again by a QR decomposition of Qᵀ itself."""
    n = 80
    q = initializers.orthogonal(method="householder")(jax.random.key(3), (n, n))
    (reflectors, tau), _ = scipy.linalg.qr(np.asarray(q, np.float64).T, mode="raw")
    directions = []
    for i in range(n - 20):
        v = np.concatenate([[1.0], reflectors[i + 1 :, i]])
        direction = np.eye(n - i)[0] - tau[i] * v
        directions.append(direction / np.linalg.norm(direction))
    for first, second in itertools.combinations(directions, 2):
        for part in (first[: second.size], first[-second.size :]):
            # Of 20 numbers or more: a cosine of 0.9 has a chance below 1e-7.
            assert abs(part @ second) < 0.9 * np.linalg.norm(part)


def test_rules_that_need_a_fan_out_refuse_a_bias():
    """jinit.initialize gives a bias the fan_in of its kernel, and no fan_out."""
    shapes = {
        "kernel": jax.ShapeDtypeStruct((1000, 10), "float32"),
        "bias": jax.ShapeDtypeStruct((10,), "float32"),
    }
    for rule in ("spectral", "he_normal(mode=fan_out)", "glorot_uniform"):
        with pytest.raises(ValueError, match=r"leaf 'bias'.*no fan_out"):
            parameters.initialize(jax.random.key(0), shapes, {"*": rule})
    for rule in ("mup", "siren", "random_walk", "scaled_for(activation=relu)"):
        bias, kernel = parameters.assign(shapes, {"*": rule})
        assert bias.stddev == kernel.stddev
