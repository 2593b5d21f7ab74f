"""Weight norm and spectral norm: a drawn σ reaches the function, or the rule is refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinit
from jinit import frameworks
from jinit.frameworks._paths import path_of
from jinit.parameters._patterns import matches

KEY = jax.random.key(2)
X = jnp.eye(64)
RULES = {"*kernel": "normal(0.5)", "*weight*": "normal(0.5)", "*bias": "zeros"}


def used(tree):
    """The rules that match a leaf: a rule without a leaf is refused."""
    paths = [path_of(p) for p, _ in jax.tree_util.tree_leaves_with_path(tree)]
    return {
        pattern: rule
        for pattern, rule in RULES.items()
        if any(matches(pattern, path) for path in paths)
    }


def draw(model, *inputs, host="flax", rules=None):
    shapes, layers = frameworks.shapes(model, *inputs), frameworks.layers(model, *inputs)
    rules = used(shapes) if rules is None else rules
    return jinit.initialize(KEY, shapes, rules, host=host, layers=layers)


def has_sigma(outputs):
    """On the identity the outputs are the effective kernel, with 64 · 128 independent entries."""
    assert float(np.std(outputs)) == pytest.approx(0.5, rel=6 / np.sqrt(2 * 64 * 128))


@pytest.mark.slow
@pytest.mark.parametrize("axes", [-1, None, (-2, -1)])
def test_the_kernel_under_weight_norm_of_linen_is_the_drawn_one(axes):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.WeightNorm(nn.Dense(128, name="fc"), feature_axes=axes)(x)

    params = draw(Net(), X)
    outputs = Net().apply({"params": params}, X)
    has_sigma(outputs)
    np.testing.assert_allclose(outputs, params["fc"]["kernel"], atol=2e-6)
    # The preset reproduces Flax, whose scales start at 1.
    preset = draw(Net(), X, rules="flax")
    assert np.all(np.asarray(preset["WeightNorm_0"]["fc/kernel/scale"]) == 1)


@pytest.mark.full
def test_the_kernel_under_weight_norm_of_equinox_is_the_drawn_one():
    eqx = pytest.importorskip("equinox")
    for axis in (0, 1, None):
        linear = eqx.nn.Linear(64, 128, key=KEY)
        model = [eqx.nn.WeightNorm(linear, axis=axis)]
        for rules in (None, "equinox"):
            made = eqx.combine(draw(model[0], host="equinox", rules=rules), model[0])
            outputs = jax.vmap(eqx.tree_at(lambda m: m.layer.bias, made, jnp.zeros(128)))(X)
            np.testing.assert_allclose(outputs, made.layer.weight.T, atol=2e-6)
            if rules is None:
                has_sigma(outputs)


def torch_models():
    torch = pytest.importorskip("torch")
    norms = torch.nn.utils
    linear = lambda: torch.nn.Linear(64, 128)  # noqa: E731
    for dim in (0, 1, None):
        yield norms.parametrizations.weight_norm(linear(), dim=dim)
        yield norms.weight_norm(linear(), dim=dim)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_the_kernel_under_weight_norm_of_torch_is_the_drawn_one():
    torch = pytest.importorskip("torch")
    for model in torch_models():
        for rules in ({"*bias": "zeros", "*original1": "normal(0.5)"}, "torch"):
            if rules != "torch" and hasattr(model, "weight_v"):
                rules = {"*bias": "zeros", "*weight_v": "normal(0.5)"}
            params = draw(model, host="torch", rules=rules)
            state = {name: torch.from_numpy(np.array(leaf)) for name, leaf in params.items()}
            model.load_state_dict(state)
            outputs = (model(torch.eye(64)) - model.bias).detach().numpy()
            direction = next(v for k, v in params.items() if k.endswith(("original1", "weight_v")))
            np.testing.assert_allclose(outputs, np.asarray(direction).T, atol=2e-6)
            if rules != "torch":
                has_sigma(outputs)
            else:
                assert np.abs(outputs).max() == pytest.approx(1 / 8, rel=0.01)


def spectral_models():
    eqx, torch = pytest.importorskip("equinox"), pytest.importorskip("torch")
    norms = torch.nn.utils
    model, _ = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(
        eqx.nn.Linear(4, 3, key=KEY), "weight", key=KEY
    )
    yield model, (), "equinox", "layer/weight"
    original = "parametrizations.weight.original"
    yield norms.parametrizations.spectral_norm(torch.nn.Linear(4, 3)), (), "torch", original
    yield norms.spectral_norm(torch.nn.Linear(4, 3)), (), "torch", "weight_orig"
    rngs = nnx.Rngs(0)
    linear = lambda: nnx.Linear(4, 3, rngs=rngs)  # noqa: E731
    yield nnx.SpectralNorm(linear(), rngs=rngs), (), "flax", "layer_instance/kernel"
    yield nnx.WeightNorm(linear(), rngs=rngs), (), "flax", "layer_instance/kernel"

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.SpectralNorm(nn.Dense(3, name="fc"))(x, update_stats=False)

    yield Net(), (jnp.ones((1, 4)),), "flax", "fc/kernel"

    class Unscaled(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.WeightNorm(nn.Dense(3, name="fc"), use_scale=False)(x)

    yield Unscaled(), (jnp.ones((1, 4)),), "flax", "fc/kernel"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
def test_a_sigma_that_the_layer_divides_out_is_refused_and_the_preset_is_not():
    for model, inputs, host, kernel in spectral_models():
        with pytest.raises(ValueError, match=f"(?s){kernel}.*no effect.*'keep'"):
            draw(model, *inputs, host=host, rules={"*bias": "zeros", "*": "he_normal"})
        assert len(jax.tree.leaves(draw(model, *inputs, host=host, rules=host))) == 2


def test_what_another_parametrization_makes_of_a_draw_is_not_guessed():
    torch = pytest.importorskip("torch")
    model = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(4, 4))
    for rules in ("torch", {"*bias": "zeros", "*": "he_normal"}):
        with pytest.raises(ValueError, match=r"parametrizations\.weight\.original"):
            draw(model, host="torch", rules=rules)


@pytest.mark.slow
def test_a_rule_for_a_scale_that_would_undo_the_draw_is_refused_and_its_fix_works():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.WeightNorm(eqx.nn.Linear(4, 3, key=KEY))
    rules = {"*weight": "normal(0.5)", "*": "zeros"}
    with pytest.raises(ValueError, match=r"put \{'g': 'norm'\} before '\*'"):
        draw(model, host="equinox", rules=rules)
    made = draw(model, host="equinox", rules={"g": "norm"} | rules)
    np.testing.assert_allclose(made.g[:, 0], np.linalg.norm(made.layer.weight, axis=1), rtol=1e-6)
    with pytest.raises(ValueError, match="only the scale of a weight norm"):
        jinit.initialize(KEY, {"kernel": jnp.ones((2, 2))}, {"kernel": "norm"})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_any_parameter_of_a_torch_layer_may_be_reparametrized():
    torch = pytest.importorskip("torch")
    norms, nn = torch.nn.utils, torch.nn
    stem = "parametrizations.weight_hh_l0.original"
    names = {"bias_ih_l0", "bias_hh_l0", "weight_ih_l0"}
    rules = {"weight_ih*": "he_normal", "bias*": "zeros", "*weight_hh*": "orthogonal"}
    models = (
        (norms.parametrizations.weight_norm(nn.LSTM(4, 8), "weight_hh_l0"), f"{stem}0", f"{stem}1"),
        (norms.weight_norm(nn.LSTM(4, 8), "weight_hh_l0"), "weight_hh_l0_g", "weight_hh_l0_v"),
    )
    for model, scale, kernel in models:
        layers = frameworks.layers(model)
        assert set(layers) == names | {scale, kernel}
        assert (layers[kernel].kind, layers[kernel].fused) == ("recurrent", (8,) * 4)
        drawn = draw(model, host="torch", rules={scale: "norm"} | rules)
        model.load_state_dict({name: torch.tensor(np.asarray(v)) for name, v in drawn.items()})
        model(torch.zeros(1, 1, 4))  # a hook computes the weight at every call
        gates = model.weight_hh_l0.detach().numpy().reshape(4, 8, 8)
        np.testing.assert_allclose(gates @ gates.transpose(0, 2, 1), [np.eye(8)] * 4, atol=1e-5)
        assert np.abs(draw(model, host="torch", rules="torch")[kernel]).max() <= 8**-0.5
    model = norms.parametrizations.orthogonal(nn.LSTM(4, 8), "weight_hh_l0")
    with pytest.raises(ValueError, match=rf"{stem}.*no layer kind"):
        draw(model, host="torch", rules="torch")
    model = norms.parametrizations.weight_norm(nn.MultiheadAttention(8, 2), "in_proj_weight")
    assert frameworks.layers(model)["parametrizations.in_proj_weight.original1"].fused == (8,) * 3
    assert frameworks.layers(model)["in_proj_bias"].fan_in == 8


@pytest.mark.filterwarnings("ignore:.*_norm.*:FutureWarning")
def test_a_parameter_of_a_module_of_ones_own_may_be_reparametrized():
    torch = pytest.importorskip("torch")

    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(6, 4))

        def forward(self):
            return self.w

    norms, stem = torch.nn.utils, "parametrizations.w.original"
    for model, scale, direction in (
        (norms.parametrizations.weight_norm(Mine(), "w"), f"{stem}0", f"{stem}1"),
        (norms.weight_norm(Mine(), "w"), "w_g", "w_v"),
    ):
        rules = {direction: "normal(0.5)"}
        with pytest.raises(ValueError, match=f"(?s){scale}.*'norm'"):
            draw(model, host="torch", rules={scale: "ones"} | rules)
        drawn = draw(model, host="torch", rules=rules)
        model.load_state_dict({name: torch.tensor(np.asarray(v)) for name, v in drawn.items()})
        np.testing.assert_allclose(model().detach().numpy(), drawn[direction], atol=1e-6)
    for model, leaf in (
        (norms.parametrizations.spectral_norm(Mine(), "w"), stem),
        (norms.spectral_norm(Mine(), "w"), "w_orig"),
        (norms.parametrizations.orthogonal(Mine(), "w"), stem),
    ):
        with pytest.raises(ValueError, match=f"{leaf}.*no effect"):
            draw(model, host="torch", rules={"*": "normal(0.5)"})
