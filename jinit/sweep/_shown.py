"""Describes a plan in a line, and in a few rows of HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jinit.results._shown import html_table


class _Program(Protocol):
    @property
    def labels(self) -> Mapping[str, Any]: ...
    @property
    def runs(self) -> int: ...
    @property
    def tile(self) -> int: ...
    @property
    def flops(self) -> int: ...


class _Plan(Protocol):
    @property
    def programs(self) -> Sequence[_Program]: ...
    @property
    def runs(self) -> int: ...
    @property
    def flops(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def workers(self) -> int: ...


def shown_program(program: _Program) -> str:
    """``dataset=xor, …, width=16: 8 runs, 8 at a time``: what tells programs apart, and runs."""
    names = ("dataset", "model", "activation", "depth", "width", "optimizer", "batch_size")
    named = ", ".join(f"{name}={program.labels[name]}" for name in names if name in program.labels)
    return f"{named}: {program.runs:,} runs, {program.tile} at a time"


def shown_plan(plan: _Plan) -> str:
    """Numbers of runs and programs, and the cost."""
    return (
        f"{plan.runs:,} runs in {len(plan.programs)} training programs,"
        f" {plan.flops / 1e9:,.0f} GFLOP, about {plan.seconds:.0f} s on {plan.workers} workers"
    )


def plan_html(plan: _Plan) -> str:
    """The line and a row for each program."""
    rows = [(shown_program(one), f"{one.flops / 1e9:,.0f}") for one in plan.programs]
    return f"<p>{shown_plan(plan)}</p>{html_table(('program', 'GFLOP'), rows)}"
