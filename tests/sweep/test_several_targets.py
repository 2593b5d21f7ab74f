"""Several outputs and targets: a lane is the loop by hand; what no loss can know is refused."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinit
from jinit import clipping, data
from jinit.sweep import plan, run_key
from jinit.sweep._lanes import NetworkLanes
from jinit.train import TrainState, losses, make_train_step
from jinit.train._batches import minibatch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4)).astype("f4")
KIND, SIZE = np.array(["cat", "dog", "cow"])[X[:, :3].argmax(1)], X @ np.arange(4.0)
Y = {"kind": KIND, "size": SIZE}
RATE, BATCH, STEPS = 0.05, 8, 3
GRID = {"steps": STEPS, "batch_size": BATCH, "learning_rate": RATE, "evaluations": 1, "seeds": 2}


class TwoHeads(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.tanh(nn.Dense(5, name="body")(x))
        return {"kind": nn.Dense(3, name="kind")(h), "size": nn.Dense(1, name="size")(h)}


def both(outputs, y):
    kind = optax.softmax_cross_entropy_with_integer_labels(outputs["kind"], y["kind"])
    return kind + 0.5 * jnp.square(outputs["size"] - y["size"]).mean(-1)


def size_error(outputs, y):
    return jnp.abs(outputs["size"] - y["size"]).mean()


METRICS = {"size_error": size_error}


@pytest.mark.parametrize(
    "sampling", ["replacement", pytest.param("epochs", marks=pytest.mark.full)]
)
@pytest.mark.slow
def test_a_lane_is_gradient_descent_on_both_targets(sampling):
    grid = jinit.Grid(**GRID, initializer="he_normal", validation=0.2, sampling=sampling)
    given = {"model": TwoHeads(), "loss": both, "metrics": METRICS, "data": (X, Y)}
    table = jinit.run(grid, **given, progress=False)
    assert np.isnan(table["test_accuracy"]).all()
    assert np.isfinite(table["best_test_size_error"]).all()
    if sampling == "epochs":
        return
    (program,) = plan(grid, **given).programs
    made, seed = NetworkLanes(grid, program), 1
    made.programs(program.tile)
    lanes = made.take(np.arange(2), None)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[seed]), lanes["params"])
    # The rows by hand: the first split takes the test examples, the second the validation set.
    source = program.dataset
    codes = np.searchsorted(np.unique(KIND), KIND)
    place = [int(np.flatnonzero(np.isclose(SIZE, size))[0]) for size in source.y_train["size"]]
    np.testing.assert_array_equal(codes[place], source.y_train["kind"])

    def loss(params, x, kind, size):
        outputs = TwoHeads().apply({"params": params}, x)
        return both(outputs, {"kind": kind, "size": size}).mean()

    for step in range(STEPS):
        rows = np.asarray(minibatch(run_key(seed, "data"), step, BATCH, len(source.x_train)))
        chosen = np.array(place)[rows]
        size = SIZE[chosen, None].astype("f4")
        gradient = jax.grad(loss)(params, source.x_train[rows], codes[chosen], size)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, gradient)
    outputs = TwoHeads().apply({"params": params}, source.x_test)
    expected = float(both(outputs, source.y_test).mean())
    assert float(table["test_loss"][seed]) == pytest.approx(expected, rel=2e-5)
    error = float(size_error(outputs, source.y_test))
    assert float(table["test_size_error"][seed]) == pytest.approx(error, rel=2e-5)


@pytest.mark.full
def test_parts_of_a_batch_and_single_examples_take_all_targets():
    made = data.from_arrays(X, Y)
    params = TwoHeads().init(jax.random.key(0), X[:1])["params"]
    batch = (made.x_train[:8], {name: values[:8] for name, values in made.y_train.items()})
    loss = losses.get(both, "several")

    def after(optimizer, accumulate=1):
        def apply(params, x):
            return TwoHeads().apply({"params": params}, x)

        step = jax.jit(make_train_step(apply, loss, optimizer, accumulate))
        return step(TrainState.create(params, optimizer), batch)[0].params

    plain = after(optax.sgd(0.1))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, after(optax.sgd(0.1), accumulate=2), plain)
    alone = optax.chain(clipping.clip_per_example(1e6), optax.sgd(0.1))
    jax.tree.map(close, after(alone), plain)


@pytest.mark.slow
def test_the_plan_says_what_each_target_became():
    planned = plan(jinit.Grid(**GRID), model=TwoHeads(), loss=both, data=(X, Y))
    said = dict(planned.programs[0].dataset.prepared)
    assert "'cat' → 0" in said["classes 'kind'"]
    assert "float32 targets" in said["y 'size'"]
    assert "seed 20150201" in said["split"]
    made = data.from_arrays(X, Y, X[:20], {name: values[:20] for name, values in Y.items()})
    assert made.task == "several"
    assert made.y_test["size"].shape == (20, 1)
    assert data.get(made) is made


@pytest.mark.parametrize(
    ("model", "loss", "y", "match"),
    [
        (TwoHeads(), None, Y, "loss.*a function of your own for a data set of several targets"),
        (TwoHeads(), "mean_squared_error", Y, "loss.*a function of your own"),
        (TwoHeads(), None, KIND, "outputs of TwoHeads: got 'dict'.*which gets all outputs"),
        (None, both, Y, "the grid's own MLP for several targets"),
        (TwoHeads(), lambda outputs, y: outputs["kind"].mean() + y["sizes"], Y, "KeyError.*sizes"),
        (TwoHeads(), both, {}, "y: got {}; allowed: a mapping of names"),
        (TwoHeads(), both, {"kind": KIND[:9], "size": SIZE}, "target 'kind'.*50.*9|target 'kind'"),
        (TwoHeads(), both, {"kind": "species"}, "target 'kind': got 'species'"),
        (TwoHeads(), both, {0: SIZE}, "names of y: got 0"),
    ],
)
def test_what_no_loss_can_know_is_refused(model, loss, y, match):
    with pytest.raises((ValueError, TypeError), match=match):
        plan(jinit.Grid(**GRID), model=model, loss=loss, data=(X, y))


def test_options_of_one_target_and_other_test_targets_are_refused():
    for options in ({"task": "binary"}, {"ignore": -1}, {"standardize": "all"}):
        with pytest.raises(ValueError, match="None with several targets"):
            data.from_arrays(X, Y, **options)
    with pytest.raises(ValueError, match=r"y_test: got .*'kind'.*allowed: a mapping of kind, size"):
        data.from_arrays(X, Y, X, {"kind": KIND})
    made = data.from_arrays(X, Y)
    wrong = {name: values[:-1] for name, values in made.y_test.items()}
    with pytest.raises(ValueError, match="target 'kind' of y_test: got 'shape"):
        data.get(data.Dataset(made.x_train, made.y_train, made.x_test, wrong, task="several"))
    for grid in ({"label_noise": 0.1}, {"class_weights": "balanced"}, {"target": "0.5"}):
        with pytest.raises((ValueError, TypeError)):
            plan(jinit.Grid(**GRID, **grid), model=TwoHeads(), loss=both, data=(X, Y))


def test_all_targets_have_the_same_rows_also_where_one_has_a_rare_class():
    number = np.arange(50.0) / 50
    plain = data.from_arrays(X, number, standardize=False)
    trained = np.rint(50 * plain.y_train[:, 0]).astype(int)
    rare = np.where(np.isin(np.arange(50), trained[:2]), "rare", "usual")
    # Alone, the classes are split one by one, so that the test set has the rare one.
    assert not np.array_equal(data.from_arrays(X, rare, standardize=False).x_test, plain.x_test)
    with pytest.warns(UserWarning, match="no test example is of class rare"):
        made = data.from_arrays(X, {"number": number, "rare": rare}, standardize=False)
    np.testing.assert_array_equal(made.x_test, plain.x_test)
    np.testing.assert_array_equal(made.y_test["number"], plain.y_test)
    np.testing.assert_array_equal(made.y_test["rare"], 1)
