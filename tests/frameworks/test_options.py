"""Models that are boxed, abstract, lazy or called with flags; layers with options of their own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import compare
from flax import nnx

import jinit
from jinit import frameworks, parameters
from jinit.frameworks import _keras

KEY = jax.random.key(6)


@pytest.mark.slow
@pytest.mark.parametrize("box", [nn.with_partitioning, nn.with_logical_partitioning])
def test_boxed_kernels_have_the_fans_of_their_layer(box):
    lecun = nn.initializers.lecun_normal()

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(16, kernel_init=box(lecun, ("embed", "mlp")), name="fc")(x), None

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x, _ = nn.scan(
                Scanned,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=3,
                metadata_params={nn.PARTITION_NAME: "layers"},
            )(name="stack")(x, None)
            init = box(lecun, ("mlp", "heads", "kv"))
            return nn.DenseGeneral((4, 8), kernel_init=init, name="q")(x)

    x = jnp.zeros((2, 16))
    shapes, layers = frameworks.shapes(Net(), x), frameworks.layers(Net(), x)
    rules = {"*kernel": "he_normal", "*bias": "zeros"}
    found = {a.leaf: a.fan_in for a in parameters.assign(shapes, rules, layers=layers)}
    assert found["stack/fc/kernel"] == found["q/kernel"] == 16
    made = jinit.initialize(KEY, shapes, rules, layers=layers)
    assert jax.tree.structure(made) == jax.tree.structure(shapes)
    captured = frameworks.capture(nn.Dense(3, kernel_init=box(lecun, ("a", "b"))), x)
    assert [layer.kernel for layer in captured.layers] == ["kernel"]


@pytest.mark.slow
def test_abstract_models_are_drawn_like_real_ones():
    eqx = pytest.importorskip("equinox")

    def build(key):
        return eqx.nn.MLP(4, 3, 8, 2, key=key)

    real, abstract = build(KEY), eqx.filter_eval_shape(build, KEY)
    trees = [
        jinit.initialize(
            KEY, frameworks.shapes(m), "equinox", host="equinox", layers=frameworks.layers(m)
        )
        for m in (real, abstract)
    ]
    for one, other in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(jax.tree.leaves(trees[1])) == 6
    linear = nnx.eval_shape(lambda: nnx.Linear(4, 8, rngs=nnx.Rngs(0)))
    layers = frameworks.layers(linear)
    assert (
        len(
            jax.tree.leaves(jinit.initialize(KEY, frameworks.shapes(linear), "flax", layers=layers))
        )
        == 2
    )


def test_models_without_parameters_are_refused_with_a_fix():
    torch, eqx = pytest.importorskip("torch"), pytest.importorskip("equinox")
    lazy = torch.nn.Sequential(torch.nn.LazyLinear(8))
    for read in (frameworks.shapes, frameworks.layers):
        with pytest.raises(ValueError, match=r"'0\.weight'.*call the model once"):
            read(lazy)
    lazy(torch.ones(1, 3))
    assert frameworks.shapes(lazy)["0.weight"].shape == (8, 3)
    for model in (torch.nn.ReLU(), eqx.nn.Lambda(jnp.tanh)):
        with pytest.raises(ValueError, match="no parameters"):
            frameworks.shapes(model)
    with pytest.raises(ValueError, match="no parameters"):
        frameworks.shapes(nn.Sequential([jnp.tanh]), jnp.ones(3))


@pytest.mark.slow
def test_keras_models_that_are_not_built_or_repeat_a_path_are_refused():
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(2)])
    for read in (frameworks.shapes, frameworks.layers):
        with pytest.raises(ValueError, match=r"not built.*model\.build"):
            read(model)
    model.build((None, 4))
    assert len(frameworks.shapes(model)) == 4

    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.a = keras.layers.Dense(3, name="same")
            self.b = keras.layers.Dense(3, name="same")

        def call(self, x):
            return self.b(self.a(x))

    twice = Twice()
    twice(np.ones((1, 3), "float32"))
    with pytest.raises(ValueError, match=r"two variables with one path.*name="):
        frameworks.shapes(twice)


@pytest.mark.slow
def test_required_flags_of_a_call_are_keywords():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, mask, *, train: bool):
            x = nn.Dense(8, name="a")(x) * mask
            return nn.Dense(3, name="b")(nn.Dropout(0.5, deterministic=not train)(x))

    x = jnp.ones((2, 4))
    keywords = {"train": False, "mask": jnp.ones(8)}
    assert set(frameworks.layers(Net(), x, keywords=keywords)) >= {"a/kernel", "b/kernel"}
    assert frameworks.shapes(Net(), x, keywords=keywords)["b"]["kernel"].shape == (8, 3)
    captured = frameworks.capture(Net(), x, keywords=keywords)
    assert [layer.name for layer in captured.layers] == ["a", "b"]
    with pytest.raises(ValueError, match=r"keywords=\{'train': False\}"):
        frameworks.layers(Net(), x)
    with pytest.raises(ValueError, match="no keywords"):
        frameworks.layers(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), keywords={"train": False})
    with pytest.raises(TypeError, match="a mapping"):
        frameworks.layers(Net(), x, keywords=[True])
    with pytest.raises(ValueError, match="plain apply"):
        frameworks.capture(lambda p, x, tap: x, x, {}, keywords={"train": False})

    class Nnx(nnx.Module):
        def __init__(self):
            self.a = nnx.Linear(4, 3, rngs=nnx.Rngs(0))

        def __call__(self, x, *, deterministic):
            return self.a(x) if deterministic else x

    assert len(frameworks.capture(Nnx(), x, keywords={"deterministic": True}).layers) == 1
    hk = pytest.importorskip("haiku")
    model = hk.without_apply_rng(hk.transform(lambda x, is_training: hk.Linear(3)(x)))
    flag = {"is_training": False}
    assert set(frameworks.layers(model, x, keywords=flag)) == {"linear/w", "linear/b"}
    assert len(frameworks.capture(model, x, keywords=flag).layers) == 1
    eqx = pytest.importorskip("equinox")
    linear = eqx.nn.Linear(4, 3, key=KEY)
    assert len(frameworks.capture(linear, x, keywords={"key": None}).layers) == 1


@pytest.mark.slow
def test_the_padding_row_of_torch_is_zero_in_every_draw():
    torch = pytest.importorskip("torch")
    for kind in (torch.nn.Embedding, torch.nn.EmbeddingBag):
        layer = kind(60, 40, padding_idx=-2)
        layers, shapes = frameworks.layers(layer), frameworks.shapes(layer)
        for rules in ("torch", {"weight": "normal(0.02)"}):
            drawn = np.asarray(
                jinit.initialize(KEY, shapes, rules, host="torch", layers=layers)["weight"]
            )
            assert np.flatnonzero(~drawn.any(axis=1)).tolist() == [58]
        compare({"weight": layer.weight.detach().numpy()}, layers, "torch")
    assert frameworks.layers(torch.nn.Embedding(5, 2))["weight"].padding is None


def test_slopes_start_from_the_layer_s_own_option():
    torch = pytest.importorskip("torch")
    layer = torch.nn.PReLU(4, init=0.125)
    drawn = jinit.initialize(
        KEY, frameworks.shapes(layer), "torch", host="torch", layers=frameworks.layers(layer)
    )
    np.testing.assert_array_equal(drawn["weight"], layer.weight.detach().numpy())
    for model in (nn.PReLU(), nn.PReLU(negative_slope_init=0.5)):
        x = jnp.ones((1, 2))
        made = jinit.initialize(
            KEY, frameworks.shapes(model, x), "flax", layers=frameworks.layers(model, x)
        )
        assert float(made["negative_slope"]) == model.init(KEY, x)["params"]["negative_slope"]


def test_a_slope_without_an_option_starts_from_its_value():
    eqx = pytest.importorskip("equinox")
    stack = nnx.vmap(lambda _: nnx.PReLU(0.3))(jnp.arange(3))
    for model, host, slope in (
        (nnx.PReLU(0.3), "flax", 0.3),
        (stack, "flax", [0.3] * 3),
        (eqx.nn.PReLU(0.1), "equinox", 0.1),
        (eqx.nn.PReLU(jnp.full(4, 0.1)), "equinox", [0.1] * 4),
    ):
        layers = frameworks.layers(model)
        drawn = jinit.initialize(KEY, frameworks.shapes(model), host, host=host, layers=layers)
        np.testing.assert_array_equal(jax.tree.leaves(drawn)[0], np.float32(slope))


def test_a_preset_for_a_slope_that_nothing_shows_is_refused():
    eqx = pytest.importorskip("equinox")
    for model, host, default in (
        (nnx.eval_shape(lambda: nnx.PReLU(0.3)), "flax", 0.01),
        (eqx.filter_eval_shape(eqx.nn.PReLU, 0.1), "equinox", 0.25),
        (eqx.nn.PReLU(jnp.array([0.1, 0.2])), "equinox", 0.25),
    ):
        shapes, layers = frameworks.shapes(model), frameworks.layers(model)
        with pytest.raises(ValueError, match=r"negative_slope.*no layer kind.*'vector'"):
            jinit.initialize(KEY, shapes, host, host=host, layers=layers)
        for rules, given, slope in (
            ({"*": "constant(0.5)"}, layers, 0.5),
            (host, {"negative_slope": "vector"}, default),
        ):
            drawn = jinit.initialize(KEY, shapes, rules, host=host, layers=given)
            assert np.all(jax.tree.leaves(drawn)[0] == np.float32(slope))


@pytest.mark.slow
def test_lora_starts_as_the_layer_it_adapts():
    for model in (
        nnx.LoRALinear(64, 400, lora_rank=48, rngs=nnx.Rngs(0)),
        nnx.LoRA(64, 48, 400, base_module=nnx.Linear(64, 400, rngs=nnx.Rngs(1)), rngs=nnx.Rngs(0)),
    ):
        layers = frameworks.layers(model)
        compare(nnx.state(model, nnx.Param), layers, "flax")
        (second,) = [path for path in layers if path.endswith("lora_b")]
        assert layers[second].fans((48, 400)).fan_in == 48


@pytest.mark.full
def test_default_draws_of_keras_layers_with_options():
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(3)
    batch = (1, 5, 128)
    for layer, shapes in (
        (keras.layers.EinsumDense("abc,bcd->abd", (8, 64)), [(1, 8, 32)]),
        (keras.layers.MultiHeadAttention(8, 64), [batch, batch]),
        (keras.layers.GroupQueryAttention(64, 8, 4), [batch, batch]),
        (keras.layers.PReLU(), [(1, 30)]),
        (keras.layers.ConvLSTM2D(16, 3), [(1, 3, 8, 8, 16)]),
        (keras.layers.LSTM(40, unit_forget_bias=False), [(1, 5, 30)]),
    ):
        layer.build(*shapes)
        real = {v.path: np.asarray(v.value) for v in layer.trainable_variables}
        compare(real, frameworks.layers(layer), "keras")
    for layer, shape in (
        (keras.layers.Dense(64), (1, 64)),
        (keras.layers.EinsumDense("abc,cde->abde", (None, 50, 60)), (1, 4, 100)),
        (keras.layers.Conv2D(64, 3), (1, 8, 8, 32)),
        (keras.layers.Embedding(64, 32), (1, 8)),
    ):
        layer.build(shape)
        layer.enable_lora(64)
        real = {v.path: np.asarray(v.value) for v in layer.trainable_variables}
        assert len(real) >= 2
        compare(real, frameworks.layers(layer), "keras")


@pytest.mark.slow
def test_our_initializers_in_einsum_dense_have_the_fans_of_the_installed_keras():
    keras = pytest.importorskip("keras")
    for mine, theirs in (("he_normal", "he_normal"), ("glorot_uniform", "glorot_uniform")):
        for equation, out, shape in (
            ("abc,cde->abde", (None, 50, 60), (1, 4, 100)),
            ("abc,bcd->abd", (8, 64), (1, 8, 100)),
        ):
            made = []
            for init in (frameworks.keras(mine, seed=1), theirs):
                layer = keras.layers.EinsumDense(equation, out, kernel_initializer=init)
                layer.build(shape)
                made.append(np.std(layer.kernel))
            assert made[0] == pytest.approx(made[1], rel=0.03)
    function = frameworks.keras(jax.nn.initializers.he_normal())  # has no spec, so no copy either
    layer = keras.layers.EinsumDense("ab,bc->ac", 5, kernel_initializer=function)
    layer.build((1, 4))


@pytest.mark.slow
def test_leaves_that_a_layer_does_not_define_are_not_guessed():
    hk, keras = pytest.importorskip("haiku"), pytest.importorskip("keras")
    x = jnp.ones((1, 4))

    class Norm(nn.LayerNorm):
        @nn.compact
        def __call__(self, x):
            return nn.LayerNorm()(x) @ self.param("scale_of_mine", nn.initializers.ones, (4, 4))

    class Dense(nn.Dense):
        @nn.compact
        def __call__(self, x):
            return super().__call__(x) + self.param("scale", nn.initializers.ones, (4, 4)).sum()

    class Linear(nnx.Linear):
        def __init__(self):
            super().__init__(4, 4, rngs=nnx.Rngs(0))
            self.scale = nnx.Param(jnp.ones((4, 4)))

    def matrix(name):
        return hk.get_parameter(name, (4, 4), init=jnp.ones)

    class HaikuNorm(hk.LayerNorm):
        def __call__(self, x):
            return super().__call__(x) @ matrix("matrix")

    class HaikuLinear(hk.Linear):
        def __call__(self, x):
            return super().__call__(x) @ matrix("scale")

    def function(x):
        return x @ matrix("scale")

    class Dropout(keras.layers.Dropout):
        def build(self, shape):
            self.alpha = self.add_weight(shape=(4, 4), name="alpha")

    dropout = Dropout(0.5)
    dropout.build((1, 4))
    norm = lambda x: HaikuNorm(-1, True, True)(x)  # noqa: E731
    for model, inputs, known in (
        (Norm(), (x,), {"LayerNorm_0/scale", "LayerNorm_0/bias"}),
        (Dense(4), (x,), {"kernel", "bias"}),
        (Linear(), (), {"kernel", "bias"}),
        (hk.transform(norm), (x,), {"haiku_norm/scale", "haiku_norm/offset"}),
        (hk.transform(lambda x: HaikuLinear(4)(x)), (x,), {"haiku_linear/w", "haiku_linear/b"}),
        (hk.transform(lambda x: hk.to_module(function)()(x)), (x,), set()),
        (dropout, (), set()),
    ):
        assert set(frameworks.layers(model, *inputs)) == known


@pytest.mark.slow
@pytest.mark.parametrize(("passes_axes", "bound"), [(True, 0.0884), (False, 0.0180)])
def test_attention_of_keras_has_the_fans_of_the_installed_version(passes_axes, bound, monkeypatch):
    """Kernels (256, 8, 64): √(6/(256 + 512)) since 3.15, before that √(6/(256 · (8 + 64)))."""
    keras = pytest.importorskip("keras")
    layer = keras.layers.MultiHeadAttention(8, 64)
    layer.build((1, 5, 256), (1, 5, 256))
    named = frameworks.keras("glorot_uniform", seed=1)
    frameworks.keras(jax.nn.initializers.ones)  # both classes exist before the version changes
    monkeypatch.setattr(_keras, "_passes_axes", lambda: passes_axes)
    layers = frameworks.layers(layer)
    (query,) = [path for path in layers if path.endswith("query/kernel")]
    (found,) = [
        each
        for each in parameters.assign(
            frameworks.shapes(layer), "keras", host="keras", layers=layers
        )
        if each.leaf == query
    ]
    assert found.stddev == pytest.approx(bound / 3**0.5, rel=0.003)
    ours = frameworks.keras("glorot_uniform", seed=1)
    assert isinstance(ours, type(named)) == passes_axes
    dense = keras.layers.EinsumDense("abc,cde->abde", (None, 8, 64), kernel_initializer=ours)
    dense.build((1, 5, 256))
    assert np.abs(dense.kernel).max() == pytest.approx(bound, rel=0.003)


@pytest.mark.slow
def test_what_an_initializer_of_ones_own_returns_to_a_layer_is_checked():
    hk, keras = pytest.importorskip("haiku"), pytest.importorskip("keras")
    x = jnp.ones((1, 4))
    for own, error, match in (
        (lambda key, shape, dtype: jnp.full(shape, jnp.nan, dtype), ValueError, "12 NaN of 12"),
        (lambda key, shape, dtype: jnp.zeros((1, 3), dtype), ValueError, r"shape \(1, 3\)"),
        (lambda key, shape, dtype: jnp.zeros(shape, "bfloat16"), TypeError, "dtype bfloat16"),
    ):
        with pytest.raises(error, match=match):
            keras.layers.Dense(3, kernel_initializer=frameworks.keras(own)).build((None, 4))
        model = hk.transform(lambda x: hk.Linear(3, w_init=frameworks.haiku(own))(x))  # noqa: B023
        with pytest.raises(error, match=match):
            model.init(KEY, x)
