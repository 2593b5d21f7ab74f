"""How fast does a residual stream grow with depth, and do Fixup and SkipInit stop its growth?"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

import jinit
from experiments.harness import FAILS, HOLDS, Scale, Verdict, text
from jinit import calibrate, engine, models, stats, theory
from jinit.report import plots

NUMBER = None
PAPER = "Zhang, Dauphin & Ma 2019; De & Smith 2020; Yang & Schoenholz 2017"
TITLE = "Residual streams grow as 2^L with He's branches; Fixup and SkipInit hold them at 1"
WHERE = "Fixup section 2; SkipInit section 2; Yang & Schoenholz theorem 1"
CLAIM = (
    "Standard initializations make the variance of a residual network's stream grow exponentially "
    "with depth, because each branch adds as much as it receives; branches that start at zero, or "
    "smaller by the square root of their number, keep it bounded. With tanh it grows like a "
    "polynomial."
)
TEST = (
    "x + W₂ φ(W₁ x), width 512, 20 branches, no biases; k = 2 before ReLU, k = 1 at the linear "
    "end; E|x_L|²/|x_0|² over networks. (a) ReLU: 2^20 within 15 %, and from every branch to the "
    "next a factor 2 within 5 %; (b) branch times L^(-1/2): (1 + 1/L)^L within 5 %; (c) Fixup and "
    "SkipInit: exactly 1 on every network; (d) tanh, k = 1, 100 branches: every q_l is "
    "within 5 % of q_l = q_(l−1) + E tanh²(√q_(l−1) z), and ln(q_l − q_0) rises over ln l, from "
    "branch 10 on, with a slope below 1.25: a polynomial. Holds if all; else not."
)
WIDTH, BLOCKS, DEEP = 512, 20, 100


def _growth(how: str, blocks: int, width: int, seed: jax.Array) -> jax.Array:
    """E|x_l|² over |x_0|² after every branch of one network on one input."""
    activation, kernel = ("tanh", 1.0) if how == "tanh" else ("relu", 2.0)
    model = models.ResidualMLP(width, blocks, 1, activation, use_bias=False)
    key, start = jax.random.split(jax.random.key(seed))
    x = jax.random.normal(start, (2, width))
    shapes = models.as_model(model).shapes(x)
    inner, outer = f"fan_in_normal(k={kernel})", "fan_in_normal(k=1.0)"
    rules = {"*/layer_0/kernel": inner, "*/kernel": outer, "*/scale": "ones"}
    params = jinit.initialize(key, shapes, rules)
    if how == "scaled":
        params = jax.tree.map(lambda p: blocks**-0.5 * p if p.ndim == 0 else p, params)
    if how in ("fixup", "skipinit"):
        params, _ = getattr(calibrate, how)(key, model, params, x)
    outputs = model.apply({"params": params}, x, capture_intermediates=True)[1]["intermediates"]
    h = outputs["stem"]["__call__"][0]
    lengths = [jnp.sum(h[0] ** 2)]
    for index in range(blocks):
        h = h + outputs[f"block_{index}"]["__call__"][0]
        lengths.append(jnp.sum(h[0] ** 2))
    return jnp.stack(lengths) / lengths[0]


def measure(scale: Scale) -> dict:
    networks, width, numbers = scale(16, 64), scale(128, WIDTH), {}
    for how in ("he", "scaled", "fixup", "skipinit", "tanh"):
        blocks = scale(16, DEEP) if how == "tanh" else scale(6, BLOCKS)
        run = functools.partial(_growth, how, blocks, width)
        # Few lanes per tile: a hundred branches of width 512 take 200 MB.
        lanes = np.arange(networks, dtype=np.uint32)
        grown = np.asarray(engine.run(run, lanes, tile=2), np.float64)
        numbers[how] = {
            "by_branch": grown.mean(0), "least": grown.min(), "most": grown.max(),
            "whole": stats.bootstrap(grown[:, -1], np.mean),
        }  # fmt: skip
    seen = numbers["tanh"]["by_branch"]
    branches = theory.Architecture(residual=True, residual_first=True, sigma_v=1.0)
    expected = theory.propagate("tanh", 1.0, depth=len(seen), architecture=branches).q
    branch = np.arange(10, len(seen))
    slope = np.polyfit(np.log(branch), np.log(seen[10:] - 1), 1)[0]
    numbers |= {"slope": slope, "expected": expected, "seeds": networks}
    return numbers | {"slack": scale(2.0, 1.0)}


def decide(numbers: dict) -> Verdict:
    slack, he, scaled = numbers["slack"], numbers["he"], numbers["scaled"]
    blocks = len(he["by_branch"]) - 1
    steps = np.array(he["by_branch"][1:]) / np.array(he["by_branch"][:-1])
    bounded = (1 + 1 / blocks) ** blocks
    passed = abs(he["whole"]["estimate"] / 2.0**blocks - 1) <= 0.15 * slack
    passed &= bool(np.abs(steps / 2 - 1).max() <= 0.05 * slack)
    passed &= abs(scaled["whole"]["estimate"] / bounded - 1) <= 0.05 * slack
    passed &= all(
        numbers[how][end] == 1 for how in ("fixup", "skipinit") for end in ("least", "most")
    )
    gap = np.abs(np.array(numbers["tanh"]["by_branch"]) / np.array(numbers["expected"]) - 1).max()
    passed &= bool(gap <= 0.05 * slack) and numbers["slope"] < 1.25 * slack
    answer = (
        f"{blocks} branches: He {he['whole']['estimate'] / 2.0**blocks:.3f} · 2^{blocks}; times "
        f"L^-½ {text(scaled['whole'])} (theory {bounded:.3f}); Fixup and SkipInit "
        f"{numbers['fixup']['most']:g} and {numbers['skipinit']['most']:g} on all networks; tanh: "
        f"q_l within {gap:.1%} of theory, q_l − q_0 grows as l^{numbers['slope']:.2f}"
    )
    return Verdict(HOLDS if passed else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes(5.4, 3.6)
    for how, colour, style, label in (
        ("he", plots.COLORS["vermilion"], "-", "ReLU, He"),
        ("tanh", plots.COLORS["green"], "-.", "tanh, k = 1"),
        ("scaled", plots.COLORS["blue"], "--", "ReLU, He, branch × L^(−1/2)"),
        ("fixup", "black", ":", "Fixup, SkipInit"),
    ):
        values = np.array(numbers[how]["by_branch"])
        branch = np.arange(len(values))
        ax.plot(branch, values, color=colour, ls=style, lw=1.8, label=label)
        plots.record(ax, label, branch, values)
    ax.set(xlabel="branch l", ylabel="E|x_l|² / E|x_0|²", yscale="log", xlim=(0, 40))
    ax.legend(frameon=False, fontsize=8)
    return ax
