"""Draws the runs of a sweep as lines over steps, learning rates or scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jinit import errors, stats
from jinit.report._text import rows_shown, words
from jinit.report.plots._figure import check_drawable, record
from jinit.report.plots._panels import (
    arm_label,
    arms_with,
    check_defined,
    finite_or_gap,
    panels,
    plain_numbers,
    quantiles,
)
from jinit.report.plots._style import Style, short, without_marker
from jinit.results import Table, summarize
from jinit.results._metrics import (
    LOWER_IS_BETTER,
    check_metric,
    lower_is_better,
    target_metric,
    worst_for_nonfinite,
)
from jinit.results._units import per_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curves(
    table: Table,
    metric: str = "test_accuracy",
    ax: Axes | None = None,
    *,
    across: str = "initializer",
    higher_is_better: bool | None = None,
) -> Any:
    """Draws a metric against steps: the median over seeds, with a band between the quartiles.

    A run that ended at its target keeps the value of its last step.

    Args:
      table: from :func:`jinit.run`.
      metric: one of ``table.curves``; diverged runs count as the worst.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      across: the axis whose values are the arms. An arm without the metric is left out.
      higher_is_better: the direction of a metric of your own; needed if it has values that are not
        finite.

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
    check_defined(table, metric, higher_is_better)
    # A metric of the validation set is known if that of the test set is.
    of_validation = metric.startswith("validation_")
    known = f"test_{metric.removeprefix('validation_')}" if of_validation else metric

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        for arm, style, mine in arms_with(metric, rows, panel, styles, across):
            values = worst_for_nonfinite(_held(mine, metric), known, higher_is_better)
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
        if known in LOWER_IS_BETTER:
            panel.set_yscale("log")

    return panels(table, draw, ax, across=across)


def _held(rows: Table, metric: str) -> np.ndarray:
    """The curves ``(runs, evaluations)``; a run that ended at its target keeps its last value."""
    values = rows.curves[metric]
    if not rows.settings.get("grid", {}).get("stop_at_target"):
        return values
    ends = np.searchsorted(rows.curve_steps, rows["steps_to_target"].astype(float))
    places = np.minimum(np.arange(values.shape[1]), ends[:, None])
    return np.take_along_axis(values, places, axis=1)


def learning_rate_sensitivity(
    table: Table,
    metric: str = "test_accuracy",
    ax: Axes | None = None,
    *,
    across: str = "initializer",
    higher_is_better: bool | None = None,
) -> Any:
    """Draws a metric against the learning rate: the median and its 95 % interval.

    Args:
      table: from :func:`jinit.run`, with several learning rates.
      metric: a metric column; diverged runs count as the worst.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      across: the axis whose values are the arms. An arm without the metric is left out.
      higher_is_better: the direction of a metric of your own, as in :func:`jinit.summarize`.

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
    check_metric(table, metric, higher_is_better)
    how: dict[str, Any] = {"across": across, "higher_is_better": higher_is_better}

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        arms = arms_with(metric, rows, panel, styles, across)
        of_cell = summarize(rows, metric, by=("learning_rate",), **how) if arms else []
        for arm, style, _ in arms:
            summaries = [item for item in of_cell if item.arm == arm]
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
    horizon = _horizon(table)
    grid = table.settings.get("grid", {})
    target = grid.get("target") or grid.get("target_accuracy", "target")

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        for arm, style, mine in arms_with("steps_to_target", rows, panel, styles, across):
            times = per_seed(mine, mine["steps_to_target"].astype(float))
            curve = stats.kaplan_meier(np.where(times > horizon, np.inf, times), horizon=horizon)
            survival_curve(panel, curve, horizon, label=short(arm), style=style)
        panel.set(
            xlabel="step", ylabel=f"share not yet at {target}", xscale="log", ylim=(-0.02, 1.02)
        )
        plain_numbers(panel)

    return panels(table, draw, ax, across=across)


def _horizon(table: Table) -> float:
    """The last step of the sweep; of a table without settings and curves, of its arrivals."""
    steps = table.settings.get("grid", {}).get("steps")
    if isinstance(steps, int | float):
        return float(steps)
    if len(table.curve_steps):
        return float(table.curve_steps[-1])
    times = table["steps_to_target"].astype(float)
    return float(np.max(times, where=np.isfinite(times), initial=1.0))


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
    higher_is_better: bool | None = None,
) -> Any:
    """Draws the share of seeds above each score, with a 95 % band; a higher curve is better.

    Runs of one seed are averaged first, because they are not independent.

    Args:
      table: from :func:`jinit.run`.
      metric: a metric column; if lower is better, the share below each score is drawn.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      across: the axis whose values are the arms. An arm without the metric is left out.
      higher_is_better: the direction of a metric of your own, as in :func:`jinit.summarize`.

    Returns:
      The axes; an array of them if there are several cells.

    Raises:
      ValueError: as :func:`learning_curves`. TypeError: ``table`` is not a Table.

    Reference: Agarwal et al. 2021.

    >>> import jinit
    >>> performance_profile(jinit.run(jinit.Grid(dataset="xor", steps=2, seeds=2))).get_xlabel()
    'τ, test accuracy'
    """
    check_defined(table, metric, higher_is_better)
    sign = -1.0 if lower_is_better(metric, higher_is_better) else 1.0

    def scores_of(mine: Table) -> np.ndarray:
        values = mine[metric].astype(float)
        return sign * worst_for_nonfinite(values, metric, higher_is_better)

    def draw(rows: Table, panel: Axes, styles: dict[str, Style]) -> None:
        arms = arms_with(metric, rows, panel, styles, across)
        scores = np.concatenate([np.empty(0), *(scores_of(mine) for _, _, mine in arms)])
        finite = scores[np.isfinite(scores)]
        thresholds = np.unique(finite) if finite.size else np.zeros(1)
        # Just below the smallest score the share of every arm is 1.
        margin = 0.02 * (np.ptp(thresholds) or 1.0)
        thresholds = np.concatenate([[thresholds[0] - margin], thresholds])
        for arm, style, mine in arms:
            profile = stats.performance_profile(per_seed(mine, scores_of(mine)), thresholds)
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
