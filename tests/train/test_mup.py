"""Learning rates of the maximal update parametrization: the paper's table, and its refusals."""

import pytest

from jinit.train import mup_learning_rate


def test_mup_learning_rates():
    rate = mup_learning_rate
    assert [rate(role, 50, 200) for role in ("input", "hidden", "output")] == [1, 0.02, 0.02]
    assert [rate(role, 50, 200, "sgd") for role in ("input", "hidden", "output")] == [200, 1, 0.02]


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
