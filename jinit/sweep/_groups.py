"""Groups the values of number axes that do not share one program."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from jinit.clipping import _rules as clip_rules
from jinit.sweep._grid import Grid
from jinit.train.schedules import factors


def groups(grid: Grid) -> Iterator[tuple[str | None, dict[str, tuple[Any, ...]]]]:
    """The clip rule and the values of the axes for each combination of groups.

    >>> [axes["label_noise"] for _, axes in groups(Grid(label_noise=(0.0, 0.1, 0.2)))]
    [(0.0,), (0.1, 0.2)]
    """
    zero = [_by_zero(grid, name) for name in ("label_noise", "label_smoothing")]
    for clip, noises, smoothings, schedules in itertools.product(
        _clips(grid).items(), *zero, _schedules(grid)
    ):
        yield (
            clip[0],
            {
                "clip_threshold": clip[1],
                "label_noise": noises,
                "label_smoothing": smoothings,
                "schedule": schedules,
            },
        )


def _clips(grid: Grid) -> dict[str | None, tuple[float, ...]]:
    """Clip rule → its thresholds: rules are compiled, thresholds are numbers of the lanes."""
    rules: dict[str | None, tuple[float, ...]] = {}
    for spec in grid.values("clip"):
        rule, threshold = (None, math.inf) if spec is None else clip_rules.parse(spec)
        rules[rule] = (*rules.get(rule, ()), threshold)
    return rules


def _schedules(grid: Grid) -> list[tuple[Any, ...]]:
    """The schedules in two groups: constant or not, for the reason of :func:`_by_zero`."""
    values = grid.values("schedule")
    found = (
        tuple(v for v in values if v == Grid.schedule),
        tuple(v for v in values if v != Grid.schedule),
    )
    for value in found[1]:
        factors(value, grid.steps)  # refused here rather than after the first compilation
    return [group for group in found if group]


def _by_zero(grid: Grid, name: str) -> list[tuple[float, ...]]:
    """The values in two groups, 0 and > 0: a program that changes labels rounds differently."""
    values = grid.values(name)
    return [g for g in (tuple(v for v in values if not v), tuple(v for v in values if v)) if g]
