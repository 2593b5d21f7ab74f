"""Compares arms with a baseline on the same seeds, and says which differences are real."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from jinit import errors
from jinit.results._arms import arm_name
from jinit.results._looks import decisive, looks_of, rows_at
from jinit.results._metrics import (
    check_metric,
    diverged,
    lower_is_better,
    neutral,
    undefined,
    with_blown_up,
    worst_for_nonfinite,
)
from jinit.results._summary import cell_axes, cells, unique
from jinit.results._table import Table, Value, check_table
from jinit.results._tuned import tuned
from jinit.results._units import SEED, averaged
from jinit.results._verdict import ALPHA, Comparison, p_values, verdict
from jinit.stats import paired
from jinit.stats._paired import Paired


def compare(
    table: Table,
    metric: str | None = None,
    *,
    baseline: str | None = None,
    by: tuple[str, ...] | None = None,
    across: str = "initializer",
    higher_is_better: bool | None = None,
    margin: float = 0.0,
    tune: str | tuple[str, ...] = (),
) -> list[Comparison]:
    """Compares every arm with the baseline, or with every other arm, paired on the same seeds.

    An arm wins or loses if its difference (Hodges–Lehmann) and its mean difference point the same
    way and both are settled: the signed-rank p and the p of the studentized mean are below 0.05,
    Holm-corrected over all comparisons. If the ranks settle one direction and the mean points the
    other way, the verdict is mixed. Runs of one seed are averaged first over all axes that ``by``
    leaves out, because they are not independent.

    If the sweep added seeds until its comparisons were settled
    (:func:`jinit.sweep.run_until_settled`), each look has its share of the error, and p is the
    least over the looks of the look's p divided by the share.

    Args:
      table: the runs.
      metric: any numeric column that is no axis; default the test accuracy, or the test loss for a
        task without accuracy. A value that is not finite counts as the worst.
      baseline: an arm, by name or alias; None compares all pairs of arms, each pair once.
      by: the axes whose values make the cells; default all axes that vary, except the arms, seeds
        and tuned axes.
      across: the axis whose values are the arms.
      higher_is_better: the direction of a column of your own; without one its verdicts are higher
        and lower.
      margin: the smallest difference that matters, ≥ 0, in the unit of the metric. An arm then wins
        or loses only by more than the margin, and is equivalent if two one-sided tests settle that
        the difference lies within ± margin.
      tune: axes, such as ``"learning_rate"``, along which each arm gets its own best value. Every
        seed is judged at the value that is best on average over the other half of the seeds.

    Returns:
      One :class:`Comparison` per cell and pair of arms; cells whose task lacks the metric have
      none.

    Raises:
      ValueError: an unknown baseline, column or metric; arms without common seeds; a table without
        the axis ``seed``, or with two runs that agree in all axes.
      TypeError: ``table`` is not a Table, names that are not text.

    Reference: Wilcoxon 1945; Hodges & Lehmann 1963; Holm 1979; Schuirmann 1987 (equivalence).

    >>> columns = {"initializer": np.repeat(["a", "b"], 12), "seed": np.tile(np.arange(12), 2),
    ...            "test_accuracy": np.arange(24.0), "diverged": np.zeros(24, bool)}
    >>> compare(Table(columns, ("initializer", "seed"), {}, np.array([])), baseline="a")[0].verdict
    'wins'
    """
    check_table(table)
    metric = check_metric(table, metric, higher_is_better)
    axes = (tune,) if isinstance(tune, str) else tune
    by = cell_axes(table, by, across, leave_out=_tunable(table, axes, across))
    if SEED not in table.axes:
        raise errors.refusal("axes of the table", table.axes, "an axis 'seed'", "pair by seeds")
    if baseline is not None:
        baseline = arm_name(unique(table[across]), across, baseline)
    question = _Question(metric, across, higher_is_better, margin, axes)
    looks = looks_of(table)
    found = [_compared(rows_at(table, look), by, baseline, question, look.share) for look in looks]
    same = zip(*found, strict=True)
    decided = [decisive([pair.result for pair in pairs], looks) for pairs in same]
    corrected, both = p_values(decided)
    return [
        Comparison(
            cell=pair.cell,
            arm=pair.arm.name,
            baseline=pair.base.name,
            metric=metric,
            result=pair.result,
            p_value=p,
            diverged=pair.arm.diverged,
            baseline_diverged=pair.base.diverged,
            unpaired=pair.unpaired,
            tuned=pair.arm.setting,
            baseline_tuned=pair.base.setting,
            verdict=said,
            reason=reason,
        )
        for pair, at, p, q in zip(found[-1], decided, corrected, both, strict=True)
        for said, reason in [
            verdict(at, p, q, lower_is_better=question.lower, neutral=question.neutral)
        ]
    ]


class _Question(NamedTuple):
    """What is asked of every pair of arms."""

    metric: str
    across: str
    higher_is_better: bool | None
    margin: float
    tune: tuple[str, ...]

    @property
    def lower(self) -> bool:
        return lower_is_better(self.metric, self.higher_is_better)

    @property
    def neutral(self) -> bool:
        return neutral(self.metric, self.higher_is_better)


class _Arm(NamedTuple):
    """The runs of one arm in one cell: the seed and the other axes of each value, none twice.

    ``once`` says that each seed has one run.
    """

    name: str
    axes: tuple[np.ndarray, ...]
    values: np.ndarray
    diverged: int
    setting: dict[str, Value]
    once: bool

    def places(self) -> dict[tuple[Value, ...], int]:
        """(seed, other axes …) → place of the run."""
        keys = zip(*(axis.tolist() for axis in self.axes), strict=True)
        return {key: place for place, key in enumerate(keys)}


class _Pair(NamedTuple):
    """Two arms of one cell and their paired comparison."""

    cell: dict[str, Value]
    arm: _Arm
    base: _Arm
    result: Paired
    unpaired: int


def _compared(
    table: Table, by: tuple[str, ...], baseline: str | None, question: _Question, share: float
) -> list[_Pair]:
    """Compares the pairs of arms in all cells, which may spend a ``share`` of the error."""
    in_cells = [
        (cell, rows, _pairs(unique(rows[question.across]), baseline))
        for cell, rows in cells(with_blown_up(table), by)
        if not undefined(rows, question.metric)
    ]
    alpha = ALPHA * share / max(1, sum(len(pairs) for _, _, pairs in in_cells))
    found = []
    for cell, rows, pairs in in_cells:
        # Other axes tell no runs of the cell apart.
        others = rows.varying(leave_out=(question.across, SEED))
        of_arms = {arm[question.across]: mine for arm, mine in cells(rows, (question.across,))}
        asked = dict.fromkeys(sum(pairs, ()))
        arms = {arm: _arm(of_arms[arm], arm, question, others) for arm in asked}
        for name, other in pairs:
            mine, base = arms[name], arms[other]
            found.append(_Pair(cell, mine, base, *_paired(mine, base, question, alpha)))
    return found


def _tunable(table: Table, axes: tuple[str, ...], across: str) -> tuple[str, ...]:
    if not isinstance(axes, tuple | list):
        raise errors.wrong_type("tune", axes, "the name of an axis, or several", "'learning_rate'")
    for axis in axes:
        allowed = [name for name in table.varying() if name not in (across, SEED, "data_seed")]
        if axis in table.axes and axis not in allowed:
            paired = axis in table.varying()
            raise errors.refusal(
                "tuned axis",
                f"{axis!r}, "
                + ("along which runs are paired or compared" if paired else "of one value here"),
                f"an axis of several values{f': {allowed}' if allowed else ''}",
                "leave it out" if paired else f"leave it out, or run Grid({axis}=(…, …))",
            )
        if axis not in allowed:
            raise errors.unknown_name("tuned axis", axis, allowed)
    return axes


def _arm(mine: Table, name: str, question: _Question, others: tuple[str, ...]) -> _Arm:
    values = np.asarray(mine[question.metric], float)
    values = worst_for_nonfinite(values, question.metric, question.higher_is_better)
    count = int(diverged(mine).sum())
    if question.tune:
        best = tuned(mine, values, question.tune, lower=question.lower)
        seeds = np.empty(len(best.values), object)
        seeds[:] = list(best.values)
        return _Arm(name, (seeds,), np.array([*best.values.values()]), count, best.setting, True)
    once = _all_differ(mine[SEED])
    arm = _Arm(name, tuple(mine[axis] for axis in (SEED, *others)), values, count, {}, once)
    # Where the seeds alone differ, no two runs agree.
    different = len(values) if once else len(arm.places())
    if different < len(values):
        raise errors.refusal(
            f"runs of {name!r}",
            f"{len(values) - different} that agree with another run in all axes",
            "one run for each combination of the axes",
            "name the column that tells the runs apart in Table.axes",
        )
    return arm


def _all_differ(values: np.ndarray) -> bool:
    return values.dtype.kind in "iu" and len(np.unique(values)) == len(values)


def _pairs(arms: list[str], baseline: str | None) -> list[tuple[str, str]]:
    """The pairs (arm, reference arm) to compare in one cell."""
    if baseline is None:
        return [(later, earlier) for earlier, later in combinations(arms, 2)]
    return [(arm, baseline) for arm in arms if arm != baseline and baseline in arms]


def _paired(mine: _Arm, base: _Arm, question: _Question, alpha: float) -> tuple[Paired, int]:
    """The paired comparison over common runs, one pair per seed, and the number of other runs."""
    seeds, both = mine.axes[0], (mine.values, base.values)
    alike = all(np.array_equal(*axes) for axes in zip(mine.axes, base.axes, strict=True))
    if not alike:
        at, there = mine.places(), base.places()
        common = [key for key in at if key in there]
        if not common:
            raise errors.refusal(
                "pairs", "no run in common", "arms that share seeds", "compare arms of one sweep"
            )
        places = [at[key] for key in common], [there[key] for key in common]
        seeds = seeds[places[0]]
        both = mine.values[places[0]], base.values[places[1]]
    if not (mine.once and base.once):
        first, second = (averaged(values, seeds.tolist()) for values in both)
        both = first, second
    result = paired(
        *both,
        higher_is_better=not question.lower,
        alpha=alpha,
        margin=question.margin,
    )
    return result, len(mine.values) + len(base.values) - 2 * len(seeds)
