"""Predicts signal propagation in wide networks at initialization, without drawing any weights."""

from jinit._float64 import in_float64
from jinit._switches import guard
from jinit.theory._edge_of_chaos import (
    critical_line,
    critical_rate,
    edge_of_chaos,
)
from jinit.theory._finite_width import failure_modes, fluctuations
from jinit.theory._isometry import (
    isometric_point,
    isometry,
    jacobian_spectrum,
)
from jinit.theory._kernels import condition_number, kernels, linearized_loss
from jinit.theory._mean_field import (
    correlation_map,
    depth_scales,
    length_fixed_point,
    length_map,
)
from jinit.theory._moments import moments
from jinit.theory._pair import cross_moments
from jinit.theory._phase import phase_diagram
from jinit.theory._predict import predict
from jinit.theory._propagation import Architecture, propagate
from jinit.theory._random_walk import log_length
from jinit.theory._stability import correlation_fixed_points, length_fixed_points

__all__ = [
    "Architecture",
    "condition_number",
    "correlation_fixed_points",
    "correlation_map",
    "critical_line",
    "critical_rate",
    "cross_moments",
    "depth_scales",
    "edge_of_chaos",
    "failure_modes",
    "fluctuations",
    "in_float64",
    "isometric_point",
    "isometry",
    "jacobian_spectrum",
    "kernels",
    "length_fixed_point",
    "length_fixed_points",
    "length_map",
    "linearized_loss",
    "log_length",
    "moments",
    "phase_diagram",
    "predict",
    "propagate",
]

guard(__name__)
