"""Tests one step and one run against plain loops, known answers, and runs that overflow."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jinit import clipping, data, models, parameters
from jinit.train import (
    FitConfig,
    StatefulApply,
    Status,
    TrainState,
    fit,
    losses,
    make_train_step,
    optimizers,
)
from jinit.train._batches import _high_word, minibatch

RULES = {"*/kernel": "he_normal", "*/bias": "zeros"}
SOFTMAX = losses.get(None, "multiclass")


def network(digits, features=(16, 16, 10), activation="relu", seed=0):
    model = models.as_model(models.MLP(features, activation))
    params = parameters.initialize(jax.random.key(seed), model.shapes(digits.x_train[:1]), RULES)
    return model, params


@pytest.mark.slow
def test_fit_is_the_plain_loop(digits):
    model, params = network(digits)
    config = FitConfig(steps=25, batch_size=16, evaluations=5)
    key, optimizer = jax.random.key(9), optimizers.make("momentum", 0.05)
    state, metrics = fit(
        params, digits, key, apply=model.apply, loss=SOFTMAX, optimizer=optimizer, config=config
    )
    step = jax.jit(make_train_step(model.apply, SOFTMAX, optimizer))
    expected, losses_seen = TrainState.create(params, optimizer), []
    for number in range(25):
        chosen = minibatch(key, number, 16, len(digits.x_train))
        batch = (digits.x_train[chosen], digits.y_train[chosen])
        expected, seen = step(expected, batch)
        losses_seen.append(float(seen.loss))
    for ours, exact in zip(*map(jax.tree.leaves, (state.params, expected.params)), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=2e-4, atol=2e-6)
    assert int(state.step) == 25
    outputs = model.apply(expected.params, digits.x_test)
    assert float(metrics["test_accuracy"]) == pytest.approx(
        float(np.mean(np.argmax(outputs, -1) == digits.y_test)), abs=0.01
    )
    stops = config.evaluation_steps()
    means = [np.mean(losses_seen[a:b]) for a, b in zip((0, *stops[:-1]), stops, strict=True)]
    np.testing.assert_allclose(metrics["curve_train_loss"], means, rtol=1e-3)
    assert np.isnan(metrics["clip_fraction"])


@pytest.mark.slow
def test_logistic_regression_learns_what_it_should():
    separable = data.get("two_moons")
    model = models.as_model(models.MLP((1,)))
    params = parameters.initialize(
        jax.random.key(0), model.shapes(separable.x_train[:1]), {"*": "zeros"}
    )
    for name in ("sigmoid_binary_cross_entropy", "hinge"):
        _, metrics = fit(
            params,
            separable,
            jax.random.key(0),
            apply=model.apply,
            loss=losses.get(name, "binary"),
            optimizer=optimizers.make("sgd", 0.5),
            config=FitConfig(steps=200, target_accuracy=0.8),
        )
        assert 0.8 < float(metrics["test_accuracy"]) < 0.95
        assert 1 <= int(metrics["steps_to_target"]) <= 200


@pytest.mark.slow
def test_regression_recovers_the_teacher():
    teacher = data.get("linear_teacher")
    model = models.as_model(models.MLP((4,)))
    params = parameters.initialize(jax.random.key(0), model.shapes(teacher.x_train[:1]), RULES)
    _, metrics = fit(
        params,
        teacher,
        jax.random.key(0),
        apply=model.apply,
        loss=losses.get(None, "regression"),
        optimizer=optimizers.make("sgd", 0.3),
        config=FitConfig(steps=500),
    )
    # The noise has standard deviation 0.01.
    assert float(metrics["test_loss"]) < 3e-4
    assert np.isnan(metrics["test_accuracy"])
    assert int(metrics["steps_to_target"]) == -1


@pytest.mark.slow
def test_a_broken_lane_freezes_is_dated_and_leaves_the_others_alone():
    squared, sgd = lambda z, y: ((z - y) ** 2).mean(), optax.sgd(1.0)
    step = jax.jit(jax.vmap(make_train_step(lambda w, x: x * w, squared, sgd), in_axes=(0, None)))
    # At rate 1 on (2w − 1)² a step multiplies w − ½ by −7; a run that starts at ½ stays there.
    starts = jnp.array([1.0, 0.5, 1e18, 1e30])
    states = jax.vmap(lambda w: TrainState.create(w, sgd))(starts)
    batch = (jnp.full(2, 2.0), jnp.ones(2))
    for _ in range(60):
        before = states
        states, _ = step(states, batch)
        frozen = np.asarray(before.status) != Status.RUNNING
        np.testing.assert_array_equal(states.params[frozen], before.params[frozen])
        assert np.isfinite(states.params).all()
    assert states.status.tolist()[1] == Status.RUNNING
    assert states.status.tolist()[0] == Status.LOSS_NOT_FINITE
    assert states.status.tolist()[3] == Status.LOSS_NOT_FINITE
    assert int(states.step[1]) == 60
    assert int(states.step[3]) == 0
    # |w| passes 9.2e18, where (2w)² overflows, after ln(1.84e19)/ln(7) = 22.8 steps.
    assert int(states.step[0]) == 23


@pytest.mark.slow
def test_a_gradient_that_breaks_first_is_named():
    # √|w| at 0: finite loss, infinite gradient.
    step = make_train_step(lambda w, x: jnp.sqrt(w) * x, lambda z, y: z.sum(), optax.sgd(0.1))
    state, seen = step(TrainState.create(jnp.zeros(()), optax.sgd(0.1)), (jnp.ones(1), jnp.ones(1)))
    assert int(state.status) == Status.GRADIENT_NOT_FINITE
    assert float(state.params) == 0.0
    assert np.isfinite(seen.loss)


def test_a_large_finite_gradient_is_clipped_not_frozen():
    optimizer = optax.chain(clipping.clip_by_global_norm(1.0), optax.sgd(1.0))
    step = make_train_step(lambda w, x: 1e25 * w * x, lambda z, y: z.mean(), optimizer)
    state = TrainState.create(jnp.zeros(()), optimizer)
    state, seen = jax.jit(step)(state, (jnp.ones(1), jnp.ones(1)))
    assert float(seen.gradient_norm) == pytest.approx(1e25)
    assert float(state.params) == pytest.approx(-1.0)
    assert int(state.status) == Status.RUNNING


def bad_batch_run(optimizer, xs):
    """√(w x) against 1 from w = 4; at x = 0 the slope is infinite and the gradient 0 · ∞ = NaN."""
    step = make_train_step(
        lambda w, x: jnp.sqrt(w * x), lambda z, y: ((z - y) ** 2).mean(), optimizer
    )
    state = TrainState.create(jnp.float32(4.0), optimizer)
    for x in xs:
        state, _ = jax.jit(step)(state, (jnp.full(2, x), jnp.ones(2)))
    return state


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        optax.chain(clipping.clip_by_global_norm(1.0, on_nonfinite="skip"), optax.sgd(0.1)),
        optax.chain(clipping.clip_by_leaf_norm(1.0, on_nonfinite="zero"), optax.sgd(0.1)),
        optax.apply_if_finite(optax.chain(clipping.clip_by_value(1.0), optax.sgd(0.1)), 5),
        optimizers.make("sgd", 0.1, clip="leaf_norm(on_nonfinite=skip)"),
    ],
)
def test_a_bad_batch_costs_one_step_if_the_optimizer_skips_it(optimizer):
    state = bad_batch_run(optimizer, (1.0, 0.0, 1.0, 1.0))
    good = bad_batch_run(optimizer, (1.0, 1.0, 1.0))
    assert int(state.status) == Status.RUNNING
    assert float(state.params) == float(good.params) < 4.0
    assert int(state.step) == 4


@pytest.mark.slow
def test_a_clip_that_does_not_skip_freezes_as_before():
    for clip in (clipping.clip_by_global_norm(1.0), clipping.clip_by_value(1.0)):
        state = bad_batch_run(optax.chain(clip, optax.sgd(0.1)), (1.0, 0.0, 1.0))
        assert int(state.status) == Status.GRADIENT_NOT_FINITE
        assert int(state.step) == 1


@pytest.mark.slow
def test_skipping_does_not_hide_parameters_that_overflow():
    optimizer = optax.chain(clipping.clip_by_value(1.0, on_nonfinite="skip"), optax.sgd(3.4e38))
    step = make_train_step(lambda w, x: w * x, lambda z, y: z.mean(), optimizer)
    state = TrainState.create(jnp.float32(-1e38), optimizer)
    state, _ = step(state, (jnp.ones(1), jnp.ones(1)))
    assert int(state.status) == Status.GRADIENT_NOT_FINITE
    assert float(state.params) == np.float32(-1e38)


@pytest.mark.slow
def test_skipped_steps_are_counted_by_fit():
    # One of four examples has an infinite slope; the others do not move w = 1.
    x = np.array([[1.0], [1.0], [1.0], [0.0]], np.float32)
    split = data.Dataset(x, np.ones((4, 1), np.float32), x[:1], np.ones((1, 1), np.float32),
                         task="regression", outputs=1)  # fmt: skip
    key, config = jax.random.key(0), FitConfig(steps=20, batch_size=1)
    _, metrics = fit(
        jnp.float32(1.0),
        split,
        key,
        apply=lambda w, x: jnp.sqrt(w * x),
        loss=losses.get(None, "regression"),
        optimizer=optimizers.make("sgd", 0.1, clip="global_norm(on_nonfinite=skip)"),
        config=config,
    )
    bad = sum(int(minibatch(key, step, 1, 4)[0]) == 3 for step in range(20))
    assert int(metrics["skipped"]) == bad > 0
    assert int(metrics["status"]) == Status.RUNNING


@pytest.mark.slow
def test_per_example_gradients_are_clipped_before_the_mean():
    xs, w = np.array([[1.0], [10.0], [0.1]], np.float32), np.float32(1.0)
    optimizer = optax.chain(clipping.clip_per_example(0.5), optax.sgd(1.0))
    step = make_train_step(lambda w, x: w * x, losses.mean_squared_error, optimizer)
    before = TrainState.create(jnp.asarray(w), optimizer)
    after, seen = jax.jit(step)(before, (jnp.asarray(xs), jnp.zeros((3, 1))))
    gradients = 2 * w * xs[:, 0] ** 2
    np.testing.assert_allclose(after.params, w - np.clip(gradients, -0.5, 0.5).mean(), rtol=1e-6)
    np.testing.assert_allclose(seen.gradient_norm, gradients.mean(), rtol=1e-6)
    np.testing.assert_allclose(seen.loss, ((w * xs) ** 2).mean(), rtol=1e-6)
    assert jax.tree.structure(before) == jax.tree.structure(after)


@pytest.mark.full
def test_clip_fraction_is_counted(digits):
    model, params = network(digits)

    def fraction(threshold):
        optimizer = optimizers.make("sgd", 0.01, clip="leaf_norm", clip_threshold=threshold)
        _, metrics = fit(
            params,
            digits,
            jax.random.key(0),
            apply=model.apply,
            loss=SOFTMAX,
            optimizer=optimizer,
            config=FitConfig(steps=10),
        )
        return float(metrics["clip_fraction"])

    assert fraction(1e-6) == 1.0
    assert fraction(1e6) == 0.0


def test_a_batch_larger_than_the_training_set_is_refused(digits):
    model, params = network(digits)
    with pytest.raises(ValueError, match="batch_size: got 5000"):
        fit(
            params,
            digits,
            jax.random.key(0),
            apply=model.apply,
            loss=SOFTMAX,
            optimizer=optimizers.make("sgd", 0.1),
            config=FitConfig(batch_size=5000),
        )


@pytest.mark.parametrize("factor", [1, 2, 1437, 65535, 65536, 70001, 2**31 - 1, 2**32 - 1])
def test_high_word_is_exact(factor):
    rng = np.random.default_rng(factor)
    bits = np.concatenate([[0, 1, 2**32 - 1], rng.integers(0, 2**32, 500)]).astype(np.uint32)
    exact = (bits.astype(object) * factor) >> 32
    np.testing.assert_array_equal(np.asarray(_high_word(jnp.asarray(bits), factor)), exact)


@pytest.mark.full
def test_minibatches_are_uniform_and_differ_by_step():
    from scipy import stats

    drawn = np.asarray(jax.vmap(lambda i: minibatch(jax.random.key(0), i, 64, 10))(jnp.arange(500)))
    counts = np.bincount(drawn.ravel(), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert not np.array_equal(drawn[0], drawn[1])


def test_evaluation_steps_end_at_the_last_step():
    assert FitConfig(steps=1).evaluation_steps() == (1,)
    assert FitConfig(steps=300, evaluations=1).evaluation_steps()[-1] == 300
    found = FitConfig(steps=300, evaluations=16).evaluation_steps()
    assert found[0] == 1
    assert found[-1] == 300
    assert len(set(found)) == len(found)


@pytest.mark.slow
def test_vmap_transforms_the_loop_of_a_run_once():
    # Otherwise zeros and counters, equal in all lanes at first, make vmap try three times or more.
    times = []

    @jax.custom_batching.custom_vmap
    def evaluate(x):
        return x

    @evaluate.def_vmap
    def batched(size, which, x):
        times.append(size)
        return x, which[0]

    apply = StatefulApply(
        lambda w, state, x, key: (x @ w, state), lambda w, state, x: evaluate(x @ w)
    )
    xor = data.get("xor")

    def run(w, seed):
        config = FitConfig(steps=3, evaluations=1)
        optimizer = optimizers.make("adam", 0.1)
        loss = losses.get(None, "binary")
        key = jax.random.key(seed)
        return fit(w, xor, key, apply=apply, loss=loss, optimizer=optimizer, config=config)[1]

    jax.make_jaxpr(jax.vmap(run))(jnp.zeros((2, 2, 1)), jnp.arange(2))
    assert len(times) == 2  # in the loop, and at the end on the training set
