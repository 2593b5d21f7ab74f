"""Pictures of what theory says: a phase diagram, and a prediction layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from jinit.report.plots._style import BLUE, GREY, ORANGE, VERMILION, axes_of, check_found, record
from jinit.theory import PhaseDiagram, Prediction


def phase_diagram(
    found: PhaseDiagram, *, mark: tuple[float, float, str] | None = None, ax: Any = None
) -> Any:
    """Depth to which a signal gets (6 ξ_c) over σ_w² and σ_b², with the edge of chaos.

    Dashed is where lengths begin to grow for ever: no critical point, though χ₁ may pass 1 there.
    White is where the theory has no number.

    Args:
      found: from :func:`jinit.theory.phase_diagram`.
      mark: σ_w², σ_b² and a name: a point of the user's; left out where it lies outside.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.
    """
    check_found(found, PhaseDiagram, "theory.phase_diagram(...)")
    ax = axes_of(ax, 6.2, 4.2)
    x, y = found.sigma_w**2, found.sigma_b**2
    depth = np.clip(np.asarray(found.scales.trainable_depth), 1.0, 1e4)
    colours = ax.pcolormesh(x, y, np.log10(depth), cmap="Blues", vmin=0, vmax=4, rasterized=True)
    bar = ax.figure.colorbar(colours, ax=ax, ticks=range(5))
    away = bool(np.isinf(found.scales.q_star).any())
    beyond = "\n(6 |ξ_∇| where lengths diverge)" if away else ""
    bar.set_label(f"layers a signal survives, 6 ξ_c{beyond}")
    bar.ax.set_yticklabels(["1", "10", "100", "1,000", "≥ 10⁴"])
    lines = ax.contour(x, y, depth, levels=[10, 30, 100, 300], colors=GREY, linewidths=0.8)
    # Close to the edge lines crowd: the deepest has no label.
    ax.clabel(lines, levels=lines.levels[:-1], fmt="%d", fontsize=7, colors="black")
    # One label to the left of its line and one to the right: the two may lie on each other.
    for name, line, style, side in (
        ("edge of chaos", critical_line(found), "-", "right"),
        ("lengths diverge", divergence_line(found), "--", "left"),
    ):
        if not line:
            continue
        across, up = np.array(line).T
        ax.plot(across, up, color=VERMILION, lw=2, ls=style, marker="." if len(line) == 1 else None)
        middle = np.argmin(np.abs(up - (0.4 * y[0] + 0.6 * y[-1])))
        at_foot = up[middle] - y[0] < 0.03 * (y[-1] - y[0])
        offset = -8 if side == "right" else 8, 8 if at_foot else 0
        ax.annotate(name, (across[middle], up[middle]), color=VERMILION, fontsize=9, ha=side,
                    xytext=offset, textcoords="offset points", va="center",
                    bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5})  # fmt: skip
        record(ax, name, across, up)
    chi, settles = np.asarray(found.scales.chi_1), np.isfinite(found.scales.q_star)
    for name, inside in (("ordered", chi < 1), ("chaotic", (chi > 1) & settles)):
        if inside.mean() > 0.05:
            rows, columns = np.nonzero(inside)
            row, column = int(np.quantile(rows, 0.85)), int(np.median(columns))
            at, shade = (x[column], y[row]), np.log10(depth)[row, column]
            dark = shade > 2.2
            box = None if dark else {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5}
            ax.text(
                *at, name, fontsize=10, ha="center", color="white" if dark else "black", bbox=box
            )
    if mark is not None and x[0] <= mark[0] <= x[-1] and y[0] <= mark[1] <= y[-1]:
        ax.plot(*mark[:2], "o", color=ORANGE, mec="black", ms=8, clip_on=False, zorder=5)
        ax.annotate(mark[2], mark[:2], xytext=(8, 8), textcoords="offset points", fontsize=9,
                    bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5})  # fmt: skip
        record(ax, mark[2], [mark[0]], [mark[1]])
    ax.set(xlabel="σ_w² = fan_in · Var W", ylabel="σ_b² = Var b", xlim=(x[0], x[-1]),
           ylim=(y[0], y[-1]))  # fmt: skip
    ax.set_title(found.activation, loc="left", fontsize=11)
    return ax


def critical_line(found: PhaseDiagram) -> list[tuple[float, float]]:
    """σ_w² and σ_b² of critical points within the diagram, exact, ascending in q*."""
    points = np.stack([found.critical.sigma_w, found.critical.sigma_b], 1) ** 2
    x, y = found.sigma_w**2, found.sigma_b**2
    inside = (points >= (x[0], y[0])) & (points <= (x[-1], y[-1]))
    points = points[inside.all(1)]
    # One point at every q* (ReLU's) is one point.
    new = np.append(True, np.abs(np.diff(points, axis=0)).max(1) > 1e-9)[: len(points)]
    return [(float(a), float(b)) for a, b in points[new]]


def divergence_line(found: PhaseDiagram) -> list[tuple[float, float]]:
    """σ_w² and σ_b² from which on lengths grow for ever (q* = ∞), row by row of the grid.

    In the middle between the last σ_w² at which they settle and the first at which they do not,
    averaged over up to nine rows, without the steps of the grid.
    """
    x, lost = found.sigma_w**2, np.isinf(found.scales.q_star)
    rows, cells = np.nonzero(~lost[:, :-1] & lost[:, 1:])
    middle, count = (x[cells] + x[cells + 1]) / 2, len(rows)
    reach = [min(4, i, count - 1 - i) for i in range(count)]
    across = [float(middle[i - near : i + near + 1].mean()) for i, near in enumerate(reach)]
    return [(a, float(found.sigma_b[row] ** 2)) for a, row in zip(across, rows, strict=True)]


def prediction(found: Prediction, *, title: str = "", ax: Any = None) -> Any:
    """E z² and the squared gradient by layer on a log scale, with bands of single networks.

    Args:
      found: from :func:`jinit.theory.predict`.
      title: above the axes.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.
    """
    check_found(found, Prediction, "theory.predict(...)")
    ax = axes_of(ax)
    layer = np.arange(1, len(found.names) + 1)
    for mean, band, colour, style, label in (
        (found.second_moment, found.second_moment_band, BLUE, "-", "E z² (forward)"),
        (found.gradient, found.gradient_band, VERMILION, (0, (5, 2)), "‖∂L/∂z‖² (backward)"),
    ):
        shown = np.where(np.isfinite(mean) & (mean > 0), mean, np.nan)
        ax.plot(layer, shown, color=colour, ls=style, lw=1.8, label=label)
        low, high = (np.where(np.isfinite(end) & (end > 0), end, np.nan) for end in band)
        ax.fill_between(layer, low, high, color=colour, alpha=0.18, lw=0)
        record(ax, label, layer, shown, low, high)
    ax.set(xlabel="layer (the last is the output)", ylabel="expected", yscale="log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_title(title, loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax
