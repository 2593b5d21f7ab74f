"""Every fix that an audit prints is a statement: pasted where the audit ran, it mends the leaf."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import jinit
from jinit import frameworks, initializers
from jinit.auditing import _traps
from jinit.cli import main

RNG = np.random.default_rng(0)


def draw(shape, size):
    return (size * RNG.normal(size=shape)).astype("f4")


GOOD = draw((64, 32), 1 / 8)


def function(key, shape, dtype):
    return jax.random.normal(key, shape, dtype) / 8


TREES = {
    "not finite": ({"d": {"kernel": GOOD * np.nan, "bias": np.full(32, np.inf)}}, {}),
    "out of proportion": (
        {"d": {"kernel": np.where(GOOD > 0.2, 1e30, GOOD), "bias": np.full(32, 1e9)},
         "n": {"scale": np.full(8, 1e-20)}, "e": {"embedding": np.full((9, 4), 1e9)},
         "odd": np.full((3, 3), 1e9)},
        {"layers": {"d/kernel": "dense", "e/embedding": "embedding", "n/*": "vector"}},
    ),
    "symmetric": ({"kernel": np.ones((8, 4), "f4")}, {}),
    "copies": (
        {"a": {"kernel": np.tile(draw((16, 32), 1 / 8), (4, 1))}, "b": {"kernel": GOOD}},
        {},
    ),
    "duplicated": ({"a": {"kernel": GOOD}, "b": {"kernel": 2 * GOOD}}, {}),
    "mean": ({"kernel": np.abs(GOOD), "b": np.zeros(2)}, {}),
    "scale": ({"w": draw((32, 64), 30)}, {"host": "torch", "layers": {"w": "dense"}}),
    "zero": (
        {"a": {"kernel": 0 * GOOD}, "b": {"kernel": 0 * GOOD}, "n": {"scale": 0 * GOOD[0]}},
        {},
    ),
    "wrong fan": ({"x[0]*?": draw((3, 3, 128, 8), 1 / 34)},
                  {"layers": {"x*": "transposed"}, "host": "keras"}),
    "rule not applied": (
        {"a": {"kernel": 2 * GOOD, "bias": np.ones(32, "f4")}, "b": {"kernel": draw((64, 8), 3)}},
        {"rules": {"a/kernel": function, "*kernel": "he_normal(mode=fan_out)", "*": "zeros"}},
    ),
    "preset": ({"a": {"kernel": 5 * GOOD, "bias": np.ones(32, "f4")}}, {"rules": "flax"}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", TREES)
@pytest.mark.sampled(3)
def test_every_fix_runs_when_pasted(kind):
    params, options = TREES[kind]
    findings = jinit.audit(params, **options)
    assert kind in {"preset", *(finding.kind for finding in findings)}
    for finding in findings:
        place = {"jinit": jinit, "jax": jax, "params": params, **options}
        try:
            exec(finding.fix, place)
        finally:
            jax.config.update("jax_enable_x64", False)
        again = jinit.audit(place["params"], **options)
        assert finding.where not in {other.where for other in again}, finding
        assert jax.tree.structure(place["params"]) == jax.tree.structure(params)


@pytest.mark.slow
def test_the_fix_of_a_models_layer_uses_its_layers():
    model, x = nn.ConvTranspose(256, (3, 3), transpose_kernel=True), jnp.zeros((1, 8, 8, 16))
    params = model.init(jax.random.key(0), x)["params"]
    layers = frameworks.layers(model, x)
    (finding,) = jinit.audit(params, layers=layers)
    assert "layers=layers" in finding.fix
    place = {"jinit": jinit, "jax": jax, "params": params, "layers": layers}
    exec(finding.fix, place)
    assert jinit.audit(place["params"], layers=layers) == []
    # σ of the rule that the finding names, with the layer's own fan_in, 144.
    assert np.std(place["params"]["kernel"]) == pytest.approx(1 / 12, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "fan_in", "fan_out", "rule"),
    [
        ((3, 3, 16, 256), 2304, 144, "lecun_normal"),
        ((3, 3, 16, 256), 2304, 144, "he_uniform"),
        ((3, 3, 16, 512), 4608, 144, "fan_in_uniform"),
        ((3, 3, 16, 1024), 9216, 144, "truncated_normal(1/√fan_in)"),
    ],
)
def test_of_several_laws_within_tolerance_the_nearest_is_named(shape, fan_in, fan_out, rule):
    """Kernels drawn with in and out exchanged: the name and the fix are those of the drawn law."""
    if rule.startswith("truncated"):
        initializer = initializers.truncated_normal(1 / np.sqrt(fan_in))
    else:
        initializer = initializers.get(rule)
    values = initializer(jax.random.key(0), (*shape[:-2], shape[-1], shape[-2]))
    values = jnp.swapaxes(values, -1, -2)
    layers = {"w": "transposed"}
    (finding,) = jinit.audit({"w": values}, layers=layers)
    assert f"is {rule} for fan_in {fan_in}, fan_out {fan_out}" in finding.evidence
    place = {"jinit": jinit, "jax": jax, "params": {"w": values}}
    exec(finding.fix, place)
    assert jinit.audit(place["params"], layers=layers) == []


def test_the_nearest_of_two_laws_within_one_tolerance():
    """σ .088 is within 20 % of 1/√100 and of .8796/√100; so is σ .099."""
    rules, fans = _traps.usual((100, 10)), initializers.Fans(100.0, 10.0)
    for sigma, name in ((0.0885, "truncated_normal(1/√fan_in)"), (0.0991, "lecun_normal")):
        distance, rule = _traps.nearest(sigma, fans, rules, 0.2)
        assert rule.name == name
        assert distance == min(abs(np.log(sigma / other.stddev(fans))) for other in rules)


def pasted(finding, params, **options):
    place = {"jinit": jinit, "jax": jax, "params": params, **options}
    exec(finding.fix, place)
    return place["params"]


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
@pytest.mark.parametrize("rules", [None, {"a": "he_normal", "b": "he_normal", "*": "keep"}])
def test_the_fix_of_8_bit_floats_draws_in_float32_and_converts(dtype, rules):
    table = draw((64, 32), 1 / 8).astype(dtype)
    shards = np.tile(draw((16, 32), 0.18), (4, 1)).astype(dtype)
    params = {"a": np.ones((64, 32), dtype), "b": shards, "table": table, "tied": table,
              "mask": np.ones(3, bool), "key": jax.random.key(1)}  # fmt: skip
    layers = {"a": "dense", "b": "dense"}
    findings = jinit.audit(params, rules=rules, layers=layers)
    assert {(f.where, f.kind) for f in findings} >= {("a", "symmetric"), ("b", "copies")}
    for finding in findings:
        mended = pasted(finding, params, layers=layers, rules=rules)
        drawn = mended.pop(finding.where)
        assert drawn.dtype == dtype
        # √(2/64), and 8-bit floats round by at most 1/8.
        assert np.std(np.asarray(drawn, "f4")) == pytest.approx(32**-0.5, rel=0.1)
        assert all(mended[name] is params[name] for name in mended if name not in "ab")
        assert mended["tied"] is mended["table"]


@pytest.mark.parametrize("columns", ["40", "142"])
def test_what_the_command_prints_runs_when_pasted(columns, tmp_path, monkeypatch, capsys):
    """Four layer kinds, an array that cannot be read, and comments longer than a line."""
    monkeypatch.setenv("COLUMNS", columns)
    arrays = {"a[0]:key:/w": np.ones((64, 32), "f4"), "b/w": draw((64, 32), 30), "c/w": GOOD,
              "d/w": np.tile(draw((16, 32), 1 / 8), (4, 1))}  # fmt: skip
    np.savez(tmp_path / "w.npz", **arrays, text=np.array("model"))
    layers = {"a*w": "dense", "b*w": "dense", "c/w": "dense", "d/w": "dense"}
    kinds = [f"{pattern}={kind}" for pattern, kind in layers.items()]
    assert main(["audit", str(tmp_path / "w.npz"), "--layer", *kinds]) == 1
    printed = capsys.readouterr().out
    fixes = re.findall(r"^  fix: (.*initialize.*)$", printed, re.MULTILINE)
    (before,) = re.findall(r"^the fixes are Python; before them: (.*)$", printed, re.MULTILINE)
    place = {}
    exec("\n".join([before, *fixes]), place)
    assert len(fixes) == 3
    assert jinit.audit(arrays, layers=layers)
    assert jinit.audit(place["params"], layers=layers) == []
    np.testing.assert_array_equal(place["params"]["c/w"], GOOD)


G, V = (f"parametrizations.weight.original{i}" for i in (0, 1))


def torch_options(build):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = build(torch.nn, torch.nn.utils.parametrizations)
    params = {name: leaf.detach().numpy() for name, leaf in model.named_parameters()}
    return params, {"host": "torch", "layers": frameworks.layers(model)}


@pytest.mark.slow
def test_the_scale_of_a_weight_norm_holds_the_norms_of_its_kernel():
    params, options = torch_options(lambda nn, norms: norms.weight_norm(nn.Linear(64, 128)))
    assert jinit.audit(params, rules="torch", **options) == []
    for own in ({}, {G: "norm"}):
        options["rules"] = rules = {**own, "bias": "zeros", "*original1": "normal(0.5)"}
        drawn = jinit.initialize(jax.random.key(0), params, rules, host="torch",
                                 layers=options["layers"])  # fmt: skip
        assert jinit.audit(drawn, **options) == []
        other = {**drawn, G: params[G]}
        (finding,) = jinit.audit(other, **options)
        assert (finding.kind, finding.where) == ("rule not applied", G)
        lengths = np.linalg.norm(drawn[V], axis=1)
        assert f"from {lengths.min():.3g} to {lengths.max():.3g}" in finding.evidence
        for broken in (other, {**drawn, G: np.nan * params[G]}):
            (finding,) = jinit.audit(broken, **options)
            mended = pasted(finding, broken, **options)
            np.testing.assert_allclose(np.ravel(mended[G]), lengths, rtol=1e-6)


@pytest.mark.slow
def test_a_sigma_that_a_weight_norm_divides_out_is_not_judged_and_another_is():
    """A kernel counts by its σ only if its scale holds its norms, as torch's scales do."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.WeightNorm(nn.Dense(128, name="fc"))(x)

    x = jnp.zeros((1, 64))
    params = Net().init(jax.random.key(0), x)["params"]
    layers = frameworks.layers(Net(), x)
    large = params | {"fc": {**params["fc"], "kernel": 8 * params["fc"]["kernel"]}}
    np.testing.assert_allclose(
        *(Net().apply({"params": tree}, jnp.eye(64)) for tree in (large, params)), atol=1e-6
    )
    assert jinit.audit(large, layers=layers) == jinit.audit(params, layers=layers) == []
    params, options = torch_options(
        lambda nn, norms: norms.weight_norm(nn.ConvTranspose2d(16, 256, 3), dim=1)
    )
    (finding,) = jinit.audit(params, **options)
    assert (finding.kind, finding.where) == ("wrong fan", V)
    mended = pasted(finding, params, **options)
    assert jinit.audit(mended, **options) == []
    lengths = np.sqrt(np.sum(np.square(mended[V]), axis=(0, 2, 3), keepdims=True))
    effective = mended[G] * mended[V] / lengths
    assert np.std(effective) == pytest.approx((3 * 16 * 9) ** -0.5, rel=0.02)


@pytest.mark.slow
def test_a_kernel_that_its_layer_rescales_is_drawn_by_the_preset():
    params, options = torch_options(
        lambda nn, norms: norms.spectral_norm(nn.ConvTranspose2d(16, 256, 3))
    )
    assert jinit.audit(params, **options) == []
    kernel = "parametrizations.weight.original"
    for number, kind in ((np.nan, "not finite"), (1.0, "symmetric")):
        broken = {**params, kernel: np.full_like(params[kernel], number)}
        (finding,) = jinit.audit(broken, **options)
        assert (finding.kind, finding.where) == (kind, kernel)
        mended = pasted(finding, broken, **options)
        assert jinit.audit(mended, **options) == []
        assert np.array_equal(mended["bias"], params["bias"])
    params, options = torch_options(lambda nn, norms: norms.orthogonal(nn.Linear(8, 8)))
    (finding,) = jinit.audit({**params, kernel: np.nan * params[kernel]}, **options)
    assert finding.fix == "draw the layer before it is wrapped"
