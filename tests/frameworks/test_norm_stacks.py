"""Weight norm and spectral norm in stacks and around a user's own modules."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinit
from jinit import frameworks

KEY = jax.random.key(4)
X = jnp.eye(5)
COUNT = 3


class Own(nn.Module):
    """A layer that jinit does not know."""

    features: int

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", nn.initializers.ones, (x.shape[-1], self.features))


def stack(axis, layer, axes=-1):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.WeightNorm(layer(), feature_axes=axes, name="norm")(x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            blocks = nn.vmap(
                Block, variable_axes={"params": axis}, split_rngs={"params": True},
                in_axes=None, axis_size=COUNT,
            )  # fmt: skip
            return blocks(name="stack")(x)

    return Net()


def draw(model, *inputs, rules, host="flax"):
    shapes, layers = frameworks.shapes(model, *inputs), frameworks.layers(model, *inputs)
    return jinit.initialize(KEY, shapes, rules, host=host, layers=layers)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [-1, None])
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize(("layer", "features"), [(nn.Dense, 4), (nn.Dense, COUNT), (Own, 4)])
def test_kernels_under_weight_norm_in_a_stack_are_the_drawn_ones(layer, features, axis, axes):
    options = {"use_bias": False} if layer is nn.Dense else {}
    model = stack(axis, lambda: layer(features, name="fc", **options), axes)
    params = draw(model, X, rules={"*kernel": "normal(0.5)"})
    kernels = np.moveaxis(params["stack"]["fc"]["kernel"], axis, 0)
    np.testing.assert_allclose(model.apply({"params": params}, X), kernels, atol=2e-6)


@pytest.mark.slow
def test_scales_whose_axes_have_another_order_than_the_kernel_s_are_refused():
    for features in (4, COUNT):
        model = stack(1, lambda: nn.Dense(features, name="fc"))  # noqa: B023
        with pytest.raises(ValueError, match=r"stack/fc/kernel.*WeightNorm.*no effect"):
            draw(model, X, rules={"*kernel": "normal(0.5)", "*": "ones"})
        preset = draw(model, X, rules="flax")["stack"]
        np.testing.assert_array_equal(preset["norm"]["fc/kernel/scale"], np.ones((features, COUNT)))


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, -1])
def test_stacks_may_lie_inside_and_outside_of_the_weight_norm(axis):
    def inner():
        experts = nn.vmap(
            nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True},
            in_axes=None, axis_size=2,
        )  # fmt: skip
        return experts(4, name="fc", use_bias=False)

    model = stack(axis, inner)
    params = draw(model, X, rules={"*kernel": "normal(0.5)"})
    kernels = np.moveaxis(params["stack"]["fc"]["kernel"], axis, 0)
    np.testing.assert_allclose(model.apply({"params": params}, X), kernels, atol=2e-6)


@pytest.mark.slow
def test_a_weight_norm_that_is_the_model_has_a_scale_that_follows():
    model = nn.WeightNorm(nn.Dense(4, use_bias=False))
    params = draw(model, X, rules={"*kernel": "normal(0.5)"})
    outputs = model.apply({"params": params}, X)
    np.testing.assert_allclose(outputs, params["layer_instance"]["kernel"], atol=2e-6)


@pytest.mark.slow
def test_kernels_of_unknown_layers_that_a_norm_divides_are_refused():
    eqx = pytest.importorskip("equinox")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.SpectralNorm(Own(4, name="a"))(x, update_stats=False)
            return nn.WeightNorm(Own(4, name="b"), use_scale=False)(x)

    class Nnx(nnx.Module):
        def __init__(self):
            self.kernel = nnx.Param(jnp.ones((4, 3)))

    class Equinox(eqx.Module):
        kernel: jax.Array

    spectral, _ = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(
        Equinox(jnp.ones((4, 3))), "kernel", key=KEY
    )
    normed = nnx.SpectralNorm(Nnx(), rngs=nnx.Rngs(0))
    for model, inputs, host, kernels in (
        (Net(), (X,), "flax", ("a/kernel", "b/kernel")),
        (normed, (), "flax", ("layer_instance/kernel",)),
        (spectral, (), "equinox", ("layer/kernel",)),
    ):
        for kernel in kernels:
            with pytest.raises(ValueError, match=f"leaf {kernel!r}.*Norm.*no effect"):
                draw(model, *inputs, rules={kernel: "normal(0.5)", "*": "keep"}, host=host)


@pytest.mark.slow
def test_biases_in_a_stack_of_spectral_norms_are_drawn():
    @nnx.split_rngs(splits=COUNT)
    @nnx.vmap
    def made(rngs):
        return nnx.SpectralNorm(nnx.Linear(4, 3, rngs=rngs), rngs=rngs)

    bias = draw(made(nnx.Rngs(0)), rules="flax")["layer_instance"]["bias"]
    np.testing.assert_array_equal(jax.tree.leaves(bias)[0], np.zeros((COUNT, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [0, 1, 2])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_kernels_under_weight_norm_of_equinox_in_a_stack_are_the_drawn_ones(axis, stacked):
    eqx = pytest.importorskip("equinox")

    def make(key):
        linear = eqx.nn.Linear(5, COUNT, use_bias=False, key=key)
        return eqx.nn.WeightNorm(linear, axis=axis)

    model = eqx.filter_vmap(make, out_axes=eqx.if_array(stacked))(jax.random.split(KEY, COUNT))
    params = draw(model, rules={"*weight": "normal(0.5)"}, host="equinox")
    made = eqx.combine(params, model)
    outputs = eqx.filter_vmap(lambda m: jax.vmap(m)(X), in_axes=(eqx.if_array(stacked),))(made)
    kernels = np.moveaxis(made.layer.weight, stacked, 0)
    np.testing.assert_allclose(outputs, kernels.transpose(0, 2, 1), atol=2e-6)


def test_a_scale_of_equinox_with_other_axes_than_the_kernel_s_is_refused():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.WeightNorm(eqx.nn.Linear(5, 4, use_bias=False, key=KEY))
    model = eqx.tree_at(lambda m: m.g, model, jnp.ones((1, 4)))
    with pytest.raises(ValueError, match=r"layer/weight.*WeightNorm.*no effect"):
        draw(model, rules={"*": "normal(0.5)"}, host="equinox")
