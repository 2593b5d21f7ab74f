"""Faults of single leaves: copies, entries out of all proportion, numbers that are no weights."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from scipy import stats

import jinit
from jinit import calibrate, frameworks, initializers, models
from jinit.auditing import _copies, _functions
from jinit.auditing._leaves import Leaf, moments

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(0, 1 / 8, (64, 32)).astype("f4")


def kinds(params, **options):
    return {finding.where: finding.kind for finding in jinit.audit(params, **options)}


def shards(shape, axis, number, dtype="f4"):
    part = RNG.normal(size=[n // number if a == axis else n for a, n in enumerate(shape)]) / 12
    return np.concatenate([part.astype(dtype)] * number, axis)


@pytest.mark.parametrize("dtype", ["f4", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, "c8"])
@pytest.mark.parametrize(
    ("shape", "axis", "number", "kind"),
    [((64, 48), 0, 2, "dense"), ((64, 48), 0, 4, "dense"), ((3, 3, 32, 24), 2, 4, "conv"),
     ((3, 3, 32, 24), 0, 3, "conv"), ((96, 40), 0, 2, "embedding"), ((96, 40), 1, 4, "embedding"),
     ((4, 24, 32), 0, 4, "dense(batch=1)")],
)  # fmt: skip
def test_equal_shards_along_every_axis(shape, axis, number, kind, dtype):
    (finding,) = jinit.audit({"w": shards(shape, axis, number, dtype)}, layers={"w": kind})
    assert finding.kind == "copies"
    length = shape[axis]
    assert f"{length - length // number} of {length} slices along axis {axis}" in finding.evidence


@pytest.mark.parametrize("dtype", ["f4", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_what_repeats_by_chance_or_on_purpose_is_no_copy(dtype):
    """Few inputs in half precision, rows of padding, a table of one kind, signs, sparse rows."""
    some = RNG.normal(size=(4096, 2)).astype(dtype) / dtype_of(dtype, 2)
    padded = RNG.normal(size=(96, 40)).astype(dtype)
    padded[50:] = dtype_of(dtype, 0)
    signs = np.sign(RNG.normal(size=(40, 6))).astype(dtype) * dtype_of(dtype, 0.25)
    mean = RNG.normal(size=(400, 40)).astype(dtype)
    mean[390:] = mean[389]
    for table in (some, padded, mean):
        assert kinds({"w": table}, layers={"w": "embedding"}) == {}
    assert _copies.inside(Leaf("w", signs, None), None) is None


@pytest.mark.parametrize(
    ("shape", "axis", "kind"),
    [((24, 64, 64), 0, "dense(batch=1)"), ((3, 24, 8, 8), 1, "dense(batch=2)")],
)
def test_one_layer_of_a_stack_that_repeats_another_is_a_copy(shape, axis, kind):
    values = np.moveaxis(RNG.normal(0, shape[-1] ** -0.5, shape).astype("f4"), axis, 0)
    assert kinds({"w": np.moveaxis(values, 0, axis)}, layers={"w": kind}) == {}
    values[5] = values[3]
    (finding,) = jinit.audit({"w": np.moveaxis(values, 0, axis)}, layers={"w": kind})
    said = f"1 of 24 slices along axis {axis} repeat another one (slice 5 is slice 3)"
    assert (finding.kind, finding.evidence) == ("copies", said)
    assert finding.threshold == "0% of the slices"


def dtype_of(dtype, value):
    return np.dtype(dtype).type(value)


def test_leaves_that_share_memory_or_are_no_draws_are_not_duplicated():
    table = RNG.normal(size=(64, 32)).astype("f4")
    tied = {"embed": table, "head": table.T, "flat": table.reshape(-1)}
    assert "duplicated" not in kinds(tied).values()
    assert "duplicated" in kinds(tied | {"head": table.T.copy()}).values()
    position = np.arange(64)[:, None] / 1e4 ** (np.arange(32) / 32)
    fixed = {
        "sinusoids": np.sin(position).astype("f4"),
        "decay": np.log(np.tile(np.arange(1.0, 33.0), (64, 1))),
        "cosines": np.cos(np.pi * np.outer(np.arange(64) + 0.5, np.arange(64)) / 64),
        "lattice": np.asarray(initializers.hadamard()(jax.random.key(0), (64, 64))),
    }
    for name, values in fixed.items():
        assert "duplicated" not in kinds({"one": values, "two": values.copy()}).values(), name
    half = RNG.normal(size=(64, 32)).astype(ml_dtypes.bfloat16).astype("f4")
    assert "duplicated" in kinds({"one": half, "two": half.copy()}).values()


def test_halves_of_an_antisymmetric_network_are_copies_on_purpose():
    net = {"kernel": KERNEL, "bias": np.zeros(32, "f4")}
    copy = {name: leaf.copy() for name, leaf in net.items()}
    assert kinds({"plus": net, "minus": copy}) == {}
    assert kinds({"one": net, "other": copy}) == {"other/kernel": "duplicated"}
    assert kinds({"plus": net, "minus": copy | {"bias": np.ones(32, "f4")}}) == {
        "plus/kernel": "duplicated"
    }


JUNK = np.array([0, -2.5e-29, 9.3e27, -2.0, 1.1e-44, 0, -9e27, 3], "f4")


@pytest.mark.parametrize(
    ("leaf", "values", "layer"),
    [
        ("bias", JUNK, "bias"),
        ("bias", np.array([1e-30, 2e-30, 0.5, 1e-40], "f4"), "bias"),
        ("scale", JUNK, "vector"),
        ("scale", np.full(8, 1e-12, "f4"), "vector"),
        ("temperature", np.float32(1e30), "vector"),
        ("table", np.where(RNG.random((99, 16)) < 0.05, 1e30, 1).astype("f4"), "embedding"),
        ("table", np.full((9, 4), 1e-20) * RNG.normal(size=(9, 4)), "embedding"),
        ("w", np.where(np.arange(2048).reshape(64, 32) == 77, 1e5, KERNEL), "dense"),
        ("w", np.where(RNG.random((64, 32)) < 0.05, 1e30 + 1e30j, KERNEL), "dense"),
    ],
)
def test_entries_out_of_all_proportion(leaf, values, layer):
    found = kinds({leaf: values, "ok": KERNEL}, layers={leaf: layer, "ok": "dense"})
    assert found == {leaf: "out of proportion"}


@pytest.mark.parametrize(
    ("leaf", "values"),
    [
        ("log_decay", np.log(np.arange(1, 257.0))),
        ("frequencies", 2.0 ** np.arange(20)),
        ("inverse_frequencies", 1e6 ** -(np.arange(64) / 64)),
        ("mask", np.triu(np.full((8, 8), np.finfo("f4").min), 1)),
        ("mask", np.triu(np.full((8, 8), -np.inf, "f4"), 1)),
        ("logit_scale", np.float32(100)),
        ("gamma", np.full(8, 1e-6, "f4")),
        ("bias", np.array([0, 0, 1, 1, 5.0])),
        ("count", np.int64(10**9)),
    ],
)
def test_tables_masks_and_small_scales_are_in_proportion(leaf, values):
    assert kinds({leaf: values, "ok": {"kernel": KERNEL}}) == {}


def test_minus_infinity_is_a_mask_only_in_matrices_that_no_layer_reads():
    mask = np.triu(np.full((8, 8), -np.inf, "f4"), 1)
    assert kinds({"w": mask}, layers={"w": "dense"}) == {"w": "not finite"}
    for broken in (mask[1], mask - 1, -mask, np.full((8, 8), -np.inf)):
        assert kinds({"w": broken}) == {"w": "not finite"}
    for rule, found in ((lambda key, shape, dtype: jnp.asarray(mask, dtype), {}),
                        ("zeros", {"w": "rule not applied"})):  # fmt: skip
        assert kinds({"w": mask}, rules={"w": rule}) == found


def test_a_padding_row_is_not_drawn():
    """Of 5 rows, one of zeros lowers σ to .894; the audit compares the other four with the rule."""
    padded = dataclasses.replace(frameworks.layout("embedding"), padding=2)
    table = RNG.normal(size=(5, 256))
    table = (table / np.delete(table, 2, 0).std()).astype("f4")
    table[2] = 0
    options = {"layers": {"e": padded}, "rules": {"e": "normal(1.0)"}}
    assert kinds({"e": table}, **options) == {}
    assert kinds({"e": np.float32(0.894) * table}, **options) == {"e": "rule not applied"}
    assert kinds({"e": table - 2}, **options) == {"e": "rule not applied"}
    uniform = {"layers": {"e": padded}, "rules": {"e": "uniform_range(0.5, 1.0)"}}
    drawn = jinit.initialize(jax.random.key(0), {"e": table}, uniform["rules"],
                             layers=uniform["layers"])  # fmt: skip
    assert kinds(drawn, **uniform) == {}
    alike = np.where(np.arange(5)[:, None] == 2, 0, np.ones((5, 8), "f4"))
    (finding,) = jinit.audit({"e": alike}, layers={"e": padded})
    assert finding.evidence == "all 4 embeddings are the same"


def test_scales_that_are_mostly_zero():
    zero, one = {"scale": np.zeros(8, "f4")}, {"scale": np.ones(8, "f4")}
    assert kinds({"a": zero}) == {"a/scale": "zero"}
    assert kinds({"a": zero, "b": one}) == {}
    assert kinds({"a": zero, "b": one, "c": zero}) == {"a/scale": "zero", "c/scale": "zero"}
    # A gate of one entry starts at 0 on purpose (SkipInit, ReZero).
    assert kinds({"a": {"scale": np.zeros((), "f4")}, "b": {"scale": np.zeros(1, "f4")}}) == {}
    assert kinds({"a": zero}, rules={"*": "zeros"}) == {}


@pytest.mark.parametrize(
    ("path", "shape", "layers"),
    [("n/scale", (12, 64), None), ("n/gamma", (64, 3), None), ("n/weight", (32, 32), "vector"),
     ("n/scale", (4, 3, 16), "vector"), ("n/scale", (64,), None)],
)  # fmt: skip
@pytest.mark.parametrize(
    ("value", "kind"), [(0.0, "zero"), (1e-12, "out of proportion"), (np.nan, "not finite")]
)
def test_scales_of_any_rank_start_at_one(path, shape, layers, value, kind):
    options = {"layers": {path: layers, "ok": "dense"}} if layers else {}
    tree = {path: np.full(shape, value, "f4"), "ok": KERNEL}
    (finding,) = jinit.audit(tree, **options)
    assert (finding.where, finding.kind) == (path, kind)
    place = {"jinit": jinit, "jax": jax, "params": tree, "layers": layers}
    exec(finding.fix, place)
    assert np.array_equal(place["params"][path], np.ones(shape))
    assert place["params"]["ok"] is KERNEL


def test_zero_gates_and_matrices_of_unknown_layers_are_no_zero_scales():
    for path, shape in (("gate/scale", (12, 1)), ("fc/weight", (12, 64)), ("fc/w", (12, 64))):
        assert kinds({path: np.zeros(shape, "f4"), "ok": KERNEL}) == {}


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e-30, 1e300])
def test_float64_kernels_of_any_size(size):
    """σ² leaves the range of floats; Moments must not."""
    values = size * RNG.normal(size=(64, 32))
    sample = moments(values.ravel())
    assert sample.rms / size == pytest.approx(np.sqrt(np.mean((values / size) ** 2)), rel=1e-12)
    (finding,) = jinit.audit({"kernel": values})
    assert finding.kind == ("scale" if size < 1 else "out of proportion")
    # Without a warning or an error where NumPy raises.
    with np.errstate(all="raise", under="ignore"):
        assert jinit.audit({"kernel": values}) == [finding]
    with np.errstate(all="raise", under="ignore"):
        jinit.audit({"kernel": values}, rules={"kernel": "he_normal"})


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.ones((4, 3), np.int8), "dtype"),
        (np.ones((4, 3), bool), "dtype"),
        (np.ones((0, 3), "f4"), "empty"),
    ],
)
def test_kernels_that_are_no_weights(values, kind):
    assert kinds({"kernel": values}) == {"kernel": kind}
    # Positions, counts and masks of any rank are no kernels, if only their rank says so.
    assert kinds({"positions": values, "ok": KERNEL}, layers={"ok": "dense"}) == {}


def test_a_tree_without_arrays_is_not_healthy():
    with pytest.raises(ValueError, match="params: got 'no arrays'"):
        jinit.audit({})


def test_moments_of_complex_numbers_against_scipy():
    entries = RNG.normal(size=4000) + 1j * RNG.normal(size=4000) + 0.3
    sample = moments(entries)
    parts = np.array([entries.real, entries.imag])
    assert sample.stddev == pytest.approx(np.sqrt(parts.var(axis=1).sum()))
    assert sample.mean == pytest.approx(entries.mean())
    # |w − μ|² of a complex normal has the law of χ²₂: κ − 1 = Var/E² = 1.
    assert sample.error == pytest.approx(np.sqrt(1 / 4000) / 2, rel=0.1)


def test_students_quantile_is_scipys():
    for probability in (0.6, 0.975, 1 - 1e-4, 1 - 1e-7):
        expected = stats.t.ppf(probability, _functions.DRAWS - 1)
        assert _functions._student(probability) == pytest.approx(expected, rel=1e-6)


CALLS = {
    "he_normal": lambda key, shape, dtype: initializers.he_normal()(key, shape, dtype),
    "ones": lambda key, shape, dtype: jnp.ones(shape, dtype),
    "wide": lambda key, shape, dtype: jax.random.normal(key, shape, dtype),
    "uniform": lambda key, shape, dtype: jax.random.uniform(
        key, shape, dtype, -np.sqrt(6 / 64), np.sqrt(6 / 64)
    ),
    "shifted": lambda key, shape, dtype: 0.05 + initializers.he_normal()(key, shape, dtype),
    "constant": lambda key, shape, dtype: jnp.full(shape, 0.1, dtype),
    "nan": lambda key, shape, dtype: jnp.full(shape, jnp.nan, dtype),
}


@pytest.mark.parametrize("drawn", CALLS)
@pytest.mark.parametrize("rule", CALLS)
def test_rules_that_are_functions_are_checked(drawn, rule):
    params = {"kernel": np.asarray(CALLS[drawn](jax.random.key(5), (64, 48), "float32"))}
    if drawn == "nan":
        assert kinds(params) == {"kernel": "not finite"}
        return
    if rule == "nan":
        with pytest.raises(ValueError, match="3072 NaN of 3072"):
            jinit.audit(params, rules={"*": CALLS[rule]})
        return
    found = kinds(params, rules={"*": CALLS[rule]})
    if drawn == rule:
        assert found == {}
    else:
        assert found["kernel"] in ("rule not applied", "symmetric")


@pytest.mark.full
def test_false_alarms_of_functions_have_the_stated_rate():
    """6,000 leaves at a rate of 5 %: entries that depend on one another, and few of them."""
    laws = [jax.nn.initializers.orthogonal(), jax.nn.initializers.normal(), jax.random.exponential]
    alarms = 0
    for law in laws:
        for shape in ((4, 3), (16, 16)):
            draw = jax.jit(jax.vmap(lambda key, law=law, shape=shape: law(key, shape)))
            values = np.asarray(draw(jax.random.split(jax.random.key(1), 9000)))
            for own, *others in values.reshape(1000, 9, *shape):
                alarms += _functions.first_departure(Leaf("w", own, None), others, 0.05) is not None
    assert 0 < alarms <= stats.binom.isf(1e-4, 6000, 0.05)


@pytest.mark.slow
def test_a_healthy_tree_with_functions_as_rules_on_float64_and_stacks():
    shapes = {
        "a": jax.ShapeDtypeStruct((3, 24, 32), "float32"),
        "b": jax.ShapeDtypeStruct((), "f4"),
    }
    rules = {"a": CALLS["he_normal"], "b": lambda key, shape, dtype: jax.random.normal(key, shape)}
    layers = {"a": "dense(batch=1)", "b": "vector"}
    params = jinit.initialize(jax.random.key(0), shapes, rules, layers=layers)
    assert kinds(params, rules=rules, layers=layers) == {}
    wide = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    assert kinds(wide, rules=rules, layers=layers) == {}


def gpt2(depth, width=48, sigma=0.02):
    """Radford et al. 2019: σ .02; projections into the residual stream .02/√(2 depth)."""
    rng = np.random.default_rng(1)
    tree = {"wte": {"embedding": sigma * rng.normal(size=(200, width))}}
    for layer in range(depth):
        inner = {"qkv": (width, 3 * width), "fc": (width, 4 * width)}
        outer = {"proj": (width, width), "out": (4 * width, width)}
        tree[f"h{layer}"] = {
            name: {"kernel": scale * rng.normal(size=shape), "bias": np.zeros(shape[1])}
            for shapes, scale in ((inner, sigma), (outer, sigma / np.sqrt(2 * depth)))
            for name, shape in shapes.items()
        } | {"norm": {"scale": np.ones(width), "bias": np.zeros(width)}}
    return tree


@pytest.mark.slow
def test_depth_scaled_branches_are_healthy_and_a_single_small_kernel_is_not():
    tree = gpt2(12, width=256)
    assert kinds(tree) == {}
    alone = {"proj": tree["h0"]["proj"], "qkv": tree["h0"]["qkv"]}
    assert kinds(alone) == {"proj/kernel": "scale"}


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["fixup", "skipinit", "rezero", "antisymmetric"])
@pytest.mark.parametrize("blocks", [1, pytest.param(48, marks=pytest.mark.full)])
def test_networks_that_start_simpler_are_healthy(name, blocks):
    model = models.ResidualMLP(width=16, blocks=blocks, outputs=10)
    if name == "antisymmetric":
        model = models.Antisymmetric(models.MLP(features=(32, 32, 10)))
    x = jnp.ones((4, 16))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    scale = {} if name == "antisymmetric" else {"*scale": "ones"}
    rules = {"*kernel": "he_normal", **scale, "*": "zeros"}
    params = jinit.initialize(jax.random.key(0), shapes, rules)
    changed = getattr(calibrate, name)(jax.random.key(1), model, params, x)[0]
    assert kinds(changed, layers=frameworks.layers(model, x)) == {}


def test_entries_that_round_to_a_negative_bound_are_inside():
    rule = initializers.uniform_range(low=-2.0, high=-1.0)
    drawn = rule(jax.random.key(0), (256, 256), jnp.bfloat16)
    assert float(drawn.max()) == -1.0
    assert not kinds({"w": drawn}, rules={"w": rule})
