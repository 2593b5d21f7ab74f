"""Statistics of comparisons: arrays in, numbers out."""

from jinit.stats.bootstrap import Interval, bootstrap
from jinit.stats.compare import Paired, holm, paired
from jinit.stats.power import more_pairs

__all__ = ["Interval", "Paired", "bootstrap", "holm", "more_pairs", "paired"]
