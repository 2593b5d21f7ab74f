"""Bit for bit ``jax.nn.initializers`` wherever JAX has the same one; in half precision, rounded.

A half-precision draw is JAX's float32 draw, rounded to nearest: JAX's own bfloat16 draws lean.
"""

import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import keep

from jinit import initializers

pytestmark = pytest.mark.slow
SHAPES = [(5, 7), (64, 32), (1, 1), (3, 3, 4, 6), (2, 5, 4), (7, 3, 3, 2, 4), (1, 9), (300, 2)]
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]
WITH_COMPLEX = [*DTYPES, jnp.complex64]
FANNED = [
    f"{name}_{law}"
    for name in ("lecun", "glorot", "xavier", "he", "kaiming")
    for law in ("normal", "uniform")
]
AXES = [{}, {"in_axis": -1, "out_axis": -2}, {"batch_axis": 0}, {"in_axis": (0, 1), "out_axis": 2}]


def same(ours, theirs, shape, dtype):
    key = jax.random.key(17)
    computed = jnp.float32 if dtype in (jnp.bfloat16, jnp.float16) else dtype
    a, b = ours(key, shape, dtype), theirs(key, shape, computed).astype(dtype)
    assert a.dtype == b.dtype
    assert a.shape == b.shape == shape
    assert (a == b).all()


# Two of the five have a second name.
@pytest.mark.parametrize(
    "name", keep(FANNED, lambda name, _: not name.startswith(("xavier", "kaiming")))
)
@pytest.mark.parametrize("dtype", WITH_COMPLEX)
@pytest.mark.sampled(12)
def test_scaled_by_fans(name, dtype):
    for shape, axes in itertools.product(SHAPES, AXES):
        if len(shape) < 3 and ("batch_axis" in axes or axes.get("in_axis") == (0, 1)):
            continue
        made = getattr(initializers, name)(**axes)
        same(made, getattr(jax.nn.initializers, name)(**axes), shape, dtype)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg", "fan_geo_avg"])
@pytest.mark.parametrize("distribution", ["truncated_normal", "normal", "uniform"])
@pytest.mark.sampled(12)
def test_variance_scaling(mode, distribution):
    for shape, dtype in itertools.product(SHAPES, WITH_COMPLEX):
        arguments = (1.7, mode, distribution)
        theirs = jax.nn.initializers.variance_scaling(*arguments)
        same(initializers.variance_scaling(*arguments), theirs, shape, dtype)


@pytest.mark.full
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("normal", (0.3,)), ("uniform", (0.3,)), ("truncated_normal", (0.3,)), ("constant", (0.3,))],
)
def test_scaled_by_hand(name, arguments, dtype):
    for shape in [(), (4,), *SHAPES]:
        theirs = getattr(jax.nn.initializers, name)(*arguments)
        same(getattr(initializers, name)(*arguments), theirs, shape, dtype)


@pytest.mark.parametrize("name", ["zeros", "ones"])
def test_zeros_and_ones_are_initializers_themselves(name):
    for shape, dtype in itertools.product([(), (4,), (2, 3)], [*DTYPES, jnp.int32]):
        same(getattr(initializers, name), getattr(jax.nn.initializers, name), shape, dtype)


@pytest.mark.full
@pytest.mark.parametrize("column_axis", [-1, 0, 1])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
@pytest.mark.sampled(6)
def test_orthogonal(column_axis, dtype):
    for shape in SHAPES:
        theirs = jax.nn.initializers.orthogonal(1.5, column_axis)
        same(initializers.orthogonal(1.5, column_axis), theirs, shape, dtype)


def test_delta_orthogonal():
    for shape in [(3, 4, 6), (3, 3, 4, 6), (2, 3, 3, 2, 4), (1, 1, 1)]:
        theirs = jax.nn.initializers.delta_orthogonal(1.5)
        same(initializers.delta_orthogonal(1.5), theirs, shape, jnp.float32)


@pytest.mark.full
def test_float64():
    """All shared names in double precision, in a process that has it."""
    code = """
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
from jinit import initializers
for shape in [(5, 7), (3, 3, 4, 6), (2, 5, 4)]:
    for name in ("lecun", "glorot", "he"):
        for law in ("normal", "uniform"):
            made = f"{name}_{law}"
            ours, theirs = (getattr(m, made)() for m in (initializers, jax.nn.initializers))
            a, b = (init(jax.random.key(1), shape, jnp.float64) for init in (ours, theirs))
            assert a.dtype == jnp.float64 and (a == b).all(), name
    for name, arguments in (("normal", (0.1,)), ("uniform", (0.1,)), ("truncated_normal", (0.1,)),
                            ("orthogonal", ()), ("constant", (0.1,))):
        ours, theirs = (getattr(m, name)(*arguments) for m in (initializers, jax.nn.initializers))
        a, b = (init(jax.random.key(1), shape, jnp.float64) for init in (ours, theirs))
        assert a.dtype == jnp.float64 and (a == b).all(), name
q = initializers.orthogonal(method="householder")(jax.random.key(1), (40, 30), jnp.float64)
assert float(abs(q.T @ q - jnp.eye(30)).max()) < 1e-14
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)


def test_default_dtypes_and_positional_calls():
    key = jax.random.key(0)
    assert initializers.normal(0.1, jnp.bfloat16)(key, (2,)).dtype == jnp.bfloat16
    assert initializers.he_normal()(key, (2, 3)).dtype == jnp.float32
    legacy = jax.random.key_data(key)
    np.testing.assert_array_equal(
        initializers.he_normal()(legacy, (2, 3)), initializers.he_normal()(key, (2, 3))
    )


@pytest.mark.parametrize(
    ("factory", "arguments"),
    [
        ("normal", ()),
        ("uniform", ()),
        ("truncated_normal", ()),
        ("constant", ()),
        ("variance_scaling", ("fan_in", "normal")),
        ("variance_scaling", ("fan_avg", "truncated_normal")),
        ("variance_scaling", ("fan_out", "uniform")),
        ("orthogonal", ()),
        ("delta_orthogonal", ()),
    ],
)
@pytest.mark.sampled(3)
def test_scales_may_be_traced_where_jax_takes_them(factory, arguments):
    def many(module):
        make = getattr(module, factory)
        draw = lambda scale: make(scale, *arguments)(jax.random.key(0), (3, 4, 5))  # noqa: E731
        return jax.jit(jax.vmap(draw))(jnp.asarray([0.5, 2.0]))

    np.testing.assert_allclose(many(initializers), many(jax.nn.initializers), rtol=1e-6)
