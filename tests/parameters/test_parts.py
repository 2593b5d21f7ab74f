"""Several laws in one leaf: each part has the bits that its initializer alone would draw there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import frameworks, initializers, parameters
from jinit.parameters._keys import leaf_key

KEY = jax.random.key(5)
STDDEVS = [0.02 / (2 * layer) ** 0.5 for layer in (1, 2, 3, 4)]


def draw(shape, rule, layer, host="flax"):
    tree = {"w": jax.ShapeDtypeStruct(shape, "float32")}
    return np.asarray(jinit.initialize(KEY, tree, {"w": rule}, host=host, layers={"w": layer})["w"])


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["dense(batch=1)", "dense(outputs=2, batch=1)"])
def test_each_stacked_layer_has_a_sigma_of_its_own(spec):
    shape = (4, 8, 6, 2)[: 2 + spec.count("2") + 1]
    stacked = draw(shape, initializers.normal(np.array(STDDEVS)), spec)
    for layer, stddev in enumerate(STDDEVS):
        alone = draw(shape, initializers.normal(stddev), spec)
        np.testing.assert_array_equal(stacked[layer], alone[layer])
    by_name = draw(shape, f"normal({tuple(STDDEVS)})", spec)
    np.testing.assert_array_equal(by_name, stacked)


@pytest.mark.slow
def test_layers_may_follow_different_rules_and_groups_belong_to_one_layer():
    layout = frameworks.Layout(batch_axes=(0,), groups=2)
    rules = ["he_normal", "zeros", "orthogonal"]
    stacked = draw((3, 5, 4, 6), initializers.parts(rules), layout)
    for layer, rule in enumerate(rules):
        np.testing.assert_array_equal(stacked[layer], draw((3, 5, 4, 6), rule, layout)[layer])


@pytest.mark.slow
@pytest.mark.parametrize("host", ["flax", "torch"])
def test_each_packed_block_has_a_gain_of_its_own(host):
    gains, sizes = (1.0, 1.0, 0.25), (3, 5, 8)
    shape = (7, 16) if host == "flax" else (16, 7)
    rule = initializers.glorot_normal(gain=gains, fused=sizes)
    packed = draw(shape, rule, "fused((3, 5, 8))", host)
    plain = draw(shape, "glorot_normal", "fused((3, 5, 8))", host)
    ratio = packed / plain if host == "flax" else (packed / plain).T
    np.testing.assert_allclose(ratio[0], np.repeat(gains, sizes), rtol=1e-6)
    if host == "flax":
        np.testing.assert_array_equal(rule(KEY, shape), rule(KEY, shape))
        alone = initializers.glorot_normal(fused=sizes)(KEY, shape)
        np.testing.assert_allclose(rule(KEY, shape)[0], ratio[0] * alone[0], rtol=1e-6)


@pytest.mark.slow
def test_a_forget_gate_starts_at_one():
    gates = initializers.parts(["zeros", "ones", "zeros", "zeros"], along="blocks")
    assert draw((8,), gates, "bias").tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert draw((2, 4), gates, "bias").tolist() == [[0, 1, 0, 0]] * 2
    unequal = frameworks.Layout("bias", in_axes=(), out_axes=(), fused=(1, 3))
    two = initializers.parts(["zeros", "ones"], along="blocks")
    assert draw((4,), two, unequal).tolist() == [0, 1, 1, 1]
    assert draw((3, 2), initializers.parts(["ones", "zeros", "ones"]), "vector")[:, 0].tolist() == [
        1,
        0,
        1,
    ]


@pytest.mark.slow
def test_the_expected_sigma_is_that_of_all_parts_together():
    tree = {"w": jax.ShapeDtypeStruct((4, 300, 200), "float32")}
    rules = {"w": initializers.normal(STDDEVS)}
    (found,) = parameters.assign(tree, rules, layers={"w": "dense(batch=1)"})
    assert found.stddev == pytest.approx(np.sqrt(np.mean(np.square(STDDEVS))))
    sample = draw((4, 300, 200), rules["w"], "dense(batch=1)")
    assert sample.std() == pytest.approx(found.stddev, rel=6 / np.sqrt(2 * sample.size) + 0.005)


@pytest.mark.slow
def test_deepnorm_scales_v_and_not_q_and_k():
    factors = parameters.deepnorm_factors(12)
    roles = {"w": (None, None, "beta")}
    rules = parameters.residual_rules(roles, factors, "glorot_normal")
    packed = draw((4, 12), rules["w"], "fused((4, 4, 4))")
    plain = draw((4, 12), "glorot_normal", "fused((4, 4, 4))")
    np.testing.assert_allclose(
        (packed / plain)[0], np.repeat([1, 1, factors["beta"]], 4), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("shape", "rule", "layer", "match"),
    [
        ((3, 4, 4), initializers.normal(STDDEVS), "dense(batch=1)", "3, the number of layers"),
        ((4, 4), initializers.normal(STDDEVS), "dense", "1, the number of layers"),
        (
            (4, 6),
            initializers.glorot_normal(gain=(1.0, 2.0), fused=(2, 4)),
            "fused((3, 3))",
            "fused",
        ),
        ((4, 6), initializers.parts(["zeros", "ones"], along="blocks"), "dense", "0, the number"),
        ((5,), initializers.parts(["zeros", "ones"], along="blocks"), "bias", "add up"),
        ((3,), initializers.parts(["zeros", "ones", "ones"]), "bias", "1, the number of layers"),
    ],
)
def test_parts_that_do_not_fit_the_leaf_are_refused(shape, rule, layer, match):
    with pytest.raises(ValueError, match=match):
        draw(shape, rule, layer)


def test_parts_without_a_layout_are_refused():
    leaf = jax.ShapeDtypeStruct((4, 3, 3), "float32")
    with pytest.raises(ValueError, match="layers="):
        jinit.initialize(KEY, {"mine": leaf}, {"mine": initializers.normal(STDDEVS)})
    with pytest.raises(ValueError, match="layers="):
        initializers.normal(STDDEVS)(KEY, (4, 3, 3))
    with pytest.raises(ValueError, match="one length"):
        initializers.truncated_normal([0.1, 0.2], mean=[0.0, 0.0, 0.0])
    for bad in ("he_normal", []):
        with pytest.raises(TypeError, match="a list of initializers"):
            initializers.parts(bad)


@pytest.mark.slow
def test_parts_survive_vmap_and_populations():
    tree = {"w": jax.ShapeDtypeStruct((4, 3, 3), "float32")}
    rules, layers = {"w": initializers.normal(STDDEVS)}, {"w": "dense(batch=1)"}
    many = parameters.population(KEY, 3, tree, rules, layers=layers)["w"]
    one = jinit.initialize(jax.random.fold_in(KEY, 1), tree, rules, layers=layers)["w"]
    np.testing.assert_allclose(many[1], one, rtol=3e-7)
    assert jnp.all(jnp.std(many, axis=(0, 2, 3))[:-1] > jnp.std(many, axis=(0, 2, 3))[1:] * 0.9)


def kernel_by_kernel(parts, shape, groups):
    """A stack of grouped kernels, each drawn by a call of its own from its own key."""
    kernel = (*shape[1:-1], shape[-1] // groups)
    key = leaf_key(KEY, "w")
    return np.stack(
        [
            np.concatenate(
                [
                    part(jax.random.fold_in(key, layer * groups + group), kernel)
                    for group in range(groups)
                ],
                axis=-1,
            )
            for layer, part in enumerate(parts)
        ]
    )


@pytest.mark.slow
def test_every_group_of_every_layer_has_a_key_of_its_own():
    shape, layout = (3, 5, 2, 8), frameworks.Layout(batch_axes=(0,), groups=4)
    parts = [initializers.normal(stddev) for stddev in STDDEVS[:3]]
    expected = kernel_by_kernel(parts, shape, 4)
    np.testing.assert_array_equal(draw(shape, initializers.parts(parts), layout), expected)
    counted = []

    def own(key, shape, dtype):
        counted.append(shape)
        return np.asarray(parts[1](key, shape, dtype))

    mixed = initializers.parts([parts[0], own, parts[2]])
    np.testing.assert_array_equal(draw(shape, mixed, layout), expected)
    assert counted == [(5, 2, 2)] * 4


def test_the_program_of_parts_does_not_grow_with_their_kernels():
    rule = initializers.normal(STDDEVS)

    def equations(groups):
        shapes = {"w": jax.ShapeDtypeStruct((4, 7, 7, 1, 2 * groups), "float32")}
        layers = {"w": frameworks.Layout(batch_axes=(0,), groups=groups)}
        made = lambda key: jinit.initialize(key, shapes, {"w": rule}, layers=layers)  # noqa: E731
        return len(jax.make_jaxpr(made)(KEY).eqns)

    assert equations(256) == equations(2)


def test_one_block_is_a_kernel_and_groups_exclude_blocks():
    """A rule and a layout with the same words draw the same, or both refuse."""
    alone = initializers.he_normal()(KEY, (3, 8))
    one = initializers.he_normal(fused=(8,))
    np.testing.assert_array_equal(one(KEY, (3, 8)), alone)
    for rule in (one, initializers.he_normal()):
        drawn = frameworks.Layout(fused=(8,)).draw(rule, KEY, (3, 8), "float32")
        np.testing.assert_array_equal(drawn, alone)
    match = r"groups: got '2 groups and the blocks fused=\((4, 4|2, 2)\)"
    for sizes in ((4, 4), (2, 2)):
        both = frameworks.Layout(groups=2, fused=sizes)
        for call in (
            lambda sizes=sizes: initializers.he_normal(groups=2, fused=sizes),
            lambda both=both: both.draw(initializers.he_normal(), KEY, (3, 3, 2, 8), "float32"),
            lambda sizes=sizes: draw(
                (3, 3, 2, 8), initializers.he_normal(fused=sizes), "conv(groups=2)"
            ),
        ):
            with pytest.raises(ValueError, match=match):
                call()
