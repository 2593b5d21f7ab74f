"""Finds the faults that show in one leaf: numbers, units, rows and copies."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from jinit.auditing._copies import inside
from jinit.auditing._fixes import Fixes
from jinit.auditing._leaves import Leaf, Moments, moments
from jinit.auditing._scales import disproportion, fans, gates, harmless, is_mask
from jinit.findings import Finding

# σ and mean of kernels with fewer entries are too noisy to judge.
_LEAST_ENTRIES = 64


def leaf_findings(leaf: Leaf, fixes: Fixes) -> Iterator[Finding]:
    """The faults that show in one leaf without comparing it to others."""
    if leaf.is_named and (leaf.is_kernel or leaf.is_embedding):
        if not leaf.values.size:
            yield Finding(
                "empty",
                leaf.path,
                f"no entries: shape {leaf.values.shape}",
                fix="give the layer at least one input and one output",
            )
            return
        if not leaf.is_inexact:
            yield Finding(
                "dtype",
                leaf.path,
                f"{leaf.values.dtype} entries: no initializer draws these, and no step can train "
                "them",
                fix="audit the floating-point weights from which these were made",
            )
            return
    if not leaf.is_inexact or not leaf.values.size:
        return
    if is_mask(leaf):
        return
    entries = leaf.entries
    bad = int((~np.isfinite(entries)).sum())
    if bad:
        yield Finding(
            "not finite",
            leaf.path,
            f"{bad} of {entries.size} entries are NaN or inf",
            fix=fixes.redraw(leaf.path, harmless(leaf), "and check the initializer's stddev"),
        )
        return
    sample = moments(entries)
    if finding := disproportion(leaf, sample, fixes):
        yield finding
        return
    if leaf.is_matrix and entries.size > 1 and sample.rms:
        yield from _matrix(leaf, sample, fixes)


def _matrix(leaf: Leaf, sample: Moments, fixes: Fixes) -> Iterator[Finding]:
    alike = _same_rows(leaf, fixes) if leaf.is_embedding else None
    if leaf.is_kernel:
        alike = _same_units(leaf, fixes)
    if finding := alike or inside(leaf, fixes):
        yield finding
        return
    if leaf.is_kernel and not leaf.is_rescaled and (finding := gates(leaf, fixes)):
        yield finding
    elif leaf.is_kernel and sample.count >= _LEAST_ENTRIES:
        yield from _mean(leaf, sample, fixes)
        if not leaf.is_rescaled:
            yield from fans(leaf, sample, fixes)


def _same_units(leaf: Leaf, fixes: Fixes) -> Finding | None:
    """Reports units with equal incoming weights: they compute, and learn, the same function."""
    assert leaf.layout is not None
    kernels = leaf.layout.stacked(leaf.values)
    units = kernels.shape[-1]
    if units < 2 or leaf.layout.fan_in_one(leaf.values.shape):
        return None
    columns = np.moveaxis(kernels, -1, 1).reshape(kernels.shape[0] * units, -1)
    whole = columns + columns.dtype.type(0)
    # Equal units of other stacks are copies, but compute other functions.
    distinct = len({(i // units, column.tobytes()) for i, column in enumerate(whole)})
    # In bfloat16 kernels with few inputs, a column can repeat by chance.
    if distinct > 0.75 * len(columns) or (columns.shape[1] < 4 and distinct > units / 2):
        return None
    constant = bool((columns == columns.flat[0]).all())
    # Some versions of ml_dtypes cannot format their own numbers.
    value = f" (every entry {columns.flat[0].item():g})" if constant else ""
    evidence = (
        f"all {units} units are the same{value}"
        if distinct == len(kernels)
        else f"only {distinct} of {len(columns)} units are distinct"
    )
    return Finding(
        "symmetric",
        leaf.path,
        evidence,
        threshold="more than 3/4 of the units are distinct",
        fix=fixes.redraw(leaf.path, "he_normal", "or any other random rule"),
    )


def _same_rows(leaf: Leaf, fixes: Fixes) -> Finding | None:
    """Reports an embedding that gives every input the same vector."""
    rows = leaf.unpadded
    if len(rows) < 2 or not (rows == rows[0]).all():
        return None
    evidence = f"all {len(rows)} embeddings are the same"
    return Finding(
        "symmetric", leaf.path, evidence, fix=fixes.redraw(leaf.path, "normal(stddev=1.0)")
    )


def _mean(leaf: Leaf, sample: Moments, fixes: Fixes) -> Iterator[Finding]:
    """Reports a kernel whose entries are not centered at 0."""
    size, noise = abs(sample.mean), 6 * sample.stddev / math.sqrt(sample.count)
    if size > 0.3 * sample.stddev and size > noise:
        yield Finding(
            "mean",
            leaf.path,
            f"mean {sample.mean:.3g}, but σ {sample.stddev:.3g}; range [{sample.low:.3g}, "
            f"{sample.high:.3g}]",
            threshold=f"|mean| <= {max(0.3 * sample.stddev, noise):.3g}: 0.3 σ, or six standard "
            "errors of the mean",
            fix=fixes.redraw(leaf.path, "lecun_normal", "jax.nn.initializers.uniform is one-sided"),
        )
