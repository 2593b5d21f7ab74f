"""Properties of every initializer: legal input works, illegal input gets jinit's own sentence."""

import inspect
import json
import math
import string
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jinit import initializers
from jinit.initializers import _registry
from jinit.parameters._keys import leaf_key

ROWS = [_registry.row(name) for name in initializers.names()]
SPECS = [row.example or row.name for row in ROWS]
FANNED = [spec for spec in SPECS if initializers.get(spec).takes("in_axis")]
KEY = jax.random.key(0)
SIZES = st.integers(1, 5)


@st.composite
def kernels(draw):
    """A shape of rank 2 to 5 and distinct in, out and batch axes of it."""
    rank = draw(st.integers(2, 5))
    shape = tuple(draw(st.lists(SIZES, min_size=rank, max_size=rank)))
    order = draw(st.permutations(range(rank)))
    several = draw(st.integers(1, min(2, rank - 1)))
    batch = draw(st.integers(0, max(0, rank - several - 1)))
    signed = [axis - rank * draw(st.booleans()) for axis in order]
    in_axis = tuple(signed[:several]) if several > 1 else signed[0]
    batch_axis = tuple(signed[several + 1 : several + 1 + batch])
    return shape, {"in_axis": in_axis, "out_axis": signed[several], "batch_axis": batch_axis}


@pytest.mark.full
@settings(max_examples=25)
@given(
    kernel=kernels(),
    spec=st.sampled_from(FANNED),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16, jnp.float16]),
)
def test_any_legal_kernel(kernel, spec, dtype):
    shape, axes = kernel
    made = initializers.get(spec).with_arguments(**axes)
    drawn = made(KEY, shape, dtype)
    assert drawn.shape == shape
    assert drawn.dtype == dtype
    assert np.isfinite(np.asarray(drawn, np.float32)).all()
    fans = initializers.fans(shape, **axes)
    batch = math.prod(shape[axis] for axis in axes["batch_axis"])
    inputs = axes["in_axis"] if isinstance(axes["in_axis"], tuple) else (axes["in_axis"],)
    field = math.prod(shape) / batch / shape[axes["out_axis"]]
    assert fans.fan_in == pytest.approx(field)
    assert fans.fan_out == pytest.approx(
        math.prod(shape) / batch / math.prod(shape[axis] for axis in inputs)
    )
    assert math.isfinite(made.law(shape).stddev)


@settings(max_examples=60)
@given(
    stddev=st.floats(1e-6, 1e3, allow_subnormal=False),
    mean=st.floats(-10, 10),
    axes=st.tuples(st.integers(-2, -1), st.integers(0, 3)),
    mode=st.sampled_from(["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]),
    groups=st.integers(1, 9),
)
def test_spec_to_factory_to_spec_is_the_identity(stddev, mean, axes, mode, groups):
    for made in (
        initializers.normal(stddev, mean=mean),
        initializers.he_normal(axes[0], axes[1], negative_slope=abs(mean), mode=mode),
        initializers.variance_scaling(stddev, mode, "uniform", groups=groups, fan_in=stddev),
        initializers.glorot_uniform(fused=(groups, 2), transposed=True),
    ):
        text = str(made)
        again = initializers.get(text)
        assert again == made
        assert str(again) == text


NAMES = [*initializers.names(), "he_norml", "", "2"]
PARAMETERS = sorted({name for row in ROWS for name in inspect.signature(row.factory).parameters})
VALUES = [
    "0", "1", "-1", "2.5", "1e400", "nan", "True", "None", "relu", "'ab'", "(0, 1)", "(2, -3)",
    "()", "((1, 2), 3)", "bfloat16", "int8", "fan_in", "elu(2.0)", "qr", "complex64",
]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=150)
@given(
    name=st.sampled_from(NAMES),
    arguments=st.one_of(
        st.text(string.ascii_lowercase + string.digits + "=_.,()-' ", max_size=40),
        st.lists(
            st.tuples(st.sampled_from(PARAMETERS), st.sampled_from(VALUES)).map("=".join),
            max_size=4,
        ).map(", ".join),
    ),
    shape=st.one_of(
        st.lists(st.integers(-1, 3), max_size=5),
        st.sampled_from([None, 3, "ab", [1.5, 2]]),
    ),
)
def test_anything_else_is_refused_in_one_sentence(name, arguments, shape):
    try:
        made = initializers.get(f"{name}({arguments})" if arguments else name)
        made(KEY, shape)
    except (ValueError, TypeError) as error:
        text = str(error)
        assert "\n" not in text
        assert "allowed:" in text or "is not known" in text, text


GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


def test_every_row_has_golden_values():
    assert list(GOLDEN) == SPECS


@pytest.mark.parametrize("spec", SPECS)
def test_golden_values(spec):
    """Weights are the same for ever: bits of uniforms, normals to 8 ulp, orthogonals to 1e-6."""
    row = _registry.row(spec.partition("(")[0])
    shape = {1: (2,), 2: (6, 4), 4: (3, 3, 4, 6)}[len(row.shape)]
    made = initializers.get(spec)
    values = np.asarray(made(jax.random.key(17), shape)).ravel()
    drawn = values[:: max(1, values.size // 6)][:6]
    expected = np.array(GOLDEN[spec], np.float32)
    law = made.law(shape).distribution
    if law in ("uniform", "rademacher", "constant", "deterministic"):
        # Before JAX 0.9 XLA multiplied by the width in another order.
        exact = law != "uniform" or jax.__version_info__ >= (0, 9)
        np.testing.assert_array_max_ulp(drawn, expected, 0 if exact else 1)
    elif "orthogonal" in spec or "looks_linear" in spec:
        np.testing.assert_allclose(drawn, expected, atol=1e-6)
    else:
        np.testing.assert_array_max_ulp(drawn, expected, 8)


def test_golden_keys():
    from jinit.sweep._network import run_key

    assert jax.random.key_data(run_key(3, "init")).tolist() == RUN_KEY
    leaf = leaf_key(jax.random.key(0), "output/kernel")
    assert jax.random.key_data(leaf).tolist() == LEAF_KEY


RUN_KEY, LEAF_KEY = [3173427097, 2101933579], [3335546819, 4257021]
