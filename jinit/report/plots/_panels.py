"""One panel for each cell of a sweep: the same picture of every combination of the other axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jinit import errors
from jinit.report.plots._style import (
    axes_of,
    check_found,
    line_style,
    new_figure,
    open_frame,
    short,
)
from jinit.results._table import Table

MOST_PANELS = 24

# Draws one cell: (its runs, its axes, the style of each arm).
Draw = Callable[[Table, Any, dict[Any, dict[str, Any]]], None]


def check_table(table: Table) -> None:
    """The runs of a picture are a table.

    Raises:
      TypeError: something else.
    """
    check_found(table, Table, "jinit.run(...)")


def panels(
    table: Table,
    draw: Draw,
    ax: Any,
    *,
    across: str,
    inside: tuple[str, ...] = (),
    legend: bool = True,
) -> Any:
    """Draws every cell of a table, or the only one on ``ax``.

    Args:
      table: the runs.
      draw: draws one cell.
      ax: matplotlib axes for a table with one cell; None makes a figure.
      across: the axis whose values are the arms.
      inside: axes that a panel shows by itself.
      legend: one legend of the arms for the whole figure; otherwise every panel names its own arms
        beside its rows.

    Returns:
      The axes; an array of them where there are several cells.

    Raises:
      ValueError: several cells on one ``ax``; more than 24 cells; an unknown axis.
    """
    check_table(table)
    if across not in table.axes:
        raise errors.unknown_name("axis", across, table.axes, "table.axes")
    by = table.varying(leave_out=(across, "seed", "data_seed", *inside))
    cells = list(dict.fromkeys(zip(*(table[axis].tolist() for axis in by), strict=True))) or [()]
    if len(cells) > (MOST_PANELS if ax is None else 1):
        raise errors.refusal(
            "cells", f"{len(cells)} ({', '.join(by)})",
            f"at most {MOST_PANELS}, and one where ax is given", f"table.select({by[0]}=...)",
        )  # fmt: skip
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
        _legend(axes[0], own_figure=ax is None, longest=longest)
    return axes[0] if len(cells) == 1 else axes


def _grid(cells: int, legend: int, longest: int) -> np.ndarray:
    columns = min(cells, 3 if cells != 4 else 2)
    rows = math.ceil(cells / columns)
    width = 6.0 if columns == 1 else (3.4 if legend else 4.2) * columns + 0.6
    height = 3.6 if cells == 1 else 2.7 * rows
    figure = new_figure(width, height + 0.2 * math.ceil(legend / _legend_columns(width, longest)))
    # Rows of different panels are different arms: only values share an axis.
    drawn = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=legend > 0).ravel()
    for spare in drawn[cells:]:
        spare.set_visible(False)
    for panel in drawn[:cells]:
        open_frame(panel)
    if cells > columns:
        # The panel above an empty place has nothing below it to carry the numbers of its x axis.
        for panel in drawn[max(0, cells - columns) : cells]:
            panel.xaxis.set_tick_params(labelbottom=True)
    return np.array(drawn[:cells])


def _legend_columns(width: float, longest: int) -> int:
    """How many names of this length fit side by side, in inches at 8 points."""
    return max(1, int(width // (0.75 + 0.07 * longest)))


def _legend(ax: Any, *, own_figure: bool, longest: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    if own_figure:
        columns = min(len(labels), _legend_columns(ax.figure.get_figwidth(), longest))
        ax.figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False,
                         fontsize=8, handlelength=2.6)  # fmt: skip
    else:
        ax.legend(frameon=False, fontsize=8, handlelength=2.6)
