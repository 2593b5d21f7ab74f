"""Presets as a registry: default draws that serve any host, and presets that users add."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import K

import jinit
from jinit import frameworks, initializers, parameters
from jinit.frameworks import _table
from jinit.frameworks._table import get_preset


def halves(layout, name, shape):
    """Kernels and biases of 1/2."""
    return initializers.constant(0.5), layout


@pytest.fixture
def registered():
    frameworks.register_preset("halves", halves)
    yield
    _table._presets.remove("halves")


def test_a_registered_preset_works_wherever_rules_may_stand(registered):
    tree = {"dense": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}
    made = jinit.initialize(K, tree, "halves")
    assert all(np.all(np.asarray(leaf) == 0.5) for leaf in jax.tree.leaves(made))
    assert [each.rule for each in parameters.assign(tree, "halves")] == ["halves", "halves"]
    assert jinit.audit(made, rules="halves") == []
    findings = jinit.audit(tree, rules="halves")
    assert {finding.kind for finding in findings} == {"rule not applied"}
    assert parameters.reset_report(tree, "halves", where="*kernel")["reset"] == ("dense/kernel",)


def test_a_taken_preset_is_refused_and_the_same_preset_again_changes_nothing(registered):
    before = frameworks.presets()
    frameworks.register_preset("halves", halves)
    assert frameworks.presets() == before
    with pytest.raises(ValueError, match="taken"):
        frameworks.register_preset("torch", halves)
    with pytest.raises(ValueError, match="did you mean 'halves'"):
        get_preset("halfs")


def test_every_host_has_a_preset():
    assert frameworks.presets() == frameworks.hosts()


@pytest.mark.slow
def test_a_preset_serves_another_host():
    model, x = nn.Dense(2000), jnp.zeros((1, 100))
    tree = frameworks.shapes(model, x)
    made = parameters.initialize(K, tree, "torch", layers=frameworks.layers(model, x))
    assert float(jnp.abs(made["bias"]).max()) == pytest.approx(0.1, rel=0.01)
    assert float(jnp.abs(made["kernel"]).max()) == pytest.approx(0.1, rel=0.01)
