"""What initializers and findings look like in a terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from jinit import errors
from jinit.findings import Finding
from jinit.initializers import Description
from jinit.parameters._rules import described_leaves
from jinit.report._findings import print_findings
from jinit.report._terminal import console_width, number

try:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
except ImportError:
    raise errors.missing_extra("rich", "lab", "printing tables") from None


def print_initializers(rows: Iterable[Any], stream: TextIO | None = None) -> None:
    """Prints the registry: name, law, source, aliases."""
    console = Console(file=stream or sys.stdout, width=console_width(stream), highlight=False)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "law of an entry", "source", "also called"):
        grid.add_column(heading, overflow="fold")
    for row in rows:
        grid.add_row(row.name, row.formula, row.reference, ", ".join(row.aliases))
    console.print(grid)
    console.print("n = fan_in, m = fan_out, a = negative slope", style="dim")


def markdown_table(rows: Iterable[Any]) -> str:
    """The registry as a Markdown table, one row per initializer."""
    lines = ["| initializer | law of an entry | source | also called |", "|---|---|---|---|"]
    for row in rows:
        formula = row.formula.replace("|", "\\|")
        lines.append(f"| `{row.name}` | {formula} | {row.reference} | {', '.join(row.aliases)} |")
    return "\n".join(lines)


def print_description(found: Description, stream: TextIO | None = None) -> None:
    """Prints what an initializer does to one shape, expected beside drawn."""
    console = Console(file=stream or sys.stdout, width=console_width(stream), highlight=False)
    fans = "" if found.fans is None else (
        f" · fan_in {found.fans.fan_in:g}, fan_out {found.fans.fan_out:g}"
    )  # fmt: skip
    console.print(f"[bold]{found.spec}[/bold]  {found.formula}  ({found.reference})", markup=True)
    console.print(f"shape {found.shape}{fans} · {found.law.distribution}")
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "expected", "drawn"):
        grid.add_column(heading, justify="right" if heading else "left")
    law, draw = found.law, found.draw
    grid.add_row("lower, min", number(law.low), number(draw.minimum))
    grid.add_row("upper, max", number(law.high), number(draw.maximum))
    grid.add_row("mean", number(law.mean), number(draw.mean))
    grid.add_row("standard deviation", number(law.stddev), number(draw.stddev))
    console.print(grid)
    blocks = " ▁▂▃▄▅▆▇█"
    peak = max(found.histogram)
    bars = "".join(blocks[math.ceil(8 * count / peak)] for count in found.histogram)
    console.print(f"{number(draw.minimum)} │{bars}│ {number(draw.maximum)}")
    if found.spread:
        pairs = ", ".join(f"{n} → {number(stddev)}" for n, stddev in found.spread)
        console.print(f"standard deviation by number of inputs: {pairs}")


def print_audit(
    findings: list[Finding],
    arrays: Mapping[str, Any],
    *,
    host: str,
    layers: Mapping[str, Any] | None,
    stream: TextIO | None = None,
) -> None:
    """Prints what an audit found, one leaf a paragraph, and which kernels it could not check."""
    console = Console(file=stream or sys.stdout, width=console_width(stream), highlight=False)
    print_findings(console, findings)
    unknown = [
        path
        for path, leaf, made in described_leaves(dict(arrays), host, layers)
        if made is None and len(leaf.shape) > 1
    ]
    size = len(arrays)
    console.print(
        f"{len(findings)} finding{'s' if len(findings) != 1 else ''} in {size} arrays"
        + (f"; fans not checked for {', '.join(unknown)}: name their --layer" if unknown else "")
    )
