"""Models: the built-in MLP, and any other network as ``shapes`` and ``apply``."""

from jinit.models.functional import Model, as_model, functional
from jinit.models.mlp import MLP

__all__ = ["MLP", "Model", "as_model", "functional"]
