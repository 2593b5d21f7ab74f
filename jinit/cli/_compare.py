"""Defines ``jinit compare``: the verdicts of tables that were written to files."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from jinit import errors
from jinit.cli._options import CompareOptions, left_out
from jinit.cli._output import dump

try:
    import tyro
except ImportError:
    raise errors.missing_extra("tyro", "lab", "the command line") from None

if TYPE_CHECKING:
    from jinit.results import Table
    from jinit.results._verdict import Comparison


def compare(
    files: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        left_out(
            "tables of sweeps: .parquet or .csv that --out wrote, or a store .db", "FILE [FILE ...]"
        ),
    ],
    comparison: CompareOptions = CompareOptions(),
) -> int:
    """Joins the tables of sweeps and reports which arm wins, on the seeds that arms share.

    Files whose settings differ, or whose arms share no seed, are refused.

    Example: jinit compare first.parquet more.parquet --metric test_loss --baseline glorot_uniform
    --tune learning_rate
    """
    from jinit._database import is_store
    from jinit.cli._stores import printed
    from jinit.results import check_output, concat, read

    if comparison.out is not None:
        check_output(comparison.out)
    if not files:
        raise errors.refusal("files", "none", "at least one table", "jinit compare runs.parquet")
    whole = comparison.json or comparison.out is not None or not all(map(is_store, files))
    tables = [read(file) if whole else printed(file, None, comparison.metric) for file in files]
    # The runs of one store are distinct; to count a million of them takes seconds.
    alone = len(tables) == 1 and not whole
    table = tables[0] if alone else concat(tables, ignore=comparison.ignore)
    if comparison.out is not None:
        table.write(comparison.out)
        print(f"{len(table)} runs written to {comparison.out}", file=sys.stderr)
    print_result(table, comparison, as_json=comparison.json)
    return 0


def print_result(table: Table, comparison: CompareOptions, *, as_json: bool) -> None:
    """Prints medians, differences and verdicts; of tuned arms the comparisons alone."""
    from jinit import report
    from jinit.report._json import runs_json
    from jinit.report._sweep_table import print_table
    from jinit.results import summarize
    from jinit.results._metrics import check_metric, metric_for

    direction = _direction(comparison)
    metric = check_metric(table, metric_for(table, comparison.metric), direction)
    baseline = _baseline(table, comparison)
    by = tuple(comparison.by) or None
    if as_json:
        summaries = summarize(
            table, metric, by=by, across=comparison.across, higher_is_better=direction
        )
        compared = [] if baseline is None else _compared(table, comparison, metric, baseline)
        answer = {
            "metric": metric,
            "summary": [asdict(item) for item in summaries],
            "comparisons": report.to_json(compared),
        }
        dump(answer | runs_json(table))
    elif comparison.tune and baseline is not None:
        report.show(_compared(table, comparison, metric, baseline))
    elif by is None and direction is None:
        across, margin = comparison.across, comparison.margin
        report.show(table, metric=metric, baseline=baseline, across=across, margin=margin)
    else:
        print_table(
            table,
            metric=metric,
            baseline=baseline,
            across=comparison.across,
            by=by,
            margin=comparison.margin,
            higher_is_better=direction,
        )


def _compared(
    table: Table, comparison: CompareOptions, metric: str, baseline: str
) -> list[Comparison]:
    from jinit.results import compare as compare_arms

    return compare_arms(
        table,
        metric,
        baseline=baseline,
        by=tuple(comparison.by) or None,
        across=comparison.across,
        higher_is_better=_direction(comparison),
        margin=comparison.margin,
        tune=tuple(comparison.tune),
    )


def _direction(comparison: CompareOptions) -> bool | None:
    if comparison.better is None:
        return None
    return errors.check_choice("better", comparison.better, ("higher", "lower")) == "higher"


def _baseline(table: Table, comparison: CompareOptions) -> str | None:
    """The baseline; None if there is only one arm to compare."""
    from jinit.results._arms import baseline_among
    from jinit.results._summary import unique

    if comparison.across not in table.axes:
        raise errors.unknown_name("axis", comparison.across, table.axes)
    arms = unique(table[comparison.across])
    if comparison.baseline is None and len(arms) < 2:
        return None
    typed = {str(arm): arm for arm in arms}
    if comparison.baseline in typed:
        return typed[comparison.baseline]
    return baseline_among(arms, comparison.across, comparison.baseline)
