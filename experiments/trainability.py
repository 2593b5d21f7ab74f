"""Is a deep tanh network trainable where theory says that a signal passes through all layers?"""

from __future__ import annotations

import time

import numpy as np
from scipy import stats as scipy_stats

import jinit
from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, sweep
from jinit import theory
from jinit.report import plots

NUMBER = None
PAPER = "Schoenholz et al. 2017"
TITLE = "Trainable to about six correlation lengths: depth against σ_w², tanh"
WHERE = "figure 5"
CLAIM = (
    "Random networks may be trained precisely when information can travel through them: networks "
    "are trainable when their depth is below about six times the depth scale ξ_c."
)
BIAS_VARIANCE, WIDTH = 0.05, 64
TEST = (
    "tanh, σ_b² = .05, width 64, digits, SGD at 0.01, batches of 32, 300 steps; median test "
    "accuracy over 32 seeds, for each depth L and σ_w². (a) Spearman's correlation of accuracy "
    "with L/ξ_c is -.7 or less; (b) every cell with L ≥ 1.3 · 6 ξ_c has accuracy ≤ .45; (c) every"
    " cell with L ≤ 0.5 · 6 ξ_c has accuracy ≥ .70. Cells between are not judged. Holds if all; "
    "with a limit if (a) and (b) hold and (c) does up to depth 60, beyond which width 64 is not "
    "wide; else not."
)


def measure(scale: Scale) -> dict:
    depths = scale((10, 15, 60), (10, 15, 20, 30, 45, 60, 100, 300))
    variances = scale((1.0, 1.76, 4.0), (1.0, 1.3, 1.5, 1.76, 2.0, 2.5, 3.2, 4.0))
    seeds = scale(2, 32)
    grid = jinit.Grid(
        initializer=tuple(f"fan_in_normal(k={k})" for k in variances),
        bias_initializer=f"normal({BIAS_VARIANCE**0.5:.6f})", activation="tanh", depth=depths,
        width=WIDTH, batch_size=32, steps=300, learning_rate=0.01, evaluations=2, seeds=seeds,
    )  # fmt: skip
    start = time.perf_counter()
    table = sweep(grid)
    seconds = time.perf_counter() - start
    accuracy = np.array([
        [
            np.median(np.nan_to_num(table.select(depth=depth, initializer=arm)["test_accuracy"]
                                    .astype(float)))
            for arm in grid.labels("initializer")
        ]
        for depth in depths
    ])  # fmt: skip
    reach = [
        float(theory.depth_scales("tanh", k**0.5, BIAS_VARIANCE**0.5).trainable_depth)
        for k in variances
    ]
    return {
        "depths": depths, "variances": variances, "accuracy": accuracy, "reach": reach,
        "seeds": seeds, "runs": len(table), "seconds": seconds,
        "diverged": int(np.sum(table["diverged"])),
    }  # fmt: skip


def decide(numbers: dict) -> Verdict:
    accuracy, depth = np.array(numbers["accuracy"]), np.array(numbers["depths"])[:, None]
    share = depth / np.array(numbers["reach"])
    rank = float(scipy_stats.spearmanr(accuracy.ravel(), share.ravel()).statistic)
    beyond, within = share >= 1.3, share <= 0.5
    deep = np.broadcast_to(depth > 60, accuracy.shape)
    lost = int((accuracy[beyond] > 0.45).sum())
    missed = within & (accuracy < 0.70)
    shallow = int((missed & ~deep).sum())
    failed = int(missed.sum())
    answer = (
        f"{numbers['runs']:,} runs; Spearman {rank:.2f}; of "
        f"{int(beyond.sum())} cells beyond 1.3 · 6 ξ_c {lost} train; of {int(within.sum())} within "
        f"half of it {failed} do not train to .70 ({shallow} of them to depth 60, all chaotic: "
        f"{float(accuracy[missed & ~deep].min(initial=1.0)):.2f} or more)"
    )
    fine = rank <= -0.7 and lost == 0
    kind = HOLDS if fine and not failed else LIMITED if fine and not shallow else FAILS
    return Verdict(kind, answer)


def draw(numbers: dict):
    variances, depths = np.array(numbers["variances"]), np.array(numbers["depths"])
    ax = plots.new_axes(6.4, 4.4)
    cells = ax.pcolormesh(
        _edges(variances), _edges(np.log(depths.astype(float))), numbers["accuracy"], cmap="Greys",
        vmin=0, vmax=1,
    )  # fmt: skip
    ax.figure.colorbar(cells, ax=ax, label="median test accuracy")
    fine = np.linspace(variances[0], variances[-1], 301)
    scales = theory.phase_diagram("tanh", np.sqrt(fine), [BIAS_VARIANCE**0.5]).scales
    reach = np.asarray(scales.trainable_depth)[0]
    ax.plot(fine, np.log(reach), color=plots.COLORS["vermilion"], lw=2.2, label="6 ξ_c")
    critical = theory.edge_of_chaos("tanh", BIAS_VARIANCE**0.5) ** 2
    ax.axvline(critical, color=plots.COLORS["blue"], ls=(0, (4, 2)), lw=1.2, label="edge of chaos")
    ax.set(xlabel="σ_w²", ylabel="depth (hidden layers)", yticks=np.log(depths),
           ylim=_edges(np.log(depths.astype(float)))[[0, -1]])  # fmt: skip
    ax.set_yticklabels([str(depth) for depth in depths])
    ax.legend(loc="upper right", fontsize=8)
    for depth, row in zip(depths, numbers["accuracy"], strict=True):
        plots.record(ax, f"depth {depth}", variances, row)
    return ax


def _edges(centres: np.ndarray) -> np.ndarray:
    """Borders of cells around these centres."""
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
