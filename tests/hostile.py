"""Public calls with good arguments, and what a careless caller may pass instead.

`tests/test_hostile.py` replaces arguments of the calls at random. Values are left out that ask for
more memory than a machine has (sizes between 10⁴ and 2⁶²), and callables: what they raise is the
caller's own.
"""

import dataclasses
import decimal
import fractions
import types
from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jinit
from jinit import (
    activations,
    auditing,
    calibrate,
    clipping,
    data,
    engine,
    frameworks,
    initializers,
    models,
    parameters,
    probes,
    report,
    stats,
    theory,
)
from jinit.results import Table
from jinit.train import FitConfig, losses, mup_learning_rate, optimizers

KEY = jax.random.key(0)
SHAPE = jax.ShapeDtypeStruct((4, 3), jnp.float32)
X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
Y = np.arange(8) % 2
NUMBERS = np.linspace(0.1, 0.9, 8)
TREE = {
    "dense": {"kernel": jnp.linspace(-1, 1, 12).reshape(3, 4), "bias": jnp.zeros(4)},
    "head": {"kernel": jax.ShapeDtypeStruct((4, 2), jnp.float32)},
}
ARRAYS = {"dense": {"kernel": np.eye(3, 4), "bias": np.zeros(4)}}
RULES = {"*/kernel": "he_normal", "*": "zeros"}
COLUMNS = {
    "initializer": np.repeat(np.array(["a", "b"], object), 4),
    "seed": np.tile(np.arange(4), 2),
    "test_accuracy": np.linspace(0.1, 0.8, 8),
    "steps_to_target": np.full(8, np.inf),
    "diverged": np.zeros(8, bool),
}


@cache
def model():
    return models.MLP(features=(4, 2))


@cache
def captured():
    return frameworks.capture(model(), jnp.asarray(X))


@cache
def params():
    return jinit.initialize(KEY, frameworks.shapes(model(), jnp.asarray(X)), RULES)


@cache
def table():
    return Table(COLUMNS, ("initializer", "seed"), {}, np.array([]))


@cache
def profile():
    return probes.ensemble(
        captured(), RULES, jnp.asarray(X), probes.random_projection(KEY), seeds=2
    )


def ensemble(x=X, seeds=2):
    return probes.ensemble(captured(), RULES, x, probes.random_projection(KEY), seeds=seeds)


def drawn(spec, shape, dtype=None, key=KEY):
    """Looks an initializer up and draws."""
    return initializers.get(spec)(key, shape, dtype)


def made(factory):
    """The factory, whose product draws a kernel of shape (6, 4)."""

    def call(**arguments):
        return factory(**arguments)(KEY, (6, 4))

    call.__name__ = factory.__name__
    return call


def grid(**fields):
    """Makes a grid and plans it."""
    return jinit.plan(jinit.Grid(**fields))


def table_of(**fields):
    """Makes a table and compares its arms."""
    return jinit.compare(Table(**fields), baseline="a")


def update(make, threshold, on_nonfinite="propagate"):
    """Clips one gradient."""
    clip, gradient = make(threshold, on_nonfinite=on_nonfinite), {"w": jnp.ones((2, 3))}
    return clip.update(gradient, clip.init(gradient))


def kernel_factories():
    """Factories that share axes and roles of a kernel."""
    shared = {"in_axis": -2, "out_axis": -1, "batch_axis": (), "dtype": None, "groups": 1,
              "transposed": False, "fused": None, "fan_in": None}  # fmt: skip
    own = {
        initializers.variance_scaling: {"scale": 2.0, "mode": "fan_in", "distribution": "normal"},
        initializers.lecun_uniform: {},
        initializers.glorot_normal: {"gain": 1.0},
        initializers.he_normal: {"negative_slope": 0.1, "mode": "fan_in"},
        initializers.fan_in_normal: {"k": 1.0},
        initializers.fan_avg_normal: {},
        initializers.fan_in_uniform: {},
        initializers.scaled_for: {"activation": "gelu", "convention": "forward"},
        initializers.edge_of_chaos: {"activation": "tanh", "sigma_b": 0.1},
        initializers.random_walk: {"activation": "relu"},
        initializers.siren: {"omega": 30.0, "is_first": False},
        initializers.spectral: {},
        initializers.mup: {"role": "hidden", "base_fan_in": 8.0},
    }
    return [(made(factory), more | shared) for factory, more in own.items()]


def plain_factories():
    own = {
        initializers.constant: {"value": 0.5},
        initializers.identity: {"gain": 1.0},
        initializers.dirac: {"groups": 1},
        initializers.normal: {"stddev": 0.1, "mean": 0.0},
        initializers.uniform: {"scale": 0.1},
        initializers.uniform_range: {"low": -0.1, "high": 0.1},
        initializers.rademacher: {"stddev": 0.1},
        initializers.truncated_normal: {
            "stddev": 0.1, "lower": -2.0, "upper": 2.0, "mean": 0.0, "exact_std": False,
        },
        initializers.parametrized_truncated_normal: {
            "mean": 0.0, "stddev": 1.0, "p1": -1.0, "p2": 2.0,
        },
        initializers.orthogonal: {"scale": 1.0, "column_axis": -1, "method": "qr"},
        initializers.scaled_orthogonal: {"activation": "tanh", "keep": "variance"},
        initializers.delta_orthogonal: {"scale": 1.0, "column_axis": -1},
        initializers.hadamard: {"gain": 1.0},
        initializers.looks_linear: {"role": "hidden", "scale": 1.0},
        initializers.sparse: {"sparsity": 0.5, "stddev": 0.1, "k": None},
        initializers.randomized_asymmetric: {"part": "kernel", "fan_in": 6},
    }  # fmt: skip
    return [(made(factory), more | {"dtype": None}) for factory, more in own.items()]


def of_initializers():
    return [
        *kernel_factories(),
        *plain_factories(),
        (drawn, {"spec": "variance_scaling(scale=2.0, mode=fan_in, distribution=normal)",
                 "shape": (6, 4), "dtype": "float32", "key": KEY}),
        (drawn, {"spec": "he_normal", "shape": (2, 2, 6, 4)}),
        (drawn, {"spec": "orthogonal(scale=2.0)", "shape": (6, 4), "dtype": jnp.bfloat16}),
        (drawn, {"spec": "truncated_normal(stddev=.02, lower=-1, upper=1)", "shape": (6,)}),
        (initializers.class_prior, {"labels": Y, "dtype": None, "counts": None, "smoothing": 0.0}),
        (initializers.class_prior, {"counts": (3.0, 5.0), "smoothing": 1.0}),
        (initializers.fans, {"shape": (3, 3, 4, 8), "in_axis": -2, "out_axis": -1,
                             "batch_axis": (), "groups": 2, "transposed": False}),
        (initializers.gain, {"activation": "leaky_relu", "parameter": 0.2,
                             "convention": "forward", "kinks": None}),
        (initializers.describe, {"spec": "he_normal", "shape": (6, 4), "seed": 0}),
        (initializers.scaled_by, {"initializer": initializers.he_normal(), "factor": 0.5}),
        (frameworks.haiku, {"initializer": "he_normal"}),
    ]  # fmt: skip


def of_trees():
    return [
        (jinit.initialize, {"key": KEY, "shapes": TREE, "rules": RULES, "host": "flax",
                            "layers": {"*/kernel": "dense"}, "where": None}),
        (jinit.initialize, {"key": KEY, "shapes": TREE, "rules": "torch"}),
        (jinit.initialize, {"key": KEY, "shapes": ARRAYS, "rules": RULES, "where": "*/kernel"}),
        (parameters.assign, {"shapes": TREE, "rules": RULES, "host": "flax", "layers": None}),
        (parameters.population, {"key": KEY, "size": 2, "shapes": TREE, "rules": RULES,
                                 "host": "flax", "layers": None}),
        (parameters.search_distribution, {"shapes": TREE, "rules": RULES}),
        (parameters.reset_report, {"shapes": TREE, "rules": RULES, "where": "head"}),
        (parameters.deepnorm_factors, {"layers": 4}),
        (parameters.fixup_factors, {"depth": 4, "branch_layers": 2}),
        (parameters.gpt2_stddevs, {"layers": 4, "stddev": 0.02}),
        (parameters.t_fixup_factors, {"encoder_layers": 4, "decoder_layers": 2}),
        (parameters.rezero_factors, {"depth": 4}),
        (parameters.residual_rules, {"roles": {"*/out": "branch_last"},
                                     "factors": {"branch_last": 0.5}, "initializer": "he_normal"}),
        (jinit.audit, {"params": ARRAYS, "host": "flax", "layers": None, "rules": RULES}),
        (jinit.audit, {"params": ARRAYS, "layers": {"*/kernel": "dense"}, "rules": "keras"}),
        (auditing.read_checkpoint, {"path": "no such file.npz"}),
        (frameworks.layout, {"spec": "conv(groups=2)", "host": "flax"}),
        (lambda model: frameworks.layers(model, X), {"model": nn.Dense(2)}),
        (lambda model: frameworks.shapes(model, X), {"model": nn.Dense(2)}),
        (frameworks.capture, {"model": model(), "x": X, "params": None}),
        (frameworks.get, {"name": "linen"}),
        (models.as_model, {"model": model()}),
    ]  # fmt: skip


def of_statistics():
    other = NUMBERS[::-1] + 0.05
    scores = {"a": NUMBERS, "b": other}
    square = np.stack([NUMBERS, other], 1)
    return [
        (stats.bootstrap, {"values": NUMBERS, "confidence": 0.9, "resamples": 50, "seed": 0,
                           "method": "bca", "strata": np.repeat([0, 1], 4)}),
        (stats.paired, {"treatment": NUMBERS, "baseline": other, "higher_is_better": True,
                        "alpha": 0.05, "test": "wilcoxon", "seed": 0}),
        (stats.all_pairs, {"arms": scores, "higher_is_better": True, "test": "sign", "seed": 0}),
        (stats.effect_size, {"gaps": NUMBERS - other, "seed": 0}),
        (stats.holm, {"p_values": [0.1, 0.02, 1.0]}),
        (stats.iqm, {"values": square, "axis": 0}),
        (stats.trimmed_mean, {"values": square, "axis": None, "cut": 0.2}),
        (stats.wilson, {"successes": 3, "trials": 8, "confidence": 0.95}),
        (stats.probability_of_improvement,
         {"treatment": NUMBERS, "baseline": other, "resamples": 50, "seed": 0}),
        (stats.rank, {"scores": np.stack([NUMBERS, other, NUMBERS**2], 1),
                      "higher_is_better": True, "alpha": 0.05}),
        (stats.performance_profile, {"scores": square, "thresholds": np.array([0.2, 0.5]),
                                     "confidence": 0.9, "resamples": 50, "seed": 0}),
        (stats.kaplan_meier, {"times": NUMBERS, "horizon": 0.8, "confidence": 0.9,
                              "censored": np.repeat([True, False], 4)}),
        (stats.restricted_mean, {"times": NUMBERS, "horizon": 0.8, "confidence": 0.9}),
        (stats.compare_times, {"treatment": NUMBERS, "baseline": other, "horizon": 0.8}),
        (stats.variance_components, {"values": square, "confidence": 0.9, "draws": 100, "seed": 0}),
        (stats.with_diverged, {"values": NUMBERS, "diverged": NUMBERS > 0.7, "worst": 0.0,
                               "seed": 0}),
        (table_of, {"columns": COLUMNS, "axes": ("initializer", "seed"), "curves": {},
                    "curve_steps": np.array([]), "settings": {}}),
        (jinit.compare, {"table": table(), "metric": "test_accuracy", "baseline": "a",
                         "by": None, "across": "initializer"}),
        (jinit.summarize, {"table": table(), "metric": "test_accuracy", "by": ("seed",),
                           "across": "initializer"}),
        (table().__getitem__, {"column": "seed"}),
        (report.to_json, {"result": table(), "baseline": "a", "metric": "test_accuracy",
                          "model": None, "findings": None}),
    ]  # fmt: skip


def of_theory():
    return [
        (activations.get, {"activation": "leaky_relu(negative_slope=0.1)"}),
        (theory.moments, {"activation": "tanh", "q": 1.0}),
        (theory.cross_moments, {"activation": "relu", "q": 1.0, "c": 0.5}),
        (theory.length_map, {"activation": "tanh", "q": 1.0, "sigma_w": 1.5, "sigma_b": 0.1}),
        (theory.correlation_map, {"activation": "tanh", "c": 0.5, "q": 1.0, "sigma_w": 1.5,
                                  "sigma_b": 0.1}),
        (theory.length_fixed_point, {"activation": "tanh", "sigma_w": 1.5, "sigma_b": 0.1,
                                     "start": 1.0}),
        (theory.length_fixed_points, {"activation": "tanh", "sigma_w": 1.5, "sigma_b": 0.1}),
        (theory.correlation_fixed_points, {"activation": "tanh", "sigma_w": 1.5, "sigma_b": 0.1,
                                           "q": 0.5}),
        (theory.depth_scales, {"activation": "tanh", "sigma_w": 1.5, "sigma_b": 0.1,
                               "start": 1.0}),
        (theory.edge_of_chaos, {"activation": "tanh", "sigma_b": 0.1}),
        (theory.critical_rate, {"activation": "tanh", "sigma_b": 0.1}),
        (theory.phase_diagram, {"activation": "tanh", "sigma_w": np.array([1.0, 2.0]),
                                "sigma_b": np.array([0.1, 0.2]), "start": 1.0}),
        (theory.propagate, {"activation": "tanh", "sigma_w": 1.5, "sigma_b": 0.1, "depth": 3,
                            "q": 1.0, "c": 0.5, "tabulated": False}),
        (theory.Architecture, {"residual": True, "residual_first": False, "branch_scale": 1.0,
                               "sigma_v": None, "normalized": False}),
        (theory.predict, {"network": model(), "x": 3, "kernel": initializers.he_normal(),
                          "bias": initializers.zeros}),
        (theory.fluctuations, {"activation": "relu", "widths": (8, 8), "sigma_w": 1.4,
                               "sigma_b": 0.0, "q": 1.0, "orthogonal": False, "inputs": 8}),
        (theory.failure_modes, {"activation": "relu", "widths": (8, 8), "sigma_w": 1.4,
                                "sigma_b": 0.0}),
        (theory.isometry, {"activation": "tanh"}),
        (theory.isometric_point, {"activation": "tanh", "depth": 4, "variance": 0.25}),
        (theory.jacobian_spectrum, {"activation": "tanh", "sigma_w": 1.5, "q": 0.5, "depth": 3,
                                    "weights": "gaussian"}),
        (theory.kernels, {"activation": "relu", "x": X, "depth": 2, "sigma_w": 1.4,
                          "sigma_b": 0.1}),
        (theory.condition_number, {"kernel": np.eye(3)}),
        (theory.linearized_loss, {"ntk": np.eye(8), "targets": NUMBERS, "learning_rate": 0.1,
                                  "steps": 3}),
        (theory.log_length, {"activation": "relu", "width": 8}),
    ]  # fmt: skip


def of_training():
    return [
        (data.get, {"data": "xor"}),
        (data.get, {"data": (X, Y)}),
        (data.from_arrays, {"x": X, "y": Y, "x_test": X, "y_test": Y, "name": "mine",
                            "standardize": True}),
        (data.from_arrays, {"x": X, "y": Y, "split": 0.25, "standardize": False}),
        (data.from_arrays, {"x": X, "y": NUMBERS}),
        (partial(update, clipping.clip_by_global_norm), {"threshold": 1.0, "on_nonfinite": "zero"}),
        (partial(update, clipping.clip_by_leaf_norm), {"threshold": 1.0}),
        (clipping.get, {"name": "value"}),
        (clipping.with_clip_statistics, {"clip": clipping.clip_by_value(1.0)}),
        (FitConfig, {"steps": 3, "batch_size": 2, "evaluations": 2, "target_accuracy": 0.5}),
        (mup_learning_rate, {"role": "hidden", "fan_in": 8, "fan_out": 8, "optimizer": "adam"}),
        (optimizers.make, {"optimizer": "adam", "learning_rate": 0.1, "momentum": 0.9,
                           "weight_decay": 0.1, "clip": "leaf_norm", "clip_threshold": 1.0}),
        (losses.get, {"loss": "hinge", "task": "binary"}),
        (engine.run, {"fn": lambda lane: jax.tree.map(jnp.sum, lane), "lanes": {"x": X},
                      "tile": 4, "workers": 1, "progress": None,
                      "store": None, "hang_after": 60.0}),
        (jinit.sweep.run_key, {"seed": 3, "purpose": "init"}),
    ]  # fmt: skip


def of_grids():
    whole = {
        "dataset": "xor", "initializer": ("he_normal", "zeros"), "bias_initializer": "zeros",
        "activation": ("relu", "tanh"), "depth": (1, 2), "width": 4, "gain": (1.0, 2.0),
        "optimizer": "sgd", "learning_rate": (0.1, 0.2), "steps": 4, "seeds": 2,
        "clip": ("leaf_norm(1.0)", None), "batch_size": 4, "data_seeds": None,
    }  # fmt: skip
    fields = {field.name for field in dataclasses.fields(jinit.Grid)}
    rest = {
        field.name: field.default
        for field in dataclasses.fields(jinit.Grid)
        if field.name not in whole and field.default is not dataclasses.MISSING
    }
    whole = {name: value for name, value in whole.items() if name in fields}
    ready = jinit.Grid(dataset="xor", depth=1, width=4, steps=2, seeds=2)
    return [
        (grid, whole | rest),
        (grid, {"dataset": "xor", "initializer": "lsuv(orthogonal)", "depth": 2, "width": 4}),
        (grid, {"dataset": "xor", "activation": "leaky_relu(negative_slope=0.1)", "seeds": (1, 3)}),
        (jinit.plan, {"grid": ready, "model": None, "data": None, "tile": 2, "workers": 1}),
        (jinit.plan, {"grid": jinit.Grid(steps=2, seeds=2), "model": model(), "data": (X, Y)}),
    ]


def of_networks():
    given = {"key": KEY, "model": model(), "params": params(), "batch": jnp.asarray(X)}
    loss = probes.random_projection(KEY)
    labels = jnp.asarray(Y)
    return [
        (probes.cross_entropy, {"labels": labels}),
        (probes.random_projection, {"key": KEY}),
        (probes.symmetry, {"captured": captured(), "params": params(), "tolerance": 0.01}),
        (probes.propagation, {"captured": captured(), "params": params(), "x": jnp.asarray(X),
                              "loss": loss, "activation": "relu"}),
        (probes.verdict, {"captured": captured(), "profile": profile(), "activation": "relu"}),
        (probes.jacobian_largest_singular_values,
         {"key": KEY, "apply": model().apply, "params": {"params": params()},
          "x": jnp.asarray(X), "count": 1, "iterations": 2}),
        (probes.empirical_ntk,
         {"apply": model().apply, "params": {"params": params()}, "x": jnp.asarray(X)}),
        (ensemble, {"x": jnp.asarray(X), "seeds": 2}),
        (calibrate.get, {"text": "lsuv(orthogonal, tolerance=0.1)"}),
        (calibrate.lsuv, given | {"tolerance": 0.1, "iterations": 2}),
        (calibrate.analytic, given | {"target": 1.0, "activation": "relu", "draws": 4}),
        (calibrate.within_layer, given | {"iterations": 1}),
        (calibrate.between_layers, given | {"iterations": 1}),
        (calibrate.output_bias, given | {"labels": labels, "smoothing": 1.0}),
        (calibrate.rezero, given | {"scales": "*/scale"}),
        (calibrate.metainit, given | {"classes": 2, "steps": 1, "learning_rate": 0.1}),
        (report.to_json, {"result": profile(), "model": captured(), "findings": None}),
        (report.interval_text, {"interval": stats.Interval(0.5, 0.4, 0.6), "sign": True}),
    ]  # fmt: skip


ROOMS = {
    "initializers": of_initializers,
    "trees": of_trees,
    "statistics": of_statistics,
    "theory": of_theory,
    "training": of_training,
    "grids": of_grids,
    "networks": of_networks,
}

# Whatever stands where something else belongs.
VALUES = (
    None, True, False, ..., NotImplemented, -1, 0, 1, 2, 3, 7, -(2**40), -(2**63), -(2**70), 2**64,
    10**400, -(10**400), 0.0, -0.0, 0.5, -0.5, 1.5, 1e-300, 5e-324, 1e30, 1e300, -1e300, np.nan,
    np.inf, -np.inf, 1j, complex(np.nan, 1), fractions.Fraction(1, 3), decimal.Decimal("0.1"),
    decimal.Decimal("NaN"), "", " ", "0", "1", "nan", "none", "relu", "he_normal", "he_norml",
    "xor", "a", "seed", "*", "**", "[", "*/kernel", "/", "ü", "\0", "a" * 300, "he_normal(",
    "he_normal()", "he_normal(1,)", "normal(stddev=1e999)", "normal(stddev=--1)", "normal(-1)",
    "normal(stddev=1, stddev=2)", "uniform_range(1, 0)", "lsuv(5)", "lsuv(lsuv(orthogonal))",
    "leaf_norm(0)", "float32", "float99", "int8", "bfloat16", "complex64", b"", b"he_normal",
    bytearray(b"a"), (), [], {}, set(), frozenset({1}), (1,), (0,), (-1,), (1, 2), (2, 0), [1, 2],
    [[1, 2], [3]], [[]], [None], (None, None), ((), ()), ("relu",), ("a", "a"), (1.5, 2.5),
    (np.nan,), ("a", 1), {"a": 1}, {1: 2}, {"a": None}, {None: "zeros"}, {"*": 5}, {"*": ()},
    {"a": {"b": {}}}, range(3), range(0), slice(None), types.SimpleNamespace(), Exception("a"),
    jnp.float32, np.dtype("float16"), np.dtype("datetime64[s]"), np.dtype(object),
    np.dtype([("a", int)]), np.float16(1), np.float32(np.nan), np.int64(3), np.uint64(2**64 - 1),
    np.bool_(True), np.str_("relu"), np.datetime64("2020"), np.timedelta64(3, "s"),
    np.array(3), np.array(np.nan), np.array([]), np.zeros((0, 3)), np.zeros((3, 0)), np.ones(8),
    np.ones((8, 3)), np.ones((2, 2, 2)), np.full(8, np.nan), np.full((8, 3), np.inf),
    np.array([1, "a"], object), np.array([None]), np.array(["a", "b"]), np.array([1j]),
    np.array([True, False]), np.array(["2020"], "datetime64[s]"), np.arange(8, dtype=np.int8),
    np.array([2**64 - 1], np.uint64), np.ma.masked_array([1.0, 2.0], [True, False]),
    np.ma.masked, np.array([(1, 2.0)], [("a", int), ("b", float)]), np.eye(2)[:, :0],
    jnp.ones(3), jnp.zeros((0,)), jnp.ones((3, 4), jnp.bfloat16), jnp.arange(3), KEY,
    jax.random.split(KEY, 2), jax.random.PRNGKey(0), jax.ShapeDtypeStruct((2, 3), jnp.float32),
    memoryview(b"ab"), iter(()), (item for item in (1, 2)), optax.sgd(0.1),
)  # fmt: skip


# A model of the caller meets its own parameters; what the model raises is the caller's own.
KEPT = ("params", "apply", "captured")


def replaced(value, draw):
    """A hostile value in place of a good one, or inside it."""
    other = VALUES[draw.integers(len(VALUES))]
    inside = draw.random() < 0.35
    if inside and type(value) in (tuple, list) and value:
        at = draw.integers(len(value))
        return type(value)([*value[:at], other, *value[at + 1 :]])
    if inside and type(value) is dict and value:
        name = list(value)[draw.integers(len(value))]
        if draw.random() < 0.3:
            return {(other if _hashable(other) else "b") if key == name else key: item
                    for key, item in value.items()}  # fmt: skip
        return {key: replaced(item, draw) if key == name else item for key, item in value.items()}
    if inside and isinstance(value, str) and value:
        at = draw.integers(len(value))
        signs = ("", "(", ")", ",", "=", "-", " ", "'", "\n", "é", "9", "*", "[", ".")
        return value[:at] + signs[draw.integers(len(signs))] + value[at + 1 :]
    if inside and isinstance(value, np.ndarray) and value.ndim:
        return _array(value, draw)
    return other


def _array(value, draw):
    """An array with one thing wrong."""
    wrong = [
        lambda: value[:0],
        lambda: value[:1],
        lambda: value[:-1],
        lambda: value[..., None],
        lambda: value.astype(object),
        lambda: value.astype(str),
        lambda: value.astype(np.complex64),
        lambda: value.astype(np.float16),
        lambda: value * 0,
        lambda: np.where(np.arange(value.size).reshape(value.shape) == 0, np.nan, value),
        lambda: np.where(np.arange(value.size).reshape(value.shape) == 0, np.inf, value),
        lambda: value.astype(float) * 1e300,
        lambda: value.tolist(),
        lambda: np.ma.masked_array(value, np.arange(value.size).reshape(value.shape) == 0),
    ]
    try:
        return wrong[draw.integers(len(wrong))]()
    except (TypeError, ValueError):  # text has no product and no square
        return value[:0]


def _hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True
