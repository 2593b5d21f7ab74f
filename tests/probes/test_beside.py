"""Measured networks beside theory: silent where they agree, a sentence where they part."""

import json

import jax
import pytest

from jinit import frameworks, initializers, probes, theory
from jinit.cli import main
from jinit.models import MLP


def held(measured, expected, depth=6, width=96):
    model = MLP(features=(width,) * depth + (8,), activation="tanh")
    x = jax.random.normal(jax.random.key(0), (12, width))
    captured, loss = frameworks.capture(model, x), probes.random_projection(jax.random.key(1))
    rules = {"*/kernel": measured, "*/bias": "zeros"}
    profile = probes.ensemble(captured, rules, x, loss, seeds=24)
    return probes.beside(profile, theory.predict(model, x, kernel=initializers.get(expected)))


@pytest.mark.full
def test_agreement_is_silent():
    assert held("fan_in_normal(k=1.5)", "fan_in_normal(k=1.5)").findings[0].ok


@pytest.mark.full
def test_parting_names_quantity_and_layer():
    parts = held("fan_in_normal(k=3.0)", "fan_in_normal(k=1.0)").findings
    assert (parts[0].kind, parts[0].where) == ("E z² differs from theory", "hidden_0")
    assert any(part.kind == "‖∂L/∂z‖² differs from theory" for part in parts)


@pytest.mark.full
def test_another_network_is_refused():
    model = MLP(features=(8, 4))
    x = jax.random.normal(jax.random.key(0), (4, 8))
    captured, loss = frameworks.capture(model, x), probes.random_projection(jax.random.key(1))
    rules = {"*/kernel": "he_normal", "*/bias": "zeros"}
    profile = probes.ensemble(captured, rules, x, loss, seeds=2)
    other = theory.predict(MLP(features=(8, 8, 4)), 8)
    with pytest.raises(ValueError, match="2 layers"):
        probes.beside(profile, other)


@pytest.mark.full
def test_the_command_shows_both(capsys):
    arguments = ["probe", "--depth", "4", "--width", "32", "--seeds", "8", "--theory"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "theory" in out
    assert main([*arguments, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["theory"]["expected_second_moment"]) == 5
    assert main([*arguments, "--initializer", "zeros"]) == 2
