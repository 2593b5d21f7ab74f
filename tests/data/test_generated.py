"""Generated data: batches drawn on the device by a key, a fixed test set, and clear refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinit
from jinit import data
from jinit.sweep import run_key
from jinit.sweep._settings import fingerprint
from jinit.train import FitConfig, fit, losses

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=4)


def teacher(key, size):
    x = jax.random.normal(key, (size, 4))
    return x, x @ jnp.asarray(WEIGHTS, jnp.float32)


def addition(key, size):
    a, b = jax.random.randint(key, (2, size), 0, 3)
    return jnp.stack([a, b], axis=1), (a + b) % 3


def parity(key, size):
    bits = jax.random.bernoulli(key, shape=(size, 3))
    return 2.0 * bits - 1, bits.sum(axis=1) % 2 == 1


@pytest.mark.slow
def test_a_generated_set_has_its_test_set_its_task_and_its_words():
    made = data.get(teacher)
    x, y = teacher(jax.random.key(20150201), 1000)
    np.testing.assert_allclose(made.x_test, x, rtol=1e-6)
    np.testing.assert_allclose(made.y_test[:, 0], y, rtol=1e-5)
    assert (made.task, made.outputs, made.name) == ("regression", 1, "teacher")
    assert not np.isin(made.x_train, made.x_test).any()
    assert dict(made.prepared)["rows"].startswith("new examples at every step; 1,000 for tests")
    assert data.get(made) is made
    of_classes = data.generated(addition, outputs=3, test=50, name="mod 3")
    assert (of_classes.task, of_classes.outputs, of_classes.classes) == ("multiclass", 3, (0, 1, 2))
    assert (of_classes.x_test.dtype, of_classes.y_test.shape) == (np.int32, (50,))
    np.testing.assert_array_equal(of_classes.x_test.sum(axis=1) % 3, of_classes.y_test)
    assert data.get(parity).task == "binary"
    held = made.hold_out(0.25)
    assert (len(held.x_validation), held.generator) == (250, made.generator)


@pytest.mark.slow
def test_a_run_is_the_loop_over_batches_of_its_key():
    made, key = data.generated(teacher, test=20), jax.random.key(3)
    state, metrics = fit(
        jnp.zeros(4), made, key, apply=lambda w, x: x @ w, loss=losses.get(None, "regression"),
        optimizer=optax.sgd(0.1), config=FitConfig(steps=30, batch_size=8, evaluations=2),
    )  # fmt: skip
    weights = np.zeros(4)
    for number in range(30):
        x, y = map(np.asarray, teacher(jax.random.fold_in(key, number), 8))
        weights -= 0.1 * 2 / 8 * x.T @ (x @ weights - y)
    np.testing.assert_allclose(state.params, weights, rtol=1e-3, atol=1e-5)
    expected = np.mean((made.x_test @ weights - made.y_test[:, 0]) ** 2)
    np.testing.assert_allclose(metrics["test_loss"], expected, rtol=1e-3)


GRID = {"depth": 1, "width": 4, "steps": 5, "evaluations": 2, "seeds": 2, "batch_size": 2000}


@pytest.mark.full
def test_arms_see_the_same_examples_and_a_changed_function_is_seen():
    arms = ("zeros", "constant(0.0)")
    table = jinit.run(jinit.Grid(**GRID, initializer=arms), data=teacher)
    first, second = (table.select(initializer=arm) for arm in sorted(set(table["initializer"])))
    np.testing.assert_array_equal(first["test_loss"], second["test_loss"])
    assert len(set(first["test_loss"].tolist())) == 2
    assert set(table["dataset"]) == {"teacher"}
    before = WEIGHTS.copy()
    try:
        WEIGHTS[:] = -3 * WEIGHTS
        again = jinit.run(jinit.Grid(**GRID, initializer=arms), data=teacher)
    finally:
        WEIGHTS[:] = before
    assert (again["test_loss"] != table["test_loss"]).all()
    # The test set alone would differ, too: training is that of a function that was never traced.
    changed = -3 * WEIGHTS

    def other(key, size):
        x = jax.random.normal(key, (size, 4))
        return x, x @ jnp.asarray(changed, jnp.float32)

    fresh = jinit.run(jinit.Grid(**GRID, initializer=arms), data=other)
    for metric in ("train_loss", "test_loss"):
        np.testing.assert_array_equal(again[metric], fresh[metric])
    by_hand = teacher(jax.random.fold_in(run_key(0, "data"), 0), 4)[0]
    assert np.isfinite(by_hand).all()


@pytest.mark.full
def test_an_algorithm_is_learned():
    def one_hot(key, size):
        x, y = addition(key, size)
        return jax.nn.one_hot(x, 3).reshape(size, 6), y

    grid = jinit.Grid(**GRID | {"width": 32, "steps": 150, "batch_size": 32},
                      optimizer="adam", learning_rate=0.02)  # fmt: skip
    table = jinit.run(grid, data=data.generated(one_hot, outputs=3))
    assert (table["test_accuracy"] == 1).all()


@pytest.mark.slow
def test_a_fingerprint_is_that_of_the_lowered_function():
    def scaled(factor):
        return lambda key, size: (jax.random.normal(key, (size, 2)), factor * jnp.ones(size))

    def twice(key, size):
        # The values of one sample are those of `once`, the function is another.
        x = jax.random.normal(key, (size, 2))
        return x, jnp.where(x[:, 0] > 1e30, 7.0, 1.0)

    def once(key, size):
        x = jax.random.normal(key, (size, 2))
        return x, jnp.where(x[:, 0] > 1e30, 8.0, 1.0)

    same = fingerprint(data.generated(scaled(1.0), name="a"))
    assert fingerprint(data.generated(scaled(1.0), name="b")) == same
    assert fingerprint(data.generated(scaled(2.0), name="a")) != same
    np.testing.assert_array_equal(data.get(once).y_test, data.get(twice).y_test)
    assert fingerprint(data.get(once)) != fingerprint(data.get(twice))


def tagged(key, size):
    """Tokens 1 to 4 with their tags 0 to 3; 0 pads, with tag −100."""
    x = jax.random.randint(key, (size, 6), 1, 5)
    lengths = jax.random.randint(jax.random.fold_in(key, 1), (size, 1), 2, 7)
    kept = jnp.arange(6) < lengths
    return jnp.where(kept, x, 0), jnp.where(kept, x - 1, -100)


@pytest.mark.full
def test_labels_of_positions_train_as_a_loop_over_the_counted_ones():
    made = data.generated(tagged, outputs=4, task="multiclass", ignore=-100, test=20)
    raw = jax.jit(tagged, static_argnums=1)(jax.random.key(20150201), 20)[1]
    np.testing.assert_array_equal(made.y_test, np.where(raw == -100, -1, raw))
    assert (made.task, made.outputs, made.ignores) == ("multiclass", 4, True)
    assert "one for each of 6 positions; -100 → −1, not counted" in dict(made.prepared)["y"]
    key = jax.random.key(3)
    chosen = dataclasses.replace(losses.get(None, "multiclass"), ignores=True)
    state, _ = fit(
        jnp.zeros((5, 4)), made, key, apply=lambda w, x: w[x], loss=chosen,
        optimizer=optax.sgd(1.0), config=FitConfig(steps=10, batch_size=8),
    )  # fmt: skip
    weights = np.zeros((5, 4))
    for number in range(10):
        x, y = tagged(jax.random.fold_in(key, number), 8)
        tokens, tags = np.asarray(x)[y >= 0], np.asarray(y)[y >= 0]
        shares = np.exp(weights[tokens]) / np.exp(weights[tokens]).sum(1, keepdims=True)
        np.add.at(weights, tokens, -(shares - np.eye(4)[tags]) / len(tags))
    np.testing.assert_allclose(state.params, weights, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_several_labels_of_a_generated_example():
    def signs(key, size):
        x = normal(key, size)
        return x, x > 0

    made = data.generated(signs, task="multilabel", test=30)
    assert (made.task, made.outputs, made.y_test.dtype) == ("multilabel", 2, np.float32)
    np.testing.assert_array_equal(made.y_test, made.x_test > 0)
    assert made.classes == ()


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"outputs": 4}, ValueError, r"shape of y: got \(2, 6\).*task='multiclass'"),
        ({"task": "multiclass", "outputs": 4}, ValueError, "ignore=-100 if this label"),
        ({"task": "multiclass", "ignore": -100}, ValueError, "outputs=10"),
        ({"task": "multiclass", "outputs": 3, "ignore": -100}, ValueError, "outputs=4"),
        ({"task": "multiclass", "outputs": 4, "ignore": 9}, ValueError, "-100, 0, 1, 2, 3"),
        ({"task": "multiclass", "outputs": 4, "ignore": -1.0}, TypeError, "a whole number"),
        ({"task": "multilabel"}, ValueError, "y: got .*0 and 1"),
        ({"task": "multilabel", "outputs": 4}, ValueError, "6 labels of y"),
        ({"task": "regression", "ignore": -100}, ValueError, "None with task='regression'"),
        ({"task": "several"}, ValueError, "task 'several' is not known"),
    ],
)
def test_a_task_that_does_not_fit_generated_labels_is_refused(options, error, match):
    with pytest.raises(error, match=match):
        data.generated(tagged, **options)


@pytest.mark.slow
def test_a_label_of_minus_one_by_mistake_is_no_label_to_ignore():
    def mistaken(key, size):
        x, y = tagged(key, size)
        return x, jnp.where(y == 0, -1, y)

    with pytest.raises(ValueError, match="labels from -2 to 3"):
        data.generated(mistaken, outputs=4, task="multiclass", ignore=-100)


@pytest.mark.slow
def test_a_global_that_has_changed_makes_another_test_set_and_fingerprint(monkeypatch):
    before = data.generated(teacher, test=20)
    first, again = fingerprint(before), fingerprint(data.generated(teacher, test=20))
    monkeypatch.setitem(globals(), "WEIGHTS", 2 * WEIGHTS)
    after = data.generated(teacher, test=20)
    np.testing.assert_allclose(after.y_test, 2 * before.y_test, rtol=1e-6)
    assert first == again != fingerprint(after)


def normal(key, size):
    return jax.random.normal(key, (size, 2))


@pytest.mark.parametrize(
    ("draw", "error", "match"),
    [
        (lambda key, size: normal(key, size), TypeError, r"a pair of arrays \(x, y\)"),
        (lambda key, size: (normal(key, 5), jnp.zeros(5)), ValueError,
         r"shapes of x: got '\(5, 2\) for size 2"),
        (lambda key, size: (normal(key, size), jnp.zeros(size + 1)), ValueError, "shapes of y"),
        (lambda key, size: (normal(key, size)[:, 0], jnp.zeros(size)), ValueError,
         r"\(size, features…\)"),
        (lambda key: key, ValueError, "TypeError: .*positional argument"),
        (lambda key, size: (np.asarray(normal(key, size)), jnp.zeros(size)), ValueError,
         "TracerArrayConversionError.*that JAX can trace"),
        (lambda key, size: (normal(key, size) if normal(key, 1)[0, 0] > 0 else 0, 0), ValueError,
         "that JAX can trace"),
        (lambda key, size: (jnp.asarray(RNG.normal(size=(size, 2))), jnp.zeros(size)),
         ValueError, "equal examples from two keys"),
        (lambda key, size: (1j * normal(key, size), jnp.zeros(size)), TypeError, "real numbers"),
        (lambda key, size: (normal(key, size), jax.random.split(key, size)), TypeError,
         "real numbers"),
        (lambda key, size: (normal(key, size) / 0, jnp.zeros(size)), ValueError, "NaN or inf"),
        (lambda key, size: (normal(key, size), jnp.zeros(size, int)), ValueError, "outputs=10"),
        (lambda key, size: (normal(key, size), jnp.zeros((size, 2), int)), ValueError,
         r"shape of y: got \(2, 2\)"),
    ],
)  # fmt: skip
def test_functions_that_do_not_fit_are_refused(draw, error, match):
    with pytest.raises(error, match=match) as caught:
        data.get(draw)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_options_that_do_not_fit_generated_data_are_refused():
    with pytest.raises(ValueError, match=r"labels from 0 to 2.*outputs=3"):
        data.generated(addition, outputs=2)
    with pytest.raises(ValueError, match="1 targets of y"):
        data.generated(teacher, outputs=3)
    with pytest.raises(ValueError, match="test: got 1"):
        data.generated(teacher, test=1)
    with pytest.raises(TypeError, match="a function"):
        data.generated(3)
    with pytest.raises(ValueError, match="'replacement' for generated data"):
        jinit.plan(jinit.Grid(**GRID, sampling="epochs"), data=teacher)
    with pytest.raises(ValueError, match="label_noise"):
        jinit.plan(jinit.Grid(**GRID, label_noise=0.1), data=parity)
    # A batch may be larger than the sample.
    assert jinit.plan(jinit.Grid(**GRID), data=teacher).runs == 2


@pytest.mark.parametrize(
    ("of_label", "said"),
    [
        (lambda label: jax.nn.one_hot(label, 3), r"0 and 1 of dtype float32, shape \(1000, 3\)"),
        (lambda label: label.astype(float), "3 different whole numbers of dtype float32"),
    ],
)
def test_floats_that_may_be_labels_need_a_task(of_label, said):
    def draw(key, size):
        x = jax.random.normal(key, (size, 4))
        return x, of_label(jnp.argmax(x[:, :3], axis=1))

    with pytest.raises(ValueError, match=said):
        data.generated(draw)
    assert data.generated(draw, task="regression").task == "regression"


def test_large_targets_and_one_class_alone_are_said():
    def draw(key, size):
        x = jax.random.normal(key, (size, 4))
        return x, 100 * x[:, 0]

    with pytest.warns(UserWarning, match="root mean square"):
        data.generated(draw)
    with pytest.warns(UserWarning, match="all labels are of class 0"):
        data.generated(lambda key, size: (draw(key, size)[0], jnp.zeros(size, int)), outputs=2)
