"""A registered calibration works wherever the name of a built-in one does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import calibrate, initializers
from jinit.calibrate import Trace, _registry

GRID = {"dataset": "xor", "depth": 1, "width": 4, "steps": 2, "evaluations": 2, "seeds": 2}


def scaled(key, model, params, batch, *, factor=0.5):
    one = jnp.ones(1)
    changed = jax.tree.map(lambda leaf: factor * leaf, params)
    return changed, Trace(one, factor * one, jnp.ones(1, jnp.int32), one > 0)


def with_labels_and_loss(key, model, params, batch, labels, loss):
    value = loss(model.apply({"params": params}, batch))[None]
    return params, Trace(value, value, labels.sum()[None], value > 0)


@pytest.fixture
def registered():
    """Registers calibrations and removes them after the test."""
    items = {"scaled": scaled, "informed": with_labels_and_loss}
    for name, function in items.items():
        calibrate.register(name, function)
    yield
    for name in items:
        _registry._FUNCTIONS.remove(name)


@pytest.mark.full
def test_a_registered_calibration_is_a_value_of_a_sweeps_initializer_axis(registered):
    arms = ("scaled(orthogonal, factor=1.0)", "orthogonal", "scaled(orthogonal)")
    table = jinit.run(jinit.Grid(initializer=arms, **GRID))
    losses = [table.select(initializer=arm)["train_loss"].astype(float) for arm in arms]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    assert not np.allclose(losses[1], losses[2])
    assert table["calibrated"].all()


@pytest.mark.slow
def test_a_registered_calibration_gets_the_sweeps_labels_and_loss(registered):
    table = jinit.run(jinit.Grid(initializer="informed(orthogonal)", **GRID))
    assert table["calibrated"].all()  # its loss is above 0


def test_a_registered_calibration_is_listed_and_parsed(registered):
    assert calibrate.names()[-2:] == ("scaled", "informed")
    assert str(calibrate.get("scaled(kaiming_normal_)")) == "scaled(he_normal)"
    with pytest.raises(ValueError, match="did you mean 'scaled'"):
        calibrate.get("scaledd(orthogonal)")
    with pytest.raises(ValueError, match="option of scaled 'size'"):
        calibrate.get("scaled(orthogonal, size=2)")


def test_registering_the_same_calibration_again_changes_nothing(registered):
    before = calibrate.names()
    calibrate.register("scaled", scaled)
    assert calibrate.names() == before


@pytest.mark.parametrize("name", ["scaled", "lsuv", "orthogonal", "two words"])
def test_taken_names_are_refused(name, registered):
    with pytest.raises(ValueError, match="calibration name"):
        calibrate.register(name, lambda key, model, params, batch: None)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda key, model, params: None, ValueError),
        (lambda key, model, params, batch, option: None, ValueError),
        ("lsuv", TypeError),
    ],
)
def test_functions_of_other_parameters_are_refused(function, error):
    with pytest.raises(error, match="calibration 'made_here'"):
        calibrate.register("made_here", function)
    assert "made_here" not in calibrate.names()


def test_another_function_under_the_same_name_is_another_calibration():
    """Programs are compiled once for equal calibrations."""
    calibrations = []
    for function in (scaled, with_labels_and_loss):
        calibrate.register("made_here", function)
        calibrations.append(calibrate.Calibration("made_here", initializers.get("zeros")))
        _registry._FUNCTIONS.remove("made_here")
    assert calibrations[0] != calibrations[1]
