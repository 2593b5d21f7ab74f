"""Checks weights of any origin, a parameter tree or a checkpoint file, and reports faults."""

from jinit.auditing._audit import audit
from jinit.auditing._checkpoints import read_checkpoint, read_readable

__all__ = ["audit", "read_checkpoint", "read_readable"]
