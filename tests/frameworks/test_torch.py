"""Layers of torch: variances, gates, default draws, leaves that nothing describes."""

import jax
import numpy as np
import pytest
from draws import (
    DRAWS,
    SIDES,
    TOKEN,
    UNITS,
    compare,
    drawn,
    example,
    from_a_cell,
    packed,
    with_unit_variance,
)  # fmt: skip
from tiers import sample

import jinit
from jinit import frameworks, parameters

torch = pytest.importorskip("torch", reason="PyTorch layers need the extra 'bench'")
pytestmark = pytest.mark.slow
KEY = jax.random.key(0)

TORCH = {
    "dense": (lambda: torch.nn.Linear(24, 30), "dense"),
    "conv1": (lambda: torch.nn.Conv1d(40, 12, 3), "conv1"),
    "conv2": (lambda: torch.nn.Conv2d(14, 12, 3), "conv2"),
    "conv3": (lambda: torch.nn.Conv3d(9, 12, 3), "conv3"),
    "grouped": (lambda: torch.nn.Conv2d(14, 14, 3, groups=7), "conv2"),
    "depthwise": (lambda: torch.nn.Conv2d(14, 28, 3, groups=14), "conv2"),
    "transposed": (lambda: torch.nn.ConvTranspose2d(14, 12, 3), "conv2"),
    "transposed groups": (lambda: torch.nn.ConvTranspose2d(14, 12, 3, groups=2), "conv2"),
    "strided": (lambda: torch.nn.ConvTranspose2d(14, 12, 4, stride=2), "conv2"),
    "embedding": (lambda: torch.nn.Embedding(50, 64), None),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", sample(TORCH, 2))
def test_torch(name):
    make, kind = TORCH[name]
    module = make()
    x = torch.arange(50) if kind is None else torch.from_numpy(np.array(example(kind)))
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "torch")
    outputs = []
    for draw in range(DRAWS):
        state = {n: torch.from_numpy(np.array(v[draw])) for n, v in trees.items()}
        module.load_state_dict(state)
        with torch.no_grad():
            outputs.append(module(x).numpy())
    y = np.stack(outputs)
    cut = 5 if name == "strided" else 2
    with_unit_variance(
        y[..., cut:-cut, cut:-cut] if "transposed" in name or name == "strided" else y
    )


def test_what_comes_out_of_torch_attention():
    """Queries, keys and values are packed in one leaf: each has LeCun's variance of its own."""
    module = torch.nn.MultiheadAttention(32, 4, batch_first=True)
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "torch")
    x = torch.from_numpy(np.array(TOKEN))
    outputs = []
    for draw in range(DRAWS):
        module.load_state_dict({n: torch.from_numpy(np.array(v[draw])) for n, v in trees.items()})
        with torch.no_grad():
            outputs.append(module(x, x, x)[0].numpy())
    with_unit_variance(np.stack(outputs))
    packed = np.asarray(trees["in_proj_weight"])
    for block in np.split(packed, 3, axis=1):
        with_unit_variance(block * np.sqrt(32))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("side", SIDES)
def test_gates_of_torch(side):
    for kind, cell in (
        ("lstm", torch.nn.LSTMCell(UNITS, UNITS)),
        ("gru", torch.nn.GRUCell(UNITS, UNITS)),
    ):

        def run(trees, x, h, cell=cell, kind=kind):
            x, h = (torch.from_numpy(np.array(value)) for value in (x, h))
            found = []
            for draw in range(DRAWS):
                state = {n: torch.from_numpy(np.array(v[draw])) for n, v in trees.items()}
                cell.load_state_dict(state)
                with torch.no_grad():
                    out = cell(x, (h, 0 * h))[0] if kind == "lstm" else cell(x, h)
                found.append(out.numpy())
            return np.stack(found)

        layers = packed(frameworks.layers(cell), 4 if kind == "lstm" else 3)
        from_a_cell(kind, side, run, drawn(frameworks.shapes(cell), layers, "torch"))


@pytest.mark.full
def test_what_comes_out_of_torch_attention_with_separate_projections():
    """Keys and values of other sizes than the queries': three leaves instead of one."""
    module = torch.nn.MultiheadAttention(32, 4, kdim=8, vdim=48, batch_first=True)
    trees = drawn(frameworks.shapes(module), frameworks.layers(module), "torch")
    assert np.asarray(trees["k_proj_weight"]).var() == pytest.approx(1 / 8, rel=0.1)
    query, key, value = (
        torch.from_numpy(np.array(jax.random.normal(jax.random.key(5), (64, 1, size))))
        for size in (32, 8, 48)
    )
    outputs = []
    for draw in range(DRAWS):
        module.load_state_dict({n: torch.from_numpy(np.array(v[draw])) for n, v in trees.items()})
        with torch.no_grad():
            outputs.append(module(query, key, value)[0].numpy())
    with_unit_variance(np.stack(outputs))


def test_torch_attention_and_gates():
    layers = frameworks.layers(torch.nn.MultiheadAttention(8, 2))
    assert layers["in_proj_weight"].fused == (8, 8, 8)
    lstm = frameworks.layers(torch.nn.LSTM(3, 5))
    assert lstm["weight_hh_l0"].fused == (5,) * 4
    assert lstm["bias_hh_l0"].fan_in == 5


@pytest.mark.full
def test_torch_layers_with_projections_and_reparametrizations():
    lstm = torch.nn.LSTM(30, 24, proj_size=8)
    found = parameters.assign(
        frameworks.shapes(lstm), "torch", host="torch", layers=frameworks.layers(lstm)
    )
    for each in found:
        value = dict(lstm.named_parameters())[each.leaf].detach().numpy()
        assert value.std() == pytest.approx(each.stddev, rel=0.15), each.leaf
    bilinear = torch.nn.Bilinear(16, 8, 32)
    found = parameters.assign(
        frameworks.shapes(bilinear), "torch", host="torch", layers=frameworks.layers(bilinear)
    )
    assert found[0].stddev == pytest.approx((1 / 48) ** 0.5)
    normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(16, 16))
    assert frameworks.layers(normed) is not None


@pytest.mark.full
def test_default_draws_of_torch():
    torch.manual_seed(3)
    for module in (
        torch.nn.Linear(100, 2000),
        torch.nn.Conv2d(16, 64, 3, groups=4),
        torch.nn.ConvTranspose2d(16, 64, 3),
        torch.nn.Embedding(300, 40),
        torch.nn.LSTM(30, 40),
        torch.nn.GRU(30, 40),
        torch.nn.MultiheadAttention(64, 4),
        torch.nn.LayerNorm(30),
        torch.nn.LayerNorm((4, 8)),
        torch.nn.PReLU(8),
        torch.nn.MultiheadAttention(512, 4, add_bias_kv=True),
        torch.nn.Transformer(64, 2, 1, 1, 128, batch_first=True),
    ):
        real = {name: value.detach().numpy() for name, value in module.named_parameters()}
        compare(real, frameworks.layers(module), "torch")


def test_leaves_of_a_torch_module_of_ones_own_are_not_guessed():

    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = torch.nn.Linear(4, 3)
            self.position = torch.nn.Parameter(torch.zeros(1, 17, 32))

    tree, layers = frameworks.shapes(Mine()), frameworks.layers(Mine())
    assert set(layers) == {"dense.weight", "dense.bias"}
    with pytest.raises(ValueError, match=r"position.*no layer"):
        parameters.assign(tree, "torch", host="torch", layers=layers)


def test_leaves_of_a_reparametrized_torch_layer_are_its_kernel_its_norms_and_its_bias():
    normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 3))
    found = parameters.assign(
        frameworks.shapes(normed), "torch", host="torch", layers=frameworks.layers(normed)
    )
    scale, direction = (f"parametrizations.weight.original{index}" for index in (0, 1))
    rules = {each.leaf: each.rule for each in found}
    assert rules == {"bias": "torch", scale: "norm", direction: "torch"}
    assert {each.leaf: each.fan_in for each in found}["bias"] == 4


def test_a_class_that_is_derived_from_a_layer_of_torch_is_read_and_drawn_as_that_layer():
    class Encoder(torch.nn.LSTM):
        pass

    class Up(torch.nn.ConvTranspose2d):
        pass

    for derived, base in (
        (Encoder(4, 8), torch.nn.LSTM(4, 8)),
        (Up(4, 6, 3), torch.nn.ConvTranspose2d(4, 6, 3)),
    ):
        assert frameworks.layers(derived) == frameworks.layers(base)
        first, second = (
            parameters.assign(
                frameworks.shapes(m), "torch", host="torch", layers=frameworks.layers(m)
            )
            for m in (derived, base)
        )
        assert first == second


def own(*shapes):
    return [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]


def test_leaves_that_a_layer_of_torch_does_not_define_are_not_guessed():
    nn = torch.nn
    for module in (
        nn.LayerNorm(4), nn.BatchNorm1d(4), nn.PReLU(), nn.ReLU(), nn.LSTM(4, 3),
        nn.MultiheadAttention(4, 2), nn.Linear(4, 3), nn.ParameterList(own(3)), nn.ModuleList(),
    ):  # fmt: skip
        layers = frameworks.layers(module)
        for name in ("matrix", "weight_of_mine", "bias_of_mine", "my_proj_weight"):
            module.register_parameter(name, *own((5, 5)))
        assert frameworks.layers(module) == layers
        with pytest.raises(ValueError, match="no layer kind"):
            jinit.initialize(KEY, frameworks.shapes(module), "torch", host="torch", layers=layers)


def test_lists_and_dicts_of_parameters_of_torch_are_not_guessed():
    for module in (
        torch.nn.ParameterList(own((10, 10))),
        torch.nn.ParameterDict({"weight": own((10, 10))[0], "scale": own(3)[0]}),
    ):
        assert frameworks.layers(module) == {}


def test_a_pruned_leaf_of_torch_has_the_layout_of_the_leaf_before():
    from torch.nn.utils import prune

    nn = torch.nn
    for make, leaf in (
        (lambda: nn.Linear(4, 3), "weight"),
        (lambda: nn.Linear(4, 3), "bias"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), "weight"),
        (lambda: nn.LSTM(4, 3), "weight_hh_l0"),
        (lambda: nn.MultiheadAttention(4, 2), "in_proj_weight"),
        (lambda: nn.Bilinear(4, 3, 2), "weight"),
        (lambda: nn.LayerNorm(4), "weight"),
    ):
        layers = frameworks.layers(make())
        once = prune.random_unstructured(make(), leaf, 0.5)
        twice = prune.l1_unstructured(prune.random_unstructured(make(), leaf, 1), leaf, 1)
        for module in (once, twice):
            assert frameworks.layers(module) == {
                f"{name}_orig" if name == leaf else name: layout for name, layout in layers.items()
            }


def test_a_layer_of_torch_whose_kernel_is_no_parameter_is_not_guessed():
    for module, leaf in (
        (torch.nn.Linear(4, 3), "weight"),
        (torch.nn.Bilinear(4, 3, 2), "weight"),
        (torch.nn.LSTM(4, 3), "weight_hh_l0"),
        (torch.nn.MultiheadAttention(4, 2), "in_proj_weight"),
    ):
        delattr(module, leaf)
        layers = frameworks.layers(module)
        assert leaf not in layers
        assert leaf.replace("weight", "bias") not in layers
