"""Keeps finished work in one SQLite file. Loads no JAX."""

from sqlite3 import Connection

from jinit._database._environments import ENVIRONMENT, difference
from jinit._database._file_system import FileSystem, file_system
from jinit._database._merge import merge, remove
from jinit._database._open import check_path, is_store, reading
from jinit._database._results import find_results, result_rows
from jinit._database._runs import (
    Layout,
    RunRows,
    Stored,
    StoredProgram,
    add_columns,
    axis_values,
    by_number,
    find,
    layout_of,
    programs_of,
    registered,
)
from jinit._database._sweeps import Entry, begin_sweep, end_sweep, next_run, sweeps
from jinit._database._values import is_repeated, missing, python_values, repeated
from jinit._database._verify import verify
from jinit._database._whole import load
from jinit._database._writer import Writer

__all__ = [
    "ENVIRONMENT",
    "Connection",
    "Entry",
    "FileSystem",
    "Layout",
    "RunRows",
    "Stored",
    "StoredProgram",
    "Writer",
    "add_columns",
    "axis_values",
    "begin_sweep",
    "by_number",
    "check_path",
    "difference",
    "end_sweep",
    "file_system",
    "find",
    "find_results",
    "is_repeated",
    "is_store",
    "layout_of",
    "load",
    "merge",
    "missing",
    "next_run",
    "programs_of",
    "python_values",
    "reading",
    "registered",
    "remove",
    "repeated",
    "result_rows",
    "sweeps",
    "verify",
]
