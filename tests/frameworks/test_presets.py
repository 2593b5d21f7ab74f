"""Presets as a registry: default draws that serve any host, and presets that users add."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import K, orthogonal
from flax import nnx

import jinit
from jinit import frameworks, initializers, parameters
from jinit.frameworks import _table
from jinit.frameworks._paths import path_of
from jinit.frameworks._table import get_preset


def halves(layout, name, shape):
    """Kernels and biases of 1/2."""
    return initializers.constant(0.5), layout


@pytest.fixture
def registered():
    frameworks.register_preset("halves", halves)
    yield
    _table._presets.remove("halves")


def test_a_registered_preset_works_wherever_rules_may_stand(registered):
    tree = {"dense": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}
    made = jinit.initialize(K, tree, "halves")
    assert all(np.all(np.asarray(leaf) == 0.5) for leaf in jax.tree.leaves(made))
    assert [each.rule for each in parameters.assign(tree, "halves")] == ["halves", "halves"]
    assert jinit.audit(made, rules="halves") == []
    findings = jinit.audit(tree, rules="halves")
    assert {finding.kind for finding in findings} == {"rule not applied"}
    assert parameters.reset_report(tree, "halves", where="*kernel")["reset"] == ("dense/kernel",)


def test_a_taken_preset_is_refused_and_the_same_preset_again_changes_nothing(registered):
    before = frameworks.presets()
    frameworks.register_preset("halves", halves)
    assert frameworks.presets() == before
    with pytest.raises(ValueError, match="taken"):
        frameworks.register_preset("torch", halves)
    with pytest.raises(ValueError, match="did you mean 'halves'"):
        get_preset("halfs")


def test_every_host_has_a_preset():
    assert frameworks.presets() == frameworks.hosts()


@pytest.mark.slow
def test_a_preset_serves_another_host():
    model, x = nn.Dense(2000), jnp.zeros((1, 100))
    tree = frameworks.shapes(model, x)
    made = parameters.initialize(K, tree, "torch", layers=frameworks.layers(model, x))
    assert float(jnp.abs(made["bias"]).max()) == pytest.approx(0.1, rel=0.01)
    assert float(jnp.abs(made["kernel"]).max()) == pytest.approx(0.1, rel=0.01)


def linen_stack(axis):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            h = nn.GRUCell(64)(x, nn.Dense(64)(x))[0]
            return nn.ConvTranspose(64, (3,), transpose_kernel=True)(h), None

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.scan(
                Block, variable_axes={"params": axis}, split_rngs={"params": True}, length=3
            )()(x, None)[0]

    net, x = Net(), jnp.zeros((2, 5, 64))
    return net.init(K, x)["params"], frameworks.layers(net, x), "flax"


def nnx_stack():
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.fc = nnx.LoRALinear(64, 60, lora_rank=8, rngs=rngs)
            self.cell = nnx.OptimizedLSTMCell(30, 60, rngs=rngs)
            self.experts = nnx.LinearGeneral(40, 50, axis=-1, batch_axis={0: 4}, rngs=rngs)

    made = nnx.split_rngs(splits=3)(nnx.vmap(Block, in_axes=0, out_axes=0))(nnx.Rngs(0))
    return nnx.state(made, nnx.Param), frameworks.layers(made), "flax"


def haiku_stack():
    hk = pytest.importorskip("haiku")

    def apply(x):
        layer = lambda h: hk.GRU(60)(hk.Conv1D(60, 3)(hk.Linear(60)(h))[:, 0], h[:, 0])[0][:, None]  # noqa: E731
        return hk.experimental.layer_stack(3)(layer)(x)

    net, x = hk.transform(apply), jnp.zeros((2, 1, 60))
    return net.init(K, x), frameworks.layers(net, x), "haiku"


def equinox_stack():
    eqx = pytest.importorskip("equinox")

    def make(key):
        transposed = eqx.nn.ConvTranspose2d(16, 32, 4, 2, groups=2, key=key)
        return [eqx.nn.Linear(64, 200, key=key), transposed, eqx.nn.Embedding(30, 64, key=key)]

    layers = eqx.filter_vmap(make)(jax.random.split(K, 3))
    net = eqx.nn.Sequential([eqx.nn.Lambda(lambda x: x), *layers])
    return eqx.filter(net, eqx.is_inexact_array), frameworks.layers(net), "equinox"


STACKS = {
    "linen": lambda: linen_stack(0),
    "linen on axis 1": lambda: linen_stack(1),
    "nnx": nnx_stack,
    "haiku": haiku_stack,
    "equinox": equinox_stack,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STACKS)
def test_each_layer_of_a_stack_starts_as_its_framework_draws_it(name):
    theirs, layers, host = STACKS[name]()
    stacks = [layout for layout in layers.values() if layout.is_cut]
    assert stacks
    assert all(layout.added for layout in stacks)
    ours = jinit.initialize(jax.random.key(7), theirs, host, host=host, layers=layers)
    for (path, real), made in zip(
        jax.tree_util.tree_leaves_with_path(theirs), jax.tree.leaves(ours), strict=True
    ):
        tolerance = 6 / np.sqrt(2 * real.size)  # six standard errors of a σ
        assert float(jnp.std(made)) == pytest.approx(float(jnp.std(real)), rel=tolerance), path
        layout = layers[path_of(path)]
        if layout.kind == "recurrent":
            one, other = (np.take(np.asarray(each), 0, layout.added[0]) for each in (real, made))
            assert orthogonal(one) == orthogonal(other), path


# Models of one framework, the preset of another → the σ of the same layer in that framework.
OTHER_HOSTS = {
    "flax": ("torch", lambda nn: nn.Linear(100, 2000), 100**-0.5),
    "flax on groups": ("torch", lambda nn: nn.Conv2d(16, 32, 3, groups=4), 36**-0.5),
    "keras": ("torch", lambda nn: nn.Conv2d(64, 128, 3), (2 / (9 * 192)) ** 0.5),
    "keras on gates": ("torch", lambda nn: nn.LSTM(30, 40), (2 / 190) ** 0.5),
    "haiku": ("torch", lambda nn: nn.Linear(100, 2000), initializers.get("truncated_normal(0.1)")),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", OTHER_HOSTS)
def test_a_preset_reads_the_axes_of_torch(case):
    torch = pytest.importorskip("torch")
    host, make, stddev = OTHER_HOSTS[case]
    if not isinstance(stddev, float):
        stddev = stddev.law((2,)).stddev
    module = make(torch.nn)
    rules, shapes = case.partition(" ")[0], frameworks.shapes(module)
    found = parameters.assign(shapes, rules, host=host, layers=frameworks.layers(module))
    kernel = next(each for each in found if each.leaf in ("weight", "weight_ih_l0"))
    assert kernel.stddev == pytest.approx(stddev)


@pytest.mark.slow
def test_presets_of_torch_and_haiku_read_the_axes_of_linen():
    model, x = nn.ConvTranspose(64, (3, 3)), jnp.zeros((1, 8, 8, 16))
    found = parameters.assign(
        frameworks.shapes(model, x), "torch", layers=frameworks.layers(model, x)
    )
    assert {str(each.initializer) for each in found} == {"fan_in_uniform(fan_in=576)"}
    model, x = nn.MultiHeadDotProductAttention(4), jnp.zeros((1, 3, 64))
    found = parameters.assign(
        frameworks.shapes(model, x), "haiku", layers=frameworks.layers(model, x)
    )
    kernels = {str(each.initializer) for each in found if each.leaf.endswith("kernel")}
    assert kernels == {"truncated_normal(stddev=0.125)"}
