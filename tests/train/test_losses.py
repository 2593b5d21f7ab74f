"""Tests the losses against float64 formulas and scikit-learn, and the registry of losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn import metrics

import jinit
from jinit.train import losses

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(50, 4)) * 3
Y = RNG.integers(0, 4, 50)
B = RNG.integers(0, 2, 50)


@pytest.mark.slow
def test_softmax_cross_entropy():
    exact = metrics.log_loss(Y, special.softmax(Z, axis=1), labels=range(4))
    assert float(losses.softmax_cross_entropy(Z, Y)) == pytest.approx(exact, rel=1e-5)


@pytest.mark.slow
def test_sigmoid_binary_cross_entropy():
    exact = metrics.log_loss(B, special.expit(Z[:, 0]))
    found = losses.sigmoid_binary_cross_entropy(jnp.asarray(Z[:, :1]), jnp.asarray(B))
    assert float(found) == pytest.approx(exact, rel=1e-5)


def test_hinge():
    exact = metrics.hinge_loss(B, Z[:, 0])
    assert float(losses.hinge(jnp.asarray(Z[:, :1]), B)) == pytest.approx(exact, rel=1e-5)


@pytest.mark.slow
def test_multiclass_hinge_is_crammer_singer():
    exact = metrics.hinge_loss(Y, Z, labels=range(4))
    assert float(losses.multiclass_hinge(jnp.asarray(Z), Y)) == pytest.approx(exact, rel=1e-5)


@pytest.mark.full
def test_mean_squared_error():
    target = np.eye(4)[Y]
    found = losses.mean_squared_error(jnp.asarray(Z), jnp.asarray(Y))
    assert float(found) == pytest.approx(np.mean((Z - target) ** 2), rel=1e-5)


@pytest.mark.slow
def test_losses_are_finite_for_huge_outputs():
    huge = jnp.array([[1e30, -1e30]])
    assert float(losses.softmax_cross_entropy(huge, jnp.array([0]))) == 0.0
    assert np.isfinite(float(losses.sigmoid_binary_cross_entropy(huge[:, :1], jnp.array([0]))))


@pytest.mark.slow
def test_accuracy_counts_outputs_that_are_not_finite_as_wrong():
    outputs = jnp.array([[1.0, 0.0], [jnp.nan, 0.0], [0.0, jnp.inf], [0.0, 2.0]])
    found = losses.get("softmax_cross_entropy", "multiclass")
    assert float(found.accuracy(outputs, jnp.array([0, 0, 1, 1]))) == 0.5
    binary = losses.get("hinge", "binary")
    assert float(binary.accuracy(jnp.array([[1.0], [-1.0], [jnp.nan]]), jnp.array([1, 1, 1]))) == (
        pytest.approx(1 / 3)
    )
    regression = losses.get(None, "regression")
    assert np.isnan(float(regression.accuracy(jnp.zeros((2, 1)), jnp.zeros((2, 1)))))


@pytest.mark.parametrize(
    ("name", "task", "match"),
    [
        ("hnge", "binary", "did you mean 'hinge'"),
        ("hinge", "multiclass", "multiclass data set"),
        ("softmax_cross_entropy", "regression", "mean_squared_error"),
    ],
)
def test_bad_names(name, task, match):
    with pytest.raises(ValueError, match=match):
        losses.get(name, task)


def cases():
    """Every registered loss with every task that it trains."""
    return [
        pytest.param(loss, task, id=f"{name}-{task}")
        for name in losses.names()
        for task in ("multiclass", "binary", "regression")
        if task in (loss := losses._REGISTRY.get(name)).tasks
    ]


def batch(loss, task, examples=12):
    """Random outputs and labels of a task with 4 classes, 2 classes, or 3 targets."""
    classes = {"multiclass": 4, "binary": 2, "regression": 3}[task]
    rng = np.random.default_rng(1)
    outputs = jnp.asarray(rng.normal(size=(examples, loss.outputs(classes))), jnp.float32)
    if task == "regression":
        return outputs, jnp.asarray(rng.normal(size=(examples, classes)), jnp.float32)
    return outputs, jnp.asarray(rng.integers(0, classes, examples), jnp.int32)


@pytest.mark.parametrize(("loss", "task"), cases())
class TestEveryLoss:
    @pytest.mark.sampled(3)
    @pytest.mark.slow
    def test_is_the_mean_over_the_batch(self, loss, task):
        outputs, y = batch(loss, task)
        single = [float(loss(outputs[i : i + 1], y[i : i + 1])) for i in range(len(y))]
        assert float(loss(outputs, y)) == pytest.approx(np.mean(single), rel=1e-5)

    @pytest.mark.slow
    def test_falls_along_its_gradient_to_right_answers(self, loss, task):
        loss = losses.get(loss.name, task)
        outputs, y = batch(loss, task)
        start = float(loss(outputs, y))
        step = jax.jit(lambda z: z - 0.5 * len(y) * jax.grad(loss)(z, y))
        for _ in range(100):
            outputs = step(outputs)
        assert float(loss(outputs, y)) < 0.2 * start
        assert task == "regression" or float(loss.accuracy(outputs, y)) == 1.0

    def test_accuracy_is_of_classes_and_counts_nan_as_wrong(self, loss, task):
        loss = losses.get(loss.name, task)
        outputs, y = batch(loss, task)
        found = float(loss.accuracy(outputs.at[0].set(jnp.nan), y))
        if task == "regression":
            assert np.isnan(found)
        else:
            assert found * len(y) == pytest.approx(float(loss.correct(outputs, y)[1:].sum()))

    def test_outputs_fit_the_task(self, loss, task):
        classes = {"multiclass": 4, "binary": 2, "regression": 3}[task]
        assert loss.outputs(classes) == (1 if loss.single_output else classes)
        assert task == "binary" or not loss.single_output

    @pytest.mark.slow
    @pytest.mark.sampled(3)
    def test_trains_in_a_sweep(self, loss, task):
        dataset = {"multiclass": "iris", "binary": "xor", "regression": "linear_teacher"}[task]
        grid = jinit.Grid(dataset=dataset, loss=loss.name, depth=1, width=8, steps=60, seeds=2)
        table = jinit.run(grid)
        assert set(table["loss"]) == {loss.name}
        assert (table.curves["train_loss"][:, -1] < table.curves["train_loss"][:, 0]).all()


def test_every_task_has_a_usual_loss():
    for task in ("multiclass", "binary", "regression"):
        assert task in losses.get(None, task).tasks


def absolute(outputs, y):
    return jnp.abs(outputs - y).mean()


ABSOLUTE = losses.Loss("absolute", absolute, None, ("regression",))


@pytest.fixture
def registered():
    losses.register("absolute", ABSOLUTE)
    yield
    losses._REGISTRY.remove("absolute")


@pytest.mark.full
def test_a_registered_loss_works_wherever_its_name_may_stand(registered, capsys):
    from jinit.cli import main

    assert losses.names()[-1] == "absolute"
    assert losses.get("absolute", "regression").function is absolute
    axes = {"dataset": "linear_teacher", "depth": 0, "steps": 40, "seeds": 2}
    table = jinit.run(jinit.Grid(**axes, loss="absolute"))
    assert set(table["loss"]) == {"absolute"}
    squared = jinit.run(jinit.Grid(**axes))
    assert not np.any(table["train_loss"] == squared["train_loss"])
    arguments = "--dataset linear_teacher --depth 0 --steps 2 --seeds 2 --loss absolute --json"
    assert main(["sweep", *arguments.split(), "--metric", "test_loss"]) == 0
    assert '"absolute"' in capsys.readouterr().out


@pytest.mark.full
def test_a_changed_loss_of_one_name_is_another_program():
    axes = {"dataset": "linear_teacher", "depth": 0, "steps": 5, "seeds": 2, "loss": "absolute"}
    found = []
    for factor in (1.0, 2.0):
        changed = losses.Loss(
            "absolute", lambda z, y, c=factor: c * absolute(z, y), None, ("regression",)
        )
        losses.register("absolute", changed)
        found.append(jinit.run(jinit.Grid(**axes))["train_loss"])
        losses._REGISTRY.remove("absolute")
    assert not np.any(found[0] == found[1])


def test_a_taken_name_is_refused_and_an_equal_loss_changes_nothing(registered):
    losses.register("absolute", losses.Loss("absolute", absolute, None, ("regression",)))
    assert losses.names().count("absolute") == 1
    other = losses.Loss("absolute", losses.mean_squared_error, None, ("regression",))
    with pytest.raises(ValueError, match="a name not yet taken"):
        losses.register("absolute", other)


@pytest.mark.parametrize(
    ("name", "loss", "error", "match"),
    [
        ("mine", absolute, TypeError, "a Loss"),
        ("mine", ABSOLUTE, ValueError, "give it the same name"),
        ("mine", losses.Loss("mine", absolute, None, ()), ValueError, "tasks of loss 'mine'"),
        ("mine", losses.Loss("mine", absolute, None, ("ranking",)), ValueError, "multiclass"),
        ("a b", losses.Loss("a b", absolute, None, ("binary",)), ValueError, "an identifier"),
    ],
)
def test_what_cannot_be_registered(name, loss, error, match):
    with pytest.raises(error, match=match):
        losses.register(name, loss)
    assert name not in losses.names()
