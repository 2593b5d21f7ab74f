"""Prints initializers and audits of weights in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TextIO

import numpy as np

from jinit.findings import Finding
from jinit.initializers._describe import Description
from jinit.initializers._registry import Row
from jinit.parameters._leaves import tree_leaves
from jinit.report._console import Text, escaped, new_table, open_console
from jinit.report._findings import print_findings
from jinit.report._text import number

_BLOCKS = " ▁▂▃▄▅▆▇█"


def print_initializers(
    rows: Iterable[Row], calibrations: Iterable[str], stream: TextIO | None = None
) -> None:
    """Prints the registered initializers (name, law, source, aliases) and calibrations."""
    console = open_console(stream)
    table = new_table()
    for heading in ("name", "law of an entry", "source", "also called"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for row in rows:
        cells = (row.name, row.formula, row.reference, ", ".join(row.aliases))
        table.add_row(*(escaped(cell) for cell in cells))
    console.print(table)
    console.print("n = fan_in, m = fan_out, a = negative slope", style="dim")
    console.print(
        f"calibrations, which need data (see jinit.calibrate): {', '.join(calibrations)}",
        style="dim",
    )


def markdown_table(rows: Iterable[Row]) -> str:
    """The registered initializers as a Markdown table."""
    lines = ["| initializer | law of an entry | source | also called |", "|---|---|---|---|"]
    for row in rows:
        formula = row.formula.replace("|", "\\|")
        lines.append(f"| `{row.name}` | {formula} | {row.reference} | {', '.join(row.aliases)} |")
    return "\n".join(lines)


def print_description(description: Description, stream: TextIO | None = None) -> None:
    """Prints an initializer for one shape: its law, expected and drawn numbers, a histogram.

    Args:
      description: from :func:`jinit.initializers.describe`.
      stream: default stdout.

    >>> from jinit import initializers
    >>> print_description(initializers.describe("zeros", (2, 2)))  # doctest: +ELLIPSIS
    zeros ...
    """
    console = open_console(stream)
    fans = ""
    if description.fans is not None:
        fans = f" · fan_in {description.fans.fan_in:g}, fan_out {description.fans.fan_out:g}"
    console.print(
        f"[bold]{escaped(description.spec)}[/bold]  "
        + escaped(f"{description.formula}  ({description.reference})")
    )
    console.print(f"shape {description.shape}{fans} · {description.law.distribution}")
    table = new_table()
    for heading in ("", "expected", "drawn"):
        table.add_column(heading, justify="right" if heading else "left")
    law, draw = description.law, description.draw
    table.add_row("lower, min", number(law.low), number(draw.minimum))
    table.add_row("upper, max", number(law.high), number(draw.maximum))
    table.add_row("mean", number(law.mean), number(draw.mean))
    table.add_row("standard deviation", number(law.stddev), number(draw.stddev))
    console.print(table)
    peak = max(description.histogram)
    bars = "".join(_BLOCKS[math.ceil(8 * count / peak)] for count in description.histogram)
    console.print(f"{number(draw.minimum)} │{bars}│ {number(draw.maximum)}")
    if description.spread:
        pairs = ", ".join(f"{fan_in} → {number(stddev)}" for fan_in, stddev in description.spread)
        console.print(f"standard deviation by number of inputs: {pairs}")


def print_audit(
    findings: list[Finding],
    arrays: Mapping[str, np.ndarray],
    *,
    host: str,
    layers: Mapping[str, str] | None = None,
    file: str = "",
    stream: TextIO | None = None,
) -> None:
    """Prints the findings of an audit, and the kernels whose fans could not be checked.

    Args:
      findings: from :func:`jinit.audit`.
      arrays: the audited arrays, path → array.
      host: the framework whose axis order the kernels have.
      layers: pattern → layer kind, as given to :func:`jinit.audit`.
      file: the checkpoint, which the fixes' ``params`` are read from; "" if there is none.
      stream: default stdout.

    >>> import numpy as np
    >>> print_audit([], {"dense/kernel": np.ones((2, 3))}, host="flax")
    0 findings in 1 array
    """
    console = open_console(stream)
    print_findings(console, findings)
    if file and any("params = " in finding.fix for finding in findings):
        before = _before(findings, layers, file)
        console.print(Text(f"the fixes are Python; before them: {before}"), soft_wrap=True)
    leaves = tree_leaves(dict(arrays), host, layers)
    unknown = [leaf.path for leaf in leaves if leaf.layout is None and len(leaf.value.shape) > 1]
    reported = {finding.where for finding in findings}
    zero = [
        leaf.path
        for leaf in leaves
        if leaf.layout is not None
        and leaf.layout.kind == "kernel"
        and leaf.path not in reported
        and np.size(arrays[leaf.path])
        and not np.any(arrays[leaf.path])
    ]
    noun = "finding" if len(findings) == 1 else "findings"
    arrays_noun = "array" if len(arrays) == 1 else "arrays"
    line = f"{len(findings)} {noun} in {len(arrays)} {arrays_noun}"
    if unknown:
        line += f"; fans not checked for {', '.join(unknown)}: name their kind with --layer"
    console.print(escaped(line))
    if zero:
        console.print(
            escaped(
                f"note: {', '.join(zero)} starts at zero: right at the end of a residual branch, "
                "wrong on the only path; jinit.probes.verdict runs the model and tells"
            )
        )


def _before(findings: Iterable[Finding], layers: Mapping[str, str] | None, file: str) -> str:
    """The statements that define the names in the fixes."""
    # The fixes are for the arrays that can be read, also where others cannot.
    words = f"import jax, jinit; params = jinit.auditing.read_readable({file!r})[0]"
    if any("layers=layers" in finding.fix for finding in findings):
        words += f"; layers = {dict(layers or {})!r}"
    return words
