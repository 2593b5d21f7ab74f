"""Draws the arms of a sweep as forest plots: one row per arm, with an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinit import errors, stats
from jinit.report._text import words
from jinit.report.plots._figure import check_drawable
from jinit.report.plots._forest import forest
from jinit.report.plots._panels import arms_with, estimate_label, panels
from jinit.report.plots._style import GREY, Style, short
from jinit.results import Table, compare, summarize
from jinit.results._arms import baseline_among
from jinit.results._metrics import check_metric, lower_is_better, with_blown_up
from jinit.results._units import per_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ranking(
    table: Table,
    metric: str | None = None,
    ax: Axes | None = None,
    *,
    across: str = "initializer",
    higher_is_better: bool | None = None,
) -> Any:
    """Draws every arm's median with its 95 % interval, the best arm at the top of each panel.

    Args:
      table: from :func:`jinit.run`.
      metric: a metric column; default as in :func:`jinit.compare`; diverged runs count as worst.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      across: the axis whose values are the arms. An arm without the metric is left out.
      higher_is_better: the direction of a metric of your own, as in :func:`jinit.summarize`.

    Returns:
      The axes; an array of them if there are several cells.

    Raises:
      ValueError: an unknown metric or axis, or a metric that no run has; several cells on one
        ``ax``. TypeError: ``table`` is not a Table.
      MissingExtraError: matplotlib is not installed.

    >>> import jinit
    >>> ranking(jinit.run(jinit.Grid(dataset="xor", steps=2, seeds=2))).get_xlabel()
    'test accuracy, median [95 %]'
    """
    check_drawable(table, Table, "jinit.run(...)")
    metric = check_metric(table, metric, higher_is_better)
    best_first = not lower_is_better(metric, higher_is_better)
    how: dict[str, Any] = {"by": (), "across": across, "higher_is_better": higher_is_better}

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        arms = arms_with(metric, rows, panel, styles, across)
        chosen = {across: [arm for arm, _, _ in arms]}
        summaries = summarize(rows.select(**chosen), metric, **how) if arms else []
        summaries.sort(key=lambda item: item.metric.estimate, reverse=best_first)
        forest(
            panel,
            [str(item.arm) for item in summaries],
            [item.metric for item in summaries],
            [styles[item.arm] for item in summaries],
        )
        panel.set_xlabel(f"{words(metric)}, {estimate_label(rows, across, 'median [95 %]')}")

    return panels(table, draw, ax, across=across, legend=False)


def paired_differences(
    table: Table,
    metric: str | None = None,
    ax: Axes | None = None,
    *,
    baseline: str | None = None,
    across: str = "initializer",
    higher_is_better: bool | None = None,
) -> Any:
    """Draws paired differences to the baseline; a hollow marker means "not settled" or "mixed".

    The differences are Hodges–Lehmann estimates with the interval of the signed-rank test.

    Args:
      table: from :func:`jinit.run`, with at least two arms.
      metric: a metric column; default as in :func:`jinit.compare`; diverged runs count as worst.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      baseline: an arm, by name or alias; default glorot_uniform, or the first arm.
      across: the axis whose values are the arms.
      higher_is_better: the direction of a metric of your own, as in :func:`jinit.compare`.

    Returns:
      The axes; an array of them if there are several cells. Verdicts are those of
      :func:`jinit.compare` over the whole table.

    Raises:
      ValueError: a single arm, an unknown baseline; as :func:`ranking`.
      TypeError: ``table`` is not a Table.

    >>> import jinit
    >>> grid = jinit.Grid(dataset="xor", initializer=("zeros", "he_normal"), steps=2, seeds=2)
    >>> paired_differences(jinit.run(grid)).get_yticklabels()[0].get_text()
    'he_normal'
    """
    check_drawable(table, Table, "jinit.run(...)")
    arms = list(dict.fromkeys(table[across].tolist()))
    if len(arms) < 2:
        raise errors.refusal(f"arms along {across}", arms, "at least two", "run a baseline too")
    baseline = baseline_among(arms, across, baseline)
    metric = check_metric(table, metric, higher_is_better)
    compared = compare(
        table, metric, baseline=baseline, across=across, higher_is_better=higher_is_better
    )

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        mine = [
            item
            for item in compared
            if all((rows[axis] == value).all() for axis, value in item.cell.items())
        ]
        forest(
            panel,
            [str(item.arm) for item in mine],
            [item.result.difference for item in mine],
            [styles[item.arm] for item in mine],
            hollow=[item.verdict in ("not settled", "mixed") for item in mine],
        )
        panel.axvline(0, color=GREY, lw=0.9, zorder=0)
        panel.set_xlabel(
            f"{words(metric)} − that of {short(baseline, 24)},\n"
            f"{estimate_label(rows, across, 'Hodges–Lehmann [95 %]')}"
            "\nhollow: not settled or mixed"
        )

    return panels(table, draw, ax, across=across, legend=False)


def divergence_rates(table: Table, ax: Axes | None = None, *, across: str = "initializer") -> Any:
    """Draws the share of runs that diverged, with its Wilson interval over seeds.

    Args:
      table: from :func:`jinit.run`.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      across: the axis whose values are the arms.

    Returns:
      The axes; an array of them if there are several cells.

    Raises:
      ValueError: an unknown axis; several cells on one ``ax``. TypeError: ``table`` is not a Table.

    Reference: Wilson 1927.

    >>> import jinit
    >>> divergence_rates(jinit.run(jinit.Grid(dataset="xor", steps=2, seeds=2))).get_xlabel()
    'share of runs that diverged [95 %]'
    """

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        rates = {}
        for arm in styles:
            mine = rows.take(rows[across] == arm)
            if len(mine):
                shares = per_seed(mine, mine["diverged"].astype(float))
                rates[arm] = stats.wilson(float(shares.sum()), len(shares))
        forest(
            panel, [str(arm) for arm in rates], list(rates.values()), [styles[arm] for arm in rates]
        )
        panel.set(xlabel="share of runs that diverged [95 %]", xlim=(-0.03, 1.03))

    check_drawable(table, Table, "jinit.run(...)")
    return panels(with_blown_up(table), draw, ax, across=across, legend=False)
