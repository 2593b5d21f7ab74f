"""Holds the result of a sweep: a table of runs, summaries and paired comparisons."""

from jinit.results._comparison import compare
from jinit.results._concat import concat
from jinit.results._read import read
from jinit.results._summary import summarize
from jinit.results._table import Table, check_output

__all__ = [
    "Table",
    "check_output",
    "compare",
    "concat",
    "read",
    "summarize",
]
