"""Measures signals and gradients in an initial network, layer by layer, and interprets the numbers.

``propagation`` measures one network that :func:`jinit.frameworks.capture` has opened, ``ensemble``
many seeds in one compiled program. ``verdict`` turns the numbers into findings. The Jacobian, NTK
and Hessian probes take any ``apply`` or loss.
"""

from typing import TYPE_CHECKING

from jinit._lazy import retired
from jinit._switches import guard
from jinit.probes._beside import beside
from jinit.probes._coordinates import coordinate_check
from jinit.probes._curvature import hessian_largest_eigenvalue
from jinit.probes._ensemble import ensemble
from jinit.probes._jacobian import (
    empirical_ntk,
    jacobian_largest_singular_values,
    jacobian_singular_values,
)
from jinit.probes._losses import cross_entropy, random_projection
from jinit.probes._propagation import Profile, propagation
from jinit.probes._symmetry import symmetry
from jinit.probes._verdict import verdict

__all__ = [
    "Profile",
    "beside",
    "coordinate_check",
    "cross_entropy",
    "empirical_ntk",
    "ensemble",
    "hessian_largest_eigenvalue",
    "jacobian_largest_singular_values",
    "jacobian_singular_values",
    "propagation",
    "random_projection",
    "symmetry",
    "verdict",
]

guard(__name__)

if not TYPE_CHECKING:  # a checker would then accept any name
    __getattr__ = retired(
        __name__,
        {"capture": "jinit.frameworks.capture", "recommend": "jinit.advise.recommend"},
    )
