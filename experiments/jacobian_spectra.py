"""Is the spread of a deep Jacobian's singular values what free probability predicts?"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import FAILS, HOLDS, Scale, Verdict, formatted
from jinit import activations, engine, stats, theory
from jinit.report import plots

NUMBER = None
PAPER = "Pennington, Schoenholz & Ganguli 2017, 2018"
TITLE = "Variance of squared singular values grows as L; only orthogonal weights keep it small"
WHERE = "equation 22 (2018); figure 1 (2017)"
CLAIM = (
    "The variance of the spectrum of J Jᵀ is L (μ₂/μ₁² − 1 − s₁): dynamical isometry is impossible "
    "for ReLU and for Gaussian weights, and possible for tanh with orthogonal weights at small q."
)
TEST = (
    "Width 300, pre-activations drawn N(0, q); eigenvalues of J Jᵀ divided by their mean. (a) "
    "their variance is within 10 % of theory for linear Gaussian, ReLU orthogonal and ReLU "
    "Gaussian layers, L = 10, and below .01 for linear orthogonal ones; (b) for tanh, orthogonal, "
    "L = 100, q = 1/64 it is within 3 % of .168937. Holds if all; else not."
)
CASES = (
    ("identity", "gaussian", 10, 1.0), ("identity", "orthogonal", 10, 1.0),
    ("relu", "gaussian", 10, 1.0), ("relu", "orthogonal", 10, 1.0),
    ("tanh", "orthogonal", 100, 1 / 64),
)  # fmt: skip
WIDTH = 300


def _eigenvalues(name: str, weights: str, depth: int, q: float, seed: jax.Array) -> jax.Array:
    """Eigenvalues of J Jᵀ divided by their mean, ascending."""
    slope = jax.vmap(jax.grad(lambda x: activations.get(name).function(x)))

    def layer(product: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        inner, outer = jax.random.split(key)
        if weights == "orthogonal":
            w = jax.random.orthogonal(inner, WIDTH)
        else:
            w = jax.random.normal(inner, (WIDTH, WIDTH)) / WIDTH**0.5
        d = slope(q**0.5 * jax.random.normal(outer, (WIDTH,)))
        product = d[:, None] * (w @ product)
        return product / jnp.sqrt(jnp.mean(product**2) * WIDTH), None

    keys = jax.random.split(jax.random.key(seed), depth)
    product, _ = jax.lax.scan(layer, jnp.eye(WIDTH), keys)
    values = jnp.linalg.eigvalsh(product @ product.T)
    return values / values.mean()


def measure(scale: Scale) -> dict:
    networks, rows = scale(2, 32), []
    for name, weights, depth, q in scale(CASES[1:4], CASES):
        run = functools.partial(_eigenvalues, name, weights, depth, q)
        values = np.asarray(engine.run(run, np.arange(networks, dtype=np.uint32)), np.float64)
        expected = theory.jacobian_spectrum(name, 1.0, q, depth=depth, weights=weights)
        rows.append({
            "name": name, "weights": weights, "depth": depth,
            "variance": stats.bootstrap(values.var(1), np.mean), "theory": float(expected.variance),
            "largest": values[:, -1].mean(), "values": values.mean(0)[::5],
        })  # fmt: skip
    return {"rows": rows, "seeds": networks, "slack": scale(2.0, 1.0)}


def decide(numbers: dict) -> Verdict:
    passed, parts = [], []
    for row in numbers["rows"]:
        allowed = (0.03 if row["name"] == "tanh" else 0.10) * numbers["slack"]
        variance = row["variance"]["estimate"]
        if row["theory"] < 1e-6:
            passed.append(variance < 0.01)
        else:
            passed.append(abs(variance / row["theory"] - 1) <= allowed)
        parts.append(
            f"{row['name']} {row['weights']}, L {row['depth']}: "
            f"{formatted(row['variance'], '.4g')} (theory {row['theory']:.4g})"
        )
    return Verdict(HOLDS if all(passed) else FAILS, "; ".join(parts))


def draw(numbers: dict):
    ax = plots.new_axes(5.8, 3.8)
    for number, row in enumerate(numbers["rows"]):
        values = np.sqrt(np.maximum(np.array(row["values"])[::-1], 1e-12))
        share = (np.arange(len(values)) + 0.5) / len(values)
        style = plots.line_style(number)
        label = f"{row['name']} {row['weights']}, L {row['depth']}"
        ax.plot(share, values, color=style["color"], ls=style["linestyle"], lw=1.7, label=label)
        plots.record(ax, label, share, values)
    ax.set(xlabel="rank / width", ylabel="singular value over its rms", ylim=(0, 5), xlim=(0, 1))
    ax.legend(frameon=False, fontsize=7.5)
    return ax
