"""Tests calibrations as values of a sweep's initializer axis."""

import jax
import numpy as np
import pytest

import jinit
from jinit import calibrate, data, models
from jinit.cli import main
from jinit.report import show
from jinit.sweep._calibrated import BATCH
from jinit.sweep._network import run_key

GRID = {
    "dataset": "digits",
    "depth": 4,
    "width": 16,
    "activation": "tanh",
    "steps": 20,
    "evaluations": 2,
}


@pytest.mark.full
def test_a_calibrated_arm_runs_beside_its_own_initializer():
    arms = ("orthogonal", "lsuv(orthogonal)", "within_layer(he_normal)")
    table = jinit.run(jinit.Grid(initializer=arms, seeds=5, **GRID))
    assert list(dict.fromkeys(table["initializer"])) == list(arms)
    assert not table["diverged"].any()
    losses = [table.select(initializer=arm)["test_loss"] for arm in arms]
    assert not np.allclose(losses[0], losses[1])
    # A run alone has the numbers of the same run among others.
    alone = jinit.run(jinit.Grid(initializer="lsuv(orthogonal)", seeds=(3, 1), **GRID))
    np.testing.assert_allclose(alone["test_loss"], losses[1][[3, 1]].astype(float), rtol=1e-6)
    verdicts = jinit.compare(table, "test_loss", baseline="lsuv(orthogonal)")
    assert len(verdicts) == 2


@pytest.mark.full
def test_its_weights_are_those_of_the_function(digits):
    grid = jinit.Grid(initializer="lsuv(orthogonal, tolerance=0.01)", seeds=2, **GRID)
    assert grid.initializer == "lsuv(orthogonal, tolerance=0.01)"
    from jinit.sweep._lanes import NetworkLanes
    from jinit.sweep._plan import plan

    (program,) = plan(grid).programs
    lanes = NetworkLanes(grid, program)
    lanes.programs(program.tile)
    taken = lanes.take(np.array([1]), None)
    drawn = taken["params"]
    assert taken["calibrated"].tolist() == [True]
    model = models.MLP(features=(16,) * 4 + (10,), activation="tanh")
    x, _ = digits.spread(BATCH)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    rules = {"*/kernel": "orthogonal", "*/bias": "zeros"}
    params = jinit.initialize(run_key(1, "init"), shapes, rules)
    expected, trace = calibrate.lsuv(run_key(1, "calibrate"), model, params, x, tolerance=0.01)
    np.testing.assert_allclose(
        drawn["hidden_2"]["kernel"][0], expected["hidden_2"]["kernel"], rtol=1e-5
    )
    assert bool(trace.converged.all())


@pytest.mark.full
def test_a_calibration_that_does_not_reach_its_goal_is_said(capsys):
    """A network of zeros has no variance to scale; the other arms reach their goal."""
    arms = ("lsuv(zeros)", "orthogonal", "lsuv(orthogonal)")
    table = jinit.run(jinit.Grid(initializer=arms, seeds=3, **GRID))
    reached = {arm: table.select(initializer=arm)["calibrated"].tolist() for arm in arms}
    assert reached == {arms[0]: [False] * 3, arms[1]: [True] * 3, arms[2]: [True] * 3}
    show(table)
    out = " ".join(capsys.readouterr().out.split())
    assert "lsuv(zeros): the calibration did not reach its goal in 3 of 3 runs" in out
    assert out.count("did not reach") == 1


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("lsuv(orthogonal, tolerance=-1)", "tolerance: got -1"),
        ("fixup(he_normal)", "branches of MLP"),
    ],
)
def test_a_bad_calibration_is_refused_before_a_plan_is_made(arm, message):
    with pytest.raises(ValueError, match=message):
        jinit.plan(jinit.Grid(initializer=("he_normal", arm), seeds=2, **GRID))


def test_a_calibration_is_checked_for_every_task_before_a_plan_is_made():
    arms = ("he_normal", "output_bias(he_normal)")
    tasks = ("breast_cancer", "linear_teacher")
    with pytest.raises(ValueError, match="class numbers"):
        jinit.plan(jinit.Grid(initializer=arms, seeds=2, **{**GRID, "dataset": tasks}))


@pytest.mark.full
def test_calibrations_that_look_at_labels_take_the_sweeps_own():
    arms = ("normal(0.001)", "output_bias(normal(0.001))", "gradinit(normal(0.001), steps=9)")
    grid = {**GRID, "dataset": "breast_cancer", "depth": 1, "steps": 1, "learning_rate": 1e-6}
    grid = jinit.Grid(initializer=arms, seeds=4, **grid)
    table, labels = jinit.run(grid), grid.labels("initializer")
    start = [table.select(initializer=arm)["train_loss"].astype(float) for arm in labels]
    share = data.get("breast_cancer").y_train.mean()
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    np.testing.assert_allclose(start[0], np.log(2), atol=1e-3)
    np.testing.assert_allclose(start[1], entropy, atol=3e-3)
    assert not np.array_equal(start[2], start[0])
    regression = {"dataset": "linear_teacher", "depth": 1, "width": 8, "steps": 2}
    with pytest.raises(ValueError, match="class numbers"):
        jinit.run(jinit.Grid(initializer="output_bias(he_normal)", **regression))


@pytest.mark.full
def test_residual_and_doubled_networks_start_at_chance(digits):
    deep = models.ResidualMLP(width=16, blocks=12, outputs=10)
    arms = ("he_normal", "fixup(he_normal)", "skipinit(he_normal)")
    grid = {**GRID, "steps": 1, "learning_rate": 1e-6, "seeds": 3}
    del grid["depth"], grid["width"], grid["activation"]
    table = jinit.run(jinit.Grid(initializer=arms, **grid), model=deep)
    start = {arm: table.select(initializer=arm)["train_loss"].astype(float) for arm in arms}
    np.testing.assert_allclose(start["fixup(he_normal)"], np.log(10), rtol=1e-3)
    assert (start["skipinit(he_normal)"] < start["he_normal"] / 10).all()
    doubled = models.Antisymmetric(models.MLP(features=(16, 16, 10)))
    table = jinit.run(jinit.Grid(initializer="antisymmetric(he_normal)", **grid), model=doubled)
    np.testing.assert_allclose(table["train_loss"].astype(float), np.log(10), rtol=1e-3)
    with pytest.raises(ValueError, match=r"model=jinit\.models\.Antisymmetric"):
        jinit.run(jinit.Grid(initializer="antisymmetric(he_normal)", **grid))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lsuv", "one initializer and named options"),
        ("lsuv(orthogonall)", "did you mean 'orthogonal'"),
        ("lsuv(orthogonal, tol=1)", "tolerance"),
        ("lsuw(orthogonal)", "lsuw"),
    ],
)
def test_bad_specs_are_refused_before_anything_runs(text, message):
    with pytest.raises(ValueError, match=message):
        jinit.Grid(initializer=text)


def test_specs_nest_and_print_back():
    text = "lsuv(he_normal(mode=fan_out), tolerance=0.05)"
    made = calibrate.get(text)
    assert str(calibrate.get(str(made))) == str(made)
    assert made.initializer.with_arguments is not None
    assert str(calibrate.get("lsuv(kaiming_normal_)")) == "lsuv(he_normal)"


def test_a_model_that_cannot_be_opened_is_refused():
    shapes = {"w": jax.ShapeDtypeStruct((64, 10), "float32")}
    model = models.functional(shapes, lambda params, x: x @ params["w"])
    grid = jinit.Grid(dataset="digits", initializer="lsuv(orthogonal)", steps=2, seeds=2)
    rules = lambda kernel, bias: {"w": kernel}  # noqa: E731
    with pytest.raises(ValueError, match="a module of a framework"):
        jinit.run(grid, model=model, rules=rules, layers={"w": "dense"})


@pytest.mark.full
def test_the_command_takes_it(capsys):
    options = "--dataset xor --depth 2 --width 8 --steps 5 --seeds 2"
    arguments = ["sweep", *options.split(), "--initializer", "he_normal", "lsuv(orthogonal)"]
    assert main(arguments) == 0
    assert "lsuv(orthogonal)" in capsys.readouterr().out
