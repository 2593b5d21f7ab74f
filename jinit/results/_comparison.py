"""Compares arms with a baseline on the same seeds, and says which differences are real."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from jinit import errors
from jinit.results._arms import arm_name
from jinit.results._metrics import (
    LOWER_IS_BETTER,
    NEUTRAL,
    check_metric,
    undefined,
    worst_for_nonfinite,
)
from jinit.results._summary import cell_axes, cells, unique
from jinit.results._table import Table, Value, check_table
from jinit.stats import Paired, holm, paired

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """One arm against the baseline in one cell, on the same seeds.

    Attributes:
      cell: axis → value, for each ``by`` axis.
      arm, baseline: the names of the two arms.
      result: the paired comparison, uncorrected; its difference is arm − baseline.
      p_value: Holm-corrected over all comparisons of the call.
      diverged, baseline_diverged: numbers of diverged runs.
      verdict: ``"wins"``, ``"loses"`` or ``"not settled"``; for a metric of which neither more nor
        less is better (``clip_fraction``, ``gradient_norm``) ``"higher"``, ``"lower"`` or
        ``"not settled"``.
    """

    cell: dict[str, Value]
    arm: str
    baseline: str
    result: Paired
    p_value: float
    diverged: int
    baseline_diverged: int
    verdict: str

    @property
    def sentence(self) -> str:
        """The verdict; ``not settled`` with the number of further seeds that would settle it.

        An example is ``not settled (about 40 more seeds)``: about 40 further pairs are needed.
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


def compare(
    table: Table,
    metric: str = "test_accuracy",
    *,
    baseline: str | None = None,
    by: tuple[str, ...] | None = None,
    across: str = "initializer",
) -> list[Comparison]:
    """Compares every arm with the baseline, or with every other arm, paired on the same seeds.

    An arm wins or loses if the Holm-corrected Wilcoxon p is below 0.05 and the interval of the
    difference excludes 0; otherwise the comparison is not settled. Runs of one seed with several
    data seeds are averaged first, because they are not independent pairs.

    Args:
      table: the runs.
      metric: a metric column; a value that is not finite counts as the worst.
      baseline: an arm, by name or alias; None compares all pairs of arms, each pair once.
      by: the axes whose values make the cells; default all axes that vary, except the arms and
        seeds.
      across: the axis whose values are the arms.

    Returns:
      One :class:`Comparison` per cell and pair of arms; cells whose task lacks the metric have
      none.

    Raises:
      ValueError: an unknown baseline, column or metric; arms without common seeds.
      TypeError: ``table`` is not a Table.

    Reference: Wilcoxon 1945; Holm 1979.

    >>> columns = {"initializer": np.repeat(["a", "b"], 12), "seed": np.tile(np.arange(12), 2),
    ...            "test_accuracy": np.arange(24.0), "diverged": np.zeros(24, bool)}
    >>> compare(Table(columns, ("initializer", "seed"), {}, np.array([])), baseline="a")[0].verdict
    'wins'
    """
    check_table(table)
    check_metric(table, metric)
    if baseline is not None:
        baseline = arm_name(unique(table[across]), across, baseline)
    in_cells = [
        (cell, rows, _pairs(unique(rows[across]), baseline))
        for cell, rows in cells(table, cell_axes(table, by, across))
    ]
    alpha = ALPHA / max(1, sum(len(pairs) for _, _, pairs in in_cells))
    results: list[_Uncorrected] = []
    for cell, rows, pairs in in_cells:
        for arm, other in pairs:
            mine, base = (rows.select(**{across: name}) for name in (arm, other))
            if undefined(mine, metric) or undefined(base, metric):
                continue
            result = _paired(mine, base, metric, across, alpha)
            results.append(_Uncorrected(cell, arm, other, result, mine, base))
    corrected = holm([item.result.p_value for item in results])
    return [
        Comparison(
            cell=item.cell,
            arm=item.arm,
            baseline=item.baseline,
            result=item.result,
            p_value=p_value,
            diverged=int(item.rows["diverged"].sum()),
            baseline_diverged=int(item.baseline_rows["diverged"].sum()),
            verdict=_verdict(item.result, p_value, metric),
        )
        for item, p_value in zip(results, corrected, strict=True)
    ]


class _Uncorrected(NamedTuple):
    """A comparison before the correction for the number of comparisons."""

    cell: dict[str, Value]
    arm: str
    baseline: str
    result: Paired
    rows: Table
    baseline_rows: Table


def _pairs(arms: list[str], baseline: str | None) -> list[tuple[str, str]]:
    """The pairs (arm, reference arm) to compare in one cell."""
    if baseline is None:
        return [(later, earlier) for earlier, later in combinations(arms, 2)]
    return [(arm, baseline) for arm in arms if arm != baseline and baseline in arms]


def _paired(mine: Table, base: Table, metric: str, across: str, alpha: float) -> Paired:
    """The paired comparison over all runs that agree in every other axis."""
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
    mine_values, base_values = (
        worst_for_nonfinite(np.asarray(table[metric], float), metric) for table in (mine, base)
    )
    return paired(
        _averaged(mine_values[left], groups),
        _averaged(base_values[right], groups),
        higher_is_better=metric not in LOWER_IS_BETTER,
        alpha=alpha,
    )


def _averaged(values: np.ndarray, groups: list[tuple[Value, ...]]) -> np.ndarray:
    """The mean of each group, in the order of first appearance."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[group] for group in groups])
    return np.array([values[index == number].mean() for number in range(len(numbers))])


def _verdict(result: Paired, p_value: float, metric: str) -> str:
    difference = result.difference
    # An interval with a NaN end (its differences hold −∞ and +∞) does not exclude 0.
    if p_value >= ALPHA or not (difference.low > 0 or difference.high < 0):
        return "not settled"
    if metric in NEUTRAL:
        return "higher" if difference.estimate > 0 else "lower"
    better = difference.estimate < 0 if metric in LOWER_IS_BETTER else difference.estimate > 0
    return "wins" if better else "loses"


def _rounded(number: float) -> int:
    """Rounds up to two significant digits, because the number of seeds is a rough estimate."""
    scale = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return int(math.ceil(number / scale) * scale)
