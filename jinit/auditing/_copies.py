"""Finds random leaves that were drawn from the same key."""

from __future__ import annotations

import math

import numpy as np

from jinit.auditing._leaves import Leaf
from jinit.findings import Finding

# Only leaves whose first entries are proportional are compared in full.
_PREFIX = 16


def duplicates(leaves: list[Leaf]) -> list[Finding]:
    """Reports random leaves that are proportional entry by entry: one key was used twice.

    Leaves of different sizes are compared over the entries of the smaller one.
    """
    drawn = [leaf for leaf in leaves if leaf.is_matrix and _is_random(leaf.flat)]
    if not drawn:
        return []
    candidates, prefixes = [], []
    for number, leaf in enumerate(drawn):
        for order, entries in enumerate(leaf.arrangements):
            candidates.append((number, order))
            # A copy: a view would keep all of every leaf in memory.
            prefixes.append(entries[:_PREFIX].copy())
    starts = np.stack(prefixes)
    starts /= np.maximum(np.linalg.norm(starts, axis=1, keepdims=True), 1e-300)
    findings, copies = [], set()
    for i, j in np.argwhere(np.abs(starts @ starts.T) > 0.9):
        (first, first_order), (second, second_order) = candidates[i], candidates[j]
        if first >= second or second in copies or first in copies:
            continue
        a = drawn[first].arrangements[first_order]
        b = drawn[second].arrangements[second_order]
        shared = min(a.size, b.size)
        part = "" if a.size == b.size else f" for {shared} entries"
        a, b = a[:shared], b[:shared]
        cosine = float(b @ a / math.sqrt((b @ b) * (a @ a)))
        if abs(cosine) > 0.99:
            copies.add(second)
            ratio = math.copysign(math.sqrt((b @ b) / (a @ a)), cosine)
            copy = f"{ratio:.3g} × {drawn[first].path}, entry by entry{part}"
            findings.append(
                Finding(
                    "duplicated",
                    drawn[second].path,
                    f"{copy} (cosine {cosine:.4f})",
                    threshold="|cosine| <= 0.99",
                    fix="give every layer its own key; jinit.initialize folds in the path",
                )
            )
    return findings


def _is_random(flat: np.ndarray) -> bool:
    return flat.size >= _PREFIX and bool(np.isfinite(flat).all()) and not few_values(flat)


def few_values(flat: np.ndarray) -> bool:
    """Whether entries repeat as in deterministic arrays (zeros, identities, Hadamard).

    Deterministic leaves may be equal without a reused key.
    """
    return len(np.unique(flat[:4096])) < 8
