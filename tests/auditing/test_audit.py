"""Traps of five packages are found and named; healthy models of all of them are left in peace."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats
from tiers import sample

import jinit
from jinit import frameworks, initializers, parameters
from jinit.auditing import _departures
from jinit.frameworks._paths import path_of

K = jax.random.key(0)
IMAGE = jnp.zeros((1, 12, 12, 16))


class Convolutional(nn.Module):
    kernel_init: object = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x):
        for width in (16, 32):
            x = nn.relu(nn.Conv(width, (3, 3), kernel_init=self.kernel_init)(x))
            x = nn.LayerNorm()(x)
        return nn.Dense(10, kernel_init=self.kernel_init)(x.mean(axis=(1, 2)))


class Perceptron(nn.Module):
    kernel_init: object = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x):
        for width in (64, 256, 64):
            x = nn.tanh(nn.Dense(width, kernel_init=self.kernel_init)(x))
        return nn.Dense(10)(x)


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, ids):
        x = nn.Embed(100, 32)(ids)
        x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
        return nn.Dense(100)(nn.gelu(nn.Dense(128)(x)))


def linen(module, x):
    def make(seed):
        return module.init(jax.random.key(seed), x)["params"]

    return make, frameworks.layers(module, x), "flax"


def nnx_model(build):
    def make(seed):
        return nnx.state(build(nnx.Rngs(seed)), nnx.Param)

    return make, frameworks.layers(build(nnx.Rngs(0))), "flax"


def haiku(function, x):
    hk = pytest.importorskip("haiku")
    model = hk.transform(function)
    return (lambda seed: model.init(jax.random.key(seed), x)), frameworks.layers(model, x), "haiku"


def equinox(build):
    eqx = pytest.importorskip("equinox")

    def make(seed):
        return eqx.filter(build(jax.random.key(seed)), eqx.is_inexact_array)

    return make, frameworks.layers(build(K)), "equinox"


def keras_model(build):
    keras = pytest.importorskip("keras")

    def make(seed):
        keras.utils.set_random_seed(seed)
        return {v.path: np.asarray(v.value) for v in model(seed).trainable_variables}

    def model(seed):
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        return build(keras)

    return make, frameworks.layers(model(0)), "keras"


def torch_model(build):
    torch = pytest.importorskip("torch", reason="PyTorch models need the extra 'bench'")

    def make(seed):
        torch.manual_seed(seed)
        return {n: v.detach().numpy() for n, v in build(torch).named_parameters()}

    return make, frameworks.layers(build(torch)), "torch"


def hk_mlp(x):
    import haiku as hk

    return hk.nets.MLP([64, 256, 10])(x)


def hk_cnn(x):
    import haiku as hk

    x = jax.nn.relu(hk.Conv2D(32, 3)(x))
    return hk.Linear(10)(hk.LayerNorm(-1, True, True)(x.mean(axis=(1, 2))))


def hk_rnn(x):
    import haiku as hk

    cell = hk.GRU(32)
    return cell(x, cell.initial_state(1))[0]


def eqx_cnn(key):
    import equinox as eqx

    a, b, c = jax.random.split(key, 3)
    layers = [eqx.nn.Conv2d(3, 32, 3, key=a), eqx.nn.Conv2d(32, 32, 3, groups=4, key=b)]
    return eqx.nn.Sequential([*layers, eqx.nn.Linear(32, 10, key=c)])


def eqx_mlp(key):
    import equinox as eqx

    return eqx.nn.MLP(20, 10, 64, 3, key=key)


def eqx_attention(key):
    import equinox as eqx

    return eqx.nn.MultiheadAttention(4, 32, key=key)


def keras_cnn(k):
    layers = [k.Input((12, 12, 3)), k.layers.Conv2D(32, 3), k.layers.Conv2D(32, 3, groups=1)]
    return k.Sequential([*layers, k.layers.GlobalAveragePooling2D(), k.layers.Dense(10)])


def keras_rnn(k):
    return k.Sequential([k.Input((5, 8)), k.layers.LSTM(32), k.layers.Dense(10)])


def keras_mlp(k):
    widths = [k.layers.Dense(w, kernel_initializer="he_normal") for w in (64, 256, 64)]
    return k.Sequential([k.Input((20,)), *widths, k.layers.Dense(10)])


HEALTHY = {
    "linen perceptron": lambda: linen(Perceptron(), jnp.zeros((1, 20))),
    "linen he": lambda: linen(Perceptron(nn.initializers.he_normal()), jnp.zeros((1, 20))),
    "linen glorot": lambda: linen(Perceptron(nn.initializers.glorot_uniform()), jnp.zeros((1, 20))),
    "linen orthogonal": lambda: linen(Perceptron(nn.initializers.orthogonal()), jnp.zeros((1, 20))),
    "linen jinit": lambda: linen(Perceptron(initializers.he_uniform()), jnp.zeros((1, 20))),
    "linen convolutional": lambda: linen(Convolutional(), IMAGE),
    "linen he convolutional": lambda: linen(Convolutional(nn.initializers.he_normal()), IMAGE),
    "linen transformer": lambda: linen(Transformer(), jnp.zeros((1, 6), int)),
    "linen depthwise": lambda: linen(nn.Conv(32, (3, 3), feature_group_count=16), IMAGE),
    "linen zero head": lambda: linen(
        nn.Sequential([nn.Dense(64), nn.Dense(10, kernel_init=nn.initializers.zeros)]),
        jnp.zeros((1, 20)),
    ),
    "nnx linear": lambda: nnx_model(lambda rngs: nnx.Linear(30, 200, rngs=rngs)),
    "nnx attention": lambda: nnx_model(lambda rngs: nnx.MultiHeadAttention(4, 32, 32, rngs=rngs)),
    "haiku mlp": lambda: haiku(hk_mlp, jnp.zeros((1, 20))),
    "haiku cnn": lambda: haiku(hk_cnn, IMAGE),
    "haiku rnn": lambda: haiku(hk_rnn, jnp.zeros((1, 16))),
    "equinox mlp": lambda: equinox(eqx_mlp),
    "equinox cnn": lambda: equinox(eqx_cnn),
    "equinox attention": lambda: equinox(eqx_attention),
    "keras cnn": lambda: keras_model(keras_cnn),
    "keras mlp": lambda: keras_model(keras_mlp),
    "torch mlp": lambda: torch_model(
        lambda t: t.nn.Sequential(t.nn.Linear(20, 64), t.nn.ReLU(), t.nn.Linear(64, 10))
    ),
    "torch cnn": lambda: torch_model(
        lambda t: t.nn.Sequential(t.nn.Conv2d(3, 32, 3), t.nn.Conv2d(32, 32, 3, groups=4))
    ),
    "torch rnn": lambda: torch_model(lambda t: t.nn.LSTM(16, 32)),
    "torch attention": lambda: torch_model(lambda t: t.nn.MultiheadAttention(32, 4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sample(HEALTHY, 2))
@pytest.mark.sampled(12)
def test_healthy_models_are_left_in_peace(name):
    make, layers, host = HEALTHY[name]()
    for seed in range(4):
        assert jinit.audit(make(seed), host=host, layers=layers) == []
    assert jinit.audit(make(0), host=host, layers=layers, seed_fn=make) == []


def found(name, kind, leaf_end):
    make, layers, host = name
    findings = [f for f in jinit.audit(make(3), host=host, layers=layers) if f.kind == kind]
    assert [f for f in findings if f.where.endswith(leaf_end)], jinit.audit(
        make(3), host=host, layers=layers
    )
    return findings[0]


@pytest.mark.slow
def test_flax_counts_the_wrong_axis_of_a_transposed_kernel():
    module = nn.ConvTranspose(256, (3, 3), transpose_kernel=True)
    finding = found(linen(module, IMAGE), "wrong fan", "kernel")
    assert "4× too small" in finding.evidence


@pytest.mark.slow
def test_flax_counts_batch_axes_as_inputs():
    module = nnx.LinearGeneral(40, 50, axis=-1, batch_axis={0: 16}, rngs=nnx.Rngs(0))
    make = lambda seed: nnx.state(  # noqa: E731
        nnx.LinearGeneral(40, 50, axis=-1, batch_axis={0: 16}, rngs=nnx.Rngs(seed)), nnx.Param
    )
    finding = found((make, frameworks.layers(module), "flax"), "wrong fan", "kernel")
    assert "4× too small" in finding.evidence


@pytest.mark.slow
def test_keras_counts_all_channels_of_a_depthwise_kernel():
    def build(k):
        return k.Sequential([k.Input((12, 12, 64)), k.layers.DepthwiseConv2D(3)])

    finding = found(keras_model(build), "wrong fan", "kernel")
    assert "too small" in finding.evidence


@pytest.mark.slow
def test_haiku_does_not_count_strides():
    def model(x):
        import haiku as hk

        return hk.Conv2DTranspose(32, 4, stride=2)(x)

    finding = found(haiku(model, IMAGE), "wrong fan", "/w")
    assert "2× too small" in finding.evidence


def test_torch_reads_outputs_as_inputs_in_a_transposed_convolution():
    make = torch_model(lambda t: t.nn.ConvTranspose2d(16, 256, 3))
    assert "too small" in found(make, "wrong fan", "weight").evidence


GATES = {
    "nnx lstm": (lambda: nnx_model(lambda rngs: nnx.OptimizedLSTMCell(16, 32, rngs=rngs)), 4),
    "nnx gru": (lambda: nnx_model(lambda rngs: nnx.GRUCell(16, 32, rngs=rngs)), 3),
    "keras lstm": (lambda: keras_model(keras_rnn), 4),
}


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", GATES)
def test_gates_drawn_as_one_orthogonal_kernel(name):
    """Flax and Keras draw (hidden, gates · hidden): each gate has 1/√gates of its own σ, 1/√32."""
    build, number = GATES[name]
    make, layers, host = build()
    params = make(3)
    (finding,) = jinit.audit(params, host=host, layers=layers)
    assert finding.kind == "wrong fan"
    assert f"1/√{number} = {number**-0.5:.2g}" in finding.evidence
    leaf = next(
        value
        for path, value in jax.tree_util.tree_leaves_with_path(params)
        if path_of(path) == finding.where
    )
    gate = np.asarray(getattr(leaf, "value", leaf))[:, :32]
    assert np.std(gate) / 32**-0.5 == pytest.approx(number**-0.5, rel=0.05)


@pytest.mark.slow
def test_gates_drawn_one_by_one_are_healthy():
    layers = {"cell": "recurrent((32, 32, 32, 32))"}
    shapes = {"cell": jax.ShapeDtypeStruct((32, 128), "float32")}
    params = jinit.initialize(K, shapes, {"cell": "orthogonal"}, layers=layers)
    assert jinit.audit(params, layers=layers) == []
    params = {"cell": initializers.orthogonal()(K, (32, 128))}
    assert [f.kind for f in jinit.audit(params, layers=layers)] == ["wrong fan"]


@pytest.mark.slow
def test_two_keras_layers_with_one_initializer():
    def build(k):
        shared = k.initializers.HeNormal(seed=1)
        layers = [k.layers.Dense(20, kernel_initializer=shared) for _ in range(2)]
        return k.Sequential([k.Input((20,)), *layers])

    assert "1 ×" in found(keras_model(build), "duplicated", "kernel").evidence


@pytest.mark.slow
def test_one_key_used_twice_is_proportional():
    params = {
        "a": {"kernel": initializers.he_normal()(K, (30, 30))},
        "b": {"kernel": initializers.lecun_normal()(K, (30, 30))},
    }
    (finding,) = jinit.audit(params)
    assert finding.kind == "duplicated"
    assert "0.707 ×" in finding.evidence
    params["b"] = {"kernel": -params["a"]["kernel"]}
    (finding,) = jinit.audit(params)
    assert finding.kind == "duplicated"
    assert "-1 ×" in finding.evidence


def kernels(**named):
    return {name: {"kernel": kernel} for name, kernel in named.items()}


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        (kernels(a=jnp.full((8, 4), 0.3)), "symmetric"),
        (kernels(a=jnp.tile(jax.random.normal(K, (8, 1)), (1, 4))), "symmetric"),
        (kernels(a=jnp.zeros((8, 4)), b=jnp.zeros((4, 4))), "zero"),
        (kernels(a=jnp.full((8, 4), jnp.nan)), "not finite"),
        (kernels(a=jax.random.uniform(K, (80, 40)) * 0.1), "mean"),
        (kernels(a=jax.random.normal(K, (80, 40))), "scale"),
        (kernels(a=0.003 * jax.random.normal(K, (80, 40))), "scale"),
    ],
)
def test_traps_of_any_tree(params, kind):
    assert kind in {finding.kind for finding in jinit.audit(params)}


@pytest.mark.slow
def test_he_by_fan_out_is_a_rule_of_its_own():
    assert jinit.audit(kernels(a=jnp.sqrt(2 / 900) * jax.random.normal(K, (30, 900)))) == []


@pytest.mark.slow
def test_rules_that_never_applied():
    module, x = Perceptron(), jnp.zeros((1, 20))
    params = module.init(K, x)["params"]
    rules = {"Dense_3/kernel": "zeros", "*/kernel": "orthogonal", "*/bias": "zeros"}
    findings = jinit.audit(params, rules=rules)
    kinds = {finding.where: finding.kind for finding in findings}
    assert kinds["Dense_1/kernel"] == "host default"
    assert "lecun_normal" in findings[0].evidence
    drawn = parameters.initialize(K, params, rules)
    assert jinit.audit(drawn, rules=rules) == []
    scaled = jax.tree.map(lambda w: 1.1 * w, drawn)
    assert {f.kind for f in jinit.audit(scaled, rules=rules)} == {"rule not applied"}


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "least"), [(1e-3, 0), (0.2, 20)])
@pytest.mark.full
def test_false_alarms_with_rules_have_the_stated_rate(monkeypatch, alpha, least):
    """400 healthy models at the audit's own rate, and at one where alarms can be counted."""
    monkeypatch.setattr(_departures, "ALPHA", alpha)
    shapes = frameworks.shapes(Perceptron(), jnp.zeros((1, 20)))
    rules = {"*/kernel": "glorot_normal", "*/bias": "normal(stddev=0.1)"}
    keys = jax.random.split(K, 400)
    trees = jax.vmap(lambda key: parameters.initialize(key, shapes, rules))(keys)
    alarms = sum(
        bool(jinit.audit(jax.tree.map(lambda leaf: leaf[i], trees), rules=rules))  # noqa: B023
        for i in range(400)
    )
    assert least <= alarms <= stats.binom.isf(1e-3, 400, alpha)


def test_a_seed_that_changes_nothing():
    def make(seed):
        return kernels(
            a=initializers.he_normal()(jax.random.key(seed), (20, 20)),
            b=initializers.he_normal()(jax.random.key(7), (20, 20)),
        )

    (finding,) = jinit.audit(make(0), seed_fn=make)
    assert (finding.kind, finding.where) == ("seed", "b/kernel")


KERNEL = np.asarray(initializers.he_normal()(jax.random.key(5), (64, 64)))


@pytest.mark.parametrize(
    ("params", "rules", "evidence"),
    [
        ({"kernel": KERNEL, "bias": np.zeros(64)}, {"bias": "constant(value=0.1)"}, "entries"),
        ({"kernel": KERNEL, "scale": np.zeros(64)}, {"scale": "ones"}, "entries"),
        ({"kernel": KERNEL + 3}, {}, "mean"),
        ({"kernel": np.repeat(KERNEL[:, :1], 64, 1)}, {}, "all 64 units are the same"),
        ({"kernel": KERNEL / np.sqrt(2)}, {"kernel": "orthogonal"}, "not orthogonal"),
        ({"kernel": KERNEL}, {"kernel": "he_uniform"}, "stays in"),
        ({"kernel": KERNEL}, {"kernel": "identity"}, "entries"),
    ],
)
def test_every_departure_from_a_rule_is_seen(params, rules, evidence):
    given = {"kernel": "he_normal", **rules}
    findings = jinit.audit(params, rules=given)
    assert any(evidence in finding.evidence for finding in findings), findings


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "rule",
    ["he_normal", "he_uniform", "orthogonal", "identity", "constant(value=0.1)", "sparse",
     "rademacher", "looks_linear", "glorot_normal(fused=(16, 48))", "hadamard", "zeros",
     "uniform(scale=0.1)", "truncated_normal(stddev=0.1)", "scaled_for(activation=tanh)"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.slow
def test_what_was_drawn_by_its_rule_has_no_finding(rule, dtype):
    shapes = {"kernel": jax.ShapeDtypeStruct((64, 64), dtype)}
    for seed in range(3):
        params = jinit.initialize(jax.random.key(seed), shapes, {"kernel": rule})
        assert not jinit.audit(params, rules={"kernel": rule})


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [128, 512])
def test_a_transposed_kernel_by_he_has_the_wrong_fan(outputs):
    model = nn.ConvTranspose(outputs, (3, 3), transpose_kernel=True,
                             kernel_init=nn.initializers.he_normal())  # fmt: skip
    x = jnp.zeros((1, 8, 8, 16))
    params = model.init(jax.random.key(0), x)["params"]
    findings = jinit.audit(params, layers=frameworks.layers(model, x))
    assert [finding.kind for finding in findings] == ["wrong fan"]


@pytest.mark.slow
def test_one_key_for_layers_of_other_sizes():
    key, init = jax.random.key(0), initializers.he_normal()
    params = {str(n): init(key, (n, m)) for n, m in ((32, 64), (64, 128), (128, 10))}
    kinds = [finding.kind for finding in jinit.audit(params, layers={"*": "dense"})]
    assert kinds == ["duplicated", "duplicated"]


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["siren", "siren(is_first=True)", "mup(role=output)"])
def test_rules_of_special_networks_are_known_without_being_given(spec):
    params = {"kernel": initializers.get(spec)(jax.random.key(0), (256, 256))}
    assert not jinit.audit(params)


def test_embeddings_that_are_all_alike():
    (finding,) = jinit.audit({"e": np.ones((9, 4))}, layers={"e": "embedding"})
    assert finding.evidence == "all 9 embeddings are the same"


def test_a_seed_fn_that_returns_nothing_is_refused():
    with pytest.raises(TypeError, match="seed_fn"):
        jinit.audit({"kernel": KERNEL}, seed_fn=lambda seed: None)


@pytest.mark.slow
def test_keys_in_a_model_are_not_weights():
    class Dropped(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(16, 64, rngs=rngs)
            self.dropout = nnx.Dropout(0.1, rngs=rngs)

    assert not jinit.audit(Dropped(nnx.Rngs(0)))
    assert not jinit.audit(Dropped(nnx.Rngs(0)), seed_fn=lambda seed: Dropped(nnx.Rngs(seed)))


@pytest.mark.slow
def test_a_model_that_is_no_tree_of_arrays_is_told_how_to_become_one():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(16, 4, 64, 2, key=jax.random.key(0))
    with pytest.raises(TypeError, match=r"eqx\.filter\(model, eqx\.is_array\)"):
        jinit.audit(model, host="equinox")
    assert not jinit.audit(eqx.filter(model, eqx.is_array), host="equinox")


def test_shapes_are_not_weights():
    with pytest.raises(TypeError, match=r"'kernel'.*an array of initial weights"):
        jinit.audit({"kernel": jax.ShapeDtypeStruct((8, 4), jnp.float32)})
