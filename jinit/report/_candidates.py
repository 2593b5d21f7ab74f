"""Prints ranked initializers for one network, the best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TextIO

from jinit.advise._recommend import Candidate
from jinit.report._console import (
    columns_that_fit,
    escaped,
    new_table,
    open_console,
    print_left_out,
)
from jinit.report._text import MISSING

_NUMBERS = ("signal", "gradient", "theory", "spread", "corr.")
_HEADINGS = ("", "initializer", "bias", *_NUMBERS, "why")
# Columns to leave out, in this order, if the terminal is narrow.
_EXPENDABLE = ("why", "theory", "spread", "corr.")
# Minimum widths of the columns whose cells may wrap.
_WRAPPING = {"initializer": 26, "why": 22}
_LEGEND = {
    "signal": "signal, gradient: measured factors by which E z² and E‖∂L/∂z‖² change through the"
    " hidden layers (geometric means)",
    "theory": "theory: both factors as predicted",
    "spread": "spread: standard deviation of ln E z² over seeds",
    "corr.": "corr.: correlation of two inputs at the last hidden layer",
}


def print_candidates(candidates: Sequence[Candidate], stream: TextIO | None = None) -> None:
    """Prints initializers for one network, the best first, and the code that draws with the best.

    Args:
      candidates: from :func:`jinit.advise.recommend`, at least one.
      stream: default stdout.

    >>> from jinit.advise._recommend import Candidate
    >>> numbers = [0.1] * 9
    >>> print_candidates([Candidate("he_normal", "zeros", *numbers, "why", "code")])
    ... # doctest: +ELLIPSIS
    <BLANKLINE>
         initializer ...
    """
    console = open_console(stream)
    rows = [[str(rank), *_cells(candidate)] for rank, candidate in enumerate(candidates, 1)]
    shown = columns_that_fit(
        _HEADINGS, rows, console.width, expendable=_EXPENDABLE, wrapping=_WRAPPING
    )
    table = new_table()
    for column in shown:
        heading = _HEADINGS[column]
        table.add_column(
            heading,
            justify="right" if heading in _NUMBERS else "left",
            no_wrap=heading not in _WRAPPING,
            min_width=_WRAPPING.get(heading),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(row[column] for column in shown))
    console.print(table)
    print_left_out(console, _HEADINGS, shown)
    legend = [_LEGEND[_HEADINGS[column]] for column in shown if _HEADINGS[column] in _LEGEND]
    console.print("; ".join(legend), style="dim")
    if math.isinf(candidates[0].score):
        console.print("[bold red]with every candidate a signal or a gradient is 0 or overflows[/]")
    else:
        console.print(f"[bold green]{escaped(candidates[0].code)}[/]")


def _cells(candidate: Candidate) -> list[str]:
    """The cells of a candidate's row, without its rank."""
    spread = candidate.spread
    return [
        escaped(candidate.initializer),
        escaped(candidate.bias_initializer),
        _factor(candidate.measured_forward),
        _factor(candidate.measured_backward),
        f"{_factor(candidate.forward)}, {_factor(candidate.backward)}",
        MISSING if math.isnan(spread) else f"{spread:.2f}",
        f"{candidate.correlation:.3f}",
        escaped(candidate.reason),
    ]


def _factor(log: float) -> str:
    """exp(log), as a number between 1/1000 and 1000, otherwise as a power of 10."""
    if math.isnan(log):
        return MISSING
    if math.isinf(log):
        return "0" if log < 0 else "∞"
    if abs(log) < math.log(1000):
        return f"{math.exp(log):.3g}"
    return f"10^{log / math.log(10):.1f}".replace("-", "−")
