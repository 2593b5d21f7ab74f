"""Gains against closed forms, scipy and torch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "exact"),
    [("relu", math.sqrt(2)), ("identity", 1.0), ("sin", 1 / math.sqrt((1 + math.exp(-2)) / 2))],
)
def test_backward_gain_closed_forms(name, exact):
    assert gain(name, convention="backward") == pytest.approx(exact, rel=1e-6)


@pytest.mark.slow
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


@pytest.mark.slow
def test_step_functions_and_a_kink_given_wrong():
    assert gain(lambda x: x > 0) == pytest.approx(math.sqrt(2), rel=1e-6)
    assert gain(lambda x: jnp.sign(x).astype(int)) == pytest.approx(1, rel=1e-6)
    with pytest.raises(TypeError, match="kinks"):
        gain(jnp.tanh, kinks=0.0)


@pytest.mark.slow
def test_a_gain_says_by_which_definition():
    import pickle

    found = gain("leaky_relu", 0.2, convention="backward")
    assert (found.activation, found.convention) == ("leaky_relu(negative_slope=0.2)", "backward")
    assert repr(pickle.loads(pickle.dumps(found))) == repr(found)
    assert float(2 * found) == pytest.approx(2 / math.sqrt(0.52))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phi", "expected"),
    [
        (lambda x: jnp.sin(100 * x), math.sqrt(2)),
        (lambda x: jnp.sin(300 * x), math.sqrt(2)),
        (lambda x: jnp.exp(6 * x), math.exp(-36)),
        (lambda x: 1e-25 * x, 1e25),
        (lambda x: 1e25 * x, 1e-25),
        (lambda x: jnp.exp(-(((x - 0.3) / 0.003) ** 2) / 2), 22.205938),
    ],
)
def test_steep_narrow_large_and_small_functions(phi, expected):
    assert gain(phi) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("steepness", [30.0, 100.0])
def test_steep_functions_against_scipy(steepness):
    found = gain(lambda x: jnp.tanh(steepness * x))
    second = 1 - 2 * integrate.quad(
        lambda z: np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / np.cosh(steepness * z) ** 2,
        0, 1, epsabs=1e-14, limit=500, points=[1 / steepness],
    )[0]  # fmt: skip
    assert found == pytest.approx(1 / math.sqrt(second), rel=1e-8)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "phi",
    [
        lambda x: 1 / x,
        lambda x: jnp.where((x > 0.4) & (x < 0.45), 100.0, 0.0),  # two jumps in one cell
        lambda x: jnp.exp(x**2 / 4),  # E φ² is infinite
    ],
)
@pytest.mark.slow
def test_what_the_quadrature_does_not_resolve_is_refused(phi):
    with pytest.raises(ValueError, match="does not resolve"):
        gain(phi)


def test_functions_that_are_no_numbers_on_a_part_of_the_line_are_refused():
    with pytest.raises(ValueError, match=r"at -2\.1: got nan"):
        gain(jnp.sqrt)


@pytest.mark.slow
def test_a_signal_between_two_jumps_needs_kinks():
    def narrow(x):
        return jnp.where(abs(x - 1.2345) < 0.0005, 100.0, 0.0)

    with pytest.raises(ValueError, match="kinks="):
        gain(narrow)
    share = (math.erf(1.235 / 2**0.5) - math.erf(1.234 / 2**0.5)) / 2
    assert gain(narrow, kinks=(1.234, 1.235)) == pytest.approx(0.01 / share**0.5, rel=1e-6)


@pytest.mark.parametrize("over", [jax.jit, jax.grad, jax.vmap])
def test_functions_of_traced_values_are_refused(over):
    def gain_of(slope):
        return gain(lambda x: slope * jax.nn.relu(x)) * slope

    given = jnp.ones((1,) if over is jax.vmap else ())
    with pytest.raises(TypeError, match="function of its input alone"):
        over(gain_of)(given)


def test_functions_of_the_whole_array_are_refused():
    with pytest.raises(TypeError, match="other entries"):
        gain(lambda x: x - x.mean())


def test_names_of_functions_are_not_trusted():
    def tanh(x):
        return 3 * x

    with pytest.raises(ValueError, match="torch gain"):
        gain(tanh, convention="torch")
    assert gain(jnp.tanh, convention="torch") == pytest.approx(5 / 3)
