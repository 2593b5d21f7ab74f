"""Labels at each position, labels that are not counted, several labels: against NumPy and optax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics

import jinit
from jinit import data
from jinit.train import FitConfig, fit, losses, optimizers
from jinit.train._balanced import BalancedAccuracy
from jinit.train._multilabel import label_accuracy, label_f1
from jinit.train._positions import fitted
from jinit.train._regression import target_metrics
from jinit.train._softened import softened

RNG = np.random.default_rng(0)
X = RNG.integers(0, 5, (30, 6))
Y = (X + 1) % 3
Y[:, 4:] = -1
Y[0] = -1
SEQUENCES = {"x": X, "y": Y, "task": "multiclass", "ignore": -1, "standardize": False}
Z = RNG.normal(size=(30, 6, 3)).astype(np.float32)
BITS = (RNG.random((40, 4)) < [0.1, 0.4, 0.6, 0.9]).astype(float)


def dataset(y, task="multiclass", ignores=False):
    return data.Dataset(X, y, X, y, task=task, outputs=3, ignores=ignores)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "multiclass_hinge"])
@pytest.mark.slow
def test_a_loss_of_positions_is_the_mean_over_the_counted_ones(name):
    loss = fitted(losses.get(name, "multiclass", 3), dataset(Y, ignores=True))
    kept = Y >= 0
    alone = losses.get(name, "multiclass")(jnp.asarray(Z[kept]), jnp.asarray(Y[kept]))
    np.testing.assert_allclose(loss(jnp.asarray(Z), jnp.asarray(Y)), alone, rtol=1e-5)
    # Neither value nor gradient knows the outputs where labels are not counted.
    other = np.where(kept[..., None], Z, 7)
    first, second = (jax.grad(loss)(jnp.asarray(z), jnp.asarray(Y)) for z in (Z, other))
    np.testing.assert_array_equal(np.where(kept[..., None], 0, first), 0)
    np.testing.assert_array_equal(first, second)
    assert float(loss(jnp.asarray(Z), jnp.full_like(Y, -1))) == 0
    # Without such labels every position counts.
    plain = fitted(losses.get(name, "multiclass", 3), dataset(abs(Y)))
    whole = losses.get(name, "multiclass")(Z.reshape(-1, 3), abs(Y).reshape(-1))
    np.testing.assert_allclose(plain(jnp.asarray(Z), jnp.asarray(abs(Y))), whole, rtol=1e-6)


@pytest.mark.slow
def test_accuracies_of_positions_are_scikit_learns():
    loss = fitted(losses.get(None, "multiclass", 3), dataset(Y, ignores=True))
    kept, said = Y >= 0, Z.argmax(-1)
    found = loss.accuracy(jnp.asarray(Z), jnp.asarray(Y))
    np.testing.assert_allclose(found, metrics.accuracy_score(Y[kept], said[kept]), rtol=1e-6)
    balanced = BalancedAccuracy(loss.correct, 3, ignores=True)(jnp.asarray(Z), jnp.asarray(Y))
    expected = metrics.balanced_accuracy_score(Y[kept], said[kept])
    np.testing.assert_allclose(balanced, expected, rtol=1e-5)


def test_smoothing_and_class_weights_of_positions():
    loss = fitted(losses.get(None, "multiclass", 3), dataset(Y, ignores=True))
    weights, kept = (1.0, 2.0, 5.0), Y >= 0
    found = softened(loss, 0.2, weights).training(jnp.asarray(Z), jnp.asarray(Y))
    labels = 0.8 * np.eye(3)[Y[kept]] + 0.2 / 3
    each = optax.softmax_cross_entropy(jnp.asarray(Z[kept]), labels) * np.array(weights)[Y[kept]]
    np.testing.assert_allclose(found, each.mean(), rtol=1e-5)


@pytest.mark.slow
def test_a_binary_label_at_each_position_may_have_one_score():
    y = Y % 2
    loss = fitted(losses.get(None, "binary", 2), dataset(y, "binary"))
    exact = metrics.log_loss(y.ravel(), jax.nn.sigmoid(Z[..., 0]).ravel())
    for outputs in (Z[..., :1], Z[..., 0]):
        np.testing.assert_allclose(loss(jnp.asarray(outputs), jnp.asarray(y)), exact, rtol=1e-5)
        right = loss.accuracy(jnp.asarray(outputs), jnp.asarray(y))
        np.testing.assert_allclose(right, np.mean((Z[..., 0] > 0) == y), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:F-score is ill-defined")
def test_several_labels_are_measured_as_scikit_learn_does():
    z, y = RNG.normal(size=BITS.shape).astype(np.float32), BITS.copy()
    y[:, 0], z[:, 0] = 0, -1  # a label that nobody has or predicts has no F1
    loss = losses.get(None, "multilabel", 4)
    assert loss.name == "sigmoid_cross_entropy"
    probability = jax.nn.sigmoid(z)
    exact = -np.mean(y * np.log(probability) + (1 - y) * np.log(1 - probability))
    given = jnp.asarray(z), jnp.asarray(y, jnp.float32)
    np.testing.assert_allclose(loss(*given), exact, rtol=1e-5)
    np.testing.assert_allclose(loss.accuracy(*given), metrics.accuracy_score(y, z > 0), rtol=1e-6)
    hamming = metrics.hamming_loss(y, z > 0)
    np.testing.assert_allclose(label_accuracy(*given), 1 - hamming, rtol=1e-6)
    f1 = metrics.f1_score(y, z > 0, average="macro", zero_division=np.nan)
    np.testing.assert_allclose(label_f1(*given), f1, rtol=1e-6)


class Tagger(nn.Module):
    """A label for each token by the token alone."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.Embed(5, 4)(x))


@pytest.fixture(scope="module")
def tagged():
    grid = jinit.Grid(
        steps=6, evaluations=2, seeds=2, label_noise=0.5, initializer="lecun_normal", batch_size=8
    )
    return jinit.run(grid, model=Tagger(), data=SEQUENCES, progress=False)


@pytest.mark.full
def test_a_sweep_of_positions_counts_what_is_counted(tagged):
    said = tagged.settings["data"]["arrays"]
    assert "one for each of 6 positions; -1 → −1, not counted (" in said["prepared"]["y"]
    tested = data.from_arrays(**SEQUENCES).y_test
    counts = np.bincount(tested[tested >= 0])
    assert said["majority_share"] == counts.max() / counts.sum()
    assert np.isfinite(tagged["test_loss"]).all()
    assert (tagged["test_balanced_accuracy"] <= 1).all()


@pytest.mark.full
def test_a_run_is_a_loop_over_optax_steps():
    made = data.from_arrays(**SEQUENCES)
    model = Tagger()
    params = model.init(jax.random.key(0), made.x_train[:1])["params"]
    config = FitConfig(steps=5, evaluations=1, batch_size=24, sampling="epochs")
    state, found = fit(
        params, made, jax.random.key(1), apply=lambda p, x: model.apply({"params": p}, x),
        loss=losses.get(None, "multiclass", 3), optimizer=optimizers.make("sgd", 0.5),
        config=config,
    )  # fmt: skip
    x, y = made.x_train, made.y_train  # the batch is the whole set

    def mean(p):
        values = optax.softmax_cross_entropy_with_integer_labels(
            model.apply({"params": p}, x), jnp.maximum(y, 0)
        )
        return (values * (y >= 0)).sum() / (y >= 0).sum()

    for _ in range(5):
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(mean)(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
                 state.params, params)  # fmt: skip
    np.testing.assert_allclose(found["train_loss"], mean(params), rtol=1e-5)


def test_sequences_of_targets_keep_their_shape():
    y = RNG.normal(size=(30, 6, 2))
    made = data.from_arrays(X.astype(float), y, standardize="all")
    assert (made.y_train.shape, made.outputs, len(made.units)) == ((24, 6, 2), 12, 12)
    np.testing.assert_allclose(made.y_train.mean(0), 0, atol=1e-6)
    loss = fitted(losses.get(None, "regression"), made)
    z = RNG.normal(size=made.y_test.shape).astype(np.float32)
    exact = np.mean((z - made.y_test) ** 2)
    for outputs in (z, z.reshape(len(z), -1)):
        np.testing.assert_allclose(loss(jnp.asarray(outputs), made.y_test), exact, rtol=1e-5)
    rmse = dict(target_metrics(made))["rmse"](jnp.asarray(z), made.y_test)
    units = np.array(made.units)[:, 1].reshape(6, 2)
    np.testing.assert_allclose(
        rmse, np.mean(np.sqrt(np.mean((z - made.y_test) ** 2, 0)) * units), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"y": Y}, "need a task.*task='multilabel'"),
        ({"y": BITS[:30]}, "matrix of 0 and 1.*task='multilabel'"),
        ({"y": BITS[:30] * 2, "task": "multilabel"}, "got 2.0.*0 and 1"),
        ({"y": BITS[:30, 0], "task": "multilabel"}, "MultiLabelBinarizer"),
        ({"y": Y, "task": "multiclass", "ignore": 9}, "ignore.*a label that occurs in y: -1, 0"),
        ({"y": Y * 0 - 1, "task": "multiclass", "ignore": -1}, "for every label"),
        ({"y": Y + 0.5, "task": "regression", "ignore": -1}, "task='regression'"),
        ({"y": np.eye(3)[Y], "task": "multiclass"}, "one-hot rows.*argmax"),
        ({"y": BITS[:30], "task": "multilabel", "standardize": "all"}, "standardize"),
    ],
)
def test_bad_labels_are_refused(given, match):
    with pytest.raises((ValueError, TypeError), match=match):
        data.from_arrays(**{"x": X.astype(float)} | given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axes", "model", "given", "match"),
    [
        ({"accumulate": 2}, Tagger(), SEQUENCES, "accumulate.*not counted"),
        ({}, None, SEQUENCES | {"standardize": True}, r"outputs of MLP.*\(batch, 6, 3\)"),
        ({"label_noise": 0.1}, None, {"x": Z[:, 0], "y": BITS[:30], "task": "multilabel"},
         "label_noise.*multilabel"),
        ({"class_weights": "balanced", "loss": lambda outputs, y: outputs.mean((1, 2))}, Tagger(),
         SEQUENCES, "class_weights.*positions"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_training(axes, model, given, match):
    with pytest.raises(ValueError, match=match):
        jinit.plan(jinit.Grid(seeds=2, **axes), model=model, data=given)
