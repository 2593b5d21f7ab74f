"""What signal propagation theory says before anything is drawn. No sampling."""

from jinit.theory.critical import (
    FixedPoint,
    correlation_fixed_points,
    critical_rate,
    critical_sigma_b,
    edge_of_chaos,
    length_fixed_points,
)
from jinit.theory.mean_field import (
    DepthScales,
    correlation_fixed_point,
    correlation_map,
    depth_scales,
    length_fixed_point,
    length_map,
    susceptibility,
)
from jinit.theory.moments import CrossMoments, Moments, cross_moments, moments
from jinit.theory.phase import PhaseDiagram, phase_diagram
from jinit.theory.propagation import Propagation, propagate

__all__ = [
    "CrossMoments", "DepthScales", "FixedPoint", "Moments", "PhaseDiagram", "Propagation",
    "correlation_fixed_point", "correlation_fixed_points", "correlation_map", "critical_rate",
    "critical_sigma_b",
    "cross_moments", "depth_scales", "edge_of_chaos", "length_fixed_point", "length_fixed_points",
    "length_map", "moments", "phase_diagram", "propagate", "susceptibility",
]  # fmt: skip
