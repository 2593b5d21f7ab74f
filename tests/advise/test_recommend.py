"""Recommendations: what is measured, ranked and printed."""

import json
import math

import pytest

from jinit import advise, theory
from jinit.advise._recommend import _candidates
from jinit.cli import main
from jinit.models import MLP, ResidualMLP


@pytest.mark.full
def test_an_initializer_that_keeps_the_signal_is_first():
    found = advise.recommend(
        MLP(features=(48,) * 12 + (4,)), 48, seeds=4,
        candidates=("lecun_normal", "he_normal", "normal(0.01)"),
    )  # fmt: skip
    assert found[0].initializer == "he_normal"
    assert found[0].score < found[1].score < found[2].score
    assert found[1].forward / math.log(2) == pytest.approx(-11, abs=1e-6)
    assert found[1].measured_forward == pytest.approx(found[1].forward, abs=2)
    assert '"*/kernel": "he_normal"' in found[0].code


@pytest.mark.full
def test_one_initializer_under_two_names_is_one_candidate():
    found = advise.recommend(
        MLP(features=(8, 2)), 8, seeds=2, candidates=("he_normal", "kaiming_normal_")
    )
    assert [each.initializer for each in found] == ["he_normal"]


@pytest.mark.full
def test_initializers_that_let_nothing_through_are_last():
    model = MLP(features=(32,) * 8 + (4,))
    found = advise.recommend(
        model, 32, seeds=4, candidates=("zeros", "normal(1e-30)", "ones", "he_normal")
    )
    assert [each.initializer for each in found[:2]] == ["he_normal", "ones"]
    for each in found[2:]:
        assert (each.score, each.dead) == (math.inf, 1.0)
        assert each.reason.startswith("signal is 0 in 100 % of networks")


@pytest.mark.full
def test_inputs_that_become_parallel_count():
    """He's ReLU brings inputs together, as 1/l²; a chaotic tanh network keeps them apart."""
    relu, tanh = (
        advise.recommend(MLP(features=(64,) * 20 + (4,), activation=activation), 64, seeds=4,
                         candidates=("he_normal",))[0]
        for activation in ("relu", "tanh")
    )  # fmt: skip
    closer = theory.propagate("relu", 2**0.5, depth=20, c=0.0).gap
    assert relu.angle == pytest.approx(math.log(closer[0] / closer[19]), abs=0.7)
    assert abs(tanh.angle) < 0.3
    for each in (relu, tanh):
        parts = abs(each.measured_forward), abs(each.measured_backward), each.spread, each.angle
        assert each.score == pytest.approx(sum(parts))


@pytest.mark.full
@pytest.mark.slow
def test_the_candidates_of_theory_are_measured():
    names = {each.initializer.partition("(")[0] for each in advise.recommend(
        MLP(features=(16, 16, 2), activation="tanh"), 16, seeds=2)}  # fmt: skip
    assert {"he_normal", "edge_of_chaos", "scaled_for", "orthogonal"} <= names


@pytest.mark.full
def test_activations_may_have_arguments():
    model = MLP((16, 16, 4), activation="leaky_relu(0.3)")
    found = {each.initializer: each for each in advise.recommend(model, 16, seeds=2)}
    exact = next(each for spec, each in found.items() if spec.startswith("scaled_for(activation='"))
    assert exact.forward == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_a_network_too_deep_for_isometry_has_the_other_candidates():
    model = MLP((16,) * 100 + (4,), activation="leaky_relu(0.95)")
    assert theory.isometry(model.activation).attainable
    with pytest.raises(ValueError, match="isometry of"):
        theory.isometric_point(model.activation, 100)
    assert len(_candidates(model, ())) > 5


@pytest.mark.full
def test_the_command_prints_the_ranking(capsys):
    arguments = ["recommend", "--depth", "6", "--width", "16", "--seeds", "2", "--initializer"]
    assert main([*arguments, "he_normal", "lecun_normal"]) == 0
    out = capsys.readouterr().out
    assert out.index("he_normal") < out.index("lecun_normal")
    assert "jinit.initialize(key, shapes" in out
    assert main([*arguments, "he_normal", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["initializer"] == "he_normal"
    assert main(["recommend", "--depth", "0"]) == 2


@pytest.mark.parametrize("model", [ResidualMLP(width=8, blocks=1, outputs=2), "MLP", None, 5])
def test_only_an_mlp_gets_recommendations(model):
    with pytest.raises(TypeError, match=r"model: got .* allowed: a jinit\.models\.MLP"):
        advise.recommend(model, 8)
