"""Successive halving: every configuration gets a few seeds, the better ones get more.

The resource is the number of seeds, not of steps. A run of fewer steps is another run: its schedule
is shorter, and what leads early need not lead late. With seeds every run is a whole run, the same
as in the plain sweep, and a configuration is judged by all its seeds together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from jinit import errors
from jinit.results import Table
from jinit.results._metrics import (
    check_metric,
    lower_is_better,
    metric_for,
    neutral,
    undefined,
    worst_for_nonfinite,
)
from jinit.results._summary import cells, unique
from jinit.results._table import Value
from jinit.results._units import SEED, per_seed
from jinit.sweep._batches import Batches
from jinit.sweep._grid import CODE_AXES, NUMBER_AXES, Grid
from jinit.sweep._run import run
from jinit.sweep._values import known_fields, replaced

AXES = (*CODE_AXES, *NUMBER_AXES, "clip")
Places: TypeAlias = tuple[int, ...]
"""The places of a configuration's values on the axes that vary, in the order of ``AXES``."""


@known_fields
@dataclass(frozen=True, kw_only=True)
class Halving:
    """How a sweep drops configurations, for :func:`run_halving`.

    Attributes:
      factor: η ≥ 2: of n configurations the best ⌊n/η⌋ go on, and get η times the seeds.
      metric: the metric of the decisions; default the test accuracy, or the test loss without one.
      across: the axes whose combinations compete; default all that vary. Each combination of the
        other axes that vary is a race of its own: ``across=("learning_rate",)`` finds one learning
        rate for every initializer and depth.
      keep: axis → value: configurations with this value are never dropped, such as the baseline of
        a later comparison.
      first_seeds: the fewest seeds of a decision; default 4.

    Raises:
      ValueError, TypeError: a factor or a number of seeds below 2, an unknown axis, a value to keep
        that is not one value.

    >>> Halving(factor=3, across=("learning_rate",)).first_seeds
    4
    """

    factor: int = 3
    metric: str | None = None
    across: tuple[str, ...] | None = None
    keep: tuple[tuple[str, Value], ...] | Mapping[str, Value] = ()
    first_seeds: int = 4

    def __post_init__(self) -> None:
        errors.check_integer("factor", self.factor, low=2, high=1000, fix="use 3")
        errors.check_integer("first_seeds", self.first_seeds, low=2, high=2**32 - 1, fix="use 4")
        across = (self.across,) if isinstance(self.across, str) else self.across
        if across is not None and not isinstance(across, tuple | list):
            raise errors.wrong_type("across", across, "names of axes", "('learning_rate',)")
        if across is not None and not across:
            raise errors.refusal("across", across, "at least one axis", "('learning_rate',)")
        object.__setattr__(self, "across", None if across is None else tuple(across))
        object.__setattr__(self, "keep", _checked_pairs(self.keep))
        for axis in (*(self.across or ()), *(axis for axis, _ in self.pairs_to_keep)):
            if axis not in AXES:
                raise errors.unknown_name("axis", axis, AXES)

    @property
    def pairs_to_keep(self) -> tuple[tuple[str, Value], ...]:
        """Axis and value of what is never dropped."""
        return tuple(dict(self.keep).items())


def _checked_pairs(keep: Any) -> tuple[tuple[str, Value], ...]:
    """What is never dropped, as pairs of an axis and one value.

    Raises:
      TypeError: neither a mapping nor pairs, or a value that is none of an axis.
    """
    pairs = tuple(keep.items()) if isinstance(keep, Mapping) else keep
    example = "keep={'initializer': 'he_normal'}"
    if not isinstance(pairs, tuple | list) or not all(
        isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs
    ):
        raise errors.wrong_type("keep", keep, "a mapping from axis to value", example)
    for axis, value in pairs:
        if not isinstance(axis, str):
            raise errors.wrong_type("axis to keep", axis, "the name of an axis", example)
        if not isinstance(value, str | int | float | np.generic):
            raise errors.wrong_type(
                f"{axis} to keep", value, "one value, as tables show it", example
            )
    return tuple((axis, value) for axis, value in pairs)


def run_halving(
    grid: Grid,
    halving: Halving,
    *,
    run: Callable[[Grid], Table] = run,
    note: Callable[[str], None] | None = None,
) -> Table:
    """Trains all configurations on a few seeds, and only the best of them on more.

    With c configurations in a race, N seeds and the factor η there are K = ⌊log_η c⌋ decisions,
    fewer if N/η^K would be less than ``first_seeds``. At decision k = 1 … K every configuration
    that is left has ⌈N/η^(K−k+1)⌉ seeds, and the best ⌊n/η⌋ of n go on. Those that are left at the
    end have all N seeds. Configurations are ordered by their median over seeds, as
    :func:`jinit.results.summarize` gives it, then by the mean; a value that is not finite counts as
    the worst.

    Args:
      grid: the sweep; ``grid.seeds`` is N, a number.
      halving: the factor, the metric, and who competes.
      run: runs one batch; default :func:`jinit.run`. With a store, so that the same call goes on
        after an interruption: ``run=lambda batch: jinit.run(batch, store="runs.db")``.
      note: called with a sentence after each decision, e.g. ``print``.

    Returns:
      All runs, those of dropped configurations, too, in the order of the grid. The column
      ``dropped`` is the number k of the decision that dropped the run's configuration, 0 for those
      that were left; ``dropped_score`` is its median then, NaN for those that were left.
      ``settings["halving"]`` has the decisions. The runs of what is left are bitwise those of the
      plain sweep.

      :func:`jinit.compare` compares a dropped configuration on the seeds that it has. The decisions
      looked at the results, so that the number of seeds of a configuration depends on its luck;
      each decision, and the end, therefore spends an equal share of the error, as looks do.

    Raises:
      ValueError: too few configurations or seeds, a count of seeds that is none, a metric of which
        neither more nor less is better, two functions of one name, the default loss beside others,
        arms that the grid does not know, such as several models.
      TypeError: ``halving`` is no :class:`Halving`.
      Exception: as :func:`jinit.run`; the attribute ``table`` has the runs of all batches.

    Reference: Jamieson & Talwalkar 2016, algorithm 1 (successive halving); Li et al. 2018, section
    3 (the factor η); Karnin, Koren & Somekh 2013, algorithm 1 (pulls of an arm, here seeds).

    >>> grid = Grid(dataset="xor", depth=1, learning_rate=(1e-4, 1e-3, 0.1), steps=60, seeds=12)
    >>> table = run_halving(grid, Halving(factor=3))
    >>> rates, counts = np.unique(table["learning_rate"], return_counts=True)
    >>> dict(zip(rates.tolist(), counts.tolist())), table.settings["halving"]["rungs"][0]["kept"]
    ({0.0001: 4, 0.001: 4, 0.1: 12}, 1)
    """
    if not isinstance(halving, Halving):
        raise errors.wrong_type("halving", halving, "a Halving", "jinit.sweep.Halving(factor=3)")
    race = _Race(grid, halving)
    counts = race.seeds()
    left = list(np.ndindex(*race.sizes))
    # Rules are described for the first initializer of a grid; ``run`` may choose another tile.
    batches = Batches(run, race.marked, may_differ=("tile", "rules"))
    with batches.carried():
        for number, (before, seeds) in enumerate(zip((0, *counts), counts, strict=False), 1):
            for first, box in enumerate(_boxes(left)):
                marks = race.marks(number - 1 if first == 0 else 0)
                whole = batches.add(race.batch(box, before, seeds), marks)
            if number < len(counts):
                left = race.decide(whole, left, number, seeds)
                rung = race.rungs[-1]
                if note is not None:
                    note(
                        f"{rung['configurations']} configurations with {seeds} seeds: "
                        f"{rung['kept']} go on"
                    )
        return batches.table()


class _Race:
    """The configurations of a sweep, and what was decided so far."""

    def __init__(self, grid: Grid, halving: Halving) -> None:
        self._grid, self._halving = grid, halving
        self.axes = tuple(axis for axis in AXES if len(grid.values(axis)) > 1)
        self.sizes = tuple(len(grid.values(axis)) for axis in self.axes)
        self.across = self.axes if halving.across is None else halving.across
        self._places = {axis: _places(grid, axis) for axis in self.axes}
        self._metric = ""
        self.rungs: list[dict[str, Any]] = []
        self._dropped: dict[Places, tuple[int, float]] = {}
        for axis in self.across:
            if axis not in self.axes:
                raise errors.unknown_name("axis of the race", axis, self.axes)
        for axis, value in halving.pairs_to_keep:
            known = self._places.get(axis, _places(grid, axis))
            if value not in known:
                raise errors.unknown_name(f"{axis} to keep", value, map(str, known))
        self._kept = [
            (self.axes.index(axis), self._places[axis][value])
            for axis, value in halving.pairs_to_keep
            if axis in self.axes
        ]

    def seeds(self) -> list[int]:
        """The number of seeds at each decision and at the end."""
        count, factor, first = self._grid.seeds, self._halving.factor, self._halving.first_seeds
        if not isinstance(count, int):
            raise errors.refusal("seeds", count, "the number of seeds at the end", "seeds=81")
        arms = math.prod(self.sizes[self.axes.index(axis)] for axis in self.across)
        decisions = 0
        while arms >= factor ** (decisions + 1) and count >= first * factor ** (decisions + 1):
            decisions += 1
        if not decisions:
            raise errors.refusal(
                "configurations and seeds to halve",
                f"{arms} and {count}",
                f"at least {factor} and {first * factor}",
                "a smaller factor, more arms or more seeds",
            )
        return [-(-count // factor ** (decisions - k)) for k in range(decisions + 1)]

    def batch(self, box: Sequence[Places], before: int, seeds: int) -> Grid:
        """The grid of some configurations on the seeds that a rung adds."""
        values: dict[str, Any] = {
            axis: tuple(self._grid.values(axis)[place] for place in places)
            for axis, places in zip(self.axes, box, strict=True)
        }
        batch = tuple(range(before, seeds)) if before else seeds
        return replaced(self._grid, **values, seeds=batch)

    def decide(self, table: Table, left: Sequence[Places], number: int, seeds: int) -> list[Places]:
        """The configurations that go on; notes the others with their scores."""
        rows_of = self._rows(table)
        self._check_axes(table, rows_of)
        metric = self._metric = check_metric(table, metric_for(table, self._halving.metric))
        if neutral(metric):
            raise errors.refusal("metric", metric, "one of which more or less is better", "another")
        for name, rows in cells(table, ("dataset",) if "dataset" in self.axes else ()):
            if undefined(rows, metric):
                raise errors.refusal("metric", metric, f"a metric of {name}", "metric='test_loss'")
        scores = {each: self._score(table.take(rows_of[each]), metric) for each in left}
        races: dict[Places, list[Places]] = {}
        others = [place for place, axis in enumerate(self.axes) if axis not in self.across]
        for each in left:
            races.setdefault(tuple(each[place] for place in others), []).append(each)
        on: list[Places] = []
        for members in races.values():
            ranked = sorted(members, key=lambda each: scores[each])
            best = set(ranked[: max(1, len(ranked) // self._halving.factor)])
            on += [each for each in members if each in best or self._stays(each)]
        sign = 1.0 if lower_is_better(metric) else -1.0
        dropped = {each: (number, sign * scores[each][0]) for each in left if each not in set(on)}
        self._dropped |= dropped
        self.rungs.append({"seeds": seeds, "configurations": len(left), "kept": len(on)})
        return on

    def _check_axes(self, table: Table, rows_of: Mapping[Places, np.ndarray]) -> None:
        """Refuses arms that the grid does not know, such as the models of ``run``."""
        for axis in table.varying(leave_out=(*self.axes, SEED, "data_seed")):
            column = table[axis]
            if any((column[rows] != column[rows[:1]]).any() for rows in rows_of.values()):
                raise errors.refusal(
                    f"column {axis!r} of a race",
                    ", ".join(map(str, unique(column))),
                    f"one value, because the race is among {', '.join(self.axes)}",
                    "call run_halving for each value",
                )

    def marked(self, table: Table) -> Table:
        """The table in the order of the grid, with the decisions in columns and settings."""
        rows_of = self._rows(table)
        number, score = np.zeros(len(table), np.int64), np.full(len(table), np.nan)
        place = np.zeros(len(table), np.int64)
        for order, (each, rows) in enumerate(sorted(rows_of.items())):
            place[rows] = order
            number[rows], score[rows] = self._dropped.get(each, (0, np.nan))
        keys = [table[SEED], place]
        if self._grid.data_seeds is not None:
            keys.insert(1, table["data_seed"])
        order_of_rows = np.lexsort(keys)
        settings = {**table.settings, **self._noted()}
        whole = dataclasses.replace(table, settings=settings).take(order_of_rows)
        whole = whole.with_column("dropped", number[order_of_rows])
        return whole.with_column("dropped_score", score[order_of_rows])

    def marks(self, decision: int) -> dict[str, Any]:
        """What a batch notes in its store; the configurations that a decision dropped, once."""
        values = [list(places) for places in self._places.values()]
        dropped = [
            [*(of[place] for of, place in zip(values, each, strict=True)), number, str(score)]
            for each, (number, score) in self._dropped.items()
            if number == decision
        ]
        grid = dict(zip(self.axes, values, strict=True))
        return {**self._noted(), "grid": grid, "dropped": dropped}

    def _noted(self) -> dict[str, Any]:
        """The settings of a race: what was asked and decided so far, and the looks."""
        halving = {
            "factor": self._halving.factor,
            "metric": self._metric,
            "across": list(self.across),
            "keep": [list(pair) for pair in self._halving.pairs_to_keep],
            "rungs": self.rungs,
        }
        counts = self.seeds()
        looks = {"seeds": counts, "most": counts[-1], "shares": [1 / len(counts)] * len(counts)}
        return {"halving": halving, "looks": looks}

    def _rows(self, table: Table) -> dict[Places, np.ndarray]:
        """The row numbers of every configuration."""
        found = [[self._places[axis][value] for value in table[axis].tolist()]
                 for axis in self.axes]  # fmt: skip
        flat = np.ravel_multi_index([np.array(column) for column in found], self.sizes)
        order = np.argsort(flat, kind="stable")
        edges = np.flatnonzero(np.diff(flat[order])) + 1
        groups = np.split(order, edges)
        return {tuple(map(int, np.unravel_index(flat[rows[0]], self.sizes))): rows
                for rows in groups}  # fmt: skip

    def _score(self, rows: Table, metric: str) -> tuple[float, float]:
        """Median and mean over seeds; less is better."""
        values = worst_for_nonfinite(np.asarray(rows[metric], float), metric)
        values = per_seed(rows, values if lower_is_better(metric) else -values)
        return float(np.median(values)), float(np.mean(values))

    def _stays(self, each: Places) -> bool:
        return any(each[place] == value for place, value in self._kept)


def _places(grid: Grid, axis: str) -> dict[Value, int]:
    """The value of an axis as tables show it → its place in the grid."""
    labels = grid.labels(axis)
    if any("#" in label for label in labels):
        raise errors.refusal(
            f"{axis} to halve", labels, "values of different names", "give each function its name"
        )
    if axis == "loss" and len(labels) > 1 and None in grid.values(axis):
        # Tables show the default by its name, which depends on the data set.
        raise errors.refusal(
            "loss to halve", labels, "losses by name", "name the default: 'softmax_cross_entropy'"
        )
    numbers = axis not in ("clip", "loss", "optimizer") and all(
        isinstance(value, int | float) for value in grid.values(axis)
    )
    shown = np.asarray(grid.values(axis)).tolist() if numbers else labels
    return {value: place for place, value in enumerate(shown)}


def _boxes(left: Sequence[Places]) -> list[tuple[Places, ...]]:
    """The configurations as few products of values, each of which is a grid.

    >>> _boxes([(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)])
    [((0, 1), (0, 1)), ((2,), (1,))]
    """
    boxes: list[tuple[Places, ...]] = [tuple((place,) for place in each) for each in left]
    for axis in reversed(range(len(left[0]))):
        alike: dict[tuple[Places, ...], list[int]] = {}
        for box in boxes:
            alike.setdefault(box[:axis] + box[axis + 1 :], []).extend(box[axis])
        boxes = [(*rest[:axis], tuple(sorted(places)), *rest[axis:])
                 for rest, places in alike.items()]  # fmt: skip
    return boxes
