"""Gains against closed forms, scipy and torch."""

import math

import jax.numpy as jnp
import pytest

from jinit.initializers import gain


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("identity", 1.0),
        ("relu", math.sqrt(2)),
        ("leaky_relu(0.3)", math.sqrt(2 / 1.09)),
        ("erf", 1 / math.sqrt(2 / math.pi * math.asin(2 / 3))),
        ("sin", 1 / math.sqrt((1 - math.exp(-2)) / 2)),
        ("selu", 1.0),
    ],
)
def test_forward_gain_closed_forms(name, exact):
    assert gain(name) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "exact"),
    [("relu", math.sqrt(2)), ("identity", 1.0), ("sin", 1 / math.sqrt((1 + math.exp(-2)) / 2))],
)
def test_backward_gain_closed_forms(name, exact):
    assert gain(name, convention="backward") == pytest.approx(exact, rel=1e-6)


def test_any_callable():
    assert gain(lambda z: z**2) == pytest.approx(1 / math.sqrt(3), rel=1e-6)
    with pytest.raises(ValueError, match="keeps no signal"):
        gain(lambda z: 0 * z)


def test_inside_jit_it_is_a_number():
    import jax

    assert float(jax.jit(lambda x: x * gain("relu"))(jnp.float32(1))) == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("identity", ("linear",)),
        ("sigmoid", ("sigmoid",)),
        ("tanh", ("tanh",)),
        ("relu", ("relu",)),
        ("leaky_relu(0.2)", ("leaky_relu", 0.2)),
        ("leaky_relu", ("leaky_relu",)),
        ("selu", ("selu",)),
    ],
)
def test_torch_convention(ours, theirs):
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs the extra 'bench'")
    expected = torch.nn.init.calculate_gain(*theirs)
    assert gain(ours, convention="torch") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (jnp.sum, "became"),
        (lambda x: jnp.stack([x, x]), "became"),
        (lambda x: x[:3], "IndexError"),
        (lambda x: math.tanh(x), "an array of shape"),
        (lambda x: x + 1j, "complex"),
        (lambda x: None, "NoneType"),
        (lambda x, y: x, "TypeError"),
    ],
)
def test_what_is_not_elementwise_is_refused_in_one_sentence(function, match):
    with pytest.raises(TypeError, match=match) as caught:
        gain(function)
    assert "\n" not in str(caught.value)


def test_step_functions_and_a_kink_given_wrong():
    assert gain(lambda x: x > 0) == pytest.approx(math.sqrt(2), rel=1e-6)
    assert gain(lambda x: jnp.sign(x).astype(int)) == pytest.approx(1, rel=1e-6)
    with pytest.raises(TypeError, match="kinks"):
        gain(jnp.tanh, kinks=0.0)


def test_a_gain_says_by_which_definition():
    import pickle

    found = gain("leaky_relu", 0.2, convention="backward")
    assert (found.activation, found.convention) == ("leaky_relu(negative_slope=0.2)", "backward")
    assert repr(pickle.loads(pickle.dumps(found))) == repr(found)
    assert float(2 * found) == pytest.approx(2 / math.sqrt(0.52))
