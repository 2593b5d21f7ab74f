"""Every framework's layers are seen, in order, and a tap's gradient is the gradient."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jinit import frameworks, probes
from jinit.frameworks._capture import by_path
from jinit.models import MLP
from jinit.models._mlp import tapped_apply
from jinit.probes._losses import random_projection

X = jax.random.normal(jax.random.key(5), (6, 4))


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(5, name="first")(x))
        return nn.Dense(3, name="last")(x)


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 5, rngs=rngs)
        self.last = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x)))


def haiku_net():
    hk = pytest.importorskip("haiku")
    return hk.transform(
        lambda x: hk.Linear(3, name="last")(jnp.tanh(hk.Linear(5, name="first")(x)))
    )


def equinox_net():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        first: eqx.nn.Linear
        last: eqx.nn.Linear

        def __call__(self, x):
            return self.last(jnp.tanh(self.first(x)))

    one, two = jax.random.split(jax.random.key(0))
    return Net(eqx.nn.Linear(4, 5, key=one), eqx.nn.Linear(5, 3, key=two))


def plain_net(params, x, tap):
    z = tap("first", x @ params["first"]["kernel"] + params["first"]["bias"])
    last = params["last"]
    return tap("last", jnp.tanh(z) @ last["kernel"] + last["bias"])


PLAIN_SHAPES = {
    "first": {"kernel": jnp.zeros((4, 5)), "bias": jnp.zeros(5)},
    "last": {"kernel": jnp.zeros((5, 3)), "bias": jnp.zeros(3)},
}
MODELS = {
    "linen": lambda: (LinenNet(), None),
    "nnx": lambda: (NnxNet(nnx.Rngs(0)), None),
    "haiku": lambda: (haiku_net(), None),
    "equinox": lambda: (equinox_net(), None),
    "plain": lambda: (plain_net, PLAIN_SHAPES),
}


def filled(captured):
    """Random parameters and, by the layers' names, the (in, out) kernels and biases in them."""
    leaves, tree = jax.tree.flatten(captured.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    params = jax.tree.unflatten(tree, drawn)
    leaves_of = by_path(params)
    found = []
    for layer in captured.layers:
        kernel = leaves_of[layer.kernel]
        first_of_two = kernel.shape in ((4, 5), (5, 3))
        found.append((kernel if first_of_two else kernel.T, leaves_of[layer.bias]))
    return params, found


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_layers_of_every_framework(kind):
    model, shapes = MODELS[kind]()
    captured = frameworks.capture(model, X, shapes)
    assert [layer.name for layer in captured.layers] == ["first", "last"]
    params, ((w1, b1), (w2, b2)) = filled(captured)
    outputs, values = captured.apply(params, X, None)
    z1 = X @ w1 + b1
    z2 = jnp.tanh(z1) @ w2 + b2
    for seen, expected in ((values["first"], z1), (values["last"], z2), (outputs, z2)):
        np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-5)

    # By hand: L = mean over the batch of v·z2.
    loss = random_projection(jax.random.key(2))
    v = jax.random.normal(jax.random.key(2), z2.shape)
    back = (v @ w2.T) * (1 - jnp.tanh(z1) ** 2)
    profile = probes.propagation(captured, params, X, loss, activation="tanh")
    norms = [jnp.sqrt((g**2).sum(1).mean()) for g in (back, v)]
    np.testing.assert_allclose(profile.gradient_norm, norms, rtol=1e-5)
    kernels = [jnp.linalg.norm(h.T @ g) / 6 for h, g in ((X, back), (jnp.tanh(z1), v))]
    np.testing.assert_allclose(profile.kernel_gradient_norm, kernels, rtol=1e-5)
    biases = [jnp.linalg.norm(g.mean(0)) for g in (back, v)]
    np.testing.assert_allclose(profile.bias_gradient_norm, biases, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"residual": True}, {"layer_norm": True}])
@pytest.mark.parametrize("features", [(3,), (8, 3), (8, 8, 8, 3), (8, 6, 3)])
@pytest.mark.sampled(3)
def test_the_tapped_mlp_is_the_mlp(features, options):
    model = MLP(features=features, activation="tanh", **options)
    params = model.init(jax.random.key(0), X)["params"]
    outputs, values = tapped_apply(model, params, X)
    np.testing.assert_allclose(outputs, model.apply({"params": params}, X), rtol=1e-5, atol=1e-6)
    names = [layer.name for layer in frameworks.capture(model, X).layers]
    assert names == [*(f"hidden_{i}" for i in range(len(features) - 1)), "output"]
    assert sum(z.shape[0] if z.ndim == 3 else 1 for z in values.values()) == len(features)


@pytest.mark.slow
def test_an_mlp_inside_another_linen_module():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = MLP(features=(8, 8, 6), activation="tanh", layer_norm=True)(nn.Dense(7)(x))
            return nn.Dense(3)(MLP(features=(5,), name="last")(x=x))

    captured = frameworks.capture(Net(), X)
    assert not captured.unseen
    assert [(layer.name, layer.normalized) for layer in captured.layers] == [
        ("Dense_0", False), ("MLP_0/hidden_0", True), ("MLP_0/hidden_1", True),
        ("MLP_0/output", False), ("last/output", False), ("Dense_1", False),
    ]  # fmt: skip
    params = Net().init(jax.random.key(1), X)["params"]
    outputs, values = captured.apply(params, X, None)
    np.testing.assert_array_equal(outputs, Net().apply({"params": params}, X))
    inner = MLP(features=(8, 8, 6), activation="tanh", layer_norm=True)
    alone, expected = tapped_apply(inner, params["MLP_0"], values["Dense_0"])
    np.testing.assert_allclose(values["MLP_0/hidden_1"], expected["hidden"][0], rtol=1e-5)
    np.testing.assert_allclose(values["MLP_0/output"], alone, rtol=1e-5)


@pytest.mark.slow
def test_no_layer_is_taken_for_a_jinit_mlp():
    class Doubled(MLP):
        @nn.compact
        def __call__(self, x):
            return 2 * super().__call__(x)

    class Scaled(nn.Module):
        @nn.compact
        def __call__(self, x):
            kernel = self.param("kernel", nn.initializers.normal(), (x.shape[-1], 3))
            scale = self.param("scale", nn.initializers.ones, (3,))
            return x @ kernel * scale + self.param("shift", nn.initializers.zeros, (3,))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Scaled()(Doubled(features=(5, 3))(x))

    captured = frameworks.capture(Net(), X)
    assert [(layer.name, layer.normalized) for layer in captured.layers] == [("Scaled_0", False)]
    assert captured.unseen == ("Doubled_0/hidden_0/kernel", "Doubled_0/output/kernel")
    params = Net().init(jax.random.key(1), X)["params"]
    outputs, _ = captured.apply(params, X, None)
    np.testing.assert_array_equal(outputs, Net().apply({"params": params}, X))


@pytest.mark.full
def test_convolutions_and_shared_layers():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(6, (3, 3))(x))
            same = nn.Dense(6)
            return same(same(x).mean((1, 2)))

    x = jax.random.normal(jax.random.key(0), (4, 5, 5, 2))
    captured = frameworks.capture(Net(), x)
    assert [layer.name for layer in captured.layers] == ["Conv_0", "Dense_0", "Dense_0#2"]
    params = Net().init(jax.random.key(1), x)["params"]
    profile = probes.propagation(captured, params, x, random_projection(jax.random.key(2)),
                                 activation="relu")  # fmt: skip
    assert np.isfinite(profile.second_moment).all()
    z = np.asarray(captured.apply(params, x, None)[1]["Conv_0"], np.float64)
    off = (z <= 0).all((0, 1, 2)).mean()
    assert float(profile.dead[0]) == pytest.approx(off)
    assert float(profile.input_variance[0]) == pytest.approx(
        z.reshape(-1, 6).var(0).mean(), rel=1e-4
    )


def test_bad_models():
    with pytest.raises(TypeError, match="allowed: a model of linen, nnx, haiku or equinox"):
        frameworks.capture(3, X)
    with pytest.raises(TypeError, match=r"an array \(batch, …\)"):
        frameworks.capture(LinenNet(), 3)
    with pytest.raises(ValueError, match="the parameters of a plain apply"):
        frameworks.capture(plain_net, X)
    with pytest.raises(ValueError, match="no layer with a kernel was called"):
        frameworks.capture(lambda params, x, tap: x, X, PLAIN_SHAPES)
    with pytest.raises(ValueError, match="names without '#'"):
        frameworks.capture(plain_net, X, {"d#2": PLAIN_SHAPES["first"]} | PLAIN_SHAPES)
    with pytest.raises(ValueError, match="one of first, last"):
        frameworks.capture(lambda params, x, tap: tap("middle", x), X, PLAIN_SHAPES)

    class Drops(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dropout(0.5, deterministic=False)(nn.Dense(4)(x))

    with pytest.raises(ValueError, match="a model that runs without PRNG keys"):
        frameworks.capture(Drops(), X)

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            body = nn.scan(
                lambda module, x, _: (nn.Dense(4, name="dense")(x), None),
                variable_axes={"params": 0}, split_rngs={"params": True}, length=3,
            )  # fmt: skip
            return body(self, x, None)[0]

    with pytest.raises(ValueError, match="layer 'dense' inside scan"):
        frameworks.capture(Scanned(), X)


@pytest.mark.full
def test_equinox_units_are_channels():
    eqx = pytest.importorskip("equinox")
    mlp = eqx.nn.MLP(4, 3, 8, 2, key=jax.random.key(0))
    same = jnp.tile(mlp.layers[1].weight[:1], (8, 1))
    mlp = eqx.tree_at(lambda m: (m.layers[1].weight, m.layers[1].bias), mlp, (same, jnp.zeros(8)))
    captured = frameworks.capture(mlp, X)
    params = eqx.filter(mlp, eqx.is_inexact_array)
    profile = probes.propagation(captured, params, X, random_projection(jax.random.key(1)))
    np.testing.assert_allclose(profile.duplicates, [0, 1, 0])

    conv = eqx.nn.Conv2d(2, 8, 3, key=jax.random.key(0))
    conv = eqx.tree_at(lambda c: c.bias, conv, conv.bias.at[:6].set(-100.0))
    x = jax.random.normal(jax.random.key(2), (5, 2, 6, 6))
    model = eqx.nn.Sequential([conv, eqx.nn.Lambda(lambda z: jax.nn.relu(z).ravel()),
                               eqx.nn.Linear(128, 3, key=jax.random.key(1))])  # fmt: skip
    captured = frameworks.capture(model, x)
    assert captured.layers[0].bias == "layers/0/bias"
    params = eqx.filter(model, eqx.is_inexact_array)
    profile = probes.propagation(
        captured, params, x, random_projection(jax.random.key(1)), activation="relu"
    )
    assert float(profile.dead[0]) == 0.75
    # The captured model knows how its weights are laid out.
    rules = {"*/weight": "he_normal", "*/bias": "zeros"}
    found = probes.ensemble(captured, rules, x, random_projection(jax.random.key(1)), seeds=2)
    assert found.mean.shape == (2, 2)


def test_attention_layers_and_modules_that_own_arrays():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x + self.param("place", nn.initializers.normal(), x.shape[1:])
            return nn.Dense(4, name="last")(nn.SelfAttention(2, name="mix")(x).mean(1))

    captured = frameworks.capture(Net(), jnp.ones((4, 6, 8)))
    names = [layer.name for layer in captured.layers]
    assert names == ["mix/query", "mix/key", "mix/value", "mix/out", "last"]
    assert captured.unseen == ("place",)


def test_haiku_without_a_key_and_a_class_for_a_model():
    hk = pytest.importorskip("haiku")
    captured = frameworks.capture(hk.without_apply_rng(haiku_net()), X)
    assert [layer.name for layer in captured.layers] == ["first", "last"]
    with pytest.raises(TypeError, match="a model of linen, nnx, haiku or equinox"):
        frameworks.capture(LinenNet, X)
    with pytest.raises(ValueError, match="one array"):
        frameworks.capture(lambda p, x, tap: (plain_net(p, x, tap), x), X, PLAIN_SHAPES)


def test_a_tap_whose_value_is_not_used_is_refused():
    """Its gradient would be 0, and the verdict that of another network."""
    params = {"a": {"kernel": jnp.ones((3, 4))}, "b": {"kernel": jnp.ones((4, 2))}}

    def ignores(params, x, tap):
        hidden = x @ params["a"]["kernel"]
        tap("a", hidden)
        return tap("b", jnp.tanh(hidden) @ params["b"]["kernel"])

    def uses(params, x, tap):
        hidden = tap("a", x @ params["a"]["kernel"])
        return tap("b", jnp.tanh(hidden) @ params["b"]["kernel"])

    x = jnp.ones((5, 3))
    with pytest.raises(ValueError, match=r"tap 'a': got 'a value that is not used'"):
        frameworks.capture(ignores, x, params)
    assert len(frameworks.capture(uses, x, params).layers) == 2


def test_a_plain_apply_without_a_tap_is_told_to_take_one():
    params = {"dense": {"w": jnp.ones((3, 2))}}
    with pytest.raises(TypeError, match=r"apply\(params, x, tap\)"):
        frameworks.capture(lambda params, x: x @ params["dense"]["w"], jnp.ones((4, 3)), params)
