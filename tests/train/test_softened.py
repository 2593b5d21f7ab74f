"""Tests label smoothing and class weights against optax, torch and scikit-learn."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special
from sklearn import metrics
from sklearn.utils import class_weight

import jinit
from jinit import data
from jinit.train import losses
from jinit.train._softened import softened

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(50, 4)).astype(np.float32) * 3
Y = RNG.choice(4, 50, p=[0.6, 0.2, 0.1, 0.1])
B = RNG.integers(0, 2, 50)
TINY = {"dataset": "iris", "depth": 1, "width": 6, "steps": 12, "evaluations": 3, "seeds": 3}


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_smoothed_labels_are_those_of_optax_and_torch(share):
    smooth = softened(losses.get(None, "multiclass"), share)
    labels = optax.smooth_labels(jax.nn.one_hot(Y, 4), share)
    exact = optax.softmax_cross_entropy(Z, labels).mean()
    assert float(smooth.training(Z, Y)) == pytest.approx(float(exact), rel=1e-5)
    torch = pytest.importorskip("torch")
    other = torch.nn.functional.cross_entropy(
        torch.tensor(Z), torch.tensor(Y), label_smoothing=share
    )
    assert float(smooth.training(Z, Y)) == pytest.approx(float(other), rel=1e-5)


@pytest.mark.slow
def test_two_classes_are_smoothed_alike_by_one_output_and_by_two():
    one = softened(losses.get(None, "binary"), 0.3)
    two = softened(losses.get("softmax_cross_entropy", "binary"), 0.3)
    z = Z[:, :1]
    both = np.concatenate([np.zeros_like(z), z], axis=1)
    assert float(one.training(z, B)) == pytest.approx(float(two.training(both, B)), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "multiclass_hinge"])
def test_class_weights_are_factors_on_the_losses_of_examples(name):
    weights = (0.5, 2.0, 0.0, 3.0)
    plain = losses.get(name, "multiclass")
    each = [float(plain(Z[i : i + 1], Y[i : i + 1])) for i in range(50)]
    found = float(softened(plain, None, weights).training(jnp.asarray(Z), jnp.asarray(Y)))
    factors = np.array(weights)[Y]
    assert found == pytest.approx(np.mean(factors * each), rel=1e-5)
    if name == "softmax_cross_entropy":
        exact = metrics.log_loss(Y, special.softmax(Z, 1), sample_weight=factors, labels=range(4))
        assert found == pytest.approx(exact * factors.mean(), rel=1e-4)


def imbalanced():
    x = RNG.normal(size=(80, 3)).astype(np.float32)
    return data.from_arrays(x, np.repeat([0, 1, 2], [50, 20, 10]), split="stratified(0.2)")


def test_balanced_weights_are_those_of_scikit_learn():
    dataset = imbalanced()
    program = jinit.plan(jinit.Grid(depth=0, class_weights="balanced"), data=dataset).programs[0]
    exact = class_weight.compute_class_weight("balanced", classes=np.arange(3), y=dataset.y_train)
    np.testing.assert_allclose(program.network.weights, exact)


@pytest.mark.full
def test_smoothing_is_an_axis_of_one_program_and_zero_has_the_bits_of_no_smoothing():
    plain = jinit.run(jinit.Grid(**TINY))
    grid = jinit.Grid(**TINY, label_smoothing=(0.0, 0.1, 0.5))
    assert len(jinit.plan(grid).programs) == 2
    table = jinit.run(grid)
    for name in ("train_loss", "test_loss"):
        zero = table.select(label_smoothing=0.0)
        np.testing.assert_array_equal(zero.curves[name], plain.curves[name])
    curves = [table.select(label_smoothing=a).curves["train_loss"][:, 0] for a in (0.1, 0.5)]
    assert (curves[0] != curves[1]).all()
    # Evaluations take the plain loss, which a smoothed run cannot make smaller than the entropy.
    assert (table["train_loss"] < 2).all()


@pytest.mark.full
def test_weights_of_one_are_the_plain_loss_and_weights_of_a_class_help_the_class():
    plain = jinit.run(jinit.Grid(**TINY))
    ones = jinit.run(jinit.Grid(**TINY, class_weights=(1, 1, 1)))
    np.testing.assert_allclose(ones["test_loss"], plain["test_loss"], rtol=1e-4)

    def of_class_2(outputs, y):
        return jnp.where(y == 2, outputs.argmax(-1) == 2, False).sum() / (y == 2).sum()

    shares = [
        jinit.run(jinit.Grid(**TINY, class_weights=weights), metrics={"last": of_class_2})
        for weights in ((1, 1, 0.0), (0.1, 0.1, 3.0))
    ]
    assert shares[0]["test_last"].mean() < 0.1 < 0.8 < shares[1]["test_last"].mean()


@pytest.mark.full
def test_own_losses_have_weights_if_they_say_what_each_example_loses():
    def each(outputs, y):
        return optax.softmax_cross_entropy_with_integer_labels(outputs, y)

    weights = {"class_weights": (0.2, 1.0, 2.0)}
    own = jinit.run(jinit.Grid(**TINY, **weights, loss=each))
    usual = jinit.run(jinit.Grid(**TINY, **weights))
    np.testing.assert_allclose(own["test_loss"], usual["test_loss"], rtol=1e-4)
    with pytest.raises(ValueError, match="one value per example"):
        jinit.plan(jinit.Grid(**TINY, **weights, loss=lambda z, y: each(z, y).mean()))


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"class_weights": "balance"}, ValueError, "balanced"),
        ({"class_weights": 2.0}, TypeError, "one number per class"),
        ({"class_weights": (1.0, 2.0)}, ValueError, "each of the 3 classes"),
        ({"class_weights": (1.0, 2.0, -1.0)}, ValueError, "class weight"),
        ({"class_weights": (0, 0, 0)}, ValueError, "one weight > 0"),
        ({"class_weights": (1.0, "x", 1.0)}, TypeError, "class weight"),
        ({"label_smoothing": 1.0}, ValueError, "label_smoothing"),
        ({"label_smoothing": -0.1}, ValueError, "label_smoothing"),
        ({"label_smoothing": 0.1, "loss": "multiclass_hinge"}, ValueError, "cross_entropy"),
        ({"label_smoothing": 0.1, "dataset": "linear_teacher"}, ValueError, "cross_entropy"),
        ({"class_weights": "balanced", "dataset": "linear_teacher"}, ValueError, "classes"),
    ],
)
def test_what_is_refused(given, error, match):
    with pytest.raises(error, match=match):
        jinit.plan(jinit.Grid(**TINY | given))


@pytest.mark.full
def test_the_command_line_takes_both(capsys):
    from jinit.cli import main

    given = [
        "--dataset",
        "iris",
        "--depth",
        "0",
        "--steps",
        "2",
        "--seeds",
        "2",
        "--json",
        "--label-smoothing",
        "0",
        "0.1",
    ]
    for weights in (["balanced"], ["1", "2.5", "1"]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert main(["sweep", *given, "--class-weights", *weights]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert sorted(set(printed["columns"]["label_smoothing"])) == [0.0, 0.1]
    assert main(["sweep", *given, "--class-weights", "equal"]) == 2
    assert "balanced" in capsys.readouterr().err
