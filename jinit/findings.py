"""Finding: one thing seen in a network, its parameters or its prediction, with evidence and a fix.

The audit, the verdict on a profile, the prediction of theory and their comparison all return
findings. Whether a finding is good news is its field ``ok``, never its text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HEALTHY = "healthy"
# Three orders of magnitude between the first and the last layer: one learning rate cannot serve
# both. Fluctuations of a healthy ReLU network stay inside: log ‖h‖² has variance 5 Σ 1/n_l
# (Hanin & Rolnick 2018, theorem 5), e^(±3) at depth 100 and width 64.
LARGE_CHANGE = 1e3


@dataclass(frozen=True)
class Finding:
    """One thing seen, good or bad.

    Attributes:
      kind: a short name for this sort of finding: ``"wrong fan"``, ``"dead units"``,
        ``"healthy"``, ….
      where: the path of the leaf, or the name of the layer at which the finding shows first.
      evidence: the measured or predicted numbers.
      threshold: the number that the evidence was compared with; "" if there is none.
      source: where the threshold comes from: author, year, equation; "" if there is none.
      fix: what to do; "" if nothing has to be done.
      ok: True if the finding says that nothing is wrong.
    """

    kind: str
    where: str
    evidence: str
    threshold: str = ""
    source: str = ""
    fix: str = ""
    ok: bool = False

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        fix = f"; fix: {self.fix}" if self.fix else ""
        return f"{place}{self.kind}: {self.evidence}{fix}"


def healthy(evidence: str, *, where: str = "") -> Finding:
    """The finding that nothing is wrong.

    >>> healthy("nothing vanishes").ok
    True
    """
    return Finding(HEALTHY, where, evidence, ok=True)


def all_ok(findings: Iterable[Finding]) -> bool:
    """Whether no finding reports a fault; True for no findings at all.

    >>> all_ok([healthy("nothing vanishes")])
    True
    """
    return all(finding.ok for finding in findings)
