"""Leaves that one program per family draws have the bits of programs of one initializer each."""

import jax
import numpy as np
import pytest

from jinit import initializers
from jinit.frameworks import Layout
from jinit.initializers._base import scaled_by
from jinit.parameters._keys import fold_words, leaf_key
from jinit.parameters._rules import Assignment
from jinit.sweep._network import leaf_words, run_key
from jinit.sweep._weights import Weights

SEEDS = np.array([0, 7, 2**32 - 1], np.uint32)
# More than a piece, less than one, several axes.
SHAPES = ((3, 100), (3, 2, 8))
INITIALIZERS = (
    "normal(stddev=0.013)", "uniform(scale=0.3)", "truncated_normal(stddev=0.7)",
    "truncated_normal(stddev=0.1, lower=-1.0, upper=3.0, exact_std=True)", "rademacher(stddev=0.3)",
    "zeros", "ones", "constant(value=0.1)", "glorot_uniform", "glorot_normal", "he_uniform",
    "he_normal", "he_normal(mode=fan_out)", "fan_in_uniform", "scaled_for(activation=tanh)",
    "variance_scaling(scale=1.7, mode=fan_geo_avg, distribution=normal)",
    "variance_scaling(scale=0.3, mode=fan_avg, distribution=rademacher)",
)  # fmt: skip


def _registered():
    """The registered names whose defaults draw independent entries."""
    found = []
    for name in initializers.names():
        try:
            made = initializers.get(name)
        except ValueError:  # needs an argument
            continue
        if made.definition.entries is not None:
            found.append(name)
    return found


def _weights(dtype, specs):
    leaves = [(i, spec) for i, spec in enumerate(specs) for _ in SHAPES]
    assignments = [
        Assignment(
            leaf=f"{spec}/{n}", rule="*", initializer=initializers.get(spec), shape=shape,
            dtype=np.dtype(dtype), layout=Layout(), fan_in=None, fan_out=None, stddev=None,
        )
        for n, ((_, spec), shape) in enumerate(zip(leaves, SHAPES * len(specs), strict=True))
    ]  # fmt: skip
    shapes = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in assignments]
    return Weights(shapes, assignments, "init"), assignments


@pytest.mark.slow
def test_the_bits_of_every_leaf_are_those_of_its_initializer_in_a_program():
    check("float32", INITIALIZERS)


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.sampled(2)
def test_the_bits_of_all_registered_initializers_are_those_of_their_programs(dtype):
    names = _registered()
    assert len(names) > 12
    check(dtype, (*INITIALIZERS, *names))


def check(dtype, specs):
    weights, assignments = _weights(dtype, specs)
    programs = weights.programs(4)
    assert len(programs) == 6  # normal, two truncated ones, two uniform ones, rademacher
    drawn, converged = weights.draw(SEEDS, {}, (), None)
    assert converged.all()
    keys = [leaf_key(run_key(SEEDS[2], "init"), one.leaf) for one in assignments]
    alone = jax.jit(
        lambda keys: [one.draw(key) for one, key in zip(assignments, keys, strict=True)]
    )
    for leaf, expected, one in zip(drawn, alone(keys), assignments, strict=True):
        assert leaf.dtype == expected.dtype
        bits = np.asarray(expected).view(np.uint8)
        np.testing.assert_array_equal(leaf[2].view(np.uint8), bits, one.leaf)


@pytest.mark.slow
def test_keys_of_leaves_on_the_host_are_those_of_the_device():
    words = np.random.default_rng(0).integers(0, 2**32, (5, 2), np.uint32)
    found = leaf_words(SEEDS, "init|a", words)
    for row, seed in zip(found, SEEDS, strict=True):
        keys = fold_words(run_key(seed, "init|a"), words)
        np.testing.assert_array_equal(row, jax.random.key_data(keys))


@pytest.mark.parametrize(
    "spec", ["he_normal(fused=(2, 8))", "normal(stddev=0.1, mean=1.0)", "orthogonal"]
)
def test_draws_that_are_no_products_have_a_program_of_their_own(spec):
    assert initializers.get(spec).definition.entries is None
    assert scaled_by(initializers.get("he_normal"), 0.5).definition.entries is None
