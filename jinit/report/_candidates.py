"""Prints ranked initializers for one network, the best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TextIO

from jinit.advise import Candidate
from jinit.report._console import escaped, new_table, open_console
from jinit.report._text import MISSING


def print_candidates(candidates: Sequence[Candidate], stream: TextIO | None = None) -> None:
    """Prints initializers for one network, the best first, and the code that makes the best one.

    Args:
      candidates: from :func:`jinit.advise.recommend`, at least one.
      stream: default stdout.

    >>> from jinit.advise import Candidate
    >>> numbers = [0.1] * 9
    >>> print_candidates([Candidate("he_normal", "zeros", *numbers, "why", "code")])
    ... # doctest: +ELLIPSIS
    <BLANKLINE>
         initializer ...
    """
    console = open_console(stream)
    table = new_table()
    for heading in ("", "initializer", "bias"):
        table.add_column(heading)
    for heading in ("signal", "gradient", "theory", "spread", "corr."):
        table.add_column(heading, justify="right")
    table.add_column("why")
    for place, candidate in enumerate(candidates, 1):
        spread = candidate.spread
        table.add_row(
            str(place),
            escaped(candidate.initializer),
            escaped(candidate.bias_initializer),
            _factor(candidate.measured_forward),
            _factor(candidate.measured_backward),
            f"{_factor(candidate.forward)}, {_factor(candidate.backward)}",
            MISSING if math.isnan(spread) else f"{spread:.2f}",
            f"{candidate.correlation:.3f}",
            escaped(candidate.reason),
        )
    console.print(table)
    console.print(
        "signal, gradient: measured factors by which E z² and E‖∂L/∂z‖² change through the hidden"
        " layers (geometric means); theory: both, expected; spread: standard deviation of ln E z²"
        " over seeds; corr.: correlation of two inputs at the last hidden layer",
        style="dim",
    )
    if math.isinf(candidates[0].score):
        console.print("[bold red]in every candidate a signal or a gradient is lost[/]")
    else:
        console.print(f"[bold green]{escaped(candidates[0].code)}[/]")


def _factor(log: float) -> str:
    """exp(log): as a number up to 1000 and down to 1/1000, beyond as a power of 10."""
    if math.isnan(log):
        return MISSING
    if math.isinf(log):
        return "0" if log < 0 else "∞"
    if abs(log) < math.log(1000):
        return f"{math.exp(log):.3g}"
    return f"10^{log / math.log(10):.1f}".replace("-", "−")
