"""Whole parameter trees, in any framework: rules, layouts, keys per leaf, draws."""

from jinit.parameters import hosts
from jinit.parameters.audit import audit
from jinit.parameters.findings import Finding
from jinit.parameters.initialize import (
    fold_words,
    initialize,
    leaf_key,
    path_words,
    reset_report,
)
from jinit.parameters.layout import HOSTS, Layout, layout
from jinit.parameters.population import population, search_distribution
from jinit.parameters.residual import (
    deepnorm,
    fixup,
    gpt2_residual,
    residual_rules,
    rezero,
    skipinit,
    t_fixup,
)
from jinit.parameters.rules import Assignment, Layers, Rules, assign, matches, path_of

__all__ = [
    "Assignment", "Finding", "Layers", "Layout", "Rules", "assign", "audit", "hosts", "initialize",
    "HOSTS", "layout", "leaf_key", "fold_words", "matches", "path_of", "path_words", "reset_report",
    "population", "search_distribution",
    "deepnorm", "fixup", "gpt2_residual", "residual_rules", "rezero", "skipinit", "t_fixup",
]  # fmt: skip
