"""Clips gradients with optax transforms: by norm, by value, by unit, by example; registers rules.

Norms are computed in float32 or wider and overflow only if the norm itself does. Thresholds may be
traced. Each leaf keeps its dtype. Under vmap each lane is clipped by its own norm.
"""

from jinit.clipping._percentile import clip_by_percentile
from jinit.clipping._rules import get, names, register
from jinit.clipping._statistics import statistics, with_clip_statistics
from jinit.clipping._transforms import (
    clip_by_block_rms,
    clip_by_global_norm,
    clip_by_leaf_norm,
    clip_by_value,
)
from jinit.clipping._units import clip_adaptively, clip_per_example

__all__ = [
    "clip_adaptively",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "clip_by_leaf_norm",
    "clip_by_percentile",
    "clip_by_value",
    "clip_per_example",
    "get",
    "names",
    "register",
    "statistics",
    "with_clip_statistics",
]
