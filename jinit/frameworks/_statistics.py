"""Defines how a framework names running statistics, which no initializer draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jinit.frameworks._paths import leaf_name

MEAN, VARIANCE, COUNT = "running mean", "running variance", "state of a running average"


@dataclass(frozen=True)
class Statistics:
    """The names by which the running statistics of one framework are recognized.

    Attributes:
      leaves: leaf name → what statistic the leaf is.
      inside: component of a path → leaf name → what statistic the leaf is. Leaves below that
        component whose names are not listed are the state of a running average.

    >>> flax = Statistics(inside={"batch_stats": {"mean": MEAN}})
    >>> statistic_of("batch_stats/BatchNorm_0/mean", [flax]), statistic_of("dense/kernel", [flax])
    ('running mean', '')
    """

    leaves: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def statistic_of(path: str, known: Iterable[Statistics]) -> str:
    """What running statistic the leaf at a path is; "" if it is none."""
    name, components, rows = leaf_name(path), path.split("/"), list(known)
    named = [row.leaves[name] for row in rows if name in row.leaves]
    below = [
        row.inside[part].get(name, COUNT)
        for row in rows
        for part in components
        if part in row.inside
    ]
    return next(iter(named + below), "")
