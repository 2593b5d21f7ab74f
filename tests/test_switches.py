"""JAX's and NumPy's own switches: jinit works under each of them, in a fresh process."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jinit._switches import own_switches

SWITCHES = {
    "jax_debug_nans": "jax.config.update('jax_debug_nans', True)",
    "jax_debug_infs": "jax.config.update('jax_debug_infs', True)",
    "jax_debug_key_reuse": "jax.config.update('jax_debug_key_reuse', True)",
    "jax_numpy_dtype_promotion": "jax.config.update('jax_numpy_dtype_promotion', 'strict')",
    "jax_numpy_rank_promotion": "jax.config.update('jax_numpy_rank_promotion', 'raise')",
    "jax_disable_jit": "jax.config.update('jax_disable_jit', True)",
    "jax_enable_x64": "jax.config.update('jax_enable_x64', True)",
    "np.seterr": "np.seterr(all='raise')",
}
# A diverging arm, a task without accuracy, clips in mixed dtypes, draws, a probe, calibrations,
# advice and theory.
CODE = """
import jax, jax.numpy as jnp, numpy as np, jinit
from jinit import advise, calibrate, clipping, initializers, models, probes, theory
{switch}
grid = dict(dataset="xor", depth=1, width=4, steps=3, evaluations=2, seeds=2)
table = jinit.run(jinit.Grid(**grid, learning_rate=(0.1, 1e30), clip=(None, "leaf_norm(1.0)")))
assert table["diverged"].sum() >= 2
assert jinit.run(jinit.Grid(**{{**grid, "dataset": "linear_teacher"}})) is not None
kernel = {{"dense": {{"kernel": jax.ShapeDtypeStruct((8, 8), "float32")}}}}
jinit.initialize(jax.random.key(0), kernel, {{"*": "he_normal"}})
initializers.orthogonal(method="householder")(jax.random.key(0), (16, 16))
gradients = {{"a": jnp.ones((3, 2)), "b": jnp.ones((3, 4), jnp.bfloat16)}}
for name in clipping.names():
    clip = clipping.with_clip_statistics(clipping.get(name)(0.1, on_nonfinite="skip"))
    clip.update(gradients, clip.init(gradients), gradients)
network = models.MLP((8, 3), "relu")
x = jnp.arange(20.0).reshape(4, 5) / 20
captured = jinit.frameworks.capture(network, x)
rules = {{"*kernel": "he_normal", "*": "zeros"}}
params = jinit.initialize(jax.random.key(0), captured.params, rules)
probes.propagation(captured, params, x, lambda z: (z**2).mean())
labels = jnp.array([0, 1, 2, 0])
calibrate.lsuv(jax.random.key(0), network, params, x)
calibrate.within_layer(jax.random.key(0), network, params, x)
calibrate.output_bias(jax.random.key(0), network, params, x, labels)
called = calibrate.get("gradinit(he_normal, steps=2)")
called(jax.random.key(0), network, params, x, labels, lambda z, y: (z**2).mean())
advise.recommend(models.MLP((8, 8, 2)), 8, candidates=("he_normal", "zeros"), seeds=2)
assert abs(float(theory.edge_of_chaos("relu")) - 2**0.5) < 1e-6
theory.length_map("relu", 1.0, 1.5, 0.1)
theory.kernels("relu", np.eye(3, dtype=np.float32), depth=2)
"""


@pytest.mark.full
@pytest.mark.parametrize("switch", SWITCHES)
def test_jinit_works_under_a_switch(switch):
    code = CODE.format(switch=SWITCHES[switch])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_switches_are_set_for_jinit_alone_and_set_back():
    with jax.numpy_rank_promotion("raise"), jax.debug_nans(True), np.errstate(all="raise"):
        with own_switches():
            assert jax.config.jax_numpy_rank_promotion == "allow"
            assert not jax.config.jax_debug_nans
            assert np.geterr()["under"] == "ignore"
        assert jax.config.jax_numpy_rank_promotion == "raise"
        assert jax.config.jax_debug_nans
        assert np.geterr()["under"] == "raise"


@pytest.mark.slow
def test_theory_under_strict_rules():
    from jinit import theory

    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        np.testing.assert_allclose(
            theory.length_map("relu", np.array([1.0, 2.0]), 2**0.5), [1.0, 2.0]
        )


@pytest.mark.slow
def test_clips_under_strict_rules():
    from jinit import clipping

    gradients = {"a": np.ones(3, np.float32), "b": jax.numpy.ones(3, jax.numpy.bfloat16)}
    clip = clipping.with_clip_statistics(clipping.clip_by_global_norm(1.0))
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        eager, state = clip.update(gradients, clip.init(gradients))
        traced = jax.jit(lambda g: clip.update(g, clip.init(g))[0])(gradients)
    assert (state.updates, state.clipped) == (1, 1)
    assert state.clipped.dtype == np.int32
    for found in (eager, traced):
        np.testing.assert_allclose(found["a"], 6**-0.5, rtol=1e-6)
        assert found["b"].dtype == jax.numpy.bfloat16


@pytest.mark.slow
def test_calibrations_under_strict_rules():
    from jinit import calibrate, models

    key, x, labels = jax.random.key(0), np.eye(4, 5, dtype=np.float32), np.array([0, 1, 1, 0])
    model = models.MLP((8, 2))
    params = jax.tree.map(np.zeros_like, model.init(key, x)["params"])
    last = sorted(params)[-1]
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        changed, _ = calibrate.output_bias(key, model, params, x[:3], labels[:3])
        called = calibrate.get("output_bias(zeros)")
        again, _ = called(key, model, params, x, labels, lambda z, y: (z**2).mean())
    # Two of three labels, with one more of each class.
    np.testing.assert_allclose(changed[last]["bias"], np.log([2 / 5, 3 / 5]), rtol=1e-5)
    np.testing.assert_allclose(again[last]["bias"], np.log([1 / 2, 1 / 2]), rtol=1e-5)


@pytest.mark.slow
def test_advice_while_nan_is_an_error():
    from jinit import advise, models

    with jax.debug_nans(True):
        found = advise.recommend(models.MLP((8, 8, 2)), 8, candidates=("zeros", "ones"), seeds=2)
    assert {one.initializer: one.score for one in found}["zeros"] == np.inf
