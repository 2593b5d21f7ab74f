"""Prints comparisons: a section for each cell, a row for each pair of arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from jinit.report._console import (
    columns_that_fit,
    escaped,
    new_table,
    open_console,
    print_left_out,
)
from jinit.report._sweep_table import STYLES, VERDICT_WIDTH, comparison_notes
from jinit.report._text import interval_text, words
from jinit.results._verdict import Comparison

_EXPENDABLE = ("mean", "tuned", "baseline tuned", "difference")


def print_comparisons(comparisons: Sequence[Comparison], stream: TextIO | None = None) -> None:
    """Prints the differences of arms with their intervals, their verdicts, and tuned values.

    Args:
      comparisons: from :func:`jinit.compare`, at least one.
      stream: default stdout. In a narrow terminal columns are left out, but never the verdict.

    >>> import numpy as np
    >>> from jinit.results import Table, compare
    >>> columns = {"initializer": np.repeat(["a", "b"], 12), "seed": np.tile(np.arange(12), 2),
    ...            "test_accuracy": np.arange(24.0), "diverged": np.zeros(24, bool)}
    >>> table = Table(columns, ("initializer", "seed"), {}, np.array([]))
    >>> print_comparisons(compare(table, baseline="a"))  # doctest: +ELLIPSIS
    <BLANKLINE>
     arm     baseline   test accuracy: difference ...
    """
    console = open_console(stream)
    metric = words(comparisons[0].metric)
    tuned = any(item.tuned or item.baseline_tuned for item in comparisons)
    headings = ["arm", "baseline", f"{metric}: difference [95 %]", "mean [95 %]"]
    headings += ["tuned", "baseline tuned"] if tuned else []
    headings.append("verdict")
    rows = [_row(item, tuned) for item in comparisons]
    shown = columns_that_fit(
        headings,
        rows,
        console.width,
        expendable=(*_EXPENDABLE, f"{metric}:"),
        wrapping={"verdict": VERDICT_WIDTH},
    )
    printed = new_table()
    for column in shown:
        wraps = headings[column] == "verdict"
        printed.add_column(
            headings[column],
            justify="right" if "95 %" in headings[column] else "left",
            no_wrap=not wraps,
            overflow="fold",
            min_width=VERDICT_WIDTH if wraps else None,
        )
    cell = None
    for item, row in zip(comparisons, rows, strict=True):
        if item.cell and item.cell != cell:
            title = " · ".join(f"{axis} {value}" for axis, value in item.cell.items())
            printed.add_section()
            printed.add_row(f"[bold]{escaped(title)}[/bold]")
        cell = item.cell
        printed.add_row(*(row[column] for column in shown))
    console.print(printed)
    print_left_out(console, headings, shown)
    for line in comparison_notes(comparisons):
        console.print(line, style="dim")


def _row(item: Comparison, tuned: bool) -> list[str]:
    intervals = (item.result.difference, item.result.mean)
    settings = [
        escaped(", ".join(f"{axis} {value}" for axis, value in setting.items()))
        for setting in (item.tuned, item.baseline_tuned)
    ]
    return [
        ("  " if item.cell else "") + escaped(str(item.arm)),
        escaped(str(item.baseline)),
        *(escaped(interval_text(each, sign=True)) for each in intervals),
        *(settings if tuned else []),
        f"[{STYLES[item.verdict]}]{item.sentence}[/]",
    ]
