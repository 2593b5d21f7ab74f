"""Networks that start as the identity or at 0: exactly so, in any model that has the parts."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import sample

import jinit
from jinit import calibrate, frameworks
from jinit.frameworks._capture import by_path
from jinit.models import MLP, Antisymmetric, ResidualMLP, as_model
from jinit.parameters._patterns import matches

KEY = jax.random.key(5)
X = jax.random.normal(jax.random.key(1), (16, 12))
RULES = {"*/kernel": "he_normal", "*/bias": "zeros", "*/scale": "ones"}


def drawn(model, rules=RULES):
    shapes = as_model(model).shapes(X)
    used = {
        p: rule for p, rule in rules.items() if any(matches(p, leaf) for leaf in by_path(shapes))
    }
    return jinit.initialize(jax.random.key(0), shapes, used)


def stream(model, params):
    """What the output layer sees, of a network whose head is the identity."""
    eye = jnp.eye(model.width)
    params = params | {"output": {"kernel": eye, "bias": jnp.zeros(model.width)}}
    return model.apply({"params": params}, X)


@pytest.mark.full
@pytest.mark.parametrize("layers", sample([2, 3]))
def test_fixup_scales_inner_kernels_and_adds_nothing(layers):
    model = ResidualMLP(width=24, blocks=16, outputs=24, branch_layers=layers)
    params = drawn(model)
    changed, trace = jax.jit(lambda p: calibrate.fixup(KEY, model, p, X))(params)
    factor = 16 ** (-1 / (2 * layers - 2))
    for layer in range(layers - 1):
        np.testing.assert_allclose(
            changed["block_3"][f"layer_{layer}"]["kernel"],
            factor * params["block_3"][f"layer_{layer}"]["kernel"], rtol=1e-6,
        )  # fmt: skip
    assert not changed["block_3"][f"layer_{layers - 1}"]["kernel"].any()
    assert not changed["output"]["kernel"].any()
    np.testing.assert_array_equal(changed["stem"]["kernel"], params["stem"]["kernel"])
    # The stream does not grow: not nearly, exactly.
    stem = X @ params["stem"]["kernel"]
    np.testing.assert_array_equal(stream(model, changed), stem)
    assert trace.before.shape == (16,)
    assert bool((trace.before > 0).all())
    assert bool(trace.converged.all())


@pytest.mark.full
def test_fixup_takes_the_branches_of_any_model():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + nn.Dense(8, name="out")(nn.tanh(nn.Dense(8, name="in")(x)))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="head")(Block(name="b1")(Block(name="b0")(nn.Dense(8)(x))))

    model = Net()
    params = drawn(model)
    branches = [(f"b{i}/in/kernel", f"b{i}/out/kernel") for i in range(2)]
    changed, trace = calibrate.fixup(KEY, model, params, X, branches=branches)
    half = 2**-0.5
    np.testing.assert_allclose(
        changed["b1"]["in"]["kernel"], half * params["b1"]["in"]["kernel"], rtol=1e-6
    )
    assert trace.after.tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="branches of Net"):
        calibrate.fixup(KEY, model, params, X)
    with pytest.raises(ValueError, match="did you mean 'b0/out/kernel'"):
        calibrate.fixup(KEY, model, params, X, branches=[("b0/in/kernel", "b0/outs/kernel")])
    for wrong, error, message in (
        (["b0/in/kernel"], ValueError, "two or more kernels"),
        (3, TypeError, "a list of kernel paths per branch"),
        ([None], ValueError, "two or more kernels"),
        ([branches[0][::-1]], ValueError, "in the order of their calls"),
        ([branches[0], branches[0]], ValueError, "b0/in/kernel, b0/out/kernel twice"),
    ):
        with pytest.raises(error, match=message):
            calibrate.fixup(KEY, model, params, X, branches=wrong)


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("function", [calibrate.skipinit, calibrate.rezero])
def test_scalars_at_zero_leave_the_stream_alone(function):
    model = ResidualMLP(width=24, blocks=5, outputs=24)
    params = drawn(model)
    changed, trace = function(KEY, model, params, X)
    np.testing.assert_array_equal(stream(model, changed), X @ params["stem"]["kernel"])
    assert trace.before.tolist() == [1.0] * 5
    for path, leaf in by_path(params).items():
        if not path.endswith("scale"):
            np.testing.assert_array_equal(by_path(changed)[path], leaf)
    # A scalar at 0 learns: its gradient is the branch's.
    loss = lambda p: jnp.sum(model.apply({"params": p}, X) ** 2)  # noqa: E731
    assert float(jnp.abs(jax.grad(loss)(changed)["block_2"]["scale"])) > 0


def test_skipinit_leaves_vectors_alone_and_says_when_nothing_matches():
    model = MLP(features=(8, 8, 3), layer_norm=True)
    params = as_model(model).shapes(X)
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), params)
    with pytest.raises(ValueError, match="a scalar of every branch"):
        calibrate.skipinit(KEY, model, params, X)


@pytest.mark.full
@pytest.mark.parametrize(
    "inner", sample([MLP(features=(16, 16, 3), activation="tanh"), ResidualMLP(8, 2, 3)])
)
def test_an_antisymmetric_network_starts_at_zero_with_the_same_tangent_kernel(inner):
    model = Antisymmetric(inner)
    params = drawn(model)
    assert float(jnp.abs(model.apply({"params": params}, X)).max()) > 0.1
    changed, trace = calibrate.antisymmetric(KEY, model, params, X)
    assert not np.asarray(model.apply({"params": changed}, 3 * X)).any()
    assert bool(trace.converged.all())
    assert float(trace.before[0]) > 0

    def kernel(apply, params):
        slopes = by_path(jax.jacobian(lambda p: apply({"params": p}, X[:4]).ravel())(params))
        flat = [leaf.reshape(12, -1) for leaf in slopes.values()]
        return sum(leaf @ leaf.T for leaf in flat)

    single = kernel(inner.apply, changed["plus"])
    np.testing.assert_allclose(kernel(model.apply, changed), single, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="plus and minus"):
        calibrate.antisymmetric(KEY, inner, params["plus"], X)


@pytest.mark.slow
def test_antisymmetric_copies_in_trees_of_other_frameworks():
    hk, eqx = pytest.importorskip("haiku"), pytest.importorskip("equinox")

    def doubled(x):
        plus, minus = hk.Linear(3, name="plus"), hk.Linear(3, name="minus")
        return plus(x) - minus(x)

    class Doubled(eqx.Module):
        plus: eqx.nn.Linear
        minus: eqx.nn.Linear

        def __call__(self, x):
            return self.plus(x) - self.minus(x)

    features = X.shape[-1]
    keys = jax.random.split(KEY)
    pair = Doubled(*(eqx.nn.Linear(features, 3, key=key) for key in keys))
    haiku = hk.transform(doubled)
    cases = ((haiku, haiku.init(KEY, X)), (pair, eqx.filter(pair, eqx.is_inexact_array)))
    for model, params in cases:
        _, trace = calibrate.antisymmetric(KEY, model, params, X)
        assert float(trace.before[0]) > 0.01
        assert trace.after.tolist() == [0.0]
    with pytest.raises(ValueError, match="NaN or inf"):
        calibrate.antisymmetric(KEY, *cases[0], X * jnp.nan)


@pytest.mark.slow
def test_within_layer_is_weight_normalization_from_data():
    """Salimans & Kingma 2016, equation 6, layer after layer: z = g v·h/|v| + b."""
    model = MLP(features=(10, 10, 3), activation="tanh")
    params = drawn(model, {"*/kernel": "normal(0.05)", "*/bias": "zeros"})
    h, expected = np.asarray(X, np.float64), []
    for name in ("hidden_0", "hidden_1", "output"):
        v = np.asarray(params[name]["kernel"], np.float64)
        t = h @ (v / np.linalg.norm(v, axis=0))
        gain, bias = 1 / t.std(0), -t.mean(0) / t.std(0)
        expected.append(gain * t + bias)
        h = np.tanh(expected[-1])
    changed, _ = calibrate.within_layer(KEY, model, params, X)
    outputs = model.apply({"params": changed}, X)
    np.testing.assert_allclose(outputs, expected[-1], atol=1e-4)
    values = frameworks.capture(model, X).apply(changed, X, None)[1]
    np.testing.assert_allclose(values["hidden_0"], expected[0], atol=1e-5)
