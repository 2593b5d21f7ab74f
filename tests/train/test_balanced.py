"""Balanced accuracy: the mean recall of the classes that are there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

import jinit
from jinit import data, results
from jinit.train import losses
from jinit.train._balanced import BalancedAccuracy, class_metrics

RNG = np.random.default_rng(0)


@pytest.mark.slow
@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 2, 3), (1,)])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_balanced_accuracy_is_scikit_learns(present):
    outputs = RNG.normal(size=(200, 4)).astype(np.float32)
    y = RNG.choice(present, size=200, p=np.array([8, 4, 2, 1][: len(present)]) / sum(
        [8, 4, 2, 1][: len(present)]))  # fmt: skip
    correct = losses.get(None, "multiclass").correct
    found = BalancedAccuracy(correct, 4)(jnp.asarray(outputs), jnp.asarray(y))
    expected = balanced_accuracy_score(y, outputs.argmax(1))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Outputs that are not finite count as wrong, in each lane by itself.
    lanes = jnp.stack([jnp.asarray(outputs), jnp.full((200, 4), jnp.nan)])
    both = jax.vmap(lambda z: BalancedAccuracy(correct, 4)(z, jnp.asarray(y)))(lanes)
    np.testing.assert_allclose(both, [expected, 0.0], rtol=1e-5)


@pytest.mark.slow
def test_binary_losses_decide_by_the_sign():
    outputs, y = np.array([[1.0], [-1], [2], [3]]), np.array([1, 1, 0, 0])
    (_, metric), *rest = class_metrics(
        data.Dataset(outputs, y, outputs, y, task="binary"), losses.get("hinge", "binary")
    )
    assert not rest
    assert float(metric(jnp.asarray(outputs), jnp.asarray(y))) == 0.25


X = RNG.normal(size=(120, 2)).astype(np.float32)
RARE = np.repeat(["common", "rare"], [108, 12])


@pytest.mark.full
def test_a_sweep_has_it_beside_the_accuracy_and_compares_by_it():
    # Kernels of 0 and a rate of nearly 0: the output stays −1, the common class.
    grid = jinit.Grid(
        depth=0, steps=2, evaluations=2, seeds=3, batch_size=4, learning_rate=1e-30,
        initializer=("zeros", "he_normal"), bias_initializer="constant(-1.0)", validation=0.2,
    )  # fmt: skip
    table = jinit.run(grid, data={"x": X, "y": RARE, "split": "stratified(0.25)"})
    constant = table.select(initializer="zeros")
    np.testing.assert_allclose(constant["test_accuracy"], 0.9)
    np.testing.assert_allclose(constant["test_balanced_accuracy"], 0.5)
    np.testing.assert_allclose(constant["best_test_balanced_accuracy"], 0.5)
    assert table.curves["test_balanced_accuracy"].shape == (6, 2)
    found = jinit.compare(table, "test_balanced_accuracy", baseline="zeros")
    assert len(found) == 1
    assert not results._metrics.lower_is_better("test_balanced_accuracy")
    teacher = jinit.run(jinit.Grid(dataset="linear_teacher", depth=0, steps=1, seeds=2))
    assert "test_balanced_accuracy" not in teacher.columns
