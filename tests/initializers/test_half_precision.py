"""Every law in bfloat16 and float16, at a million entries; the battery is the registry's rows.

SciPy's distribution functions give the probability of each of the dtype's numbers: what rounds to
it. Keys are fixed, so a test passes or fails for good; ALPHA is shared by all tests of the file.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from tiers import sample

import jinit
from jinit import initializers
from jinit.initializers import _registry

SPECS = [
    (row.example or name, row) for name in initializers.names() for row in [_registry.row(name)]
]
DTYPES = ("bfloat16", "float16")
EXTRA = [
    "truncated_normal(stddev=0.02, lower=-100.0, upper=100.0)",
    "truncated_normal(stddev=0.02, lower=3.0, upper=4.0)",
    "uniform_range(low=0.0, high=16.0)",
    "normal(stddev=1.0, mean=2.0)",
    "he_normal(groups=4, mode=fan_out)",
    "glorot_uniform(fused=(300, 700))",
    "orthogonal(scale=2.0, method=householder)",
    "variance_scaling(scale=2.0, mode=fan_in, distribution=rademacher)",
]


def shape_of(rank):
    return {1: (10**6,), 2: (1000, 1000), 4: (1, 1, 1000, 1000)}[rank]


def cases():
    for spec, row in SPECS:
        shape = shape_of(len(row.shape))
        if initializers.get(spec).takes("counts") or not initializers.get(spec).law(shape).is_drawn:
            continue
        yield spec, shape
    # Householder reflections compile block by block: fewer columns, fewer blocks.
    yield from ((spec, (10**4, 100) if "householder" in spec else (1000, 1000)) for spec in EXTRA)


CASES = list(cases())
ALPHA = 1e-3 / (len(CASES) * len(DTYPES) * 5)


def distribution(law):
    """P(W ≤ x) and P(W < x) of a law, by SciPy; they differ at entries of positive probability."""
    if law.distribution == "mixture":
        parts = [(weight, distribution(part)) for weight, part in law.components]
        return tuple(
            lambda x, side=side: sum(weight * part[side](x) for weight, part in parts)
            for side in (0, 1)
        )
    if law.distribution == "constant":
        return (lambda x: (x >= law.mean) * 1.0), (lambda x: (x > law.mean) * 1.0)
    if law.distribution == "rademacher":
        ends = (law.low, law.high)
        return (
            lambda x: sum(0.5 * (x >= end) for end in ends),
            lambda x: sum(0.5 * (x > end) for end in ends),
        )
    centre, scale = law.parent
    half = (law.size - 1) / 2
    made = {
        "normal": lambda: stats.norm(law.mean, law.stddev),
        "uniform": lambda: stats.uniform(law.low, law.high - law.low),
        "truncated_normal": lambda: stats.truncnorm(
            (law.low - centre) / scale, (law.high - centre) / scale, centre, scale
        ),
        "beta": lambda: stats.beta(2, 1),
        "orthogonal": lambda: stats.beta(half, half, -law.high, 2 * law.high),
    }[law.distribution]()
    return made.cdf, made.cdf


@functools.cache
def numbers(dtype):
    """All finite numbers of the dtype in order, and the midpoints between neighbours."""
    with np.errstate(invalid="ignore"):  # NaN among the patterns
        every = np.arange(2**16, dtype=np.uint16).view(jnp.dtype(dtype)).astype(np.float64)
    every = np.unique(every[np.isfinite(every)])
    return every, (every[1:] + every[:-1]) / 2


def expected(law, dtype):
    """The probability that an entry rounds to each number of the dtype."""
    below = distribution(law)[0](numbers(dtype)[1])
    return np.diff(below, prepend=0.0, append=1.0)


@pytest.mark.full
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("spec", "shape"), CASES, ids=[spec for spec, _ in CASES])
def test_moments_tails_and_kolmogorov(spec, shape, dtype):
    made = initializers.get(spec)
    drawn = np.asarray(made(jax.random.key(7), shape, dtype)).astype(np.float64).ravel()
    value, _ = numbers(dtype)
    p = expected(made.law(shape), dtype)
    counts = np.bincount(np.searchsorted(value, drawn), minlength=value.size)
    # Each entry of W stands in a looks-linear kernel four times, with both signs.
    size = drawn.size // 4 if "looks_linear" in spec else drawn.size
    share = counts / drawn.size
    assert counts[p == 0].sum() == 0, "numbers that the law does not have"
    reach = stats.norm.isf(ALPHA / 2)
    likely = p > 0  # the largest bfloat16 has no square
    mean = (p * value).sum()
    square, fourth = ((p[likely] * (value[likely] - mean) ** power).sum() for power in (2, 4))
    assert abs(drawn.mean() - mean) < reach * np.sqrt(square / size)
    error = np.sqrt(max(fourth - square**2, 0) / size)
    assert abs(((drawn - mean) ** 2).mean() - square) < reach * error + 1e-6 * square
    assert np.abs(np.cumsum(share - p)).max() < stats.kstwo.isf(ALPHA, size)
    for tail in (np.cumsum(p) < 1e-4, np.cumsum(p[::-1])[::-1] < 1e-4):
        found = round(share[tail].sum() * size)
        assert stats.binomtest(found, size, min(1.0, p[tail].sum())).pvalue > ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", sample([*dict(SPECS), *EXTRA], 3, pytest.mark.slow))
@pytest.mark.sampled(8)
def test_it_is_the_float32_draw_rounded_last(spec, dtype):
    made = initializers.get(spec)
    row = _registry.row(spec.partition("(")[0])
    shape = {1: (2,), 2: (6, 1000), 4: (3, 3, 4, 6)}[len(row.shape)]
    key = jax.random.key(3)
    wide, half = made(key, shape, jnp.float32), made(key, shape, dtype)
    np.testing.assert_array_equal(half, wide.astype(dtype))
    if made.law(shape).is_drawn and not made.takes("in_axis"):
        return
    third, wide_third = (
        initializers.scaled_by(made, 0.37)(key, shape, kind) for kind in (dtype, jnp.float32)
    )
    np.testing.assert_array_equal(third, wide_third.astype(dtype))


@pytest.mark.slow
def test_six_relu_layers_keep_the_second_moment_in_bfloat16():
    """He's E z² = 2 through ReLU; a mean of −.017 σ would leave .15 after six layers."""
    width, samples = 2048, 32
    h = jax.random.normal(jax.random.key(9), (samples, width))
    for layer in range(6):
        key = jax.random.fold_in(jax.random.key(1), layer)
        w = initializers.he_normal()(key, (width, width), "bfloat16").astype("float32")
        z = h @ w
        h = jax.nn.relu(z)
    assert float((z**2).mean()) == pytest.approx(2.0, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tree_of_half_precision_is_the_rounded_float32_tree(dtype):
    rules = {"*kernel": "he_normal", "*bias": "normal"}

    def tree(kind):
        shapes = {
            "a": {"kernel": jax.ShapeDtypeStruct((5, 3, 4), kind)},
            "b": {"bias": jax.ShapeDtypeStruct((7,), kind)},
        }
        layers = {"a/kernel": "dense(batch=1)"}
        return jinit.initialize(jax.random.key(0), shapes, rules, layers=layers)

    half, wide = tree(dtype), tree("float32")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(dtype)), half, wide)
