"""How fast do two inputs merge on the edge of chaos, in ReLU and in tanh networks?"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import FAILS, HOLDS, Scale, Verdict, text
from jinit import engine, stats, theory
from jinit.report import plots
from jinit.theory import in_float64

NUMBER = None
PAPER = "Hayou, Doucet & Rousseau 2019"
TITLE = "On the edge of chaos inputs merge as 1/l² through ReLU, only as β/l through tanh"
WHERE = "propositions 2 and 3"
CLAIM = (
    "On the edge of chaos the correlation of two inputs converges to 1 at a polynomial rate: as "
    "9π²/(2 l²) for ReLU, as β/l for smooth activations, which therefore carry information deeper."
)
TEST = (
    "Correlations from c₀ = 0 through 10,000 layers; ReLU at (σ_b, σ_w) = (0, √2), tanh at σ_b² = "
    ".05 and its critical σ_w. (a) ReLU: l²(1 − c_l) is 43.1297325 at l = 1,000 and 44.2519274 at "
    "10,000 to 1e-5, on the way to 9π²/2 = 44.4132; (b) tanh: the slope of 1/(1 − c_l) between l "
    "= 5,000 and 10,000 is 1/β within .1 %; (c) in networks of width 1,000 the mean of 1 − c at "
    "layer 10 is within 15 % of theory for both (deeper, width 1,000 is not infinite: the picture "
    "shows it). Holds if all; else not."
)
BIAS, WIDTH, SHOWN, JUDGED = 0.05, 1000, 30, 10
EXACT = {1000: 43.1297325, 10_000: 44.2519274}


def _distances(name: str, sigma_w: float, sigma_b: float, q: float, width: int, seed: jax.Array):
    """1 − correlation of the pre-activations of two inputs, at every layer of one network."""
    phi = {"relu": jax.nn.relu, "tanh": jnp.tanh}[name]

    def layer(z: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernel, bias = jax.random.split(key)
        distance = jnp.sum((z[0] - z[1]) ** 2) / jnp.sum(z**2)
        w = jax.random.normal(kernel, (width, width)) * sigma_w / width**0.5
        return phi(z) @ w + sigma_b * jax.random.normal(bias, (width,)), distance

    start, rest = jax.random.split(jax.random.key(seed))
    first = q**0.5 * jax.random.normal(start, (2, width))
    return jax.lax.scan(layer, first, jax.random.split(rest, SHOWN))[1]


def measure(scale: Scale) -> dict:
    networks, width, last, numbers = scale(16, 64), scale(300, WIDTH), scale(1000, 10_000), {}
    smooth = theory.edge_of_chaos("tanh", BIAS**0.5)
    q_star = float(in_float64(theory.depth_scales, "tanh", smooth, BIAS**0.5).q_star)
    for name, sigma_w, sigma_b, q in (
        ("relu", 2**0.5, 0.0, 1.0),
        ("tanh", smooth, BIAS**0.5, q_star),
    ):
        deep = functools.partial(
            theory.propagate, name, sigma_w, sigma_b, depth=last + 1, q=q, tabulated=last > 1000
        )
        gap = np.asarray(in_float64(deep).gap)
        run = functools.partial(_distances, name, sigma_w, sigma_b, q, width)
        seen = np.asarray(engine.run(run, np.arange(networks, dtype=np.uint32)), np.float64)
        layers = np.unique(np.geomspace(1, last, 60).astype(int))
        numbers[name] = {
            "layers": layers, "gap": gap[layers], "seen": seen.mean(0), "theory": gap[JUDGED - 1],
            "measured": stats.bootstrap(seen[:, JUDGED - 1], np.mean),
            "squared": {str(at): f"{at**2 * gap[at]:.7f}" for at in EXACT if at <= last},
            "slope": (1 / gap[last] - 1 / gap[last // 2]) / (last // 2),
        }  # fmt: skip
    numbers["beta"] = theory.critical_rate("tanh", BIAS**0.5)
    return numbers | {"seeds": networks, "slack": scale(2.0, 1.0)}


def decide(numbers: dict) -> Verdict:
    relu, tanh, beta = numbers["relu"], numbers["tanh"], numbers["beta"]
    off = [abs(float(value) / EXACT[int(at)] - 1) for at, value in relu["squared"].items()]
    networks = [abs(row["measured"]["estimate"] / row["theory"] - 1) for row in (relu, tanh)]
    passed = max(off) <= 1e-5 and abs(tanh["slope"] * beta - 1) <= 1e-3 * numbers["slack"] ** 3
    passed &= max(networks) <= 0.15 * numbers["slack"]
    squared = ", ".join(f"{value} at {int(at):,}" for at, value in relu["squared"].items())
    answer = (
        f"ReLU l²(1 − c_l): {squared}; tanh: slope of 1/(1 − c_l) {tanh['slope']:.6f}, 1/β "
        f"{1 / beta:.6f}. 1 − c at layer {JUDGED} of networks: ReLU {text(relu['measured'])} "
        f"(theory {relu['theory']:.4f}), tanh {text(tanh['measured'])} ({tanh['theory']:.4f})"
    )
    return Verdict(HOLDS if passed else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes(5.6, 3.6)
    for name, colour, style in (
        ("tanh", plots.COLORS["blue"], "-"),
        ("relu", plots.COLORS["vermilion"], "--"),
    ):
        row = numbers[name]
        ax.plot(row["layers"], row["gap"], color=colour, ls=style, lw=1.8, label=f"{name}, theory")
        shown = np.arange(1, SHOWN)
        ax.plot(shown, row["seen"][1:], ".", color=colour, ms=5, label=f"{name}, networks")
        plots.record(ax, name, row["layers"], np.array(row["gap"]))
    far = np.geomspace(30, 10_000, 20)
    ax.plot(
        far, numbers["beta"] / far, color=plots.COLORS["grey"], ls=":", label="β/l and 9π²/(2l²)"
    )
    ax.plot(far, 4.5 * np.pi**2 / far**2, color=plots.COLORS["grey"], ls=":")
    ax.set(xlabel="layer l", ylabel="1 − correlation of two inputs", xscale="log", yscale="log")
    ax.legend(frameon=False, fontsize=8)
    return ax
