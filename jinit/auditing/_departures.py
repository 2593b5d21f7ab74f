"""Whether weights are those of the rules that they should follow."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace

import jax
import numpy as np

from jinit.auditing._leaves import Leaf, relative_error
from jinit.findings import Finding
from jinit.frameworks._layout import Layers
from jinit.initializers import NamedInitializer
from jinit.parameters._rules import Assignment, assign
from jinit.typing import PyTree

# Chance that a healthy model with rules given has any finding; each leaf gets an equal share.
ALPHA = 1e-3


def unless_meant(findings: list[Finding], assignments: list[Assignment]) -> list[Finding]:
    """Drops what the rules ask for: their σ and mean, and equal units where nothing is drawn.

    >>> unless_meant([], [])
    []
    """
    given = {each.leaf for each in assignments if each.initializer is not None}
    fixed = {each.leaf for each in assignments if not _is_drawn(each)}

    def meant(finding: Finding) -> bool:
        if finding.kind in ("mean", "wrong fan", "scale"):
            return finding.where in given
        return finding.kind in ("symmetric", "zero") and finding.where in fixed

    return [each for each in findings if not meant(each)]


def _is_drawn(each: Assignment) -> bool:
    """Whether chance, or a rule of which nothing is known, decides on the leaf's entries."""
    if not isinstance(each.initializer, NamedInitializer) or each.stddev is None:
        return each.initializer is not None
    return each.initializer.law(_kernel(each)).is_drawn


def _kernel(each: Assignment) -> tuple[int, ...]:
    """The shape of the first kernel of a leaf."""
    made = each.layout
    if made is not None and made.kind in ("kernel", "recurrent", "embedding"):
        return made.kernels(each.shape)[1][0]
    return (math.prod(each.shape),) if len(each.shape) > 1 and made is not None else each.shape


def against_rules(
    leaves: list[Leaf],
    assignments: list[Assignment],
    params: PyTree,
    host: str,
    layers: Layers | None,
) -> list[Finding]:
    """Entries must be the rule's; σ and mean at a family-wise false-alarm rate of ALPHA.

    >>> against_rules([], [], {}, "flax", None)
    []
    """
    from statistics import NormalDist

    reach = NormalDist().inv_cdf(1 - ALPHA / (4 * max(1, len(assignments))))
    defaults = {}
    # A leaf of an unknown layer has no default to compare with.
    with contextlib.suppress(ValueError, TypeError):
        defaults = {each.leaf: each for each in assign(params, host, host=host, layers=layers)}
    found = []
    for leaf, each in zip(leaves, assignments, strict=True):
        if not isinstance(each.initializer, NamedInitializer) or each.stddev is None:
            continue
        if not np.isfinite(leaf.flat).all() or not leaf.flat.size:
            continue
        if evidence := _departure(leaf, each, reach):
            found.append(_not_applied(leaf, each, evidence, defaults.get(leaf.path), host, reach))
    return found


def _departure(leaf: Leaf, each: Assignment, reach: float) -> str:
    """What is not the rule's: the entries, σ, the mean, bounds or orthogonality; "" if nothing."""
    assert isinstance(each.initializer, NamedInitializer)
    assert each.stddev is not None
    flat, law = leaf.flat, each.initializer.law(_kernel(each))
    if not _is_drawn(each):
        # Checkpoints may be wider than JAX draws.
        narrow = replace(each, dtype=jax.dtypes.canonicalize_dtype(each.dtype))
        meant = np.asarray(narrow.draw(jax.random.key(0)))
        size = float(np.abs(meant).max())
        if np.allclose(leaf.values.astype(complex), meant.astype(complex), 0.01, 0.01 * size):
            return ""
        return (
            f"entries from {flat.min():.3g} to {flat.max():.3g} that are not {each.initializer}'s"
        )
    if flat.size < 2:
        return ""
    sigma = float(flat.std())
    if not _agrees(sigma, each.stddev, _allowed(flat, reach)):
        return f"σ {sigma:.3g}, but {each.initializer} gives {each.stddev:.3g}"
    if abs(flat.mean() - law.mean) > (reach / math.sqrt(flat.size) + 0.005) * each.stddev:
        return f"mean {flat.mean():.3g}, but {each.initializer} gives {law.mean:.3g}"
    one_law = each.layout is None or not each.layout.fused
    slack = 0.01 * each.stddev
    if one_law and (flat.min() < law.low - slack or flat.max() > law.high + slack):
        return (
            f"range [{flat.min():.3g}, {flat.max():.3g}], but {each.initializer} stays in "
            f"[{law.low:.3g}, {law.high:.3g}]"
        )
    whole = each.initializer.name.rpartition("*")[2] in ("orthogonal", "scaled_orthogonal")
    if whole and leaf.is_kernel and not _orthogonal(leaf):
        return f"columns that are not orthogonal, as {each.initializer}'s are"
    return ""


def _orthogonal(leaf: Leaf) -> bool:
    """Whether rows or columns of every two-dimensional kernel are, up to their common length."""
    assert leaf.layout is not None
    kernels = np.asarray(leaf.layout.stacked(leaf.values))
    if kernels.ndim != 3 or leaf.layout.fused:
        return True
    narrow = kernels if kernels.shape[1] >= kernels.shape[2] else kernels.swapaxes(1, 2)
    narrow = narrow.astype(np.complex128)
    products = narrow.conj().swapaxes(1, 2) @ narrow
    lengths = np.trace(products, axis1=1, axis2=2) / products.shape[-1]
    apart = products / lengths[:, None, None] - np.eye(products.shape[-1])
    return bool(np.abs(apart).max() < 0.05)


def _not_applied(
    leaf: Leaf,
    each: Assignment,
    evidence: str,
    default: Assignment | None,
    host: str,
    reach: float,
) -> Finding:
    if (
        default is not None and default.stddev and evidence.startswith("σ")
        and _agrees(float(leaf.flat.std()), default.stddev, _allowed(leaf.flat, reach))
    ):  # fmt: skip
        evidence += f"; it is the default of {host} ({default.initializer})"
        fix = f"pass the drawn parameters on: the rule {each.rule!r} never reached this leaf"
        return Finding("host default", leaf.path, evidence, fix=fix)
    fix = f"check that rule {each.rule!r} is applied, and its fans"
    return Finding("rule not applied", leaf.path, evidence, fix=fix)


def _agrees(sigma: float, expected: float, error: float) -> bool:
    if not expected or not sigma:
        return max(sigma, expected) < 1e-12
    return abs(math.log(sigma / expected)) < error + 0.005  # half precision rounds σ by 0.4 %


def _allowed(flat: np.ndarray, reach: float) -> float:
    """How far log σ of a sample may fall below the truth at ``reach`` normal quantiles.

    Wilson & Hilferty's cube root for the χ² of a sample variance; heavier tails than a normal's
    count as fewer degrees of freedom.
    """
    freedom = (flat.size - 1) / (2 * relative_error(flat) ** 2 * flat.size)
    freedom = min(freedom, flat.size - 1)
    root = 1 - 2 / (9 * freedom) - reach * math.sqrt(2 / (9 * freedom))
    return math.inf if root <= 0 else -1.5 * math.log(root)
