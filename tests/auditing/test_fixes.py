"""Every fix that an audit prints is a statement: pasted where the audit ran, it mends the leaf."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import frameworks, initializers
from jinit.auditing import _traps

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
