"""Draws a forest plot: one named row per estimate, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jinit import errors
from jinit.report.plots._figure import axes_of, record
from jinit.report.plots._style import BLUE, GREY, Style, short
from jinit.stats import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR: Style = {"capsize": 2.5, "lw": 1.4, "markersize": 5, "linestyle": ""}


def forest(
    ax: Axes | None,
    names: Sequence[str],
    intervals: Sequence[Interval],
    styles: Sequence[Style] | None = None,
    *,
    hollow: Sequence[bool] | None = None,
) -> Axes:
    """Draws estimates with their intervals, the first row at the top.

    An estimate that is not finite is written as text; an infinite end of an interval is written at
    the margin. An estimate without an interval, both ends NaN, is a marker alone.

    Args:
      ax: matplotlib axes; None makes a figure.
      names, intervals: one per row.
      styles: colour and marker of each row, from :func:`line_style`; None draws all rows alike.
      hollow: True for rows whose marker is hollow; None fills all markers.

    Returns:
      The axes.

    Raises:
      ValueError: lists of different lengths. TypeError: ``ax`` is not axes.
      MissingExtraError: matplotlib is not installed.

    >>> ax = forest(None, ["he_normal", "zeros"], [Interval(0.9, 0.8, 1.0), Interval(0.1, 0, 0.2)])
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['he_normal', 'zeros']
    """
    lengths = [len(part) for part in (names, intervals, styles, hollow) if part is not None]
    if len(set(lengths)) > 1:
        raise errors.refusal(
            "rows", lengths, "one interval (and style) per name", "pass lists of equal length"
        )
    ax = axes_of(ax, 6.0, 0.9 + 0.25 * len(names))
    styles = [{"color": BLUE, "marker": "o"}] * len(names) if styles is None else styles
    hollow = [False] * len(names) if hollow is None else hollow
    places = -np.arange(len(names))
    for row, (name, interval, style, empty) in enumerate(
        zip(names, intervals, styles, hollow, strict=True)
    ):
        record(ax, name, [row + 1], [interval.estimate], [interval.low], [interval.high])
        _draw_row(ax, float(places[row]), interval, style, empty)
    ax.set_yticks(places, [short(name, 40) for name in names], fontsize=8)
    ax.set_ylim(-len(names) + 0.4, 0.6)
    ax.grid(axis="x", lw=0.4, alpha=0.5)
    ax.xaxis.label.set_fontsize(9)
    return ax


def _draw_row(ax: Axes, place: float, interval: Interval, style: Style, empty: bool) -> None:
    middle, low, high = interval.estimate, interval.low, interval.high
    note: dict[str, Any] = {
        "transform": ax.get_yaxis_transform(),
        "va": "center",
        "fontsize": 7,
        "color": GREY,
    }
    if not math.isfinite(middle):
        text = "no value" if math.isnan(middle) else "∞" if middle > 0 else "−∞"
        ax.text(0, place, f"  {text}", **note)
        return
    below = max(0.0, middle - low) if math.isfinite(low) else 0.0
    above = max(0.0, high - middle) if math.isfinite(high) else 0.0
    look = {key: value for key, value in style.items() if key != "linestyle"}
    if empty:
        look["markerfacecolor"] = "white"
    ax.errorbar([middle], [place], xerr=[[below], [above]], **look, **_BAR)
    if math.isnan(low) and math.isnan(high):
        return  # all values alike, or one alone: there is no interval
    if not math.isfinite(low):
        ax.text(0.01, place + 0.28, f"← {_end(low)}", ha="left", **note)
    if not math.isfinite(high):
        ax.text(0.99, place + 0.28, f"{_end(high)} →", ha="right", **note)


def _end(value: float) -> str:
    return "?" if math.isnan(value) else "∞"
