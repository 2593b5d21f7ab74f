"""Loads data sets, real and synthetic, with fixed splits."""

from jinit.data._arrays import Task
from jinit.data._catalog import DataLike, get, names, register
from jinit.data._dataset import Dataset
from jinit.data._from_arrays import from_arrays
from jinit.data._generated import generated

__all__ = ["DataLike", "Dataset", "Task", "from_arrays", "generated", "get", "names", "register"]
