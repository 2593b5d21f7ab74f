"""Losses against float64 formulas and scikit-learn."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from jinit.train import losses

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(50, 4)) * 3
Y = RNG.integers(0, 4, 50)
B = RNG.integers(0, 2, 50)


def test_softmax_cross_entropy():
    exact = metrics.log_loss(Y, special.softmax(Z, axis=1), labels=range(4))
    assert float(losses.softmax_cross_entropy(Z, Y)) == pytest.approx(exact, rel=1e-5)


def test_sigmoid_binary_cross_entropy():
    exact = metrics.log_loss(B, special.expit(Z[:, 0]))
    found = losses.sigmoid_binary_cross_entropy(jnp.asarray(Z[:, :1]), jnp.asarray(B))
    assert float(found) == pytest.approx(exact, rel=1e-5)


def test_hinge():
    exact = metrics.hinge_loss(B, Z[:, 0])
    assert float(losses.hinge(jnp.asarray(Z[:, :1]), B)) == pytest.approx(exact, rel=1e-5)


def test_multiclass_hinge_is_crammer_singer():
    exact = metrics.hinge_loss(Y, Z, labels=range(4))
    assert float(losses.multiclass_hinge(jnp.asarray(Z), Y)) == pytest.approx(exact, rel=1e-5)


def test_mean_squared_error():
    target = np.eye(4)[Y]
    found = losses.mean_squared_error(jnp.asarray(Z), jnp.asarray(Y))
    assert float(found) == pytest.approx(np.mean((Z - target) ** 2), rel=1e-5)


def test_losses_are_finite_for_huge_outputs():
    huge = jnp.array([[1e30, -1e30]])
    assert float(losses.softmax_cross_entropy(huge, jnp.array([0]))) == 0.0
    assert np.isfinite(float(losses.sigmoid_binary_cross_entropy(huge[:, :1], jnp.array([0]))))


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
