"""Gives each arm its best setting, such as the learning rate, chosen on other seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jinit import errors
from jinit.results._table import Table, Value
from jinit.results._units import SEED


class Tuned(NamedTuple):
    """An arm at its best setting: one value per seed, and the setting that most seeds got."""

    values: dict[Value, float]
    setting: dict[str, Value]


def tuned(rows: Table, values: np.ndarray, axes: tuple[str, ...], *, lower: bool) -> Tuned:
    """One value per seed, at the setting that is best on average over the other half of the seeds.

    A seed never takes part in the choice of its own setting, so the best of many settings is not
    flattered. The best setting has the fewest seeds at the worst infinity (diverged, or never at
    the target) and, of those with equally few, the best mean of the other seeds.

    Every second seed makes a half: were each seed judged by all others, the choices
    would share seeds with the values, and equal arms would differ too often (12 instead of 5 %
    of 120 simulated sweeps with 20 equal settings). Runs of one seed and one setting are averaged
    first.

    Args:
      rows: the runs of one arm in one cell.
      values: ``(runs,)`` of the metric, inf allowed.
      axes: the axes to choose along.
      lower: True if less is better.

    Raises:
      ValueError: fewer than two seeds, or a setting that lacks a seed.

    Reference: Chernozhukov et al. 2018, section 1 (sample splitting, crossed).

    >>> columns = {"learning_rate": np.tile([0.1, 1.0], 3), "seed": np.repeat(np.arange(3), 2)}
    >>> rows = Table(columns, ("learning_rate", "seed"), {}, np.array([]))
    >>> tuned(rows, np.array([0.5, 0.9, 0.6, 0.8, 0.4, 0.7]), ("learning_rate",), lower=False)
    Tuned(values={0: 0.9, 1: 0.8, 2: 0.7}, setting={'learning_rate': 1.0})
    """
    settings = list(zip(*(rows[axis].tolist() for axis in axes), strict=True))
    seeds = rows[SEED].tolist()
    row_of = {value: number for number, value in enumerate(dict.fromkeys(settings))}
    column_of = {value: number for number, value in enumerate(dict.fromkeys(seeds))}
    sums, counts = np.zeros((2, len(row_of), len(column_of)))
    places = [row_of[value] for value in settings], [column_of[value] for value in seeds]
    np.add.at(sums, places, values)
    np.add.at(counts, places, 1)
    if len(column_of) < 2 or not counts.all():
        raise errors.refusal(
            f"runs to tune {', '.join(axes)} on",
            f"{len(column_of)} seeds, {int((counts == 0).sum())} settings without a seed",
            "at least two seeds, each at every setting",
            "Grid(learning_rate=(0.01, 0.1), seeds=16)",
        )
    scores = sums / counts
    losses = scores if lower else -scores
    choice = [_best(losses[:, start::2]) for start in (0, 1)]
    best = np.array([choice[1 - column % 2] for column in range(len(column_of))])
    most = int(np.bincount(best).argmax())
    return Tuned(
        {seed: float(scores[best[column], column]) for seed, column in column_of.items()},
        dict(zip(axes, list(row_of)[most], strict=True)),
    )


def _best(losses: np.ndarray) -> int:
    """The row with the fewest inf and, of those, the least mean of the rest; the first if tied."""
    lost = losses == np.inf
    counts = lost.sum(axis=1)
    rest = np.where(lost, 0.0, losses).sum(axis=1) / np.maximum(losses.shape[1] - counts, 1)
    return int(np.lexsort((rest, counts))[0])
