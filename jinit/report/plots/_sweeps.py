"""Pictures of a sweep. Each draws one panel per cell; diverged runs are never left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jinit import errors, stats
from jinit.report._terminal import rows_shown
from jinit.report.plots._forest import forest
from jinit.report.plots._panels import check_table, panels
from jinit.report.plots._style import GREY, record, save, short
from jinit.results._comparison import arm_name, compare, summarize, undefined
from jinit.results._table import LOWER_IS_BETTER, Table

# Stands for inf where quantiles are interpolated.
_NEVER = 1e300


def learning_curves(
    table: Table, metric: str = "test_accuracy", ax: Any = None, *, across: str = "initializer"
) -> Any:
    """A metric against steps: the median over seeds, and a band over the middle half of them.

    Args:
      table: from :func:`jinit.run`.
      metric: one of ``table.curves``.
      ax: matplotlib axes, for a table with one cell; None makes a figure with a panel per cell.
      across: the axis whose values are the arms.

    Returns:
      The axes; an array where there are several cells.

    Raises:
      ValueError: an unknown metric or axis, one that no run has; several cells on one ``ax``.
    """
    check_table(table)
    if metric not in table.curves:
        raise errors.unknown_name("curve", metric, table.curves, "table.curves")
    _check_defined(table, metric)

    def draw(rows: Table, panel: Any, styles: dict[Any, dict[str, Any]]) -> None:
        for arm, style in styles.items():
            values = _worst_for_nan(rows.take(rows[across] == arm).curves[metric], metric)
            if not len(values):
                continue
            low, middle, high = _quantiles(values, [0.25, 0.5, 0.75])
            line = {name: value for name, value in style.items() if name != "marker"}
            panel.plot(rows.curve_steps, _shown(middle), lw=1.6, label=_label(arm, middle), **line)
            finite = np.isfinite(low) & np.isfinite(high)
            panel.fill_between(rows.curve_steps, low, high, where=finite, color=style["color"],
                               alpha=0.15, lw=0)  # fmt: skip
            record(panel, str(arm), rows.curve_steps, middle, low, high)
        panel.set(xlabel="step", ylabel=_words(metric), xscale="log")
        _plain_numbers(panel)
        if metric in LOWER_IS_BETTER:
            panel.set_yscale("log")

    return panels(table, draw, ax, across=across)


def ranking(
    table: Table, metric: str = "test_accuracy", ax: Any = None, *, across: str = "initializer"
) -> Any:
    """A forest plot: every arm's median with its 95 % interval, the best at the top of its panel.

    Args: as :func:`learning_curves`; metric: a column of the table.
    """

    def draw(rows: Table, panel: Any, styles: dict[Any, dict[str, Any]]) -> None:
        found = summarize(rows, metric, by=(), across=across)
        found.sort(key=lambda item: item.metric.estimate, reverse=metric not in LOWER_IS_BETTER)
        forest(panel, [str(item.arm) for item in found], [item.metric for item in found],
               [styles[item.arm] for item in found])  # fmt: skip
        panel.set_xlabel(f"{_words(metric)}, {_of_seeds(rows, across, 'median [95 %]')}")

    return panels(table, draw, ax, across=across, legend=False)


def paired_differences(
    table: Table,
    metric: str = "test_accuracy",
    ax: Any = None,
    *,
    baseline: str | None = None,
    across: str = "initializer",
) -> Any:
    """A forest plot of mean paired differences to the baseline; filled where settled.

    Args: as :func:`learning_curves`; baseline: an arm; default glorot_uniform or the first. Settled
      means the verdict of :func:`jinit.compare` over the whole table.
    """
    check_table(table)
    arms = list(dict.fromkeys(table[across].tolist()))
    if len(arms) < 2:
        raise errors.refusal(f"arms along {across}", arms, "at least two", "run a baseline beside")
    default = "glorot_uniform" if "glorot_uniform" in arms else arms[0]
    baseline = default if baseline is None else arm_name(arms, across, baseline)
    compared = compare(table, metric, baseline=baseline, across=across)

    def draw(rows: Table, panel: Any, styles: dict[Any, dict[str, Any]]) -> None:
        mine = [
            item for item in compared
            if all((rows[axis] == value).all() for axis, value in item.cell.items())
        ]  # fmt: skip
        forest(panel, [str(item.arm) for item in mine],
               [item.result.difference for item in mine], [styles[item.arm] for item in mine],
               hollow=[item.verdict == "not settled" for item in mine])  # fmt: skip
        panel.axvline(0, color=GREY, lw=0.9, zorder=0)
        panel.set_xlabel(
            f"{_words(metric)} − that of {short(baseline, 24)},\n"
            f"{_of_seeds(rows, across, 'mean [95 %]')} (hollow: not settled)"
        )

    return panels(table, draw, ax, across=across, legend=False)


def learning_rate_sensitivity(
    table: Table, metric: str = "test_accuracy", ax: Any = None, *, across: str = "initializer"
) -> Any:
    """A metric against the learning rate: median and 95 % interval; what a bad choice costs.

    Args: as :func:`learning_curves`.

    Raises:
      ValueError: a single learning rate; as :func:`learning_curves`.
    """
    check_table(table)
    if "learning_rate" not in table.varying():
        raise errors.refusal(
            "learning rates", "one", "a table with several", "Grid(learning_rate=(0.01, 0.1, 1.0))"
        )

    def draw(rows: Table, panel: Any, styles: dict[Any, dict[str, Any]]) -> None:
        for arm, style in styles.items():
            found = summarize(rows.select(**{across: arm}), metric, by=("learning_rate",),
                              across=across)  # fmt: skip
            found.sort(key=lambda item: item.cell["learning_rate"])
            rates = np.array([item.cell["learning_rate"] for item in found])
            middle = np.array([item.metric.estimate for item in found])
            low, high = (np.array([getattr(item.metric, end) for item in found])
                         for end in ("low", "high"))  # fmt: skip
            panel.plot(rates, _shown(middle), lw=1.4, markersize=4, label=_label(arm, middle),
                       **style)  # fmt: skip
            finite = np.isfinite(low) & np.isfinite(high)
            panel.fill_between(rates, low, high, where=finite, color=style["color"], alpha=0.15,
                               lw=0)  # fmt: skip
            record(panel, str(arm), rates, middle, low, high)
        panel.set(xlabel="learning rate", ylabel=_words(metric), xscale="log")
        # At the rates that were tried, and as many as have room for a label.
        tried = np.unique(rows["learning_rate"].astype(float))
        panel.set_xticks(tried[rows_shown(len(tried), 6)])
        panel.set_xticks([], minor=True)
        _plain_numbers(panel)
        if metric in LOWER_IS_BETTER:
            panel.set_yscale("log")

    return panels(table, draw, ax, across=across, inside=("learning_rate",))


def survival(table: Table, ax: Any = None, *, across: str = "initializer") -> Any:
    """The share of runs not yet at the target accuracy, with a 95 % band; lower is faster.

    Runs that never get there, diverged ones among them, stay in: their curve does not reach 0.

    Args: as :func:`learning_curves`.
    """
    _check_defined(table, "test_accuracy")
    horizon = float(table.settings.get("grid", {}).get("steps") or table.curve_steps[-1])
    target = table.settings.get("grid", {}).get("target_accuracy", "target")

    def draw(rows: Table, panel: Any, styles: dict[Any, dict[str, Any]]) -> None:
        for arm, style in styles.items():
            mine = rows.take(rows[across] == arm)
            if not len(mine):
                continue
            found = stats.kaplan_meier(mine["steps_to_target"], horizon=horizon)
            survival_curve(panel, found, horizon, label=str(arm), style=style)
        panel.set(
            xlabel="step", ylabel=f"share not yet at {target}", xscale="log", ylim=(-0.02, 1.02)
        )
        _plain_numbers(panel)

    return panels(table, draw, ax, across=across)


def survival_curve(
    ax: Any, found: stats.Survival, horizon: float, *, label: str, style: dict[str, Any]
) -> Any:
    """One Kaplan-Meier curve with its band, from step 1 to the horizon.

    Args:
      ax: matplotlib axes.
      found: from :func:`jinit.stats.kaplan_meier`.
      horizon: the last step at which anyone looked.
      label: of the legend.
      style: from :func:`line_style`.

    Returns:
      The axes.
    """
    steps = np.concatenate([[1.0], found.times, [horizon]])
    share, low, high = (
        np.concatenate([[1.0], part, part[-1:] if part.size else [1.0]])
        for part in (found.share, found.low, found.high)
    )
    line = {name: value for name, value in style.items() if name != "marker"}
    ax.plot(steps, share, drawstyle="steps-post", lw=1.6, label=label, **line)
    ax.fill_between(steps, low, high, step="post", color=style["color"], alpha=0.13, lw=0)
    record(ax, label, steps, share, low, high)
    return ax


def divergence_rates(table: Table, ax: Any = None, *, across: str = "initializer") -> Any:
    """The share of runs that diverged, with its Wilson interval.

    Args: as :func:`learning_curves`.
    """

    def draw(rows: Table, panel: Any, styles: dict[Any, dict[str, Any]]) -> None:
        found = {}
        for arm in styles:
            diverged = rows.take(rows[across] == arm)["diverged"].astype(bool)
            if diverged.size:
                found[arm] = stats.wilson(int(diverged.sum()), diverged.size)
        forest(panel, [str(arm) for arm in found], list(found.values()),
               [styles[arm] for arm in found])  # fmt: skip
        panel.set(xlabel="share of runs that diverged [95 %]", xlim=(-0.03, 1.03))

    return panels(table, draw, ax, across=across, legend=False)


def performance_profile(
    table: Table, metric: str = "test_accuracy", ax: Any = None, *, across: str = "initializer"
) -> Any:
    """The share of runs above each score, with a 95 % band; higher is better everywhere.

    Args: as :func:`learning_curves`; of a metric where lower is better, the share below.
    """
    _check_defined(table, metric)
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0

    def draw(rows: Table, panel: Any, styles: dict[Any, dict[str, Any]]) -> None:
        scores = sign * _worst_for_nan(rows[metric], metric)
        finite = scores[np.isfinite(scores)]
        thresholds = np.unique(finite) if finite.size else np.zeros(1)
        # Just below the smallest score every curve is at its full height.
        margin = 0.02 * (np.ptp(thresholds) or 1.0)
        thresholds = np.concatenate([[thresholds[0] - margin], thresholds])
        for arm, style in styles.items():
            mine = scores[rows[across] == arm]
            if not mine.size:
                continue
            found = stats.performance_profile(mine, thresholds)
            x = sign * found.thresholds
            line = {name: value for name, value in style.items() if name != "marker"}
            panel.plot(x, found.share, drawstyle="steps-post", lw=1.6, label=short(arm), **line)
            panel.fill_between(x, found.low, found.high, step="post", color=style["color"],
                               alpha=0.13, lw=0)  # fmt: skip
            record(panel, str(arm), x, found.share, found.low, found.high)
        beyond = "below" if sign < 0 else "above"
        panel.set(xlabel=f"τ, {_words(metric)}", ylabel=f"share of runs {beyond} τ",
                  ylim=(-0.02, 1.02))  # fmt: skip
        panel.margins(x=0)

    return panels(table, draw, ax, across=across)


# What :func:`save_all` and ``--plots`` write.
KINDS: dict[str, Callable[..., Any]] = {
    draw.__name__: draw
    for draw in (
        learning_curves,
        ranking,
        paired_differences,
        learning_rate_sensitivity,
        survival,
        divergence_rates,
        performance_profile,
    )
}


def save_all(
    table: Table,
    folder: str | Path,
    *,
    metric: str = "test_accuracy",
    baseline: str | None = None,
    across: str = "initializer",
) -> list[Path]:
    """Every picture that the table can fill, as PNG and SVG, with the numbers beside it as CSV.

    Args:
      table: from :func:`jinit.run`.
      folder: made if it does not exist.
      metric: of the pictures that show one.
      baseline: of the paired differences.
      across: the axis whose values are the arms.

    Returns:
      The files written.
    """
    check_table(table)
    target = Path(folder)
    if any(place.is_file() for place in (target, *target.parents)):
        raise errors.refusal("folder", str(folder), "a folder, or a new name", "name another")
    target.mkdir(parents=True, exist_ok=True)
    curve = metric if metric in table.curves and not undefined(table, metric) else "test_loss"
    options: dict[str, dict[str, Any]] = {
        "learning_curves": {"metric": curve},
        "ranking": {"metric": metric},
        "paired_differences": {"metric": metric, "baseline": baseline},
        "learning_rate_sensitivity": {"metric": metric},
        "survival": {},
        "divergence_rates": {},
        "performance_profile": {"metric": metric},
    }
    if len(set(table[across].tolist())) < 2:
        del options["paired_differences"]
    if "learning_rate" not in table.varying():
        del options["learning_rate_sensitivity"]
    if np.isnan(table["test_accuracy"].astype(float)).all():
        # Steps to a target accuracy need an accuracy.
        del options["survival"]
    written: list[Path] = []
    for kind, given in options.items():
        axes = KINDS[kind](table, across=across, **given)
        written += save(axes, target / kind)
    return written


def _check_defined(table: Table, metric: str) -> None:
    check_table(table)
    # Curves of what has no column (gradient norms) are there for every task.
    if metric in table.columns and undefined(table, metric):
        raise errors.refusal("metric", metric, "a metric these runs have", "use test_loss")


def _label(arm: Any, middle: np.ndarray) -> str:
    """Of the legend; an arm whose median never is a number has no line, and that is said."""
    return short(arm) if np.isfinite(middle).any() else f"{short(arm, 22)} (not finite)"


def _of_seeds(rows: Table, across: str, what: str) -> str:
    """What an estimate is; one run an arm has no interval."""
    counts = [int((rows[across] == arm).sum()) for arm in set(rows[across].tolist())]
    return what if max(counts) > 1 else "one seed"


def _plain_numbers(panel: Any) -> None:
    """1, 10, 100 on a logarithmic x axis instead of powers."""
    panel.xaxis.set_major_formatter("{x:g}")


def _worst_for_nan(values: np.ndarray, metric: str) -> np.ndarray:
    worst = math.inf if metric in LOWER_IS_BETTER else 0.0
    return np.where(np.isfinite(values), values, worst)


def _quantiles(values: np.ndarray, shares: list[float]) -> Any:
    # Interpolating between a number and inf would give NaN: inf stands in as a large number.
    finite = np.clip(np.asarray(values, np.float64), -_NEVER, _NEVER)
    found = np.quantile(finite, shares, axis=0)
    return np.where(np.abs(found) > 1e-3 * _NEVER, np.copysign(np.inf, found), found)


def _shown(values: np.ndarray) -> np.ndarray:
    """Where the median is not finite the line ends."""
    return np.where(np.isfinite(values), values, np.nan)


def _words(metric: str) -> str:
    return metric.replace("_", " ")
