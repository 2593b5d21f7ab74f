"""Layers stacked by scan, vmap and layer_stack: the fans are those of one layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinit
from jinit import frameworks, parameters

KEY = jax.random.key(0)
SIZE = 4
# Layers per stack, inputs, outputs.
DIFFERENT, EQUAL = (3, 4, 6), (4, 4, 4)


def scanned(inner, axis, width):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return inner()(x)[..., :width], None

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            stack = nn.scan(
                Block, variable_axes={"params": axis}, split_rngs={"params": True}, length=SIZE
            )
            return stack(name="stack")(x, None)[0]

    return Net()


def mapped(axis):
    experts = nn.vmap(
        nn.Dense, variable_axes={"params": axis}, split_rngs={"params": True}, in_axes=None,
        axis_size=SIZE,
    )  # fmt: skip
    return nn.Sequential([experts(SIZE, use_bias=False)])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("inputs", [SIZE, 6])
def test_linen_stacks_of_equal_sizes_have_the_fans_of_one_layer(axis, inputs):
    net = scanned(lambda: nn.Dense(inputs, use_bias=False), axis, inputs)
    x = jnp.zeros((2, inputs))
    layers = frameworks.layers(net, x)
    layout = layers["stack/Dense_0/kernel"]
    assert layout.batch_axes == (axis % 3,)
    assert layout.kernels(frameworks.shapes(net, x)["stack"]["Dense_0"]["kernel"].shape) == (
        SIZE,
        [(inputs, inputs)],
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_linen_experts_of_equal_sizes_have_the_fans_of_one_layer(axis):
    x = jnp.zeros((2, SIZE))
    layers = frameworks.layers(mapped(axis), x)
    (layout,) = [layout for name, layout in layers.items() if name.endswith("kernel")]
    assert layout.batch_axes == (axis,)


@pytest.mark.slow
def test_linen_stacks_of_attention_and_convolutions_of_equal_sizes():
    x = jnp.zeros((2, 3, SIZE))
    net = scanned(
        lambda: nn.MultiHeadDotProductAttention(SIZE, qkv_features=SIZE * SIZE, use_bias=False),
        1,
        SIZE,
    )
    found = frameworks.layers(net, x)
    query = found["stack/MultiHeadDotProductAttention_0/query/kernel"]
    assert (query.batch_axes, query.in_axes, query.out_axes) == ((1,), (0,), (2, 3))
    conv = scanned(lambda: nn.Conv(SIZE, (SIZE,), use_bias=False), 2, SIZE)
    layout = frameworks.layers(conv, x)["stack/Conv_0/kernel"]
    shape = (SIZE,) * 4
    assert layout.batch_axes == (2,)
    assert layout.fans(shape).fan_in == SIZE * SIZE


def nnx_stack(axis, layers, inputs, outputs, make):
    axes = nnx.StateAxes({nnx.Param: axis})

    @nnx.split_rngs(splits=layers)
    @nnx.vmap(in_axes=(0,), out_axes=axes, axis_size=layers)
    def stack(rngs):
        return make(inputs, outputs, rngs)

    return stack(nnx.Rngs(0))


NNX = {
    "linear": lambda i, o, rngs: nnx.Linear(i, o, use_bias=False, rngs=rngs),
    "general": lambda i, o, rngs: nnx.LinearGeneral((i,), (2, o), use_bias=False, rngs=rngs),
    "conv": lambda i, o, rngs: nnx.Conv(i, o, (5,), use_bias=False, rngs=rngs),
    "transposed": lambda i, o, rngs: nnx.ConvTranspose(
        i, o, (5,), strides=2, use_bias=False, rngs=rngs
    ),
    "einsum": lambda i, o, rngs: nnx.Einsum("bi,io->bo", (i, o), rngs=rngs),
    "embed": lambda i, o, rngs: nnx.Embed(i, o, rngs=rngs),
}


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("kind", NNX)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nnx_stacks_have_the_fans_of_one_layer_on_any_axis(kind, axis):
    count, inputs, outputs = DIFFERENT
    alone = NNX[kind](inputs, outputs, nnx.Rngs(0))
    stack = nnx_stack(axis, *DIFFERENT, NNX[kind])
    (name,) = {"kernel", "embedding"} & set(frameworks.layers(alone))
    one, found = frameworks.layers(alone)[name], frameworks.layers(stack)[name]
    own, shape = getattr(alone, name).shape, getattr(stack, name).shape
    assert found.batch_axes[0] == axis
    assert found.kernels(shape)[0] == count * one.kernels(own)[0]
    assert found.fans(shape) == one.fans(own)


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nnx_stacks_whose_sizes_are_equal_are_refused_until_layers_says_the_axis(axis):
    stack = nnx_stack(axis, *EQUAL, NNX["linear"])
    assert not frameworks.layers(stack)
    shapes, rules = frameworks.shapes(stack), {"*kernel": "he_normal"}
    with pytest.raises(ValueError, match="kernel"):
        jinit.initialize(KEY, shapes, rules, layers=frameworks.layers(stack))
    drawn = jinit.initialize(KEY, shapes, rules, layers={"kernel": "dense(batch=1)"})
    assert drawn["kernel"].shape == EQUAL


@pytest.mark.full
def test_equinox_stacks_have_the_fans_of_one_layer_on_any_axis():
    eqx = pytest.importorskip("equinox")
    count, inputs, outputs = DIFFERENT
    makers = {
        "linear": lambda key: eqx.nn.Linear(inputs, outputs, key=key),
        "scalar": lambda key: eqx.nn.Linear("scalar", outputs, key=key),
        "conv": lambda key: eqx.nn.Conv1d(inputs, outputs, 5, groups=2, key=key),
        "transposed": lambda key: eqx.nn.ConvTranspose1d(inputs, outputs, 5, 2, key=key),
        "embedding": lambda key: eqx.nn.Embedding(inputs, outputs, key=key),
    }
    for kind, make in makers.items():
        alone = make(KEY)
        for axis in (0, 1, 2):
            stack = eqx.filter_vmap(make)(jax.random.split(KEY, count))
            moved = jnp.moveaxis(stack.weight, 0, axis)
            stack = eqx.tree_at(lambda layer: layer.weight, stack, moved)
            one, found = frameworks.layers(alone)["weight"], frameworks.layers(stack)["weight"]
            assert axis in found.batch_axes, kind
            shape, own = stack.weight.shape, alone.weight.shape
            assert found.fans(shape) == one.fans(own), (kind, axis)
            assert found.kernels(shape)[0] == count * one.kernels(own)[0]
    square = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 4, key=key))(jax.random.split(KEY, 4))
    assert "weight" not in frameworks.layers(square)


@pytest.mark.slow
def test_a_layer_stack_of_haiku_is_stacked_along_the_first_axis_whatever_its_sizes():
    hk = pytest.importorskip("haiku")

    def apply(x):
        return hk.experimental.layer_stack(SIZE)(lambda h: hk.Linear(SIZE)(h))(x)

    net, x = hk.without_apply_rng(hk.transform(apply)), jnp.ones((2, SIZE))
    layers = frameworks.layers(net, x)
    ((_, layout),) = [(n, one) for n, one in layers.items() if n.endswith("/w")]
    assert layout.batch_axes == (0,)
    # The first axis counts layers: h_l = h_{l-1} W[l].
    params = net.init(KEY, x)
    (leaf,) = [tree["w"] for tree in params.values()]
    expected = np.linalg.multi_dot([x, *leaf])
    np.testing.assert_allclose(net.apply(params, x), expected, rtol=1e-5)


@pytest.mark.slow
def test_a_stack_of_equal_sizes_is_drawn_as_its_layers_alone():
    net, x = scanned(lambda: nn.Dense(SIZE, use_bias=False), 1, SIZE), jnp.zeros((2, SIZE))
    shapes, layers = frameworks.shapes(net, x), frameworks.layers(net, x)
    rules = {"*kernel": "orthogonal"}
    (one,) = parameters.assign(shapes, rules, layers=layers)
    assert (one.fan_in, one.fan_out) == (SIZE, SIZE)
    kernel = jinit.initialize(KEY, shapes, rules, layers=layers)["stack"]["Dense_0"]["kernel"]
    for layer in range(SIZE):
        alone = kernel[:, layer]
        np.testing.assert_allclose(alone.T @ alone, np.eye(SIZE), atol=1e-5)
