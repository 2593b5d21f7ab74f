"""Initializers for one tensor: a drop-in for ``jax.nn.initializers``, with names and laws."""

from jinit.initializers.base import Law, NamedInitializer
from jinit.initializers.constant import constant, identity, ones, ones_init, zeros, zeros_init
from jinit.initializers.describe import Description, describe
from jinit.initializers.fans import Fans, fans
from jinit.initializers.gains import gain
from jinit.initializers.orthogonal import orthogonal
from jinit.initializers.random import normal, truncated_normal, uniform, uniform_range
from jinit.initializers.registry import get, names, register
from jinit.initializers.scaling import (
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
from jinit.typing import Initializer

kaiming_normal, kaiming_uniform = he_normal, he_uniform
xavier_normal, xavier_uniform = glorot_normal, glorot_uniform

__all__ = [
    "Initializer", "NamedInitializer", "Law", "Description", "Fans",
    "get", "names", "register", "describe", "fans", "gain",
    "zeros", "zeros_init", "ones", "ones_init", "constant", "identity",
    "normal", "uniform", "uniform_range", "truncated_normal",
    "variance_scaling", "lecun_normal", "lecun_uniform",
    "glorot_normal", "glorot_uniform", "xavier_normal", "xavier_uniform",
    "he_normal", "he_uniform", "kaiming_normal", "kaiming_uniform",
    "fan_in_normal", "fan_avg_normal", "fan_in_uniform", "orthogonal",
]  # fmt: skip
