"""Layer kinds by name: the registry, and the axes a kind has in each framework."""

import jax
import numpy as np
import pytest

import jinit
from jinit import frameworks, parameters
from jinit.frameworks import _kinds
from jinit.frameworks._common import stacked
from jinit.frameworks._kinds import get_layer_kind

KEY = jax.random.key(0)


def gated(blocks=2, size=4):
    return frameworks.Layout(layer="gated", fused=(size,) * blocks)


@pytest.fixture
def registered():
    frameworks.register_layer_kind("gated", gated)
    yield
    _kinds._kinds.remove("gated")


@pytest.mark.slow
@pytest.mark.parametrize("host", frameworks.hosts())
def test_a_registered_layer_kind_works_wherever_a_name_may_stand(host, registered):
    assert frameworks.layer_kinds()[-1] == "gated"
    assert get_layer_kind("gated") is gated
    assert frameworks.layout("gated(blocks=3)", host) == frameworks.Layout(
        layer="gated",
        fused=(4, 4, 4),
        in_axes=(-2 if host in ("flax", "haiku", "keras") else 1,),
        out_axes=(-1 if host in ("flax", "haiku", "keras") else 0,),
    )
    shape = (8, 3) if host in ("equinox", "torch") else (3, 8)
    tree = {"w": jax.ShapeDtypeStruct(shape, "float32")}
    made = jinit.initialize(KEY, tree, {"w": "he_normal"}, host=host, layers={"w": "gated"})
    same = jinit.initialize(KEY, tree, {"w": "he_normal"}, host=host, layers={"w": "fused((4, 4))"})
    np.testing.assert_array_equal(made["w"], same["w"])


def test_a_taken_name_is_refused_and_the_same_kind_again_changes_nothing(registered):
    before = frameworks.layer_kinds()
    frameworks.register_layer_kind("gated", gated)
    assert frameworks.layer_kinds() == before
    with pytest.raises(ValueError, match="taken"):
        frameworks.register_layer_kind("conv", gated)
    with pytest.raises(ValueError, match="did you mean 'gated'"):
        frameworks.layout("gatd")


@pytest.mark.parametrize(
    ("spec", "host", "in_axes", "out_axes"),
    [
        ("dense", "torch", (1,), (0,)),
        ("dense(inputs=2)", "torch", (1, 2), (0,)),
        ("dense(batch=1)", "torch", (2,), (1,)),
        ("transposed", "torch", (0,), (1,)),
        ("transposed", "equinox", (1,), (0,)),
        ("transposed", "keras", (-1,), (-2,)),
        ("depthwise", "keras", (), (-1,)),
        ("embedding", "torch", (0,), (1,)),
        ("recurrent", "equinox", (1,), (0,)),
        ("bias", "torch", (), ()),
    ],
)
def test_axes_of_the_built_in_kinds(spec, host, in_axes, out_axes):
    layout = frameworks.layout(spec, host)
    assert (layout.in_axes, layout.out_axes) == (in_axes, out_axes)
    assert layout.groups_on == ("in" if (spec, host) == ("transposed", "torch") else "out")


@pytest.mark.parametrize("host", ["torch", "equinox", "haiku"])
def test_a_depthwise_kernel_of_a_host_without_multipliers_is_one_with_groups(host):
    tree = {"w": jax.ShapeDtypeStruct((3, 3, 1, 64) if host == "haiku" else (64, 1, 3, 3), "f4")}
    with pytest.raises(ValueError, match=r"'depthwise'.*conv\(groups=64\)"):
        parameters.assign(tree, {"w": "he_normal"}, host=host, layers={"w": "depthwise"})
    layers = {"w": "conv(groups=64)"}
    (made,) = parameters.assign(tree, {"w": "glorot_normal"}, host=host, layers=layers)
    assert (made.fan_in, made.fan_out) == (9, 9)
    assert made.stddev == pytest.approx((2 / 18) ** 0.5)


def test_stacked_dense_kernels_follow_the_axis_order_of_their_host():
    for host, shape in (("flax", (3, 5, 7)), ("torch", (3, 7, 5)), ("equinox", (3, 7, 5))):
        found = frameworks.layout("dense(batch=1)", host)
        assert found.kernels(shape) == (3, [(5, 7)])
    assert frameworks.layout("dense(inputs=2, batch=1)", "torch").fans((3, 7, 4, 5)).fan_in == 20


def test_an_added_axis_that_the_sizes_do_not_show_is_not_guessed():
    assert stacked(frameworks.Layout(), 2, (4, 8, 8), (8, 8)).batch_axes == (0,)
    assert stacked(frameworks.Layout(), 2, (8, 4, 6), (8, 6)).batch_axes == (1,)
    assert stacked(frameworks.Layout(), 2, (8, 8, 8), (8, 8)) is None
