"""Prints any result of jinit in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO, TypeAlias

# First, because this module names the extra that has rich; Flax, which comes with the others,
# imports rich without naming it.
from jinit.report._console import open_console

# isort: split
from jinit import errors
from jinit.advise._recommend import Candidate
from jinit.findings import Finding
from jinit.frameworks import Captured
from jinit.initializers._describe import Description
from jinit.probes import Profile
from jinit.probes._beside import Beside
from jinit.report._candidates import print_candidates
from jinit.report._comparisons import print_comparisons
from jinit.report._findings import print_findings
from jinit.report._json import check_options
from jinit.report._plan import print_plan
from jinit.report._prediction import print_beside, print_prediction
from jinit.report._profile import print_profile
from jinit.report._sweep_table import print_table
from jinit.report._weights import print_description
from jinit.results import Table
from jinit.results._verdict import Comparison
from jinit.sweep._plan import Plan
from jinit.theory._predict import Prediction

Result: TypeAlias = (
    Table
    | Plan
    | Prediction
    | Profile
    | Beside
    | Description
    | Sequence[Finding]
    | Sequence[Candidate]
    | Sequence[Comparison]
)
"""What :func:`show` prints."""


def show(
    result: Result,
    *,
    baseline: str | None = None,
    metric: str | None = None,
    across: str | None = None,
    margin: float | None = None,
    model: Captured | None = None,
    findings: Sequence[Finding] | None = None,
    stream: TextIO | None = None,
) -> None:
    """Prints a result as a table of text: of a sweep, a plan, an audit, a probe, a prediction, ….

    A narrow terminal gets fewer columns; columns that were left out are named.

    Args:
      result: what :func:`jinit.run`, :func:`jinit.plan`, :func:`jinit.audit`,
        :func:`jinit.theory.predict`, :func:`jinit.probes.ensemble`, :func:`jinit.probes.verdict`,
        :func:`jinit.probes.beside`, :func:`jinit.initializers.describe`,
        :func:`jinit.advise.recommend` or :func:`jinit.compare` returned.
      baseline: for a Table, the arm to compare with; None prints no comparison.
      metric: for a Table, the metric to rank by; None is ``test_accuracy``, or ``test_loss`` if the
        task has no accuracy.
      across: for a Table, the axis whose values are the arms; None is ``initializer``.
      margin: for a Table, the smallest difference that matters, as in :func:`jinit.compare`.
      model: for a Profile, the captured model that was measured; the model names the layers.
      findings: for a Profile, from :func:`jinit.probes.verdict`; None prints none.
      stream: default stdout.

    Raises:
      ValueError: an option that belongs to another kind of result; an unknown metric, baseline or
        axis.
      TypeError: the result is of no known kind; a Profile without ``model``.
      MissingExtraError: rich is not installed.

    >>> import jinit, numpy as np
    >>> show(jinit.plan(jinit.Grid(dataset="xor", depth=1, seeds=2)))  # doctest: +ELLIPSIS
    2 runs in 1 training program · ...
    >>> show(jinit.audit({"a": {"kernel": np.full((4, 4), np.nan)}}))
    ... # doctest: +ELLIPSIS
    a/kernel ...
    """
    given = {"baseline": baseline, "metric": metric, "across": across, "margin": margin}
    check_options(result, given, {"model": model, "findings": findings})
    if isinstance(result, Table):
        print_table(
            result,
            metric=metric,
            baseline=baseline,
            across=across or "initializer",
            margin=margin or 0.0,
            stream=stream,
        )
    elif isinstance(result, Profile):
        assert model is not None  # checked above
        print_profile(model, result, list(findings or ()), stream)
    elif isinstance(result, Plan):
        print_plan(result, stream)
    elif isinstance(result, Prediction):
        print_prediction(result, stream)
    elif isinstance(result, Beside):
        print_beside(result, stream)
    elif isinstance(result, Description):
        print_description(result, stream)
    else:
        _show_list(result, stream)


def _show_list(
    result: Sequence[Finding] | Sequence[Candidate] | Sequence[Comparison], stream: TextIO | None
) -> None:
    """Prints findings, ranked initializers, or comparisons."""
    items = list(result) if isinstance(result, list | tuple) else [result]
    candidates = [item for item in items if isinstance(item, Candidate)]
    found = [item for item in items if isinstance(item, Finding)]
    compared = [item for item in items if isinstance(item, Comparison)]
    if compared and len(compared) == len(items):
        print_comparisons(compared, stream)
    elif candidates and len(candidates) == len(items):
        print_candidates(candidates, stream)
    elif len(found) == len(items):
        console = open_console(stream)
        print_findings(console, found)
        console.print(f"{len(found)} finding{'' if len(found) == 1 else 's'}")
    else:
        raise errors.wrong_type(
            "result",
            result,
            "a Table, Plan, Prediction, Profile, Beside or Description, or a list of findings,"
            " candidates or comparisons",
            "pass what jinit.run, jinit.plan, jinit.audit, … returned",
        )
