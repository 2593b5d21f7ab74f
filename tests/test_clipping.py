"""Clips against NumPy in float64, at the edges of float32, and lane by lane."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jinit
from jinit import clipping
from jinit.cli import main
from jinit.clipping._norms import norm
from jinit.clipping._rules import _RULES, label, make, parse
from jinit.clipping._statistics import nonfinite_updates

# Unlike the others, per_example also takes a mean, below; percentile has a file of its own.
KINDS = ["leaf_norm", "global_norm", "value", "block_rms", "adaptive"]
assert {*KINDS, "per_example", "percentile"} == set(clipping.names())


def reference(kind, leaves, threshold):
    """In float64; the weights of ``adaptive`` are all 2."""
    leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
    if kind == "value":
        return [np.clip(leaf, -threshold, threshold) for leaf in leaves]
    if kind == "adaptive":
        return [adaptive_reference(leaf, np.full(leaf.shape, 2.0), threshold) for leaf in leaves]
    norms = [np.linalg.norm(leaf) for leaf in leaves]
    if kind == "block_rms":
        norms = [norm / np.sqrt(leaf.size) for norm, leaf in zip(norms, leaves, strict=True)]
    if kind == "global_norm":
        norms = [np.linalg.norm(norms)] * len(leaves)
    return [
        leaf * (threshold / norm if norm > threshold else 1.0)
        for leaf, norm in zip(leaves, norms, strict=True)
    ]


def adaptive_reference(leaf, weights, threshold, eps=1e-3):
    """Unit by unit in a loop: vectors whole, kernels by column, convolutions by channel."""
    result = np.array(leaf, np.float64)
    units = [...] if leaf.ndim < 2 else [(..., column) for column in range(leaf.shape[-1])]
    for unit in units:
        norm = np.linalg.norm(np.ravel(leaf[unit]))
        bound = threshold * max(np.linalg.norm(np.ravel(weights[unit])), eps)
        result[unit] = leaf[unit] * (bound / norm if norm > bound else 1.0)
    return result


def clip(kind, tree, threshold, **options):
    registered = kind == "entrywise"
    transform = make(kind, threshold) if registered else clipping.get(kind)(threshold, **options)
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2.0, leaf.dtype), tree)
    return transform.update(tree, transform.init(tree), params)[0]


@pytest.mark.slow
@given(
    st.sampled_from(KINDS),
    st.integers(0, 2**32 - 1),
    st.floats(1e-3, 1e3),
    st.floats(-30, 30),
)
def test_against_numpy(kind, seed, threshold, exponent):
    rng = np.random.default_rng(seed)
    tree = [
        (10.0**exponent * rng.normal(size=shape)).astype(np.float32) for shape in [(3, 4), (5,), ()]
    ]
    found = clip(kind, [jnp.asarray(leaf) for leaf in tree], threshold)
    for ours, exact in zip(found, reference(kind, tree, threshold), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=2e-6, atol=1e-37)


@pytest.mark.slow
def test_global_norm_is_optax_where_optax_is_right():
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(4)}
    theirs = optax.clip_by_global_norm(2.0)
    expected, _ = theirs.update(tree, theirs.init(tree))
    for ours, exact in zip(
        *map(jax.tree.leaves, (clip("global_norm", tree, 2.0), expected)), strict=True
    ):
        np.testing.assert_allclose(ours, exact, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "value"])
def test_norms_beyond_float32_are_clipped_to_the_threshold(kind):
    for entry, threshold in ((3e38, 2.0), (1e25, 1e-3)):
        found = clip(kind, [jnp.full((4,), entry, jnp.float32)], threshold)[0]
        exact = reference(kind, [np.full(4, entry)], threshold)[0]
        np.testing.assert_allclose(found, exact, rtol=1e-6)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.slow
def test_half_precision_keeps_its_dtype_and_does_not_overflow(kind, dtype):
    found = clip(kind, [jnp.full((1000,), 300.0, dtype)], 10.0)[0]
    assert found.dtype == dtype
    exact = reference(kind, [np.full(1000, 300.0)], 10.0)[0]
    np.testing.assert_allclose(np.asarray(found, np.float32), exact, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_zero_gradient_stays_zero_even_at_traced_threshold_zero(kind):
    zero = [jnp.zeros(3)]
    assert not np.any(clip(kind, zero, 1.0)[0])
    found = jax.jit(lambda threshold: clip(kind, [jnp.zeros(3), jnp.ones(3)], threshold))(0.0)
    assert not np.any(np.concatenate(found))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["leaf_norm", "global_norm"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_options(kind, bad):
    tree = [jnp.array([3.0, bad]), jnp.array([6.0, 8.0])]
    propagated = clip(kind, tree, 1.0)
    np.testing.assert_array_equal(propagated[0], tree[0])
    zeroed = clip(kind, tree, 1.0, on_nonfinite="zero")
    expected = reference(kind, [np.array([3.0, 0.0]), np.array([6.0, 8.0])], 1.0)
    np.testing.assert_allclose(zeroed[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(zeroed[1], expected[1], rtol=1e-6)
    skipped = clip(kind, tree, 1.0, on_nonfinite="skip")
    assert not np.any(np.concatenate(skipped))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sampled(3)
def test_lanes_do_not_meet(kind):
    rng = np.random.default_rng(0)
    tree = {"a": rng.normal(size=(5, 3, 2)), "b": rng.normal(size=(5, 4))}
    tree = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)
    tree["a"] = tree["a"].at[1].set(jnp.nan).at[2].set(1e30)
    thresholds = jnp.array([0.1, 1.0, 0.5, 10.0, 2.0])
    mapped = jax.vmap(lambda lane, threshold: clip(kind, lane, threshold))(tree, thresholds)
    for lane in range(5):
        alone = clip(kind, jax.tree.map(lambda leaf, i=lane: leaf[i], tree), thresholds[lane])
        for name in tree:
            np.testing.assert_allclose(mapped[name][lane], alone[name], rtol=1e-6)


def test_statistics_count_how_often_and_how_hard():
    transform = clipping.with_clip_statistics(clipping.clip_by_global_norm(1.0))
    state = transform.init(jnp.zeros(2))
    for update in ([0.3, 0.4], [3.0, 4.0], [0.0, 2.0]):
        _, state = transform.update(jnp.array(update), state)
    assert int(state.updates) == 3
    assert int(state.clipped) == 2
    assert float(state.shrinkage) == pytest.approx(0.2 + 0.5)
    chained = optax.chain(transform, optax.adam(0.1))
    assert int(clipping.statistics(chained.init(jnp.zeros(2))).updates) == 0
    assert clipping.statistics(optax.adam(0.1).init(jnp.zeros(2))) is None


@pytest.mark.slow
def test_works_in_chain_inject_and_masked():
    injected = optax.inject_hyperparams(clipping.clip_by_leaf_norm)(threshold=1.0)
    state = injected.init(jnp.zeros(2))
    np.testing.assert_allclose(injected.update(jnp.array([3.0, 4.0]), state)[0], [0.6, 0.8], 1e-6)
    masked = optax.masked(clipping.clip_by_leaf_norm(1.0), {"a": True, "b": False})
    tree = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([3.0, 4.0])}
    found, _ = masked.update(tree, masked.init(tree))
    np.testing.assert_allclose(found["a"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(found["b"], tree["b"])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: clipping.clip_by_leaf_norm(0.0), "leaf_norm threshold: got 0.0"),
        (lambda: clipping.clip_by_value(-1), "value threshold: got -1"),
        (lambda: clipping.clip_by_value(float("nan")), "got nan"),
        (lambda: clipping.clip_by_value(1.0, on_nonfinite="drop"), "on_nonfinite"),
        (lambda: parse("leaf_nrm(1.0)"), "did you mean 'leaf_norm'"),
        (lambda: parse("leaf_norm"), "arguments"),
        (lambda: parse("leaf_norm(0)"), "threshold: got 0"),
        (lambda: parse("leaf_norm(1.0, 2.0)"), "arguments"),
        (lambda: parse("leaf_norm(1.0, axis=0)"), "options of clip 'leaf_norm'"),
        (lambda: parse("leaf_norm(1.0, on_nonfinite=drop)"), "on_nonfinite 'drop'"),
        (lambda: make("leaf_norm(2.0)", 1.0), "options of clip 'leaf_norm'"),
        (lambda: clipping.clip_adaptively(0.1, eps=0.0), "eps"),
        (lambda: clipping.clip_per_example(1.0, share="layers"), "share 'layers'"),
        (lambda: clip("per_example", [jnp.ones((3, 2)), jnp.ones(())], 1.0), "leading axis"),
        (lambda: clip("per_example", [jnp.ones((3, 2)), jnp.ones((2, 2))], 1.0), "leading axis"),
        (lambda: clipping.clip_adaptively(0.1).update(jnp.ones(2), None), "params: got None"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("kind", ["leaf_norm", "global_norm", "value"])
@pytest.mark.slow
@pytest.mark.sampled(3)
def test_wider_dtypes_are_not_narrowed(kind):
    code = f"""
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
from jinit import clipping
tx = clipping.get({kind!r})(10.0)
def clip(g):
    return tx.update(g, tx.init(g))[0]
g = jnp.array([0.1, 1e-300])
assert (clip(g) == g).all() and clip(g).dtype == jnp.float64
assert (jax.vmap(clip)(jnp.stack([g, g])) == g).all()
big = clip(jnp.array([1e300, 1.0]))
assert abs(float(big[0]) - 10) < 1e-9, big
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_complex_gradients_keep_their_phase_and_integers_are_refused():
    tx = clipping.clip_by_global_norm(1.0)
    clipped = tx.update(jnp.array([3 + 4j]), tx.init(()))[0]
    np.testing.assert_allclose(clipped, [0.6 + 0.8j], rtol=1e-6)
    with pytest.raises(TypeError, match="dtype int32"):
        tx.update(jnp.array([3, 4]), tx.init(()))
    with pytest.raises(TypeError, match="complex"):
        clipping.clip_by_value(1.0).update(jnp.array([3 + 4j]), None)
    with pytest.raises(TypeError, match=r"a clip of jinit\.clipping"):
        clipping.with_clip_statistics(optax.clip(1.0))
    with pytest.raises(ValueError, match="threshold"):
        clipping.clip_by_value(jnp.float32(-1.0))


@pytest.fixture
def entrywise():
    """A registered rule: the clip of optax, which has no state."""
    clipping.register("entrywise", optax.clip)
    yield "entrywise"
    _RULES.remove("entrywise")


@pytest.mark.slow
def test_a_gradient_of_zero_through_a_registered_rule_is_no_nan(entrywise):
    rule = make(entrywise, 1.0)

    def scale(gradient):
        return rule.update(gradient, rule.init(()))[1].scale

    with jax.debug_nans(True):
        assert scale(jnp.zeros(2)) == 1
        np.testing.assert_array_equal(jax.grad(scale)(jnp.zeros(2)), 0)
    np.testing.assert_allclose(scale(jnp.array([3.0, 4.0])), 2**0.5 / 5, rtol=1e-6)


@pytest.mark.full
def test_a_registered_rule_works_wherever_a_name_may_stand(entrywise, capsys):
    assert clipping.names()[-1] == entrywise
    assert parse("entrywise(0.01)") == ("entrywise", 0.01)
    with pytest.raises(ValueError, match="entrywise threshold: got 0"):
        parse("entrywise(0)")
    with pytest.raises(ValueError, match="entrywise threshold: got 0"):
        make(entrywise, 0)
    grid = {"dataset": "xor", "width": 8, "steps": 20, "evaluations": 2, "seeds": 2}
    table = jinit.run(jinit.Grid(**grid, clip=("value(0.01)", "entrywise(0.01)", None)))
    rules = ("value(0.01)", "entrywise(0.01)", "none")
    ours, theirs, free = (table.select(clip=rule) for rule in rules)
    np.testing.assert_allclose(ours["test_loss"], theirs["test_loss"], rtol=1e-6)
    np.testing.assert_array_equal(ours["clip_fraction"], theirs["clip_fraction"])
    assert (theirs["clip_fraction"] > 0.5).all()
    assert not np.allclose(theirs["test_loss"], free["test_loss"])
    words = [f"--{name} {value}" for name, value in grid.items()]
    assert main(["sweep", *" ".join(words).split(), "--clip", "entrywise(0.01)", "None"]) == 0
    assert "entrywise(0.01)" in capsys.readouterr().out


def test_a_taken_name_is_refused_and_the_same_rule_again_changes_nothing(entrywise):
    before = clipping.names()
    clipping.register(entrywise, optax.clip)
    assert clipping.names() == before
    with pytest.raises(ValueError, match="not yet taken"):
        clipping.register(entrywise, clipping.clip_by_value)
    with pytest.raises(ValueError, match="an identifier"):
        clipping.register("by value", optax.clip)
    with pytest.raises(TypeError, match="a callable"):
        clipping.register("by_value", 1.0)


TREE = {"kernel": (4, 3), "bias": (3,), "heads": (4, 2, 3), "image": (2, 2, 3, 4), "thin": (1, 5)}


def random_tree(seed, scale=3.0, shapes=TREE):
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(scale * rng.normal(size=shape), jnp.float32)
        for name, shape in shapes.items()
    }


@pytest.mark.full
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (clipping.clip_by_global_norm, optax.clip_by_global_norm),
        (clipping.clip_by_value, optax.clip),
        (clipping.clip_by_block_rms, optax.clip_by_block_rms),
        (clipping.clip_adaptively, optax.adaptive_grad_clip),
    ],
)
def test_updates_and_derivatives_are_those_of_optax(ours, theirs):
    params, grads, direction = random_tree(0, 0.1), random_tree(1), random_tree(2)
    params["bias"] = jnp.zeros(3)

    def inner(clip, threshold):
        def product(grads):
            clipped = clip(threshold).update(grads, clip(threshold).init(params), params)[0]
            parts = jax.tree.map(lambda a, b: (a * b).sum(), clipped, direction)
            return sum(jax.tree.leaves(parts)), clipped

        return jax.jit(jax.value_and_grad(product, has_aux=True))(grads)

    for threshold in (0.05, 1.0, 100.0):
        for ours_, exact in zip(
            *(jax.tree.leaves(inner(clip, threshold)) for clip in (ours, theirs)), strict=True
        ):
            np.testing.assert_allclose(ours_, exact, rtol=2e-5, atol=2e-6)


@pytest.mark.full
@pytest.mark.parametrize("kind", [*KINDS, "per_example", "percentile", "entrywise"])
def test_derivatives_in_either_mode_twice_and_by_the_threshold(kind, entrywise):
    tree = random_tree(3, shapes={"a": (3, 2), "b": (3, 4)})

    def size(scale, threshold):
        grown = jax.tree.map(lambda leaf: scale * leaf, tree)
        if kind == "percentile":  # its first gradient is never clipped
            rule = clipping.clip_by_percentile(100 * threshold)
            clipped = rule.update(grown, rule.update([jnp.ones(2)], rule.init(()))[1])[0]
        else:
            clipped = clip(kind, grown, threshold)
        return sum((leaf**3).sum() for leaf in jax.tree.leaves(clipped))

    for argument in (0, 1):
        slope = jax.grad(size, argument)
        forward = jax.jvp(lambda x, i=argument: size(*((x, 0.5) if i == 0 else (1.0, x))),
                          (1.0 if argument == 0 else 0.5,), (1.0,))[1]  # fmt: skip
        np.testing.assert_allclose(slope(1.0, 0.5), forward, rtol=1e-4, atol=1e-5)
        assert argument == 0 or slope(1.0, 0.5) != 0
        assert np.isfinite(jax.grad(slope, argument)(1.0, 0.5))
    # No division by the norm of nothing.
    zero = jax.grad(lambda g: clip(kind, [g], 1.0)[0].sum())(jnp.zeros((2, 3)))
    assert np.isfinite(zero).all()


@pytest.mark.slow
def test_derivative_of_a_norm_beyond_float32():
    big = jnp.full((4,), 3e38)
    found = jax.grad(lambda g: clip("leaf_norm", [g], 2.0)[0][0] * 1e20)(big)
    np.testing.assert_allclose(found, np.array([3, -1, -1, -1]) / 12 * 1e-18, rtol=1e-5)
    complex_gradient = jnp.array([3 + 4j, 1 - 1j])
    step = jnp.array([0.3 - 0.1j, 0.2j])
    _, moved = jax.jvp(norm, (complex_gradient,), (step,))
    exact = np.vdot(np.asarray(complex_gradient), np.asarray(step)).real / np.sqrt(27)
    np.testing.assert_allclose(moved, exact, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "per_example", "percentile", "entrywise"])
def test_outside_of_jit_nothing_is_compiled_again(kind, entrywise):
    tree = random_tree(4, shapes={"a": (3, 2), "b": (3, 4)})
    clip(kind, tree, 0.5)
    compiled = []

    def listen(name, *_, **__):
        if "backend_compile" in name:
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for threshold in (0.5, 0.25):
            clip(kind, tree, threshold)
    finally:
        if hasattr(jax.monitoring, "unregister_event_duration_listener"):
            jax.monitoring.unregister_event_duration_listener(listen)
        else:
            jax.monitoring.clear_event_listeners()
    assert not compiled


@pytest.mark.full
def test_adaptive_units_of_every_rank_and_of_named_axes():
    shapes = {**TREE, "volume": (2, 1, 2, 3, 2), "scalar": ()}
    params, grads = random_tree(5, 0.1, shapes), random_tree(6, 1.0, shapes)
    clip = clipping.clip_adaptively(0.5)
    found = clip.update(grads, clip.init(params), params)[0]
    for name in shapes:
        if name in ("heads", "thin"):
            continue
        exact = adaptive_reference(*(np.asarray(tree[name]) for tree in (grads, params)), 0.5)
        np.testing.assert_allclose(found[name], exact, rtol=1e-5)
    heads = [np.asarray(tree["heads"]).reshape(4, 6) for tree in (grads, params)]
    np.testing.assert_allclose(
        found["heads"].reshape(4, 6), adaptive_reference(*heads, 0.5), rtol=1e-5
    )
    for axis in ((0, 1), (1, 0), (-2,), 0, -1):
        ours, theirs = clipping.clip_adaptively(0.5, axis=axis), _agc_by_axis(axis)
        mine = ours.update(grads["heads"], ours.init(()), params["heads"])[0]
        np.testing.assert_allclose(mine, theirs(grads["heads"], params["heads"]), rtol=1e-5)


@pytest.mark.parametrize("axis", [(0, 1), (0, -1), 2, -2])
def test_a_leaf_that_lacks_the_axes_of_a_unit_has_the_default_units(axis):
    params, grads = ({"bias": jnp.full((4,), scale), "scalar": jnp.float32(scale)}
                     for scale in (0.1, 1.0))  # fmt: skip
    clips = clipping.clip_adaptively(0.5, axis=axis), clipping.clip_adaptively(0.5)
    found, default = (clip.update(grads, clip.init(params), params)[0] for clip in clips)
    for name in params:
        np.testing.assert_array_equal(found[name], default[name])
        np.testing.assert_allclose(found[name], 0.05, rtol=1e-6)


@pytest.mark.parametrize(("axis", "error"), [((0, 0), ValueError), (("in",), TypeError)])
def test_axes_that_are_none_are_refused(axis, error):
    with pytest.raises(error, match="axis: got"):
        clipping.clip_adaptively(0.5, axis=axis)


def _agc_by_axis(axis):
    def clip(g, w):
        g, w = np.asarray(g, np.float64), np.asarray(w, np.float64)
        norm = np.sqrt((g**2).sum(axis=axis, keepdims=True))
        bound = 0.5 * np.maximum(np.sqrt((w**2).sum(axis=axis, keepdims=True)), 1e-3)
        return np.where(norm > bound, g * bound / norm, g)

    return clip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("share", ["global", "leaves", "entries"])
@pytest.mark.slow
def test_per_example_against_optax(share):
    grads = [np.random.default_rng(7).normal(size=(6, *shape)) for shape in [(3,), (2, 4), (1,)]]
    grads = [jnp.asarray(leaf, jnp.float32).at[2].set(0.0) for leaf in grads]
    clip = clipping.clip_per_example(1.5, share=share)
    found, state = clip.update(grads, clip.init([leaf[0] for leaf in grads]))
    if share == "global":
        total, clipped = optax.per_example_global_norm_clip(grads, 1.5)
    else:
        total, clipped = optax.per_example_layer_norm_clip(grads, 1.5, uniform=share == "leaves")
    for ours, exact in zip(found, total, strict=True):
        np.testing.assert_allclose(6 * ours, exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state.inner.clipped, clipped)
    assert 0 < np.sum(clipped) < 6 * np.size(clipped)


@pytest.mark.slow
def test_per_example_lanes_do_not_meet():
    grads = jnp.asarray(np.random.default_rng(8).normal(size=(4, 5, 3)), jnp.float32)
    grads = grads.at[1, 2].set(jnp.nan).at[2].set(1e30)
    mapped = jax.vmap(lambda lane: clip("per_example", [lane], 0.5)[0])(grads)
    for lane in (0, 2, 3):
        examples = np.asarray(grads[lane], np.float64)
        norms = np.linalg.norm(examples, axis=1, keepdims=True)
        exact = (examples * np.minimum(1, 0.5 / norms)).mean(axis=0)
        np.testing.assert_allclose(mapped[lane], exact, rtol=1e-5)
    assert np.isnan(mapped[1]).all()


@pytest.mark.slow
def test_options_of_a_rule_are_parsed_written_and_made():
    rule, threshold = parse("adaptive(0.01, on_nonfinite=skip, eps=0.1)")
    assert (rule, threshold) == ("adaptive(eps=0.1, on_nonfinite=skip)", 0.01)
    assert parse(label(rule, threshold)) == (rule, threshold)
    assert parse("value(threshold=2)") == ("value", 2.0)
    made = make(rule, threshold)
    grads, params = jnp.ones((2, 2)), jnp.zeros((2, 2))
    np.testing.assert_allclose(made.update(grads, made.init(params), params)[0], 1e-3 / 2**0.5)


@pytest.mark.slow
def test_nonfinite_updates_are_counted_where_they_are_handled():
    for option, expected in (("zero", 1), ("skip", 1)):
        chain = optax.chain(clipping.clip_by_value(1.0, on_nonfinite=option), optax.sgd(0.1))
        state = chain.init(jnp.zeros(2))
        for gradient in ([1.0, 2.0], [np.nan, 1.0]):
            _, state = chain.update(jnp.array(gradient), state)
        assert int(nonfinite_updates(state)) == expected
    wrapped = clipping.with_clip_statistics(clipping.clip_by_value(1.0, on_nonfinite="skip"))
    assert int(nonfinite_updates(wrapped.init(jnp.zeros(2)))) == 0
    assert int(nonfinite_updates(optax.apply_if_finite(optax.sgd(0.1), 3).init(0.0))) == 0
    assert nonfinite_updates(optax.adam(0.1).init(0.0)) is None
    assert nonfinite_updates(clipping.clip_by_value(1.0).init(0.0)) is None


@pytest.mark.sampled(3)
@pytest.mark.parametrize("shape", [(2**24,), (2**12, 2**12), (2**14, 2**10), (2**20, 16)])
@pytest.mark.slow
def test_the_norm_of_many_entries_is_right(shape):
    """Adding ones one by one in float32 would stop at 2^24; a sum of squares of 0.1 earlier."""
    for entry in (0.1, 1e20):
        exact = np.sqrt(float(np.prod(shape))) * np.float64(np.float32(entry))
        np.testing.assert_allclose(float(norm(jnp.full(shape, entry))), exact, rtol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(32, 10), (7, 5), (300, 301)])
def test_the_norm_of_a_lane_is_the_same_at_every_position(shape):
    one, others = (np.random.default_rng(0).normal(size=size) for size in (shape, (5, *shape)))
    lanes = jnp.asarray(np.stack([np.where(np.eye(5)[k, :, None, None], one, others)
                                  for k in range(5)]), jnp.float32)  # fmt: skip
    norms = jax.jit(jax.vmap(lambda leaf: norm([leaf])))
    found = np.asarray([norms(tile)[k] for k, tile in enumerate(lanes)])
    assert len(set(found.view(np.uint32).tolist())) == 1
    np.testing.assert_allclose(found[0], np.linalg.norm(one), rtol=2e-6)
