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
from jinit.clipping._rules import _RULES, make, parse

KINDS = ["leaf_norm", "global_norm", "value"]


def reference(kind, leaves, threshold):
    leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
    if kind == "value":
        return [np.clip(leaf, -threshold, threshold) for leaf in leaves]
    norms = [np.linalg.norm(leaf) for leaf in leaves]
    if kind == "global_norm":
        norms = [np.linalg.norm(norms)] * len(leaves)
    return [
        leaf * (threshold / norm if norm > threshold else 1.0)
        for leaf, norm in zip(leaves, norms, strict=True)
    ]


def clip(kind, tree, threshold, **options):
    transform = clipping.get(kind)(threshold, **options)
    return transform.update(tree, transform.init(tree))[0]


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


def test_global_norm_is_optax_where_optax_is_right():
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(4)}
    theirs = optax.clip_by_global_norm(2.0)
    expected, _ = theirs.update(tree, theirs.init(tree))
    for ours, exact in zip(
        *map(jax.tree.leaves, (clip("global_norm", tree, 2.0), expected)), strict=True
    ):
        np.testing.assert_allclose(ours, exact, rtol=1e-6)


@pytest.mark.parametrize("kind", ["leaf_norm", "global_norm"])
def test_norms_beyond_float32_are_clipped_to_the_threshold(kind):
    found = clip(kind, [jnp.full((4,), 3e38)], 2.0)[0]
    np.testing.assert_allclose(found, np.full(4, 1.0), rtol=1e-6)
    found = clip(kind, [jnp.full((4,), 1e25, jnp.float32)], 1e-3)[0]
    np.testing.assert_allclose(found, np.full(4, 5e-4), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_keeps_its_dtype_and_does_not_overflow(kind, dtype):
    found = clip(kind, [jnp.full((1000,), 300.0, dtype)], 10.0)[0]
    assert found.dtype == dtype
    exact = reference(kind, [np.full(1000, 300.0)], 10.0)[0]
    np.testing.assert_allclose(np.asarray(found, np.float32), exact, rtol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_gradient_stays_zero_even_at_traced_threshold_zero(kind):
    zero = [jnp.zeros(3)]
    assert not np.any(clip(kind, zero, 1.0)[0])
    found = jax.jit(lambda threshold: clip(kind, [jnp.zeros(3), jnp.ones(3)], threshold))(0.0)
    assert not np.any(np.concatenate(found))


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
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("kind", ["leaf_norm", "global_norm", "value"])
@pytest.mark.slow
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
