"""Laws that draw the first and the last layers of a network by rules of their own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import models
from jinit.initializers import mup, scaled_by
from jinit.sweep import plan

GRID = {"dataset": "digits", "depth": 2, "width": 32, "seeds": 2, "steps": 2}


def stddevs(initializer):
    (program,) = plan(jinit.Grid(initializer=initializer, **GRID)).programs
    return {one.leaf: one.stddev for one in program.assignments()}


def test_looks_linear_has_a_form_for_each_role():
    (program,) = plan(jinit.Grid(initializer="looks_linear", **GRID)).programs
    found = {one.leaf: str(one.initializer) for one in program.assignments()}
    assert found["hidden_0/kernel"] == "looks_linear(role=input)"
    assert found["hidden_1/kernel"] == "looks_linear"
    assert found["output/kernel"] == "looks_linear(role=output)"


@pytest.mark.slow
def test_a_looks_linear_network_is_linear_in_the_data():
    """Balduzzi et al. 2017, section 4: f(x + y) = f(x) + f(y), of full rank in x and in f."""
    (program,) = plan(jinit.Grid(initializer="looks_linear", **GRID)).programs
    rules = {one.leaf: one.initializer for one in program.assignments()}
    model = models.MLP(features=(32, 32, 10), activation="relu")
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 64)))["params"]
    params = jinit.initialize(jax.random.key(0), shapes, rules)
    x, y = jax.random.normal(jax.random.key(1), (2, 20, 64))
    f = [model.apply({"params": params}, value) for value in (x, y, x + y)]
    np.testing.assert_allclose(f[2], f[0] + f[1], atol=1e-4)
    assert np.linalg.matrix_rank(np.asarray(f[0]), tol=1e-3) == 10


def test_the_roles_are_those_of_the_law_under_a_factor():
    whole, half = stddevs("mup"), stddevs(scaled_by(mup(), 0.5))
    assert whole["hidden_0/kernel"] == pytest.approx(1 / 8)
    assert whole["output/kernel"] == pytest.approx(1 / 32)
    for leaf in ("hidden_0/kernel", "hidden_1/kernel", "output/kernel"):
        assert half[leaf] == pytest.approx(whole[leaf] / 2)


def test_the_refusal_names_the_law_of_the_rule_and_its_roles():
    data = (np.ones((60, 6), np.float32), np.arange(60) % 3)
    for rule, fix in (
        ("looks_linear", r"looks_linear\(role=input\).*looks_linear\(role=output\)"),
        ("siren(omega=3.0)", r"with siren\(is_first=True\) for the first layer, or"),
        (scaled_by(mup(), 0.5), r"mup\(role=output\) for the last layer"),
    ):
        with pytest.raises(ValueError, match=rf"initializer '{str(rule)[:4]}.*{fix}"):
            plan(
                jinit.Grid(initializer="he_normal", seeds=2, steps=2),
                model=nn.Dense(3),
                data=data,
                rules=lambda kernel, bias, rule=rule: {"kernel": rule, "bias": bias},
            )
