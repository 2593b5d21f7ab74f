"""Editors and mypy see the parameters that a factory really takes."""

import inspect
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jinit import initializers
from jinit.initializers import _registry
from jinit.initializers._factories import KernelRoles

ROOT = Path(__file__).parents[2]
SNIPPET = """
import jax
import jax.numpy as jnp
from jinit import initializers, typing
reveal_type(initializers.he_normal)
theirs: jax.nn.initializers.Initializer = initializers.he_normal(-2, -1, (), jnp.float32)
ours: typing.Initializer = jax.nn.initializers.normal()
initializers.scaled_for("gelu", in_axis=0, out_axis=1, fused=(1, 2), fan_in=3.0, transposed=True)
initializers.he_normal(slope=0.1)
initializers.glorot_normal(negative_slope=0.1)
initializers.variance_scaling(1.0, "fan_in", "normal", groups="two")
"""


@pytest.mark.full
def test_mypy_sees_the_parameters_of_a_factory_and_refuses_wrong_ones(tmp_path):
    pytest.importorskip("mypy")
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        str(ROOT / ".mypy_cache"),
        str(snippet),
    ]
    output = subprocess.run(command, capture_output=True, text=True, timeout=600).stdout
    lines = [line for line in output.splitlines() if "snippet.py" in line]
    revealed = next(line for line in lines if "Revealed type" in line)
    parameters = inspect.signature(initializers.he_normal).parameters
    places = [revealed.index(f"{name}: ") for name in parameters]
    assert places == sorted(places)
    errors = [line.partition("error: ")[2] for line in lines if "error: " in line]
    assert [error.partition(" for ")[0] for error in errors[:2]] == [
        'Unexpected keyword argument "slope"',
        'Unexpected keyword argument "negative_slope"',
    ]
    assert errors[2].startswith('Argument "groups" to "variance_scaling" has incompatible type')
    assert len(errors) == 3


FANNED = [
    name
    for name in initializers.names()
    if "fan_in" in (row := inspect.signature(_registry.row(name).factory).parameters)
    and "groups" in row
]


@pytest.mark.parametrize("name", FANNED)
def test_axes_are_positional_and_roles_are_keywords(name):
    parameters = inspect.signature(_registry.row(name).factory).parameters
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional[-4:] == ["in_axis", "out_axis", "batch_axis", "dtype"]
    assert list(parameters)[-4:] == list(KernelRoles.__annotations__)
    assert [parameters[role].default for role in KernelRoles.__annotations__] == [
        1, False, None, None,
    ]  # fmt: skip
    theirs = getattr(jax.nn.initializers, name, None)
    if theirs is not None:
        assert positional == list(inspect.signature(theirs).parameters)[: len(positional)]


def test_sixteen_factories_take_axes_and_roles():
    assert len(FANNED) == 16
