"""Pure functions give the same values inside and outside jit, and trace once per shape."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import calibrate, clipping, frameworks, initializers, models, probes

KEY = jax.random.key(0)
GRADIENT = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([[12.0]])}


class Variants(chex.TestCase):
    """Each test runs with jit and without."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_a_draw_has_the_bits_of_jax(self):
        draw = self.variant(lambda key: initializers.he_normal()(key, (6, 4)))
        theirs = self.variant(lambda key: jax.nn.initializers.he_normal()(key, (6, 4)))
        chex.assert_trees_all_equal(draw(KEY), theirs(KEY))
        chex.assert_shape(draw(KEY), (6, 4))
        chex.assert_type(draw(KEY), jnp.float32)

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_clip_divides_by_the_norm(self):
        clip = clipping.clip_by_global_norm(1.0)
        update = self.variant(lambda g: clip.update(g, clip.init(g))[0])
        exact = jax.tree.map(lambda g: g / 13.0, GRADIENT)  # √(3² + 4² + 12²) = 13
        chex.assert_trees_all_close(update(GRADIENT), exact, rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_tree_is_drawn_leaf_by_leaf(self):
        shapes = {"a/kernel": jax.ShapeDtypeStruct((4, 3), "float32"),
                  "a/bias": jax.ShapeDtypeStruct((3,), "float32")}  # fmt: skip
        rules = {"*/kernel": "glorot_uniform", "*/bias": "zeros"}
        draw = self.variant(lambda key: jinit.initialize(key, shapes, rules))
        drawn = draw(KEY)
        chex.assert_trees_all_equal_shapes_and_dtypes(drawn, shapes)
        chex.assert_tree_all_finite(drawn)
        assert float(jnp.abs(drawn["a/kernel"]).max()) <= (6 / 7) ** 0.5
        assert not drawn["a/bias"].any()


@pytest.mark.slow
def test_functions_that_are_called_again_are_not_traced_again():
    """Other values of the same shapes use the same program."""
    clip = clipping.clip_by_leaf_norm(1.0)
    traced = {
        "clip": lambda number: clip.update({"w": number * jnp.ones(3)}, clip.init(()))[0],
        "draw": lambda number: initializers.orthogonal()(jax.random.fold_in(KEY, number), (4, 4)),
    }
    for name, function in traced.items():
        counted = jax.jit(chex.assert_max_traces(function, n=1))
        outputs = [counted(jnp.asarray(number, jnp.uint32)) for number in (1, 2, 3)]
        chex.assert_trees_all_equal_shapes_and_dtypes(*outputs)
        chex.clear_trace_counter()
        assert not jnp.isnan(jax.tree.leaves(outputs[0])[0]).any(), name


@pytest.mark.slow
def test_a_calibration_keeps_the_tree():
    model, x = models.MLP(features=(8, 2)), jax.random.normal(KEY, (16, 4))
    params = jinit.initialize(
        KEY, frameworks.shapes(model, x), {"*/kernel": "he_normal", "*": "zeros"}
    )
    changed, _ = calibrate.within_layer(KEY, model, params, x)
    chex.assert_trees_all_equal_shapes_and_dtypes(changed, params)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(changed, params)


@pytest.mark.full
def test_measurements_have_one_number_per_layer():
    model, x = models.MLP(features=(8, 8, 2)), np.asarray(jax.random.normal(KEY, (16, 4)))
    captured = frameworks.capture(model, x)
    rules = {"*/kernel": "he_normal", "*": "zeros"}
    profile = probes.ensemble(captured, rules, x, probes.random_projection(KEY), seeds=5)
    chex.assert_equal_shape([profile.mean, profile.second_moment, profile.gradient_norm])
    chex.assert_shape(profile.mean, (5, 3))
