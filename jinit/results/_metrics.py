"""Names the metrics of a run, says whether higher is better, and handles undefined values."""

from __future__ import annotations

import math

import numpy as np

from jinit import errors
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
# The metrics that arms can be compared by.
RANKABLE = tuple(name for name in METRICS if name not in ("where", "first_bad_step", "calibrated"))
LOWER_IS_BETTER = ("train_loss", "test_loss", "steps_to_target", "diverged", "gradient_norm")
# Metrics of which neither more nor less is better.
NEUTRAL = ("clip_fraction", "gradient_norm", "skipped")
# Metrics that diverged runs have too, if their task does: non-finite outputs count as wrong.
_DEFINED_IF_DIVERGED = ("train_accuracy", "test_accuracy", "clip_fraction", "skipped")


def check_metric(table: Table, metric: str) -> None:
    """Refuses a metric that the table does not have or that no run defines.

    Raises:
      ValueError: an unknown metric, or one that is undefined in all runs.
    """
    present = [name for name in RANKABLE if name in table.columns]
    if metric not in present:
        raise errors.unknown_name("metric", metric, present, "table.columns")
    if undefined(table, metric):
        raise errors.refusal(
            "metric",
            metric,
            "a metric these runs have",
            "regression has no accuracy: use test_loss; clip_fraction needs a clip",
        )


def undefined(rows: Table, metric: str) -> bool:
    """True if no run has this metric, because its task does not define it.

    >>> rows = Table({"test_accuracy": np.array([np.nan]), "diverged": np.array([False])}, (), {},
    ...              np.array([]))
    >>> undefined(rows, "test_accuracy")
    True
    """
    values = np.asarray(rows[metric], float)
    if metric not in _DEFINED_IF_DIVERGED:
        # A diverged run may have a NaN loss although its task defines a loss.
        values = values[~rows["diverged"].astype(bool)]
    return bool(values.size) and bool(np.isnan(values).all())


def worst_for_nonfinite(values: np.ndarray, metric: str) -> np.ndarray:
    """Replaces values that are not finite by the worst: 0, or inf where lower is better.

    >>> worst_for_nonfinite(np.array([0.5, np.nan]), "test_accuracy").tolist()
    [0.5, 0.0]
    """
    worst = math.inf if metric in LOWER_IS_BETTER else 0.0
    return np.where(np.isfinite(values), values, worst)


def metric_for(table: Table, metric: str = "test_accuracy") -> str:
    """``metric``, or ``test_loss`` if ``metric`` is the test accuracy and the task has none."""
    regression = metric == "test_accuracy" and bool(np.isnan(table[metric]).all())
    return "test_loss" if regression else metric
