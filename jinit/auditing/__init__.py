"""Other people's weights: what is wrong with a parameter tree or a checkpoint."""

from jinit.auditing._audit import audit
from jinit.findings import Finding

__all__ = ["Finding", "audit"]
