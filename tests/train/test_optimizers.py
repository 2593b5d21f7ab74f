"""Tests the optimizers against optax, their order of transforms, and the registry of optimizers."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import keep

import jinit
from jinit.train import FitConfig, TrainState, fit, losses, make_train_step, optimizers
from jinit.train._muon import Matrix
from jinit.train._named import NOT_OFFERED

# The kernels of PARAMS are a matrix for Muon, attention's kernel one from 4 to 2 · 3.
PARAMS = {
    "attention": {
        "bias": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
        "kernel": np.cos(np.arange(24, dtype=np.float32)).reshape(4, 2, 3),
    },
    "hidden": {
        "bias": np.array([0.5, -0.2, 0.9, 0.1], np.float32),
        "kernel": np.sin(np.arange(12, dtype=np.float32)).reshape(3, 4),
    },
}
MATRICES = (None, Matrix((0,), (1, 2)), None, Matrix((0,), (1,)))
BIASES = (False, True, False, True)

# One of each family stands for the others in quick tests and in sweeps.
FAMILIES = ("sgd", "adam", "lars", "adafactor", "muon", "schedule_free_adamw")
QUICK = keep(optimizers.names(), lambda name, _: name in FAMILIES, pytest.mark.slow)


def slope(params, step):
    """A gradient that depends on the parameters and, as of a minibatch, on the step."""
    return jax.tree.map(lambda w: w + 0.5 * jnp.cos(7.0 * w + step), params)


def loops(update, *arguments):
    """Whether an update contains a loop, as Muon's: every call of a bare loop compiles it anew."""
    return any(one in str(jax.make_jaxpr(update)(*arguments)) for one in ("scan[", "while["))


def trained(transform, steps=6, params=PARAMS):
    """The parameters after some steps along the slopes, and the optimizer's state.

    Without a loop nothing is compiled as a whole: JAX keeps single operations for all the tests.
    """
    params = jax.tree.map(jnp.asarray, params)
    state, update = transform.init(params), transform.update
    if steps > 1 and loops(update, params, state, params):
        update = jax.jit(update)
    for step in range(steps):
        updates, state = update(slope(params, float(step)), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def made(name, rate=0.05, momentum=0.8, decay=0.02, **rest):
    numbers = {"momentum": momentum, "weight_decay": decay}
    return optimizers.make(name, rate, **numbers, matrices=MATRICES, **rest)


def muon_of_optax(rate=0.05):
    """Optax's Muon for the kernels, Adam for the biases: each of its two parts alone."""
    numbers = optax.contrib.MuonDimensionNumbers
    kinds = (None, numbers(0, (1, 2)), None, numbers(0, 1))

    def dimensions(params):
        # A masked tree has no leaves for the biases.
        kept = [kind for kind in kinds if kind is not None]
        return jax.tree.unflatten(jax.tree.structure(params), kept)

    kernels = optax.contrib.muon(
        rate, beta=0.8, weight_decay=0.02, muon_weight_dimension_numbers=dimensions
    )
    labels = jax.tree.unflatten(jax.tree.structure(PARAMS), ["b", "k", "b", "k"])
    biases = optax.adamw(rate, b1=0.8, weight_decay=0.02)
    return optax.partition({"k": kernels, "b": biases}, labels)


L2 = optax.add_decayed_weights(0.02)
THEIRS = {
    "sgd": optax.chain(L2, optax.sgd(0.05)),
    "momentum": optax.chain(optax.trace(0.8), L2, optax.scale(-0.05)),
    "nesterov": optax.chain(optax.trace(0.8, nesterov=True), L2, optax.scale(-0.05)),
    "adam": optax.adamw(0.05, b1=0.8, weight_decay=0.02),
    "adamw": optax.adamw(0.05, b1=0.8, weight_decay=0.02),
    "rmsprop": lambda decay: optax.chain(optax.rmsprop(0.05)),
    "sign_sgd": lambda decay: optax.sign_sgd(0.05),
    "signum": lambda decay: optax.signum(0.05, 0.8),
    "adagrad": lambda decay: optax.adagrad(0.05),
    "adadelta": optax.adadelta(0.05, weight_decay=0.02),
    "nadam": optax.nadamw(0.05, b1=0.8, weight_decay=0.02),
    "nadamw": optax.nadamw(0.05, b1=0.8, weight_decay=0.02),
    "adamax": optax.adamaxw(0.05, b1=0.8, weight_decay=0.02),
    "adamaxw": optax.adamaxw(0.05, b1=0.8, weight_decay=0.02),
    "amsgrad": lambda decay: optax.amsgrad(0.05, b1=0.8),
    "radam": lambda decay: optax.radam(0.05, b1=0.8),
    "adabelief": lambda decay: optax.adabelief(0.05, b1=0.8),
    "yogi": lambda decay: optax.yogi(0.05, b1=0.8),
    "adan": optax.adan(0.05, weight_decay=0.02),
    "adopt": lambda decay: optax.contrib.adopt(0.05, b1=0.8),
    "ademamix": optax.contrib.ademamix(0.05, b1=0.8, weight_decay=0.02),
    "lion": optax.lion(0.05, b1=0.8, weight_decay=0.02),
    "lamb": optax.lamb(0.05, b1=0.8, weight_decay=0.02),
    "lars": optax.lars(0.05, weight_decay=0.02, momentum=0.8),
    "novograd": optax.novograd(0.05, b1=0.8, weight_decay=0.02),
    "adafactor": optax.adafactor(0.05, weight_decay_rate=0.02 * 0.05),
    "sm3": lambda decay: optax.sm3(0.05, 0.8),
    "fromage": optax.fromage(0.05),
    "muon": muon_of_optax(),
    "schedule_free_sgd": optax.contrib.schedule_free_sgd(0.05, b1=0.8, weight_decay=0.02),
    "schedule_free_adamw": optax.contrib.schedule_free_adamw(0.05, b1=0.8, weight_decay=0.02),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
@pytest.mark.sampled(6)
def test_optimizers_are_optax_by_name(name):
    theirs = THEIRS[name]
    # Some of optax have no weight decay.
    without = not isinstance(theirs, optax.GradientTransformation)
    ours = made(name, decay=0.0 if without else 0.02)
    found = trained(ours)[0]
    exact = trained(theirs(0.0) if without else theirs)[0]
    # Muon's iteration computes each entry from a whole matrix of numbers near 1.
    nearly = {"rtol": 2e-6, "atol": 1e-6 if name == "muon" else 1e-7}
    jax.tree.map(functools.partial(np.testing.assert_allclose, **nearly), found, exact)


@pytest.mark.slow
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


@pytest.mark.slow
def test_adafactor_is_optax_where_it_factors():
    params = {"kernel": np.sin(np.arange(128 * 130, dtype=np.float32)).reshape(128, 130)}
    ours, theirs = optimizers.make("adafactor", 0.05), optax.adafactor(0.05)
    found, exact = (trained(transform, params=params)[0] for transform in (ours, theirs))
    np.testing.assert_allclose(found["kernel"], exact["kernel"], rtol=1e-5, atol=1e-6)


def differs(one, other):
    return any(
        bool(np.any(a != b))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_flags_say_which_leaves_decay(name):
    none, flagged, every = (
        trained(made(name, decay=decay, decayed=flags), steps=2)[0]
        for decay, flags in ((0.0, None), (0.5, BIASES), (0.5, None))
    )
    decays = optimizers.get(name).weight_decay
    for layer in PARAMS:
        np.testing.assert_array_equal(flagged[layer]["bias"], none[layer]["bias"])
        np.testing.assert_array_equal(flagged[layer]["kernel"], every[layer]["kernel"])
        assert differs(flagged[layer]["kernel"], none[layer]["kernel"]) is decays
        assert differs(every[layer]["bias"], none[layer]["bias"]) is decays


@pytest.mark.parametrize("name", QUICK)
class TestEveryOptimizer:
    @pytest.mark.slow
    @pytest.mark.sampled(3)
    def test_approaches_the_minimum(self, name):
        rate = {"sgd": 0.1, "adadelta": 100.0, "lars": 20.0, "sm3": 0.5, "radam": 0.3}
        rate |= {"adagrad": 0.5, "muon": 0.15, "schedule_free_sgd": 1.0, "schedule_free_adamw": 0.2}
        transform = made(name, rate.get(name, 0.03), momentum=0.8, decay=0.0)

        state = TrainState.create(jax.tree.map(jnp.asarray, PARAMS), transform)
        update = jax.jit(transform.update)
        for _ in range(60):
            gradient = jax.tree.map(lambda w: w - 0.3, state.params)
            updates, after = update(gradient, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            state = dataclasses.replace(state, params=params, opt_state=after)
        end = state.evaluated
        before, after = (
            max(float(jnp.abs(w - 0.3).max()) for w in jax.tree.leaves(tree))
            for tree in (PARAMS, end)
        )
        assert after < 0.5 * before

    @pytest.mark.parametrize("number", ["momentum", "decay"])
    @pytest.mark.sampled(3)
    def test_has_exactly_the_numbers_of_its_row(self, name, number):
        few, many = (trained(made(name, **{number: value}))[0] for value in (0.5, 0.9))
        row = {"momentum": "momentum", "decay": "weight_decay"}[number]
        assert differs(few, many) is getattr(optimizers.get(name), row)

    @pytest.mark.slow
    @pytest.mark.sampled(6)
    def test_all_numbers_may_be_traced(self, name):
        def traced(rate, momentum, decay):
            return trained(made(name, rate, momentum, decay), steps=2)[0]

        numbers = [jnp.array(pair) for pair in ((0.1, 0.01), (0.9, 0.5), (1e-3, 0.1))]
        found = jax.vmap(traced)(*numbers)
        for lane, row in enumerate(zip(*(pair.tolist() for pair in numbers), strict=True)):
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a[lane], b, rtol=1e-4, atol=1e-6),  # noqa: B023
                found,
                traced(*row),
            )

    @pytest.mark.sampled(3)
    def test_a_schedule_multiplies_the_learning_rate_of_its_step(self, name):
        constant = trained(made(name, lambda count: 0.05))[0]
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
            constant,
            trained(made(name))[0],
        )
        stopped = made(name, lambda count: jnp.where(count < 2, 0.05, 0.0))
        if name not in ("lars", "schedule_free_sgd", "schedule_free_adamw"):
            # Those three go on: their momentum or their average contains earlier steps.
            assert not differs(trained(stopped, 2)[0], trained(stopped, 6)[0])

    @pytest.mark.slow
    @pytest.mark.sampled(3)
    def test_a_gradient_of_nan_freezes_the_run_and_its_state(self, name):
        transform = made(name)

        def loss(outputs, y):
            return jnp.mean((outputs - y) ** 2)

        def apply(params, x):
            sums = [jnp.sum(jnp.cos(w)) for w in jax.tree.leaves(params)]
            return x * sum(sums)

        step = make_train_step(apply, loss, transform)
        state = TrainState.create(jax.tree.map(jnp.asarray, PARAMS), transform)
        for y in (1.0, 2.0):
            state, _ = step(state, (jnp.ones(2), jnp.full(2, y)))
        broken, _ = step(state, (jnp.ones(2), jnp.full(2, jnp.nan)))
        after, _ = step(broken, (jnp.ones(2), jnp.ones(2)))
        assert int(state.status) == 0
        assert int(after.status) == 1
        for field in ("params", "opt_state", "step"):
            jax.tree.map(
                np.testing.assert_array_equal, getattr(after, field), getattr(state, field)
            )
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(getattr(after, field)))


@pytest.mark.full
@pytest.mark.parametrize("name", keep(optimizers.names(), lambda name, _: name in FAMILIES))
def test_every_optimizer_trains_in_a_sweep(name):
    axes = {"depth": 2, "width": 8, "steps": 20, "evaluations": 3, "seeds": 2}
    rates = {"adadelta": 3.0, "lars": 3.0, "adafactor": 0.1, "adagrad": 0.1, "sm3": 0.1}
    rate = rates.get(name, 0.02)
    table = jinit.run(jinit.Grid(dataset="xor", optimizer=name, learning_rate=rate, **axes))
    assert set(table["optimizer"]) == {name}
    assert not table["diverged"].any()
    assert (table.curves["test_loss"][:, -1] < table.curves["test_loss"][:, 0]).all()


@pytest.fixture
def registered():
    optimizers.register("my_lion", optax.scale_by_lion, momentum=True)
    optimizers.register("my_sign", optax.scale_by_sign)
    yield
    optimizers._REGISTRY.remove("my_lion")
    optimizers._REGISTRY.remove("my_sign")


@pytest.mark.full
def test_a_registered_optimizer_works_wherever_its_name_may_stand(registered, capsys):
    from jinit.cli import main

    assert optimizers.names()[-2:] == ("my_lion", "my_sign")
    axes = {"dataset": "xor", "depth": 1, "width": 8, "steps": 40, "seeds": 2}
    grid = jinit.Grid(**axes, optimizer="my_lion", momentum=(0.5, 0.9), learning_rate=0.01)
    table = jinit.run(grid)
    first, second = (table.select(momentum=m)["train_loss"] for m in (0.5, 0.9))
    assert not np.any(first == second)
    with pytest.raises(ValueError, match="'my_sign', which has none"):
        jinit.Grid(**axes, optimizer="my_sign", momentum=(0.5, 0.9))
    arguments = "--dataset xor --depth 1 --steps 2 --seeds 2 --optimizer my_sign --json"
    assert main(["sweep", *arguments.split()]) == 0
    assert '"my_sign"' in capsys.readouterr().out


def test_a_taken_name_is_refused_and_the_same_optimizer_changes_nothing(registered):
    optimizers.register("my_lion", optax.scale_by_lion, momentum=True)
    assert optimizers.names().count("my_lion") == 1
    for factory, momentum in ((optax.scale_by_lion, False), (optax.trace, True)):
        with pytest.raises(ValueError, match="a name not yet taken"):
            optimizers.register("my_lion", factory, momentum=momentum)
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


@pytest.mark.parametrize("name", sorted(NOT_OFFERED))
def test_an_optimizer_that_is_not_offered_is_refused_with_the_reason(name):
    assert callable(getattr(optax.contrib, name, None) or getattr(optax, name))
    with pytest.raises(ValueError, match=f"got '?{name}.*not this one, because"):
        optimizers.get(name)


def test_every_optimizer_of_optax_is_offered_or_refused_with_a_reason():
    def makes(member):
        return inspect.isfunction(member) or isinstance(member, functools.partial)

    found = set()
    for name, alias in inspect.getmembers(optax, makes) + inspect.getmembers(optax.contrib, makes):
        parameters = inspect.signature(alias).parameters
        if "learning_rate" in parameters and not name.startswith(("scale_by_", "_")):
            found.add(name)
    assert {"adam", "muon", "rprop", "sophia"} < found
    # Wraps another optimizer.
    found.discard("schedule_free")
    assert not found - set(optimizers.names()) - set(NOT_OFFERED)


def test_numbers_that_an_optimizer_does_not_have_are_refused_in_a_grid():
    for axes, match in (
        ({"optimizer": "adafactor", "momentum": 0.5}, "'adafactor', which has none"),
        ({"optimizer": "fromage", "weight_decay": 0.1}, "'fromage', which has none"),
        ({"optimizer": ("adam", "fromage"), "weight_decay": (0.0, 0.1)}, "'fromage', which"),
        ({"optimizer": "schedule_free_sgd", "momentum": 0.0}, "which divides by it"),
        ({"weight_decay_on": "weights"}, "its default without weight decay"),
        ({"weight_decay_on": "kernels", "weight_decay": 0.1}, "all, weights"),
        ({"optimizer": "rprop"}, "the step of the call before"),
        ({"optimizer": "adamm"}, "did you mean 'adam"),
        ({"optimizer": "muon", "learning_rate": lambda step: 0.1}, "schedule="),
    ):
        with pytest.raises((ValueError, TypeError), match=match):
            jinit.Grid(**axes)


@pytest.mark.slow
def test_muon_orthogonalizes_each_block_and_each_batch_entry():
    packed = np.random.default_rng(0).standard_normal((2, 5, 7)).astype(np.float32)
    kind = Matrix((1,), (2,), (3, 4))
    transform = optimizers.make("muon", 1.0, momentum=0.0, matrices=(kind,))
    update, _ = transform.update(packed, transform.init(packed), packed)
    for entry in range(2):
        for block in (slice(0, 3), slice(3, 7)):
            # Five steps of Newton and Schulz bring singular values near 1, not to it.
            values = np.linalg.svd(update[entry, :, block], compute_uv=False)
            assert (values > 0.5).all()
            assert (values < 1.5).all()
            u, _, v = np.linalg.svd(packed[entry, :, block], full_matrices=False)
            cosine = -np.sum(update[entry, :, block] * (u @ v)) / np.linalg.norm(u @ v) ** 2
            assert cosine > 0.6


@pytest.mark.full
def test_a_schedule_free_run_is_evaluated_and_watched_at_its_average():
    xor, model = jinit.data.get("xor"), jinit.models.as_model(jinit.models.MLP((4, 1), "tanh"))
    rules = {"*kernel": "he_normal", "*": "zeros"}
    params = jinit.initialize(jax.random.key(0), model.shapes(xor.x_train[:1]), rules)
    loss = losses.get(None, "binary")
    # A clip comes first, so that the state lies deeper.
    optimizer = optimizers.make("schedule_free_sgd", 0.5, clip="global_norm")
    config = FitConfig(steps=5, evaluations=1)
    state, metrics = fit(
        params,
        xor,
        jax.random.key(1),
        apply=model.apply,
        loss=loss,
        optimizer=optimizer,
        config=config,
        watch=lambda params: params,
    )
    average = optax.contrib.schedule_free_eval_params(state.opt_state[1], state.params)
    assert differs(average, state.params)
    for found in (state.evaluated, jax.tree.map(lambda leaf: leaf[-1], metrics["watched"])):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), found, average)
    exact = loss(model.apply(average, xor.x_test), xor.y_test)
    np.testing.assert_allclose(metrics["test_loss"], exact, rtol=1e-5)


def test_muon_needs_to_know_the_matrices():
    with pytest.raises(ValueError, match="which leaves are hidden kernels"):
        optimizers.make("muon", 0.1)
    with pytest.raises(ValueError, match="one for each of the 1 leaves"):
        optimizers.make("muon", 0.1, matrices=(None, None)).init(jnp.ones(2))


@pytest.mark.parametrize("name", [{"a": None}, set(), [1], None, 5])
def test_what_is_no_name_of_an_optimizer_is_refused(name):
    with pytest.raises(ValueError, match=r"optimizer .* is not known"):
        optimizers.get(name)
