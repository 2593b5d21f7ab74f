"""One row in the registry buys every test here."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import sample

import jinit
from jinit import _specs, calibrate, initializers
from jinit._registry import WORDS
from jinit.calibrate import _registry as _calibrations
from jinit.initializers import _registry
from jinit.parameters._norms import NORM
from jinit.parameters._rules import KEEP
from jinit.sweep._arms import OWN

ROWS = [_registry.row(name) for name in initializers.names()]
EXAMPLES = [row.example or row.name for row in ROWS]


def shape_of(text):
    """A small shape that the row's initializer serves."""
    rank = len(_registry.row(_specs.parse(text).name).shape)
    return {1: (2,), 2: (6, 4), 4: (3, 3, 4, 6)}[rank]


def law_of(text):
    return initializers.get(text).law(shape_of(text)).distribution


RANDOM = [text for text in EXAMPLES if law_of(text) not in ("constant", "deterministic")]
HAAR = [text for text in EXAMPLES if "orthogonal" in text or "looks_linear" in text]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_complete(row):
    assert row.formula not in ("", "—")
    assert re.search(r"\d{4}", row.reference), "author, year, equation"
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


@pytest.mark.parametrize("spec", ["2.0, fan_in, normal", "2.0, fan_in, distribution=normal"])
def test_variance_scaling_by_its_alias_asks_which_normal_law(spec):
    """Keras' "normal" is truncated, and Haiku's is not; Keras' other word is untruncated_normal."""
    with pytest.raises(ValueError, match="normal' is another law in some libraries") as refused:
        initializers.get(f"VarianceScaling({spec})")
    cut = spec.replace("normal", "truncated_normal")
    for fix in (f"({cut}) for the law of Keras", f"({spec}) for the law of Haiku"):
        assert f"variance_scaling{fix}" in str(refused.value)
    with pytest.raises(ValueError, match=r"write variance_scaling\(.*normal\) for .*KotlinDL"):
        initializers.get(f"VarianceScaling({spec.replace('normal', 'untruncated_normal')})")
    assert initializers.get(f"VarianceScaling({cut})") == initializers.get(
        f"variance_scaling({cut})"
    )


def test_aliases_are_distinct_and_reach_their_row():
    aliases = [alias for row in ROWS for alias in row.aliases]
    assert len(set(aliases)) == len(aliases)
    assert not set(aliases) & set(initializers.names())
    for row in ROWS:
        for alias in row.aliases:
            assert _registry.row(alias) is row


@pytest.mark.slow
@pytest.mark.parametrize("text", sample(EXAMPLES))
@pytest.mark.sampled(3)
def test_shape_dtype_jit_and_vmap(text):
    made, shape = initializers.get(text), shape_of(text)
    keys = jax.random.split(jax.random.key(3), 5)
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        eager = [np.asarray(made(key, shape, dtype), np.float32) for key in keys]
        assert made(keys[0], shape, dtype).dtype == dtype
        assert eager[0].shape == shape
        assert np.isfinite(eager).all()
        single = jax.jit(lambda key: made(key, shape, dtype))  # noqa: B023
        jitted = [np.asarray(single(key), np.float32) for key in keys]
        # A compiler may round a product of constants once more or less; bits never change.
        tolerance = {"rtol": 3e-7, "atol": 1e-6 if text in HAAR else 0}
        if dtype != jnp.float32:
            unit = 2 * float(jnp.finfo(dtype).eps)
            tolerance = {"rtol": unit, "atol": unit * np.abs(eager).max() if text in HAAR else 0}
        np.testing.assert_allclose(jitted, eager, **tolerance)
        mapped = np.asarray(jax.jit(jax.vmap(single))(keys), np.float32)
        np.testing.assert_array_equal(mapped, jitted)


@pytest.mark.parametrize("text", RANDOM)
def test_another_key_gives_other_values(text):
    made, shape = initializers.get(text), shape_of(text)
    first, second = (np.asarray(made(jax.random.key(seed), shape)) for seed in (0, 1))
    if law_of(text) in ("normal", "uniform", "truncated_normal", "orthogonal"):
        assert not np.any(first == second)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("text", [text for text in EXAMPLES if text not in RANDOM])
def test_deterministic_arrays_follow_their_law(text):
    made, shape = initializers.get(text), shape_of(text)
    values = np.asarray(made(jax.random.key(0), shape), np.float64)
    law = made.law(shape)
    np.testing.assert_allclose(
        [values.mean(), values.std(), values.min(), values.max()],
        [law.mean, law.stddev, law.low, law.high],
        atol=1e-6,
    )


def test_what_keras_and_haiku_would_pass_is_refused_with_the_way_to_do_it():
    for call in (lambda f: f((3, 4), dtype="float32"), lambda f: f((3, 4), jnp.float32)):
        with pytest.raises(TypeError, match=r"frameworks.keras\('he_normal'\) or frameworks.haiku"):
            call(initializers.he_normal())
    with pytest.raises(TypeError, match="shape: got None"):
        initializers.he_normal()(jax.random.key(0))


def test_constants_that_a_dtype_cannot_hold_are_refused():
    with pytest.raises(ValueError, match=r"constant value in float16: got 1000000.*wider"):
        initializers.constant(1e6)(jax.random.key(0), (2,), jnp.float16)
    assert initializers.constant(6e4)(jax.random.key(0), (2,), jnp.float16)[0] == 6e4


def test_factories_that_return_no_initializer_are_named():
    initializers.register("junk", lambda: 3)
    try:
        with pytest.raises(TypeError, match="factory of 'junk'"):
            initializers.get("junk")
    finally:
        _registry._REGISTRY.remove("junk")


def test_missing_arguments_are_shown_by_an_example():
    with pytest.raises(ValueError, match=r"arguments \(value, dtype=None\).*'constant\(value=0.1"):
        initializers.get("constant")


@pytest.mark.parametrize("text", EXAMPLES)
def test_describe(text):
    found = initializers.describe(text, shape_of(text))
    assert found.spec == text
    assert sum(found.histogram) == math.prod(shape_of(text))
    assert found.law.low <= found.draw.minimum + 1e-7
    assert found.draw.maximum <= found.law.high + 1e-7


@pytest.mark.slow
def test_the_sigma_of_a_complex_draw_is_of_its_modulus():
    found = initializers.describe("normal(stddev=0.5, dtype=complex64)", (100, 100))
    assert found.draw.stddev == pytest.approx(0.5, rel=0.03)


def test_the_worked_example():
    found = initializers.describe("fan_in_uniform", (10, 1000))
    assert found.law.high == pytest.approx(0.316, abs=5e-4)
    assert found.law.low == -found.law.high
    assert found.law.stddev == pytest.approx(0.1826, abs=1e-4)
    assert found.draw.stddev == pytest.approx(0.1826, abs=0.003)
    assert dict(found.spread)[40] == pytest.approx(found.law.stddev / 2)
    assert [n for n, _ in initializers.describe("fan_in_uniform", (1, 9)).spread] == [1, 4, 16]


@pytest.mark.slow
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
        (lambda k: initializers.he_normal(in_axis=1)(k, (3,)), ValueError, "in_axis: got 1"),
        (lambda k: initializers.he_normal(in_axis=0)(k, ()), ValueError, "in_axis: got 0"),
        (lambda k: initializers.he_normal(batch_axis=-1)(k, (2, 3)), ValueError, "second role"),
        (lambda k: initializers.fans((2, 3), in_axis=(0, 0)), ValueError, "second role"),
        (lambda k: initializers.fans((2, 3), np.ma.masked), TypeError, "axis: got masked"),
        (lambda k: initializers.fans((2, 3), True), TypeError, "axis: got True"),
        (lambda k: initializers.fans((2, 3), np.array([0, 1])), TypeError, "axis: got array"),
        (lambda k: initializers.identity(dtype={}), TypeError, "dtype: got {}"),
        (lambda k: initializers.identity(dtype="S5"), TypeError, "dtype: got 'S5'"),
        (lambda k: initializers.zeros(k, (2,), k.dtype), TypeError, "dtype: got key<fry>"),
        (lambda k: initializers.zeros(k, (2**70, 3)), ValueError, "at most 2\\*\\*59"),
        (lambda k: initializers.he_normal()(k, (2**40, 2**40)), ValueError, "at most 2\\*\\*59"),
        (lambda k: initializers.sparse()(k, (2**62, 1)), ValueError, "at most 2\\*\\*59"),
        (lambda k: initializers.describe("normal", (2**63,)), ValueError, "at most 2\\*\\*59"),
        (lambda k: initializers.dirac()(k, (2, 1, 1, 1, 3, 3)), ValueError, "rank 3 to 5"),
        (lambda k: initializers.hadamard()(k, (2, 1, 1, 1, 3, 3)), ValueError, "rank 2 to 5"),
        (lambda k: initializers.looks_linear()(k, (2, 1, 1, 1, 2, 2)), ValueError, "rank 2 to 5"),
        (lambda k: initializers.gain("conv4d", convention="torch"), ValueError, "conv4d"),
        (lambda k: initializers.gain("conv2d"), ValueError, "conv2d"),
        (lambda k: initializers.orthogonal()(k, (3,)), ValueError, "rank >= 2"),
        (lambda k: initializers.orthogonal(column_axis=2)(k, (3, 3)), ValueError, "column_axis"),
        (lambda k: initializers.identity()(k, (2, 3, 4)), ValueError, "rank 2"),
        (lambda k: initializers.constant([1.0, 2.0])(k, (3,)), ValueError, "broadcasts"),
        (lambda k: initializers.normal(0.1)(k, 3.5), TypeError, "shape: got 3.5"),
        (lambda k: initializers.normal(0.1)(k, (-1,)), ValueError, "shape: got"),
        (lambda k: initializers.normal(0.1)(k, (2,), jnp.int32), TypeError, "dtype of normal"),
        (
            lambda k: initializers.he_normal()(k, (2, 3), jnp.float8_e4m3fn),
            TypeError,
            "dtype of he",
        ),
        (lambda k: initializers.rademacher()(k, (2,), jnp.float8_e5m2), TypeError, "dtype of rad"),
        (lambda k: initializers.randomized_asymmetric()(k, (3,)), ValueError, "part='bias'"),
        (lambda k: initializers.uniform(0.1)(k, (2,), jnp.complex64), TypeError, "dtype of unif"),
        (lambda k: initializers.he_normal(groups=0), ValueError, "groups: got 0"),
        (lambda k: initializers.he_normal(gropus=2), TypeError, "he_normal: got .*gropus"),
        (lambda k: initializers.he_normal(in_axis=None)(k, (2, 3)), TypeError, "axis: got None"),
        (lambda k: initializers.edge_of_chaos(lambda x: 0 * x), ValueError, "no critical"),
        (lambda k: initializers.he_normal(groups=3)(k, (2, 4)), ValueError, "a divisor of 4"),
        (lambda k: initializers.he_normal(transposed=1), TypeError, "transposed"),
        (lambda k: initializers.he_normal(fused=(2, 3))(k, (2, 4)), ValueError, "add up"),
        (lambda k: initializers.he_normal(fused=3), TypeError, "fused"),
        (lambda k: initializers.he_normal(fused=(2, 2), out_axis=(0, 1)), ValueError, "out_axis"),
        (lambda k: initializers.he_normal(fan_in=0), ValueError, "fan_in"),
        (lambda k: initializers.glorot_normal(fan_in=3)(k, (4,)), ValueError, "no fan_out"),
        (lambda k: initializers.dirac()(k, (2, 3)), ValueError, "use 'identity'"),
        (lambda k: initializers.dirac(2)(k, (3, 2, 3)), ValueError, "divisor"),
        (lambda k: initializers.delta_orthogonal()(k, (3, 4, 2)), ValueError, "in <= out"),
        (lambda k: initializers.delta_orthogonal()(k, (4, 4)), ValueError, "rank 3 to 5"),
        (lambda k: initializers.looks_linear()(k, (3, 4)), ValueError, "even"),
        (lambda k: initializers.looks_linear("first"), ValueError, "role"),
        (lambda k: initializers.sparse(0.5, k=3), ValueError, "one of them"),
        (lambda k: initializers.sparse(1.0)(k, (3, 4)), ValueError, "leaves at least one"),
        (lambda k: initializers.sparse(1.5), ValueError, "sparsity"),
        (lambda k: initializers.sparse(k=0), ValueError, "sparse k"),
        (lambda k: initializers.randomized_asymmetric(fan_in=10**400), ValueError, "fan_in: got 1"),
        (lambda k: initializers.sparse()(k, (3, 3, 2)), ValueError, "rank 2"),
        (lambda k: initializers.randomized_asymmetric("bias")(k, (3,)), ValueError, "fan_in"),
        (lambda k: initializers.class_prior(), ValueError, "one"),
        (lambda k: initializers.class_prior([0.5, 1.0]), ValueError, "whole class numbers"),
        (lambda k: initializers.class_prior([0, 2, 2]), ValueError, "smoothing=1.0"),
        (lambda k: initializers.class_prior([0, 1])(k, (3,)), ValueError, "output layer"),
        (lambda k: initializers.scaled_for("relux"), ValueError, "did you mean 'relu"),
        (lambda k: initializers.edge_of_chaos("softplus", 0.1), ValueError, "no critical point"),
        (lambda k: initializers.edge_of_chaos("gelu"), ValueError, "unstable"),
        (lambda k: initializers.random_walk("tanh"), ValueError, "random_walk activation"),
        (lambda k: initializers.siren(0.0), ValueError, "omega"),
        (lambda k: initializers.siren(1e-300), ValueError, "omega: got 1e-300"),
        (lambda k: initializers.glorot_normal(gain=1e300), ValueError, "gain: got 1e.300"),
        (lambda k: initializers.he_normal(negative_slope=1e300), ValueError, "slope: got 1e.300"),
        (lambda k: initializers.class_prior(counts=10**400), TypeError, "class counts"),
        (lambda k: initializers.mup("middle"), ValueError, "mup role"),
        (lambda k: initializers.scaled_orthogonal("relu", keep="x"), ValueError, "keep"),
        (lambda k: initializers.orthogonal(method="svd"), ValueError, "orthogonal method"),
        (
            lambda k: initializers.parametrized_truncated_normal(0.0, 1.0, 6.0, 7.0),
            ValueError,
            "within 4 stddev of the mean",
        ),
        (
            lambda k: initializers.parametrized_truncated_normal(stddev=2**63),
            ValueError,
            "0.001 stddev apart",
        ),
        (
            lambda k: initializers.truncated_normal(lower=1.0, upper=1.0001),
            ValueError,
            "uniform_range",
        ),
        (lambda k: initializers.gain("tanh", 0.2), ValueError, "gain parameter"),
        (lambda k: initializers.gain(jnp.tanh, kinks=(math.nan,)), ValueError, "kink"),
        (lambda k: initializers.normal(0.1)(k, (2,), "float63"), TypeError, "dtype"),
        (lambda k: initializers.normal(0.1)(k, (2,), jnp.float64), ValueError, "x64"),
        (lambda k: initializers.normal(0.1)(7, (2,)), TypeError, "a PRNG key"),
        (lambda k: initializers.normal(0.1)(jax.random.split(k, 3), (2,)), ValueError, "vmap"),
        (lambda k: initializers.normal(np.ones((3, 3))), TypeError, "one number"),
        (lambda k: initializers.normal(np.ones(3))(k, (3, 2, 2)), ValueError, "layout"),
        (lambda k: initializers.he_normal(k, (2, 3)), TypeError, "call the factory first"),
        (lambda k: initializers.orthogonal(column_axis=1.5)(k, (2, 3)), TypeError, "column_axis"),
        (lambda k: initializers.uniform_range(-3e38, 3e38), ValueError, "float32 holds"),
        (lambda k: initializers.truncated_normal(exact_std="maybe"), TypeError, "exact_std"),
        (lambda k: initializers.get("he_normal(mode=fan_in, mode=fan_out)"), ValueError, "once"),
        (lambda k: initializers.class_prior(counts="ab"), TypeError, "class counts"),
        (lambda k: initializers.class_prior(labels=[0, 10**10]), ValueError, "labels"),
        (lambda k: initializers.fans((2, 4), groups=0), ValueError, "groups"),
        (
            lambda k: jax.jit(lambda s: initializers.identity(s)(k, (2, 2)))(2.0),
            TypeError,
            "traced value",
        ),
        (lambda k: initializers.gain("relu", convention="x"), ValueError, "convention"),
        (lambda k: initializers.gain("gelu", convention="torch"), ValueError, "torch gain"),
        (lambda k: initializers.register("he_normal", lambda: None), ValueError, "taken"),
    ],
)
def test_bad_input_is_one_line(call, error, match):
    with pytest.raises(error, match=match) as caught:
        call(jax.random.key(0))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_an_rbg_key_under_vmap_is_refused():
    keys = jax.random.split(jax.random.key(0, impl="rbg"), 3)
    with pytest.raises(ValueError, match="rbg"):
        jax.vmap(lambda key: initializers.normal(0.1)(key, (2,)))(keys)
    assert initializers.normal(0.1)(keys[0], (2,)).shape == (2,)


@pytest.mark.slow
def test_orthogonal_in_half_precision_is_rounded_float32():
    key = jax.random.key(5)
    wide = initializers.orthogonal()(key, (16, 8))
    half = initializers.orthogonal()(key, (16, 8), jnp.bfloat16)
    np.testing.assert_array_equal(np.asarray(half), np.asarray(wide.astype(jnp.bfloat16)))


def three(scale=3.0):
    return initializers.constant(scale)


def test_a_registered_initializer_works_wherever_a_name_may_stand():
    initializers.register("three", three, reference="nobody 2026", aliases=("Three",))
    try:
        assert initializers.names()[-1] == "three"
        assert float(initializers.get("three(scale=2.0)")(jax.random.key(0), ())) == 2.0
        assert float(initializers.get("Three")(jax.random.key(0), ())) == 3.0
        tree = jinit.initialize(jax.random.key(0), {"b": jnp.zeros(2)}, {"b": "three"})
        np.testing.assert_array_equal(tree["b"], [3.0, 3.0])
        with pytest.raises(ValueError, match="did you mean 'three'"):
            initializers.get("thre")
    finally:
        _registry._REGISTRY.remove("three")
    assert "three" not in initializers.names()
    with pytest.raises(ValueError, match="not known"):
        initializers.get("Three")


def test_registering_the_same_initializer_again_changes_nothing():
    initializers.register("three", three, aliases=("Three",))
    try:
        before = initializers.names()
        initializers.register("three", three, aliases=("Three",))
        assert initializers.names() == before
        with pytest.raises(ValueError, match="taken"):
            initializers.register("three", lambda: initializers.constant(4.0))
        with pytest.raises(ValueError, match="taken"):
            initializers.register("other", three, aliases=("HeNormal",))
    finally:
        _registry._REGISTRY.remove("three")


def test_a_word_with_another_meaning_is_no_name():
    """Rules and arms read these words before they look for an initializer."""
    words = {KEEP, NORM, OWN, "lsuv", "output_bias"}
    assert words <= {*calibrate.names(), *WORDS}
    for word in words:
        with pytest.raises(ValueError, match=f"initializer name: got '{word}'.*another meaning"):
            initializers.register(word, three)
        with pytest.raises(ValueError, match=f"initializer name: got '{word}'"):
            initializers.register("three", three, aliases=(word,))
    for word in (*WORDS, "he_normal", "HeNormal", "kaiming_normal_"):
        with pytest.raises(ValueError, match=f"calibration name: got '{word}'.*another meaning"):
            calibrate.register(word, lambda key, model, params, batch: None)
    assert "three" not in initializers.names()
    # This room cannot ask a later room for its names.
    assert set(_registry._CALIBRATIONS) == _calibrations._FUNCTIONS._built_in


def test_names_that_users_register_exclude_each_other():
    calibrate.register("mine", lambda key, model, params, batch: None)
    try:
        with pytest.raises(ValueError, match="initializer name: got 'mine'"):
            initializers.register("three", three, aliases=("mine",))
    finally:
        _calibrations._FUNCTIONS.remove("mine")
    initializers.register("three", three, aliases=("Three",))
    try:
        with pytest.raises(ValueError, match="calibration name: got 'Three'"):
            calibrate.register("Three", lambda key, model, params, batch: None)
    finally:
        _registry._REGISTRY.remove("three")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("normal_", r"normal_ with stddev: torch, .* fix: write normal\(stddev=1.0\)"),
        ("RandomNormal(mean=0.5)", r"RandomNormal with stddev"),
        ("uniform_", r"write uniform_range\(low=0.0, high=1.0\)"),
        ("RandomUniform(low=0.0)", "RandomUniform with low, high"),
        ("trunc_normal_(stddev=0.02)", "trunc_normal_ with stddev, lower, upper"),
        ("TruncatedNormal", r"write truncated_normal\(stddev=1.0\)"),
        ("normal_(0.0, 1.0)", "named arguments: their order differs"),
        ("kaiming_normal_(0)", "name them as 'he_normal' does"),
        ("xavier_uniform_(2)", "named arguments"),
        ("normal_(std=0.02)", "'std' is stddev here"),
        ("trunc_normal_(std=1.0, a=-2.0, b=2.0)", r"'a' is lower = \(a - mean\)/std here"),
        ("kaiming_uniform_(a=0.1)", "'a' is negative_slope here"),
        ("kaiming_normal_(nonlinearity=relu)", r"'nonlinearity' is scaled_for\(activation=…\)"),
        ("Orthogonal(gain=2.0, seed=1)", "'seed' is the key of the draw here; 'gain' is scale"),
        ("HeNormal(seed=1)", "'seed' is the key of the draw"),
    ],
)
def test_an_alias_never_stands_for_another_law(text, message):
    with pytest.raises(ValueError, match=message):
        initializers.get(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("RandomNormal(stddev=0.05, mean=0.1)", "normal(stddev=0.05, mean=0.1)"),
        ("uniform_(low=0.0, high=1.0)", "uniform_range(low=0.0, high=1.0)"),
        ("trunc_normal_(stddev=0.02, lower=-2, upper=2)",
         "truncated_normal(stddev=0.02, lower=-2, upper=2)"),
        ("kaiming_normal_(negative_slope=0.1)", "he_normal(negative_slope=0.1)"),
        ("kaiming_normal(0, 1)", "he_normal(in_axis=0, out_axis=1)"),
        ("xavier_normal_(gain=2.0)", "glorot_normal(gain=2.0)"),
        ("Orthogonal(2.0)", "orthogonal(scale=2.0)"),
        ("constant_(0.5)", "constant(value=0.5)"),
    ],
)  # fmt: skip
def test_an_alias_with_its_arguments_is_the_canonical_spec(text, canonical):
    assert str(initializers.get(text)) == canonical
