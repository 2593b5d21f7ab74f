"""Draws pictures with matplotlib.

Every plot function draws on the given axes or on a new figure, and returns the axes.
matplotlib is imported when the first figure is made.
"""

from jinit.report.plots._figure import (
    new_axes,
    record,
    save,
)
from jinit.report.plots._forest import forest
from jinit.report.plots._forests import divergence_rates, paired_differences, ranking
from jinit.report.plots._initial import layer_profile, singular_values, weight_histogram
from jinit.report.plots._lines import (
    learning_curves,
    learning_rate_sensitivity,
    performance_profile,
    survival,
    survival_curve,
)
from jinit.report.plots._save_all import KINDS, save_all
from jinit.report.plots._style import (
    COLORS,
    line_style,
)
from jinit.report.plots._theory import phase_diagram, prediction

__all__ = [
    "COLORS",
    "KINDS",
    "divergence_rates",
    "forest",
    "layer_profile",
    "learning_curves",
    "learning_rate_sensitivity",
    "line_style",
    "new_axes",
    "paired_differences",
    "performance_profile",
    "phase_diagram",
    "prediction",
    "ranking",
    "record",
    "save",
    "save_all",
    "singular_values",
    "survival",
    "survival_curve",
    "weight_histogram",
]
