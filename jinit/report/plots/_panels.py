"""Draws one panel per cell of a sweep, with one legend for all panels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jinit import errors
from jinit.report._text import words
from jinit.report.plots._figure import axes_of, check_drawable, new_figure, open_frame
from jinit.report.plots._style import GREY, Style, line_style, short
from jinit.results import Table
from jinit.results._metrics import diverged, undefined
from jinit.results._units import per_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 24
# Stands for inf where quantiles are interpolated.
_NEVER = 1e300

Draw: TypeAlias = "Callable[[Table, Axes, dict[str, Style]], None]"
"""Draws one cell: (its runs, its axes, the style of each arm)."""


def panels(
    table: Table,
    draw: Draw,
    ax: Axes | None,
    *,
    across: str,
    inside: tuple[str, ...] = (),
    legend: bool = True,
) -> Any:
    """Draws every cell of a table in a new figure, or the only cell on ``ax``.

    Args:
      table: the runs.
      draw: draws one cell.
      ax: matplotlib axes for a table with one cell; None makes a figure.
      across: the axis whose values are the arms.
      inside: axes that vary within a panel.
      legend: True for one legend of the arms below the figure; False if the rows of every panel
        are labelled with the arms.

    Returns:
      The axes; an array of them if there are several cells.

    Raises:
      ValueError: several cells on one ``ax``; more than 24 cells; an unknown axis.
    """
    check_drawable(table, Table, "jinit.run(...)")
    if across not in table.axes:
        raise errors.unknown_name("axis", across, table.axes, "table.axes")
    by = table.varying(leave_out=(across, "seed", "data_seed", *inside))
    cells = list(dict.fromkeys(zip(*(table[axis].tolist() for axis in by), strict=True))) or [()]
    if len(cells) > (MOST_PANELS if ax is None else 1):
        raise errors.refusal(
            "cells",
            f"{len(cells)} ({', '.join(by)})",
            f"at most {MOST_PANELS}, and one if ax is given",
            f"table.select({by[0]}=...)",
        )
    arms = list(dict.fromkeys(table[across].tolist()))
    styles = {arm: line_style(number) for number, arm in enumerate(arms)}
    longest = max(len(short(arm)) for arm in arms)
    if ax is None:
        axes = _grid(len(cells), len(arms) if legend else 0, longest)
    else:
        axes = np.array([axes_of(ax)])
    for cell, panel in zip(cells, axes, strict=False):
        chosen = dict(zip(by, cell, strict=True))
        draw(table.select(**chosen) if chosen else table, panel, styles)
        if chosen:
            title = ", ".join(f"{axis.replace('_', ' ')} {value}" for axis, value in chosen.items())
            panel.set_title(short(title, 46), loc="left", fontsize=9)
    if legend:
        _legend(axes, arms, own_figure=ax is None, longest=longest)
    return axes[0] if len(cells) == 1 else axes


def _grid(cells: int, legend: int, longest: int) -> np.ndarray:
    """The axes ``(cells,)`` of a new figure, with room below for a legend of ``legend`` names."""
    columns = min(cells, 3 if cells != 4 else 2)
    rows = math.ceil(cells / columns)
    width = 6.0 if columns == 1 else (3.4 if legend else 4.2) * columns + 0.6
    height = 3.6 if cells == 1 else 2.7 * rows
    figure = new_figure(width, height + 0.2 * math.ceil(legend / _legend_columns(width, longest)))
    # A forest's rows differ from panel to panel, so panels without a legend share only the x axis.
    drawn = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=legend > 0).ravel()
    for spare in drawn[cells:]:
        spare.set_visible(False)
    for panel in drawn[:cells]:
        open_frame(panel)
    if cells > columns:
        # A panel with no panel below it needs its own tick labels.
        for panel in drawn[max(0, cells - columns) : cells]:
            panel.xaxis.set_tick_params(labelbottom=True)
    return np.array(drawn[:cells])


def _legend_columns(width: float, longest: int) -> int:
    """The number of names of this length that fit side by side in ``width`` inches at 8 points."""
    return max(1, int(width // (0.75 + 0.07 * longest)))


def _legend(axes: np.ndarray, arms: list[str], *, own_figure: bool, longest: int) -> None:
    ax = axes[0]
    handles, labels = ax.get_legend_handles_labels()
    # The first panel need not have every arm.
    arm_of = {text: arm for arm in arms for text in (short(arm), _not_finite(arm))}
    seen = {arm_of.get(label) for label in labels}
    for panel in axes[1:]:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            if arm_of.get(label) not in seen:
                seen.add(arm_of.get(label))
                handles, labels = [*handles, handle], [*labels, label]
    if not handles:
        return
    figure = ax.get_figure(root=True)
    if figure is None or not own_figure:
        ax.legend(frameon=False, fontsize=8, handlelength=2.6)
        return
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), _legend_columns(figure.get_figwidth(), longest)),
        frameon=False,
        fontsize=8,
        handlelength=2.6,
    )


def arms_with(
    metric: str, rows: Table, panel: Axes, styles: dict[str, Style], across: str
) -> list[tuple[str, Style, Table]]:
    """The arms of a cell that have the metric, with their styles and runs.

    An arm of which all runs diverged has the metric if another arm has. A panel without any such
    arm says so.
    """
    each = [(arm, style, rows.take(rows[across] == arm)) for arm, style in styles.items()]
    lost = [bool(diverged(mine).all()) for _, _, mine in each]
    found = [
        item
        for item, all_diverged in zip(each, lost, strict=True)
        if len(item[2]) and (all_diverged or not _lacks(item[2], metric))
    ]
    if _lacks(rows, metric):
        found = []
        center: dict[str, Any] = {"transform": panel.transAxes, "ha": "center", "va": "center"}
        panel.text(0.5, 0.5, f"no {words(metric)}", fontsize=8, color=GREY, **center)
    return found


def _lacks(rows: Table, metric: str) -> bool:
    """True if no run has this metric or curve, because its task or options do not define it."""
    if metric in rows.columns:
        return undefined(rows, metric)
    values = rows.curves[metric][~diverged(rows)]
    return bool(values.size) and bool(np.isnan(values).all())


def check_defined(table: Table, metric: str, higher_is_better: bool | None = None) -> None:
    """Refuses a value that is not a Table, a metric that no run has, and a wrong direction."""
    check_drawable(table, Table, "jinit.run(...)")
    if higher_is_better is not None:
        errors.check_bool("higher_is_better", higher_is_better)
    # Some curves (gradient norms) have no column; every task defines them.
    if metric in table.columns and undefined(table, metric):
        raise errors.refusal("metric", metric, "a metric these runs have", "use test_loss")


def arm_label(arm: str | float, middle: np.ndarray) -> str:
    """The arm's name in a legend, with a note if its median is never finite and has no line."""
    return short(arm) if np.isfinite(middle).any() else _not_finite(arm)


def _not_finite(arm: str | float) -> str:
    return f"{short(arm, 22)} (not finite)"


def estimate_label(rows: Table, across: str, label: str) -> str:
    """``label``, or "one seed" if each arm has a single seed and therefore no interval."""
    counts = [
        len(per_seed(rows.take(mine), np.zeros(int(mine.sum()))))
        for mine in (rows[across] == arm for arm in set(rows[across].tolist()))
    ]
    return label if max(counts) > 1 else "one seed"


def plain_numbers(panel: Axes) -> None:
    """Writes 1, 10, 100 on a logarithmic x axis instead of powers of ten."""
    panel.xaxis.set_major_formatter("{x:g}")


def quantiles(values: np.ndarray, shares: list[float]) -> np.ndarray:
    """Quantiles ``(shares, …)`` over the first axis; infinities are ordered, not interpolated."""
    # Interpolating between a number and inf would give NaN; a large number stands for inf.
    finite = np.clip(np.asarray(values, np.float64), -_NEVER, _NEVER)
    result = np.quantile(finite, shares, axis=0)
    return np.where(np.abs(result) > 1e-3 * _NEVER, np.copysign(np.inf, result), result)


def finite_or_gap(values: np.ndarray) -> np.ndarray:
    """The values, with NaN where they are not finite: matplotlib leaves a gap there."""
    return np.where(np.isfinite(values), values, np.nan)
