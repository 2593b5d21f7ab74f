"""Unrolled keys give JAX's bits, whatever asks for them."""

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from jinit import _prng
from jinit._float64 import in_float64

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def words(keys):
    return np.asarray(jax.random.key_data(keys))


@pytest.mark.full
@hypothesis.given(SEEDS, SHAPES, st.sampled_from(["uint8", "uint16", "uint32"]))
@hypothesis.settings(max_examples=40, deadline=None)
def test_bits(seed, shape, dtype):
    key = jax.random.key(seed)
    found = jax.random.bits(_prng.unrolled(key), shape, dtype)
    np.testing.assert_array_equal(found, jax.random.bits(key, shape, dtype))


@pytest.mark.slow
def test_bits_of_64():
    def check():
        key = jax.random.key(3)
        found = jax.random.bits(_prng.unrolled(key), (5, 3), "uint64")
        np.testing.assert_array_equal(found, jax.random.bits(key, (5, 3), "uint64"))
        assert found.dtype == np.uint64

    in_float64(check)


@pytest.mark.slow
@hypothesis.given(SEEDS, SEEDS)
@hypothesis.settings(max_examples=20, deadline=None)
def test_keys_derived_from_it(seed, word):
    key = jax.random.key(seed)
    mine = _prng.unrolled(key)
    np.testing.assert_array_equal(words(jax.random.split(mine, 3)), words(jax.random.split(key, 3)))
    found = jax.random.split(mine, (2, 3))
    np.testing.assert_array_equal(words(found), words(jax.random.split(key, (2, 3))))
    found = jax.random.fold_in(mine, np.uint32(word))
    np.testing.assert_array_equal(words(found), words(jax.random.fold_in(key, np.uint32(word))))


@pytest.mark.slow
@pytest.mark.parametrize(
    "draw",
    [
        jax.random.normal, jax.random.uniform, jax.random.rademacher, jax.random.permutation,
        lambda key, shape: jax.random.truncated_normal(key, -2.0, 2.0, shape),
        lambda key, shape: jax.random.randint(key, shape, 0, 1000),
        lambda key, shape: jax.random.orthogonal(key, 4),
    ],
)  # fmt: skip
@pytest.mark.sampled(3)
def test_draws_under_vmap_and_jit(draw):
    keys = jax.random.split(jax.random.key(0), 3)
    shape = 7 if draw is jax.random.permutation else (4, 7)
    mapped = jax.jit(jax.vmap(lambda key: draw(key, shape)))
    expected = np.asarray(mapped(keys))
    np.testing.assert_array_equal(mapped(_prng.unrolled(keys)), expected)
    loop = [draw(_prng.unrolled(key), shape) for key in keys]
    np.testing.assert_array_equal(loop, expected)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "complex64"])
def test_normal_numbers_in_half_precision_are_those_of_float32(dtype):
    key, wide = jax.random.key(2), "complex64" if dtype == "complex64" else "float32"
    expected = jax.random.normal(key, (1000,), wide).astype(dtype)
    np.testing.assert_array_equal(_prng.normal(key, (1000,), dtype), expected)


@pytest.mark.slow
def test_legacy_words_and_typed_keys_are_one_stream():
    found = jax.random.normal(_prng.unrolled(jax.random.PRNGKey(5)), (6,))
    np.testing.assert_array_equal(found, jax.random.normal(jax.random.key(5), (6,)))


@pytest.mark.slow
def test_a_sharded_draw_needs_no_whole_array():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("x",))
    parts = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    shape = (8 * len(jax.devices()), 33)
    key = _prng.unrolled(jax.random.key(1))
    run = jax.jit(lambda key: jax.random.bits(key, shape), out_shardings=parts)
    np.testing.assert_array_equal(run(key), jax.random.bits(jax.random.key(1), shape))
    program = run.lower(key).compile().as_text()
    assert len(jax.devices()) > 1
    assert f"u32[{shape[0]},{shape[1]}]" not in program
    assert "all-gather" not in program


def test_other_keys_come_back_as_they_are():
    rbg = jax.random.key(0, impl="rbg")
    assert _prng.unrolled(rbg) is rbg
    mine = _prng.unrolled(jax.random.key(0))
    assert _prng.unrolled(mine) is mine
    with jax.threefry_partitionable(False):
        key = jax.random.key(0)
        assert _prng.unrolled(key) is key


@pytest.mark.slow
def test_it_is_not_a_loop():
    def program(key):
        run = jax.jit(lambda key: jax.random.normal(key, (64, 64)))
        return run.lower(key).compile().as_text()

    key = jax.random.key(0)
    assert "while(" in program(key), "JAX unrolls threefry on CPU itself: jinit.prng can go"
    assert "while(" not in program(_prng.unrolled(key))


def test_large_arrays_keep_jaxs_64_bit_counters():
    # Shapes only: 16 GiB would have to be drawn.
    shape = (2**16, 2**16)
    program = jax.jit(lambda key: jax.random.bits(key, shape)).lower(
        _prng.unrolled(jax.random.key(0))
    )
    assert "ui64" in program.as_text()


def test_bits_and_what_becomes_of_them_are_two_loops():
    # In one loop each number waits for the last one; see prng. XLA may merge them again one day.
    draw = jax.jit(lambda key: jax.random.normal(_prng.unrolled(key), (64, 64)))
    lowered = draw.trace(jax.random.key(0)).lower(lowering_platforms=("cpu",))
    computations = lowered.compile().as_text().split("\n}\n")
    becoming = [text for text in computations if " log-plus-one(" in text]
    assert len(becoming) == 1
    assert " xor(" not in becoming[0]
    assert sum(text.count(" xor(") >= 20 for text in computations) == 1


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_fuse_both(platform):
    draw = jax.jit(lambda key: jax.random.normal(_prng.unrolled(key), (64, 64)))
    lowered = draw.trace(jax.random.key(0)).lower(lowering_platforms=(platform,))
    assert "inlineable" not in lowered.as_text()
