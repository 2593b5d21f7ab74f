"""Are the mean-field maps, phases and depth scales of tanh networks what SciPy computes?"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, optimize

from experiments.harness import FAILS, HOLDS, Scale, Verdict
from jinit import engine, theory
from jinit.report import plots
from jinit.theory import in_float64

NUMBER = None
PAPER = "Poole et al. 2016; Schoenholz et al. 2017"
TITLE = "Length and correlation maps, phases and depth scales of tanh networks"
WHERE = "Poole figures 1 and 2; Schoenholz figures 1 to 4"
CLAIM = (
    "In wide random tanh networks lengths and correlations follow one-dimensional maps. Their "
    "fixed points divide the plane of σ_w and σ_b into an ordered and a chaotic phase, and depth "
    "scales diverge at the border, at σ_w² = 1.76 for σ_b² = .05."
)
TEST = (
    "tanh at σ_b² = .05 and σ_w² = 1, 1.4, 1.76, 2.5 and 4. (a) q*, χ₁ and c* agree with SciPy's "
    "adaptive quadrature and root finder to 1e-5, ξ_c to 1e-4 where it is below 200, and the "
    "critical σ_w² is 1.760955 to 1e-6; (b) the mean of E z² over layers 15 to 40 of networks of "
    "width 1,000 is within 4 % of q*. Holds if all; else not."
)
BIAS, WEIGHTS, WIDTH = 0.05, (1.0, 1.4, 1.76, 2.5, 4.0), 1000
COLOURS = [plots.COLORS.get(name, name) for name in ("blue", "sky", "black", "orange", "vermilion")]
_NODES, _SHARES = np.polynomial.hermite_e.hermegauss(120)


def _mean(f) -> float:
    """E f(z), z standard normal."""
    density = (2 * np.pi) ** -0.5
    return integrate.quad(lambda z: f(z) * np.exp(-z * z / 2) * density, -12, 12, epsabs=1e-12)[0]


def _by_scipy(k: float) -> dict:
    def length(q: float) -> float:
        return k * _mean(lambda z: np.tanh(q**0.5 * z) ** 2) + BIAS - q

    q = optimize.brentq(length, 1e-6, 10, xtol=1e-13)
    chi = k * _mean(lambda z: np.cosh(q**0.5 * z) ** -4.0)

    def product(z: float, c: float) -> float:
        other = np.tanh(q**0.5 * (c * z + (1 - c * c) ** 0.5 * _NODES))
        return np.tanh(q**0.5 * z) * (other @ _SHARES) / _SHARES.sum()

    def correlation(c: float) -> float:
        both = _mean(lambda z: product(z, c))
        return (k * both + BIAS) / q - c

    c, slope = 1.0, chi
    if chi > 1:
        c = optimize.brentq(correlation, 0.0, 1 - 1e-3, xtol=1e-12)
        slope = 1 + (correlation(c + 1e-5) - correlation(c - 1e-5)) / 2e-5
    return {"q": q, "chi": chi, "c": c, "xi": -1 / np.log(slope)}


def _lengths(k: float, width: int, depth: int, seed: jax.Array) -> jax.Array:
    """E z² of every layer of one network on one input."""
    keys = jax.random.split(jax.random.key(seed), depth)

    def layer(h: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        drawn = jax.random.normal(key, (width + 1, width))
        z = h @ drawn[1:] * (k / width) ** 0.5 + drawn[0] * BIAS**0.5
        return jnp.tanh(z), jnp.mean(z**2)

    return jax.lax.scan(layer, jnp.ones(width), keys)[1]


def measure(scale: Scale) -> dict:
    width, seeds, rows = scale(300, WIDTH), np.arange(scale(8, 32), dtype=np.uint32), []
    for k in WEIGHTS:
        # ξ_c diverges at the edge of chaos, where float32 cannot resolve its value.
        scales = in_float64(theory.depth_scales, "tanh", k**0.5, BIAS**0.5)
        measured = np.asarray(engine.run(functools.partial(_lengths, k, width, 40), seeds))
        rows.append({
            "k": k, "q": float(scales.q_star), "chi": float(scales.chi_1),
            "c": float(scales.c_star), "xi": float(scales.xi_c), "scipy": _by_scipy(k),
            "measured": measured[:, 14:].mean(), "layers": measured.mean(0),
        })  # fmt: skip
    critical = f"{theory.edge_of_chaos('tanh', BIAS**0.5) ** 2:.8f}"
    return {"seeds": len(seeds), "rows": rows, "critical": critical, "slack": scale(1.5, 1.0)}


def decide(numbers: dict) -> Verdict:
    exact = abs(float(numbers["critical"]) - 1.760955) <= 1e-6
    for row in numbers["rows"]:
        off = {name: abs(row[name] / value - 1) for name, value in row["scipy"].items()}
        exact &= max(off["q"], off["chi"], off["c"]) <= 1e-5
        exact &= off["xi"] <= 1e-4 or row["xi"] > 200
    gap = max(abs(row["measured"] / row["q"] - 1) for row in numbers["rows"])
    passed = exact and gap <= 0.04 * numbers["slack"]
    each = "; ".join(
        f"σ_w² = {row['k']}: q* {row['q']:.5f}, χ₁ {row['chi']:.5f}, c* {row['c']:.5f}, ξ_c "
        f"{row['xi']:.4g}" for row in numbers["rows"][::2]
    )  # fmt: skip
    answer = f"critical σ_w² {numbers['critical']}; {each}; networks off by {gap:.1%} or less"
    return Verdict(HOLDS if passed else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes(5.4, 3.6)
    for row, colour in zip(numbers["rows"], COLOURS, strict=True):
        layer = np.arange(1, len(row["layers"]) + 1)
        ax.plot(layer, row["layers"], color=colour, lw=1.5, label=f"σ_w² = {row['k']}")
        ax.axhline(row["q"], color=colour, ls=":", lw=1.2)
        plots.record(ax, f"sigma_w^2 = {row['k']}", layer, row["layers"])
    ax.plot([], [], color=plots.COLORS["grey"], ls=":", label="q* by theory")
    ax.set(xlabel="layer", ylabel="E z²", yscale="log")
    ax.set_yticks([0.2, 0.5, 1, 2, 4], ["0.2", "0.5", "1", "2", "4"])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize=8, ncol=2)
    return ax
