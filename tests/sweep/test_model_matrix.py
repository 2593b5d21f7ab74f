"""Every framework × (plain, dropout): a lane is the framework's own call under a loop by hand.

Models with BatchNorm, in the frameworks' own loops, are in ``test_own_models.py``.
"""

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
TOKENS = RNG.integers(0, 5, (60, 4))
STEPS, BATCH, RATE = 3, 8, 0.1
GRID = {"steps": STEPS, "batch_size": BATCH, "learning_rate": RATE, "evaluations": 1}


class Linen(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Dense(8)(x))
        return nn.Dense(3)(nn.Dropout(self.rate, deterministic=not train)(x) if self.rate else x)


class Nnx(nnx.Module):
    def __init__(self, rate, rngs):
        self.hidden, self.out = nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs) if rate else None

    def __call__(self, x):
        x = nnx.relu(self.hidden(x))
        return self.out(x if self.dropout is None else self.dropout(x))


class Equinox(eqx.Module):
    hidden: eqx.nn.Linear
    out: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __init__(self, rate):
        first, last = jax.random.split(jax.random.key(0))
        self.hidden = eqx.nn.Linear(6, 8, key=first)
        self.out = eqx.nn.Linear(8, 3, key=last)
        self.dropout = eqx.nn.Dropout(rate, inference=not rate)

    def __call__(self, x, key=None):
        return self.out(self.dropout(jax.nn.relu(self.hidden(x)), key=key))


class PlainEquinox(eqx.Module):
    hidden: eqx.nn.Linear

    def __init__(self):
        self.hidden = eqx.nn.Linear(6, 3, key=jax.random.key(0))

    def __call__(self, x):
        return jnp.tanh(self.hidden(x))


def haiku_net(rate):
    def network(x, is_training=False):
        x = jax.nn.relu(hk.Linear(8)(x))
        x = hk.dropout(hk.next_rng_key(), rate, x) if rate and is_training else x
        return hk.Linear(3)(x)

    return network


def functions(rate):
    shapes = {"kernel": jax.ShapeDtypeStruct((6, 3), jnp.float32)}
    if not rate:
        return shapes, lambda params, x: jnp.tanh(x @ params["kernel"])

    def apply(params, state, x, *, train, key):
        kept = jax.random.bernoulli(key, 1 - rate, x.shape) / (1 - rate) if train else 1.0
        return jnp.tanh((x * kept) @ params["kernel"]), state

    return shapes, apply, ()


def on_linen(rate):
    def call(params, x, key):
        rngs = {} if key is None else {"dropout": key}
        return Linen(rate).apply({"params": params}, x, key is not None, rngs=rngs)

    return Linen(rate), call


def on_nnx(rate):
    def call(params, x, key):
        module = Nnx(rate, nnx.Rngs(3))
        own = nnx.state(module, nnx.Param)
        nnx.replace_by_pure_dict(own, params)
        nnx.update(module, own)
        module.eval() if key is None else module.train()
        if rate and key is not None:
            # Its count stays 0; streams are numbered in the order of their leaves.
            module.dropout.rngs.key[...] = jax.random.fold_in(key, 1)
        return module(x)

    return Nnx(rate, nnx.Rngs(0)), call


def on_equinox(rate):
    model = Equinox(rate) if rate else PlainEquinox()

    def call(params, x, key):
        module = eqx.combine(params, eqx.filter(model, eqx.is_inexact_array, inverse=True))
        if not rate:
            return jax.vmap(module)(x)
        if key is None:
            return jax.vmap(eqx.nn.inference_mode(module))(x)
        return jax.vmap(module)(x, jax.random.split(key, len(x)))

    return model, call


def on_haiku(rate):
    model = hk.transform(haiku_net(rate))
    if not rate:
        model = hk.without_apply_rng(model)
        return model, lambda params, x, key: model.apply(params, x)
    return model, lambda params, x, key: model.apply(params, key, x, key is not None)


def on_functions(rate):
    model = functions(rate)

    def call(params, x, key):
        if not rate:
            return model[1](params, x)
        return model[1](params, (), x, train=key is not None, key=key)[0]

    return model, call


def on_an_equinox_tree(rate):
    """The tree of an Equinox module beside a function that calls the tree."""
    params, static = eqx.partition(PlainEquinox(), eqx.is_inexact_array)

    def apply(params, x):
        return jax.vmap(eqx.combine(params, static))(x)

    return (params, apply), lambda params, x, key: apply(params, x)


KINDS = {
    "linen": on_linen,
    "nnx": on_nnx,
    "equinox": on_equinox,
    "haiku": on_haiku,
    "functions": on_functions,
    "equinox tree": on_an_equinox_tree,
}
CASES = [(kind, rate) for kind in KINDS for rate in (0.0, 0.5)]
FULL = {("haiku", 0.0), ("functions", 0.0), ("equinox", 0.0), ("linen", 0.5)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        pytest.param(*case, marks=pytest.mark.full if case in FULL else ())
        for case in CASES
        if case != ("equinox tree", 0.5)
    ],
)
@pytest.mark.sampled(6)
def test_a_lane_is_gradient_descent_on_the_frameworks_own_call(kind, rate):
    model, call = KINDS[kind](rate)
    grid, seed = jinit.Grid(initializer="he_normal", seeds=2, **GRID), 1
    layers = {"hidden/weight": "dense"} if kind == "equinox tree" else None
    layers = {"kernel": "dense"} if kind == "functions" else layers
    rules = None
    if kind == "equinox tree":
        rules = lambda kernel, bias: {"hidden/weight": "normal(0.5)"}  # noqa: E731
    given = {"model": model, "data": (X, Y), "layers": layers, "rules": rules}
    (program,) = plan(grid, **given).programs
    made = NetworkLanes(grid, program)
    made.programs(program.tile)
    drawn = made.take(np.arange(2), None)["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[seed]), drawn)
    source = data.from_arrays(X, Y)

    def loss(params, x, y, key):
        z = call(params, x, key)
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    for step in range(STEPS):
        rows = np.asarray(minibatch(run_key(seed, "data"), step, BATCH, len(source.x_train)))
        key = jax.random.fold_in(run_key(seed, "dropout"), step)
        key = key if rate else None
        gradient = jax.grad(loss)(params, source.x_train[rows], source.y_train[rows], key)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, gradient)
    expected = float(loss(params, jnp.asarray(source.x_test), source.y_test, None))
    table = jinit.run(grid, **given)
    assert float(table["test_loss"][seed]) == pytest.approx(expected, rel=2e-5)
    assert table["test_loss"][0] != table["test_loss"][1]


class LinenTokens(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        h = nn.Embed(5, 8, name="embed")(tokens)
        h = h + self.param("positions", nn.initializers.normal(0.02), (4, 8))
        h = nn.LayerNorm(name="norm", scale_init=nn.initializers.constant(2.0))(h)
        return nn.Dense(3, name="out")(h.mean(1))


class NnxTokens(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(5, 8, rngs=rngs)
        self.positions = nnx.Param(0.02 * rngs.params.normal((4, 8)))
        self.norm = nnx.LayerNorm(8, scale_init=nnx.initializers.constant(2.0), rngs=rngs)
        self.out = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, tokens):
        return self.out(self.norm(self.embed(tokens) + self.positions[...]).mean(1))


class EquinoxTokens(eqx.Module):
    embed: eqx.nn.Embedding
    positions: jax.Array
    norm: eqx.nn.LayerNorm
    out: eqx.nn.Linear

    def __init__(self):
        self.embed = eqx.nn.Embedding(5, 8, key=jax.random.key(1))
        self.positions = 0.02 * jax.random.normal(jax.random.key(2), (4, 8))
        norm = eqx.nn.LayerNorm(8)
        self.norm = eqx.tree_at(lambda layer: layer.weight, norm, 2 * norm.weight)
        self.out = eqx.nn.Linear(8, 3, key=jax.random.key(3))

    def __call__(self, tokens):
        h = jax.vmap(self.embed)(tokens) + self.positions
        return self.out(jax.vmap(self.norm)(h).mean(0))


def haiku_tokens(tokens):
    h = hk.Embed(5, 8, name="embed")(tokens)
    h = h + hk.get_parameter("positions", (4, 8), init=hk.initializers.RandomNormal(0.02))
    h = hk.LayerNorm(-1, True, True, scale_init=hk.initializers.Constant(2.0), name="norm")(h)
    return hk.Linear(3, name="out")(h.mean(1))


def nnx_start(seed):
    return nnx.to_pure_dict(nnx.state(NnxTokens(nnx.Rngs(0)), nnx.Param))


# Model; its own start of a seed; patterns of the leaves that no initializer draws.
KEPT = {
    "linen": (
        LinenTokens(),
        lambda seed: LinenTokens().init(run_key(seed, "own"), TOKENS[:1])["params"],
        ("embed/embedding", "positions", "norm/scale", "norm/bias"),
    ),
    "nnx": (
        NnxTokens(nnx.Rngs(0)),
        nnx_start,
        ("embed/embedding", "positions", "norm/scale", "norm/bias"),
    ),
    "equinox": (
        EquinoxTokens(),
        lambda seed: eqx.filter(EquinoxTokens(), eqx.is_inexact_array),
        ("embed/weight", "positions", "norm/weight", "norm/bias"),
    ),
    "haiku": (
        hk.transform(haiku_tokens),
        lambda seed: hk.transform(haiku_tokens).init(run_key(seed, "own"), TOKENS[:1]),
        ("embed/embeddings", "~/positions", "norm/scale", "norm/offset"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.sampled(4)
def test_embeddings_tables_and_scales_keep_the_models_own_start(kind):
    from jinit.frameworks._paths import path_of

    model, start, kept = KEPT[kind]
    source = data.from_arrays(TOKENS, Y, standardize=False)
    grid = jinit.Grid(initializer="he_normal", seeds=2, **GRID)

    def found(rules):
        (program,) = plan(grid, model=model, data=source, rules=rules).programs
        made = NetworkLanes(grid, program)
        made.programs(program.tile)
        leaves = jax.tree.leaves(made.take(np.arange(2), None)["params"])
        names = [one.leaf for one in program.assignments()]
        untouched = {one.leaf for one in program.assignments() if one.initializer is None}
        return dict(zip(names, leaves, strict=True)), untouched

    leaves, untouched = found(None)
    assert untouched == set(kept)
    for seed in range(2):
        own = {path_of(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(start(seed))}
        for path in kept:
            np.testing.assert_allclose(leaves[path][seed], own[path], rtol=1e-6, atol=1e-9)
    drawn_per_seed = not np.array_equal(leaves[kept[1]][0], leaves[kept[1]][1])
    assert drawn_per_seed == (kind in ("linen", "haiku"))
    # A rule that names such a leaf draws the leaf, and all others stay.
    only, untouched = found(lambda kernel, bias: {kept[1]: "normal(3)"})
    assert untouched == set(leaves) - {kept[1]}
    assert np.abs(only[kept[1]]).max() > 1
    np.testing.assert_array_equal(only[kept[0]], leaves[kept[0]])
