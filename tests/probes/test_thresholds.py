"""Each threshold of a verdict is one constant: altering it flips the finding and its text."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jinit import frameworks, probes
from jinit.models import MLP
from jinit.probes import _fixes, _propagation, _symmetry, _verdict

HIDDEN = 3
HEALTHY = {
    "mean": 0.0, "second_moment": 1.0, "input_variance": 1.0, "unit_variance": 1.0,
    "correlation": 0.0, "effective_rank": 4.0, "saturated": 0.0, "dead": 0.0,
    "gradient_norm": 1.0, "kernel_gradient_norm": 1.0, "bias_gradient_norm": 1.0,
    "kernel_norm": 1.0, "duplicates": 0.0, "near_duplicates": 0.0,
}  # fmt: skip


@functools.cache
def captured():
    return frameworks.capture(MLP(features=(8,) * HIDDEN + (4,)), jnp.ones((2, 5)))


def findings(activation, **columns):
    """The verdict on a profile in which some columns differ from the healthy ones."""
    values = {name: np.full(HIDDEN + 1, value) for name, value in HEALTHY.items()}
    profile = probes.Profile(**values | {n: np.asarray(c, float) for n, c in columns.items()})
    return {each.kind: each for each in probes.verdict(captured(), profile, activation=activation)}


@pytest.mark.slow
def test_the_profile_that_the_cases_start_from_is_healthy():
    assert set(findings("relu")) == set(findings("tanh")) == {"healthy"}


@pytest.mark.parametrize(
    ("constant", "value", "text", "kind", "activation", "columns"),
    [
        ("FORWARD", 0.1, "between 0.1 and 10 times", "vanishing forward", "relu",
         {"second_moment": [1, 1, 0.01, 1], "input_variance": [1, 1, 0.01, 1]}),
        ("FORWARD", 0.1, "between 0.1 and 10 times", "exploding forward", "relu",
         {"second_moment": [1, 1, 100, 1], "input_variance": [1, 1, 100, 1]}),
        ("BACKWARD", 0.1, "between 0.1 and 10", "vanishing backward", "relu",
         {"gradient_norm": [0.01, 1, 1, 1]}),
        ("BACKWARD", 0.1, "between 0.1 and 10", "exploding backward", "relu",
         {"gradient_norm": [100, 1, 1, 1]}),
        ("HUGE", 10, "10", "exploding forward", "relu",
         {"second_moment": [100] * 4, "input_variance": [100] * 4}),
        ("SMALL", 0.1, "0.1", "small inputs", "relu",
         {"second_moment": [0.05] * 4, "input_variance": [0.05] * 4}),
        ("DEAD", 0.2, "20%", "dead units", "relu", {"dead": [0, 0.3, 0, 0]}),
        ("SATURATED", 0.2, "20%", "saturated", "tanh", {"saturated": [0, 0.3, 0, 0]}),
        ("SATURATED", 0.2, "60%", "saturated", "relu6", {"saturated": [0, 0.7, 0, 0]}),
        ("COLLAPSED", 0.1, "0.1", "collapsed", "relu", {"input_variance": [1, 0.01, 1, 1]}),
        ("ROUNDING", 0.001, "0.001", "collapsed", "relu", {"input_variance": [1e-6] * 4}),
        ("DUPLICATES", 0.2, "20%", "symmetric", "relu", {"duplicates": [0, 0.3, 0, 0]}),
        ("DUPLICATES", 0.2, "20%", "symmetric", "relu", {"near_duplicates": [0, 0.3, 0, 0]}),
    ],
)  # fmt: skip
def test_one_constant_decides(constant, value, text, kind, activation, columns, monkeypatch):
    assert set(findings(activation, **columns)) == {"healthy"}
    monkeypatch.setattr(_verdict, constant, value)
    flipped = findings(activation, **columns)
    assert set(flipped) == {kind}
    assert text in flipped[kind].threshold


def test_every_threshold_has_its_case():
    constants = {name for name in vars(_verdict) if name.isupper() and len(name) > 1}
    cases = {case[0] for case in test_one_constant_decides.pytestmark[0].args[1]}
    # FLAT and NEAR belong to the measurements; the others are no thresholds of a verdict.
    assert constants - cases == {"FLAT", "NEAR", "CENTRED", "LARGE_CHANGE"}


def test_evidence_prints_the_thresholds_of_the_measurements(monkeypatch):
    assert (_verdict.FLAT, _verdict.NEAR) == (_propagation.FLAT, _symmetry.NEAR)
    monkeypatch.setattr(_verdict, "FLAT", 0.21)
    monkeypatch.setattr(_verdict, "NEAR", 0.22)
    assert "at most 21%" in findings("tanh", saturated=[0.9] * 4)["saturated"].evidence
    assert "within 22%" in findings("tanh", near_duplicates=[0.9] * 4)["symmetric"].evidence


def test_one_constant_decides_from_which_depth_on_an_activation_must_be_centred(monkeypatch):
    vanishing = {"gradient_norm": [1e-4, 1, 1, 1]}
    assert "'scaled_for" in findings("sigmoid", **vanishing)["vanishing backward"].fix
    assert findings("sigmoid", **vanishing)["vanishing backward"].fix != _fixes.CENTRED
    monkeypatch.setattr(_fixes, "FEW_LAYERS", HIDDEN - 1)
    assert findings("sigmoid", **vanishing)["vanishing backward"].fix == _fixes.CENTRED
