"""Kernels that several layers share: one scale for all of them, and one entry of the trace."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinit import calibrate, frameworks, theory
from jinit.probes import cross_entropy, random_projection

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (64, 16))


class Again(nn.Module):
    """``same`` is called behind tanh, then behind ReLU several times."""

    calls: int = 3

    @nn.compact
    def __call__(self, x):
        x, same = nn.tanh(nn.Dense(32, name="first")(x)), nn.Dense(32, name="same")
        for _ in range(self.calls):
            x = nn.relu(same(x))
        return nn.Dense(4, name="last")(x)


def drawn(model, scale=1.0):
    return jax.tree.map(lambda w: scale * w, model.init(KEY, X)["params"])


def together(model, params):
    """z of ``same``, all its calls above one another, ``(calls · batch, units)``."""
    values = frameworks.capture(model, X).apply(params, X, None)[1]
    return np.concatenate([z for name, z in values.items() if name.startswith("same")])


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("calls", [2, 8])
@pytest.mark.sampled(6)
def test_lsuv_sets_the_variance_over_all_calls(calls, scale):
    """Whole steps overshoot by what the kernel does to its own input, and never arrive."""
    model = Again(calls)
    changed, trace = calibrate.lsuv(KEY, model, drawn(model, scale), X)
    assert trace.after.shape == (3,)
    assert bool(trace.converged.all())
    variance = together(model, changed).var()
    assert variance == pytest.approx(float(trace.after[1]), rel=1e-4)
    assert variance == pytest.approx(1.0, abs=0.1)


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("calls", [2, 8])
def test_within_layer_standardizes_units_over_all_calls(calls):
    model = Again(calls)
    changed, trace = calibrate.within_layer(KEY, model, drawn(model), X, iterations=30)
    assert trace.after.shape == (3,)
    assert bool(trace.converged.all())
    z = together(model, changed)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(z.std(0), 1, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1, 2])
def test_units_that_vary_from_call_to_call_alone_keep_their_kernel(calls):
    model = Again(calls)
    changed, trace = calibrate.within_layer(KEY, model, drawn(model), jnp.ones((64, 16)))
    assert not trace.converged.any()
    jax.tree.map(
        np.testing.assert_array_equal,
        *[{name: p[name]["kernel"] for name in p} for p in (changed, drawn(model))],
    )


@pytest.mark.slow
def test_between_layers_gives_each_kernel_one_rate_and_keeps_the_size():
    """Π r over the layers is 1: a positively homogeneous function without biases stays."""

    class Bare(nn.Module):
        @nn.compact
        def __call__(self, x):
            same = nn.Dense(32, use_bias=False, name="same")
            x = nn.relu(nn.Dense(32, use_bias=False, name="first")(x))
            return nn.Dense(4, use_bias=False, name="last")(nn.relu(same(nn.relu(same(x)))))

    model, loss = Bare(), random_projection(KEY)
    params = drawn(model)
    changed, trace = calibrate.between_layers(KEY, model, params, X)
    assert bool(trace.converged.all())
    slopes = jax.grad(lambda p: loss(model.apply({"params": p}, X)))(changed)
    rates = [
        float(jnp.linalg.norm(slopes[name]["kernel"]) / jnp.linalg.norm(changed[name]["kernel"]))
        for name in ("first", "same", "last")
    ]
    np.testing.assert_allclose(rates, trace.after, rtol=1e-4)
    assert max(rates) < 1.05 * min(rates)
    before, after = (model.apply({"params": p}, X) for p in (params, changed))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-5)


@pytest.mark.full
def test_analytic_gives_the_mean_over_calls_the_target():
    """``same`` gets tanh's moment once and ReLU's once: E z² = 32 E W² · their mean."""
    model = Again(2)
    changed, trace = calibrate.analytic(KEY, model, drawn(model), X, draws=4096)
    assert bool(trace.converged.all())
    entering = [float(theory.moments(name, 1.0).second) for name in ("tanh", "relu")]
    square = float(jnp.mean(jnp.square(changed["same"]["kernel"])))
    assert 32 * square * np.mean(entering) == pytest.approx(1.0, rel=0.02)


class Squashed(nn.Module):
    """A layer that is not linear in its kernel."""

    @nn.compact
    def __call__(self, x):
        return x @ jnp.tanh(self.param("kernel", nn.initializers.normal(1.0), (16, 16)))


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.full
def test_analytic_tells_what_is_linear_in_a_shared_kernel(calls):
    """Of any size of inputs; what is not linear stays as it is, as where nothing is shared."""

    class Net(nn.Module):
        layer: type = Squashed

        @nn.compact
        def __call__(self, x):
            same = self.layer(name="same")
            for _ in range(calls):
                x = jnp.tanh(same(x))
            return nn.Dense(4, name="last")(x)

    params = drawn(Net())
    changed, trace = calibrate.analytic(KEY, Net(), params, X)
    np.testing.assert_array_equal(trace.converged, [False, True])
    assert np.isnan(trace.after[0])
    np.testing.assert_array_equal(changed["same"]["kernel"], params["same"]["kernel"])
    linear = Net(layer=lambda **named: nn.Dense(16, **named))
    _, trace = calibrate.analytic(KEY, linear, drawn(linear), 255 * X)
    assert bool(trace.converged.all())


@pytest.mark.full
def test_learnt_norms_take_a_shared_kernel_once():
    model = Again()
    _, trace = calibrate.metainit(KEY, model, drawn(model, 3.0), X)
    assert bool(trace.converged.all())
    loss = cross_entropy(jnp.arange(64) % 4)
    changed, trace = calibrate.gradinit(KEY, model, drawn(model, 3.0), X, loss)
    assert float(trace.after[0]) < float(trace.before[0])
    ratio = changed["same"]["kernel"] / drawn(model, 3.0)["same"]["kernel"]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)


@pytest.mark.slow
def test_output_bias_wants_an_output_layer_of_its_own():
    class Last(nn.Module):
        @nn.compact
        def __call__(self, x):
            same = nn.Dense(16)
            return same(nn.relu(same(x)))

    labels = jnp.arange(64) % 4
    _, trace = calibrate.output_bias(KEY, Again(), drawn(Again()), X, labels)
    assert bool(trace.converged.all())
    with pytest.raises(ValueError, match="its own kernel and biases"):
        calibrate.output_bias(KEY, Last(), drawn(Last()), X, labels)
    with pytest.raises(ValueError, match="its own kernel"):
        calibrate.fixup(KEY, Last(), drawn(Last()), X, branches=[("Dense_0/kernel",) * 2])


@pytest.mark.slow
def test_arrays_tied_by_other_means_than_a_module_are_refused():
    """Only one of two nnx modules would be seen; Equinox keeps a placeholder."""
    nnx, eqx = pytest.importorskip("flax.nnx"), pytest.importorskip("equinox")

    class Assigned(nnx.Module):
        def __init__(self, rngs):
            self.a, self.b = (nnx.Linear(16, 16, rngs=rngs) for _ in range(2))
            self.b.kernel = self.a.kernel

        def __call__(self, x):
            return self.b(nnx.relu(self.a(x)))

    with pytest.raises(ValueError, match="one kernel in a and b'; allowed: a kernel for each"):
        frameworks.capture(Assigned(nnx.Rngs(0)), X)

    class Placeholder(eqx.Module):
        both: eqx.nn.Shared

        def __init__(self):
            layers = tuple(eqx.nn.Linear(16, 16, key=KEY) for _ in range(2))
            self.both = eqx.nn.Shared(
                layers, lambda pair: pair[1].weight, lambda pair: pair[0].weight
            )

        def __call__(self, x):
            first, second = self.both()
            return second(jax.nn.relu(first(x)))

    with pytest.raises(ValueError, match=r"got 'equinox.nn.Shared'; allowed: layers with arrays"):
        frameworks.capture(Placeholder(), X)
