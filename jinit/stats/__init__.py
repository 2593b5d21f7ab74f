"""Computes statistics that compare runs: intervals, tests, effect sizes, ranks, survival."""

from jinit.stats._bootstrap import Interval, bootstrap
from jinit.stats._effects import effect_size, probability_of_improvement
from jinit.stats._location import iqm, optimality_gap, trimmed_mean
from jinit.stats._paired import all_pairs, paired
from jinit.stats._profiles import performance_profile
from jinit.stats._ranks import rank
from jinit.stats._rates import wilson, with_diverged
from jinit.stats._survival import (
    Survival,
    compare_times,
    kaplan_meier,
    restricted_mean,
)
from jinit.stats._tests import holm
from jinit.stats._variance import variance_components

__all__ = [
    "Interval",
    "Survival",
    "all_pairs",
    "bootstrap",
    "compare_times",
    "effect_size",
    "holm",
    "iqm",
    "kaplan_meier",
    "optimality_gap",
    "paired",
    "performance_profile",
    "probability_of_improvement",
    "rank",
    "restricted_mean",
    "trimmed_mean",
    "variance_components",
    "wilson",
    "with_diverged",
]
