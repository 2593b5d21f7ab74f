"""Probes: what an initial network does to signals and gradients, layer by layer, and what it means.

``capture`` opens any model; ``propagation`` measures one network, ``ensemble`` many seeds in one
compiled program; ``verdict`` says what the numbers mean. Jacobian and Hessian probes take any
``apply`` or loss.
"""

from jinit.probes.beside import Beside, beside
from jinit.probes.capture import Captured, Layer, capture
from jinit.probes.coordinates import CoordinateCheck, coordinate_check
from jinit.probes.curvature import hessian_largest_eigenvalue
from jinit.probes.jacobian import (
    empirical_ntk,
    jacobian_largest_singular_values,
    jacobian_singular_values,
    ntk_condition_number,
)
from jinit.probes.losses import cross_entropy, random_projection
from jinit.probes.propagation import Profile, ensemble, propagation
from jinit.probes.recommend import Candidate, recommend
from jinit.probes.symmetry import Symmetry, duplicate_units, symmetry
from jinit.probes.verdict import Finding, verdict

__all__ = [
    "Beside", "Candidate", "Captured", "CoordinateCheck", "Finding", "Layer", "Profile", "Symmetry",
    "beside", "capture", "coordinate_check", "cross_entropy", "duplicate_units", "empirical_ntk",
    "ensemble", "hessian_largest_eigenvalue", "jacobian_largest_singular_values",
    "jacobian_singular_values", "ntk_condition_number", "propagation", "random_projection",
    "recommend", "symmetry", "verdict",
]  # fmt: skip
