"""Many networks, few programs: ``Grid`` → ``plan`` → ``run`` → ``Table`` → ``compare``."""

from typing import TYPE_CHECKING

from jinit._lazy import attach

if TYPE_CHECKING:
    from jinit.sweep.comparison import Comparison, Summary, compare, summarize
    from jinit.sweep.grid import Grid
    from jinit.sweep.network import run_key
    from jinit.sweep.planner import Plan, plan
    from jinit.sweep.runner import SweepInterrupted, run
    from jinit.sweep.table import Table

__all__ = [
    "Comparison", "Grid", "Plan", "Summary", "SweepInterrupted", "Table",
    "compare", "plan", "run", "run_key", "summarize",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "Comparison": "jinit.sweep.comparison",
        "Grid": "jinit.sweep.grid",
        "Plan": "jinit.sweep.planner",
        "Summary": "jinit.sweep.comparison",
        "SweepInterrupted": "jinit.sweep.runner",
        "Table": "jinit.sweep.table",
        "compare": "jinit.sweep.comparison",
        "plan": "jinit.sweep.planner",
        "run": "jinit.sweep.runner",
        "run_key": "jinit.sweep.network",
        "summarize": "jinit.sweep.comparison",
    },
)
