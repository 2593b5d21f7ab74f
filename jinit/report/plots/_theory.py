"""Draws theory: a phase diagram, and a prediction layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jinit import errors
from jinit.report.plots._figure import axes_of, check_drawable, integer_ticks, record
from jinit.report.plots._style import BLUE, GREY, ORANGE, VERMILION
from jinit.theory._phase import PhaseDiagram
from jinit.theory._predict import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The numbers of layers at which contour lines are drawn.
_LEVELS = [10.0, 30.0, 100.0, 300.0]
_LABEL_BOX = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5}


def phase_diagram(
    diagram: PhaseDiagram,
    *,
    mark: tuple[float, float, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws the depth that a signal survives (6 ξ_c) over σ_w² and σ_b², with the edge of chaos.

    A dashed line shows where lengths begin to grow without bound; that line is not critical,
    although χ₁ may cross 1 there. White areas have no prediction.

    Args:
      diagram: from :func:`jinit.theory.phase_diagram`.
      mark: (σ_w², σ_b², name) of a point to mark; a point outside the diagram is left out.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.

    Raises:
      TypeError: ``diagram`` is not a PhaseDiagram.
      ValueError: a diagram with a single σ_w or σ_b.
      MissingExtraError: matplotlib is not installed.

    Reference: Poole et al. 2016, fig. 1; Schoenholz et al. 2017, fig. 5.

    >>> from jinit import theory
    >>> sides = np.linspace(0.5, 2, 8), np.linspace(0, 0.5, 8)
    >>> phase_diagram(theory.phase_diagram("tanh", *sides)).get_title(loc="left")
    'tanh'
    """
    check_drawable(diagram, PhaseDiagram, "theory.phase_diagram(...)")
    sizes = len(diagram.sigma_b), len(diagram.sigma_w)
    if min(sizes) < 2:
        raise errors.refusal(
            "phase diagram",
            f"{sizes[0]} sigma_b and {sizes[1]} sigma_w",
            "at least two of each: a picture has two sides",
            "theory.phase_diagram(activation, np.linspace(0.5, 3, 200), np.linspace(0, 1, 100))",
        )
    ax = axes_of(ax, 6.2, 4.2)
    x, y = diagram.sigma_w**2, diagram.sigma_b**2
    depth = np.clip(np.asarray(diagram.scales.trainable_depth), 1.0, 1e4)
    _draw_depth(ax, diagram, x, y, depth)
    # The two lines may coincide, so one has its label on the left and the other on the right.
    _draw_line(ax, "edge of chaos", diagram.critical_line(), y, style="-", side="right")
    _draw_line(ax, "lengths diverge", diagram.divergence_line(), y, style="--", side="left")
    _name_phases(ax, diagram, x, y, depth)
    if mark is not None and x[0] <= mark[0] <= x[-1] and y[0] <= mark[1] <= y[-1]:
        ax.plot(*mark[:2], "o", color=ORANGE, mec="black", ms=8, clip_on=False, zorder=5)
        ax.annotate(
            mark[2],
            mark[:2],
            xytext=(8, 8),
            textcoords="offset points",
            fontsize=9,
            bbox=_LABEL_BOX,
        )
        record(ax, mark[2], [mark[0]], [mark[1]])
    ax.set(
        xlabel="σ_w² = fan_in · Var W",
        ylabel="σ_b² = Var b",
        xlim=(x[0], x[-1]),
        ylim=(y[0], y[-1]),
    )
    ax.set_title(diagram.activation, loc="left", fontsize=11)
    return ax


def _draw_depth(
    ax: Axes, diagram: PhaseDiagram, x: np.ndarray, y: np.ndarray, depth: np.ndarray
) -> None:
    """Draws the depth as colours with a colour bar, and as contour lines."""
    colours = ax.pcolormesh(x, y, np.log10(depth), cmap="Blues", vmin=0, vmax=4, rasterized=True)
    bar = ax.figure.colorbar(colours, ax=ax, ticks=range(5))
    diverges = bool(np.isinf(diagram.scales.q_star).any())
    beyond = "\n(6 |ξ_∇| where lengths diverge)" if diverges else ""
    bar.set_label(f"layers a signal survives, 6 ξ_c{beyond}")
    bar.ax.set_yticklabels(["1", "10", "100", "1,000", "≥ 10⁴"])
    lines = ax.contour(x, y, depth, levels=_LEVELS, colors=GREY, linewidths=0.8)
    # Contour lines are close together near the edge of chaos, most of all if lengths diverge beyond
    # it, so the deepest ones have no label.
    labelled = _LEVELS[: 2 if diverges else 3]
    ax.clabel(lines, levels=labelled, fmt="%d", fontsize=7, colors="black")


def _draw_line(
    ax: Axes,
    name: str,
    line: np.ndarray,
    y: np.ndarray,
    *,
    style: str,
    side: str,
) -> None:
    if not len(line):
        return
    across, up = line.T
    ax.plot(across, up, color=VERMILION, lw=2, ls=style, marker="." if len(line) == 1 else None)
    middle = np.argmin(np.abs(up - (0.4 * y[0] + 0.6 * y[-1])))
    at_foot = up[middle] - y[0] < 0.03 * (y[-1] - y[0])
    ax.annotate(
        name,
        (across[middle], up[middle]),
        color=VERMILION,
        fontsize=9,
        ha=side,
        va="center",
        xytext=(-8 if side == "right" else 8, 8 if at_foot else 0),
        textcoords="offset points",
        bbox=_LABEL_BOX,
    )
    record(ax, name, across, up)


def _name_phases(
    ax: Axes, diagram: PhaseDiagram, x: np.ndarray, y: np.ndarray, depth: np.ndarray
) -> None:
    """Writes "ordered" and "chaotic" into phases that fill more than 5 % of the diagram."""
    chi, bounded = np.asarray(diagram.scales.chi_1), np.isfinite(diagram.scales.q_star)
    for name, inside in (("ordered", chi < 1), ("chaotic", (chi > 1) & bounded)):
        if inside.mean() <= 0.05:
            continue
        rows, columns = np.nonzero(inside)
        row = int(np.quantile(rows, 0.85))
        column = _away_from_lines(depth[row], np.flatnonzero(inside[row]), int(np.median(columns)))
        dark = np.log10(depth)[row, column] > 2.2
        ax.text(
            x[column],
            y[row],
            name,
            fontsize=10,
            ha="center",
            color="white" if dark else "black",
            bbox=None if dark else _LABEL_BOX,
        )


def _away_from_lines(depth: np.ndarray, columns: np.ndarray, middle: int) -> int:
    """The column of ``columns`` farthest from contour lines, whose labels the name would cover."""
    above = depth[:, None] > np.array(_LEVELS)
    lines = np.flatnonzero((above[1:] != above[:-1]).any(1)) + 0.5
    edges = np.array([-0.5, len(depth) - 0.5])
    if not len(columns) or not len(lines):
        return middle
    distance = np.abs(columns[:, None] - np.concatenate([lines, edges])).min(1)
    return int(columns[distance.argmax()])


def prediction(predicted: Prediction, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draws expected E z² and squared gradients by layer, with bands that hold 95 % of networks.

    Args:
      predicted: from :func:`jinit.theory.predict`.
      title: the text above the axes.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.

    Raises:
      TypeError: ``predicted`` is not a Prediction. MissingExtraError: matplotlib is not installed.

    >>> from jinit import initializers, models, theory
    >>> kernel, bias = initializers.get("he_normal"), initializers.get("zeros")
    >>> network = models.MLP(features=(8, 2))
    >>> prediction(theory.predict(network, 8, kernel=kernel, bias=bias)).get_yscale()
    'log'
    """
    check_drawable(predicted, Prediction, "theory.predict(...)")
    ax = axes_of(ax)
    layer = np.arange(1, len(predicted.names) + 1)
    passes = (
        (predicted.second_moment, predicted.second_moment_band, BLUE, "-", "E z² (forward)"),
        (
            predicted.gradient,
            predicted.gradient_band,
            VERMILION,
            (0, (5, 2)),
            "‖∂L/∂z‖² (backward)",
        ),
    )
    for mean, band, colour, style, label in passes:
        shown = np.where(np.isfinite(mean) & (mean > 0), mean, np.nan)
        ax.plot(layer, shown, color=colour, ls=style, lw=1.8, label=label)
        low, high = (np.where(np.isfinite(end) & (end > 0), end, np.nan) for end in band)
        ax.fill_between(layer, low, high, color=colour, alpha=0.18, lw=0)
        record(ax, label, layer, shown, low, high)
    ax.set(xlabel="layer (the last is the output)", ylabel="expected", yscale="log")
    ax.set_xlim(0.5, len(layer) + 0.5)
    integer_ticks(ax)
    ax.set_title(title, loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax
