"""Draws one tensor: a drop-in for ``jax.nn.initializers``, with names and laws."""

from typing import TYPE_CHECKING

from jinit._lazy import retired
from jinit.initializers._base import NamedInitializer, scaled_by
from jinit.initializers._bias import class_prior
from jinit.initializers._constant import constant, identity, ones, ones_init, zeros, zeros_init
from jinit.initializers._derived import (
    edge_of_chaos,
    mup,
    random_walk,
    scaled_for,
    siren,
    spectral,
)
from jinit.initializers._describe import describe
from jinit.initializers._distributions import (
    normal,
    parametrized_truncated_normal,
    rademacher,
    truncated_normal,
    uniform,
    uniform_range,
)
from jinit.initializers._factories import KernelRoles
from jinit.initializers._fans import Fans, fans
from jinit.initializers._gains import gain
from jinit.initializers._laws import Law
from jinit.initializers._orthogonal import orthogonal, scaled_orthogonal
from jinit.initializers._parts import Parts
from jinit.initializers._registry import get, names, parts, register
from jinit.initializers._scaling import (
    fan_avg_normal,
    fan_in_normal,
    fan_in_uniform,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
)
from jinit.initializers._sparse import randomized_asymmetric, sparse
from jinit.initializers._structured import delta_orthogonal, dirac, hadamard, looks_linear

kaiming_normal, kaiming_uniform = he_normal, he_uniform
xavier_normal, xavier_uniform = glorot_normal, glorot_uniform

__all__ = [
    "NamedInitializer", "Law", "Fans", "KernelRoles", "Parts",
    "get", "names", "register", "parts", "describe", "fans", "gain",
    "zeros", "zeros_init", "ones", "ones_init", "constant", "identity", "dirac",
    "normal", "uniform", "uniform_range", "rademacher",
    "truncated_normal", "parametrized_truncated_normal",
    "variance_scaling", "lecun_normal", "lecun_uniform",
    "glorot_normal", "glorot_uniform", "xavier_normal", "xavier_uniform",
    "he_normal", "he_uniform", "kaiming_normal", "kaiming_uniform",
    "fan_in_normal", "fan_avg_normal", "fan_in_uniform",
    "scaled_for", "edge_of_chaos", "random_walk", "siren", "spectral", "mup",
    "orthogonal", "scaled_orthogonal", "delta_orthogonal", "hadamard", "looks_linear",
    "sparse", "randomized_asymmetric", "class_prior", "scaled_by",
]  # fmt: skip

if not TYPE_CHECKING:  # a checker would then accept any name
    __getattr__ = retired(
        __name__,
        {"mup_learning_rate": "jinit.train.mup_learning_rate"},
    )
