"""Turns p-values of a paired comparison into a verdict and a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jinit.results._shown import html_table
from jinit.results._table import Value
from jinit.stats import holm
from jinit.stats._paired import Paired

ALPHA = 0.05


@dataclass(frozen=True, repr=False)
class Comparison:
    """One arm against the baseline in one cell, on the same seeds.

    Attributes:
      cell: axis → value, for each ``by`` axis.
      arm, baseline: the names of the two arms.
      metric: the metric compared.
      result: the paired comparison, uncorrected; its differences are arm − baseline.
      p_value: of the signed-rank test, Holm-corrected over all comparisons of the call. With a
        margin, of the better supported of "beyond the margin" and "within the margin".
      diverged, baseline_diverged: numbers of diverged runs.
      unpaired: number of runs of both arms that the other arm lacks, and that are left out.
      tuned, baseline_tuned: the values that most seeds got along the tuned axes.
      verdict: ``"wins"``, ``"loses"``, ``"mixed"``, ``"equivalent"`` or ``"not settled"``; for a
        metric of which neither more nor less is better (``clip_fraction``, ``gradient_norm``, a
        column of your own) ``"higher"`` and ``"lower"`` instead of wins and loses.
      reason: of a mixed verdict both directions, of one that is not settled the further seeds that
        would settle it; else "".
    """

    cell: dict[str, Value]
    arm: str
    baseline: str
    metric: str
    result: Paired
    p_value: float
    diverged: int
    baseline_diverged: int
    unpaired: int
    tuned: dict[str, Value]
    baseline_tuned: dict[str, Value]
    verdict: str
    reason: str

    def __repr__(self) -> str:
        cell = "".join(f", {axis} {value}" for axis, value in self.cell.items())
        return (
            f"Comparison({self.arm} − {self.baseline}{cell}: {self.metric}"
            f" {self.result.difference}, {self.sentence})"
        )

    def _repr_html_(self) -> str:
        rows = [
            *((axis, value) for axis, value in self.cell.items()),
            (f"{self.arm} − {self.baseline}", f"{self.metric} {self.result.difference}"),
            ("mean", self.result.mean),
            ("p (Holm)", f"{self.p_value:.3g}"),
            ("verdict", self.sentence),
        ]
        return html_table(("comparison", ""), [(str(name), str(value)) for name, value in rows])

    @property
    def sentence(self) -> str:
        """The verdict in words.

        A mixed verdict says both directions: ``mixed (worse on 54 of 64 seeds, better on
        average)``; ``not settled (about 40 more seeds)`` says how many further seeds would settle
        the comparison. Runs without a partner are counted.
        """
        said = f"{self.verdict} ({self.reason})" if self.reason else self.verdict
        if self.unpaired:
            plural = "s" if self.unpaired > 1 else ""
            said += f"; {self.unpaired} run{plural} without a partner left out"
        return said


def p_values(results: Sequence[Paired]) -> tuple[list[float], list[float]]:
    """Holm-corrected p-values of all comparisons: of the ranks, and of ranks and mean together.

    A claim about both the ranks and the mean has the larger of their p-values (an
    intersection–union test). A mean without an interval has no say.
    """
    ranks, both = [], []
    for result in results:
        mean = 0.0 if math.isnan(result.mean_p_value) else result.mean_p_value
        within = result.equivalence_p_value
        within = 1.0 if math.isnan(within) else within
        ranks.append(min(result.p_value, within))
        both.append(min(max(result.p_value, mean), within))
    return holm(ranks), holm(both)


def verdict(
    result: Paired, ranks: float, both: float, *, lower_is_better: bool, neutral: bool
) -> tuple[str, str]:
    """The verdict and its reason.

    Args:
      result: the uncorrected comparison.
      ranks, both: its corrected p-values, from :func:`p_values`.
      lower_is_better: direction of the metric.
      neutral: True if neither direction is better.

    Reference: Berger 1982 (intersection–union tests).
    """
    if both < ALPHA and result.equivalence_p_value < result.p_value:
        return "equivalent", ""
    side = math.copysign(1.0, result.difference.estimate)
    if ranks < ALPHA and not result.equivalence_p_value < result.p_value:
        if side * result.mean.estimate < 0:
            return "mixed", _directions(result, side > 0, lower_is_better, neutral)
        if both < ALPHA:
            names = ("higher", "lower") if neutral else ("wins", "loses")
            return names[(side > 0) == (lower_is_better and not neutral)], ""
    return "not settled", _needed(result.more_pairs)


def _directions(result: Paired, up: bool, lower_is_better: bool, neutral: bool) -> str:
    """The direction of the ranks and that of the mean: ``worse on 54 of 64 seeds, better …``."""
    words = ("higher", "lower") if neutral else ("better", "worse")
    good = up != (lower_is_better and not neutral)
    ranks, mean = words if good else words[::-1]
    many = result.better if up != lower_is_better else result.worse
    # Few but large differences can decide the ranks against the count.
    counted = 2 * many > result.better + result.worse
    seeds = f"{many} of {result.pairs} seeds" if counted else "the larger differences"
    return f"{ranks} on {seeds}, {mean} on average"


def _needed(more: float) -> str:
    if math.isnan(more):
        return "one pair says nothing"
    if math.isinf(more):
        return "no difference seen"
    if more > 10_000:
        return "over 10,000 more seeds"
    count = _rounded(max(more, 1))
    return f"about {count} more seed{'s' if count > 1 else ''}"


def _rounded(number: float) -> int:
    """Rounds up to two significant digits, because the number of seeds is a rough estimate."""
    scale = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return int(math.ceil(number / scale) * scale)
