"""Whole trees: rules, keys that depend on nothing but the path, every refusal."""

import re
from pathlib import Path

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinit
from jinit import frameworks, initializers, models, parameters
from jinit.parameters._keys import equal_draws, leaf_key, path_words

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


@pytest.mark.slow
def test_a_leaf_does_not_depend_on_the_rest_of_the_tree():
    small = jinit.initialize(KEY, shapes(a=(4, 3)), RULES)
    large = jinit.initialize(KEY, shapes(z=(4, 3), a=(4, 3), b=(9, 9)), RULES)
    np.testing.assert_array_equal(small["a"]["kernel"], large["a"]["kernel"])
    assert not np.any(np.asarray(large["a"]["kernel"]) == np.asarray(large["z"]["kernel"]))


def test_leaf_keys_are_the_same_for_ever():
    words = [97274182, 1101016640]
    assert path_words(["output/kernel"]).tolist() == [words]
    folded = jax.random.key(0)
    for word in words:
        folded = jax.random.fold_in(folded, word)
    key = leaf_key(jax.random.key(0), "output/kernel")
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(folded))


@pytest.mark.slow
def test_leaves_that_draw_alike_are_one_group_even_if_the_initializer_has_no_hash():
    class Unhashable:
        __hash__ = None

        def __call__(self, key, shape, dtype=None, out_sharding=None):
            return jax.random.normal(key, shape, dtype)

    rules = {"[ab]/kernel": Unhashable(), "*/kernel": "he_normal", "*/bias": "zeros"}
    tree = shapes(a=(4, 3), b=(4, 3), c=(4, 3), d=(2, 3))
    groups = equal_draws(parameters.assign(tree, rules))
    assert groups == [[0, 2, 4], [1, 3], [5], [6], [7]]
    drawn = jinit.initialize(KEY, tree, rules)["b"]["kernel"]
    np.testing.assert_allclose(
        drawn, jax.random.normal(leaf_key(KEY, "b/kernel"), (4, 3)), rtol=3e-7
    )


def test_a_leaf_is_its_initializer_at_its_key():
    tree = jinit.initialize(KEY, shapes(a=(4, 3), b=(4, 3)), RULES)
    alone = initializers.he_normal()(leaf_key(KEY, "b/kernel"), (4, 3))
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


@pytest.mark.slow
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
        initializers.he_normal()(leaf_key(KEY, "kernel"), (4, 3)),
        rtol=1e-5,
    )


def test_conv_kernels_have_their_fans():
    tree = jax.eval_shape(nn.Conv(16, (3, 3)).init, KEY, jnp.zeros((1, 8, 8, 4)))["params"]
    found = {a.leaf: a for a in parameters.assign(tree, RULES, layers={"kernel": "conv"})}["kernel"]
    assert (found.fan_in, found.fan_out) == (36, 144)
    assert found.stddev == pytest.approx(np.sqrt(2 / 36))


UNKNOWN = {
    "a matrix without a kernel's name": ({"fc": {"weight": (32, 8)}}, "flax"),
    "a kernel of several readings": ({"q": {"kernel": (32, 4, 8)}}, "flax"),
    "a convolution or stacked heads": ({"q": {"kernel": (3, 3, 4, 8)}}, "flax"),
    "a stacked embedding": ({"embed": {"embedding": (6, 50, 8)}}, "flax"),
    "a matrix of scales": ({"norm": {"scale": (6, 8)}}, "flax"),
    "a list": ([(32, 8), (8, 3)], "flax"),
    "a state dict": ({"0.weight": (32, 8)}, "torch"),
    "packed gates": ({"cell": {"kernel": (8, 32), "recurrent_kernel": (8, 32)}}, "keras"),
    "a convolution of Haiku": ({"conv": {"w": (3, 3, 4, 8)}}, "haiku"),
}


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("rules", [{"*": "he_normal"}, {"*": "identity"}, "flax", "torch", "keras"])
def test_axes_are_not_guessed(name, rules):
    """A rule that needs axes is refused in one line whose advice names the leaf."""
    sizes, host = UNKNOWN[name]
    is_shape = lambda node: isinstance(node, tuple)  # noqa: E731
    tree = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, F32), sizes, is_leaf=is_shape)
    with pytest.raises(ValueError, match=r"no layer kind.*layers=") as caught:
        jinit.initialize(KEY, tree, rules, host=host)
    assert caught.value.what.split("'")[1] in caught.value.fix
    # A rule that needs no axes is drawn.
    drawn = jinit.initialize(KEY, tree, {"*": "normal(0.02)"}, host=host)
    assert jax.tree.structure(drawn) == jax.tree.structure(tree)


@pytest.mark.slow
def test_a_plain_dense_tree_has_one_reading():
    tree = shapes(a=(8, 4)) | {"e": {"embedding": jax.ShapeDtypeStruct((9, 4), F32)}}
    rules = {"*/kernel": "he_normal", "*/bias": "fan_in_uniform", "*": "normal"}
    found = {a.leaf: a.fan_in for a in parameters.assign(tree, rules)}
    assert found == {"a/bias": 8, "a/kernel": 8, "e/embedding": 1}
    assert len(jax.tree.leaves(jinit.initialize(KEY, tree, "flax"))) == 3


def test_a_model_s_layers_are_complete_and_no_other_leaf_is_read_by_its_name():
    tree = {"own": shapes(a=(4, 3))["a"] | {"scale": jax.ShapeDtypeStruct((3,), F32)}}
    asked = {"other": frameworks.Layout()}
    for layers in ({}, asked):
        with pytest.raises(ValueError, match="no layer kind"):
            jinit.initialize(KEY, tree, "flax", layers=layers)
        found = parameters.assign(tree, {"*": "normal"}, layers=layers)
        assert [item.layout for item in found] == [None] * 3
    named = asked | {"own/kernel": "dense"}
    bias = {a.leaf: a for a in parameters.assign(tree, {"*": "normal"}, layers=named)}["own/bias"]
    assert bias.fan_in == 4


@pytest.mark.slow
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
        ({"*": "he_normal(fan_in=2, mode=fan_avg)"}, {}, ValueError, r"leaf 'a/bias', rule '\*'"),
        ({"*": "orthogonal"}, {}, ValueError, r"leaf 'a/bias', rule '\*'.*rank >= 2"),
        ({3: "zeros"}, {}, TypeError, "rule pattern"),
        ({"*": "zeros"}, {"layers": {"*/kernel": "dens"}}, ValueError, "did you mean 'dense'"),
        ({"*": "zeros"}, {"layers": {"*/w": "dense"}}, ValueError, "layers entry"),
        (RULES, {"layers": {"*/kernel": "conv(groups=2)"}}, ValueError, "groups: got 2"),
        (RULES, {"host": "torch"}, ValueError, "'a/kernel'.*no layer"),
        ("pytorch", {}, ValueError, "preset"),
        (RULES, {"where": "head*"}, ValueError, "where"),
        ({"*": "keep"}, {}, ValueError, "keep"),
        (["he_normal"], {}, TypeError, "rules"),
        (RULES, {"host": "kears"}, ValueError, "host"),
    ],
)
def test_bad_rules(rules, options, error, match):
    with pytest.raises(error, match=match):
        jinit.initialize(KEY, shapes(a=(4, 3)), rules, **options)


def test_leaves_that_cannot_be_drawn_are_named():
    leaf = jax.ShapeDtypeStruct((2,), "float32")
    with pytest.raises(TypeError, match=r"leaf 'a': got 0.5"):
        jinit.initialize(KEY, {"a": 0.5}, {"*": "zeros"})
    with pytest.raises(TypeError, match=r"leaf 'n'.*int32"):
        jinit.initialize(KEY, {"n": jax.ShapeDtypeStruct((2,), "int32")}, {"*": "normal"})
    with pytest.raises(ValueError, match=r"path 'a/b': got 'two leaves'"):
        jinit.initialize(KEY, {"a/b": leaf, "a": {"b": leaf}}, {"*": "normal"})
    with pytest.raises(TypeError, match="a PRNG key"):
        jinit.initialize(0, {"a": leaf}, {"*": "normal"})
    with pytest.raises(ValueError, match="batch of keys"):
        jinit.initialize(jax.random.split(KEY, 3), {"a": leaf}, {"*": "normal"})


@pytest.mark.slow
def test_rbg_keys_draw_every_leaf():
    tree = {name: jax.ShapeDtypeStruct((3, 3), "float32") for name in "ab"}
    made = jinit.initialize(jax.random.key(0, impl="rbg"), tree, {"*": "normal"})
    assert not np.array_equal(made["a"], made["b"])


@pytest.mark.slow
def test_a_bias_takes_the_fan_of_the_kernel_beside_it():
    rules = {"*/kernel": "zeros", "*/bias": "fan_in_uniform"}
    found = {a.leaf: a for a in parameters.assign(shapes(a=(100, 30)), rules)}
    assert found["a/bias"].fan_in == 100
    assert str(found["a/bias"].initializer) == "fan_in_uniform(fan_in=100)"
    made = jinit.initialize(KEY, shapes(a=(100, 3000)), rules)
    assert float(jnp.abs(made["a"]["bias"]).max()) == pytest.approx(0.1, rel=0.01)


def test_where_resets_a_part_and_says_what_it_kept():
    tree = jinit.initialize(KEY, shapes(body=(4, 4), head=(4, 2)), RULES)
    made = jinit.initialize(jax.random.key(9), tree, RULES, where="head/*")
    np.testing.assert_array_equal(made["body"]["kernel"], tree["body"]["kernel"])
    assert not np.array_equal(made["head"]["kernel"], tree["head"]["kernel"])
    report = parameters.reset_report(tree, RULES, where="head/*")
    assert report["reset"] == ("head/bias", "head/kernel")
    assert report["kept"] == ("body/bias", "body/kernel")


def test_fans_of_unequal_blocks_are_those_of_the_first():
    made = frameworks.Layout(fused=(4, 6))
    assert made.kernels((3, 10)) == (1, [(3, 4), (3, 6)])
    assert made.fans((3, 10)) == initializers.Fans(3.0, 4.0)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["flax", "torch"])
def test_a_rule_and_a_layout_with_the_same_blocks_pack_once(host):
    shape = (7, 8) if host == "flax" else (8, 7)
    fused = frameworks.layout("fused((3, 5))", host)
    expected = fused.draw(initializers.glorot_normal(), KEY, shape, "float32")
    rule = initializers.glorot_normal(fused=(3, 5))
    np.testing.assert_array_equal(fused.draw(rule, KEY, shape, "float32"), expected)
    if host == "flax":
        np.testing.assert_array_equal(rule(KEY, shape), expected)
    tree = {"w": jax.ShapeDtypeStruct(shape, "float32")}
    rules, layers = {"w": rule}, {"w": "fused((3, 5))"}
    made = jinit.initialize(KEY, tree, rules, host=host, layers=layers)
    plain = jinit.initialize(KEY, tree, {"w": "glorot_normal"}, host=host, layers=layers)
    np.testing.assert_array_equal(made["w"], plain["w"])
    _, stddevs = parameters.search_distribution(tree, rules, host=host, layers=layers)
    assert len(np.unique(stddevs["w"])) == 2


@pytest.mark.parametrize("sizes", [(4, 4), (2, 6), (3, 2)])
def test_a_rule_with_other_blocks_than_its_layout_is_refused(sizes):
    """Even where the rule's sizes would add up inside one block of the layout."""
    rule, fused = initializers.glorot_normal(fused=sizes), frameworks.layout("fused((3, 5))")
    message = rf"fused: got .*{re.escape(str(sizes))}.*\(3, 5\)"
    with pytest.raises(ValueError, match=message):
        fused.draw(rule, KEY, (7, 8), "float32")
    with pytest.raises(ValueError, match=message):
        jinit.initialize(KEY, {"w": jnp.zeros((7, 8))}, {"w": rule}, layers={"w": fused})


@pytest.mark.slow
@pytest.mark.parametrize("host", ["flax", "torch"])
def test_packed_is_separate(host):
    """A fused kernel's blocks, a group and a batch entry are kernels drawn alone."""
    key, init = jax.random.key(4), initializers.glorot_normal()
    made = frameworks.layout("fused((3, 5))", host)
    shape = (7, 8) if host == "flax" else (8, 7)
    packed = made.draw(init, key, shape, "float32")
    packed = packed if host == "flax" else packed.T
    for block, (start, size) in enumerate([(0, 3), (3, 5)]):
        alone = init(jax.random.fold_in(key, block), (7, size))
        np.testing.assert_allclose(packed[:, start : start + size], alone, rtol=1e-6)
    grouped = frameworks.layout("conv(groups=2)").draw(init, key, (3, 4, 6), "float32")
    for group in range(2):
        alone = init(jax.random.fold_in(key, group), (3, 4, 3))
        np.testing.assert_allclose(grouped[..., 3 * group : 3 * group + 3], alone, rtol=1e-6)
    several = frameworks.layout("dense(inputs=2, outputs=2, batch=1)")
    batched = several.draw(init, key, (2, 3, 4, 5, 6), "float32")
    for entry in range(2):
        alone = init(jax.random.fold_in(key, entry), (12, 30))
        np.testing.assert_allclose(batched[entry].reshape(12, 30), alone, rtol=1e-6)


def test_an_own_initializer_may_give_known_values_inside_jit():
    known = jnp.arange(12.0).reshape(4, 3)
    rules = {"kernel": lambda key, shape, dtype=jnp.float32: known}
    made = jax.jit(lambda key: jinit.initialize(key, {"kernel": known}, rules))(KEY)
    np.testing.assert_array_equal(made["kernel"], known)


def test_leaves_outside_where_need_no_rule_and_may_be_integers():
    body = {"kernel": jnp.ones((8, 8), jnp.int8), "mystery": jnp.ones((2, 3, 4))}
    tree = {"body": body, "head": {"kernel": jnp.ones((8, 4)), "bias": jnp.ones(4)}}
    for rules in ({"head/kernel": "he_normal", "head/bias": "zeros"}, RULES, "flax"):
        made = jinit.initialize(KEY, tree, rules, where="head/*")
        assert made["body"]["kernel"] is body["kernel"]
        assert not np.any(made["head"]["bias"])
    with pytest.raises(ValueError, match="no rule"):
        jinit.initialize(KEY, tree, {"head/kernel": "he_normal"}, where="head/*")
    with pytest.raises(ValueError, match="'nowhere'"):
        jinit.initialize(KEY, tree, RULES | {"nowhere": "zeros"}, where="head/*")
    abstract = jax.eval_shape(lambda: tree)
    with pytest.raises(ValueError, match="kept"):
        jinit.initialize(KEY, abstract, RULES, where="head/*")


def test_keys_and_counts_of_nnx_are_state_and_need_no_rule():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a, self.drop = nnx.Linear(4, 3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    state = nnx.state(Net(nnx.Rngs(0)))
    for rules in (RULES, "flax"):
        made = jinit.initialize(KEY, state, rules)
        before, after = (
            {str(p): v for p, v in jax.tree_util.tree_leaves_with_path(t)} for t in (state, made)
        )
        (counts,) = [path for path in before if "count" in path]
        assert after[counts] is before[counts]
        assert len(before) == 4


def test_a_leaf_without_a_rule_is_advised_the_start_of_its_own_layer():
    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x * (1 + self.param("scale", nn.initializers.zeros, x.shape[-1:]))
            return nn.LayerNorm(name="ln")(x @ self.param("mix", nn.initializers.normal(), (4, 4)))

    x = jnp.ones((1, 4))
    shapes, layers = frameworks.shapes(Norm(), x), frameworks.layers(Norm(), x)
    advice = {}
    rules = {"none": "zeros"}
    for path in ("scale", "mix", "ln/scale", "ln/bias"):
        others = {p: "ones" for p in ("scale", "mix", "ln/scale", "ln/bias") if p != path}
        with pytest.raises(ValueError, match=f"leaf '{path}'.*no rule") as caught:
            parameters.assign(shapes, others | rules, layers=layers)
        advice[path] = caught.value.fix
    assert "'ones'" in advice["ln/scale"]
    assert "'zeros'" in advice["ln/bias"]
    for own in ("scale", "mix"):  # its author alone knows: 1 + scale starts at 0
        assert "'ones'" not in advice[own]
        assert "'zeros'" not in advice[own]
    with pytest.raises(ValueError, match=r"leaf .(scale|mix).*no layer kind"):
        jinit.initialize(KEY, shapes, "flax", layers=layers)


def test_population_takes_one_key():
    with pytest.raises(TypeError, match="a PRNG key"):
        parameters.population(None, 2, shapes(a=(4, 3)), RULES)
    with pytest.raises(ValueError, match="batch of keys"):
        parameters.population(jax.random.split(KEY, 2), 2, shapes(a=(4, 3)), RULES)


GROUPED = jax.ShapeDtypeStruct((64, 32, 3, 3), jnp.float32)  # torch: (out, in of a group, taps)


def drawn_grouped(rule, kind="conv(groups=2)"):
    tree = {"weight": GROUPED}
    return jinit.initialize(KEY, tree, {"*": rule}, host="torch", layers={"*": kind})["weight"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["glorot_normal", "0.5*glorot_normal", "he_normal"])
def test_groups_that_rule_and_layer_both_name_count_once(rule):
    factor, _, name = rule.rpartition("*")
    plain, grouped = initializers.get(name), initializers.get(f"{name}(groups=2)")
    if factor:
        plain, grouped = (initializers.scaled_by(made, float(factor)) for made in (plain, grouped))
    drawn = drawn_grouped(grouped)
    np.testing.assert_array_equal(drawn, drawn_grouped(plain))
    fan_in, fan_out = 9 * 32, 9 * 64 / 2
    variance = 2 / (fan_in + fan_out) if "glorot" in name else 2 / fan_in
    assert float(drawn.std()) == pytest.approx(float(factor or 1) * variance**0.5, rel=0.02)
    (found,) = parameters.assign(
        {"weight": GROUPED}, {"*": grouped}, host="torch", layers={"*": "conv(groups=2)"}
    )
    assert found.stddev == pytest.approx(float(factor or 1) * variance**0.5)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("glorot_normal(groups=4)", "groups: got 4; allowed: groups=2, or no groups"),
        ("he_normal(in_axis=1, out_axis=0)", "in_axis of he_normal.*the layer of the leaf states"),
        ("he_normal(batch_axis=(0,))", "drop batch_axis, or change the layer kind"),
        ("glorot_normal(transposed=True)", "transposed of glorot_normal"),
        ("orthogonal(column_axis=0)", "column_axis of orthogonal"),
    ],
)
def test_axes_that_rule_and_layer_both_name_are_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        drawn_grouped(rule)
    with pytest.raises(ValueError, match=message):
        parameters.assign(
            {"weight": GROUPED}, {"*": rule}, host="torch", layers={"*": "conv(groups=2)"}
        )


def test_axes_of_a_leaf_in_order_are_the_rules_own():
    """A Flax kernel is (receptive field…, in, out): axes in the rule are those of the leaf."""
    rule = "variance_scaling(1.0, fan_in, normal, in_axis=-1, out_axis=-2)"
    tree = {"kernel": jax.ShapeDtypeStruct((50, 200), jnp.float32)}
    (found,) = parameters.assign(tree, {"*": rule}, layers={"*": "dense"})
    assert found.stddev == pytest.approx(200**-0.5)


def test_a_leaf_that_is_called_value_has_its_name():
    """nnx appends an attribute of this name, which no path shows; a key of a dict stays."""
    leaf = jax.ShapeDtypeStruct((4, 4), F32)
    tree = {"attention": {"query": leaf, "key": leaf, "value": leaf}}
    assigned = parameters.assign(tree, {"*/value": "zeros", "*": "normal"})
    assert [one.leaf.rpartition("/")[2] for one in assigned] == ["key", "query", "value"]
    state = nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    assert [one.leaf for one in parameters.assign(state, {"*": "zeros"})] == ["bias", "kernel"]


@pytest.mark.parametrize("layer", ["dense", "conv(groups=2)", "fused((2, 2, 2, 2))"])
def test_a_function_of_ones_own_is_called_for_each_kernel(layer):
    """A generator of NumPy gives every kernel numbers of its own, also one made from the key."""
    generator = np.random.default_rng(0)

    def stateful(key, shape, dtype):
        return generator.normal(size=shape).astype(dtype)

    def seeded(key, shape, dtype):
        own = np.random.default_rng(int(jax.random.key_data(key)[1]))
        return own.normal(size=shape).astype(dtype)

    tree = {name: jax.ShapeDtypeStruct((8, 8), "float32") for name in ("first", "second")}
    for rule in (stateful, seeded):
        drawn = jinit.initialize(KEY, tree, {"*": rule}, layers={"*": layer})
        values = np.concatenate([np.ravel(leaf) for leaf in drawn.values()])
        assert len(np.unique(values)) == 128
    rule = initializers.parts([stateful, "zeros"], along="blocks")
    drawn = jinit.initialize(KEY, tree, {"*": rule}, layers={"*": "fused((4, 4))"})
    assert len(np.unique([drawn["first"], drawn["second"]])) == 64 + 1


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["dense", "conv(groups=2)", "fused((2, 2, 2, 2))"])
def test_a_function_of_ones_own_draws_the_same_bits_alone_as_in_one_call(layer):
    def rule(key, shape, dtype):
        return 0.02 * jax.random.normal(key, shape, dtype)

    tree = {name: jax.ShapeDtypeStruct((8, 8), "float32") for name in ("first", "second")}
    drawn = jinit.initialize(KEY, tree, {"*": rule}, layers={"*": layer})
    named = jinit.initialize(KEY, tree, {"*": "normal(1.0)"}, layers={"*": layer})
    chex.assert_trees_all_close(drawn, jax.tree.map(lambda leaf: 0.02 * leaf, named), rtol=1e-6)
    together = jax.vmap(lambda key: jinit.initialize(key, tree, {"*": rule}, layers={"*": layer}))
    chex.assert_trees_all_equal(drawn, jax.tree.map(lambda leaf: leaf[0], together(KEY[None])))


def test_where_matches_a_drawn_kernel_under_a_weight_norm_with_its_norms():
    """The layer is g v/|v|: a drawn v beside an old g has the scale of g, whatever σ is."""

    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.WeightNorm(nn.Dense(3, name="fc"))(x)

    model, x = Normed(), jnp.ones((1, 4))
    layers = frameworks.layers(model, x)
    params = jax.tree.map(jnp.ones_like, model.init(KEY, x)["params"])
    rules = {"*kernel": "normal(0.5)", "*bias": "zeros"}
    for given in (rules, "haiku", "flax"):
        with pytest.raises(ValueError, match=r"where for kernel.*no match for '.*fc/kernel/scale'"):
            jinit.initialize(KEY, params, given, where="*kernel", layers=layers)
    drawn = jinit.initialize(KEY, params, rules, where="*kernel*", layers=layers)
    v = next(v for path, v in jax.tree_util.tree_leaves_with_path(drawn) if v.ndim == 2)
    outputs = model.apply({"params": drawn}, x)
    np.testing.assert_allclose(outputs, x @ v + 1, rtol=1e-5)
    kept = {"*scale": "keep"} | rules
    drawn = jinit.initialize(KEY, params, kept, where="*kernel", layers=layers)
    (scale,) = [v for p, v in jax.tree_util.tree_leaves_with_path(drawn) if "scale" in str(p)]
    assert scale.tolist() == [1, 1, 1]


@pytest.mark.parametrize("cell", ["OptimizedLSTMCell", "GRUCell"])
def test_the_page_names_the_cells_whose_gates_no_name_tells(cell):
    """A draw of one orthogonal matrix for all gates is another start than one for each gate."""
    module = getattr(nnx, cell)(8, 16, rngs=nnx.Rngs(0))
    layers = frameworks.layers(module)
    state = nnx.state(module, nnx.Param)
    found = parameters.assign(state, {"*kernel": "orthogonal", "*": "zeros"})
    packed = [one.leaf for one in found if "kernel" in one.leaf and not one.layout.fused]
    assert packed == [leaf for leaf in layers if len(layers[leaf].fused) > 1 and "kernel" in leaf]
    assert packed
    page = (Path(parameters.__file__).parent / "README.md").read_text()
    assert f"nnx.{cell}" in page.partition("No name says that")[2].partition("layers=")[0]
