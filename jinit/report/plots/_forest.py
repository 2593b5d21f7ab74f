"""The forest plot: estimates with intervals, one named row each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jinit import errors
from jinit.report.plots._style import BLUE, GREY, axes_of, record, short
from jinit.stats import Interval

_BAR = {"capsize": 2.5, "lw": 1.4, "markersize": 5, "linestyle": ""}


def forest(
    ax: Any,
    names: Sequence[str],
    intervals: Sequence[Interval],
    styles: Sequence[dict[str, Any]] | None = None,
    *,
    hollow: Sequence[bool] | None = None,
) -> Any:
    """Estimates with their intervals, the first row at the top.

    A value that is not finite is written instead of drawn, and an infinite end at the margin.

    Args:
      ax: matplotlib axes; None makes a figure.
      names, intervals: one per row.
      styles: colour and marker of each row, from :func:`line_style`; None draws all alike.
      hollow: rows to draw with an empty marker.

    Returns:
      The axes.

    Raises:
      ValueError: lists of different lengths. TypeError: ax is no axes.
    """
    lengths = [len(part) for part in (names, intervals, styles, hollow) if part is not None]
    if len(set(lengths)) > 1:
        raise errors.refusal("rows", lengths, "one interval (and style) a name", "pass equal lists")
    ax = axes_of(ax, 6.0, 0.9 + 0.25 * len(names))
    styles = [{"color": BLUE, "marker": "o"}] * len(names) if styles is None else styles
    hollow = [False] * len(names) if hollow is None else hollow
    places = -np.arange(len(names))
    for row, (place, name, interval, style, empty) in enumerate(
        zip(places, names, intervals, styles, hollow, strict=True), 1
    ):
        middle, low, high = interval.estimate, interval.low, interval.high
        record(ax, name, [row], [middle], [low], [high])
        if not math.isfinite(middle):
            text = "  no value" if math.isnan(middle) else "  ∞" if middle > 0 else "  −∞"
            ax.text(0, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=7,
                    color=GREY)  # fmt: skip
            continue
        ends = [[max(0.0, middle - low) if math.isfinite(low) else 0.0],
                [max(0.0, high - middle) if math.isfinite(high) else 0.0]]  # fmt: skip
        look = {key: value for key, value in style.items() if key != "linestyle"}
        look |= {"markerfacecolor": "white"} if empty else {}
        ax.errorbar([middle], [place], xerr=ends, **look, **_BAR)
        for end, at, side, sign in ((low, 0.0, "left", "← "), (high, 1.0, "right", " →")):
            if not math.isfinite(end):
                mark = "?" if math.isnan(end) else "∞"
                ax.text(at, place + 0.28, mark + sign if at else sign + mark, fontsize=7, ha=side,
                        va="center", color=GREY, transform=ax.get_yaxis_transform())  # fmt: skip
    ax.set_yticks(places, [short(name, 40) for name in names], fontsize=8)
    ax.set_ylim(-len(names) + 0.4, 0.6)
    ax.grid(axis="x", lw=0.4, alpha=0.5)
    ax.xaxis.label.set_size(9)
    return ax
