"""Populations, search distributions and residual factors."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import initializers, parameters

KEY = jax.random.key(4)
SHAPES = {
    "hidden": {
        "kernel": jax.ShapeDtypeStruct((64, 32), jnp.float32),
        "bias": jax.ShapeDtypeStruct((32,), jnp.float32),
    }
}
RULES = {"*/kernel": "he_normal", "*/bias": "normal(stddev=0.1, mean=0.5)"}


@pytest.mark.slow
def test_members_are_trees_drawn_alone_and_a_larger_population_begins_with_a_smaller():
    small, large = (parameters.population(KEY, size, SHAPES, RULES) for size in (3, 8))
    for member in range(3):
        alone = jinit.initialize(jax.random.fold_in(KEY, member), SHAPES, RULES)
        for one, few, many in zip(*map(jax.tree.leaves, (alone, small, large)), strict=True):
            np.testing.assert_array_equal(few[member], many[member])
            np.testing.assert_allclose(one, few[member], rtol=3e-7)
    assert not np.array_equal(large["hidden"]["kernel"][0], large["hidden"]["kernel"][1])


@pytest.mark.slow
def test_the_search_distribution_has_the_populations_moments():
    mean, stddev = parameters.search_distribution(SHAPES, RULES)
    drawn = parameters.population(KEY, 400, SHAPES, RULES)
    for m, s, d in zip(*map(jax.tree.leaves, (mean, stddev, drawn)), strict=True):
        assert float(d.mean()) == pytest.approx(float(m.mean()), abs=0.01)
        assert float(d.std()) == pytest.approx(float(s.mean()), rel=0.02)


@pytest.mark.slow
def test_the_search_distribution_of_what_draws_nothing_and_of_blocks():
    shapes = {"a": jax.ShapeDtypeStruct((6, 6), jnp.float32)}
    mean, stddev = parameters.search_distribution(
        shapes, {"a": "identity(gain=0.5)"}, layers={"a": "dense"}
    )
    np.testing.assert_array_equal(mean["a"], 0.5 * np.eye(6))
    np.testing.assert_array_equal(stddev["a"], 0)
    # Glorot's σ is that of each block: √(2/(6 + 2)) and √(2/(6 + 4)).
    mean, stddev = parameters.search_distribution(
        shapes, {"a": "glorot_normal(fused=(2, 4))"}, layers={"a": "dense"}
    )
    np.testing.assert_array_equal(mean["a"], 0)
    np.testing.assert_allclose(stddev["a"], np.tile([0.5] * 2 + [0.2**0.5] * 4, (6, 1)))


def test_bad_populations():
    with pytest.raises(ValueError, match="population size"):
        parameters.population(KEY, 0, SHAPES, RULES)
    with pytest.raises(ValueError, match="'keep'"):
        parameters.population(KEY, 2, SHAPES, {"*": "keep"})
    with pytest.raises(ValueError, match="with a law"):
        parameters.search_distribution(SHAPES, {"*": nn.initializers.ones})


# Golden values, worked out from the papers' formulas.
@pytest.mark.parametrize(
    ("factors", "role", "value"),
    [
        (parameters.fixup_factors(100), "first", 0.1),
        (parameters.fixup_factors(16, 3), "inner", 0.5),
        (parameters.fixup_factors(16), "last", 0.0),
        (parameters.skipinit_factors(9), "last", 0.0),
        (parameters.t_fixup_factors(6), "encoder", 0.67 / 6**0.25),
        (parameters.t_fixup_factors(6, 6), "decoder", 54**-0.25),
        (parameters.deepnorm_factors(100), "alpha", 3.7606030930863934),
        (parameters.deepnorm_factors(100), "beta", 0.18803015465431967),
        (parameters.gpt2_stddevs(12), "last", 0.004082482904638631),
    ],
)
def test_residual_factors(factors, role, value):
    assert factors[role] == pytest.approx(value, rel=1e-12)


@pytest.mark.slow
def test_residual_rules_keep_a_residual_stack_as_it_was():
    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(8):
                y = nn.relu(nn.Dense(64, name=None)(x))
                x = x + nn.Dense(64)(y)
            return x

    x = jax.random.normal(KEY, (5, 64))
    shapes = jax.eval_shape(Stack().init, KEY, x)["params"]
    roles = {f"Dense_{i}/kernel": "last" if i % 2 else "first" for i in range(16)}
    rules = parameters.residual_rules(roles, parameters.fixup_factors(8)) | {"*/bias": "zeros"}
    params = jinit.initialize(KEY, shapes, rules)
    np.testing.assert_array_equal(Stack().apply({"params": params}, x), x)
    found = {a.leaf: a for a in parameters.assign(shapes, rules)}
    assert found["Dense_0/kernel"].stddev == pytest.approx((2 / 64) ** 0.5 / 8**0.5)
    with pytest.raises(ValueError, match="role 'middle'"):
        parameters.residual_rules({"*": "middle"}, parameters.fixup_factors(8))


def test_a_function_of_three_arguments_has_a_role():
    rules = parameters.residual_rules(
        {"*": "first"}, {"first": 0.5}, lambda key, shape, dtype: jnp.ones(shape, dtype)
    )
    drawn = jinit.initialize(KEY, {"a": jax.ShapeDtypeStruct((3,), "float32")}, rules)
    np.testing.assert_array_equal(drawn["a"], 0.5)
    half = parameters.residual_rules(
        {"*": "first"}, {"first": 0.5}, lambda key, shape, dtype=None: np.ones(shape, "f4")
    )["*"]
    assert half(KEY, (2,)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("wrong", [[1.0, 2.0, 3.0], None, "abc", (1.0,)])
def test_what_a_function_with_a_role_returns_is_checked_before_it_is_multiplied(wrong):
    rules = parameters.residual_rules({"*": "first"}, {"first": 0.5}, lambda *arguments: wrong)
    with pytest.raises(TypeError, match=r"value of initializer .*got .*allowed: an array.*fix"):
        jinit.initialize(KEY, {"a": jax.ShapeDtypeStruct((3,), "float32")}, rules)


@pytest.mark.slow
def test_scaled_initializers_keep_law_name_and_fans():
    half = initializers.scaled_by(initializers.he_normal(), 0.5)
    assert str(half.with_arguments(fan_in=8)) == "0.5*he_normal(fan_in=8)"
    draw = half(KEY, (400, 100))
    assert float(draw.std()) == pytest.approx(half.law((400, 100)).stddev, rel=0.02)
    with pytest.raises(ValueError, match="factor"):
        initializers.scaled_by(initializers.he_normal(), 0.0)
