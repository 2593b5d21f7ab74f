"""Adds seeds to a sweep until every comparison that was asked for is settled, or a limit is met."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinit import errors
from jinit.results import Table, compare
from jinit.results._arms import baseline_among
from jinit.results._looks import planned_looks
from jinit.results._metrics import metric_for
from jinit.results._summary import unique
from jinit.sweep._batches import Batches
from jinit.sweep._grid import Grid
from jinit.sweep._run import run
from jinit.sweep._values import known_fields


@known_fields
@dataclass(frozen=True, kw_only=True)
class Settle:
    """The comparisons that a sweep adds seeds for, for :func:`run_until_settled`.

    Attributes:
      most_seeds: the number of seeds after which the sweep ends in any case; default 512.
      metric, baseline, across, by, margin, tune: as for :func:`jinit.compare`; the default baseline
        is ``glorot_uniform`` if it is an arm, else the first arm. Without a margin an arm that
        equals the baseline is never settled, and such a sweep uses all seeds.

    Raises:
      ValueError, TypeError: fewer than two seeds, a negative margin.

    >>> Settle(baseline="he_normal", margin=0.01).most_seeds
    512
    """

    most_seeds: int = 512
    metric: str | None = None
    baseline: str | None = None
    across: str = "initializer"
    by: tuple[str, ...] | None = None
    margin: float = 0.0
    tune: str | tuple[str, ...] = ()

    def __post_init__(self) -> None:
        errors.check_integer("most_seeds", self.most_seeds, low=2, high=2**32 - 1, fix="use 512")
        errors.check_number(
            "margin", self.margin, low=0.0, fix="the smallest difference, e.g. 0.01"
        )

    def settled(self, table: Table) -> tuple[int, int]:
        """How many comparisons of a table are settled, and how many there are."""
        found = compare(
            table,
            metric_for(table, self.metric) if self.metric is not None else None,
            baseline=baseline_among(unique(table[self.across]), self.across, self.baseline),
            by=self.by,
            across=self.across,
            margin=self.margin,
            tune=self.tune,
        )
        return sum(item.verdict != "not settled" for item in found), len(found)


def run_until_settled(
    grid: Grid,
    settle: Settle,
    *,
    run: Callable[[Grid], Table] = run,
    note: Callable[[str], None] | None = None,
) -> Table:
    """Trains batches of seeds until every comparison is settled; each batch doubles the seeds.

    The family-wise error stays 5 % over all looks at the table: a look at n seeds of at most N,
    after one at m, may spend the share (n² − m²) / N², so that p = min_k p_k / share_k.

    Args:
      grid: the sweep; its number of seeds is that of the first batch.
      settle: the comparisons, and the most seeds.
      run: runs one batch; default :func:`jinit.run`. With a model of your own:
        ``run=lambda batch: jinit.run(batch, model=model, data=(x, y))``.
      note: called with a sentence after each batch, e.g. ``print``.

    Returns:
      The runs of all batches. ``settings["looks"]`` says where the table was looked at;
      :func:`jinit.compare` then spends the error over these looks, whatever it is asked.

    Raises:
      ValueError: seeds that are no number, or more than ``settle.most_seeds``.
      TypeError: ``settle`` is no :class:`Settle`.
      Exception: as :func:`jinit.run`; the attribute ``table`` has the runs of all batches.

    Reference: Kim & DeMets 1987 (the spending function α t²); Lan & DeMets 1983.

    >>> grid = Grid(dataset="xor", initializer=("zeros", "he_normal"), steps=60, seeds=16)
    >>> table = run_until_settled(grid, Settle(baseline="zeros", most_seeds=64))
    >>> table.settings["looks"]["seeds"], compare(table, baseline="zeros")[0].verdict
    ([16], 'wins')
    """
    if not isinstance(settle, Settle):
        raise errors.wrong_type("settle", settle, "a Settle", "jinit.sweep.Settle(most_seeds=512)")
    note = note or (lambda text: None)
    if settle.across == "initializer" and len(grid.values("initializer")) < 2:
        raise errors.refusal(
            "initializer", grid.initializer, "at least two arms", "add one, or name across="
        )
    if not isinstance(grid.seeds, int) or grid.seeds > settle.most_seeds:
        raise errors.refusal(
            "seeds",
            grid.seeds,
            f"the number of seeds of the first batch, at most {settle.most_seeds}",
            "Grid(seeds=32), or raise most_seeds",
        )
    looks = planned_looks(grid.seeds, settle.most_seeds)
    done: list[int] = []

    def looked_at(table: Table) -> Table:
        return dataclasses.replace(
            table, settings={**table.settings, "looks": _looks(done, settle)}
        )

    # ``run`` may choose another tile for a batch; the arms of a seed, which are compared, share it.
    batches = Batches(run, looked_at, may_differ=("tile",))
    with batches.carried():
        for before, seeds in zip((0, *looks), looks, strict=False):
            batch = tuple(range(before, seeds)) if before else seeds
            marks = {"looks": _looks([*done, seeds], settle)}
            batches.add(dataclasses.replace(grid, seeds=batch), marks)
            done.append(seeds)
            settled, asked = settle.settled(batches.table())
            note(f"{settled} of {asked} comparisons settled with {seeds} seeds")
            if settled == asked:
                break
        return batches.table()


def _looks(counts: list[int], until: Settle) -> dict[str, Any]:
    asked: dict[str, Any] = {"metric": until.metric, "baseline": until.baseline,
                             "across": until.across, "margin": until.margin}  # fmt: skip
    return {"seeds": list(counts), "most": until.most_seeds, **asked}
