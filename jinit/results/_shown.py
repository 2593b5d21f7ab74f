"""Describes tables and comparisons in a line, and in a few rows of HTML for notebooks."""

from __future__ import annotations

import html as escaping
from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def summary(columns: Mapping[str, np.ndarray], axes: Sequence[str], steps: np.ndarray) -> str:
    """Numbers of runs, of values of the axes, of metrics, and of points of the curves.

    >>> summary({"depth": np.array([1, 2]), "loss": np.zeros(2)}, ("depth",), np.array([1, 4]))
    '2 runs: depth × 2; 1 metric; curves of 2 points'
    """
    runs = len(next(iter(columns.values())))
    sizes = {axis: len(set(columns[axis].tolist())) for axis in axes}
    if {"seed", "data_seed"} <= sizes.keys() and np.array_equal(
        columns["seed"], columns["data_seed"]
    ):
        del sizes["data_seed"]  # follows the seed: no axis of its own
    varying = ", ".join(f"{axis} × {size}" for axis, size in sizes.items() if size > 1)
    metrics = len(columns) - len(axes)
    parts = [
        _counted(runs, "run") + (f": {varying}" if varying else ""),
        _counted(metrics, "metric"),
        *([f"curves of {_counted(len(steps), 'point')}"] if len(steps) else []),
    ]
    return "; ".join(parts)


def html(columns: Mapping[str, np.ndarray], axes: Sequence[str], steps: np.ndarray) -> str:
    """The axes with their values, and the metrics with their least, median and greatest value."""
    rows = []
    for axis in axes:
        values = list(dict.fromkeys(columns[axis].tolist()))
        named = ", ".join(map(str, values[:8])) + (", …" if len(values) > 8 else "")
        rows.append((axis, f"{len(values)}", named))
    numbers = []
    for name, column in columns.items():
        if name not in axes and column.dtype.kind in "biuf":
            known = column[~np.isnan(column)] if column.dtype.kind == "f" else column
            three = (known.min(), np.median(known), known.max()) if known.size else ()
            numbers.append((name, *(f"{float(number):.4g}" for number in three)))
    return (
        f"<p>{escaping.escape(summary(columns, axes, steps))}</p>"
        + html_table(("axis", "values", ""), rows)
        + html_table(("metric", "least", "median", "greatest"), numbers)
    )


def html_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table; all text is escaped.

    >>> html_table(("a",), [("<b>",)])
    '<table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    lines = [("th", headings), *(("td", row) for row in rows)]
    cells = (
        "".join(f"<{tag}>{escaping.escape(str(text))}</{tag}>" for text in line)
        for tag, line in lines
    )
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in cells)}</table>"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
