"""Tests the optimizers against optax, their order of transforms, and the registry of optimizers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinit
from jinit.train import optimizers


def descended(transform, steps=5):
    """The point reached by some steps on (w + 0.15)², from a fixed start."""
    w = jnp.array([1.0, -2.0, 0.5])
    state = transform.init(w)
    for _ in range(steps):
        updates, state = transform.update(2 * w + 0.3, state, w)
        w = optax.apply_updates(w, updates)
    return w


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("sgd", optax.sgd(0.1)),
        ("momentum", optax.sgd(0.1, momentum=0.9)),
        ("nesterov", optax.sgd(0.1, momentum=0.9, nesterov=True)),
        ("adam", optax.adam(0.1)),
        ("adamw", optax.adamw(0.1, weight_decay=1e-4)),
        ("rmsprop", optax.rmsprop(0.1)),
    ],
)
def test_optimizers_are_optax_by_name(name, theirs):
    decay = 1e-4 if name == "adamw" else 0.0
    ours = optimizers.make(name, 0.1, weight_decay=decay)
    np.testing.assert_allclose(descended(ours), descended(theirs), rtol=1e-6)


def test_weight_decay_and_clip_order():
    w, g = jnp.array([1.0]), jnp.array([10.0])
    transform = optimizers.make(
        "sgd", 0.1, weight_decay=0.5, clip="global_norm", clip_threshold=1.0
    )
    updates, _ = transform.update(g, transform.init(w), w)
    # The gradient is clipped to 1; then the decay 0.5 w is added: −0.1 (1 + 0.5).
    np.testing.assert_allclose(updates, [-0.15], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("sdg", 0.1), "did you mean 'sgd'"),
        (("sgd", 0.0), "learning_rate: got 0.0"),
        (("sgd", float("nan")), "learning_rate: got nan"),
    ],
)
def test_bad_optimizers(arguments, match):
    with pytest.raises(ValueError, match=match):
        optimizers.make(*arguments)


@pytest.mark.parametrize("name", optimizers.names())
class TestEveryOptimizer:
    def test_minimises_a_quadratic(self, name):
        found = descended(optimizers.make(name, 0.02), steps=400)
        np.testing.assert_allclose(found, -0.15, atol=0.03)

    def test_has_a_momentum_exactly_if_its_row_says_so(self, name):
        few, many = (descended(optimizers.make(name, 0.1, momentum=m)) for m in (0.5, 0.9))
        assert bool(np.any(few != many)) is optimizers.get(name).momentum

    def test_all_numbers_may_be_traced(self, name):
        def traced(rate, momentum, decay):
            return descended(
                optimizers.make(name, rate, momentum=momentum, weight_decay=decay), steps=2
            )

        numbers = [jnp.array(pair) for pair in ((0.1, 0.01), (0.9, 0.5), (1e-3, 0.1))]
        found = jax.jit(jax.vmap(traced))(*numbers)
        for lane, row in enumerate(zip(*(pair.tolist() for pair in numbers), strict=True)):
            np.testing.assert_allclose(found[lane], traced(*row), rtol=1e-5)

    @pytest.mark.slow
    def test_trains_in_a_sweep(self, name):
        table = jinit.run(
            jinit.Grid(
                dataset="xor",
                optimizer=name,
                learning_rate=0.01,
                depth=1,
                width=8,
                steps=60,
                seeds=2,
            )
        )
        assert set(table["optimizer"]) == {name}
        assert not table["diverged"].any()
        assert (table.curves["train_loss"][:, -1] < table.curves["train_loss"][:, 0]).all()


@pytest.fixture
def registered():
    optimizers.register("lion", optax.scale_by_lion, momentum=True)
    optimizers.register("sign_sgd", optax.scale_by_sign)
    yield
    optimizers._REGISTRY.remove("lion")
    optimizers._REGISTRY.remove("sign_sgd")


@pytest.mark.slow
def test_a_registered_optimizer_works_wherever_its_name_may_stand(registered, capsys):
    from jinit.cli import main

    assert optimizers.names()[-2:] == ("lion", "sign_sgd")
    axes = {"dataset": "xor", "depth": 1, "width": 8, "steps": 40, "seeds": 2}
    grid = jinit.Grid(**axes, optimizer="lion", momentum=(0.5, 0.9), learning_rate=0.01)
    table = jinit.run(grid)
    first, second = (table.select(momentum=m)["train_loss"] for m in (0.5, 0.9))
    assert not np.any(first == second)
    with pytest.raises(ValueError, match="'sign_sgd', which has none"):
        jinit.Grid(**axes, optimizer="sign_sgd", momentum=(0.5, 0.9))
    arguments = "--dataset xor --depth 1 --steps 2 --seeds 2 --optimizer sign_sgd --json"
    assert main(["sweep", *arguments.split()]) == 0
    assert '"sign_sgd"' in capsys.readouterr().out


def test_a_taken_name_is_refused_and_the_same_optimizer_changes_nothing(registered):
    optimizers.register("lion", optax.scale_by_lion, momentum=True)
    assert optimizers.names().count("lion") == 1
    for factory, momentum in ((optax.scale_by_lion, False), (optax.trace, True)):
        with pytest.raises(ValueError, match="a name not yet taken"):
            optimizers.register("lion", factory, momentum=momentum)
    with pytest.raises(ValueError, match="a name not yet taken"):
        optimizers.register("sgd", optax.scale_by_lion)


def test_what_cannot_be_registered():
    with pytest.raises(TypeError, match="a callable"):
        optimizers.register("mine", "sgd")
    with pytest.raises(TypeError, match="momentum"):
        optimizers.register("mine", optax.trace, momentum=0.9)
    with pytest.raises(ValueError, match="an identifier"):
        optimizers.register("my own", optax.trace)
    assert "mine" not in optimizers.names()
