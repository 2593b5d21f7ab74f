"""Draws the runs of a sweep as lines over steps, learning rates or scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jinit import errors, stats
from jinit.report._text import rows_shown, words
from jinit.report.plots._figure import check_drawable, record
from jinit.report.plots._panels import (
    arm_label,
    check_defined,
    finite_or_gap,
    panels,
    plain_numbers,
    quantiles,
)
from jinit.report.plots._style import Style, short, without_marker
from jinit.results import Table, summarize
from jinit.results._metrics import LOWER_IS_BETTER, target_metric, worst_for_nonfinite
from jinit.results._units import per_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curves(
    table: Table,
    metric: str = "test_accuracy",
    ax: Axes | None = None,
    *,
    across: str = "initializer",
) -> Any:
    """Draws a metric against steps: the median over seeds, with a band between the quartiles.

    Args:
      table: from :func:`jinit.run`.
      metric: one of ``table.curves``; diverged runs count as the worst.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      across: the axis whose values are the arms.

    Returns:
      The axes; an array of them if there are several cells.

    Raises:
      ValueError: an unknown metric or axis, or a metric that no run has; several cells on one
        ``ax``. TypeError: ``table`` is not a Table.
      MissingExtraError: matplotlib is not installed.

    >>> import jinit
    >>> table = jinit.run(jinit.Grid(dataset="xor", steps=2, seeds=2))
    >>> learning_curves(table).get_ylabel()
    'test accuracy'
    """
    check_drawable(table, Table, "jinit.run(...)")
    if metric not in table.curves:
        raise errors.unknown_name("curve", metric, table.curves, "table.curves")
    check_defined(table, metric)

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        for arm, style in styles.items():
            values = worst_for_nonfinite(rows.take(rows[across] == arm).curves[metric], metric)
            if not len(values):
                continue
            low, middle, high = quantiles(values, [0.25, 0.5, 0.75])
            steps, label = rows.curve_steps, arm_label(arm, middle)
            panel.plot(steps, finite_or_gap(middle), lw=1.6, label=label, **without_marker(style))
            finite = np.isfinite(low) & np.isfinite(high)
            panel.fill_between(
                steps, low, high, where=finite, color=style["color"], alpha=0.15, lw=0
            )
            record(panel, str(arm), steps, middle, low, high)
        panel.set(xlabel="step", ylabel=words(metric), xscale="log")
        plain_numbers(panel)
        if metric in LOWER_IS_BETTER:
            panel.set_yscale("log")

    return panels(table, draw, ax, across=across)


def learning_rate_sensitivity(
    table: Table,
    metric: str = "test_accuracy",
    ax: Axes | None = None,
    *,
    across: str = "initializer",
) -> Any:
    """Draws a metric against the learning rate: the median and its 95 % interval.

    Args:
      table: from :func:`jinit.run`, with several learning rates.
      metric: a metric column; diverged runs count as the worst.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      across: the axis whose values are the arms.

    Returns:
      The axes; an array of them if there are several cells.

    Raises:
      ValueError: a single learning rate; as :func:`learning_curves`.
      TypeError: ``table`` is not a Table.

    >>> import jinit
    >>> grid = jinit.Grid(dataset="xor", learning_rate=(0.1, 1.0), steps=2, seeds=2)
    >>> learning_rate_sensitivity(jinit.run(grid)).get_xlabel()
    'learning rate'
    """
    check_drawable(table, Table, "jinit.run(...)")
    if "learning_rate" not in table.varying():
        raise errors.refusal(
            "learning rates", "one", "a table with several", "Grid(learning_rate=(0.01, 0.1, 1.0))"
        )

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        for arm, style in styles.items():
            mine = rows.select(**{across: arm})
            summaries = summarize(mine, metric, by=("learning_rate",), across=across)
            summaries.sort(key=lambda item: float(item.cell["learning_rate"] or 0))
            rates = np.array([item.cell["learning_rate"] for item in summaries])
            middle = np.array([item.metric.estimate for item in summaries])
            low = np.array([item.metric.low for item in summaries])
            high = np.array([item.metric.high for item in summaries])
            label = arm_label(arm, middle)
            panel.plot(rates, finite_or_gap(middle), lw=1.4, markersize=4, label=label, **style)
            finite = np.isfinite(low) & np.isfinite(high)
            panel.fill_between(
                rates, low, high, where=finite, color=style["color"], alpha=0.15, lw=0
            )
            record(panel, str(arm), rates, middle, low, high)
        panel.set(xlabel="learning rate", ylabel=words(metric), xscale="log")
        # Ticks are at learning rates of the table, at most six of them: more labels would overlap.
        tried = np.unique(rows["learning_rate"].astype(float))
        panel.set_xticks(tried[rows_shown(len(tried), 6)])
        panel.set_xticks([], minor=True)
        plain_numbers(panel)
        if metric in LOWER_IS_BETTER:
            panel.set_yscale("log")

    return panels(table, draw, ax, across=across, inside=("learning_rate",))


def survival(table: Table, ax: Axes | None = None, *, across: str = "initializer") -> Any:
    """Draws the share of runs not yet at the target accuracy, with a 95 % band; lower is faster.

    Runs that never reach the target, including diverged ones, are counted: a curve that does not
    reach 0 shows their share. A seed is one observation, the mean time of its runs; it never
    arrives if one of its runs never does.

    Args:
      table: from :func:`jinit.run`.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      across: the axis whose values are the arms.

    Returns:
      The axes; an array of them if there are several cells.

    Raises:
      ValueError: a task without accuracy, an unknown axis, several cells on one ``ax``.
      TypeError: ``table`` is not a Table.

    Reference: Kaplan & Meier 1958.

    >>> import jinit
    >>> survival(jinit.run(jinit.Grid(dataset="xor", steps=2, seeds=2))).get_ylabel()
    'share not yet at 0.9'
    """
    check_drawable(table, Table, "jinit.run(...)")
    check_defined(table, target_metric(table))
    horizon = float(table.settings.get("grid", {}).get("steps") or table.curve_steps[-1])
    grid = table.settings.get("grid", {})
    target = grid.get("target") or grid.get("target_accuracy", "target")

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        for arm, style in styles.items():
            mine = rows.take(rows[across] == arm)
            if not len(mine):
                continue
            times = per_seed(mine, mine["steps_to_target"].astype(float))
            curve = stats.kaplan_meier(np.where(times > horizon, np.inf, times), horizon=horizon)
            survival_curve(panel, curve, horizon, label=short(arm), style=style)
        panel.set(
            xlabel="step", ylabel=f"share not yet at {target}", xscale="log", ylim=(-0.02, 1.02)
        )
        plain_numbers(panel)

    return panels(table, draw, ax, across=across)


def survival_curve(
    ax: Axes, curve: stats.Survival, horizon: float, *, label: str, style: Style
) -> Axes:
    """Draws one Kaplan-Meier curve with its 95 % band, from step 1 to the horizon.

    Args:
      ax: matplotlib axes.
      curve: from :func:`jinit.stats.kaplan_meier`.
      horizon: the last step that was observed.
      label: the line's name in the legend.
      style: from :func:`line_style`.

    Returns:
      The axes.

    Reference: Kaplan & Meier 1958.

    >>> import numpy as np
    >>> from jinit.report import plots
    >>> curve = stats.kaplan_meier(np.array([3.0, np.inf]), horizon=10.0)
    >>> ax = plots.new_axes()
    >>> survival_curve(ax, curve, 10.0, label="a", style=plots.line_style(0)) is ax
    True
    """
    steps = np.concatenate([[1.0], curve.times, [horizon]])
    share, low, high = (
        np.concatenate([[1.0], values, values[-1:] if values.size else [1.0]])
        for values in (curve.share, curve.low, curve.high)
    )
    ax.plot(steps, share, drawstyle="steps-post", lw=1.6, label=label, **without_marker(style))
    ax.fill_between(steps, low, high, step="post", color=style["color"], alpha=0.13, lw=0)
    record(ax, label, steps, share, low, high)
    return ax


def performance_profile(
    table: Table,
    metric: str = "test_accuracy",
    ax: Axes | None = None,
    *,
    across: str = "initializer",
) -> Any:
    """Draws the share of seeds above each score, with a 95 % band; a higher curve is better.

    Runs of one seed are averaged first, because they are not independent.

    Args:
      table: from :func:`jinit.run`.
      metric: a metric column; if lower is better, the share below each score is drawn.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      across: the axis whose values are the arms.

    Returns:
      The axes; an array of them if there are several cells.

    Raises:
      ValueError: as :func:`learning_curves`. TypeError: ``table`` is not a Table.

    Reference: Agarwal et al. 2021.

    >>> import jinit
    >>> performance_profile(jinit.run(jinit.Grid(dataset="xor", steps=2, seeds=2))).get_xlabel()
    'τ, test accuracy'
    """
    check_defined(table, metric)
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        scores = sign * worst_for_nonfinite(rows[metric].astype(float), metric)
        finite = scores[np.isfinite(scores)]
        thresholds = np.unique(finite) if finite.size else np.zeros(1)
        # Just below the smallest score the share of every arm is 1.
        margin = 0.02 * (np.ptp(thresholds) or 1.0)
        thresholds = np.concatenate([[thresholds[0] - margin], thresholds])
        for arm, style in styles.items():
            chosen = rows[across] == arm
            if not chosen.any():
                continue
            mine = per_seed(rows.take(chosen), scores[chosen])
            profile = stats.performance_profile(mine, thresholds)
            x, line = sign * profile.thresholds, without_marker(style)
            panel.plot(x, profile.share, drawstyle="steps-post", lw=1.6, label=short(arm), **line)
            panel.fill_between(
                x,
                profile.low,
                profile.high,
                step="post",
                color=style["color"],
                alpha=0.13,
                lw=0,
            )
            record(panel, str(arm), x, profile.share, profile.low, profile.high)
        beyond = "below" if sign < 0 else "above"
        panel.set(
            xlabel=f"τ, {words(metric)}",
            ylabel=f"share of seeds {beyond} τ",
            ylim=(-0.02, 1.02),
        )
        panel.margins(x=0)

    return panels(table, draw, ax, across=across)
