"""Defines ``jinit compare``: the verdicts of tables that were written to files."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from jinit import errors
from jinit.cli._options import CompareOptions
from jinit.cli._output import dump

try:
    import tyro
    from tyro.conf import arg
except ImportError:
    raise errors.missing_extra("tyro", "lab", "the command line") from None

if TYPE_CHECKING:
    from jinit.results import Comparison, Table


def compare(
    files: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        arg(help="tables of sweeps: .parquet or .csv that --out wrote, or a store .db"),
    ],
    question: CompareOptions = CompareOptions(),
) -> int:
    """Joins the tables of sweeps and reports which arm wins, on the seeds that arms share.

    Files whose settings differ, or whose arms share no seed, are refused.

    Example: jinit compare first.parquet more.parquet --metric test_loss --baseline glorot_uniform
    --tune learning_rate
    """
    from jinit.results import check_output, concat, read

    if question.out is not None:
        check_output(question.out)
    if not files:
        raise errors.refusal("files", "none", "at least one table", "jinit compare runs.parquet")
    table = concat([read(file) for file in files], ignore=question.ignore)
    if question.out is not None:
        table.write(question.out)
        print(f"{len(table)} runs written to {question.out}", file=sys.stderr)
    print_result(table, question, as_json=question.json)
    return 0


def print_result(table: Table, question: CompareOptions, *, as_json: bool) -> None:
    """Prints medians, differences and verdicts; of tuned arms the comparisons alone."""
    from jinit import report
    from jinit.report._sweep_table import print_table
    from jinit.results import summarize
    from jinit.results._metrics import check_metric, metric_for

    direction = _direction(question)
    metric = check_metric(table, metric_for(table, question.metric), direction)
    baseline = _baseline(table, question)
    by = tuple(question.by) or None
    if as_json:
        values = report.to_json(table, metric=metric) if by is None and direction is None else {}
        summaries = summarize(
            table, metric, by=by, across=question.across, higher_is_better=direction
        )
        compared = [] if baseline is None else _compared(table, question, metric, baseline)
        dump(
            values
            | {
                "metric": metric,
                "summary": [asdict(item) for item in summaries],
                "comparisons": report.to_json(compared),
            }
        )
    elif question.tune and baseline is not None:
        report.show(_compared(table, question, metric, baseline))
    elif by is None and direction is None:
        across, margin = question.across, question.margin
        report.show(table, metric=metric, baseline=baseline, across=across, margin=margin)
    else:
        print_table(
            table,
            metric=metric,
            baseline=baseline,
            across=question.across,
            by=by,
            margin=question.margin,
            higher_is_better=direction,
        )


def _compared(
    table: Table, question: CompareOptions, metric: str, baseline: str
) -> list[Comparison]:
    from jinit.results import compare as compare_arms

    return compare_arms(
        table,
        metric,
        baseline=baseline,
        by=tuple(question.by) or None,
        across=question.across,
        higher_is_better=_direction(question),
        margin=question.margin,
        tune=tuple(question.tune),
    )


def _direction(question: CompareOptions) -> bool | None:
    if question.better is None:
        return None
    return errors.check_choice("better", question.better, ("higher", "lower")) == "higher"


def _baseline(table: Table, question: CompareOptions) -> str | None:
    """The baseline; None if there is only one arm to compare."""
    from jinit.results._arms import baseline_among
    from jinit.results._summary import unique

    if question.across not in table.axes:
        raise errors.unknown_name("axis", question.across, table.axes)
    arms = unique(table[question.across])
    if question.baseline is None and len(arms) < 2:
        return None
    typed = {str(arm): arm for arm in arms}
    if question.baseline in typed:
        return typed[question.baseline]
    return baseline_among(arms, question.across, question.baseline)
