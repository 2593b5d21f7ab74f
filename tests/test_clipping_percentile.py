"""The percentile clip against NumPy's percentile of the norms so far, lane by lane."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import clipping
from jinit.clipping._rules import label, make, parse

GRADIENTS = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
GRADIENTS *= np.exp(np.random.default_rng(1).standard_normal((40, 1))).astype(np.float32)


def clipped(gradients, percentile, **options):
    """All clipped gradients, in one scan; the last state."""
    transform = clipping.clip_by_percentile(percentile, **options)

    def step(state, g):
        halves = {"a": g[:2], "b": g[2:].reshape(2, 2)}
        after, state = transform.update(halves, state)
        return state, jnp.concatenate([after["a"], after["b"].ravel()])

    state, found = jax.lax.scan(step, transform.init(()), gradients)
    return found, state


def reference(gradients, percentile, history):
    norms, rows = [], []
    for g in gradients.astype(np.float64):
        norms.append(np.linalg.norm(g))
        bound = np.percentile(norms[-history:], percentile)
        rows.append(g * min(1.0, bound / norms[-1]))
    return np.array(rows)


@pytest.mark.slow
@pytest.mark.parametrize("history", [1, 7, 40, 1000])
def test_against_numpy(history):
    percentiles = np.array([3.0, 10.0, 50.0, 99.0, 100.0], np.float32)
    found = jax.vmap(lambda p: clipped(GRADIENTS, p, history=history)[0])(percentiles)
    for lane, percentile in enumerate(percentiles):
        exact = reference(GRADIENTS, percentile, history)
        np.testing.assert_allclose(found[lane], exact, rtol=2e-5, atol=1e-7)
    assert (found[-1] == GRADIENTS).all()


@pytest.mark.slow
def test_equal_norms_leave_in_their_order():
    gradients = np.ones((9, 6), np.float32)
    gradients[4:] *= np.array([[1.0], [3.0], [1.0], [0.5], [3.0]], np.float32)
    for history in (2, 3, 5):
        found, state = clipped(gradients, 50.0, history=history)
        np.testing.assert_allclose(found, reference(gradients, 50.0, history), rtol=2e-6)
        np.testing.assert_array_equal(state.inner.ascending, np.sort(state.inner.norms))


@pytest.mark.slow
def test_each_lane_remembers_its_own_norms():
    lanes = np.stack([GRADIENTS, 100 * GRADIENTS[::-1]])
    found = jax.vmap(lambda g: clipped(g, 20.0)[0])(lanes)
    for lane in range(2):
        exact = reference(lanes[lane], 20.0, 1000)
        np.testing.assert_allclose(found[lane], exact, rtol=2e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("on_nonfinite", ["propagate", "skip", "zero"])
def test_a_norm_that_is_not_finite_is_not_remembered(on_nonfinite):
    bad = GRADIENTS.copy()
    bad[5, 0] = np.nan
    found, state = clipped(bad, 30.0, on_nonfinite=on_nonfinite)
    assert np.isfinite(state.inner.norms[:39]).all()
    if on_nonfinite != "zero":
        others = np.delete(GRADIENTS, 5, axis=0)
        expected = reference(others, 30.0, 1000)
        np.testing.assert_allclose(np.delete(found, 5, axis=0), expected, rtol=2e-5, atol=1e-7)
    assert bool(np.isnan(found[5]).any()) is (on_nonfinite == "propagate")


@pytest.mark.slow
def test_gradients_of_zero_do_not_hold_later_ones_at_zero():
    gradients = np.zeros((4, 6), np.float32)
    gradients[2:] = 1.0
    found, _ = clipped(gradients, 10.0)
    assert (found == gradients).all()


@pytest.mark.slow
def test_spec_strings_and_statistics():
    assert parse("percentile(10, history=50)") == ("percentile(history=50)", 10.0)
    assert label("percentile(history=50)", 10.0) == "percentile(10, history=50)"
    counting = clipping.with_clip_statistics(make("percentile(history=50)", 10.0))
    state = counting.init(jnp.zeros(6))
    for g in GRADIENTS[:10]:
        _, state = counting.update(jnp.asarray(g), state)
    lower = [np.linalg.norm(g) for g in GRADIENTS[:10].astype(np.float64)]
    fired = sum(lower[i] > np.percentile(lower[: i + 1], 10) for i in range(10))
    assert int(clipping.statistics(state).clipped) == fired


def test_bad_percentiles():
    for bad in (0.0, 101.0, float("nan")):
        with pytest.raises(ValueError, match="percentile threshold"):
            clipping.clip_by_percentile(bad)
    with pytest.raises(ValueError, match="percentile threshold: got 101"):
        jinit.Grid(clip="percentile(101)")
    with pytest.raises(ValueError, match="history: got 0"):
        clipping.clip_by_percentile(10.0, history=0)


@pytest.mark.full
def test_percentiles_of_a_sweep_share_one_program():
    axes = {"dataset": "xor", "depth": 1, "width": 4, "steps": 12, "evaluations": 2, "seeds": 2}
    grid = jinit.Grid(**axes, clip=("percentile(10)", "percentile(100)"))
    assert len(jinit.plan(grid).programs) == 1
    table = jinit.run(grid)
    plain = jinit.run(jinit.Grid(**axes))
    hundred = table.select(clip="percentile(100)")
    np.testing.assert_allclose(hundred["test_loss"], plain["test_loss"], rtol=1e-5)
    assert (hundred["clip_fraction"] == 0).all()
    assert (table.select(clip="percentile(10)")["clip_fraction"] > 0.5).all()
