"""What a sweep looks like in a terminal: progress while it runs, one table when it is done."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from typing import Any, TextIO

import numpy as np

from jinit import errors
from jinit.results._comparison import Comparison, Summary, compare, summarize
from jinit.results._table import Table
from jinit.stats import Interval
from jinit.sweep._plan import Plan
from jinit.sweep._run import SweepEvent

try:
    from rich import box
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Table as Grid
    from rich.text import Text
except ImportError:
    raise errors.missing_extra("rich", "lab", "printing tables") from None

_WIDTH = 142
_STYLES = {"wins": "bold green", "loses": "red", "not settled": "yellow", "baseline": "dim",
           "higher": "bold", "lower": "bold"}  # fmt: skip


class SweepProgress:
    """A progress callback for :func:`jinit.run`: runs/s, ETA, failed lanes, programs compiled.

    On a terminal a live bar on stderr; elsewhere a line every few seconds. The rows of a program
    are printed as soon as its last run is in.
    """

    def __init__(self, metric: str = "test_accuracy", stream: TextIO | None = None) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False)
        self._metric = metric
        self._bar: Progress | None = None
        self._done = self._failed = self._compiled = 0
        self._start = self._said = self._before = time.monotonic()
        self._running_since: float | None = None

    def __enter__(self) -> SweepProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: SweepEvent) -> None:
        """Takes an event of the sweep."""
        if event.kind == "plan":
            self._begin(event.plan)
        if event.runs and self._running_since is None:
            # The clock of runs/s starts with the first tile, not with the compiler.
            self._running_since = self._before
        self._before = time.monotonic()
        self._done += event.runs
        self._failed += event.failed
        self._compiled += event.kind == "compiled"
        if event.table is not None:
            self._rows(event.table)
        self._show(event.plan)

    def _begin(self, plan: Plan) -> None:
        self._console.print(plan_line(plan))
        if self._console.is_terminal:
            self._bar = Progress(
                BarColumn(bar_width=24), TextColumn("{task.description}"), console=self._console
            )
            self._bar.add_task("", total=plan.runs)
            self._bar.start()

    def _show(self, plan: Plan) -> None:
        now = time.monotonic()
        rate = self._done / max(now - (self._running_since or now), 1e-3)
        left = (plan.runs - self._done) / rate if rate else math.inf
        eta = "ETA —" if not math.isfinite(left) else f"ETA {left:.0f} s"
        text = (
            f"{self._done}/{plan.runs} runs · {rate:.0f} runs/s · {eta} · {self._failed} diverged"
            f" · {self._compiled} programs compiled"
        )
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, description=text)
        elif now - self._said > 5 or self._done == plan.runs:
            self._said = now
            self._console.print(text)

    def _rows(self, table: Table) -> None:
        cell = ", ".join(
            f"{axis} {table[axis][0]}" for axis in ("activation", "depth") if axis in table.axes
        )
        metric = metric_for(table, self._metric)
        elapsed = time.monotonic() - self._start
        self._console.print(f"[bold]{cell or 'done'}[/bold] after {elapsed:.0f} s:")
        for summary in summarize(table, metric, by=()):
            self._console.print(
                f"  {summary.arm:<24} {interval_text(summary.metric)}  "
                f"{summary.diverged}/{summary.runs} diverged"
            )


def metric_for(table: Table, metric: str = "test_accuracy") -> str:
    """``metric``, or ``test_loss`` where the task has no accuracy."""
    import numpy as np

    regression = metric == "test_accuracy" and bool(np.isnan(table[metric]).all())
    return "test_loss" if regression else metric


def print_table(
    table: Table,
    *,
    metric: str = "test_accuracy",
    baseline: str | None = None,
    across: str = "initializer",
    stream: TextIO | None = None,
) -> list[Comparison]:
    """Prints the table of a sweep: per cell and arm the medians, the difference, the verdict.

    Args:
      table: the runs.
      metric: the metric to rank by.
      baseline: the arm to compare with; None prints no comparison.
      across: the axis of the arms.
      stream: default stdout.

    Returns:
      The comparisons printed.
    """
    metric = metric_for(table, metric)
    summaries = summarize(table, metric, across=across)
    comparisons = [] if baseline is None else compare(
        table, metric, baseline=baseline, across=across
    )  # fmt: skip
    by_arm = {(tuple(c.cell.items()), c.arm): c for c in comparisons}
    console = Console(file=stream or sys.stdout, width=console_width(stream), highlight=False)
    target = table.settings.get("grid", {}).get("target_accuracy", "target")
    partly = any(0 < item.diverged < item.runs for item in summaries)
    headings = [across, "diverged/runs", f"{_words(metric)} [95 %]"]
    headings += ["without diverged"] * partly + [f"steps to {target}"]
    headings += [f"− {comparisons[0].baseline}", "verdict"] if comparisons else []
    rows = [
        _row(item, by_arm.get((tuple(item.cell.items()), item.arm)), comparisons, partly)
        for item in summaries
    ]
    titles = [[_cell_text(item.cell), *[""] * (len(headings) - 1)] for item in summaries]
    shown = _columns_that_fit(headings, rows + titles, console.width)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column in shown:
        justify: Any = "left" if headings[column] in (across, "verdict") else "right"
        # The verdict may wrap; the arm only where it alone is wider than the terminal.
        wraps = headings[column] == "verdict" or (column == 0 and len(shown) <= 2)
        least = _VERDICT_WIDTH if headings[column] == "verdict" else None
        grid.add_column(
            headings[column], justify=justify, no_wrap=not wraps, overflow="fold", min_width=least
        )
    last: Any = None
    for summary, row in zip(summaries, rows, strict=True):
        key = tuple(summary.cell.items())
        if key and key != last:
            if last is not None:
                grid.add_section()
            grid.add_row(f"[bold]{_cell_text(summary.cell)}[/bold]")
        last = key
        grid.add_row(*(row[column] for column in shown))
    console.print(grid)
    left_out = [heading for column, heading in enumerate(headings) if column not in shown]
    if left_out:
        console.print(
            f"Too narrow for: {', '.join(left_out)}. Widen the terminal, or pipe into `less -S`."
        )
    for line in _notes(table, metric, comparisons):
        console.print(line, style="dim")
    return comparisons


def as_json(
    table: Table, *, metric: str = "test_accuracy", baseline: str | None = None
) -> dict[str, Any]:
    """The table, its summary, the comparisons and the settings as plain values.

    Args:
      table, metric, baseline: as :func:`print_table`.
    """
    metric = metric_for(table, metric)
    comparisons = [] if baseline is None else compare(table, metric, baseline=baseline)
    return {
        "metric": metric,
        "summary": [dataclasses.asdict(item) for item in summarize(table, metric)],
        "comparisons": [
            dataclasses.asdict(item) | {"sentence": item.sentence} for item in comparisons
        ],
        "columns": {name: column.tolist() for name, column in table.columns.items()},
        "curves": {name: curve.tolist() for name, curve in table.curves.items()},
        "curve_steps": table.curve_steps.tolist(),
        "timings": {
            "seconds": table.settings.get("seconds"),
            "runs": len(table),
        },
        "settings": dict(table.settings),
    }


def plan_line(plan: Plan) -> str:
    """One line: runs, programs, FLOPs, memory, rough time."""
    return (
        f"{plan.runs:,} runs in {len(plan.programs)} training program"
        f"{'s' if len(plan.programs) > 1 else ''} · {plan.flops / 1e9:,.0f} GFLOP · results"
        f" {plan.result_bytes / 2**20:.1f} MiB · about {plan.seconds:.0f} s on {plan.workers}"
        f" worker{'s' if plan.workers > 1 else ''} at a nominal rate, plus compiling"
    )


def print_plan(plan: Plan, stream: TextIO | None = None) -> None:
    """Prints the programs of a plan, longest first."""
    console = Console(file=stream or sys.stdout, width=console_width(stream), highlight=False)
    console.print(plan_line(plan))
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    described = [{**program.labels, "clip": program.code["clip"]} for program in plan.programs]
    varying = [
        axis for axis in described[0] if len({str(program[axis]) for program in described}) > 1
    ]
    for heading in (*varying, "runs", "tile", "GFLOP", "lane KiB"):
        grid.add_column(heading, justify="left" if heading in varying else "right")
    for program, labels in zip(plan.programs, described, strict=True):
        grid.add_row(
            *(str(labels[axis]) for axis in varying),
            f"{program.runs:,}",
            str(program.tile),
            f"{program.flops / 1e9:,.0f}",
            f"{program.lane_bytes / 1024:,.0f}",
        )
    console.print(grid)


def interval_text(interval: Interval, sign: bool = False) -> str:
    """``.912 [.897, .925]``; with ``sign`` every number carries one.

    >>> interval_text(Interval(0.5, 0.4, 0.6)), interval_text(Interval(0.5, -0.4, 0.6), sign=True)
    ('.500 [.400, .600]', '+.500 [−.400, +.600]')
    >>> interval_text(Interval(-0.0015, -0.003, -0.00009), sign=True)
    '−.002 [−.003, −.000]'
    """
    if math.isnan(interval.estimate):
        return "—"
    low, middle, high = (
        _fixed(value, sign) for value in (interval.low, interval.estimate, interval.high)
    )
    return f"{middle} [{low}, {high}]"


# Which columns go first where a terminal is narrow; the arm and the verdict stay.
_EXPENDABLE = ("steps to", "without", "diverged", "−", "")
_VERDICT_WIDTH = 14


def _columns_that_fit(headings: list[str], rows: list[list[str]], width: int) -> list[int]:
    """The columns that fit side by side; the verdict may wrap, nothing may be cut off."""
    needed = [
        max(len(Text.from_markup(cell)) for cell in (heading, *(row[column] for row in rows)))
        for column, heading in enumerate(headings)
    ]
    if headings[-1] == "verdict":
        needed[-1] = _VERDICT_WIDTH
    shown = list(range(len(headings)))
    for start in _EXPENDABLE:
        if sum(needed[i] + 2 for i in shown) <= width or len(shown) <= 2:
            break
        leaving = [
            i for i in shown[1:] if headings[i].startswith(start) and headings[i] != "verdict"
        ]
        shown = [i for i in shown if i not in leaving[:1]]
    return shown


def _row(
    summary: Summary,
    comparison: Comparison | None,
    comparisons: list[Comparison],
    partly: bool,
) -> list[str]:
    steps = summary.steps_to_target
    diverged = f"{summary.diverged}/{summary.runs}"
    row = [
        ("  " if summary.cell else "") + escaped(summary.arm),
        f"[red]{diverged}[/red]" if summary.diverged else diverged,
        escaped(interval_text(summary.metric)),
        *[escaped(interval_text(summary.without_diverged))] * partly,
        "—" if math.isnan(steps) else f"{steps:g}" if math.isfinite(steps) else "not reached",
    ]
    if not comparisons:
        return row
    if comparison is None:
        is_baseline = summary.arm == comparisons[0].baseline
        return [*row, "", f"[{_STYLES['baseline']}]baseline[/]" if is_baseline else "—"]
    difference = escaped(interval_text(comparison.result.difference, sign=True))
    return [*row, difference, f"[{_STYLES[comparison.verdict]}]{comparison.sentence}[/]"]


def _cell_text(cell: dict[str, Any]) -> str:
    """``activation relu · depth 16``."""
    return escaped(" · ".join(f"{axis} {value}" for axis, value in cell.items()))


def escaped(text: str) -> str:
    return text.replace("[", "\\[")


def _uncalibrated(table: Table) -> list[tuple[str, int, int]]:
    """Initializers whose calibration failed in some runs: name, how often, of how many."""
    if "calibrated" not in table.columns:  # a table made by hand
        return []
    found = []
    for arm in dict.fromkeys(table["initializer"]):
        reached = table["calibrated"][table["initializer"] == arm].astype(bool)
        if not reached.all():
            found.append((str(arm), int((~reached).sum()), len(reached)))
    return found


def _notes(table: Table, metric: str, comparisons: list[Comparison]) -> list[str]:
    target = table.settings.get("grid", {}).get("target_accuracy")
    notes = [
        f"{_words(metric)}: median over runs, diverged ones included: outputs that are not finite"
        " count as the worst."
    ]
    if target is not None:
        notes.append(
            f"steps to target: median step at which test accuracy is first seen at {target:g} or"
            " more; not reached = in at least half of the runs."
        )
    for arm, failed, runs in _uncalibrated(table):
        notes.append(
            f"{arm}: the calibration did not reach its goal in {failed} of {runs} runs (column"
            " 'calibrated'); jinit.calibrate's trace says in which layers."
        )
    if comparisons:
        pairs = comparisons[0].result.pairs
        notes.append(
            f"− {comparisons[0].baseline}: mean difference (median where one is infinite) over"
            f" {pairs} pairs with the same seed;"
            f" wins or loses: Wilcoxon p < 0.05 after Holm over {len(comparisons)} comparisons,"
            " interval excludes 0."
        )
    return notes


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def number(value: float) -> str:
    if math.isinf(value):
        return "−∞" if value < 0 else "∞"
    return f"{value:.4g}".replace("-", "−")


def _fixed(value: float, sign: bool) -> str:
    if not math.isfinite(value):
        return number(value)
    if abs(value) >= 1000:
        return f"{value:.3g}"
    # The sign of a number that rounds to 0 stays: an interval that ends there excludes 0.
    value = value if value else 0.0
    text = (f"{value:+.3f}" if sign else f"{value:.3f}").replace("-", "−")
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def rows_shown(count: int, most: int) -> list[int]:
    """At most so many of the rows 0 … count − 1, evenly spread, with the first and the last."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def console_width(stream: TextIO | None) -> int | None:
    """A table keeps its shape in files and pipes; a terminal decides for itself."""
    return None if (stream or sys.stdout).isatty() else _WIDTH
