"""Branches that start at 0 on purpose are healthy; layers of zeros on the only path are not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jinit
from jinit import calibrate, frameworks, probes
from jinit.models import MLP, ResidualMLP

X = jax.random.normal(jax.random.key(3), (32, 32))
LOSS = probes.random_projection(jax.random.key(1))


def verdict(model, change, activation="relu", x=X):
    captured = frameworks.capture(model, x)
    scales = {"*scale": "ones"} if isinstance(model, ResidualMLP) else {}
    rules = {"*kernel": "he_normal", **scales, "*": "zeros"}
    params = jinit.initialize(jax.random.key(0), captured.params, rules)
    profile = probes.propagation(captured, change(params), x, LOSS, activation=activation)
    return probes.verdict(captured, profile, activation=activation)


def by_path(params, factors):
    """The parameters with the leaves under some paths multiplied."""

    def one(path, leaf):
        text = "/".join(str(part.key) for part in path)
        return leaf * next((f for name, f in factors.items() if text.startswith(name)), 1.0)

    return jax.tree_util.tree_map_with_path(one, params)


@pytest.mark.full
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("name", ["fixup", "skipinit", "rezero"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_calibrations_that_start_branches_at_0_are_healthy(name, blocks, activation):
    model = ResidualMLP(width=32, blocks=blocks, outputs=10, activation=activation)

    def change(params):
        return getattr(calibrate, name)(jax.random.key(1), model, params, X)[0]

    (finding,) = verdict(model, change, activation)
    assert finding.ok, finding
    assert (name == "fixup") == ("start at 0" in finding.evidence)


@pytest.mark.full
def test_lora_is_healthy():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.LoRALinear(32, 32, lora_rank=4, rngs=rngs)
            self.last = nnx.Linear(32, 8, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.relu(self.first(x)))

    captured = frameworks.capture(Net(nnx.Rngs(0)), X)
    rules = {"*lora_a": "he_uniform", "*lora_b": "zeros", "*kernel": "he_normal", "*bias": "zeros"}
    profile = probes.ensemble(captured, rules, X, LOSS, seeds=2, activation="relu")
    (finding,) = probes.verdict(captured, profile, activation="relu")
    assert finding.ok


@pytest.mark.full
@pytest.mark.parametrize(
    ("activation", "zero"),
    [
        ("relu", ("hidden_1",)),
        ("relu", ("hidden_2", "output")),
        ("tanh", ("hidden_2", "output")),
        ("sigmoid", ("hidden_2", "output")),
        ("relu", ("hidden_0",)),
        ("relu", ("hidden",)),
    ],
)
def test_zeros_on_the_only_path_are_not_healthy(activation, zero):
    model = MLP(features=(32, 32, 32, 10), activation=activation)
    found = verdict(model, lambda params: by_path(params, dict.fromkeys(zero, 0.0)), activation)
    assert not any(finding.ok for finding in found)


@pytest.mark.full
def test_a_residual_network_whose_stem_is_zero_is_not_healthy():
    model = ResidualMLP(width=32, blocks=3, outputs=10)
    assert not any(f.ok for f in verdict(model, lambda params: by_path(params, {"stem": 0.0})))


@pytest.mark.full
def test_inputs_whose_squares_leave_float32_are_named():
    model = MLP(features=(32, 32, 10), activation="relu")
    (finding,) = verdict(model, lambda params: params, x=1e-30 * X)
    assert (finding.kind, finding.where) == ("small inputs", "hidden_0")
    assert "standardized" in finding.fix
    (finding,) = verdict(model, lambda params: params, x=1e-6 * X)
    assert finding.ok
    (finding, *_) = verdict(model, lambda params: by_path(params, {"hidden": 1e-18}))
    assert finding.kind == "vanishing forward"


@pytest.mark.full
def test_coordinate_check_of_a_zero_output_layer_asks_for_more_steps():
    def check(steps):
        return probes.coordinate_check(
            lambda width: MLP(features=(width, width, 4), activation="tanh"),
            (16, 32),
            {"output/kernel": "zeros", "*/kernel": "lecun_normal", "*/bias": "zeros"},
            X,
            lambda outputs: jnp.mean((outputs - 1) ** 2),
            optimizer=optax.sgd(0.1),
            steps=steps,
            seeds=2,
        )

    with pytest.raises(ValueError, match=r"steps: got .1, in which only the output.*fix: steps=3"):
        check(1)
    assert (np.asarray(check(3).change) > 0).all()
