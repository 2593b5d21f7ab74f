"""Which leaves of a user's model the axes of a grid draw and multiply."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import models
from jinit.sweep import plan

X, Y = np.random.default_rng(0).normal(size=(60, 6)).astype("f4"), np.arange(60) % 3
GRID = {"steps": 2, "batch_size": 8, "evaluations": 2, "seeds": 2}


class Unscaled(nn.Module):
    """The first kernel has always columns of length 1."""

    head: bool = True

    @nn.compact
    def __call__(self, x):
        x = nn.WeightNorm(nn.Dense(3, name="body"), use_scale=False, name="norm")(x)
        return nn.Dense(3, name="head")(x) if self.head else x


def test_the_gain_multiplies_no_kernel_that_is_divided_by_its_norm():
    grid = jinit.Grid(initializer="own", gain=(1.0, 3.0), **GRID)
    (program,) = plan(grid, model=Unscaled(), data=(X, Y)).programs
    paths = [leaf.path for leaf in program.leaves.leaves]
    assert "body/kernel" in paths
    assert [paths[place] for place in program.network.scaled] == ["head/kernel"]
    with pytest.raises(ValueError, match=r"gain: got .*Unscaled.*no drawn kernel"):
        plan(grid, model=Unscaled(head=False), data=(X, Y))


def functions(start):
    shapes = {"norm": {"scale": start}, "kernel": jax.ShapeDtypeStruct((6, 3), jnp.float32)}
    return shapes, lambda p, x: x * (1 + p["norm"]["scale"]) @ p["kernel"]


def test_a_name_does_not_say_how_a_leaf_of_ones_own_starts():
    grid = jinit.Grid(initializer="he_normal", **GRID)
    shape = jax.ShapeDtypeStruct((6,), jnp.float32)
    with pytest.raises(
        ValueError, match=r"leaf 'norm/scale' of shape \(6,\): got 'no rule.*rules="
    ):
        plan(grid, model=functions(shape), data=(X, Y))
    rules = lambda kernel, bias: {"kernel": kernel, "*": "zeros"}  # noqa: E731
    for model, given in ((functions(shape), rules), (functions(np.zeros(6, "f4")), None)):
        (program,) = plan(grid, model=model, data=(X, Y), rules=given).programs
        assert {one.leaf: str(one.initializer) for one in program.assignments()} in (
            {"kernel": "he_normal", "norm/scale": "zeros"},
            {"kernel": "he_normal", "norm/scale": "None"},
        )


def test_the_names_of_the_built_in_network_say_how_its_leaves_start():
    grid = jinit.Grid(initializer="he_normal", layer_norm=True, depth=1, dataset="xor", **GRID)
    found = {one.leaf: str(one.initializer) for one in plan(grid).programs[0].assignments()}
    assert found["hidden_0/scale"] == "ones"
    assert found["hidden_0/shift"] == "zeros"
    (program,) = plan(
        jinit.Grid(initializer="he_normal", **GRID),
        model=models.MLP(features=(4, 3), layer_norm=True),
        data=(X, Y),
    ).programs
    assert {str(one.initializer) for one in program.assignments() if "scale" in one.leaf} == {
        "ones"
    }
