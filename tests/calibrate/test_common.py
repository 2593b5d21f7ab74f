"""Helpers that calibrations share: layers by kernel, factors on leaves, rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinit import calibrate, errors, initializers
from jinit.calibrate import _common
from jinit.models import MLP

X = jnp.ones((3, 5))


@pytest.fixture(scope="module")
def network():
    model = MLP(features=(4, 2))
    params = model.init(jax.random.key(0), X)["params"]
    return _common.opened(model, params, X), params


@pytest.mark.slow
def test_layers_and_kernels_know_each_other(network):
    captured, _ = network
    assert [layer.name for layer in captured.layers] == ["hidden_0", "output"]
    assert _common.by_kernel(captured) == {"hidden_0/kernel": [0], "output/kernel": [1]}
    assert _common.kernels_by_layer(captured).tolist() == [0, 1]


def test_pre_activations_are_one_array_per_layer(network):
    captured, params = network
    z = _common.pre_activations(captured, params, X)
    assert [each.shape for each in z] == [(3, 4), (3, 2)]
    layer = params["hidden_0"]
    np.testing.assert_allclose(z[0], X @ layer["kernel"] + layer["bias"], rtol=1e-6)
    assert _common.class_outputs(captured, params, X) == 2


def test_leaves_are_multiplied_then_shifted_and_keep_their_dtype():
    tree = {"w": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(1), "other": jnp.ones(1)}
    changed = _common.adjusted(tree, {"w": 3.0, "b": 2.0}, {"b": jnp.ones(1)})
    assert {name: leaf.tolist() for name, leaf in changed.items()} == {
        "w": [3.0, 3.0], "b": [3.0], "other": [1.0],
    }  # fmt: skip
    assert changed["w"].dtype == jnp.bfloat16


def test_a_vector_over_units_multiplies_a_kernel_along_its_axis_of_units():
    assert _common.per_unit(jnp.ones(3), -1, 2).shape == (1, 3)
    assert _common.per_unit(jnp.ones(3), 0, 4).shape == (3, 1, 1, 1)


@pytest.mark.parametrize(
    ("deviation", "dtype", "beyond"),
    [(1e-7, jnp.float32, False), (1e-5, jnp.float32, True), (1e-2, jnp.bfloat16, False),
     (jnp.inf, jnp.float32, False)],
)  # fmt: skip
def test_deviations_beyond_rounding(deviation, dtype, beyond):
    assert _common.epsilon(jnp.bfloat16) == 2.0**-7
    found = _common.beyond_rounding(jnp.float32(deviation), jnp.float32(1.0), dtype)
    assert bool(found) is beyond


def test_leaves_that_are_no_arrays_and_single_examples_are_refused():
    assert list(_common.arrays({"w": jnp.ones(2)})) == ["w"]
    with pytest.raises(TypeError, match="w: got 'x'"):
        _common.arrays({"w": "x"})
    _common.check_several(jnp.ones((2, 5)), "a variance")
    with pytest.raises(ValueError, match="two examples or more: a variance"):
        _common.check_several(jnp.ones((1, 5)), "a variance")
    with pytest.raises(TypeError, match="one number"):
        _common.check_number("target", np.ones(2), low=0.0, fix="use 1.0")


@pytest.mark.parametrize("bad", [5, None, ..., b"orthogonal", 3.5, [], "he_norml", "lsuv"])
def test_a_calibration_around_no_initializer_is_refused(bad):
    with pytest.raises((TypeError, ValueError)) as raised:
        calibrate.Calibration("lsuv", bad)
    assert isinstance(raised.value, errors.Refusal)


@pytest.mark.parametrize("bad", [5, None, "ab", (("tolerance",),), {"tolerance": 1}, (1, 2)])
def test_arguments_of_a_calibration_are_pairs(bad):
    with pytest.raises(TypeError, match="arguments of lsuv"):
        calibrate.Calibration("lsuv", initializers.get("orthogonal"), bad)


def test_a_calibration_takes_the_name_of_an_initializer_and_no_class_without_a_signature():
    assert calibrate.Calibration("lsuv", "kaiming_normal_") == calibrate.get("lsuv(he_normal)")
    with pytest.raises(ValueError, match=r"parameters \(\)"):
        calibrate.register("whole", int)
    assert "whole" not in calibrate.names()
