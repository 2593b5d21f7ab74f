"""Training from given parameters: rules draw the leaves that they name, all others are kept."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jinit
from jinit import data
from jinit.sweep import plan, run_key
from jinit.sweep._lanes import NetworkLanes
from jinit.train._batches import minibatch

eqx, hk = pytest.importorskip("equinox"), pytest.importorskip("haiku")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 6)).astype("f4"), np.arange(60) % 3
GRID = {"steps": 4, "batch_size": 8, "evaluations": 2, "seeds": 3, "learning_rate": 0.1}


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(not train, name="norm")(nn.Dense(8, name="body")(x))
        return nn.Dense(3, name="head")(nn.relu(x))


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="head")(nn.relu(nn.Dense(8, name="body")(x)))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.body, self.head = nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.norm(self.body(x))))


class Equinox(eqx.Module):
    body: eqx.nn.Linear
    head: eqx.nn.Linear

    def __init__(self, key):
        self.body, self.head = (
            eqx.nn.Linear(*sizes, key=jax.random.fold_in(key, sizes[0]))
            for sizes in ((6, 8), (8, 3))
        )

    def __call__(self, x):
        return self.head(jax.nn.relu(self.body(x)))


def haiku_net(x):
    return hk.Linear(3, name="head")(jax.nn.relu(hk.Linear(8, name="body")(x)))


def keras_net():
    keras = pytest.importorskip("keras")
    layers = [keras.layers.Dense(size, name=name) for name, size in (("body", 8), ("head", 3))]
    return keras.Sequential([keras.Input((6,)), *layers], name="net")


def keras_params():
    net = keras_net()
    shapes = {variable.path: variable.shape for variable in net.trainable_variables}
    return {path: RNG.normal(size=shape).astype("f4") for path, shape in shapes.items()}


def shifted(tree):
    """Other values than any that jinit or the framework starts from."""
    return jax.tree.map(lambda leaf: leaf + 0.25, tree)


def linen_variables():
    return shifted(Linen().init(jax.random.key(5), X))


def apply(params, x):
    return jax.nn.relu(x @ params["body"]["kernel"]) @ params["head"]["kernel"]


SHAPES = {
    "body": {"kernel": jax.ShapeDtypeStruct((6, 8), "float32")},
    "head": {"kernel": jax.ShapeDtypeStruct((8, 3), "float32")},
}
OWN = jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape).astype("f4"), SHAPES)

# Model, start, and the pattern of the head's kernel.
STARTS = {
    "linen": (Plain(), lambda: shifted(Plain().init(jax.random.key(1), X)["params"])),
    "linen variables": (Linen(), linen_variables),
    "linen pair": (
        Linen(),
        lambda: (linen_variables()["params"], {"batch_stats": linen_variables()["batch_stats"]}),
    ),
    "nnx state": (Nnx(nnx.Rngs(0)), lambda: shifted(nnx.state(Nnx(nnx.Rngs(1)), nnx.Param))),
    "nnx dict": (
        Nnx(nnx.Rngs(0)),
        lambda: nnx.to_pure_dict(shifted(nnx.state(Nnx(nnx.Rngs(1)), nnx.Param))),
    ),
    "equinox": (Equinox(jax.random.key(0)), lambda: Equinox(jax.random.key(1))),
    "equinox filtered": (
        Equinox(jax.random.key(0)),
        lambda: eqx.filter(Equinox(jax.random.key(1)), eqx.is_inexact_array),
    ),
    "haiku": (
        hk.transform(haiku_net),
        lambda: shifted(hk.transform(haiku_net).init(jax.random.key(1), X)),
    ),
    "keras": (keras_net, keras_params),
    "functions": ((SHAPES, apply), lambda: OWN),
}


def lanes(grid, program, count=3):
    made = NetworkLanes(grid, program)
    made.programs(program.tile)
    taken = made.take(np.arange(count), None)
    leaves = jax.tree_util.tree_leaves(taken["params"])
    return dict(zip([leaf.path for leaf in program.leaves.leaves], leaves, strict=True)), taken


def by_path(tree):
    from jinit.frameworks._paths import path_of

    return {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.slow
def test_named_leaves_are_drawn_and_all_others_are_the_given_ones(kind, assert_same_bits):
    model, start = STARTS[kind][0], STARTS[kind][1]()
    model = model() if kind == "keras" else model
    grid = jinit.Grid(initializer="he_normal", **GRID)
    head = {"haiku": "head/w", "keras": "net/head/kernel"}.get(kind, "head/kernel")
    head = "head/weight" if kind.startswith("equinox") else head
    rules = lambda kernel, bias: {head: kernel}  # noqa: E731
    (program,) = plan(grid, model=model, data=(X, Y), rules=rules, start=start).programs
    found, taken = lanes(grid, program)
    params = start[0] if kind == "linen pair" else start
    params = params["params"] if kind == "linen variables" else params
    given = {path: leaf for path, leaf in by_path(params).items() if hasattr(leaf, "shape")}
    assert set(found) == set(given)
    for path, leaf in given.items():
        if path != head:
            np.testing.assert_array_equal(found[path], np.broadcast_to(leaf, found[path].shape))
    # The head is what any sweep draws for this seed and path.
    only = {head: jax.ShapeDtypeStruct(given[head].shape, "float32")}
    layers = {head: program.assignments()[list(found).index(head)].layout}
    host = program.leaves.host
    for seed in range(3):
        drawn = jinit.initialize(
            run_key(seed, "init"), only, {head: "he_normal"}, host=host, layers=layers
        )
        assert_same_bits(found[head][seed], drawn[head])
    if kind in ("linen variables", "linen pair"):
        for leaf, one in zip(
            jax.tree.leaves(taken["state"]),
            jax.tree.leaves(linen_variables()["batch_stats"]),
            strict=True,
        ):
            np.testing.assert_array_equal(leaf, np.broadcast_to(one, leaf.shape))


@pytest.mark.slow
def test_training_goes_on_from_the_given_parameters():
    """Gradient descent by hand from the same parameters; no rule, so nothing is drawn."""
    start = STARTS["linen"][1]()
    table = jinit.run(jinit.Grid(**GRID), model=Plain(), data=(X, Y), start=start)
    source, seed, params = data.from_arrays(X, Y), 2, start

    def loss(params, x, y):
        z = Plain().apply({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    for step in range(GRID["steps"]):
        rows = np.asarray(minibatch(run_key(seed, "data"), step, 8, len(source.x_train)))
        gradient = jax.grad(loss)(params, source.x_train[rows], source.y_train[rows])
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    expected = float(loss(params, jnp.asarray(source.x_test), source.y_test))
    assert float(table["test_loss"][seed]) == pytest.approx(expected, rel=2e-5)


def test_the_gain_multiplies_drawn_kernels_only():
    grid = jinit.Grid(initializer="he_normal", gain=(1.0, 2.0), **GRID)
    rules = lambda kernel, bias: {"head/kernel": kernel}  # noqa: E731
    start = STARTS["linen"][1]()
    (program,) = plan(grid, model=Plain(), data=(X, Y), rules=rules, start=start).programs
    paths = [leaf.path for leaf in program.leaves.leaves]
    assert [paths[place] for place in program.network.scaled] == ["head/kernel"]


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.WeightNorm(nn.Dense(3, name="head"), name="norm")(nn.Dense(8, name="body")(x))


@pytest.mark.slow
def test_the_norm_of_a_drawn_kernel_follows_the_draw():
    """With the old norm the layer would keep its old size, whatever was drawn."""
    start = shifted(Normed().init(jax.random.key(1), X)["params"])
    grid = jinit.Grid(initializer="he_normal", **GRID)
    rules = lambda kernel, bias: {"head/kernel": kernel}  # noqa: E731
    (program,) = plan(grid, model=Normed(), data=(X, Y), rules=rules, start=start).programs
    found, _ = lanes(grid, program)
    norms = np.linalg.norm(found["head/kernel"], axis=1)
    np.testing.assert_allclose(found["norm/head/kernel/scale"], norms, rtol=1e-6)
    (kept,) = plan(jinit.Grid(**GRID), model=Normed(), data=(X, Y), start=start).programs
    found, _ = lanes(jinit.Grid(**GRID), kept)
    np.testing.assert_array_equal(
        found["norm/head/kernel/scale"][0], start["norm"]["head/kernel/scale"]
    )


@pytest.mark.slow
def test_a_plan_and_a_table_say_what_is_kept(capsys):
    start = STARTS["linen"][1]()
    grid = jinit.Grid(**GRID | {"steps": 1})
    jinit.report.show(jinit.plan(grid, model=Plain(), data=(X, Y), start=start))
    assert capsys.readouterr().out.count("kept from start=") == 4
    store = jinit.engine.MemoryStore()
    given = {"model": Plain(), "data": (X, Y), "store": store}
    first = jinit.run(grid, **given, start=start)
    changed = jax.tree.map(np.array, start)
    changed["body"]["bias"][3] = np.nextafter(changed["body"]["bias"][3], 9)
    assert len(first.settings["start"]) == 32
    with pytest.raises(ValueError, match="other lanes"):
        jinit.run(grid, **given, start=changed)
    del given["store"]
    assert jinit.run(grid, **given, start=changed).settings["start"] != first.settings["start"]
    assert jinit.run(grid, **given).settings["start"] is None


def test_the_identity_of_a_run_changes_with_any_bit_of_the_start():
    grid, start = jinit.Grid(initializer="he_normal", **GRID), STARTS["linen"][1]()
    changed = jax.tree.map(np.array, start)
    changed["body"]["bias"][3] = np.nextafter(changed["body"]["bias"][3], 9)
    rules = lambda kernel, bias: {"head/kernel": kernel}  # noqa: E731
    found = []
    for given in (start, changed, jax.tree.map(np.array, start)):
        (program,) = plan(grid, model=Plain(), data=(X, Y), rules=rules, start=given).programs
        made = NetworkLanes(grid, program)
        made.programs(program.tile)
        found.append(made.draws())
    assert found[0] == found[2] != found[1]


def without(tree, layer):
    return {name: leaves for name, leaves in tree.items() if name != layer}


HEAD = {"rules": lambda kernel, bias: {"head/kernel": kernel}}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda p: without(p, "head"), HEAD, r"start at 'head/bias' and 1 more: got no leaf"),
        (lambda p: p | {"neck": p["head"]}, HEAD, "'neck/bias' and 1 more.*the model lacks"),
        (lambda p: {"variables": p}, HEAD, r"no leaf \(start has variables/body/bias"),
        (lambda p: 3, HEAD, "start at 'body/bias'"),
        (lambda p: Plain(), HEAD, "start at 'body/bias'"),
        (
            lambda p: p | {"head": jax.tree.map(lambda leaf: leaf.T, p["head"])},
            HEAD,
            r"'head/kernel': shape: got \(3, 8\); allowed: \(8, 3\)",
        ),
        (
            lambda p: jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), p),
            HEAD,
            r"'body/bias': dtype: got 'float64'.*astype\('float32'\)",
        ),
        (lambda p: jax.eval_shape(lambda: p), HEAD, "'body/bias': got 'a shape'"),
        (lambda p: jax.tree.map(lambda leaf: leaf * np.nan, p), HEAD, "NaN or inf"),
        (lambda p: p, {"initializer": "zeros"}, "'zeros'.*start= keeps every leaf"),
        (lambda p: p, {"gain": 2.0}, "gain: got 2.0"),
        (lambda p: p, HEAD | {"initializer": "lsuv(orthogonal)"}, "rescales all layers"),
        (lambda p: p, HEAD | {"initializer": "own"}, "start= already says"),
        (lambda p: (p, {}), HEAD, "start at 'body/bias'"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_by_path(change, options, message):
    start = change(STARTS["linen"][1]())
    rules, axes = options.get("rules"), without(options, "rules")
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        jinit.run(jinit.Grid(**GRID, **axes), model=Plain(), data=(X, Y), rules=rules, start=start)
    assert isinstance(caught.value, jinit.errors.Refusal)


@pytest.mark.slow
def test_a_state_that_does_not_fit_is_refused():
    variables = linen_variables()
    wrong = jax.tree.map(lambda leaf: leaf[:3], variables["batch_stats"])
    with pytest.raises(ValueError, match=r"'state/batch_stats/norm/mean': shape: got \(3,\)"):
        plan(
            jinit.Grid(**GRID),
            model=Linen(),
            data=(X, Y),
            start=(variables["params"], {"batch_stats": wrong}),
        )
    with pytest.raises(ValueError, match=r"0 leaves.*the 2 leaves of the model's state"):
        plan(jinit.Grid(**GRID), model=Linen(), data=(X, Y), start=(variables["params"], {}))
