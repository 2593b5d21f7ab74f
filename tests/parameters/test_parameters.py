"""Whole trees: rules, keys that depend on nothing but the path, every refusal."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinit
from jinit import initializers, models, parameters

F32 = jnp.float32


def shapes(**layers):
    return {
        name: {
            "kernel": jax.ShapeDtypeStruct(shape, F32),
            "bias": jax.ShapeDtypeStruct(shape[-1:], F32),
        }
        for name, shape in layers.items()
    }


RULES = {"*/kernel": "he_normal", "*/bias": "zeros"}
KEY = jax.random.key(4)


def test_a_leaf_does_not_depend_on_the_rest_of_the_tree():
    small = jinit.initialize(KEY, shapes(a=(4, 3)), RULES)
    large = jinit.initialize(KEY, shapes(z=(4, 3), a=(4, 3), b=(9, 9)), RULES)
    np.testing.assert_array_equal(small["a"]["kernel"], large["a"]["kernel"])
    assert not np.any(np.asarray(large["a"]["kernel"]) == np.asarray(large["z"]["kernel"]))


def test_leaf_keys_are_the_same_for_ever():
    words = [97274182, 1101016640]
    assert parameters.path_words(["output/kernel"]).tolist() == [words]
    folded = jax.random.key(0)
    for word in words:
        folded = jax.random.fold_in(folded, word)
    key = parameters.leaf_key(jax.random.key(0), "output/kernel")
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(folded))


def test_a_leaf_is_its_initializer_at_its_key():
    tree = jinit.initialize(KEY, shapes(a=(4, 3), b=(4, 3)), RULES)
    alone = initializers.he_normal()(parameters.leaf_key(KEY, "b/kernel"), (4, 3))
    np.testing.assert_allclose(tree["b"]["kernel"], alone, rtol=3e-7)


def test_one_key_gives_different_initializers_the_same_noise():
    he, lecun = (
        jinit.initialize(KEY, shapes(a=(4, 3)), RULES | {"*/kernel": name})["a"]["kernel"]
        for name in ("he_normal", "lecun_normal")
    )
    np.testing.assert_allclose(he, np.sqrt(2) * np.asarray(lecun), rtol=1e-6)


def test_first_match_wins_and_the_star_crosses_slashes():
    tree = {"encoder": shapes(a=(4, 3)), "head": {"kernel": jax.ShapeDtypeStruct((3, 2), F32)}}
    rules = {"head/*": "zeros", "*/kernel": "ones", "encoder/*": "constant(value=2.0)"}
    found = jinit.initialize(KEY, tree, rules)
    assert not np.any(found["head"]["kernel"])
    assert np.all(np.asarray(found["encoder"]["a"]["kernel"]) == 1)
    assert np.all(np.asarray(found["encoder"]["a"]["bias"]) == 2)


def test_keep_keeps_arrays():
    tree = {"a": jnp.full((2, 2), 7.0), "b": jax.ShapeDtypeStruct((2,), F32)}
    found = jinit.initialize(KEY, tree, {"a": "keep", "b": "ones"})
    assert found["a"] is tree["a"]


def test_linen_and_nnx_trees_come_back_as_they_were():
    module = models.MLP((8, 3))
    tree = jax.eval_shape(module.init, KEY, jnp.zeros((1, 4)))["params"]
    params = jinit.initialize(KEY, tree, RULES)
    assert jax.tree.structure(params) == jax.tree.structure(tree)
    assert module.apply({"params": params}, jnp.ones((2, 4))).shape == (2, 3)
    state = nnx.state(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.Param)
    found = jinit.initialize(KEY, state, RULES)
    assert type(found) is type(state)
    layer = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    nnx.update(layer, found)
    np.testing.assert_allclose(
        layer(jnp.eye(4)),
        initializers.he_normal()(parameters.leaf_key(KEY, "kernel"), (4, 3)),
        rtol=1e-5,
    )


def test_conv_kernels_have_their_fans():
    tree = jax.eval_shape(nn.Conv(16, (3, 3)).init, KEY, jnp.zeros((1, 8, 8, 4)))["params"]
    found = {a.leaf: a for a in parameters.assign(tree, RULES)}["kernel"]
    assert (found.fan_in, found.fan_out) == (36, 144)
    assert found.stddev == pytest.approx(np.sqrt(2 / 36))


def test_vmap_and_jit():
    keys = jax.random.split(KEY, 3)
    mapped = jax.jit(jax.vmap(lambda k: jinit.initialize(k, shapes(a=(4, 3), b=(4, 3)), RULES)))(
        keys
    )
    for lane in range(3):
        alone = jinit.initialize(keys[lane], shapes(a=(4, 3), b=(4, 3)), RULES)
        np.testing.assert_allclose(mapped["b"]["kernel"][lane], alone["b"]["kernel"], rtol=3e-7)


@pytest.mark.parametrize(
    ("rules", "options", "error", "match"),
    [
        ({"*/kernel": "he_normal"}, {}, ValueError, "leaf 'a/bias' .*no rule"),
        (RULES | {"*/scale": "ones"}, {}, ValueError, r"rule '\*/scale': got 'no leaf'"),
        ({"*": "zeros", "*/kernel": "ones"}, {}, ValueError, r"rule '\*/kernel'"),
        ({"*": "he_norml"}, {}, ValueError, "did you mean 'he_normal'"),
        ({"*": "he_normal"}, {}, ValueError, r"leaf 'a/bias', rule '\*'.*rank >= 2"),
        ({"*": "keep"}, {}, ValueError, "keep"),
        (["he_normal"], {}, TypeError, "rules"),
        (RULES, {"host": "kears"}, ValueError, "host"),
    ],
)
def test_bad_rules(rules, options, error, match):
    with pytest.raises(error, match=match):
        jinit.initialize(KEY, shapes(a=(4, 3)), rules, **options)
