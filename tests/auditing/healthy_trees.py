"""Draws healthy trees: every initializer × every framework's layer kinds × dtypes."""

from dataclasses import dataclass, field

import jax
import numpy as np

import jinit

HOSTS = ("flax", "haiku", "equinox", "keras", "torch")
DTYPES = ("float32", "bfloat16", "float16", "float64", "complex64")
# kind → (layer spec, shape (…, in, out) of the leaf in Flax's axis order)
KINDS = {
    "dense": ("dense", (48, 40)),
    "conv": ("conv", (3, 3, 16, 24)),
    "grouped": ("conv(groups=4)", (3, 3, 8, 32)),
    "transposed": ("transposed", (3, 3, 16, 24)),
    "depthwise": ("depthwise", (5, 5, 32, 1)),
    "fused": ("fused((32, 32, 32))", (40, 96)),
    "gates": ("recurrent((32, 32, 32, 32))", (32, 128)),
    "attention": ("dense(inputs=1, outputs=2)", (32, 4, 8)),
    "experts": ("dense(batch=1)", (3, 24, 32)),
}
LAWS = (
    "lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform",
    "he_normal(mode=fan_out)", "fan_in_normal", "fan_avg_normal", "fan_in_uniform", "orthogonal",
    "orthogonal(scale=0.01)", "scaled_orthogonal(activation=tanh)", "scaled_for(activation=relu)",
    "scaled_for(activation=gelu)", "edge_of_chaos(activation=tanh, sigma_b=0.1)", "random_walk",
    "siren", "siren(is_first=True)", "spectral", "mup(role=output)", "normal(stddev=0.02)",
    "truncated_normal(stddev=0.02)", "normal(stddev=0.01)", "rademacher(stddev=0.15)",
    "sparse(sparsity=0.5, stddev=0.2)",
    "variance_scaling(scale=1.0, mode=fan_avg, distribution=uniform)", "zeros",
    "uniform_range(low=-0.1, high=0.1)", "looks_linear", "hadamard", "identity",
)  # fmt: skip
BIASES = ("zeros", "constant(value=0.1)", "normal(stddev=0.1)", "uniform_range(-0.1, 0.1)")
SQUARE = {"looks_linear": (48, 64), "hadamard": (64, 64), "identity": (48, 48)}
PLAIN = ("sparse", "rademacher")
NOT_COMPLEX = (
    "truncated",
    "uniform_range",
    "spectral",
    "looks_linear",
    "hadamard",
    *PLAIN,
    "siren",
)


@dataclass
class Tree:
    """A healthy tree and what audit needs to know of it."""

    params: dict
    rules: dict
    layers: dict
    host: str
    dtype: str
    laws: list = field(default_factory=list)


def healthy_tree(number):
    """The tree of this number; numbers pass through hosts, dtypes, laws and kinds."""
    rng = np.random.default_rng(number)
    host, dtype = HOSTS[number % 5], DTYPES[(number // 5) % 5]
    laws = [LAWS[(5 * number + place) % len(LAWS)] for place in range(5)]
    kinds = list(KINDS)
    shapes, rules, layers = {}, {}, {}
    for place, law in enumerate(laws):
        spec, shape = KINDS[kinds[(number + place) % len(kinds)]]
        if spec == "depthwise" and host in ("haiku", "equinox", "torch"):
            spec, shape = "conv(groups=32)", (5, 5, 1, 32)
        if law in SQUARE:
            spec, shape = "dense", SQUARE[law]
        if dtype == "complex64" and law.startswith(NOT_COMPLEX):
            law = "he_normal"
        if law.startswith(PLAIN):
            spec, shape = "dense", (48, 40)
        scale = int(rng.integers(1, 3))
        if spec in ("dense", "conv") and law not in SQUARE:
            shape = (*shape[:-2], scale * shape[-2], shape[-1])
        path = f"layer_{place}/kernel"
        layers[path], rules[path] = spec, law
        shapes[path] = _host_shape(spec, shape, host)
        bias = f"layer_{place}/bias"
        layers[bias], rules[bias] = "bias", BIASES[(number + place) % len(BIASES)]
        if dtype == "complex64" and rules[bias].startswith(NOT_COMPLEX):
            rules[bias] = "normal(stddev=0.1)"
        shapes[bias] = (shape[-1],)
    for path, kind, rule, shape in (
        ("norm/scale", "vector", "ones", (40,)),
        ("norm/shift", "vector", "zeros", (40,)),
        ("table/embedding", "embedding", ("normal(1.0)", "normal(0.02)")[number % 2], (96, 40)),
        ("temperature", "vector", "constant(value=2.66)", ()),
    ):
        layers[path], rules[path], shapes[path] = kind, rule, shape
    drawn = "float32" if dtype == "float64" else dtype
    structs = {path: jax.ShapeDtypeStruct(shape, drawn) for path, shape in shapes.items()}
    params = jinit.initialize(jax.random.key(number), structs, rules, host=host, layers=layers)
    if dtype == "float64":
        params = {path: np.asarray(value, np.float64) for path, value in params.items()}
    return Tree(params, rules, layers, host, dtype, laws)


def _host_shape(spec, shape, host):
    """(…, in, out) in the host's own axis order: (out, in, …) in Equinox and torch."""
    if host in ("equinox", "torch"):
        if spec.startswith("dense("):
            return shape
        if spec == "transposed":
            return (*shape[-2:], *shape[:-2])
        return (shape[-1], shape[-2], *shape[:-2])
    if spec == "transposed" and host in ("haiku", "keras"):
        return (*shape[:-2], shape[-1], shape[-2])
    return shape
