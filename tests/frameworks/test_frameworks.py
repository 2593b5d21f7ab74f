"""The table of frameworks: one row adds a framework, and its siblings have the same parts."""

import ast
import dataclasses
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinit
from jinit import frameworks, initializers, parameters
from jinit.frameworks import _table
from jinit.frameworks._layers import host_of

PACKAGE = Path(jinit.__file__).parent
SIBLINGS = {name: PACKAGE / "frameworks" / f"_{name}.py" for name in frameworks.names()}
X = jax.random.normal(jax.random.key(5), (6, 4))


class Affine:
    """A model of a framework that jinit does not know: y = M tanh(N x + c), M and N (out, in)."""

    def __init__(self, features):
        self.features = features

    def apply(self, params, x, tap):
        z = tap("first", x @ params["first"]["matrix"].T + params["first"]["constant"])
        return tap("last", jnp.tanh(z) @ params["last"]["matrix"].T)


def shapes(model, *inputs):
    def leaf(*shape):
        return jax.ShapeDtypeStruct(shape, "float32")

    first = {"matrix": leaf(model.features, 4), "constant": leaf(model.features)}
    return {"first": first, "last": {"matrix": leaf(3, model.features)}}


def layers(model, *inputs):
    dense = CONVENTIONS.layout("dense")
    return {
        "first/matrix": dense,
        "first/constant": frameworks.layout("bias"),
        "last/matrix": dense,
    }


def defaults(layout, name, shape):
    if layout.kind == "bias":
        return initializers.constant(0.25), layout
    return initializers.fan_in_uniform(), layout


def open_layers(model, x):
    return frameworks.Opening(shapes(model), model.apply, layouts=layers(model))


CONVENTIONS = frameworks.Conventions(
    kernel=(1, 0), channels_last=False, kernels=("matrix",), biases=("constant",)
)
TOY = frameworks.Framework(
    name="toy",
    host="toy",
    recognize=lambda model: isinstance(model, Affine),
    conventions=CONVENTIONS,
    shapes=shapes,
    layers=layers,
    open=open_layers,
    defaults=defaults,
    classes=("Affine",),
)


@pytest.fixture
def toy():
    frameworks.register(TOY)
    yield Affine(64)
    _table.remove("toy")


@pytest.mark.slow
def test_one_row_adds_a_framework(toy):
    assert frameworks.names()[-1] == frameworks.hosts()[-1] == frameworks.presets()[-1] == "toy"
    assert frameworks.get("toy") is TOY
    assert host_of(toy) == "toy"
    assert frameworks.layout("dense", "toy").out_axes == (0,)
    tree, layouts = frameworks.shapes(toy), frameworks.layers(toy)
    rules = {"*/matrix": "lecun_normal", "*": "zeros"}
    found = parameters.assign(tree, rules, host="toy", layers=layouts)
    assert [each.fan_in for each in found if each.initializer.name == "lecun_normal"] == [4, 64]
    key = jax.random.key(0)
    params = jinit.initialize(key, tree, rules, host="toy", layers=layouts)
    assert float(params["last"]["matrix"].std()) == pytest.approx(1 / 8, rel=0.15)
    assert jinit.audit(params, host="toy", layers=layouts) == []
    defaults = jinit.initialize(key, tree, "toy", host="toy", layers=layouts)
    assert float(jnp.abs(defaults["first"]["matrix"]).max()) == pytest.approx(0.5, rel=0.02)
    np.testing.assert_array_equal(defaults["first"]["constant"], 0.25)


@pytest.mark.slow
def test_a_model_of_an_added_framework_is_captured(toy):
    captured = frameworks.capture(toy, X)
    assert [layer.name for layer in captured.layers] == ["first", "last"]
    assert [layer.bias for layer in captured.layers] == ["first/constant", None]
    assert {(layer.unit_axis, layer.kernel_unit_axis) for layer in captured.layers} == {(1, 0)}
    assert captured.host == "toy"
    params = jinit.initialize(
        jax.random.key(0), captured.params, "toy", host=captured.host, layers=captured.layouts
    )
    outputs, values = captured.apply(params, X, None)
    assert outputs.shape == (6, 3)
    np.testing.assert_array_equal(outputs, values["last"])


def test_leaf_names_of_an_added_framework_are_its_own(toy):
    tree = {"matrix": jnp.ones((5, 4)), "constant": jnp.ones(5), "bias": jnp.ones((5, 4))}
    rules = {"matrix": "he_normal", "*": "zeros"}
    found = parameters.assign(tree, rules, host="toy", layers={"matrix": "dense"})
    assert {each.leaf: each.fan_in for each in found} == {"matrix": 4, "constant": 4, "bias": None}


def test_a_framework_that_is_removed_is_unknown(toy):
    _table.remove("toy")
    try:
        for listing in (frameworks.names(), frameworks.hosts(), frameworks.presets()):
            assert "toy" not in listing
        with pytest.raises(
            TypeError, match="a model of linen, nnx, haiku, equinox, keras or torch"
        ):
            host_of(toy)
        with pytest.raises(ValueError, match="use one of flax, haiku, equinox, keras, torch"):
            frameworks.layout("dense", "toy")
    finally:
        frameworks.register(TOY)


def test_taken_names_and_hosts_are_refused(toy):
    before = frameworks.names(), frameworks.presets()
    frameworks.register(TOY)
    with pytest.raises(ValueError, match="taken"):
        frameworks.register(dataclasses.replace(TOY, name="linen"))
    with pytest.raises(ValueError, match="taken"):
        frameworks.register(dataclasses.replace(TOY, name="torch", host="other"))
    with pytest.raises(ValueError, match="a new host, or the conventions and defaults of linen"):
        frameworks.register(dataclasses.replace(TOY, name="mine", host="flax"))
    with pytest.raises(TypeError, match=r"pass frameworks\.Framework"):
        frameworks.register("toy")
    with pytest.raises(ValueError, match="did you mean 'keras'"):
        frameworks.get("kears")
    assert (frameworks.names(), frameworks.presets()) == before


def test_a_framework_may_share_a_host():
    mine = dataclasses.replace(frameworks.get("linen"), name="mine")
    frameworks.register(mine)
    assert frameworks.hosts().count("flax") == 1
    _table.remove("mine")
    assert "flax" in frameworks.presets()
    with pytest.raises(ValueError, match=r"one that register\(\) added"):
        _table.remove("linen")


def test_models_without_taps_are_refused_clearly():
    closed = dataclasses.replace(TOY, open=None)
    frameworks.register(closed)
    try:
        with pytest.raises(TypeError, match=r"a toy model.*linen, nnx, haiku or equinox, or apply"):
            frameworks.capture(Affine(5), X)
    finally:
        _table.remove("toy")


def test_frameworks_of_one_host_agree():
    for name in frameworks.names():
        row = frameworks.get(name)
        assert row.name == name
        for other in map(frameworks.get, frameworks.names()):
            if other.host == row.host:
                assert other.conventions == row.conventions
                assert other.defaults is row.defaults


def top_level(path):
    return ast.parse(path.read_text()).body


@pytest.mark.parametrize("name", SIBLINGS)
def test_siblings_have_the_same_parts_in_the_same_order(name):
    order = ["recognize", "shapes", "layers", "open_layers", "defaults"]
    body = top_level(SIBLINGS[name])
    parts = [node.name for node in body if getattr(node, "name", None) in order]
    missing = {"open_layers"} if frameworks.get(name).open is None else set()
    missing |= {"defaults"} if name == "nnx" else set()  # linen's
    assert parts == [part for part in order if part not in missing]
    assert body[-1].targets[0].id == name.upper()


@pytest.mark.slow
def test_no_other_module_decides_by_the_name_of_a_framework():
    """A string that is the name of a framework or host stands in its sibling file only."""
    known = {*frameworks.names(), *frameworks.hosts()} - {"flax"}  # the default host
    functions = {path.with_stem(f"{path.stem}_functions") for path in SIBLINGS.values()}
    # The names in the help of commands are compared with the registries in a test of their own.
    lists = {PACKAGE / "frameworks" / "__init__.py", PACKAGE / "sweep" / "_names.py"}
    elsewhere = {*SIBLINGS.values(), *functions, *lists}
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value}"
        for path in PACKAGE.rglob("*.py")
        if path not in elsewhere and path.parent.name != "initializers"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in known
    ]
    assert not wrong


def test_the_known_layer_classes_exist():
    classes = {name: frameworks.get(name).classes for name in frameworks.names()}
    assert list(classes) == list(frameworks.names())
    for package, name in ((nn, "linen"), (nnx, "nnx")):
        shared = set(classes[name]) & set(dir(package))
        assert {"Conv", "ConvTranspose", "Einsum"} <= shared


@pytest.mark.slow
def test_initializers_go_into_other_peoples_layers():
    x, key = jnp.ones((1, 4)), jax.random.key(0)
    linen = nn.Dense(3, kernel_init=initializers.he_normal()).init(key, x)["params"]["kernel"]
    assert linen.shape == (4, 3)
    module = nnx.Linear(4, 3, kernel_init=initializers.orthogonal(), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(module.kernel[...].T @ module.kernel[...], np.eye(3), atol=1e-5)
    hk = pytest.importorskip("haiku")
    draw = frameworks.haiku("he_normal")
    made = hk.transform(lambda x: hk.Linear(3, w_init=draw)(x)).init(key, x)
    assert made["linear"]["w"].shape == (4, 3)


def test_keras_and_torch_models_cannot_be_captured():
    keras = pytest.importorskip("keras")
    with pytest.raises(TypeError, match="a keras model"):
        frameworks.capture(keras.layers.Dense(3), X)


class NeedsTrain(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dropout(0.1, deterministic=not train)(nn.Dense(3)(x))


@pytest.mark.parametrize("ask", [frameworks.shapes, frameworks.layers, frameworks.capture])
@pytest.mark.parametrize(
    ("model", "cause"),
    [(NeedsTrain(), "missing 1 required.*'train'"), (nn.Embed(3, 4), "must be an integer")],
)
def test_a_model_that_does_not_run_on_the_inputs_is_refused(ask, model, cause):
    with pytest.raises(ValueError, match=rf"inputs.*{ask.__name__}\(model, x\).*{cause}"):
        ask(model, jnp.ones((2, 3)))
    if isinstance(model, NeedsTrain):
        assert ask(model, jnp.ones((2, 3)), keywords={"train": False})
