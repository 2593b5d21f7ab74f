"""Computes statistics that compare runs: intervals, tests, effect sizes, ranks, survival."""

from jinit.stats._bootstrap import Interval, bootstrap
from jinit.stats._effects import effect_size, probability_of_improvement
from jinit.stats._location import iqm, optimality_gap, trimmed_mean
from jinit.stats._paired import Pair, Paired, all_pairs, paired
from jinit.stats._profiles import PerformanceProfile, performance_profile
from jinit.stats._ranks import Ranking, rank
from jinit.stats._rates import WithDiverged, wilson, with_diverged
from jinit.stats._survival import (
    Survival,
    TimeDifference,
    compare_times,
    kaplan_meier,
    restricted_mean,
)
from jinit.stats._tests import holm
from jinit.stats._variance import VarianceComponents, variance_components

__all__ = [
    "Interval",
    "Pair",
    "Paired",
    "PerformanceProfile",
    "Ranking",
    "Survival",
    "TimeDifference",
    "VarianceComponents",
    "WithDiverged",
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
