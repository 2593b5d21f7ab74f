"""Tests losses and metrics of the user in sweeps: the numbers, and what is refused beforehand."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics

import jinit
from jinit import data, models, train
from jinit.train import FitConfig, losses, optimizers

TINY = {"dataset": "iris", "depth": 1, "width": 6, "steps": 12, "evaluations": 3, "seeds": 2}
CURVES = ("train_loss", "test_loss", "test_accuracy", "gradient_norm")


def per_example(outputs, y):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, y)


def mean(outputs, y):
    return per_example(outputs, y).mean()


def decayed(outputs, y, params):
    return mean(outputs, y) + 0.01 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def noisy(outputs, y, key):
    return mean(outputs + jax.random.normal(key, outputs.shape), y)


def macro_f1(outputs, y):
    predicted, classes = outputs.argmax(-1)[:, None], jnp.arange(3)
    hit = ((predicted == classes) & (y[:, None] == classes)).sum(0)
    return (2 * hit / ((predicted == classes).sum(0) + (y[:, None] == classes).sum(0))).mean()


@pytest.fixture(scope="module")
def table():
    arms = {"mean": mean, "single": per_example, "decayed": decayed, "noisy": noisy}
    named = arms | {"usual": "softmax_cross_entropy"}
    return jinit.run(jinit.Grid(**TINY, loss=named, metrics={"f1": macro_f1}, validation=0.2))


@pytest.mark.full
@pytest.mark.parametrize("arm", ["mean", "single"])
def test_an_own_loss_trains_as_the_same_loss_by_name(table, arm):
    own, usual = table.select(loss=arm), table.select(loss="usual")
    for name in CURVES:
        np.testing.assert_allclose(own.curves[name], usual.curves[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(own["test_f1"], usual["test_f1"])


@pytest.mark.full
def test_parameters_and_noise_in_a_loss_change_the_run(table):
    usual = table.select(loss="usual")
    for arm in ("decayed", "noisy"):
        assert (table.select(loss=arm)["train_loss"] > usual["train_loss"] + 1e-3).all()


def trained(loss, **given):
    """One run by the public parts, for the state at its end."""
    iris = data.get("iris")
    model = models.as_model(models.MLP((6, 3)))
    rules = {"*/kernel": "glorot_uniform", "*/bias": "zeros"}
    params = jinit.initialize(jinit.sweep.run_key(0, "init"), model.shapes(iris.x_train[:1]), rules)
    state, found = train.fit(
        params,
        iris,
        jinit.sweep.run_key(0, "data"),
        apply=model.apply,
        loss=loss,
        optimizer=optimizers.make("sgd", 0.1),
        config=FitConfig(steps=12, evaluations=3, **given),
    )
    return model, iris, state, found


@pytest.mark.full
def test_an_own_metric_is_that_of_scikit_learn():
    import dataclasses

    loss = dataclasses.replace(losses.get(None, "multiclass"), metrics=(("f1", macro_f1),))
    model, iris, state, found = trained(loss)
    predicted = np.argmax(model.apply(state.params, iris.x_test), -1)
    exact = metrics.f1_score(iris.y_test, predicted, average="macro")
    assert float(found["test_f1"]) == pytest.approx(exact, rel=1e-6)
    assert found["curve_test_f1"].shape == (3,)
    assert float(found["curve_test_f1"][-1]) == float(found["test_f1"])


@pytest.mark.full
def test_the_noise_of_a_loss_differs_by_step_and_by_seed_and_repeats():
    loss = losses.get(noisy, "multiclass", 3)
    _, _, _, first = trained(loss)
    _, _, _, again = trained(loss)
    np.testing.assert_array_equal(first["curve_train_loss"], again["curve_train_loss"])
    keyed = [loss.at((), step)(jnp.zeros((4, 3)), jnp.zeros(4, int)) for step in range(3)]
    assert len({float(value) for value in keyed}) == 3


@pytest.mark.slow
def test_a_gradient_uses_the_parameters_of_the_loss():
    step = train.make_train_step(
        lambda w, x: x * w, losses.own("d", decayed_square), optax.sgd(1.0)
    )
    state = train.TrainState.create(jnp.array([2.0]), optax.sgd(1.0))
    after, _ = step(state, (jnp.ones((4, 1)), jnp.ones((4, 1))))
    # d/dw mean (w − 1)² + 3 w² = 2 (w − 1) + 6 w
    assert float(after.params[0]) == pytest.approx(2.0 - 2.0 * 1.0 - 6.0 * 2.0)


def decayed_square(outputs, y, params):
    return ((outputs - y) ** 2).mean(-1) + 3.0 * (params**2).sum()


@pytest.mark.slow
def test_metrics_are_columns_curves_and_compared(table):
    for name in ("test_f1", "best_test_f1"):
        assert np.isfinite(table[name]).all()
    assert table.curves["test_f1"].shape == table.curves["validation_f1"].shape == (10, 3)
    found = jinit.compare(table, "test_f1", across="loss", baseline="usual", higher_is_better=True)
    assert {item.metric for item in found} == {"test_f1"}
    assert table.settings["grid"]["loss"] == ["mean", "single", "decayed", "noisy", "usual"]


@pytest.mark.slow
def test_run_and_grid_take_the_same_loss_and_metrics(table):
    grid = jinit.Grid(**TINY, validation=0.2)
    found = jinit.run(grid, loss={"mean": mean}, metrics={"f1": macro_f1})
    for name in CURVES:
        np.testing.assert_array_equal(found.curves[name], table.select(loss="mean").curves[name])
    with pytest.raises(ValueError, match="one of the two places"):
        jinit.plan(jinit.Grid(loss=mean), loss=mean)


@pytest.mark.parametrize(
    ("loss", "error", "match"),
    [
        (lambda outputs, y: outputs, ValueError, r"shape \(89, 10\).*value.mean"),
        (lambda outputs, y: jnp.argmax(outputs, -1), TypeError, "dtype int32.*gradient"),
        (lambda outputs, y: jax.lax.stop_gradient(outputs).mean(), ValueError, "gradient of 0"),
        (lambda outputs, y: jnp.ones(()), ValueError, "gradient of 0"),
        (lambda outputs, y: "loss", TypeError, "'loss'.*one number"),
        (lambda outputs, y: None, TypeError, "None.*one number"),
        (lambda outputs, y: 1 / 0, ValueError, "ZeroDivisionError"),
        (lambda outputs, y: (outputs - y).mean(), ValueError, r"outputs \(batch, 10\) float32 and"),
        (lambda outputs, y: float(outputs.mean()), ValueError, "that JAX can trace"),
        (lambda outputs: outputs.mean(), ValueError, r"a function of \(outputs\)"),
        (lambda outputs, y, weight: outputs.mean(), ValueError, "functools.partial"),
        (3, TypeError, "a function"),
        ("hnge", ValueError, "did you mean 'hinge'"),
        ({"my loss": mean}, TypeError, "an identifier"),
        ((mean, mean), ValueError, "each value once"),
    ],
)
def test_losses_that_are_refused_before_training(loss, error, match):
    with pytest.raises(error, match=match):
        jinit.plan(jinit.Grid(depth=1, loss=loss))


@pytest.mark.parametrize(
    ("metric", "error", "match"),
    [
        ({"m": lambda outputs, y: outputs}, ValueError, r"metric 'm': got 'shape \(359, 10\)'"),
        ({"m": lambda outputs, y: outputs.argmax(-1) == y}, ValueError, r"shape \(359,\)"),
        ({"m": lambda outputs, y: (outputs > 0).all()}, TypeError, "dtype bool"),
        ({"m": lambda outputs, y: "text"}, ValueError, "metric 'm'"),
        ({"m": lambda outputs, y: None}, ValueError, "metric 'm': got 'None'"),
        ({"m": lambda outputs, y: metrics.f1_score(y, outputs)}, ValueError, "jax.numpy"),
        ({"m": 3}, TypeError, "a function"),
        ({"loss": mean}, ValueError, "not yet taken"),
        ({3: mean}, TypeError, "an identifier"),
        ([mean], TypeError, "a mapping"),
    ],
)
def test_metrics_that_are_refused_before_training(metric, error, match):
    with pytest.raises(error, match=match):
        jinit.plan(jinit.Grid(depth=1, metrics=metric))


@pytest.mark.slow
def test_broadcasting_of_one_output_against_labels_is_noticed():
    def squared(outputs, y):
        return ((outputs - y) ** 2).mean()

    def aligned(outputs, y):
        return ((outputs[:, 0] - y) ** 2).mean()

    linear = (lambda x: {"w": jax.ShapeDtypeStruct((2, 1), jnp.float32)}, lambda p, x: x @ p["w"])
    rules = {"rules": lambda kernel, bias: {"w": "zeros"}}
    with pytest.warns(UserWarning, match=r"\(batch, batch\)"):
        jinit.plan(jinit.Grid(dataset="xor"), model=linear, loss=squared, **rules)
    jinit.plan(jinit.Grid(dataset="xor"), model=linear, loss=aligned, **rules)


@pytest.mark.full
@pytest.mark.parametrize("targets", [1, 3])
def test_a_regression_is_reported_in_the_units_of_its_targets(targets):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    scale = np.array([250.0, 0.02, 3.0])[:targets]
    y = 1e3 + scale * (x @ rng.normal(size=(4, targets)) + 0.3 * rng.normal(size=(60, targets)))
    grid = jinit.Grid(depth=1, width=6, steps=15, evaluations=2, seeds=2, validation=0.2)
    raw = {"x": x[:45], "y": y[:45], "x_test": x[45:], "y_test": y[45:], "standardize": "all"}
    outputs = []

    def keep(z, y):
        jax.debug.callback(lambda z: outputs.append(np.array(z)), z)
        return z.mean()

    table = jinit.run(grid, data=raw, metrics={"outputs": keep}, workers=1)
    dataset = data.get(raw)
    mean, deviation = np.array(dataset.units).T
    np.testing.assert_allclose(deviation, y[:45].std(0), rtol=1e-12)
    for run in range(2):
        (z,) = [
            z for z in outputs
            if z.shape == (15, targets) and abs(z.mean() - table["test_outputs"][run]) < 1e-7
        ][:1]  # fmt: skip
        said = z * deviation + mean
        for name, exact in (
            ("test_r2", metrics.r2_score(y[45:], said)),
            ("test_rmse", metrics.root_mean_squared_error(y[45:], said)),
            ("test_mae", metrics.mean_absolute_error(y[45:], said)),
        ):
            assert table[name][run] == pytest.approx(exact, rel=1e-4, abs=1e-4), name
    assert table.curves["validation_r2"].shape == (2, 2)
    assert any("mean" in said for _, said in dataset.prepared if "standardized" in said)


@pytest.mark.slow
def test_r2_of_constant_targets_and_of_other_outputs_is_undefined():
    from jinit.train._regression import TargetMetric

    r2 = TargetMetric("r2", ())
    assert np.isnan(float(r2(jnp.ones((4, 1)), jnp.ones((4, 1)))))
    assert np.isnan(float(r2(jnp.ones((4, 2)), jnp.arange(4.0)[:, None])))
    assert float(r2(jnp.full((4, 1), 1.5), jnp.arange(4.0)[:, None])) == 0.0


@pytest.mark.slow
def test_directions_of_regression_metrics_are_known():
    grid = jinit.Grid(dataset="linear_teacher", depth=0, steps=8, seeds=6,
                      initializer=("normal(3.0)", "zeros"))  # fmt: skip
    table = jinit.run(grid)
    verdicts = {
        metric: jinit.compare(table, metric, baseline="zeros")[0].verdict
        for metric in ("test_r2", "test_rmse", "test_mae", "test_loss")
    }
    assert set(verdicts.values()) == {"loses"}


def test_labels_have_no_mean():
    x, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    with pytest.raises(ValueError, match="standardize=True"):
        data.from_arrays(x, y, standardize="all")


LONG = {"dataset": "iris", "depth": 1, "width": 6, "steps": 60, "evaluations": 7, "seeds": 6,
        "learning_rate": (0.03, 0.3, 1e30)}  # fmt: skip


@pytest.mark.full
def test_a_target_keeps_its_digits():
    for value in (0.9999999, 0.12345678, 0.5):
        assert train.FitConfig(target=f"test_accuracy>={value}").goal.value == value


@pytest.mark.parametrize("target", ["test_loss<=0.8", "test_f1>=0.5", "validation_loss<=0.7"])
def test_steps_to_target_is_the_first_point_of_the_curve_that_reaches_it(target):
    grid = jinit.Grid(**LONG, target=target, metrics={"f1": macro_f1}, validation=0.3)
    table = jinit.run(grid)
    name, value = target.replace(">=", "<=").split("<=")
    curve = table.curves[name]
    reached = curve >= float(value) if ">" in target else curve <= float(value)
    steps = table.curve_steps[reached.argmax(1)]
    np.testing.assert_array_equal(table["steps_to_target"], np.where(reached.any(1), steps, np.inf))
    assert 0 < reached.any(1).mean() < 1


@pytest.mark.full
def test_stopping_at_the_target_leaves_the_bits_of_what_came_before():
    grid = jinit.Grid(**LONG, target="test_accuracy>=0.8", validation=0.3)
    whole = jinit.run(grid)
    stopped = jinit.run(jinit.Grid(**LONG, target=("test_accuracy", 0.8), validation=0.3,
                                   stop_at_target=True))  # fmt: skip
    for name in ("steps_to_target", "diverged", "first_bad_step", "seed"):
        np.testing.assert_array_equal(whole[name], stopped[name])
    last = np.minimum(whole["steps_to_target"], 60)
    for row in range(len(whole)):
        if whole["diverged"][row]:
            continue
        before = whole.curve_steps <= last[row]
        for name, curve in stopped.curves.items():
            np.testing.assert_array_equal(curve[row][before], whole.curves[name][row][before])
            assert np.isnan(curve[row][~before]).all()
        end = before.sum() - 1
        assert stopped["test_loss"][row] == whole.curves["test_loss"][row][end]
        assert stopped["best_step"][row] <= last[row]
    assert len({*last}) > 2
    assert np.isnan(stopped.curves["test_loss"][whole["diverged"], -1]).all()


@pytest.mark.full
def test_a_stopped_run_does_not_depend_on_the_other_runs():
    given = LONG | {"target": "test_accuracy>=0.8", "stop_at_target": True}
    table = jinit.run(jinit.Grid(**given))
    alone = jinit.run(jinit.Grid(**given | {"seeds": (3,), "learning_rate": 0.3}), tile=16)
    row = table.select(seed=3, learning_rate=0.3)
    for name, curve in alone.curves.items():
        np.testing.assert_array_equal(curve, row.curves[name])
    np.testing.assert_array_equal(alone["train_loss"], row["train_loss"])


@pytest.mark.slow
def test_a_loop_ends_with_its_last_lane():
    from jinit.train._early import scan_until

    count = []

    def step(carry, x):
        jax.debug.callback(lambda x: count.append(int(x)), x, ordered=False)
        return carry + x, carry

    def sums(limit):
        return scan_until(step, jnp.zeros((), jnp.int32), jnp.arange(100), lambda c: c >= limit)

    carry, outputs, last = jax.jit(jax.vmap(sums))(jnp.array([1, 6, 10]))
    jax.effects_barrier()
    assert carry.tolist() == [1, 6, 10]
    assert last.tolist() == [1, 3, 4]
    assert outputs[:, :6].tolist() == [[0, 0, -1, -1, -1, -1], [0, 0, 1, 3, -1, -1],
                                       [0, 0, 1, 3, 6, -1]]  # fmt: skip
    assert max(count) == 4
    assert int(jax.jit(sums)(10)[0]) == 10


@pytest.mark.parametrize(
    ("target", "error", "match"),
    [
        ("test_f2>=0.8", ValueError, "did you mean 'test_f1'"),
        ("test_f1=0.8", ValueError, "METRIC>=VALUE"),
        ("test_f1>=high", ValueError, "METRIC>=VALUE"),
        ("test_f1>=nan", ValueError, "value of the target"),
        (("test_f1", 0.8), ValueError, "test_f1>=0.8"),
        (("test_loss", "x"), TypeError, "value of the target"),
        (0.8, TypeError, "text or a pair"),
        ("validation_loss<=1", ValueError, "metric of the target"),
    ],
)
def test_targets_that_are_refused(target, error, match):
    with pytest.raises(error, match=match):
        jinit.plan(jinit.Grid(**TINY, target=target, metrics={"f1": macro_f1}))


@pytest.mark.slow
def test_two_targets_are_refused_and_a_regression_has_one():
    with pytest.raises(ValueError, match="beside target_accuracy"):
        jinit.Grid(target="test_loss<=1", target_accuracy=0.5)
    with pytest.raises(ValueError, match="metric of the target"):
        jinit.plan(jinit.Grid(dataset="linear_teacher", depth=0, target="test_accuracy>=0.5"))
    grid = jinit.Grid(dataset="linear_teacher", depth=0, steps=20, seeds=2, target=("test_r2", 0.5))
    table = jinit.run(grid)
    assert np.isfinite(jinit.summarize(table)[0].steps_to_target)


@pytest.mark.full
def test_the_command_line_takes_a_target_and_stops_there(capsys):
    from jinit.cli import main

    arguments = "--dataset xor --depth 1 --width 4 --steps 8 --seeds 2 --evaluations 3 --json"
    assert (
        main(["sweep", *arguments.split(), "--target", "test_loss<=100", "--stop-at-target"]) == 0
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["columns"]["steps_to_target"] == [1, 1]
    assert main(["sweep", *arguments.split(), "--target", "test_los<=1"]) == 2
    assert "did you mean 'test_loss'" in capsys.readouterr().err


@pytest.mark.full
def test_a_loss_that_is_finite_for_no_run_is_refused_before_training():
    def broken(outputs, y):
        return mean(outputs, y) + jnp.log(-1.0 - (outputs**2).sum())

    def fragile(outputs, y):
        return mean(outputs, y) + 0.0 * jnp.log((outputs**2).sum())

    events = []
    grid = jinit.Grid(**TINY, initializer=("zeros", "he_normal"), loss=broken)
    with pytest.raises(ValueError, match="nan for every seed of every arm"):
        jinit.run(grid, progress=lambda event: events.append(event.kind))
    assert not events
    arms = jinit.Grid(**TINY, initializer=("zeros", "he_normal"), loss=fragile)
    table = jinit.run(arms)
    assert table.select(initializer="zeros")["diverged"].all()
    assert not table.select(initializer="he_normal")["diverged"].any()


@pytest.mark.slow
def test_a_loss_that_is_never_finite_is_said_of_generated_data_and_skipped_steps():
    def teacher(key, size):
        x = jax.random.normal(key, (size, 3))
        return x, x.sum(axis=1)

    arms = {"depth": 1, "width": 4, "steps": 3, "seeds": 4, "evaluations": 1}
    with pytest.raises(ValueError, match="nan for every seed of every arm"):
        jinit.run(
            jinit.Grid(**arms, initializer="he_normal"),
            data=teacher,
            loss=lambda outputs, y: jnp.log(-1.0 - (outputs**2).sum()),
        )
    skips = jinit.Grid(
        **arms, dataset="xor", initializer="normal(1e30)", clip="leaf_norm(1.0, on_nonfinite=skip)"
    )
    with pytest.raises(ValueError, match="for every seed of every arm"):
        jinit.run(skips, tile=2)


@pytest.mark.slow
def test_a_loss_by_name_that_is_finite_for_no_run_stops_after_one_tile():
    events = []
    arms = {"dataset": "xor", "depth": 1, "width": 4, "steps": 3, "seeds": 4, "evaluations": 1}
    huge = jinit.Grid(**arms, initializer=("normal(1e30)", "normal(2e30)"))
    match = r"nan for every seed of every arm \(normal\(stddev=1e\+30\), normal"
    with pytest.raises(ValueError, match=match) as refused:
        jinit.run(huge, tile=2, progress=lambda event: events.append(event.kind))
    assert events.count("tile") < 4
    assert refused.value.table["diverged"].all()
    # One arm that begins well makes failures data.
    mixed = jinit.run(jinit.Grid(**arms, initializer=("normal(1e30)", "zeros")), tile=2)
    assert mixed["diverged"].tolist() == [True] * 4 + [False] * 4
