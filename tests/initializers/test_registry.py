"""One row in the registry buys every test here."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jinit import initializers, specs
from jinit.initializers import registry

ROWS = [registry.row(name) for name in initializers.names()]
EXAMPLES = [row.example or row.name for row in ROWS]
RANDOM = [
    e for e in EXAMPLES if e.partition("(")[0] not in ("zeros", "ones", "constant", "identity")
]
# Fixed keys, so a test passes or fails for good; alpha is shared by all tests of laws.
ALPHA = 1e-3 / (4 * len(RANDOM))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_complete(row):
    assert row.formula
    assert row.reference
    assert row.factory.__doc__
    assert ">>>" in row.factory.__doc__
    assert str(initializers.get(row.example or row.name)).startswith(row.name)


@pytest.mark.parametrize("text", EXAMPLES)
def test_spec_string_to_factory_to_spec_string(text):
    made = initializers.get(text)
    assert str(made) == text
    assert initializers.get(str(made)) == made
    assert hash(initializers.get(str(made))) == hash(made)


@pytest.mark.parametrize(
    "text",
    ["normal(stddev=0.01)", "he_normal(in_axis=0, out_axis=1)",
     "truncated_normal(stddev=0.5, lower=-1.0)",
     "glorot_uniform(gain=2.0)", "he_uniform(negative_slope=0.2, mode=fan_out)",
     "variance_scaling(scale=1.0, mode=fan_geo_avg, distribution=normal, batch_axis=(0,))",
     "normal(stddev=0.1, dtype=bfloat16)"],
)  # fmt: skip
def test_arguments_survive_the_round_trip(text):
    assert str(initializers.get(text)) == text


def test_aliases_are_distinct_and_reach_their_row():
    aliases = [alias for row in ROWS for alias in row.aliases]
    assert len(set(aliases)) == len(aliases)
    assert not set(aliases) & set(initializers.names())
    for row in ROWS:
        for alias in row.aliases:
            assert registry.row(alias) is row


@pytest.mark.parametrize("text", EXAMPLES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_shape_dtype_jit_and_vmap(text, dtype):
    made, shape = initializers.get(text), (6, 4)
    keys = jax.random.split(jax.random.key(3), 5)
    eager = [np.asarray(made(key, shape, dtype), np.float32) for key in keys]
    assert made(keys[0], shape, dtype).dtype == dtype
    assert eager[0].shape == shape
    assert np.isfinite(eager).all()
    jitted = jax.jit(lambda key: made(key, shape, dtype))(keys[0])
    # A compiler may round a product of constants once more or less; the bits of a key never change.
    tolerance = {"rtol": 3e-7, "atol": 1e-6 if "orthogonal" in text else 0}
    if dtype != jnp.float32:
        tolerance = {"rtol": 1e-2, "atol": 1e-2}
    np.testing.assert_allclose(np.asarray(jitted, np.float32), eager[0], **tolerance)
    mapped = jax.vmap(lambda key: made(key, shape, dtype))(keys)
    np.testing.assert_allclose(np.asarray(mapped, np.float32), eager, **tolerance)


@pytest.mark.parametrize("text", RANDOM)
def test_the_draw_follows_the_stated_law(text):
    shape = (120, 250)
    made = initializers.get(text)
    law = made.law(shape)
    values = np.asarray(made(jax.random.key(11), shape), np.float64).ravel()
    n = values.size
    if law.distribution == "orthogonal":
        # Entries are nearly normal at this size; exact is the total: sum of squares = rank.
        assert np.square(values).sum() == pytest.approx(min(shape), rel=1e-5)
        assert law.stddev == pytest.approx(1 / math.sqrt(max(shape)))
        reference = stats.norm(0, law.stddev)
        subset = values[::97]
    else:
        z = stats.norm
        reference = {
            "normal": lambda: z(law.mean, law.stddev),
            "uniform": lambda: stats.uniform(law.low, law.high - law.low),
            "truncated_normal": lambda: _truncated(law),
        }[law.distribution]()
        subset = values
        mean_error = law.stddev / math.sqrt(n)
        assert abs(values.mean() - law.mean) < stats.norm.isf(ALPHA / 2) * mean_error
        kurtosis = float(reference.stats("k"))
        variance_error = law.stddev**2 * math.sqrt((kurtosis + 2) / n)
        allowed = stats.norm.isf(ALPHA / 2) * variance_error
        assert abs(values.var() - law.stddev**2) < allowed
        assert reference.std() == pytest.approx(law.stddev, rel=1e-6)
    assert law.low <= values.min()
    assert values.max() <= law.high
    assert stats.kstest(subset, reference.cdf).pvalue > ALPHA


def _truncated(law):
    # The scale of the parent normal, from the bounds: they lie at ±2 parent sigmas.
    scale = (law.high - law.low) / 4
    return stats.truncnorm(-2, 2, loc=(law.high + law.low) / 2, scale=scale)


@pytest.mark.parametrize("text", RANDOM)
def test_another_key_gives_other_values(text):
    made = initializers.get(text)
    first, second = (made(jax.random.key(seed), (8, 8)) for seed in (0, 1))
    assert not np.any(np.asarray(first) == np.asarray(second))


@pytest.mark.parametrize("text", EXAMPLES)
def test_describe(text):
    found = initializers.describe(text, (10, 20))
    assert found.spec == text
    assert sum(found.histogram) == 200
    assert found.law.low <= found.draw.minimum
    assert found.draw.maximum <= found.law.high + 1e-7


def test_the_worked_example():
    found = initializers.describe("fan_in_uniform", (10, 1000))
    assert found.law.high == pytest.approx(0.316, abs=5e-4)
    assert found.law.low == -found.law.high
    assert found.law.stddev == pytest.approx(0.1826, abs=1e-4)
    assert found.draw.stddev == pytest.approx(0.1826, abs=0.003)
    assert dict(found.spread)[40] == pytest.approx(found.law.stddev / 2)


def test_exact_std_and_mean_of_truncated_normal():
    made = initializers.truncated_normal(0.5, mean=2.0, exact_std=True)
    values = np.asarray(made(jax.random.key(0), (200, 200)))
    assert made.law((2,)).stddev == pytest.approx(0.5)
    assert values.std() == pytest.approx(0.5, rel=0.01)
    assert values.mean() == pytest.approx(2.0, abs=0.01)
    skewed = initializers.truncated_normal(1.0, lower=-0.5, upper=2.0)
    draw = np.asarray(skewed(jax.random.key(0), (400, 400)))
    assert draw.mean() == pytest.approx(skewed.law((2,)).mean, abs=0.01)
    assert draw.std() == pytest.approx(skewed.law((2,)).stddev, rel=0.01)


def test_fans_of_kernels():
    assert initializers.fans((5, 3, 3, 8), in_axis=-2) == initializers.Fans(45.0, 120.0)
    assert initializers.fans((4, 10, 20), batch_axis=0) == initializers.Fans(10.0, 20.0)
    assert initializers.fans((2, 3, 4), in_axis=(0, 1), out_axis=2) == initializers.Fans(6.0, 4.0)
    assert initializers.Fans(2.0, 8.0).fan_geo_avg == 4.0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda k: initializers.get("he_norml"), ValueError, "did you mean 'he_normal'"),
        (lambda k: initializers.get("he_normal(k=2)"), ValueError, "arguments"),
        (lambda k: initializers.get(3), TypeError, "initializer: got 3"),
        (lambda k: initializers.normal(0.0), ValueError, "stddev: got 0.0"),
        (lambda k: initializers.normal(-1), ValueError, "stddev: got -1"),
        (lambda k: initializers.normal(math.nan), ValueError, "stddev: got nan"),
        (lambda k: initializers.normal("x"), TypeError, "stddev: got 'x'"),
        (lambda k: initializers.uniform(math.inf), ValueError, "scale: got inf"),
        (lambda k: initializers.uniform_range(1.0, 0.0), ValueError, "lower < upper"),
        (lambda k: initializers.constant(math.nan), ValueError, "constant value"),
        (lambda k: initializers.variance_scaling(2.0, "fan_on", "normal"), ValueError, "fan_"),
        (lambda k: initializers.variance_scaling(2.0, "fan_in", "gauss"), ValueError, "distrib"),
        (lambda k: initializers.variance_scaling(0, "fan_in", "normal"), ValueError, "scale"),
        (lambda k: initializers.orthogonal(0.0), ValueError, "orthogonal scale"),
        (lambda k: initializers.he_normal()(k, (3,)), ValueError, "rank >= 2"),
        (lambda k: initializers.he_normal()(k, (0, 3)), ValueError, "sizes >= 1"),
        (lambda k: initializers.he_normal(in_axis=5)(k, (2, 3)), ValueError, "in_axis: got 5"),
        (lambda k: initializers.he_normal(in_axis=-1)(k, (2, 3)), ValueError, "one role"),
        (lambda k: initializers.orthogonal()(k, (3,)), ValueError, "rank >= 2"),
        (lambda k: initializers.orthogonal(column_axis=2)(k, (3, 3)), ValueError, "column_axis"),
        (lambda k: initializers.identity()(k, (2, 3, 4)), ValueError, "rank 2"),
        (lambda k: initializers.constant([1.0, 2.0])(k, (3,)), ValueError, "broadcasts"),
        (lambda k: initializers.normal(0.1)(k, 3.5), TypeError, "shape: got 3.5"),
        (lambda k: initializers.normal(0.1)(k, (-1,)), ValueError, "shape: got"),
        (lambda k: initializers.normal(0.1)(k, (2,), jnp.int32), TypeError, "dtype of normal"),
        (lambda k: initializers.normal(0.1)(k, (2,), "float63"), TypeError, "dtype"),
        (lambda k: initializers.normal(0.1)(k, (2,), jnp.float64), ValueError, "x64"),
        (lambda k: initializers.normal(0.1)(7, (2,)), TypeError, "a PRNG key"),
        (lambda k: initializers.normal(0.1)(jax.random.split(k, 3), (2,)), ValueError, "vmap"),
        (lambda k: initializers.gain("relu", convention="x"), ValueError, "convention"),
        (lambda k: initializers.gain("gelu", convention="torch"), ValueError, "torch gain"),
        (lambda k: initializers.register("he_normal", lambda: None), ValueError, "taken"),
    ],
)
def test_bad_input_is_one_line(call, error, match):
    with pytest.raises(error, match=match) as caught:
        call(jax.random.key(0))
    assert "\n" not in str(caught.value)


def test_an_rbg_key_under_vmap_is_refused():
    keys = jax.random.split(jax.random.key(0, impl="rbg"), 3)
    with pytest.raises(ValueError, match="rbg"):
        jax.vmap(lambda key: initializers.normal(0.1)(key, (2,)))(keys)
    assert initializers.normal(0.1)(keys[0], (2,)).shape == (2,)


def test_orthogonal_in_half_precision_is_rounded_float32():
    key = jax.random.key(5)
    wide = initializers.orthogonal()(key, (16, 8))
    half = initializers.orthogonal()(key, (16, 8), jnp.bfloat16)
    np.testing.assert_array_equal(np.asarray(half), np.asarray(wide.astype(jnp.bfloat16)))


def test_specs_of_registered_initializers():
    initializers.register("three", lambda scale=3.0: initializers.constant(scale))
    try:
        assert float(initializers.get("three(scale=2.0)")(jax.random.key(0), ())) == 2.0
        assert specs.parse("three").name in initializers.names()
    finally:
        del registry._ROWS["three"]
