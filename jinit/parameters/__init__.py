"""Draws whole parameter trees of any framework by rules: single networks and populations."""

from jinit.parameters._initialize import initialize, reset_report
from jinit.parameters._population import population, search_distribution
from jinit.parameters._residual import (
    deepnorm_factors,
    fixup_factors,
    gpt2_stddevs,
    residual_rules,
    rezero_factors,
    skipinit_factors,
    t_fixup_factors,
)
from jinit.parameters._rules import Rules, assign

__all__ = [ "Rules", "assign", "initialize", "population",
    "reset_report", "search_distribution",
    "deepnorm_factors", "fixup_factors", "gpt2_stddevs", "residual_rules", "rezero_factors",
    "skipinit_factors", "t_fixup_factors",
]  # fmt: skip
