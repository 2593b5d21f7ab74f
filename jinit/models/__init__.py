"""Defines jinit's own MLPs and wraps other networks as ``shapes`` and ``apply``."""

from jinit.models._functional import Model, as_model, functional
from jinit.models._mlp import MLP
from jinit.models._residual import Antisymmetric, ResidualMLP

__all__ = ["MLP", "Antisymmetric", "Model", "ResidualMLP", "as_model", "functional"]
