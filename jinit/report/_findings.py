"""Prints the findings of audits, verdicts and predictions in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from jinit.findings import Finding
from jinit.report._console import Console, Padding, Text, escaped


def print_findings(console: Console, findings: Iterable[Finding]) -> None:
    """Prints a paragraph for each finding: place and kind, evidence, threshold, fix."""
    for finding in findings:
        style = "green" if finding.ok else "red"
        place = f"[bold]{escaped(finding.where)}[/bold]  " if finding.where else ""
        console.print(f"{place}[bold {style}]{escaped(finding.kind)}[/]")
        lines = [finding.evidence]
        if finding.threshold:
            source = f" ({finding.source})" if finding.source else ""
            lines.append(f"threshold: {finding.threshold}{source}")
        for line in lines:
            # Padding also indents the continuation of a wrapped line.
            console.print(Padding(escaped(line), (0, 0, 0, 2), expand=False))
        if finding.fix:
            # A fix is pasted: a line break would end a statement, or a comment, too early.
            console.print(Text(f"  fix: {finding.fix}"), soft_wrap=True)
