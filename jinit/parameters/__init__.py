"""Whole parameter trees, in any framework: rules, keys per leaf, draws, populations."""

from jinit.parameters._initialize import fold_words, initialize, leaf_key, path_words, reset_report
from jinit.parameters._population import population, search_distribution
from jinit.parameters._residual import (
    deepnorm,
    fixup,
    gpt2_residual,
    residual_rules,
    rezero,
    skipinit,
    t_fixup,
)
from jinit.parameters._rules import Assignment, Rules, assign, matches

__all__ = [
    "Assignment", "Rules", "assign", "initialize", "leaf_key", "fold_words", "matches",
    "path_words", "reset_report", "population", "search_distribution",
    "deepnorm", "fixup", "gpt2_residual", "residual_rules", "rezero", "skipinit", "t_fixup",
]  # fmt: skip
