"""Who wins, and is it real: summaries per cell and paired comparisons against a baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from jinit import errors
from jinit.results._table import LOWER_IS_BETTER, RANKABLE, Table
from jinit.stats import Interval, Paired, bootstrap, holm, paired, wilson

ALPHA = 0.05
# Where a task has these, diverged runs have them too: outputs that are not finite count as wrong.
_ALWAYS_NUMBERS = ("train_accuracy", "test_accuracy", "clip_fraction")
# Metrics without a better end: an arm has more or less of them.
NEUTRAL = ("clip_fraction", "gradient_norm")
_NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Summary:
    """One arm in one cell.

    Attributes:
      cell: the value of each ``by`` axis.
      arm: the arm's name, e.g. the initializer.
      runs, diverged: how many, and how many stopped being finite.
      diverged_rate: share that diverged, with its Wilson interval.
      metric: median of the metric with a 95 % bootstrap interval; diverged runs included, and what
        is not finite as the worst. NaN where the task has no such metric.
      without_diverged: the same over the runs that stayed finite; NaN where none did. Never read it
        alone: it flatters an arm whose bad seeds diverged.
      steps_to_target: median; inf if at least half never reached it, NaN without an accuracy.
    """

    cell: dict[str, Any]
    arm: str
    runs: int
    diverged: int
    diverged_rate: Interval
    metric: Interval
    without_diverged: Interval
    steps_to_target: float


@dataclass(frozen=True)
class Comparison:
    """One arm against the baseline in one cell, on the same seeds.

    Attributes:
      cell, arm, baseline: what is compared.
      result: the paired comparison, uncorrected.
      p_value: Holm-corrected over all comparisons of the call.
      diverged, baseline_diverged: counts.
      verdict: ``"wins"``, ``"loses"`` or ``"not settled"``; for a metric without a better end
        (``clip_fraction``, ``gradient_norm``) ``"higher"`` or ``"lower"``.
    """

    cell: dict[str, Any]
    arm: str
    baseline: str
    result: Paired
    p_value: float
    diverged: int
    baseline_diverged: int
    verdict: str

    @property
    def sentence(self) -> str:
        """The verdict with what would settle it.

        ``not settled (about 40 more seeds)``, where about that many further pairs would be needed.
        """
        if self.verdict != "not settled":
            return self.verdict
        more = self.result.more_pairs
        if math.isnan(more):
            return "not settled (one pair says nothing)"
        if math.isinf(more):
            return "not settled (no difference seen)"
        if more > 10_000:
            return "not settled (over 10,000 more seeds)"
        count = _rounded(max(more, 1))
        return f"not settled (about {count} more seed{'s' if count > 1 else ''})"


def summarize(
    table: Table,
    metric: str = "test_accuracy",
    *,
    by: tuple[str, ...] | None = None,
    across: str = "initializer",
) -> list[Summary]:
    """Per cell and arm: runs, diverged, the median with its interval, median steps to target.

    Args:
      table: the runs.
      metric: a metric column; a value that is not finite counts as the worst.
      by: axes that make cells; default all that vary except the arms and seeds.
      across: the axis whose values are the arms.

    Raises:
      ValueError: an unknown column or metric.

    >>> columns = {"initializer": np.array(["a", "a"]), "test_accuracy": np.array([0.4, 0.6]),
    ...            "diverged": np.zeros(2, bool), "steps_to_target": np.array([5.0, np.inf])}
    >>> found = summarize(Table(columns, ("initializer",), {}, np.array([])))[0]
    >>> found.metric.estimate, found.steps_to_target
    (0.5, inf)
    """
    check_table(table)
    _check_metric(table, metric)
    summaries = []
    for cell, rows in _cells(table, _by(table, by, across)):
        for arm in _unique(rows[across]):
            summaries.append(_summary(cell, arm, rows.select(**{across: arm}), metric))
    return summaries


def _summary(cell: dict[str, Any], arm: str, rows: Table, metric: str) -> Summary:
    diverged = rows["diverged"].astype(bool)
    values = _worst_for_nonfinite(rows[metric], metric)
    kept = values[~diverged]
    missing = _undefined(rows, metric)
    return Summary(
        cell=cell,
        arm=arm,
        runs=len(rows),
        diverged=int(diverged.sum()),
        diverged_rate=wilson(int(diverged.sum()), len(rows)),
        metric=missing or bootstrap(values),
        without_diverged=missing or (bootstrap(kept) if kept.size else _NOTHING),
        steps_to_target=_median_steps(rows),
    )


def _median_steps(rows: Table) -> float:
    """NaN where the task has no accuracy, so that no target can be reached."""
    if "test_accuracy" in rows.columns and _undefined(rows, "test_accuracy"):
        return math.nan
    return float(np.median(rows["steps_to_target"]))


def compare(
    table: Table,
    metric: str = "test_accuracy",
    *,
    baseline: str | None = None,
    by: tuple[str, ...] | None = None,
    across: str = "initializer",
) -> list[Comparison]:
    """Every arm against the baseline, or against every other, paired on the same seeds.

    Args:
      table: the runs.
      metric: a metric column; a value that is not finite counts as the worst.
      baseline: an arm, by name or alias; None compares all pairs of arms, each pair once.
      by: axes that make cells; default all that vary except the arms and seeds.
      across: the axis whose values are the arms.

    Returns:
      One :class:`Comparison` per cell and arm; none where the task has no such metric. An arm wins
      or loses if the Holm-corrected Wilcoxon p is below 0.05 and the interval of the difference
      excludes 0; everything else is not settled. Runs of one seed with several data seeds are
      averaged first: they are not independent pairs.

    Raises:
      ValueError: an unknown baseline, column or metric; arms without common seeds.

    >>> columns = {"initializer": np.repeat(["a", "b"], 12), "seed": np.tile(np.arange(12), 2),
    ...            "test_accuracy": np.arange(24.0), "diverged": np.zeros(24, bool)}
    >>> compare(Table(columns, ("initializer", "seed"), {}, np.array([])), baseline="a")[0].verdict
    'wins'
    """
    check_table(table)
    _check_metric(table, metric)
    if baseline is not None:
        baseline = arm_name(_unique(table[across]), across, baseline)
    cells = [
        (cell, rows, _pairs(_unique(rows[across]), baseline))
        for cell, rows in _cells(table, _by(table, by, across))
    ]
    alpha = ALPHA / max(1, sum(len(pairs) for _, _, pairs in cells))
    found: list[tuple[dict[str, Any], str, str, Paired, Table, Table]] = []
    for cell, rows, pairs in cells:
        for arm, other in pairs:
            mine, base = (rows.select(**{across: name}) for name in (arm, other))
            if _undefined(mine, metric) or _undefined(base, metric):
                continue
            result = _paired(mine, base, metric, across, alpha)
            found.append((cell, arm, other, result, mine, base))
    corrected = holm([item[3].p_value for item in found])
    return [
        Comparison(
            cell=cell,
            arm=arm,
            baseline=other,
            result=result,
            p_value=p_value,
            diverged=int(mine["diverged"].sum()),
            baseline_diverged=int(base["diverged"].sum()),
            verdict=_verdict(result, p_value, metric),
        )
        for (cell, arm, other, result, mine, base), p_value in zip(found, corrected, strict=True)
    ]


def _pairs(arms: list[str], baseline: str | None) -> list[tuple[str, str]]:
    """(arm, what it is compared with) in one cell."""
    if baseline is None:
        return [(later, earlier) for earlier, later in combinations(arms, 2)]
    return [(arm, baseline) for arm in arms if arm != baseline and baseline in arms]


def check_table(table: Any) -> None:
    """Refuses what is not a table.

    >>> check_table(Table({}, (), {}, np.array([])))
    """
    if not isinstance(table, Table):
        raise errors.wrong_type("table", table, "a Table", "table = jinit.run(grid)")


def _paired(mine: Table, base: Table, metric: str, across: str, alpha: float) -> Paired:
    axes = [axis for axis in mine.axes if axis != across]
    keys = [
        list(zip(*(table.columns[axis].tolist() for axis in axes), strict=True))
        for table in (mine, base)
    ]
    row_of = {key: row for row, key in enumerate(keys[1])}
    pairs = [(row, row_of[key]) for row, key in enumerate(keys[0]) if key in row_of]
    if not pairs:
        raise errors.refusal(
            "pairs", "no run in common", "arms that share seeds", "compare arms of one sweep"
        )
    left, right = (np.array(rows) for rows in zip(*pairs, strict=True))
    groups = [
        tuple(value for axis, value in zip(axes, keys[0][row], strict=True) if axis != "data_seed")
        for row in left
    ]
    return paired(
        _averaged(_worst_for_nonfinite(mine[metric], metric)[left], groups),
        _averaged(_worst_for_nonfinite(base[metric], metric)[right], groups),
        higher_is_better=metric not in LOWER_IS_BETTER,
        alpha=alpha,
    )


def _averaged(values: np.ndarray, groups: list[Any]) -> np.ndarray:
    """The mean of each group, in the order of first appearance."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[group] for group in groups])
    return np.array([values[index == number].mean() for number in range(len(numbers))])


def _verdict(result: Paired, p_value: float, metric: str) -> str:
    difference = result.difference
    # An end that is NaN (half −∞, half +∞) excludes nothing.
    if p_value >= ALPHA or not (difference.low > 0 or difference.high < 0):
        return "not settled"
    if metric in NEUTRAL:
        return "higher" if difference.estimate > 0 else "lower"
    better = difference.estimate < 0 if metric in LOWER_IS_BETTER else difference.estimate > 0
    return "wins" if better else "loses"


def undefined(rows: Table, metric: str) -> bool:
    """Whether no run has this metric, because its task does not define it.

    >>> rows = Table({"test_accuracy": np.array([np.nan]), "diverged": np.array([False])}, (), {},
    ...              np.array([]))
    >>> undefined(rows, "test_accuracy")
    True
    """
    return _undefined(rows, metric) is not None


def _undefined(rows: Table, metric: str) -> Interval | None:
    """NaN where no run has this metric: the task does not define it."""
    values = np.asarray(rows[metric], float)
    if metric not in _ALWAYS_NUMBERS:
        # A loss of a diverged run is NaN because it diverged.
        values = values[~rows["diverged"].astype(bool)]
    return _NOTHING if values.size and np.isnan(values).all() else None


def _worst_for_nonfinite(values: np.ndarray, metric: str) -> np.ndarray:
    worst = math.inf if metric in LOWER_IS_BETTER else 0.0
    values = np.asarray(values, float)
    return np.where(np.isfinite(values), values, worst)


def _cells(table: Table, by: tuple[str, ...]) -> Any:
    combinations = list(zip(*(table[axis].tolist() for axis in by), strict=True)) or [()]
    for values in dict.fromkeys(combinations):
        cell = dict(zip(by, values, strict=True))
        yield cell, table.select(**cell) if cell else table


def _by(table: Table, by: tuple[str, ...] | None, across: str) -> tuple[str, ...]:
    if by is None:
        return table.varying(leave_out=(across, "seed", "data_seed"))
    for axis in (*by, across):
        if axis not in table.axes:
            raise errors.unknown_name("axis", axis, table.axes, "table.axes")
    return tuple(by)


def arm_name(arms: Sequence[Any], across: str, baseline: Any) -> Any:
    """The arm that a baseline names, by its own label or, for an initializer, by an alias.

    Raises:
      ValueError: no such arm.

    >>> arm_name(["he_normal", "zeros"], "initializer", "HeNormal")
    'he_normal'
    """
    if baseline in arms:
        return baseline
    if across == "initializer":
        from jinit.calibrate._registry import resolve

        try:
            canonical = str(resolve(baseline))
        except (ValueError, TypeError):
            canonical = baseline
        if canonical in arms:
            return canonical
    raise errors.unknown_name("baseline", baseline, map(str, arms), f"the {across} axis")


def _check_metric(table: Table, metric: str) -> None:
    known = [name for name in RANKABLE if name in table.columns]
    if metric not in known:
        raise errors.unknown_name("metric", metric, known, "table.columns")
    if _undefined(table, metric):
        raise errors.refusal(
            "metric",
            metric,
            "a metric these runs have",
            "regression has no accuracy: use test_loss; clip_fraction needs a clip",
        )


def _unique(values: np.ndarray) -> list[Any]:
    return list(dict.fromkeys(values.tolist()))


def _rounded(number: float) -> int:
    """Two leading digits: the number is a guide, not a promise."""
    scale = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return int(math.ceil(number / scale) * scale)
