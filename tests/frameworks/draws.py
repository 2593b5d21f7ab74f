"""Draws trees and compares them: with the variance asked for, and with what a framework draws.

Inputs are standard normal and the rule is lecun_normal, so every output of a layer has variance 1
if and only if the fan is right. The tolerance is six standard errors of the mean square over the
independent weights and inputs drawn.

Default draws are compared with the framework's own by a two-sample KS test per leaf and by moments.
Many layers of one kind are pooled; ALPHA is shared by all leaves of all frameworks, and keys and
seeds are fixed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jinit import parameters
from jinit.frameworks._paths import path_of

DRAWS = 24
ALPHA = 1e-3 / 120
K = jax.random.key(0)
IDS = jnp.arange(50)
# One token attends to itself alone, with weight 1: the output is out(value(x)).
TOKEN = jax.random.normal(jax.random.key(5), (64, 1, 32))
IMAGE = jnp.zeros((1, 12, 12, 16))
X = {
    "dense": (64, 24),
    "conv1": (8, 40, 8),
    "conv2": (4, 14, 14, 8),
    "conv3": (2, 9, 9, 9, 4),
}
# A recurrent cell of 64 units, from an input and a hidden state of which one is zero: every gate's
# pre-activation is then standard normal, if and only if the fan of the other's kernel is right.
UNITS = 64
SIDES = {"input": (1.0, 0.0), "hidden": (0.0, 1.0)}
NORMALS = np.random.default_rng(0).normal(size=(3, 2_000_000))


def with_unit_variance(outputs):
    """E y² = 1 over draws of weights, for outputs (draws, …)."""
    squares = np.asarray(outputs, np.float64) ** 2
    each = squares.reshape(len(squares), -1).mean(axis=1)
    error = each.std(ddof=1) / np.sqrt(len(each))
    assert abs(each.mean() - 1) < max(6 * error, 0.01), (each.mean(), error)
    assert error < 0.1, "too few draws to tell"


def rules_for(layers):
    """Kernels LeCun, everything else zero or one."""
    words = {"bias": "zeros", "vector": "ones"}
    return {path: words.get(made.kind, "lecun_normal") for path, made in layers.items()}


def drawn(shapes, layers, host):
    """One tree per key, all by one vmapped draw."""
    paths = {path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)}
    rules = {p: r for p, r in rules_for(layers).items() if p in paths}
    keys = jax.random.split(jax.random.key(1), DRAWS)

    def one(key):
        return parameters.initialize(key, shapes, rules, host=host, layers=layers)

    return jax.vmap(one)(keys)


def example(name):
    x = jax.random.normal(jax.random.key(5), X[name])
    return x / jnp.sqrt(jnp.mean(x**2))


def expected_square(kind, side, mean_square):
    """E h′² of a cell from its equations, for independent gates ~ N(0, 1)."""
    i, g, o = NORMALS
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    if kind == "lstm":  # from c = 0
        return np.mean((sigmoid(o) * np.tanh(sigmoid(i) * np.tanh(g))) ** 2)
    if side == "input":
        return np.mean((sigmoid(i) * np.tanh(g)) ** 2)
    new = (
        np.tanh(sigmoid(o) * g) if kind == "gru" else np.tanh(g * np.sqrt(np.mean(sigmoid(o) ** 2)))
    )
    return np.mean((sigmoid(i) * new) ** 2) + np.mean(sigmoid(i) ** 2) * mean_square


def packed(layers, count):
    """Every kernel packs so many gates, one kernel at least is hidden to hidden."""
    kernels = [made for made in layers.values() if made.kind in ("kernel", "recurrent")]
    assert kernels
    assert all(made.fused == (UNITS,) * count for made in kernels)
    return layers


def from_a_cell(kind, side, run, trees):
    """Runs the cell on inputs of mean square 1 and compares E h′² with its equations."""
    x, h = (scale * jax.random.normal(jax.random.key(n), (256, UNITS))
            for n, scale in enumerate(SIDES[side]))  # fmt: skip
    norm = jnp.sqrt(jnp.mean((x + h) ** 2, axis=1, keepdims=True))
    x, h = x / norm, h / norm
    out = np.asarray(run(trees, x, h), np.float64)
    with_unit_variance(out / np.sqrt(expected_square(kind, side, 1.0)))


def agree(theirs, ours, leaf):
    theirs, ours = (np.asarray(x, np.float64).ravel() for x in (theirs, ours))
    assert theirs.size == ours.size
    if theirs.std() < 1e-7:
        np.testing.assert_allclose(ours, theirs, err_msg=leaf)
        return
    if len(np.unique(theirs)) < 4:
        np.testing.assert_allclose(ours, theirs, err_msg=leaf)
        return
    assert stats.ks_2samp(theirs, ours).pvalue > ALPHA, leaf
    assert ours.std() == pytest.approx(theirs.std(), rel=6 / np.sqrt(theirs.size)), leaf


def compare(real, layers, host, preset=None):
    ours = parameters.initialize(jax.random.key(7), real, preset or host, host=host, layers=layers)
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(real), jax.tree_util.tree_leaves(ours), strict=True
    )
    for (path, theirs), made in pairs:
        agree(theirs, made, path_of(path))
        # Orthogonal entries have the σ and nearly the law of independent ones.
        assert orthogonal(theirs) == orthogonal(made), path_of(path)


def orthogonal(matrix):
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim != 2 or min(matrix.shape) < 2:
        return False
    narrow = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    product = narrow.T @ narrow
    return np.allclose(product, np.eye(len(product)) * product[0, 0], atol=1e-3)
