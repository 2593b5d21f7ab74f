"""Prints a measured profile in a terminal: one row per layer, then the findings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TextIO, TypeAlias

import numpy as np

from jinit.findings import Finding
from jinit.frameworks import Captured
from jinit.probes import Profile
from jinit.report._console import RichTable, escaped, natural_width, new_table, open_console
from jinit.report._findings import print_findings
from jinit.report._intervals import intervals
from jinit.report._text import MISSING, number, percent, rows_shown
from jinit.stats import Interval

# Attribute → (heading, True for a share).
COLUMNS = {
    "second_moment": ("E z²", False),
    "correlation": ("corr. of inputs", False),
    "effective_rank": ("eff. rank", False),
    "saturated": ("saturated", True),
    "dead": ("dead", True),
    "gradient_norm": ("‖∂L/∂z‖", False),
    "kernel_gradient_norm": ("‖∂L/∂W‖", False),
    "bias_gradient_norm": ("‖∂L/∂b‖", False),
    "update_ratio": ("‖∂L/∂W‖/‖W‖", False),
}
# The columns that have intervals.
_MAIN = ("second_moment", "correlation", "saturated", "dead", "gradient_norm", "update_ratio")
_ROWS = 20

# Formats a cell: (value, True for a share).
_Cell: TypeAlias = Callable[[Interval, bool], str]


def print_profile(
    captured: Captured, profile: Profile, findings: list[Finding], stream: TextIO | None = None
) -> None:
    """Prints medians over seeds with 95 % intervals, layer by layer, and the findings.

    Args:
      captured: the model that was measured; names the layers.
      profile: ``(seeds, layers)`` from :func:`jinit.probes.ensemble`; at most 20 layers are shown,
        evenly spread, the first and the last among them.
      findings: from :func:`jinit.probes.verdict`.
      stream: default stdout. A terminal too narrow for the intervals gets the medians alone.

    >>> import jax, jax.numpy as jnp
    >>> from jinit import frameworks, models, probes
    >>> x, rules = jnp.ones((4, 3)), {"*/kernel": "he_normal", "*/bias": "zeros"}
    >>> captured = frameworks.capture(models.MLP(features=(8, 2)), x)
    >>> loss = probes.cross_entropy(jnp.array([0, 1, 0, 1]))
    >>> profile = probes.ensemble(captured, rules, x, loss, seeds=4)
    >>> print_profile(captured, profile, [])  # doctest: +ELLIPSIS
    <BLANKLINE>
     layer ...
    """
    console = open_console(stream)
    by_name = intervals(profile)
    count = len(captured.layers)
    shown = rows_shown(count, _ROWS)
    defined = [
        name
        for name in COLUMNS
        if not all(math.isnan(interval.estimate) for interval in by_name[name])
    ]
    main = [name for name in defined if name in _MAIN]
    seeds = np.shape(profile.mean)[0]
    # One network has no spread, and a narrow terminal has no room for intervals. Both get medians
    # without intervals, of all columns if these fit.
    choices: list[tuple[list[str], _Cell]] = [(defined, _median), (main, _median)]
    if seeds > 1:
        choices.insert(0, (main, _with_interval))
    for names, cell in choices:
        table = _table(captured, by_name, names, shown, cell)
        if natural_width(console, table) <= console.width:
            break
    console.print(table)
    intervals_shown = " with 95 % intervals" if cell is _with_interval else ""
    source = "one seed" if seeds == 1 else f"medians over {seeds} seeds"
    more = f", {len(shown)} of {count} layers (--json has all)" if len(shown) < count else ""
    console.print(f"{source}{intervals_shown}{more}", style="dim")
    print_findings(console, findings)


def _table(
    captured: Captured,
    by_name: dict[str, list[Interval]],
    names: list[str],
    shown: list[int],
    cell: _Cell,
) -> RichTable:
    table = new_table()
    table.add_column("layer")
    for name in names:
        table.add_column(COLUMNS[name][0], justify="right")
    for row in shown:
        cells = [escaped(cell(by_name[name][row], COLUMNS[name][1])) for name in names]
        table.add_row(escaped(captured.layers[row].name), *cells)
    return table


def _median(value: Interval, share: bool) -> str:
    return percent(value.estimate) if share else number(value.estimate, 2)


def _with_interval(value: Interval, share: bool) -> str:
    if math.isnan(value.estimate):
        return MISSING
    if math.isnan(value.low) and math.isnan(value.high):
        return _median(value, share)
    low, middle, high = (
        f"{100 * end:.0f}" if share else number(end, 2)
        for end in (value.low, value.estimate, value.high)
    )
    return f"{middle} % [{low}, {high}]" if share else f"{middle} [{low}, {high}]"
