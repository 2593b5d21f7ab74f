"""Whole parameter trees: rules, keys per leaf, draws."""

from jinit.parameters.initialize import fold_words, initialize, leaf_key, path_words
from jinit.parameters.rules import Assignment, Rules, assign, matches, path_of

__all__ = [
    "Assignment", "Rules", "assign", "initialize", "leaf_key",
    "fold_words", "matches", "path_of", "path_words",
]  # fmt: skip
