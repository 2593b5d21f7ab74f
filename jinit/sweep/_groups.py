"""Groups the values of number axes that cannot share one program."""

from __future__ import annotations

import math
from typing import Any

from jinit.clipping import _rules as clip_rules
from jinit.sweep._grid import Grid
from jinit.train.schedules import factors


def clips(grid: Grid) -> dict[str | None, tuple[float, ...]]:
    """Clip rule → its thresholds: rules are compiled, thresholds are numbers of the lanes."""
    rules: dict[str | None, tuple[float, ...]] = {}
    for spec in grid.values("clip"):
        rule, threshold = (None, math.inf) if spec is None else clip_rules.parse(spec)
        rules[rule] = (*rules.get(rule, ()), threshold)
    return rules


def schedules(grid: Grid) -> list[tuple[Any, ...]]:
    """The schedules in two groups: constant or not, for the reason of :func:`noises`."""
    values = grid.values("schedule")
    groups = (
        tuple(v for v in values if v == Grid.schedule),
        tuple(v for v in values if v != Grid.schedule),
    )
    for value in groups[1]:
        factors(value, grid.steps)  # refused here rather than after the first compilation
    return [group for group in groups if group]


def noises(grid: Grid) -> list[tuple[float, ...]]:
    """The noises in two groups, 0 and > 0: a program that replaces labels rounds differently."""
    values = grid.values("label_noise")
    groups = (tuple(v for v in values if not v), tuple(v for v in values if v))
    return [group for group in groups if group]
