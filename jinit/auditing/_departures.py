"""Checks whether weights follow the rules by which they should be drawn."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import jax
import numpy as np

from jinit.auditing._leaves import Leaf, relative_error
from jinit.findings import Finding
from jinit.frameworks._layout import Layers
from jinit.initializers import NamedInitializer
from jinit.parameters._rules import Assignment, assign
from jinit.typing import PyTree

# Chance that a healthy model has any finding on σ or a mean; each leaf gets an equal share.
ALPHA = 1e-3
_ALPHA_SOURCE = f"false alarms: {ALPHA:g} for all leaves together (Bonferroni)"
_SIGMA_SOURCE = f"Wilson & Hilferty 1931; {_ALPHA_SOURCE}"


@dataclass(frozen=True)
class _Departure:
    """A difference between a leaf and its rule.

    Attributes:
      evidence, threshold, source: as in a :class:`Finding`.
      is_sigma: True if σ differs.
    """

    evidence: str
    threshold: str
    source: str = ""
    is_sigma: bool = False


def unless_meant(findings: Sequence[Finding], assignments: Sequence[Assignment]) -> list[Finding]:
    """Drops the findings about properties that the rules determine.

    A rule determines σ and mean of its leaf, which :func:`against_rules` checks. A deterministic
    rule also determines whether units are equal or zero.
    """
    given = {assignment.leaf for assignment in assignments if assignment.initializer is not None}
    fixed = {assignment.leaf for assignment in assignments if not _is_drawn(assignment)}

    def meant(finding: Finding) -> bool:
        if finding.kind in ("mean", "wrong fan", "scale"):
            return finding.where in given
        return finding.kind in ("symmetric", "zero") and finding.where in fixed

    return [finding for finding in findings if not meant(finding)]


def _is_drawn(assignment: Assignment) -> bool:
    """Whether the leaf's entries are random: False if kept, True if the law is unknown."""
    if not isinstance(assignment.initializer, NamedInitializer) or assignment.stddev is None:
        return assignment.initializer is not None
    return assignment.initializer.law(_kernel(assignment)).is_drawn


def _kernel(assignment: Assignment) -> tuple[int, ...]:
    """The shape of the first kernel of a leaf."""
    layout = assignment.layout
    if layout is not None and layout.kind in ("kernel", "recurrent", "embedding"):
        return layout.kernels(assignment.shape)[1][0]
    if layout is None or len(assignment.shape) < 2:
        return assignment.shape
    return (math.prod(assignment.shape),)


def against_rules(
    leaves: Sequence[Leaf],
    assignments: Sequence[Assignment],
    params: PyTree,
    host: str,
    layers: Layers | None,
) -> list[Finding]:
    """Reports leaves that differ from their rules, with a false-alarm rate of ALPHA in total."""
    quantile = NormalDist().inv_cdf(1 - ALPHA / (4 * max(1, len(assignments))))
    defaults = {}
    # If the layer of any leaf is unknown, so are the host's defaults, and they are not compared.
    with contextlib.suppress(ValueError, TypeError):
        defaults = {item.leaf: item for item in assign(params, host, host=host, layers=layers)}
    findings = []
    for leaf, assignment in zip(leaves, assignments, strict=True):
        if not isinstance(assignment.initializer, NamedInitializer) or assignment.stddev is None:
            continue
        if not np.isfinite(leaf.flat).all() or not leaf.flat.size:
            continue
        departure = _departure(leaf, assignment, quantile)
        if departure is not None:
            default = defaults.get(leaf.path)
            findings.append(_not_applied(leaf, assignment, departure, default, host, quantile))
    return findings


def _departure(leaf: Leaf, assignment: Assignment, quantile: float) -> _Departure | None:
    """The first difference from the rule: entries, σ, mean, bounds or orthogonality."""
    initializer, stddev = assignment.initializer, assignment.stddev
    assert isinstance(initializer, NamedInitializer)
    assert stddev is not None
    flat, law, name = leaf.flat, initializer.law(_kernel(assignment)), str(initializer)
    if not _is_drawn(assignment):
        # A checkpoint can have a wider dtype than JAX draws.
        narrow = replace(assignment, dtype=jax.dtypes.canonicalize_dtype(assignment.dtype))
        expected = np.asarray(narrow.draw(jax.random.key(0)))
        size = float(np.abs(expected).max())
        if np.allclose(leaf.values.astype(complex), expected.astype(complex), 0.01, 0.01 * size):
            return None
        evidence = f"entries from {flat.min():.3g} to {flat.max():.3g}, which {name} does not give"
        return _Departure(evidence, "entries within 1 %")
    if flat.size < 2:
        return None
    sigma, error = float(flat.std()), _sigma_error(flat, quantile)
    if not _agrees(sigma, stddev, error):
        evidence = f"σ {sigma:.3g}, but {name} gives {stddev:.3g}"
        threshold = f"|log(σ / expected)| < {error + 0.005:.2g}"
        return _Departure(evidence, threshold, _SIGMA_SOURCE, is_sigma=True)
    if abs(flat.mean() - law.mean) > (quantile / math.sqrt(flat.size) + 0.005) * stddev:
        evidence = f"mean {flat.mean():.3g}, but {name} gives {law.mean:.3g}"
        distance = (quantile / math.sqrt(flat.size) + 0.005) * stddev
        return _Departure(evidence, f"|mean - expected| <= {distance:.2g}", _ALPHA_SOURCE)
    one_law = assignment.layout is None or not assignment.layout.fused
    slack = 0.01 * stddev
    if one_law and (flat.min() < law.low - slack or flat.max() > law.high + slack):
        evidence = (
            f"range [{flat.min():.3g}, {flat.max():.3g}], but {name} stays in "
            f"[{law.low:.3g}, {law.high:.3g}]"
        )
        return _Departure(evidence, f"bounds with a slack of 0.01 σ = {slack:.2g}")
    orthogonal = initializer.name.rpartition("*")[2] in ("orthogonal", "scaled_orthogonal")
    if orthogonal and leaf.is_kernel and not _orthogonal(leaf):
        evidence = f"columns are not orthogonal, but {name} gives orthogonal ones"
        return _Departure(evidence, "scalar products below 5 % of the squared length")
    return None


def _orthogonal(leaf: Leaf) -> bool:
    """Whether every two-dimensional kernel has orthogonal rows or columns of one length."""
    assert leaf.layout is not None
    kernels = np.asarray(leaf.layout.stacked(leaf.values))
    if kernels.ndim != 3 or leaf.layout.fused:
        return True
    narrow = kernels if kernels.shape[1] >= kernels.shape[2] else kernels.swapaxes(1, 2)
    narrow = narrow.astype(np.complex128)
    products = narrow.conj().swapaxes(1, 2) @ narrow
    squares = np.trace(products, axis1=1, axis2=2) / products.shape[-1]
    difference = products / squares[:, None, None] - np.eye(products.shape[-1])
    return bool(np.abs(difference).max() < 0.05)


def _not_applied(
    leaf: Leaf,
    assignment: Assignment,
    departure: _Departure,
    default: Assignment | None,
    host: str,
    quantile: float,
) -> Finding:
    """The finding for a departure; names the host's default if the leaf has the default's σ."""
    kind, evidence = "rule not applied", departure.evidence
    fix = f"check that the rule {assignment.rule!r} is applied, and its fans"
    if (
        departure.is_sigma
        and default is not None
        and default.stddev
        and _agrees(float(leaf.flat.std()), default.stddev, _sigma_error(leaf.flat, quantile))
    ):
        kind = "host default"
        evidence += f"; it is the default of {host} ({default.initializer})"
        fix = f"use the drawn parameters: the rule {assignment.rule!r} never reached this leaf"
    return Finding(kind, leaf.path, evidence, departure.threshold, departure.source, fix)


def _agrees(sigma: float, expected: float, error: float) -> bool:
    if not expected or not sigma:
        return max(sigma, expected) < 1e-12
    # Half precision rounds σ by up to 0.4 %.
    return abs(math.log(sigma / expected)) < error + 0.005


def _sigma_error(flat: np.ndarray, quantile: float) -> float:
    """How far log σ of a sample may fall below the true value, at a quantile of the normal law.

    Uses Wilson & Hilferty's (1931) cube-root approximation of the χ² law of a sample variance.
    Tails heavier than a normal's reduce the degrees of freedom.
    """
    freedom = (flat.size - 1) / (2 * relative_error(flat) ** 2 * flat.size)
    freedom = min(freedom, flat.size - 1)
    root = 1 - 2 / (9 * freedom) - quantile * math.sqrt(2 / (9 * freedom))
    return math.inf if root <= 0 else -1.5 * math.log(root)
