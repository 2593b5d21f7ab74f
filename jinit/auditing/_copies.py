"""Finds random entries that stand twice: in two leaves, or in two places of one leaf."""

from __future__ import annotations

import math

import numpy as np

from jinit.auditing._fixes import Fixes
from jinit.auditing._leaves import Leaf
from jinit.auditing._traps import nearest, usual
from jinit.findings import Finding

# Only leaves whose first entries are proportional are compared in full.
_PREFIX = 16
# Slices of a leaf that repeat others: a smaller share has other causes, such as rows of a table
# that were added later with the mean of the others. Kernels of a stack have no such cause.
_COPIED = 0.05
# Chance that a healthy leaf has two equal slices along an axis.
_CHANCE = 1e-6
# Correlation of neighbours along an axis from which a leaf is a table of a smooth function.
_SMOOTH = 0.5
# The share of equal entries is estimated from at most this many entries.
_SAMPLE = 65_536


def duplicates(leaves: list[Leaf], fixes: Fixes) -> list[Finding]:
    """Reports random leaves that are proportional entry by entry: one key was used twice.

    Leaves of different sizes are compared over the entries of the smaller one. Leaves that share
    memory are one parameter.
    """
    drawn = [leaf for leaf in leaves if leaf.is_matrix and _is_random(leaf)]
    if not drawn:
        return []
    candidates, prefixes = [], []
    for number, leaf in enumerate(drawn):
        for order, entries in enumerate(leaf.arrangements):
            candidates.append((number, order))
            # A copy: a view would keep all of every leaf in memory.
            prefixes.append(entries[:_PREFIX].copy())
    starts = np.stack(prefixes)
    lengths = np.abs(starts).max(axis=1, keepdims=True)
    starts /= np.where(lengths > 0, lengths, 1.0)
    starts /= np.maximum(np.linalg.norm(starts, axis=1, keepdims=True), 1e-300)
    findings, copies = [], set()
    for i, j in np.argwhere(np.abs(starts @ starts.T) > 0.9):
        (first, first_order), (second, second_order) = candidates[i], candidates[j]
        if first >= second or second in copies or first in copies:
            continue
        one, other = drawn[first], drawn[second]
        if np.may_share_memory(one.values, other.values) or _are_halves(one, other, leaves):
            continue
        a, b = one.arrangements[first_order], other.arrangements[second_order]
        shared = min(a.size, b.size)
        part = "" if a.size == b.size else f" for {shared} entries"
        a, b = a[:shared], b[:shared]
        sizes = float(np.abs(a).max()), float(np.abs(b).max())
        if not min(sizes):
            continue
        a, b = a / sizes[0], b / sizes[1]
        cosine = float(b @ a / math.sqrt((b @ b) * (a @ a)))
        if abs(cosine) > 0.99:
            copies.add(second)
            ratio = math.copysign(math.sqrt((b @ b) / (a @ a)), cosine) * sizes[1] / sizes[0]
            copy = f"{ratio:.3g} × {one.path}, entry by entry{part}"
            findings.append(
                Finding(
                    "duplicated",
                    other.path,
                    f"{copy} (cosine {cosine:.4f})",
                    threshold="|cosine| <= 0.99",
                    fix=fixes.redraw(
                        other.path,
                        _rule_of(other),
                        "give every layer its own key; jinit.initialize folds in the path",
                    ),
                )
            )
    return findings


def _are_halves(one: Leaf, other: Leaf, leaves: list[Leaf]) -> bool:
    """Whether two leaves are the same place of ``plus/`` and ``minus/``, equal throughout.

    :func:`jinit.calibrate.antisymmetric` copies one to the other, so that the output starts at 0.
    """
    paths = sorted((one.path, other.path))
    if not paths[0].startswith("minus/") or "plus/" + paths[0][len("minus/") :] != paths[1]:
        return False
    by_path = {leaf.path: leaf.values for leaf in leaves}
    halves = {
        path: "plus/" + path[len("minus/") :] for path in by_path if path.startswith("minus/")
    }
    return all(
        plus in by_path and np.array_equal(by_path[path], by_path[plus])
        for path, plus in halves.items()
    )


def _rule_of(leaf: Leaf) -> str:
    """The usual rule that gives a leaf's σ, or a normal law with this σ."""
    sigma = float(np.std(leaf.entries))
    if leaf.is_kernel and leaf.layout is not None and sigma:
        fans, kernel = leaf.layout.fans(leaf.values.shape), leaf.layout.kernels(leaf.values.shape)
        found = nearest(sigma, fans, usual(kernel[1][0]), 0.1) if fans and fans.fan_in > 0 else None
        if found is not None and fans is not None:
            return found[1].spec(fans)
    return f"normal(stddev={sigma:.4g})"


def inside(leaf: Leaf, fixes: Fixes) -> Finding | None:
    """Reports slices along an axis that repeat: every shard or every layer has the same numbers.

    The chance of equal slices comes from the share of equal entries in the leaf, so that entries of
    half precision, which repeat, are not copies.
    """
    values = leaf.values
    raw = np.ascontiguousarray(values + values.dtype.type(0))
    size = raw.size
    some = raw.ravel()[:: -(-size // _SAMPLE)]
    _, counts = np.unique(some, return_counts=True)
    if len(counts) < 8:
        return None
    equal = float((counts * (counts - 1.0)).sum()) / (some.size * (some.size - 1.0))
    for axis in range(raw.ndim):
        length = raw.shape[axis]
        entries = size // length
        # Two slices of d entries are equal with probability (share of equal entries)^d.
        expected = 2 * math.log(length) + entries * math.log(max(equal, 1 / size**2))
        if length < 2 or expected > math.log(_CHANCE):
            continue
        slices = np.moveaxis(raw, axis, 0).reshape(length, -1)
        seen: dict[bytes, int] = {}
        pairs = [
            (seen.setdefault(row.tobytes(), i), i) for i, row in enumerate(slices) if row.any()
        ]
        repeats = [(first, again) for first, again in pairs if first != again]
        allowed = 0.0 if _is_stacked(leaf, axis) else _COPIED
        if len(repeats) > allowed * length:
            first, again = repeats[0]
            return Finding(
                "copies",
                leaf.path,
                f"{len(repeats)} of {length} slices along axis {axis} repeat another one (slice "
                f"{again} is slice {first})",
                threshold=f"{allowed:.0%} of the slices",
                source=f"equal by chance in one leaf of {1 / _CHANCE:.0e}",
                fix=fixes.redraw(leaf.path, _rule_of(leaf), "draw the whole leaf, not one shard"),
            )
    return None


def _is_stacked(leaf: Leaf, axis: int) -> bool:
    """Whether every slice along an axis is a kernel of its own."""
    axes = leaf.layout.batch_axes if leaf.layout is not None and leaf.is_kernel else ()
    return axis in {batch % leaf.values.ndim for batch in axes}


def _is_random(leaf: Leaf) -> bool:
    flat = leaf.flat
    if flat.size < _PREFIX or not np.isfinite(flat).all() or few_values(flat):
        return False
    return not _is_smooth(leaf) and not _repeats_sizes(leaf)


def few_values(flat: np.ndarray) -> bool:
    """Whether entries repeat as in deterministic arrays (zeros, identities, Hadamard).

    Deterministic leaves may be equal without a reused key.
    """
    return len(np.unique(flat[:4096])) < 8


def _is_smooth(leaf: Leaf) -> bool:
    """Whether neighbours along an axis are alike, as in tables of positions or decay rates."""
    values = np.asarray(leaf.values, leaf.entries.dtype)
    largest = np.abs(values).max()
    values = values / (largest or 1.0)
    for axis, length in enumerate(values.shape):
        if length < 16 or values.size < 64:
            continue
        centred = values - values.mean(axis=axis, keepdims=True)
        ahead = np.moveaxis(centred, axis, 0)
        square = float((np.abs(ahead) ** 2).sum())
        product = float((ahead[1:] * ahead[:-1].conj()).sum().real)
        if square and abs(product) > _SMOOTH * square:
            return True
    return False


def _repeats_sizes(leaf: Leaf) -> bool:
    """Whether |w| repeats although the dtype has room, as in cosine matrices and lattices."""
    sizes = np.abs(leaf.flat[:4096])
    # Weights that were once in half precision, of at most 11 bits, repeat by chance.
    bits = np.frexp(sizes)[0] * 2**11
    return not (bits == np.rint(bits)).all() and len(np.unique(sizes)) < sizes.size / 2
