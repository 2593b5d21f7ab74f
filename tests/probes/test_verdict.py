"""Labelled networks: every sick one is named, no healthy one is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import keep

import jinit
from jinit import frameworks, probes
from jinit.models import MLP

SEEDS = 16
# (activation, depth, kernel initializer, bias initializer) → what must be among the findings.
SICK = [
    (("relu", 3, "zeros", "zeros"), "symmetric"),
    (("tanh", 3, "zeros", "zeros"), "symmetric"),
    (("sigmoid", 3, "zeros", "zeros"), "symmetric"),
    (("relu", 3, "constant(0.1)", "zeros"), "symmetric"),
    (("relu", 3, "uniform_range(low=0.1, high=0.1003)", "zeros"), "symmetric"),
    (("tanh", 8, "uniform_range(low=0.1, high=0.1003)", "zeros"), "symmetric"),
    (("tanh", 8, "ones", "ones"), "symmetric"),
    (("relu", 8, "normal(0.01)", "zeros"), "vanishing forward"),
    (("tanh", 8, "normal(0.01)", "zeros"), "vanishing forward"),
    (("relu", 8, "fan_in_uniform", "zeros"), "vanishing forward"),
    (("relu", 16, "fan_in_uniform", "zeros"), "vanishing forward"),
    (("relu", 16, "glorot_uniform", "zeros"), "vanishing forward"),
    (("relu", 30, "lecun_normal", "zeros"), "vanishing forward"),
    (("relu", 16, "fan_in_uniform", "zeros"), "vanishing backward"),
    (("tanh", 8, "normal(0.01)", "zeros"), "vanishing backward"),
    (("tanh", 16, "fan_in_uniform", "zeros"), "vanishing backward"),
    (("sigmoid", 8, "glorot_uniform", "zeros"), "vanishing backward"),
    (("sigmoid", 16, "glorot_uniform", "zeros"), "vanishing backward"),
    (("sigmoid", 8, "normal(0.01)", "zeros"), "vanishing backward"),
    (("relu", 8, "normal(1.0)", "zeros"), "exploding forward"),
    (("relu", 30, "normal(1.0)", "zeros"), "exploding forward"),
    (("leaky_relu", 16, "normal(0.5)", "zeros"), "exploding forward"),
    (("relu", 8, "normal(1.0)", "zeros"), "exploding backward"),
    (("tanh", 16, "normal(1.0)", "zeros"), "exploding backward"),
    (("relu", 3, "he_normal", "constant(-20.0)"), "dead units"),
    (("relu", 8, "he_normal", "constant(-3.0)"), "dead units"),
    (("tanh", 3, "normal(1.0)", "zeros"), "saturated"),
    (("tanh", 8, "normal(2.0)", "zeros"), "saturated"),
    (("sigmoid", 3, "normal(3.0)", "zeros"), "saturated"),
    (("sigmoid", 8, "glorot_uniform", "zeros"), "collapsed"),
    (("sigmoid", 16, "lecun_normal", "zeros"), "collapsed"),
    (("tanh", 30, "normal(0.02)", "constant(1.0)"), "collapsed"),
    (("tanh", 3, "zeros", "uniform_range(low=-1.0, high=1.0)"), "collapsed"),
    (("relu", 1, "zeros", "normal(1.0)"), "collapsed"),
    (("relu", 3, "normal(1000.0)", "zeros"), "exploding forward"),
]
HEALTHY = [
    ("relu", 0, "zeros", "zeros"),
    ("relu", 1, "he_normal", "zeros"),
    ("relu", 3, "he_normal", "zeros"),
    ("relu", 8, "he_normal", "zeros"),
    ("relu", 8, "he_uniform", "zeros"),
    ("relu", 16, "he_normal", "zeros"),
    ("relu", 30, "he_normal", "zeros"),
    ("relu", 3, "glorot_uniform", "zeros"),
    ("leaky_relu", 16, "he_normal", "zeros"),
    ("tanh", 3, "glorot_uniform", "zeros"),
    ("tanh", 8, "glorot_uniform", "zeros"),
    ("tanh", 16, "lecun_normal", "zeros"),
    ("tanh", 16, "orthogonal", "zeros"),
    ("tanh", 30, "orthogonal", "zeros"),
    ("sigmoid", 1, "glorot_uniform", "zeros"),
    ("sigmoid", 2, "glorot_uniform", "zeros"),
    ("selu", 16, "lecun_normal", "zeros"),
    ("gelu", 8, "he_normal", "zeros"),
    ("silu", 8, "he_normal", "zeros"),
    ("identity", 16, "orthogonal", "zeros"),
]
# Networks of these share their compiled programs and have every kind of finding.
ALWAYS = {("relu", 1), ("relu", 3), ("relu", 8), ("tanh", 8)}


@functools.cache
def examples():
    x = jax.random.normal(jax.random.key(11), (32, 24))
    return x, probes.cross_entropy(jnp.arange(32) % 10)


@functools.cache
def prober(activation, depth):
    """One compiled program for all initializers of an activation and a depth."""
    x, loss = examples()
    captured = frameworks.capture(MLP(features=(32,) * depth + (10,), activation=activation), x)

    def profile(params):
        return probes.propagation(captured, params, x, loss, activation=activation)

    return captured, jax.jit(jax.vmap(profile))


def kinds(activation, depth, kernel, bias):
    captured, profile = prober(activation, depth)
    rules = {"*/kernel": kernel, "*/bias": bias}
    keys = jax.random.split(jax.random.key(0), SEEDS)
    params = jax.jit(jax.vmap(lambda key: jinit.initialize(key, captured.params, rules)))(keys)
    return probes.verdict(captured, profile(params), activation=activation)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "kind"), keep(SICK, lambda case, _: case[0][:2] in ALWAYS))
@pytest.mark.sampled(35)
def test_sick_networks(network, kind):
    found = {finding.kind: finding for finding in kinds(*network)}
    assert kind in found
    assert "healthy" not in found
    names = {layer.name for layer in prober(*network[:2])[0].layers}
    for finding in found.values():
        assert finding.where in names
        assert all((finding.evidence, finding.threshold, finding.source, finding.fix))


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [pytest.param(one, marks=() if one[:2] in ALWAYS else pytest.mark.full) for one in HEALTHY],
)
@pytest.mark.sampled(20)
def test_healthy_networks(network):
    assert [finding.kind for finding in kinds(*network)] == ["healthy"]


@pytest.mark.full
def test_inputs_far_from_standardized():
    """z in the millions: one cause, fixes that do not contradict each other."""
    x = 1e6 * jax.random.normal(jax.random.key(1), (32, 64))
    captured = frameworks.capture(MLP((64, 64, 10), activation="tanh"), x)
    loss = probes.random_projection(jax.random.key(2))
    rules = {"*/kernel": "glorot_normal", "*/bias": "zeros"}
    profile = probes.ensemble(captured, rules, x, loss, seeds=4, activation="tanh")
    found = probes.verdict(captured, profile, activation="tanh")
    assert found[0].kind == "exploding forward"
    assert found[0].fix.startswith("standardized inputs")
    assert not any("larger" in finding.fix for finding in found)
    same = probes.ensemble(captured, rules, 0 * x + 1, loss, seeds=4, activation="tanh")
    assert probes.verdict(captured, same, activation="tanh")[0].fix.startswith("inputs that differ")


@pytest.mark.slow
def test_one_of_each():
    assert [f.kind for f in kinds("relu", 3, "he_normal", "zeros")] == ["healthy"]
    found = kinds("relu", 3, "zeros", "zeros")
    assert found[0].kind == "symmetric"
    assert str(found[0]).startswith("hidden_0: symmetric: 100%")


@pytest.mark.full
def test_one_network_alone_and_another_model():
    captured, profile = prober("relu", 3)
    rules = {"*/kernel": "he_normal", "*/bias": "zeros"}
    params = jinit.initialize(jax.random.key(0), captured.params, rules)
    one = jax.tree.map(lambda leaf: leaf[0], profile(jax.tree.map(lambda p: p[None], params)))
    assert np.shape(one.mean) == (4,)
    assert [f.kind for f in probes.verdict(captured, one, activation="relu")] == ["healthy"]
    with pytest.raises(ValueError, match="measure it with the same captured model"):
        probes.verdict(prober("relu", 1)[0], one)


def findings_of(rules, seeds=2, **options):
    x, loss = examples()
    model = MLP(features=(16, 16, 16, 10), **options)
    captured = frameworks.capture(model, x)
    activation = options.get("activation", "relu")
    profile = probes.ensemble(captured, rules, x, loss, seeds=seeds, activation=activation)
    return {f.kind: f for f in probes.verdict(captured, profile, activation=activation)}


BASE = {"*/kernel": "he_normal", "*/bias": "zeros"}


@pytest.mark.full
def test_a_dead_layer_in_the_middle_is_named():
    found = findings_of({"hidden_1/bias": "constant(-50.0)", **BASE})
    assert found["dead units"].where == "hidden_1"


@pytest.mark.full
def test_a_zero_output_layer_is_a_choice():
    assert list(findings_of({"output/kernel": "zeros", **BASE})) == ["healthy"]


@pytest.mark.full
def test_relu6_dies_and_does_not_saturate():
    assert list(findings_of(BASE, activation="relu6")) == ["healthy"]
    assert "dead units" in findings_of(
        {"hidden_1/bias": "constant(-50.0)", **BASE}, activation="relu6"
    )


@pytest.mark.full
def test_normalization_stands_before_the_activation():
    rules = {"*/kernel": "normal(5.0)", "*/scale": "ones", "*": "zeros"}
    assert "saturated" not in findings_of(rules, activation="tanh", layer_norm=True)


def seen(activation, kernel, *, depth=4, width=64, scale=1.0):
    x = scale * jax.random.normal(jax.random.key(0), (64, 32))
    captured = frameworks.capture(MLP(features=(width,) * depth + (10,), activation=activation), x)
    rules = {"*/kernel": kernel, "*/bias": "zeros"}
    loss = probes.random_projection(jax.random.key(7))
    profile = probes.ensemble(captured, rules, x, loss, seeds=8, activation=activation)
    return profile, {f.kind: f for f in probes.verdict(captured, profile, activation=activation)}


@pytest.mark.full
def test_a_network_that_overflows_explodes_and_does_nothing_else():
    """Its gradients are not 0 and its units not dead: they are not numbers."""
    profile, found = seen("relu", "normal(1.0)", depth=60, width=128)
    assert set(found) == {"exploding forward"}
    assert "not finite in 100% of the networks" in found["exploding forward"].evidence
    lost = np.isnan(profile.second_moment[:, :-1])
    assert lost.any()
    for column in (profile.gradient_norm, profile.saturated, profile.dead):
        assert np.isnan(column[:, :-1][lost]).all()


@pytest.mark.full
def test_saturated_networks_are_not_told_to_use_larger_weights():
    _, found = seen("tanh", "glorot_uniform", depth=5, scale=1e4)
    assert {"saturated", "vanishing backward"} <= set(found)
    assert found["vanishing backward"].fix == found["saturated"].fix
    assert "smaller" in found["vanishing backward"].fix
    # relu6 is flat on one side by design, and saturated where it is on the other too.
    assert "saturated" in seen("relu6", "normal(5.0)")[1]
    assert set(seen("relu6", "he_normal")[1]) == {"healthy"}


TWINS = {"sigmoid": "tanh", "softplus": "gelu"}


@pytest.mark.full
@pytest.mark.parametrize(
    ("activation", "depth", "kernel", "bias"),
    [
        ("relu", 30, "lecun_normal", "zeros"),
        ("relu", 8, "normal(1.0)", "zeros"),
        ("tanh", 16, "fan_in_uniform", "zeros"),
        ("tanh", 16, "normal(1.0)", "zeros"),
        ("tanh", 30, "normal(0.02)", "constant(1.0)"),
        ("selu", 16, "fan_in_uniform", "zeros"),
        ("sigmoid", 12, "lecun_normal", "zeros"),
        ("sigmoid", 12, "normal(3.0)", "zeros"),
        ("softplus", 12, "glorot_uniform", "zeros"),
    ],
)
def test_what_a_fix_names_cures(activation, depth, kernel, bias):
    for finding in kinds(activation, depth, kernel, bias):
        rule = finding.fix.partition("'scaled_for(activation=")[2].partition(")")[0]
        if activation in TWINS:
            assert f"{TWINS[activation]} for {activation}" in finding.fix
            rule = TWINS[activation]
        cured = kinds(rule, depth, f"scaled_for(activation={rule})", "zeros")
        assert [f.kind for f in cured] == ["healthy"], (finding, cured)


@pytest.mark.full
def test_a_network_whose_output_alone_explodes():
    _, found = seen("relu", "normal(100.0)", depth=1, width=32)
    assert found["exploding forward"].where == "output"


def test_a_verdict_of_something_else_is_refused():
    captured, _ = prober("relu", 1)
    with pytest.raises(TypeError, match="a Captured and a Profile"):
        probes.verdict(captured, None)


@pytest.mark.slow
def test_labels_and_inputs_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="labels: got 9; allowed: 0 to 1"):
        probes.cross_entropy(jnp.array([9]))(jnp.zeros((1, 2)))
    x = jax.random.normal(jax.random.key(0), (8, 5))
    captured, loss = (
        frameworks.capture(MLP(features=(4, 2)), x),
        probes.random_projection(jax.random.key(7)),
    )
    with pytest.raises(ValueError, match=r"x: got \(8, 4\); allowed: inputs of the captured model"):
        probes.ensemble(captured, {"*": "he_normal"}, x[:, :4], loss, seeds=2)
    with pytest.raises(ValueError, match="at least one example"):
        probes.empirical_ntk(lambda p, x: x @ p, jnp.ones((5, 1)), x[:0])
    with pytest.raises(ValueError, match="at least one parameter"):
        probes.hessian_largest_eigenvalue(jax.random.key(0), lambda p: 0.0, {})
