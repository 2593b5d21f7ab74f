"""Defines the result type of every check of a network, its parameters or its prediction.

Audits, measured profiles, predictions and their comparisons all return findings. Only the field
``ok`` says whether a finding is a fault; the text of the finding does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Finding", "all_ok"]

HEALTHY = "healthy"
# If the first and the last layer differ by three orders of magnitude, one learning rate cannot
# serve both. A healthy ReLU network stays below that: log ‖h‖² has variance 5 Σ 1/n_l (Hanin &
# Rolnick 2018, theorem 5), which gives factors of e^(±3) at depth 100 and width 64.
LARGE_CHANGE = 1e3
# Inputs count as parallel if the share of a signal that differs between inputs has fallen to this
# fraction of the first layer's.
COLLAPSED = 1e-3


@dataclass(frozen=True)
class Finding:
    """The result of one check: a fault, or the statement that nothing is wrong.

    Attributes:
      kind: a short name: ``"wrong fan"``, ``"dead units"``, ``"healthy"``, ….
      where: the path of the leaf, or the name of the first layer that shows the finding; "" for the
        whole network.
      evidence: the measured or predicted numbers.
      threshold: the limit that the evidence is compared with; "" if there is none.
      source: where the threshold comes from: author, year, equation; "" if there is none.
      fix: what to do; "" if there is nothing to do.
      ok: True if the finding says that nothing is wrong.

    >>> print(Finding("zero", "output/kernel", "all zero", fix="draw it at random"))
    output/kernel: zero: all zero; fix: draw it at random
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
    """A finding that nothing is wrong.

    Args:
      evidence: the sentence that says what was checked.
      where: the layer or leaf that was checked; "" for the whole network.

    >>> healthy("nothing vanishes").ok
    True
    """
    return Finding(HEALTHY, where, evidence, ok=True)


def all_ok(findings: Iterable[Finding]) -> bool:
    """Returns True if no finding reports a fault, also for an empty list.

    Args:
      findings: the result of any check of jinit.

    >>> all_ok([healthy("nothing vanishes")])
    True
    """
    return all(finding.ok for finding in findings)
