"""Sweeps of users' models: sigma of each layer, state and noise per lane, own starts, roles."""

import io
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jinit
from jinit import data, report
from jinit.sweep import plan, run_key
from jinit.sweep._lanes import NetworkLanes
from jinit.train._batches import minibatch

eqx, hk = pytest.importorskip("equinox"), pytest.importorskip("haiku")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 6)), np.arange(60) % 3
SEQUENCES = RNG.normal(size=(60, 5, 6))
IMAGES = RNG.normal(size=(60, 4, 4, 2))
STEPS, BATCH, RATE = 5, 8, 0.1
GRID = {"steps": STEPS, "batch_size": BATCH, "learning_rate": RATE, "evaluations": 2}


def drawn(grid, program, lanes=64):
    """Path → values ``(lanes, …)`` that the sweep starts from, and the states."""
    made = NetworkLanes(grid, program)
    made.programs(program.tile)
    taken = made.take(np.arange(lanes) % made.count, None)
    leaves = jax.tree_util.tree_leaves(taken["params"])
    paths = [leaf.path for leaf in program.leaves.leaves]
    return dict(zip(paths, leaves, strict=True)), taken


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.MultiHeadDotProductAttention(num_heads=4, name="att")(nn.Dense(32, name="in")(x))
        return nn.Dense(3, name="out")(nn.LayerNorm()(h).mean(1))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.tanh(nn.Dense(16, name="dense")(x)), None


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        scan = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=8)
        return nn.Dense(3, name="out")(scan(name="blocks")(nn.Dense(16, name="in")(x), None)[0])


class Transposed(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.ConvTranspose(8, (3, 3), strides=(2, 2), name="up")(x))
        return nn.DenseGeneral(3, axis=(1, 2, 3), name="out")(x)


class Boxed(nn.Module):
    @nn.compact
    def __call__(self, x):
        init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
        return nn.Dense(3, name="out")(nn.relu(nn.Dense(16, name="in", kernel_init=init)(x)))


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="out")(nn.relu(nn.WeightNorm(nn.Dense(16, name="in"))(x)))


def equinox_mlp():
    return eqx.nn.MLP(6, 3, 16, 1, key=jax.random.key(7))


# Model, inputs, and the number of inputs of one unit of each kernel, counted by hand. A transposed
# convolution with stride 2 sees a quarter of its 3 × 3 taps of 2 channels.
FANS = {
    "attention": (
        Attention,
        SEQUENCES,
        {
            "in/kernel": 6,
            "att/query/kernel": 32,
            "att/key/kernel": 32,
            "att/value/kernel": 32,
            "att/out/kernel": 32,
            "out/kernel": 32,
        },
    ),
    "scan": (Scanned, X, {"in/kernel": 6, "blocks/dense/kernel": 16, "out/kernel": 16}),
    "strided": (Transposed, IMAGES, {"up/kernel": 9 * 2 / 4, "out/kernel": 8 * 8 * 8}),
    "boxed": (Boxed, X, {"in/kernel": 6, "out/kernel": 16}),
    "weight norm": (Normed, X, {"in/kernel": 6, "out/kernel": 16}),
    "(out, in)": (equinox_mlp, X, {"layers/0/weight": 6, "layers/1/weight": 16}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FANS)
@pytest.mark.sampled(3)
def test_every_kernel_has_the_sigma_of_its_layer(kind):
    make, x, fans = FANS[kind]
    grid = jinit.Grid(initializer="he_normal", seeds=64, **GRID)
    (program,) = plan(grid, model=make(), data=(x, Y)).programs
    found, _ = drawn(grid, program)
    for path, fan in fans.items():
        values = np.asarray(found[path], np.float64)
        error = abs(values.std() / math.sqrt(2 / fan) - 1)
        # A sample standard deviation is off by 1/√(2n); six of them.
        assert error < 6 / math.sqrt(2 * values.size), (path, values.std())
    stated = {one.leaf: one.stddev for one in program.assignments()}
    assert {p: pytest.approx(math.sqrt(2 / fan)) for p, fan in fans.items()} == {
        path: stated[path] for path in fans
    }


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(nn.relu(x)))


class FixedNet(nn.Module):
    """The same network without a flag: built for training."""

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=False)(nn.Dense(8)(x))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=False)(nn.relu(x)))


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.norm = nnx.Linear(6, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs)
        self.dropout, self.out = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.norm(self.hidden(x)))))


class EquinoxNet(eqx.Module):
    hidden: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, key):
        self.hidden, self.out = eqx.nn.Linear(6, 8, key=key), eqx.nn.Linear(8, 3, key=key)
        self.norm = eqx.nn.BatchNorm(8, axis_name="batch", mode="batch")
        self.dropout = eqx.nn.Dropout(0.5)

    def __call__(self, x, state, key):
        x, state = self.norm(self.hidden(x), state)
        return self.out(self.dropout(jax.nn.relu(x), key=key)), state


def haiku_net(x, is_training):
    x = hk.BatchNorm(True, True, 0.9)(hk.Linear(8)(x), is_training)
    x = jax.nn.relu(x)
    x = hk.dropout(hk.next_rng_key(), 0.5, x) if is_training else x
    return hk.Linear(3)(x)


def cross_entropy(z, y):
    return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()


def linen_loop(params, state, batches, keys):
    """Flax's own loop of LinenNet with optax; returns the test loss's outputs."""
    model, state = LinenNet(), dict(state)

    def loss(params, x, y, key):
        z, new = model.apply(
            {"params": params, **state}, x, True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return cross_entropy(z, y), new

    for (x, y), key in zip(batches, keys, strict=True):
        gradient, new = jax.grad(loss, has_aux=True)(params, x, y, key)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, gradient)
        state = dict(new)
    return lambda x: model.apply({"params": params, **state}, x, False)


def nnx_loop(params, state, batches, keys):
    """nnx' own loop with ``nnx.grad``, ``train()`` and ``eval()``."""
    model = NnxNet(nnx.Rngs(3))
    own = nnx.state(model, nnx.Param)
    nnx.replace_by_pure_dict(own, params)
    nnx.update(model, own)
    model.train()
    for (x, y), key in zip(batches, keys, strict=True):
        model.dropout.rngs.key[...] = jax.random.fold_in(key, 1)
        model.dropout.rngs.count[...] = jnp.uint32(0)
        gradient = nnx.grad(lambda m, x=x, y=y: cross_entropy(m(x), y))(model)
        old = nnx.state(model, nnx.Param)
        nnx.update(model, jax.tree.map(lambda p, g: p - RATE * g, old, gradient))
    model.eval()
    return model


def equinox_loop(params, state, batches, keys):
    """Equinox' own loop with ``filter_grad`` and a vmapped model."""
    model, state = eqx.nn.make_with_state(EquinoxNet)(jax.random.key(3))
    model = eqx.combine(params, eqx.filter(model, eqx.is_inexact_array, inverse=True))

    def loss(model, state, x, y, key):
        z, state = jax.vmap(model, axis_name="batch", in_axes=(0, None, 0), out_axes=(0, None))(
            x, state, jax.random.split(key, BATCH)
        )
        return cross_entropy(z, y), state

    for (x, y), key in zip(batches, keys, strict=True):
        gradient, state = eqx.filter_grad(loss, has_aux=True)(model, state, x, y, key)
        model = eqx.apply_updates(model, jax.tree.map(lambda g: -RATE * g, gradient))
    tested = eqx.nn.inference_mode(model)
    return lambda x: jax.vmap(lambda one: tested(one, state, None)[0])(x)


def haiku_loop(params, state, batches, keys):
    """Haiku's own loop of the transformed function."""
    model = hk.transform_with_state(haiku_net)

    def loss(params, state, x, y, key):
        z, state = model.apply(params, state, key, x, True)
        return cross_entropy(z, y), state

    for (x, y), key in zip(batches, keys, strict=True):
        gradient, state = jax.grad(loss, has_aux=True)(params, state, x, y, key)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, gradient)
    return lambda x: model.apply(params, state, None, x, False)[0]


def keras_net():
    keras = pytest.importorskip("keras")
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.5, name="dropout"),
            keras.layers.Dense(3, name="out"),
        ],
        name="net",
    )


def keras_loop(params, state, batches, keys):
    """Keras' variables and layers, called one by one in training mode."""
    model = keras_net()
    generator = model.get_layer("dropout").seed_generator

    def loss(params, state, x, y, key):
        # The last variable is the seed of the dropout layer.
        others = [*state, jax.random.bits(jax.random.fold_in(key, 2), (2,), jnp.uint32)]
        values = [params[variable.path] for variable in model.trainable_variables]
        z, after = model.stateless_call(values, others, x, training=True)
        return cross_entropy(z, y), after[:2]

    assert generator.state.path == model.non_trainable_variables[2].path
    for (x, y), key in zip(batches, keys, strict=True):
        gradient, state = jax.grad(loss, has_aux=True)(params, state, x, y, key)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, gradient)
    for variable in model.trainable_variables:
        variable.assign(params[variable.path])
    for variable, value in zip(model.non_trainable_variables, state, strict=False):
        variable.assign(value)
    return lambda x: model(x, training=False)


def function_net(params, mean, x, *, train, key):
    mean = 0.9 * mean + 0.1 * x.mean(0) if train else mean
    h = jnp.tanh((x - mean) @ params["hidden"]["kernel"])
    h = h * jax.random.bernoulli(key, 0.5, h.shape) * 2 if train else h
    return h @ params["out"]["kernel"], mean


def function_model():
    leaves = {"hidden": (6, 8), "out": (8, 3)}
    shapes = {name: {"kernel": jnp.zeros(shape)} for name, shape in leaves.items()}
    return shapes, function_net, jnp.zeros(6)


def function_loop(params, mean, batches, keys):
    """The same network without the names and the modes of ``function_net``."""
    first, last = params["hidden"]["kernel"], params["out"]["kernel"]

    def loss(weights, mean, x, y, key):
        h = jnp.tanh((x - mean) @ weights[0])
        kept = jax.random.bernoulli(key, 0.5, h.shape)
        return cross_entropy(jnp.where(kept, 2 * h, 0) @ weights[1], y)

    for (x, y), key in zip(batches, keys, strict=True):
        mean = mean + 0.1 * (x.mean(0) - mean)
        gradient = jax.grad(loss)((first, last), mean, x, y, key)
        first, last = first - RATE * gradient[0], last - RATE * gradient[1]
    return lambda x: jnp.tanh((x - mean) @ first) @ last


STATEFUL = {
    "functions": (lambda: function_model(), function_loop),
    "linen": (LinenNet, linen_loop),
    "linen without a flag": (FixedNet, linen_loop),
    "nnx": (lambda: NnxNet(nnx.Rngs(0)), nnx_loop),
    "equinox": (lambda: eqx.nn.make_with_state(EquinoxNet)(jax.random.key(0)), equinox_loop),
    "haiku": (lambda: hk.transform_with_state(haiku_net), haiku_loop),
    "keras": (lambda: keras_net(), keras_loop),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", STATEFUL)
@pytest.mark.sampled(3)
def test_a_lane_is_the_frameworks_own_training_loop(kind):
    make, loop = STATEFUL[kind]
    seed, grid = 2, jinit.Grid(initializer="he_normal", seeds=4, **GRID)
    (program,) = plan(grid, model=make(), data=(X, Y)).programs
    _, taken = drawn(grid, program, 4)
    params, state = jax.tree.map(lambda leaf: leaf[seed], (taken["params"], taken["state"]))
    source = data.from_arrays(X, Y)
    order, noise = run_key(seed, "data"), run_key(seed, "dropout")
    rows = [minibatch(order, step, BATCH, len(source.x_train)) for step in range(STEPS)]
    batches = [(source.x_train[np.asarray(r)], source.y_train[np.asarray(r)]) for r in rows]
    keys = [jax.random.fold_in(noise, step) for step in range(STEPS)]
    # The networks of "linen" are one network under other names of their leaves.
    trained = loop(params, state, batches, keys)
    expected = cross_entropy(trained(jnp.asarray(source.x_test)), source.y_test)
    table = jinit.run(grid, model=make(), data=(X, Y))
    assert float(table["test_loss"][seed]) == pytest.approx(float(expected), rel=2e-5)
    # Evaluation in training mode would be another number.
    assert len(set(table["test_loss"].tolist())) == 4


@pytest.mark.full
@pytest.mark.parametrize(
    "kind",
    [
        "linen without a flag",
        "nnx",
        pytest.param("equinox", marks=pytest.mark.full),
        pytest.param("haiku", marks=pytest.mark.full),
    ],
)
@pytest.mark.sampled(2)
def test_lanes_with_state_and_noise_are_independent(kind, assert_same_bits):
    make = STATEFUL[kind][0]
    grid = {**GRID, "initializer": ("he_normal", "lecun_normal")}
    whole = jinit.run(jinit.Grid(**grid, seeds=6), model=make(), data=(X, Y), tile=4)
    part = jinit.run(
        jinit.Grid(**GRID | {"initializer": "lecun_normal"}, seeds=(5, 1)),
        model=make(),
        data=(X, Y),
        tile=4,
    )
    for seed in (5, 1):
        one = whole.select(initializer="lecun_normal", seed=seed)
        other = part.select(seed=seed)
        for name in ("train_loss", "test_loss", "gradient_norm"):
            assert_same_bits(one[name], other[name])


class Positions(nn.Module):
    @nn.compact
    def __call__(self, x):
        table = self.param("positions", nn.initializers.normal(0.02), (5, 8))
        x = nn.Dense(8, name="in", bias_init=nn.initializers.ones)(x) + table
        x = nn.LayerNorm(name="norm", scale_init=nn.initializers.constant(2.0))(x)
        return nn.Dense(3, name="out")(x.reshape(x.shape[0], -1))


@pytest.mark.full
def test_leaves_that_no_rule_names_keep_the_models_own_start():
    grid = jinit.Grid(initializer=("he_normal", "zeros"), seeds=3, gain=(1.0, 2.0), **GRID)
    (program,) = plan(grid, model=Positions(), data=(SEQUENCES, Y)).programs
    found, _ = drawn(grid, program, 12)
    rules = {one.leaf: one.rule for one in program.assignments() if one.initializer is None}
    assert set(rules) == {"positions", "norm/scale", "norm/bias"}
    np.testing.assert_array_equal(found["norm/scale"], 2.0)
    np.testing.assert_array_equal(found["in/bias"], 0.0)
    for seed in range(3):
        start = Positions().init(run_key(seed, "own"), jnp.zeros((1, 5, 6)))["params"]
        np.testing.assert_allclose(found["positions"][seed], start["positions"], rtol=1e-6)
    # The gain multiplies kernels, not every leaf of two axes.
    paths = [leaf.path for leaf in program.leaves.leaves]
    assert {paths[i] for i in program.network.scaled} == {"in/kernel", "out/kernel"}
    own = jinit.run(
        jinit.Grid(initializer="he_normal", seeds=3, gain=3.0, **GRID | {"learning_rate": 1e-30}),
        model=Positions(),
        data=(SEQUENCES, Y),
    )
    source = data.from_arrays(SEQUENCES, Y)
    for seed in range(3):
        tree = jax.tree.unflatten(
            jax.tree.structure(program.shapes), [found[path][seed] for path in paths]
        )
        for layer in ("in", "out"):
            tree[layer]["kernel"] = 3.0 * tree[layer]["kernel"]
        z = Positions().apply({"params": tree}, source.x_train)
        expected = float(cross_entropy(z, source.y_train))
        assert float(own["train_loss"][seed]) == pytest.approx(expected, rel=1e-5)


class Parallel(nn.Module):
    """Two layers read the data; a block with a skip connection; one output layer."""

    @nn.compact
    def __call__(self, x):
        h = nn.Dense(16, name="left")(x) + nn.Dense(16, name="right")(x)
        h = h + nn.Dense(16, name="block")(nn.relu(h))
        return nn.Dense(3, name="head")(h)


def sigmas(arm, model, x=X):
    grid = jinit.Grid(initializer=arm, seeds=2, **GRID)
    (program,) = plan(grid, model=model, data=(x, Y)).programs
    found = {one.leaf: one.stddev for one in program.assignments()}
    return {path: sigma for path, sigma in found.items() if not path.endswith("bias")}


@pytest.mark.slow
def test_first_and_last_layers_get_their_own_law():
    first, hidden, last = 6**-0.5, 16**-0.5, 1 / 16
    assert sigmas("mup", Parallel()) == pytest.approx(
        {"left/kernel": first, "right/kernel": first, "block/kernel": hidden, "head/kernel": last}
    )
    # U[±1/n] has σ = 1/(n √3), U[±√(6/n)/30] has σ = √(2/n)/30.
    inner = math.sqrt(2 / 16) / 30
    assert sigmas("siren", equinox_mlp()) == pytest.approx(
        {"layers/0/weight": 1 / (6 * math.sqrt(3)), "layers/1/weight": inner}
    )
    grid = jinit.Grid(dataset="digits", initializer="mup", depth=2, width=32, seeds=2, steps=2)
    (program,) = plan(grid).programs
    built_in = {one.leaf: one.stddev for one in program.assignments()}
    assert built_in["hidden_0/kernel"] == pytest.approx(1 / 8)
    assert built_in["hidden_1/kernel"] == pytest.approx(32**-0.5)
    assert built_in["output/kernel"] == pytest.approx(1 / 32)


@pytest.mark.slow
def test_a_rule_without_a_leaf_is_refused_for_a_law_by_role_too():
    for arm in ("he_normal", "mup"):
        grid = jinit.Grid(initializer=arm, seeds=2, **GRID)
        rules = {"*/kernel": arm, "*/bais": "zeros"}
        with pytest.raises(ValueError, match=r"bais.*no leaf"):
            plan(grid, model=Parallel(), data=(X, Y), rules=lambda kernel, bias, r=rules: r)


@pytest.mark.slow
def test_the_gain_multiplies_a_kernel_under_a_weight_norm():
    """The kernel of the layer is g v/|v|, whose length is that of g alone."""
    model = nn.Sequential([nn.WeightNorm(nn.Dense(8)), nn.tanh, nn.Dense(3)])

    def effective(params):
        layer = params["layers_0"]
        v, g = layer["layer_instance"]["kernel"], layer["layer_instance/kernel/scale"]
        return jnp.linalg.norm(g * v / jnp.linalg.norm(v, axis=0))

    grid = jinit.Grid(gain=(1.0, 3.0), seeds=2, watch={"kernel": effective},
                      **GRID | {"learning_rate": 1e-30})  # fmt: skip
    one, three = (jinit.run(grid, model=model, data=(X, Y)).curves["kernel"][:, 0]).reshape(2, 2)
    np.testing.assert_allclose(three, 3 * one, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: nn.Dense(3), "first and the last layer"),
        (Scanned, "inside scan"),
        (lambda: ({"kernel": np.ones((6, 3), "f4")}, lambda p, x: x @ p["kernel"]), "own"),
    ],
)
def test_a_law_by_role_is_refused_where_roles_are_unknown(model, reason):
    with pytest.raises(ValueError, match=f"initializer 'mup'.*{reason}"):
        sigmas("mup", model())
    assert sigmas("mup(role=hidden)", model())


@pytest.mark.full
def test_functions_with_state_are_a_model():
    """A running mean, written by hand; the state before the first step is the user's."""
    shapes = {"kernel": jax.ShapeDtypeStruct((6, 3), jnp.float32), "scale": np.full(6, 2.0, "f4")}

    def apply(params, state, x, *, train, key):
        mean = x.mean(0) if train else state["mean"]
        noise = jax.random.normal(key, x.shape) if train else 0.0
        z = ((x - mean) * params["scale"] + noise) @ params["kernel"]
        return z, {"mean": 0.5 * state["mean"] + 0.5 * mean}

    model = (shapes, apply, {"mean": np.zeros(6, "f4")})
    table = jinit.run(
        jinit.Grid(initializer="he_normal", seeds=3, **GRID), model=model, data=(X, Y)
    )
    seed, source = 1, data.from_arrays(X, Y)
    rules = {"kernel": "he_normal", "scale": "ones"}
    params = jinit.initialize(run_key(seed, "init"), shapes, rules) | {"scale": shapes["scale"]}
    state = {"mean": jnp.zeros(6)}
    for step in range(STEPS):
        rows = np.asarray(minibatch(run_key(seed, "data"), step, BATCH, len(source.x_train)))
        key = jax.random.fold_in(run_key(seed, "dropout"), step)

        def loss(params, state=state, rows=rows, key=key):
            z, new = apply(params, state, jnp.asarray(source.x_train[rows]), train=True, key=key)
            return cross_entropy(z, source.y_train[rows]), new

        gradient, state = jax.grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, gradient)
    z, _ = apply(params, state, jnp.asarray(source.x_test), train=False, key=None)
    expected = float(cross_entropy(z, source.y_test))
    assert float(table["test_loss"][seed]) == pytest.approx(expected, rel=2e-5)


class OwnKernel(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", nn.initializers.lecun_normal(), (6, 3))


class Scales(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.LayerNorm()(x)[:, :3]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: eqx.nn.make_with_state(EquinoxNet)(jax.random.key(0))[0], "make_with_state"),
        (lambda: NnxNet, "call the class first"),
        (OwnKernel, "layers={'kernel': 'dense'}"),
        (Scales, "at least one kernel"),
        (lambda: nn.Dense(4), r"\(batch, 3\)"),
        (lambda: object(), "a model of linen, nnx, haiku"),
    ],
)
def test_models_that_cannot_be_swept_are_refused(model, message):
    with pytest.raises((ValueError, TypeError), match=message):
        jinit.run(jinit.Grid(seeds=2, **GRID), model=model(), data=(X, Y))


@pytest.mark.slow
def test_an_unknown_layer_is_known_once_it_is_named():
    grid = jinit.Grid(initializer="he_normal", seeds=2, **GRID)
    layers = {"kernel": "dense"}
    (program,) = plan(grid, model=OwnKernel(), data=(X, Y), layers=layers).programs
    assert program.assignments()[0].stddev == pytest.approx((2 / 6) ** 0.5)
    assert len(jinit.run(grid, model=OwnKernel(), data=(X, Y), layers=layers)) == 2


@pytest.mark.slow
def test_equal_modules_share_a_training_program():
    grid = jinit.Grid(initializer="he_normal", seeds=2, **GRID)
    for kind in ("linen", "linen without a flag", "nnx", "equinox"):
        make, _ = STATEFUL[kind]
        first, second = (plan(grid, model=make(), data=(X, Y)).programs[0] for _ in range(2))
        assert first.network == second.network


@pytest.mark.slow
def test_a_model_that_does_not_run_on_the_data_is_refused():
    images = np.zeros((8, 4, 4, 1), "f4"), np.arange(8) % 2
    cnn = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    match = r"model Conv: got 'ValueError on inputs of shape \(\d+, 4, 4, 1\)'"
    with pytest.raises(ValueError, match=match):
        plan(jinit.Grid(**GRID), model=cnn, data=images)
    transposed = ({"kernel": jnp.zeros((6, 3))}, lambda params, x: (x @ params["kernel"]).T)
    with pytest.raises(ValueError, match=r"outputs of <lambda>.*keep the batch axis first"):
        plan(jinit.Grid(**GRID), model=transposed, data=(X, Y))


class Attends(nn.Module):
    """Attention whose dropout is on, unless the caller says otherwise."""

    deterministic: bool = False

    @nn.compact
    def __call__(self, x):
        attention = nn.MultiHeadDotProductAttention(
            2, qkv_features=8, dropout_rate=0.5, deterministic=self.deterministic
        )
        return nn.Dense(3)(attention(x[:, :, None])[:, 0])


class Noisy(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x + jax.random.normal(self.make_rng("dropout"), x.shape))


class Flagged(nn.Module):
    @nn.compact
    def __call__(self, x, is_train=False):
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not is_train)(x))


def test_attention_of_linen_evaluates_without_dropout():
    x = jnp.asarray(np.random.default_rng(3).normal(size=(5, 4)), jnp.float32)
    model = jinit.frameworks.as_model(Attends(), x)
    params, state = model.start(jax.random.key(0), x)
    exact = Attends(deterministic=True).apply({"params": params}, x)
    np.testing.assert_allclose(model.apply.evaluate(params, state, x), exact, rtol=1e-6)
    noisy, _ = model.apply.train(params, state, x, jax.random.key(1))
    assert np.abs(noisy - exact).max() > 1e-3


def test_noise_in_evaluation_is_refused():
    with pytest.raises(ValueError, match="dropout"):
        jinit.plan(jinit.Grid(dataset="xor", steps=2, seeds=2), model=Noisy())


def test_a_flag_is_train_switches_the_mode():
    x = jnp.ones((5, 4))
    model = jinit.frameworks.as_model(Flagged(), x)
    params, state = model.start(jax.random.key(0), x)
    _, after = model.apply.train(params, state, x, jax.random.key(1))
    moved = jax.tree.map(lambda old, new: bool((old != new).any()), state, after)
    assert all(jax.tree.leaves(moved))


def test_a_keras_model_with_a_loss_of_its_own_is_refused():
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_regularizer="l2")])
    with pytest.raises(ValueError, match=r"1 losses of its own.*weight_decay"):
        jinit.frameworks.as_model(model, jnp.ones((2, 4)))


@pytest.mark.parametrize("framework", ["linen", "nnx"])
def test_a_plan_says_that_a_module_holds_one_draw_for_all_seeds(framework):
    model = nn.Dense(1) if framework == "linen" else nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    stream = io.StringIO()
    grid = jinit.Grid(dataset="xor", initializer="own", steps=2, seeds=2)
    report.show(jinit.plan(grid, model=model), stream=stream)
    shown = " ".join(stream.getvalue().split())
    assert "own start" in shown
    assert ("the same for all seeds" in shown) == (framework == "nnx")


@pytest.mark.parametrize("framework", ["linen", "nnx"])
def test_a_state_beside_a_module_that_holds_it_is_refused(framework):
    x = jnp.ones((2, 2))
    if framework == "linen":
        module = nn.Dense(1)
        state = module.init(jax.random.key(0), x)
    else:
        module = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
        state = nnx.state(module)
    with pytest.raises(ValueError, match="the module alone: jinit finds the state"):
        jinit.frameworks.as_model((module, state), x)
