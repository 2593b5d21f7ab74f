"""Are the numbers of the article's worked example right, and is its rule Xavier's?"""

from __future__ import annotations

import numpy as np

import jinit
from experiments.harness import (
    FAILS,
    HOLDS,
    LIMITED,
    Scale,
    Verdict,
    interval,
    profile,
    sweep,
    text,
)
from jinit import initializers, stats
from jinit.report import plots

NUMBER = 9
TITLE = (
    "Worked example: U[±1/√n] with n = 10 has bounds ±0.316, mean 0, σ 0.18, and is Xavier's rule"
)
WHERE = "Xavier code example"
CLAIM = (
    "The Xavier initialization method is calculated as a random number with a uniform probability "
    "distribution (U) between the range -(1/sqrt(n)) and 1/sqrt(n) … bounds of the weight values "
    "are about -0.316 and 0.316 … the mean weight value is close to zero with the standard "
    "deviation close to 0.18."
)
TEST = (
    "1,000 draws of `fan_in_uniform` for n = 10, per seed: the numbers are right if all draws lie "
    "within ±0.3163, the 95 % interval of the mean over seeds lies in ±.01 and that of σ in "
    "[.175, .19]. The rule is Xavier's if, for tanh, 16 hidden layers of 64, its paired "
    "difference in test accuracy to `glorot_uniform` is within ±.02 (95 % interval). Holds if "
    "both; with a limit if only the numbers are right; else not."
)
WIDTHS = (2, 5, 10, 20, 50, 100, 200, 500)


def measure(scale: Scale) -> dict:
    seeds = scale(12, 64)
    init = initializers.get("fan_in_uniform")
    keys = [jinit.sweep.run_key(seed, "init") for seed in range(seeds)]
    draws = np.stack([np.asarray(init(key, (10, 1000))).ravel()[:1000] for key in keys])
    grid = jinit.Grid(
        initializer=("fan_in_uniform", "glorot_uniform"), activation="tanh",
        depth=scale(8, (2, 4, 8, 16)), steps=scale(150, 400), seeds=seeds,
    )  # fmt: skip
    table, depths = sweep(grid), {}
    for depth in grid.values("depth"):
        mine, xavier = (
            table.select(initializer=arm, depth=depth)["test_accuracy"].astype(float)
            for arm in grid.values("initializer")
        )
        depths[str(depth)] = {
            "accuracy": stats.bootstrap(mine, np.mean), "xavier": stats.bootstrap(xavier, np.mean),
            "difference": stats.bootstrap(mine - xavier, np.mean),
        }  # fmt: skip
    moments = {
        arm: np.median(
            np.asarray(profile(arm, "tanh", depth=8, width=64, seeds=seeds).second_moment), 0
        )
        for arm in grid.values("initializer")
    }
    return {
        "seeds": seeds, "low": draws.min(), "high": draws.max(), "depths": depths,
        "mean": stats.bootstrap(draws.mean(1), np.mean),
        "sigma": stats.bootstrap(draws.std(1), np.mean),
        "spread": {str(n): np.std(np.asarray(init(keys[0], (n, 1000)))) for n in WIDTHS},
        "factor": {arm: (m[7] / m[1]) ** (1 / 6) for arm, m in moments.items()},
    }  # fmt: skip


def decide(result: dict) -> Verdict:
    mean, sigma = interval(result["mean"]), interval(result["sigma"])
    numbers = (
        result["low"] >= -0.3163 and result["high"] <= 0.3163
        and mean.low >= -0.01 and mean.high <= 0.01
        and sigma.low >= 0.175 and sigma.high <= 0.19
    )  # fmt: skip
    deepest = max(result["depths"], key=int)
    gap = interval(result["depths"][deepest]["difference"])
    same = gap.low >= -0.02 and gap.high <= 0.02
    mine, xavier = result["factor"].values()
    answer = (
        f"draws in [{result['low']:.4f}, {result['high']:.4f}], mean {text(mean, True)}, σ "
        f"{text(sigma)} (theory 0.1826); but U[±1/√n] has n·Var W = 1/3, not 1: E z² changes by a "
        f"factor {mine:.2f} per tanh layer (Xavier: {xavier:.2f}); accuracy at depth {deepest}: "
        f"{text(result['depths'][deepest]['accuracy'])} against "
        f"{text(result['depths'][deepest]['xavier'])}"
    )
    if not numbers:
        return Verdict(FAILS, answer)
    return Verdict(HOLDS if same else LIMITED, answer)


def draw(numbers: dict):
    spread, deep = plots.new_axes(9.0, 3.4, panels=2)
    n = np.array([int(width) for width in numbers["spread"]])
    sigma = np.array(list(numbers["spread"].values()))
    spread.plot(n, 1 / np.sqrt(3 * n), color=plots.COLORS["grey"], lw=1, label="1/√(3n)")
    spread.plot(n, sigma, "o", color=plots.COLORS["blue"], label="σ of 1,000 n draws")
    plots.record(spread, "sigma", n, sigma)
    spread.set(xscale="log", yscale="log", xlabel="inputs n", ylabel="spread of the weights")
    depths = np.array([int(depth) for depth in numbers["depths"]])
    for number, (key, label) in enumerate((("accuracy", "U[±1/√n]"), ("xavier", "glorot_uniform"))):
        rows = [interval(row[key]) for row in numbers["depths"].values()]
        style, middle = plots.line_style(number), np.array([row.estimate for row in rows])
        ends = [middle - [r.low for r in rows], [r.high for r in rows] - middle]
        deep.errorbar(depths, middle, yerr=ends, capsize=3, label=label, **style)
        plots.record(deep, label, depths, middle, [r.low for r in rows], [r.high for r in rows])
    deep.set(xlabel="hidden tanh layers", ylabel="mean test accuracy [95 %]", ylim=(0, 1))
    for ax in (spread, deep):
        ax.legend(frameon=False, fontsize=8)
    return np.array([spread, deep])
