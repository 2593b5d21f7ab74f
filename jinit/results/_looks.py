"""Lets a sweep stop as soon as its comparisons are settled, without more false alarms.

A sweep that adds seeds until something is significant finds something in the end. Here the error of
5 % is spent over the looks: a look at n seeds of at most N, after one at m, gets the share
(n² − m²) / N², which is the spending function α t² of Kim & DeMets 1987. With p_k the p-value of a
comparison at look k,

    p = min over k of p_k / share_k

is a p-value whatever the dependence between looks, by Bonferroni's inequality, and Holm's
correction over all comparisons holds the family-wise error. Looks to come can only lower p, so a
comparison that is settled stays settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jinit.results._table import Table
from jinit.results._units import SEED
from jinit.stats._paired import Paired


@dataclass(frozen=True)
class Look:
    """One look at a sweep that grows.

    Attributes:
      seeds: number of seeds 0, 1, … that the look has; None: all runs of the table.
      share: the share of the error that the look may spend, in (0, 1].
    """

    seeds: int | None
    share: float


def planned_looks(first: int, most: int) -> tuple[int, ...]:
    """Numbers of seeds at which a sweep is looked at: doubled each time, then the most.

    >>> planned_looks(16, 100), planned_looks(8, 8)
    ((16, 32, 64, 100), (8,))
    """
    counts = []
    while first < most:
        counts.append(first)
        first *= 2
    return (*counts, most)


def looks_of(table: Table) -> list[Look]:
    """The looks at a table; one at all its runs if the number of its seeds was fixed.

    >>> columns = {"seed": np.arange(6)}
    >>> looks_of(Table(columns, ("seed",), {}, np.array([])))
    [Look(seeds=None, share=1.0)]
    """
    made = table.settings.get("looks")
    if not made:
        return [Look(None, 1.0)]
    counts = [int(count) for count in made["seeds"]]
    spent = (np.array([0, *counts]) / made["most"]) ** 2
    shares = made.get("shares") or np.diff(spent).tolist()
    return [Look(n, share) for n, share in zip(counts, shares, strict=True)]


def rows_at(table: Table, look: Look) -> Table:
    """The runs that a look has."""
    if look.seeds is None:
        return table
    return table.take(np.asarray(table[SEED]) < look.seeds)


def decisive(results: Sequence[Paired], looks: Sequence[Look]) -> Paired:
    """The result of the look with the strongest evidence, its p-values divided by its share.

    Args:
      results: one per look.
      looks: the looks.

    Reference: Kim & DeMets 1987 (α t²). Holm's correction over comparisons comes after.
    """
    # A look that adds no pair is left out: its arm was dropped before, because of its results, and
    # these pairs have been judged already.
    pairs = [0, *(result.pairs for result in results)]
    new = [number for number in range(len(looks)) if pairs[number + 1] > pairs[number]]
    scaled = [
        replace(
            result,
            p_value=min(1.0, result.p_value / look.share),
            mean_p_value=float(np.minimum(1.0, result.mean_p_value / look.share)),
            equivalence_p_value=float(np.minimum(1.0, result.equivalence_p_value / look.share)),
        )
        for result, look in [(results[number], looks[number]) for number in new]
    ]
    best = min(scaled, key=_evidence)
    # How many more seeds are needed is a matter of all runs so far.
    return replace(best, more_pairs=results[-1].more_pairs)


def _evidence(result: Paired) -> tuple[float, float]:
    """What decides a verdict: the larger p of ranks and mean, or that of equivalence."""
    both = float(np.nanmax([result.p_value, result.mean_p_value]))
    return float(np.nanmin([both, result.equivalence_p_value])), result.p_value
