"""What a probe looks like in a terminal: one row a layer, then the verdict."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from jinit import errors
from jinit.frameworks import Captured
from jinit.probes import Finding, Profile
from jinit.report._findings import print_findings
from jinit.report._terminal import console_width, escaped, rows_shown
from jinit.stats import Interval, bootstrap

try:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
except ImportError:
    raise errors.missing_extra("rich", "lab", "printing tables") from None

# Attribute → (heading, as a share).
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
_ROWS = 20


def intervals(profile: Profile) -> dict[str, list[Interval]]:
    """The median over seeds of every number of a profile with its 95 % interval, by layer.

    Args:
      profile: arrays ``(seeds, layers)``.

    Returns:
      Attribute → one percentile bootstrap interval a layer; NaN where a number is not defined, inf
      where it overflowed.
    """
    values = {
        item.name: np.asarray(getattr(profile, item.name), float)
        for item in dataclasses.fields(profile)
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        values["update_ratio"] = np.asarray(profile.update_ratio(1.0), float)
    return {name: [_interval(column) for column in array.T] for name, array in values.items()}


def _interval(column: np.ndarray) -> Interval:
    if np.isnan(column).all():
        return Interval(float("nan"), float("nan"), float("nan"))
    # What is not a number in some seeds only has overflowed there.
    return bootstrap(np.where(np.isnan(column), np.inf, column), resamples=1000)


def print_profile(
    captured: Captured, profile: Profile, findings: list[Finding], stream: TextIO | None = None
) -> None:
    """Prints medians over seeds with 95 % intervals, layer by layer, and the verdict.

    Args:
      captured: names the layers.
      profile: ``(seeds, layers)``; of a deep network some layers are shown, the first and the last
        among them.
      findings: from :func:`jinit.probes.verdict`.
      stream: default stdout.
    """
    console = Console(file=stream or sys.stdout, width=console_width(stream), highlight=False)
    found = intervals(profile)
    count = len(captured.layers)
    shown = rows_shown(count, _ROWS)
    names = [
        name for name in COLUMNS
        if not all(np.isnan(each.estimate) for each in found[name])
    ]  # fmt: skip
    main = [name for name in names if name in _MAIN]
    grid = _grid(captured, found, main, shown, _with_interval)
    seeds = np.shape(profile.mean)[0]
    intervals_shown = " with 95 % intervals"
    if seeds < 2 or console.measure(grid).maximum > console.width:
        # One network has no spread; a narrow terminal has no room: medians alone, of everything.
        grid = _grid(captured, found, names, shown, _median)
        intervals_shown = ""
    console.print(grid)
    what = "one seed" if seeds == 1 else f"medians over {seeds} seeds"
    more = f", {len(shown)} of {count} layers (--json has all)" if len(shown) < count else ""
    console.print(f"{what}{intervals_shown}{more}", style="dim")
    print_findings(console, findings)


def _grid(
    captured: Captured,
    found: dict[str, list[Interval]],
    names: list[str],
    shown: list[int],
    cell: Callable[[Interval, bool], str],
) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("layer")
    for name in names:
        grid.add_column(COLUMNS[name][0], justify="right")
    for row in shown:
        cells = [cell(found[name][row], COLUMNS[name][1]) for name in names]
        grid.add_row(escaped(captured.layers[row].name), *cells)
    return grid


_MAIN = ("second_moment", "correlation", "saturated", "dead", "gradient_norm", "update_ratio")


def _median(value: Interval, share: bool) -> str:
    return _number(value.estimate, share)


def _with_interval(value: Interval, share: bool) -> str:
    if np.isnan(value.estimate):
        return "—"
    low, middle, high = (_number(x, share) for x in (value.low, value.estimate, value.high))
    return f"{middle} [{low}, {high}]"


def _number(value: float, share: bool) -> str:
    """Two digits; shares in percent.

    >>> _number(0.256, True), _number(1234.5, False), _number(float("nan"), False)
    ('26 %', '1.2e+03', '—')
    """
    if np.isnan(value):
        return "—"
    return f"{100 * value:.0f} %" if share else f"{value:.2g}"


def as_json(captured: Captured, profile: Profile, findings: list[Finding]) -> dict[str, Any]:
    """All layers and findings as plain data: medians and their intervals."""
    found = intervals(profile)
    rows = [
        {"layer": layer.name} | {name: dataclasses.asdict(each[i]) for name, each in found.items()}
        for i, layer in enumerate(captured.layers)
    ]
    return {
        "seeds": int(np.shape(profile.mean)[0]),
        "layers": rows,
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }
