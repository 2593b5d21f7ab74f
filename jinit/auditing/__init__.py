"""Checks weights of any origin, a parameter tree or a checkpoint file, and reports faults."""

from jinit.auditing._audit import audit
from jinit.auditing._checkpoints import read_checkpoint
from jinit.findings import Finding

__all__ = ["Finding", "audit", "read_checkpoint"]
