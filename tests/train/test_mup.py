"""Learning rates of the maximal update parametrization: the paper's table, and its refusals."""

import numpy as np
import pytest

from jinit.train import mup_learning_rate


def test_mup_learning_rates():
    rate = mup_learning_rate
    assert [rate(role, 50, 200) for role in ("input", "hidden", "output")] == [1, 0.02, 0.02]
    assert [rate(role, 50, 200, "sgd") for role in ("input", "hidden", "output")] == [200, 4, 0.02]
    assert rate("hidden", 200, 200, "sgd") == 1


def test_one_step_of_sgd_moves_a_hidden_layer_alike_whatever_its_fans():
    # A gradient of rank one, as of one example: Δh = rate · (δ xᵀ) x. With entries x ~ 1 and
    # δ ~ 1/fan_out, the size of a gradient that moves the loss by order 1, Δh stays of order 1.
    for fan_in, fan_out in ((64, 64), (64, 1024), (1024, 64)):
        x, delta = np.ones(fan_in), np.full(fan_out, 1 / fan_out)
        step = mup_learning_rate("hidden", fan_in, fan_out, "sgd") * np.outer(delta, x) @ x
        np.testing.assert_allclose(step, 1.0)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("hidden", 0, 1), "fan_in: got 0"),
        (("hidden", 1, -1), "fan_out: got -1"),
        (("middle", 1, 1), "mup role 'middle'"),
        (("hidden", 1, 1, "lion"), "optimizer 'lion'"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, match):
    with pytest.raises(ValueError, match=match):
        mup_learning_rate(*arguments)
