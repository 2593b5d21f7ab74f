"""Models: the built-in MLPs, and any other network as ``shapes`` and ``apply``."""

from jinit.models.functional import Model, as_model, functional
from jinit.models.mlp import MLP
from jinit.models.residual import Antisymmetric, ResidualMLP

__all__ = ["MLP", "Antisymmetric", "Model", "ResidualMLP", "as_model", "functional"]
