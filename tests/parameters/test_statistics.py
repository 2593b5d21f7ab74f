"""Running statistics are kept; a tree that is none is named by its cause, and the fix works."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinit
from jinit import frameworks

KEY, X = jax.random.key(3), jnp.ones((2, 3))
RULES = {"*/kernel": "he_normal", "*/bias": "zeros", "*/scale": "ones"}


class Normed(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.d, self.n = nnx.Linear(3, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs)

    def __call__(self, x):
        return self.n(self.d(x))


class LinenNormed(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=True)(nn.Dense(8)(x))


def measured():
    """A tree of each framework with running statistics that are not at their start."""
    model = Normed()
    model.n.mean.value, model.n.var.value = jnp.full(8, 0.5), jnp.full(8, 4.0)
    stats = {"mean": jnp.full(8, 0.5), "var": jnp.full(8, 4.0)}
    return {
        "nnx": (nnx.state(model), RULES, frameworks.layers(model, X)),
        "linen": ({"batch_stats": {"n": stats}, "b": X}, {"b": "ones"}, None),
        "torch": (
            {"1.running_mean": stats["mean"], "1.running_var": stats["var"], "0": jnp.ones(3)},
            {"0": "zeros"},
            None,
        ),
        "haiku": (
            {"bn/~/mean_ema": {"average": stats["mean"]}, "l": {"w": jnp.ones((3, 8))}},
            {"l/w": "ones"},
            None,
        ),
        "keras": (
            {"bn/moving_mean": stats["mean"], "bn/moving_variance": stats["var"], "k": X},
            {"k": "ones"},
            None,
        ),
        "equinox": (
            {"bn": {"ema_state_index": {"init": stats["mean"]}}, "k": X},
            {"k": "ones"},
            None,
        ),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nnx", "linen", "torch", "haiku", "keras", "equinox"])
def test_running_statistics_need_no_rule_and_keep_their_values(name):
    tree, rules, layers = measured()[name]
    drawn = jax.tree.leaves(jinit.initialize(KEY, tree, rules, layers=layers))
    old = jax.tree.leaves(tree)
    kept = [leaf for leaf in old if leaf.ndim == 1 and float(leaf[0]) in (0.5, 4.0)]
    assert kept
    for leaf in kept:
        assert any(leaf.shape == other.shape and bool((leaf == other).all()) for other in drawn)


def test_a_preset_keeps_running_statistics():
    tree, _, layers = measured()["nnx"]
    drawn = jinit.initialize(KEY, tree, "flax", layers=layers)
    np.testing.assert_array_equal(jax.tree.leaves(drawn["n"]["var"])[0], 4.0)


@pytest.mark.parametrize(
    ("rule", "start"), [("normal(0.02)", "ones"), ("zeros", "ones"), ("constant(-1)", "ones")]
)
def test_a_variance_that_may_not_be_positive_is_refused_with_a_fix_that_works(rule, start):
    tree = {"batch_stats": {"n": {"var": jnp.ones(4)}}}
    with pytest.raises(ValueError, match=f"running variance.*{start}") as caught:
        jinit.initialize(KEY, tree, {"*": rule})
    assert "'batch_stats/n/var': 'ones'" in caught.value.fix
    drawn = jinit.initialize(KEY, tree, {"batch_stats/n/var": "ones"})
    assert bool((drawn["batch_stats"]["n"]["var"] > 0).all())


def test_a_random_running_mean_is_refused_and_zeros_are_not():
    tree = {"running_mean": jnp.ones(4)}
    with pytest.raises(ValueError, match=r"running mean.*'zeros'"):
        jinit.initialize(KEY, tree, {"*": "normal(0.1)"})
    assert not jinit.initialize(KEY, tree, {"*": "zeros"})["running_mean"].any()


def test_the_fix_for_a_statistic_that_is_a_shape_is_its_start():
    tree = {"batch_stats": {"n": {"var": jax.ShapeDtypeStruct((4,), "float32")}}, "b": X}
    with pytest.raises(ValueError, match="running variance") as caught:
        jinit.initialize(KEY, tree, {"b": "zeros"})
    assert caught.value.fix == "add {'batch_stats/n/var': 'ones'}"
    rules = {"b": "zeros", "batch_stats/n/var": "ones"}
    assert jinit.initialize(KEY, tree, rules)["batch_stats"]["n"]["var"].all()


def test_the_outer_tree_of_linen_is_named_as_the_cause():
    model = LinenNormed()
    variables = model.init(KEY, X)
    layers = frameworks.layers(model, X)
    for call in (lambda tree: jinit.initialize(KEY, tree, RULES, layers=layers),
                 lambda tree: jinit.audit(tree, layers=layers)):  # fmt: skip
        with pytest.raises(ValueError, match=r"variables\['params'\]"):
            call({"params": variables["params"]})
        call(variables["params"])


@pytest.mark.slow
def test_a_model_and_a_torch_state_are_no_trees_of_arrays():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2)
    for given in (model, model.state_dict()):
        with pytest.raises(TypeError) as caught:
            jinit.initialize(KEY, given, "torch")
        assert "''" not in str(caught.value).partition("; fix")[0]
        written = caught.value.fix.rpartition("weights, ")[2]
        tree = eval(written, {"model": model})  # the fix is an expression
        layers = frameworks.layers(model)
        assert jinit.initialize(KEY, tree, "torch", host="torch", layers=layers)
    with pytest.raises(TypeError, match=r"model.init\(key, x\)\['params'\]"):
        jinit.initialize(KEY, LinenNormed(), RULES)
