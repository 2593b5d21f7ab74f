"""Data sets, real and synthetic, with fixed splits."""

from jinit.data._catalog import get, names
from jinit.data._splits import Dataset, from_arrays

__all__ = ["Dataset", "from_arrays", "get", "names"]
