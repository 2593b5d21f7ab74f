"""Loads data sets, real and synthetic, with fixed splits."""

from jinit.data._arrays import Task
from jinit.data._catalog import DataLike, get, names, register
from jinit.data._dataset import Dataset
from jinit.data._from_arrays import from_arrays

__all__ = ["DataLike", "Dataset", "Task", "from_arrays", "get", "names", "register"]
