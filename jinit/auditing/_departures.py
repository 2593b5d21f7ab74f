"""Checks whether weights follow the rules by which they should be drawn."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np

from jinit.auditing._fixes import Fixes
from jinit.auditing._functions import first_departure, is_deterministic, reference_draws
from jinit.auditing._leaves import Leaf, Moments, agree, moments
from jinit.auditing._norms import norms_for
from jinit.auditing._scales import is_mask
from jinit.findings import Finding
from jinit.initializers import NamedInitializer
from jinit.parameters._norms import NORM, NormOf
from jinit.parameters._rules import Assignment, assign
from jinit.typing import PyTree

# Chance that a healthy model has any finding on σ or a mean; each leaf gets an equal share.
ALPHA = 1e-3
_ALPHA_SOURCE = f"false alarms: {ALPHA:g} for all leaves together (Bonferroni)"
# Findings that say nothing about a leaf whose rule is deterministic.
_DETERMINED = ("symmetric", "zero", "duplicated", "copies", "out of proportion")
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

    A rule determines σ, mean and size of its leaf, which :func:`against_rules` checks. A
    deterministic rule also determines whether entries, units or leaves are equal or zero.
    """
    given = {assignment.leaf for assignment in assignments if assignment.initializer is not None}
    fixed = {assignment.leaf for assignment in assignments if not _is_drawn(assignment)}

    def meant(finding: Finding) -> bool:
        if finding.kind in ("mean", "wrong fan", "scale"):
            return finding.where in given
        return finding.kind in _DETERMINED and finding.where in fixed

    return [finding for finding in findings if not meant(finding)]


def _is_drawn(assignment: Assignment) -> bool:
    """Whether the leaf's entries are random: False if kept or computed from a kernel."""
    if assignment.initializer is None or isinstance(assignment.initializer, NormOf):
        return False
    if _has_law(assignment):
        assert isinstance(assignment.initializer, NamedInitializer)
        return assignment.initializer.law(_kernel(assignment)).is_drawn
    narrow = _as_drawn(assignment)
    draws = [np.asarray(narrow.draw(jax.random.key(seed))) for seed in (0, 1)]
    return not is_deterministic(draws)


def _has_law(assignment: Assignment) -> bool:
    return isinstance(assignment.initializer, NamedInitializer) and assignment.stddev is not None


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
    fixes: Fixes,
) -> list[Finding]:
    """Reports leaves that differ from their rules, with a false-alarm rate of ALPHA in total."""
    share = ALPHA / max(1, len(assignments))
    quantile = NormalDist().inv_cdf(1 - share / 4)
    defaults = {}
    # If the layer of any leaf is unknown, so are the host's defaults, and they are not compared.
    with contextlib.suppress(ValueError, TypeError):
        given = assign(params, fixes.host, host=fixes.host, layers=fixes.layers)
        defaults = {item.leaf: item for item in given}
    by_path = {assignment.leaf: assignment for assignment in assignments}
    values = {leaf.path: leaf for leaf in leaves}
    findings = []
    for leaf in leaves:
        assignment = by_path[leaf.path]
        if assignment.initializer is None or not leaf.values.size:
            continue
        departure = None
        if not np.isfinite(leaf.entries).all():
            departure = _from_mask(leaf, assignment) if is_mask(leaf) else None
        elif isinstance(assignment.initializer, NormOf):
            departure = _from_norms(leaf, values.get(assignment.initializer.kernel))
        elif _has_law(assignment):
            departure = _departure(leaf, assignment, quantile)
        else:
            departure = _from_function(leaf, assignment, share)
        if departure is not None:
            default = _default_instead(leaf, departure, defaults.get(leaf.path), fixes, quantile)
            findings.append(_not_applied(leaf, assignment, departure, default, fixes))
    return findings


def _from_function(leaf: Leaf, assignment: Assignment, share: float) -> _Departure | None:
    """The first difference from the draws of a rule that is a function."""
    draws = reference_draws(_as_drawn(assignment))
    name = f"the rule {assignment.rule!r}"
    if is_deterministic(draws):
        return _from_entries(leaf, draws[0], name)
    found = first_departure(leaf, draws, share)
    if found is None:
        return None
    evidence, threshold = found
    is_sigma = evidence.partition(" ")[0] in ("log", "σ")
    return _Departure(evidence.format(rule=name), threshold, _ALPHA_SOURCE, is_sigma)


def _from_mask(leaf: Leaf, assignment: Assignment) -> _Departure | None:
    """A difference of a mask of 0 and −∞ from the entries of its rule."""
    expected = np.asarray(_as_drawn(assignment).draw(jax.random.key(0)))
    if np.array_equal(leaf.values, expected):
        return None
    evidence = f"entries 0 and -inf, which the rule {assignment.rule!r} does not give"
    return _Departure(evidence, "equal entries")


def _from_norms(leaf: Leaf, kernel: Leaf | None) -> _Departure | None:
    """A difference of the scale of a weight norm from the norms of its kernel."""
    norms = norms_for(leaf, kernel)
    if kernel is None or norms is None or agree(leaf.values, norms):
        return None
    low, high = float(np.abs(norms).min()), float(np.abs(norms).max())
    evidence = (
        f"entries from {leaf.flat.min():.3g} to {leaf.flat.max():.3g}, but the norms of "
        f"{kernel.path!r} are from {low:.3g} to {high:.3g}"
    )
    return _Departure(evidence, "entries within 1 %")


def _as_drawn(assignment: Assignment) -> Assignment:
    """The assignment with a dtype that JAX draws; a checkpoint can have a wider one."""
    return replace(assignment, dtype=jax.dtypes.canonicalize_dtype(assignment.dtype))


def _from_entries(leaf: Leaf, expected: np.ndarray, name: str) -> _Departure | None:
    """A difference from entries that a deterministic rule gives."""
    if agree(leaf.values, expected):
        return None
    flat = leaf.flat
    evidence = f"entries from {flat.min():.3g} to {flat.max():.3g}, which {name} does not give"
    return _Departure(evidence, "entries within 1 %")


def _departure(leaf: Leaf, assignment: Assignment, quantile: float) -> _Departure | None:
    """The first difference from the rule: entries, σ, mean, bounds or orthogonality."""
    initializer, stddev = assignment.initializer, assignment.stddev
    assert isinstance(initializer, NamedInitializer)
    assert stddev is not None
    law, name = initializer.law(_kernel(assignment), leaf.values.dtype), str(initializer)
    if not law.is_drawn:
        expected = np.asarray(_as_drawn(assignment).draw(jax.random.key(0)))
        return _from_entries(leaf, expected, name)
    if leaf.drawn.size < 2:
        return None
    sample = moments(leaf.drawn)
    error = _sigma_error(sample, quantile)
    if not _agrees(sample.stddev, stddev, error):
        evidence = f"σ {sample.stddev:.3g}, but {name} gives {stddev:.3g}"
        threshold = f"|log(σ / expected)| < {error + 0.005:.2g}"
        return _Departure(evidence, threshold, _SIGMA_SOURCE, is_sigma=True)
    distance = (quantile / math.sqrt(sample.count) + 0.005) * stddev
    if abs(sample.mean - law.mean) > distance:
        evidence = f"mean {sample.mean:.3g}, but {name} gives {law.mean:.3g}"
        return _Departure(evidence, f"|mean - expected| <= {distance:.2g}", _ALPHA_SOURCE)
    one_law = assignment.layout is None or not assignment.layout.fused
    # Half precision rounds entries by half a unit of its last place.
    precision = jnp.finfo(leaf.values.dtype)  # type: ignore[no-untyped-call]
    largest = min(max(abs(law.low), abs(law.high)), abs(law.mean) + 10 * stddev)
    slack = 0.01 * stddev + float(precision.eps) * largest
    # Of complex entries, the law bounds the modulus.
    lowest = -law.high if np.iscomplexobj(leaf.values) else law.low
    if one_law and (sample.low < lowest - slack or sample.high > law.high + slack):
        evidence = (
            f"range [{sample.low:.3g}, {sample.high:.3g}], but {name} stays in "
            f"[{law.low:.3g}, {law.high:.3g}]"
        )
        return _Departure(evidence, f"bounds with a slack of {slack:.2g}")
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


def _default_instead(
    leaf: Leaf,
    departure: _Departure,
    default: Assignment | None,
    fixes: Fixes,
    quantile: float,
) -> str:
    """The host's default if the leaf has its σ; "" otherwise."""
    if not departure.is_sigma or default is None or not default.stddev:
        return ""
    sample = moments(leaf.drawn)
    if not _agrees(sample.stddev, default.stddev, _sigma_error(sample, quantile)):
        return ""
    return f"; it is the default of {fixes.host} ({default.initializer})"


def _not_applied(
    leaf: Leaf,
    assignment: Assignment,
    departure: _Departure,
    default: str,
    fixes: Fixes,
) -> Finding:
    """The finding for a departure."""
    rule = NORM if isinstance(assignment.initializer, NormOf) else ""
    return Finding(
        "host default" if default else "rule not applied",
        leaf.path,
        departure.evidence + default,
        departure.threshold,
        departure.source,
        fixes.redraw(leaf.path, rule, f"and see why the rule {assignment.rule!r} missed this leaf"),
    )


def _agrees(sigma: float, expected: float, error: float) -> bool:
    if not expected or not sigma:
        return max(sigma, expected) < 1e-12
    # Half precision rounds σ by up to 0.4 %.
    return abs(math.log(sigma / expected)) < error + 0.005


def _sigma_error(sample: Moments, quantile: float) -> float:
    """How far log σ of a sample may fall below the true value, at a quantile of the normal law.

    Uses Wilson & Hilferty's (1931) cube-root approximation of the χ² law of a sample variance.
    Tails heavier than a normal's reduce the degrees of freedom.
    """
    freedom = (sample.count - 1) / (2 * sample.error**2 * sample.count)
    # A complex entry has two parts.
    freedom = min(freedom, (2 if np.iscomplexobj(sample.mean) else 1) * (sample.count - 1))
    root = 1 - 2 / (9 * freedom) - quantile * math.sqrt(2 / (9 * freedom))
    return math.inf if root <= 0 else -1.5 * math.log(root)
