"""The result of a sweep: a table of runs, summaries and paired comparisons. No JAX."""

from jinit.results._comparison import Comparison, Summary, compare, summarize
from jinit.results._table import Table

__all__ = ["Comparison", "Summary", "Table", "compare", "summarize"]
