"""Prints findings in a terminal: one printer for the audit, the verdict and the theory."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from jinit.findings import Finding
from jinit.report._terminal import escaped


def print_findings(console: Console, findings: Iterable[Finding]) -> None:
    """A paragraph for each finding: where and what, the evidence, the threshold, the fix."""
    for finding in findings:
        style = "green" if finding.ok else "red"
        place = f"[bold]{escaped(finding.where)}[/bold]  " if finding.where else ""
        console.print(f"{place}[bold {style}]{escaped(finding.kind)}[/]")
        console.print(f"  {escaped(finding.evidence)}")
        if finding.threshold:
            source = f" ({finding.source})" if finding.source else ""
            console.print(escaped(f"  threshold: {finding.threshold}{source}"))
        if finding.fix:
            console.print(escaped(f"  fix: {finding.fix}"))
