"""Statistics of comparisons: arrays in, numbers out."""

from jinit.stats._bootstrap import Interval, bootstrap
from jinit.stats._compare import (
    Pair,
    Paired,
    all_pairs,
    effect_size,
    holm,
    paired,
    permutation_p,
    probability_of_improvement,
    sign_p,
    signed_rank_p,
)
from jinit.stats._location import iqm, trimmed_mean
from jinit.stats._power import more_pairs
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
    "more_pairs",
    "paired",
    "performance_profile",
    "permutation_p",
    "probability_of_improvement",
    "rank",
    "restricted_mean",
    "sign_p",
    "signed_rank_p",
    "trimmed_mean",
    "variance_components",
    "wilson",
    "with_diverged",
]
