"""Tests that bad grids are refused and that plans count programs, runs and FLOPs correctly."""

import copy
import dataclasses
import inspect
import io
import math
import pickle

import numpy as np
import pytest

import jinit
from jinit import activations, clipping, data, errors, models, report, sweep
from jinit.sweep._grid import settings
from jinit.sweep._names import NAMES
from jinit.train import FitConfig, losses, optimizers, schedules


@pytest.mark.parametrize(
    ("axes", "error", "match"),
    [
        ({"initializer": "he_norml"}, ValueError, "did you mean 'he_normal'"),
        ({"initializer": ("zeros", "normal(stddev=-1)")}, ValueError, "stddev: got -1"),
        ({"initializer": ("he_normal", "kaiming_normal")}, ValueError, "each value once"),
        ({"initializer": ()}, ValueError, "at least one value"),
        ({"activation": "rleu"}, ValueError, "did you mean 'relu'"),
        ({"dataset": "digit"}, ValueError, "did you mean 'digits'"),
        ({"optimizer": "adma"}, ValueError, "did you mean 'adam'"),
        ({"loss": "hnge"}, ValueError, "did you mean 'hinge'"),
        ({"clip": "leaf_norm(0)"}, ValueError, "threshold: got 0"),
        ({"clip": "leaf(1)"}, ValueError, "did you mean 'leaf_norm'"),
        ({"depth": -1}, ValueError, "depth: got -1"),
        ({"depth": 2.5}, TypeError, "depth: got 2.5"),
        ({"width": 0}, ValueError, "width: got 0"),
        ({"learning_rate": np.array(-1.0)}, ValueError, "learning_rate: got -1"),
        ({"learning_rate": 1e-50}, ValueError, "learning_rate: got 1e-50"),
        ({"learning_rate": (1, 1.0)}, ValueError, "each value once"),
        ({"momentum": (0.1, 0.9)}, ValueError, "optimizer 'sgd', which has none"),
        ({"momentum": 0.5, "optimizer": "rmsprop"}, ValueError, "rmsprop"),
        ({"residual": "no"}, TypeError, "residual"),
        ({"residual": True, "depth": 1}, ValueError, "depth >= 2"),
        ({"steps": 3 * 10**9}, ValueError, "steps"),
        ({"depth": 3000}, ValueError, "depth: got 3000"),
        ({"width": (8, 8)}, ValueError, "each value once"),
        ({"learning_rate": 0}, ValueError, "learning_rate: got 0"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate: got nan"),
        ({"learning_rate": (0.1, -1)}, ValueError, "learning_rate: got -1"),
        ({"momentum": 1.0}, ValueError, "momentum: got 1.0"),
        ({"label_noise": 1.5}, ValueError, "label_noise: got 1.5"),
        ({"gain": math.inf}, ValueError, "gain: got inf"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0"),
        ({"steps": 0}, ValueError, "steps: got 0"),
        ({"target_accuracy": 90}, ValueError, "target_accuracy: got 90"),
        ({"seeds": 0}, ValueError, "seeds: got 0"),
        ({"seeds": (0, 2**32)}, ValueError, "seeds: got 4294967296"),
        ({"seeds": (-1,)}, ValueError, "seeds: got -1"),
        ({"seeds": (1, 2, 1)}, ValueError, "1 more than once"),
        ({"seeds": 1.5}, TypeError, "seeds: got 1.5"),
        ({"data_seeds": ()}, ValueError, "data_seeds"),
        ({"pairing": "none"}, ValueError, "pairing"),
        ({"layer_norm": "layer"}, TypeError, "layer_norm: got 'layer'"),
        (
            {"seeds": 10**6, "depth": tuple(range(20))},
            ValueError,
            r"at most 10,000,000.*20 depth × 1000000 seeds = 20,000,000",
        ),
    ],
)
def test_bad_grids(axes, error, match):
    with pytest.raises(error, match=match) as caught:
        jinit.Grid(**axes)
    assert "\n" not in str(caught.value)


def test_names_are_canonical_and_settings_are_plain():
    grid = jinit.Grid(initializer=("HeNormal", "normal(0.01)"), activation=np.tanh, depth=[1, 2])
    assert grid.initializer == ("he_normal", "normal(stddev=0.01)")
    assert grid.depth == (1, 2)
    assert settings(grid)["activation"] == "tanh"


def test_a_large_grid_allocates_nothing():
    assert jinit.Grid(seeds=10**7).runs == 10**7


@pytest.mark.slow
def test_programs_are_the_product_of_code_axes_only():
    made = jinit.plan(
        jinit.Grid(
            dataset="xor",
            depth=(1, 2),
            activation=("relu", "tanh"),
            initializer=("zeros", "ones"),
            learning_rate=(0.1, 0.2),
            momentum=(0.5, 0.9),
            optimizer="momentum",
            clip=(None, "value(1.0)", "value(2.0)"),
            seeds=3,
        )
    )
    assert len(made.programs) == 2 * 2 * 2
    assert made.runs == 2 * 2 * 2 * 2 * 2 * 3 * 3
    assert sum(program.runs for program in made.programs) == made.runs


@pytest.mark.slow
def test_the_cheapest_program_runs_first_then_the_dearest():
    made = jinit.plan(jinit.Grid(dataset="xor", depth=(1, 4, 2, 3), steps=2, seeds=2))
    assert [program.code["depth"] for program in made.programs] == [1, 4, 3, 2]


@pytest.mark.slow
def test_examples_of_a_step_may_outnumber_the_data():
    """Draws with replacement do; an epoch ends with the data."""
    short = {"dataset": "iris", "depth": 1, "width": 4, "steps": 10, "seeds": 2}
    step = 2 * 10 * (6 * (4 * 4 + 4 * 3) - 2 * 4 * 4)  # FLOPs of one example in all steps
    with_it, without = (
        jinit.plan(jinit.Grid(**short, batch_size=64, accumulate=count)).flops for count in (4, 1)
    )
    assert with_it - without == (256 - 64) * step
    epochs = jinit.Grid(**short, batch_size=5, accumulate=4, sampling="epochs")
    out = io.StringIO()
    report.show(jinit.plan(epochs), stream=out)
    assert "epochs: 6 steps of 20 examples" in out.getvalue()


@pytest.mark.slow
def test_flops_are_those_of_the_layers():
    grid = jinit.Grid(depth=3, width=32, batch_size=16, steps=10, evaluations=1, seeds=2)
    made = jinit.plan(grid)
    layers = [64 * 32, 32 * 32, 32 * 32, 32 * 10]
    step = 16 * (6 * sum(layers) - 2 * layers[0])
    forward = 2 * sum(layers)
    assert made.flops == 2 * (10 * step + 359 * forward + 1438 * forward)


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("axes", "options", "match"),
    [
        ({"batch_size": 2000}, {}, "batch_size: got 2000"),
        ({"loss": "hinge"}, {}, "loss 'hinge'"),
        ({"dataset": "linear_teacher", "label_noise": 0.1}, {}, "label_noise"),
        ({"depth": 3}, {"model": models.MLP((10,))}, "axis 'depth'"),
        ({}, {"model": models.MLP((9,))}, r"outputs of MLP: got \(2, 9\)"),
        ({"dataset": "iris"}, {"data": "wine"}, "dataset"),
        ({}, {"tile": 1}, "tile: got 1"),
        ({"width": 65536, "depth": 64}, {}, "memory of "),
        ({}, {"rules": lambda kernel, bias: {"*/kernel": kernel}}, "no rule"),
        ({"initializer": "identity"}, {"rules": lambda kernel, bias: {"*": kernel}}, "rank 2"),
    ],
)
def test_what_only_a_plan_can_refuse(axes, options, match):
    with pytest.raises(ValueError, match=match):
        jinit.plan(jinit.Grid(**axes), **options)


def test_lists_arrays_and_ranges_are_axes():
    grid = jinit.Grid(
        learning_rate=np.geomspace(0.01, 1, 3), seeds=range(2), depth=np.array([1, 2])
    )
    assert grid.learning_rate == pytest.approx((0.01, 0.1, 1.0))
    assert grid.seeds == (0, 1)
    assert grid.runs == 12


@pytest.mark.slow
def test_functions_of_one_name_are_numbered():
    grid = jinit.Grid(activation=(lambda x: x, lambda x: x * x))
    names = grid.labels("activation")
    assert names[1] == f"{names[0]}#2"
    made = jinit.plan(grid)
    assert {program.labels["activation"] for program in made.programs} == set(names)


def test_options_that_would_do_nothing_to_a_model_are_refused():
    def shapes(x):
        return {"kernel": np.zeros((x.shape[1], 1), np.float32)}

    with pytest.raises(ValueError, match="without biases"):
        jinit.plan(
            jinit.Grid(dataset="xor", bias_initializer=("zeros", "ones")),
            model=(shapes, lambda p, x: x @ p["kernel"]),
        )
    with pytest.raises(TypeError, match="rules"):
        jinit.plan(jinit.Grid(), rules={"*": "zeros"})
    with pytest.raises(TypeError, match=r"a jinit\.Grid"):
        jinit.run({"depth": 1})


def test_help_lists_the_names_of_the_registries():
    """The help must not load JAX and lists a copy of the built-in names."""
    registries = {
        "dataset": data,
        "activation": activations,
        "optimizer": optimizers,
        "clip": clipping,
        "loss": losses,
        "schedule": schedules,
    }
    expected = {axis: registry.names() for axis, registry in registries.items()}
    expected |= {"host": jinit.frameworks.hosts(), "preset": jinit.frameworks.presets()}
    assert expected | {"layer kind": jinit.frameworks.layer_kinds()} == NAMES
    for item in dataclasses.fields(jinit.Grid):
        for name in NAMES.get(item.name, ()):
            assert name in item.metadata["help"]


def test_limits_and_defaults_of_a_run_have_one_source():
    grid = jinit.Grid()
    assert grid.fit_config(grid.batch_size) == FitConfig()
    with pytest.raises(ValueError, match="fix: use 16"):
        jinit.Grid(evaluations=10_001)


@pytest.mark.slow
@pytest.mark.parametrize(
    "twins",
    [
        {"initializer": ("he_normal", jinit.initializers.get("he_normal"))},
        {"initializer": ("he_normal", "kaiming_normal")},
        {"initializer": ("normal(0.1)", "normal(stddev=0.1)")},
        {"activation": ("relu", jinit.activations.get("relu"))},
        {"clip": ("leaf_norm(1)", "leaf_norm(1.0)")},
        {"learning_rate": (0.1, 0.1 + 1e-12)},
        {"gain": (1, 1.0)},
        {"loss": (None, "softmax_cross_entropy")},
    ],
)
def test_two_spellings_of_one_value_are_refused_not_counted_twice(twins):
    with pytest.raises(ValueError, match=r"each value once|differ in float32|twice dataset"):
        jinit.plan(jinit.Grid(**twins, dataset="iris", depth=1, width=4, seeds=2))


def test_a_named_object_is_its_name():
    named = jinit.initializers.get("normal(stddev=0.5)"), jinit.activations.get("relu")
    grid = jinit.Grid(initializer=named[0], activation=named[1])
    assert (grid.initializer, grid.activation) == ("normal(stddev=0.5)", "relu")


@pytest.mark.parametrize(
    ("made", "meant"),
    [
        (lambda: jinit.Grid(seed=3), "seeds"),
        (lambda: dataclasses.replace(jinit.Grid(), learning_rates=0.1), "learning_rate"),
        (lambda: sweep.Settle(margins=0.01), "margin"),
        (lambda: sweep.Halving(factors=3), "factor"),
    ],
)
def test_an_unknown_field_names_the_one_that_was_meant(made, meant):
    with pytest.raises(TypeError, match=f"did you mean '{meant}'") as caught:
        made()
    assert isinstance(caught.value, errors.Refusal)


def test_a_grid_with_checked_fields_is_pickled_and_copied():
    grid = jinit.Grid(seeds=3, depth=(1, 2))
    assert pickle.loads(pickle.dumps(grid)) == grid == copy.deepcopy(grid)
    assert "seeds" in inspect.signature(jinit.Grid).parameters
