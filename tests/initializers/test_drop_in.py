"""What works in ``jax.nn.initializers`` works here; draws that do not exist are refused."""

import copy
import math
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import frameworks, initializers
from jinit.initializers import _blocks, _registry

ROWS = [_registry.row(name) for name in initializers.names()]
EXAMPLES = [row.example or row.name for row in ROWS]
KEY = jax.random.key(5)


def steep(z):
    return jnp.tanh(3 * z)


def shape_of(text):
    return {1: (2,), 2: (6, 4), 4: (3, 3, 4, 6)}[len(_registry.row(text.partition("(")[0]).shape)]


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((7, 32), {"out_axis": 0}),  # Flax's Embed: the axis -2 is in and out
        ((2, 3), {"in_axis": -1}),
        ((7,), {"in_axis": [0], "out_axis": []}),
        ((7,), {"in_axis": [], "out_axis": [0]}),
        ((7,), {"in_axis": [], "out_axis": []}),
        ((7,), {"in_axis": 0, "out_axis": ()}),
        ((), {"in_axis": [], "out_axis": []}),
        ((4, 5, 6), {"in_axis": (0, 1), "out_axis": (1, 2)}),
    ],
)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_axes_that_jax_takes(shape, axes, mode):
    arguments = (1.7, mode, "normal")
    try:
        theirs = jax.nn.initializers.variance_scaling(*arguments, **axes)(KEY, shape)
    except ValueError:
        assert len(shape) < 2
        assert jax.__version_info__ < (0, 9)
        pytest.skip("this JAX refuses kernels of rank 0 and 1")
    made = initializers.variance_scaling(*arguments, **axes)
    np.testing.assert_array_equal(made(KEY, shape), theirs)
    assert initializers.get(str(made)) == made
    fans = jax.nn.initializers.variance_scaling.__globals__["_compute_fans"](shape, **{
        "in_axis": -2, "out_axis": -1, **axes})  # fmt: skip
    ours = initializers.fans(shape, **axes)
    assert (ours.fan_in, ours.fan_out) == pytest.approx(fans)


JAX_NAMES = sorted(set(dir(jax.nn.initializers)) & set(initializers.__all__))


@pytest.mark.slow
def test_draws_stay_when_ours_take_the_place_of_jaxs_own(monkeypatch):
    """Whoever swaps the functions of jax.nn.initializers in place gets the same bits."""

    def drawn(module):
        made = {
            "constant": lambda: module.constant(0.5),
            "truncated_normal": lambda: module.truncated_normal(0.02),
            "variance_scaling": lambda: module.variance_scaling(2.0, "fan_in", "uniform"),
            "zeros": lambda: module.zeros,
            "ones": lambda: module.ones,
        }
        return {
            name: made.get(name, getattr(module, name))()(KEY, (3, 3, 4, 6)) for name in JAX_NAMES
        }

    assert len(JAX_NAMES) >= 19
    theirs = drawn(jax.nn.initializers)
    for name in JAX_NAMES:
        monkeypatch.setattr(jax.nn.initializers, name, getattr(initializers, name))
    assert jax.nn.initializers.he_normal is initializers.he_normal
    jax.tree.map(np.testing.assert_array_equal, drawn(jax.nn.initializers), theirs)


@pytest.mark.parametrize("size", [3, np.int64(3), 0])
def test_a_whole_number_is_the_shape_of_a_vector(size):
    for made in (initializers.zeros, initializers.normal(), initializers.constant(2.0)):
        assert made(KEY, size).shape == (int(size),)
        np.testing.assert_array_equal(made(KEY, size), made(KEY, (int(size),)))
    with pytest.raises(TypeError, match="shape: got True"):
        initializers.zeros(KEY, True)


@pytest.mark.sampled(5)
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        ("orthogonal", [(0, 0), (0, 3), (3, 0), (2, 0, 3)]),
        ("orthogonal(method=householder)", [(0, 0), (0, 3), (3, 0)]),
        ("orthogonal(column_axis=0)", [(0, 3), (3, 0)]),
        ("scaled_orthogonal(activation=relu)", [(0, 3), (3, 0)]),
        ("delta_orthogonal", [(3, 0, 3), (3, 0, 0), (0, 2, 3)]),
        ("looks_linear", [(0, 2), (2, 0), (0, 2, 2)]),
        ("hadamard", [(0, 3), (3, 0), (0, 2, 3)]),
        ("dirac", [(3, 0, 3), (0, 2, 3)]),
        ("identity", [(0, 3), (3, 0)]),
        ("normal", [(0,), (0, 3)]),
    ],
)
def test_an_empty_matrix_is_empty(spec, shapes, dtype):
    for shape in shapes:
        drawn = initializers.get(spec)(KEY, shape, dtype)
        assert (drawn.shape, drawn.dtype) == (shape, jnp.dtype(dtype))


PICKLED = [
    *(initializers.get(text) for text in EXAMPLES),
    initializers.zeros,
    initializers.ones,
    initializers.he_normal(in_axis=0, out_axis=1, fused=(2, 2)),
    initializers.constant(np.arange(4.0)),
    initializers.class_prior([0, 1, 1], smoothing=1.0),
    initializers.scaled_by(initializers.he_normal(mode="fan_out"), 0.5),
    initializers.scaled_for(steep),
]


@pytest.mark.sampled(5)
@pytest.mark.slow
@pytest.mark.parametrize("made", PICKLED, ids=str)
def test_pickling_keeps_name_arguments_and_values(made):
    shape = {"constant": (6, 4), "class_prior": (2,)}.get(made.name)
    shape = shape or shape_of(made.name.rpartition("*")[2])
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert again == made
        assert hash(again) == hash(made)
        assert again.law(shape) == made.law(shape)
        np.testing.assert_array_equal(again(KEY, shape), made(KEY, shape))
        if made.takes("dtype"):
            assert again.with_arguments(dtype="float16")(KEY, shape).dtype == jnp.float16


def one_by_one(made, key, shape, count):
    return jnp.stack([made(jax.random.fold_in(key, index), shape) for index in range(count)])


def test_pythons_types_are_jaxs_default_dtypes():
    for kind in (bool, int, float, complex):
        ours, theirs = (m.ones(KEY, (2,), kind) for m in (initializers, jax.nn.initializers))
        assert ours.dtype == theirs.dtype
    with pytest.raises(ValueError, match="x64"):
        initializers.ones(KEY, (2,), np.dtype("float64"))
    made = initializers.he_normal(dtype=float)
    assert initializers.get(str(made))(KEY, (2, 3)).dtype == made(KEY, (2, 3)).dtype == jnp.float32


@pytest.mark.slow
@pytest.mark.parametrize("spec", EXAMPLES)
@pytest.mark.sampled(3)
def test_a_stack_is_one_draw_with_the_bits_of_separate_draws(spec):
    made, shape = initializers.get(spec), shape_of(spec)
    separate = one_by_one(made, KEY, shape, 3)
    together = _blocks.draw_stack(made, KEY, shape, 3)
    if "orthogonal" in spec or "looks_linear" in spec:  # products of a batch add in another order
        np.testing.assert_allclose(together, separate, atol=1e-6)
    else:
        np.testing.assert_array_equal(together, separate)


@pytest.mark.slow
@pytest.mark.parametrize("impl", ["rbg", "threefry2x32"])
def test_groups_of_any_generator_are_drawn_from_their_own_keys(impl):
    key = jax.random.key(2, impl=impl)
    layout = frameworks.layout("conv(groups=3)")
    made = initializers.normal(1.0)
    drawn = layout.draw(made, key, (2, 4, 6), "float32")
    np.testing.assert_array_equal(
        drawn, jnp.concatenate(list(one_by_one(made, key, (2, 4, 2), 3)), axis=-1)
    )


@pytest.mark.parametrize(
    ("layer", "shape_of_count"),
    [
        ("conv(groups={})", lambda count: (7, 7, 1, count)),
        ("dense(batch=1)", lambda count: (count, 16, 16)),
        ("depthwise", lambda count: (3, 3, count, 2)),
        ("fused({})", lambda count: (16, 4 * count)),
    ],
)
def test_the_program_does_not_grow_with_the_number_of_kernels(layer, shape_of_count):
    def equations(count):
        blocks = (4,) * count if "fused" in layer else count
        shapes = {"w": jax.ShapeDtypeStruct(shape_of_count(count), "float32")}
        layers = {"w": layer.format(blocks)}

        def draw(key):
            return jinit.initialize(key, shapes, {"w": "he_normal"}, layers=layers)

        return len(jax.make_jaxpr(draw)(KEY).eqns)

    # Blocks of a fused kernel are taken from the stack and joined again: two equations each.
    most = 2 * (64 - 8) + 10 if "fused" in layer else 10
    assert equations(64) <= equations(8) + most


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: initializers.normal(2e4)(KEY, (2,), "float16"),
            "value in float16: got 120000",
        ),
        (lambda: initializers.normal(1e38)(KEY, (2,)), "normal value in float32: got 6"),
        (lambda: initializers.uniform(1e39)(KEY, (2,)), "uniform value in float32: got 1e"),
        (lambda: initializers.rademacher(1e5)(KEY, (2,), "float16"), "rademacher value in float16"),
        (lambda: initializers.identity(1e5)(KEY, (2, 2), "float16"), "identity value in float16"),
        (lambda: initializers.hadamard(1e5)(KEY, (2, 2), "float16"), "hadamard value in float16"),
        (lambda: initializers.orthogonal(1e5)(KEY, (2, 2), "float16"), "orthogonal value in fl"),
        (lambda: initializers.sparse(stddev=1e5)(KEY, (20, 2), "float16"), "sparse value in fl"),
        (lambda: initializers.normal(1e-9)(KEY, (2,), "float16"), "stddev in float16: got 1e-09"),
        (lambda: initializers.normal(1e-39)(KEY, (2,), "bfloat16"), "stddev in bfloat16"),
        (lambda: initializers.normal(1e-39)(KEY, (2,)), "stddev in float32: got 1e-39"),
        (lambda: initializers.normal(1e-39)(KEY, (2,), "complex64"), "stddev in complex64"),
        (lambda: initializers.normal(1e38)(KEY, (2,), "complex64"), "value in complex64"),
        (lambda: initializers.siren(1e9)(KEY, (30, 2), "float16"), "siren stddev in float16"),
        (lambda: initializers.normal(1e-4, mean=1.0)(KEY, (2,), "bfloat16"), "round to one"),
        (lambda: initializers.uniform_range(9.0, 9.01)(KEY, (2,), "bfloat16"), "round to one"),
        (lambda: initializers.constant(1e-9)(KEY, (2,), "float16"), "constant value in float16"),
        (lambda: initializers.constant(0.5)(KEY, (2,), int), "constant value in int32: got 0.5"),
        (lambda: initializers.constant(300)(KEY, (2,), "int8"), "constant value in int8: got 300"),
        (lambda: initializers.constant((0.0, 0.5, 1.0))(KEY, (3,), int), "int32: got 0.5"),
        (lambda: initializers.constant(2)(KEY, (2,), bool), "whole numbers from 0 to 1"),
        (lambda: initializers.identity(0.5)(KEY, (2, 2), int), "identity value in int32: got 0.5"),
        (
            lambda: initializers.scaled_by(initializers.ones, 0.5)(KEY, (2,), int),
            r"0.5\*ones value in int32",
        ),
    ],
)
def test_draws_that_do_not_exist_in_the_dtype_are_refused_by_name(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64"])
def test_draws_just_inside_the_limits_exist(dtype):
    limits = jnp.finfo(dtype)
    for stddev in (float(limits.max) / 6.1, 4 * float(limits.tiny)):
        drawn = np.asarray(initializers.normal(stddev)(KEY, (1000,), dtype)).astype(np.complex128)
        assert np.isfinite(drawn).all()
        assert (drawn != 0).mean() > 0.7
    for dtype_of_ones in (int, bool, "int8", "float8_e4m3fn"):
        assert (initializers.ones(KEY, (2,), dtype_of_ones) == 1).all()


def test_traced_scales_are_not_checked():
    drawn = jax.jit(lambda s: initializers.normal(s)(KEY, (3,), "float16"))(1e-2)
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize(
    ("rule", "error", "match"),
    [
        (lambda key, shape, dtype: 0.0, TypeError, "value of initializer.*got 0.0"),
        (lambda key, shape, dtype: [[0.0] * 3] * 4, TypeError, "allowed: an array"),
        (lambda key, shape, dtype: jnp.zeros((3, 4), dtype), ValueError, r"shape \(4, 3\)"),
        (lambda key, shape, dtype: jnp.zeros(shape, "float16"), TypeError, "dtype float16"),
        (lambda key, shape, dtype: jnp.full(shape, jnp.nan), ValueError, "12 NaN of 12"),
        (
            lambda key, shape, dtype: jnp.log(-jax.random.uniform(key, shape) - 1),
            ValueError,
            "12 NaN",
        ),
    ],
)
@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize("layer", ["dense", None])
def test_what_a_users_rule_returns_is_checked(rule, error, match, names, layer):
    shapes = {name: jax.ShapeDtypeStruct((4, 3), "float32") for name in names}
    layers = dict.fromkeys(names, layer) if layer else None
    with pytest.raises(error, match=match) as caught:
        jinit.initialize(KEY, shapes, {"*": rule}, layers=layers)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("leaf 'a', rule '*': ")


def test_a_users_rule_may_return_a_numpy_array_and_infinities():
    def mask(key, shape, dtype):
        return np.where(np.tri(*shape) > 0, 0, -np.inf).astype(dtype)

    shapes = {name: jax.ShapeDtypeStruct((3, 3), "float32") for name in "ab"}
    tree = jinit.initialize(KEY, shapes, {"*": mask}, layers={"*": "dense"})
    assert float(tree["b"][0, 1]) == -math.inf


@pytest.mark.slow
def test_a_dense_kernel_has_two_axes():
    shapes = {"w": jax.ShapeDtypeStruct((8, 16, 32), "float32")}
    with pytest.raises(ValueError, match=r"dense.*rank 2.*dense\(batch=1\)"):
        jinit.initialize(KEY, shapes, {"w": "he_normal"}, layers={"w": "dense"})
    drawn = jinit.initialize(KEY, shapes, {"w": "he_normal"}, layers={"w": "dense(batch=1)"})["w"]
    assert float(drawn.std()) == pytest.approx(math.sqrt(2 / 16), rel=0.05)


@pytest.mark.parametrize("value", [1e30, -1e30, 1e-30, 0.0, 3.0])
def test_describe_of_equal_entries(value):
    found = initializers.describe(f"constant(value={value!r})", (5, 4))
    assert sum(found.histogram) == max(found.histogram) == 20
    assert found.draw.mean == pytest.approx(value, rel=1e-6)


def test_describe_of_a_wide_draw():
    found = initializers.describe("normal(stddev=3e37)", (50, 40))
    assert sum(found.histogram) == 2000
    assert found.draw.stddev == pytest.approx(3e37, rel=0.1)


def test_torchs_names_of_linear_layers_have_gain_1():
    names = [f"conv{kind}{rank}d" for kind in ("", "_transpose") for rank in (1, 2, 3)]
    for name in ["linear", *names]:
        assert initializers.gain(name, convention="torch") == 1.0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("made", "size"),
    [
        (initializers.constant(2**64), 2.0**64),
        (initializers.constant(-(2**63)), -(2.0**63)),
        (initializers.identity(2**64), 2.0**64),
    ],
)
def test_whole_numbers_beyond_64_bits_are_drawn(made, size, dtype):
    assert float(made(KEY, (2, 2), dtype)[0, 0]) == size


@pytest.mark.slow
def test_bounds_beyond_64_bits_are_no_bounds():
    far = initializers.truncated_normal(1.0, upper=2**64, lower=-(2**64))(KEY, (50,))
    near = initializers.truncated_normal(1.0, upper=2.0**64, lower=-(2.0**64))(KEY, (50,))
    np.testing.assert_array_equal(far, near)
    assert float(jnp.abs(far).max()) < 6


@pytest.mark.parametrize(
    "value",
    [bytearray(b"a"), range(3), jax.ShapeDtypeStruct((2, 3), jnp.float32), {1}, "x", None],
    ids=repr,
)
def test_a_constant_is_made_of_numbers(value):
    with pytest.raises(TypeError, match=r"constant value: got .*number"):
        initializers.constant(value)


def test_a_factor_times_whole_numbers_is_exact_or_refused():
    half = initializers.scaled_by(initializers.constant(6), 0.5)
    for dtype in ("int32", "int8", "uint8"):
        for value in (half(KEY, (2,), dtype), jax.jit(lambda key: half(key, (2,), dtype))(KEY)):  # noqa: B023
            assert value.dtype == dtype
            assert value.tolist() == [3, 3]
    assert half.law((2,)).mean == 3
    assert initializers.scaled_by(half, 3.0)(KEY, (1,), int).tolist() == [9]
    # The smallest and the largest product are whole, 1.5 is not.
    several = initializers.scaled_by(initializers.constant((2, 3, 4)), 0.5)
    with pytest.raises(ValueError, match=r"got 1\.5; allowed: whole numbers"):
        several(KEY, (3,), "int32")
    assert several(KEY, (3,)).tolist() == [1.0, 1.5, 2.0]
    # The law of the product is 1, but no integer is 0.5.
    with pytest.raises(ValueError, match=r"got 0\.5; allowed: whole numbers"):
        initializers.scaled_by(initializers.identity(0.5), 2.0)(KEY, (2, 2), "int32")


README = Path(initializers.__file__).parent / "README.md"


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("constant(nan)", lambda made: made.constant(math.nan)(KEY, (2,))),
        ("constant(-inf)", lambda made: made.constant(-math.inf)(KEY, (2,))),
        (
            "truncated_normal(upper=inf)",
            lambda made: made.truncated_normal(upper=math.inf)(KEY, (2,)),
        ),
        ("constant(1j)", lambda made: made.constant(1j)(KEY, (2,), "complex64")),
        ("constant(True)", lambda made: made.constant(True)(KEY, (2,))),
        (
            "normal(jnp.array([0.1, 0.2]))",
            lambda made: made.normal(jnp.array([0.1, 0.2]))(KEY, (5, 2)),
        ),
        ("in the wrong order", lambda made: made.truncated_normal(0.1, None, 2.0, -2.0)(KEY, (2,))),
    ],
)
def test_what_jax_accepts_and_jinit_refuses_is_on_the_page(text, call):
    assert call(jax.nn.initializers).shape
    with pytest.raises((ValueError, TypeError), match=r"got .*allowed.*fix"):
        call(initializers)
    section = README.read_text().partition("## What is refused")[2].partition("\n## ")[0]
    assert text in section


def test_block_sizes_of_several_gains_are_checked():
    with pytest.raises(TypeError, match=r"fused: got array.*a tuple of block sizes"):
        initializers.glorot_normal(gain=(1.0, 2.0), fused=np.array([np.nan, np.nan]))
