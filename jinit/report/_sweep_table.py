"""Prints the table of a sweep: a row per arm, with medians, difference and verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TextIO

import numpy as np

from jinit.data._labels import LARGE_TARGETS
from jinit.report._console import (
    Console,
    JustifyMethod,
    columns_that_fit,
    escaped,
    new_table,
    open_console,
    print_left_out,
)
from jinit.report._text import MISSING, interval_text, words
from jinit.results import Table, compare, summarize
from jinit.results._metrics import metric_for, target_metric, undefined
from jinit.results._summary import Summary
from jinit.results._table import Value
from jinit.results._verdict import Comparison

STYLES = {
    "wins": "bold green",
    "loses": "red",
    "mixed": "magenta",
    "equivalent": "cyan",
    "not settled": "yellow",
    "baseline": "dim",
    "higher": "bold",
    "lower": "bold",
}
VERDICT_WIDTH = 12
# Prefixes of the headings to leave out, in this order, if the terminal is narrow. The arm and the
# verdict always stay.
_EXPENDABLE = ("mean −", "steps to", "without", "diverged", "−")
# The accuracies that count examples, which a constant prediction can be compared with.
_ACCURACIES = ("test_accuracy", "best_test_accuracy", "train_accuracy")


def print_table(
    table: Table,
    *,
    metric: str | None = None,
    baseline: str | None = None,
    across: str = "initializer",
    by: tuple[str, ...] | None = None,
    margin: float = 0.0,
    higher_is_better: bool | None = None,
    stream: TextIO | None = None,
) -> list[Comparison]:
    """Prints the table of a sweep: per cell and arm the medians, the difference, the verdict.

    Args:
      table: from :func:`jinit.run`.
      metric: the metric to rank by; default the test accuracy; a task without gets ``test_loss``.
      baseline: the arm to compare with; None prints no comparison.
      across: the axis whose values are the arms.
      by, margin, higher_is_better: as in :func:`jinit.compare`.
      stream: default stdout. In a narrow terminal columns are left out, but never the verdict.

    Returns:
      The comparisons printed.

    Raises:
      ValueError: an unknown metric, baseline or axis.

    >>> import numpy as np
    >>> columns = {"initializer": np.array(["a", "a"]), "test_accuracy": np.array([0.4, 0.6]),
    ...            "diverged": np.zeros(2, bool), "steps_to_target": np.array([5.0, np.inf])}
    >>> print_table(Table(columns, ("initializer",), {}, np.array([])))  # doctest: +ELLIPSIS
    <BLANKLINE>
     initializer   diverged/runs   test accuracy [95 %]   steps to target
    ...
    """
    metric = metric_for(table, metric)
    summaries = summarize(table, metric, by=by, across=across, higher_is_better=higher_is_better)
    comparisons = []
    if baseline is not None:
        comparisons = compare(
            table,
            metric,
            baseline=baseline,
            by=by,
            across=across,
            margin=margin,
            higher_is_better=higher_is_better,
        )
    console = open_console(stream)
    # If only some runs of an arm diverged, a further column shows the median of its other runs.
    partly = any(0 < item.diverged < item.runs for item in summaries)
    # A regression has no target accuracy.
    timed = "steps_to_target" in table.columns and not undefined(table, "steps_to_target")
    headings = _headings(table, metric, comparisons, across, partly, timed)
    by_arm = {(tuple(item.cell.items()), item.arm): item for item in comparisons}
    rows = [
        _row(item, by_arm.get((tuple(item.cell.items()), item.arm)), comparisons, partly, timed)
        for item in summaries
    ]
    titles = [[_cell_text(item.cell), *[""] * (len(headings) - 1)] for item in summaries]
    metric_heading = headings[2]
    shown = columns_that_fit(
        headings,
        rows + titles,
        console.width,
        expendable=(*_EXPENDABLE, metric_heading),
        wrapping={"verdict": VERDICT_WIDTH},
    )
    _print_rows(console, headings, summaries, rows, shown, across)
    print_left_out(console, headings, shown)
    for line in _notes(table, metric, comparisons):
        console.print(line, style="dim")
    return comparisons


def _headings(
    table: Table,
    metric: str,
    comparisons: list[Comparison],
    across: str,
    partly: bool,
    timed: bool,
) -> list[str]:
    grid = table.settings.get("grid", {})
    target = grid.get("target") or grid.get("target_accuracy", "target")
    headings = [across, "diverged/runs", f"{words(metric)} [95 %]"]
    if partly:
        headings.append("without diverged")
    if timed:
        headings.append(f"steps to {target}")
    if comparisons:
        baseline = comparisons[0].baseline
        headings += [f"− {baseline}", f"mean − {baseline}", "verdict"]
    return headings


def _row(
    summary: Summary,
    comparison: Comparison | None,
    comparisons: list[Comparison],
    partly: bool,
    timed: bool,
) -> list[str]:
    steps = summary.steps_to_target
    diverged = f"{summary.diverged}/{summary.runs}"
    row = [
        ("  " if summary.cell else "") + escaped(str(summary.arm)),
        f"[red]{diverged}[/red]" if summary.diverged else diverged,
        escaped(interval_text(summary.metric)),
    ]
    if partly:
        row.append(escaped(interval_text(summary.without_diverged)))
    if timed and math.isnan(steps):
        row.append(MISSING)
    elif timed:
        row.append(f"{steps:g}" if math.isfinite(steps) else "not reached")
    if not comparisons:
        return row
    if comparison is None:
        is_baseline = summary.arm == comparisons[0].baseline
        return [*row, "", "", f"[{STYLES['baseline']}]baseline[/]" if is_baseline else MISSING]
    difference, mean = (
        escaped(interval_text(interval, sign=True))
        for interval in (comparison.result.difference, comparison.result.mean)
    )
    return [*row, difference, mean, f"[{STYLES[comparison.verdict]}]{comparison.sentence}[/]"]


def _print_rows(
    console: Console,
    headings: list[str],
    summaries: list[Summary],
    rows: list[list[str]],
    shown: list[int],
    across: str,
) -> None:
    """Prints the columns ``shown``: a section per cell, a row per arm."""
    printed = new_table()
    for column in shown:
        heading = headings[column]
        justify: JustifyMethod = "left" if heading in (across, "verdict") else "right"
        # The arm wraps only if arm and verdict alone are wider than the terminal.
        wraps = heading == "verdict" or (column == 0 and len(shown) <= 2)
        printed.add_column(
            heading,
            justify=justify,
            no_wrap=not wraps,
            overflow="fold",
            min_width=VERDICT_WIDTH if heading == "verdict" else None,
        )
    last_cell: dict[str, Value] | None = None
    for summary, row in zip(summaries, rows, strict=True):
        if summary.cell and summary.cell != last_cell:
            if last_cell is not None:
                printed.add_section()
            printed.add_row(f"[bold]{_cell_text(summary.cell)}[/bold]")
        last_cell = summary.cell
        printed.add_row(*(row[column] for column in shown))
    console.print(printed)


def _cell_text(cell: Mapping[str, Value]) -> str:
    """``activation relu · depth 16``."""
    return escaped(" · ".join(f"{axis} {value}" for axis, value in cell.items()))


def _notes(table: Table, metric: str, comparisons: list[Comparison]) -> list[str]:
    notes = [
        f"{words(metric)}: median over all seeds; a run that diverged with outputs that are not"
        " finite counts as the worst."
    ]
    notes += _data_notes(table, metric)
    notes += _target_notes(table)
    lacking = _cells_without(table, metric)
    if lacking:
        notes.append(f"no {words(metric)}: {lacking}; metric='test_loss' compares these runs.")
    for arm, failed, runs in _uncalibrated(table):
        notes.append(
            f"{arm}: the calibration did not reach its goal in {failed} of {runs} runs (column"
            " 'calibrated'); jinit.calibrate's trace says in which layers."
        )
    if comparisons:
        notes += comparison_notes(comparisons)
    return notes


def comparison_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """What the differences are, and what a verdict needs."""
    pairs = [item.result.pairs for item in comparisons]
    span = f"{min(pairs)}" if min(pairs) == max(pairs) else f"{min(pairs)} to {max(pairs)}"
    baselines = {item.baseline for item in comparisons}
    name = comparisons[0].baseline if len(baselines) == 1 else "baseline"
    notes = [
        f"− {name}: Hodges–Lehmann difference over {span} pairs with the same seed, of those that"
        f" differ, with the interval of the signed-rank test; mean − {name}: mean of all. wins or"
        " loses: both point the same way and both p < 0.05 after Holm over"
        f" {len(comparisons)} comparison{'s' if len(comparisons) > 1 else ''}; mixed: ranks and"
        " mean point apart."
    ]
    if any(math.isinf(item.result.difference.low) for item in comparisons):
        notes.append("[−∞, ∞]: so few pairs allow no 95 % interval of ranks; six are the fewest.")
    return notes


def _data_notes(table: Table, metric: str) -> list[str]:
    """What a constant prediction reaches, and targets so large that training diverges."""
    notes = []
    for name, described in table.settings.get("data", {}).items():
        share = described.get("majority_share")
        # The share says nothing about a mean over classes, or over the labels of an example.
        if share is not None and metric in _ACCURACIES:
            notes.append(f"{name}: predicting the most frequent class alone gives {share:.3f}.")
        size = described.get("target_rms", 0.0)
        if size > LARGE_TARGETS:
            notes.append(
                f"{name}: the targets have a root mean square of {size:.3g}, so the squared loss"
                f" starts near {size**2:.2g} and common learning rates diverge; standardize the"
                " targets: (y − mean) / standard deviation."
            )
    return notes


def _target_notes(table: Table) -> list[str]:
    grid = table.settings.get("grid", {})
    target = grid.get("target_accuracy")
    if target is None or undefined(table, "steps_to_target"):
        return []
    if grid.get("target"):
        return [
            f"steps to target: median step of the first evaluation with {grid['target']};"
            ' "not reached" if at least half of the runs never do.',
            *_unreached(table, str(grid["target"]), "choose an easier target"),
        ]
    notes = [
        f"steps to target: median step at which test accuracy first reaches {target:g};"
        ' "not reached" if at least half of the runs never do.'
    ]
    accuracy = table["test_accuracy"].astype(float)
    notes += _unreached(table, f"{target:g}", "set a lower target_accuracy")
    if (accuracy == 1).all() and (table["steps_to_target"] == table["steps_to_target"][0]).all():
        notes.append("every run has accuracy 1 from one step on: do the data have one class?")
    return notes


def _unreached(table: Table, target: str, fix: str) -> list[str]:
    """Says of each data set, or of all together, that no run reaches the target."""
    names = list(dict.fromkeys(table["dataset"].tolist())) if "dataset" in table.axes else []
    parts = [(f"{name}: ", table.select(dataset=name)) for name in names]
    lacking = [
        part
        for part in parts or [("", table)]
        if not undefined(part[1], "steps_to_target")
        and not np.isfinite(part[1]["steps_to_target"].astype(float)).any()
    ]
    if parts and len(lacking) == len(parts):
        lacking = [("", table)]
    return [
        f"{name}no run of any arm reaches the target {target}{_best_final(rows)}:"
        f" steps to target says nothing here; {fix}."
        for name, rows in lacking
    ]


def _best_final(rows: Table) -> str:
    """The best final accuracy, if the target is one of the test accuracy."""
    if target_metric(rows) != "test_accuracy" or undefined(rows, "test_accuracy"):
        return ""
    return f" (best final accuracy {float(np.nanmax(rows['test_accuracy'].astype(float))):.3f})"


def _cells_without(table: Table, metric: str) -> str:
    """The data sets whose task lacks the metric."""
    if "dataset" not in table.axes:
        return ""
    names = dict.fromkeys(table["dataset"].tolist())
    return ", ".join(n for n in names if undefined(table.select(dataset=n), metric))


def _uncalibrated(table: Table) -> list[tuple[str, int, int]]:
    """(initializer, failed runs, runs) of every initializer whose calibration failed in a run."""
    if not {"calibrated", "initializer"} <= set(table.columns):  # a table made by hand
        return []
    failures = []
    for arm in dict.fromkeys(table["initializer"]):
        reached = table["calibrated"][table["initializer"] == arm].astype(bool)
        if not reached.all():
            failures.append((str(arm), int((~reached).sum()), len(reached)))
    return failures
