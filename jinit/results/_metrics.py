"""Names the metrics of a run, says whether higher is better, and handles undefined values."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from jinit import errors
from jinit._database import is_repeated
from jinit.results._table import Table

METRICS = (
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "steps_to_target",
    "diverged",
    "first_bad_step",
    "where",
    "gradient_norm",
    "clip_fraction",
    "skipped",
    "calibrated",
)
# The metrics of the step with the least validation loss, if there is a validation set.
BEST = ("best_step", "best_validation_loss", "best_test_loss", "best_test_accuracy")
# The metrics of a regression, in the units of its targets.
REGRESSION = ("test_mae", "test_r2", "test_rmse", "best_test_mae", "best_test_r2", "best_test_rmse")
# The metrics of class labels besides those of METRICS.
CLASSES = ("test_balanced_accuracy", "best_test_balanced_accuracy")
# The metrics that arms can be compared by.
RANKABLE = (
    *(name for name in METRICS if name not in ("where", "first_bad_step", "calibrated")),
    *BEST,
    *REGRESSION,
    *CLASSES,
)
# All metrics of a sweep; any other column is the user's own.
KNOWN = (*METRICS, *BEST, *REGRESSION, *CLASSES)
LOWER_IS_BETTER = (
    "train_loss",
    "test_loss",
    "steps_to_target",
    "diverged",
    "gradient_norm",
    "best_validation_loss",
    "best_test_loss",
    *(name for name in REGRESSION if not name.endswith("r2")),
)
# Metrics of which neither more nor less is better; the worst gradient_norm is inf nevertheless.
NEUTRAL = ("clip_fraction", "gradient_norm", "skipped", "best_step")
# Metrics that diverged runs have too, if their task does: non-finite outputs count as wrong.
_DEFINED_IF_DIVERGED = (
    "train_accuracy",
    "test_accuracy",
    "clip_fraction",
    "skipped",
    *BEST,
    *CLASSES,
)
# A finite loss above this multiple of the best one, or of 1 if that is less, counts as diverged.
BLOWN_UP = 1e6


def check_metric(table: Table, metric: str | None, higher_is_better: bool | None = None) -> str:
    """The metric of a call: any numeric column that is no axis and that some run defines.

    Args:
      table: the runs.
      metric: a column; None for the test accuracy, or the test loss for a task without accuracy.
      higher_is_better: None for the metrics of a sweep, whose direction is known.

    Raises:
      ValueError: an unknown column, one that is an axis or undefined in all runs.
      TypeError: a name that is not text, a column that is not numeric.
    """
    if higher_is_better is not None:
        errors.check_bool("higher_is_better", higher_is_better)
    if metric is None:
        metric = metric_for(table)
    if not isinstance(metric, str):
        raise errors.wrong_type("metric", metric, "the name of a column", "'test_loss'")
    present = [
        name
        for name, column in table.columns.items()
        if name not in table.axes and (name in RANKABLE or name not in METRICS)
        if column.dtype.kind in "buif"
    ]
    if metric not in present:
        if metric in table.columns and metric not in table.axes:
            kind = "text" if table[metric].dtype.kind in "OUS" else f"dtype {table[metric].dtype}"
            raise errors.refusal(
                "metric",
                f"{metric!r}, a column of {kind}",
                "a column of numbers",
                "table.with_column(name, numbers), or select rows by it: table.select(…)",
            )
        raise errors.unknown_name("metric", metric, present, "table.columns")
    if undefined(table, metric):
        raise errors.refusal(
            "metric",
            metric,
            "a metric these runs have",
            "regression has no accuracy: use test_loss; clip_fraction needs a clip"
            if metric in METRICS
            else f"every value of {metric!r} is NaN: pass numbers to table.with_column",
        )
    return metric


def lower_is_better(metric: str, higher_is_better: bool | None = None) -> bool:
    """True if less is better; an own column has higher values first unless told.

    >>> lower_is_better("test_loss"), lower_is_better("f1"), lower_is_better("regret", False)
    (True, False, True)
    """
    return metric in LOWER_IS_BETTER if higher_is_better is None else not higher_is_better


def neutral(metric: str, higher_is_better: bool | None = None) -> bool:
    """True if neither more nor less is better, as for an own column without a direction.

    >>> neutral("gradient_norm"), neutral("test_loss"), neutral("f1"), neutral("f1", True)
    (True, False, True, False)
    """
    return higher_is_better is None and (metric in NEUTRAL or metric not in KNOWN)


def undefined(rows: Table, metric: str) -> bool:
    """True if no run has this metric, because its task does not define it.

    >>> rows = Table({"test_accuracy": np.array([np.nan]), "diverged": np.array([False])}, (), {},
    ...              np.array([]))
    >>> undefined(rows, "test_accuracy")
    True
    """
    if metric == "steps_to_target" and target_metric(rows) in rows.columns:
        return undefined(rows, target_metric(rows))
    values = np.asarray(rows[metric], float)
    if metric not in _DEFINED_IF_DIVERGED:
        # A diverged run may have a NaN loss although its task defines a loss.
        values = values[~diverged(rows)]
    return bool(values.size) and bool(np.isnan(values).all())


def target_metric(table: Table) -> str:
    """The metric for which ``steps_to_target`` waits; the test accuracy unless the grid says."""
    target = table.settings.get("grid", {}).get("target")
    return str(target).partition(">=")[0].partition("<=")[0] if target else "test_accuracy"


def worst_for_nonfinite(
    values: np.ndarray, metric: str, higher_is_better: bool | None = None
) -> np.ndarray:
    """Replaces values that are not finite by the worst: 0, or inf where lower is better.

    For R² and an own column the worst is −inf or inf; an own column needs a direction.

    Raises:
      ValueError: values that are not finite in an own column without a direction.

    >>> worst_for_nonfinite(np.array([0.5, np.nan]), "test_accuracy").tolist()
    [0.5, 0.0]
    """
    finite = np.isfinite(values)
    if metric not in KNOWN and higher_is_better is None and not finite.all():
        raise errors.refusal(
            f"values of {metric!r}",
            f"{int((~finite).sum())} not finite",
            "finite values, or a direction that says which is the worst",
            "higher_is_better=True or False",
        )
    worst = math.inf if lower_is_better(metric, higher_is_better) else 0.0
    if worst == 0 and (metric not in KNOWN or metric.endswith("r2")):
        worst = -math.inf
    return np.where(finite, values, worst)


def metric_for(table: Table, metric: str | None = None) -> str:
    """``metric``, or ``test_loss`` if ``metric`` is the test accuracy and the task has none.

    >>> columns = {"test_accuracy": np.array([np.nan]), "test_loss": np.array([0.1])}
    >>> metric_for(Table(columns, (), {}, np.array([])))
    'test_loss'
    """
    if metric is not None and (not isinstance(metric, str) or metric != "test_accuracy"):
        return str(metric)
    accuracy = table.columns.get("test_accuracy")
    if accuracy is None:
        return "test_loss" if "test_loss" in table.columns else "test_accuracy"
    return "test_loss" if bool(np.isnan(accuracy).all()) else "test_accuracy"


def diverged(rows: Table) -> np.ndarray:
    """``(runs,)`` Booleans: the column ``diverged``; all False for a table without the column."""
    flags = rows.columns.get("diverged")
    return np.zeros(len(rows), bool) if flags is None else flags.astype(bool)


def with_blown_up(table: Table) -> Table:
    """The table in which runs with an absurd loss count as diverged, too.

    A loss is absurd above 10⁶ · max(1, least loss of the data set).

    >>> columns = {"test_loss": np.array([0.5, 3e28]), "diverged": np.zeros(2, bool)}
    >>> with_blown_up(Table(columns, (), {}, np.array([])))["diverged"].tolist()
    [False, True]
    """
    flags = diverged(table)
    sets = table.columns.get("dataset")
    if sets is None or is_repeated(sets):
        names = np.zeros(len(table), int)
    else:
        names = np.unique(sets, return_inverse=True)[1]
    for loss in ("train_loss", "test_loss"):
        if loss not in table.columns:
            continue
        values = np.asarray(table[loss], float)
        for name in np.unique(names):
            mine = (names == name) & np.isfinite(values)
            least = float(np.min(values, where=mine, initial=math.inf))
            flags = flags | (mine & (values > BLOWN_UP * max(1.0, least)))
    return dataclasses.replace(table, columns={**table.columns, "diverged": flags})
