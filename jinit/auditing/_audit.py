"""What is wrong with weights somebody else initialized: findings with evidence and a fix.

Every check compares a leaf with numbers, never with taste: entries with each other, σ with the fans
of the layer, one seed with another. A healthy leaf is one whose σ some usual rule explains with the
layer's true fans; what no rule explains, but a rule with somebody's wrong fans does, is a trap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.auditing._departures import against_rules, unless_meant
from jinit.auditing._leaves import Leaf, relative_error
from jinit.auditing._traps import SPECIAL, Explanation, explain, host_fans
from jinit.findings import Finding
from jinit.frameworks._layout import Layers
from jinit.initializers import Fans
from jinit.parameters._leaves import TreeLeaf, tree_leaves
from jinit.parameters._rules import Rules, assign
from jinit.typing import PyTree

_LEAST_ENTRIES = 64
# Leaves that begin alike in so many entries are compared whole.
_PREFIX = 16


def audit(
    params: PyTree,
    *,
    host: str = "flax",
    layers: Layers | None = None,
    rules: Rules | None = None,
    seed_fn: Callable[[int], PyTree] | None = None,
) -> list[Finding]:
    """Looks at initial weights and says what is wrong with them.

    Without ``rules`` a kernel is healthy if some usual rule (LeCun, He, Glorot, fan-in uniform,
    orthogonal, …) with the layer's true fans explains its σ within six standard errors. With
    ``rules`` the entries must be the rule's own: all of them where nothing is drawn, else σ and
    mean (at a family-wise false-alarm rate of 10⁻³), bounds, and orthogonality of a matrix.

    Which layer follows which no leaf says: zero kernels, which in series let no gradient through,
    are reported where they are more than half; ``probes`` run the model and find the others.

    Args:
      params: initial parameters: arrays, before any training.
      host: whose axis order; ``"flax"``, ``"haiku"``, ``"keras"``, ``"equinox"`` or ``"torch"``.
      layers: what the leaves are, best ``frameworks.layers(model, x)``; see
        :func:`jinit.parameters.assign`. A kernel whose axes nobody named is not checked for fans.
      rules: the rules the weights should follow, as for :func:`jinit.initialize`.
      seed_fn: ``seed_fn(seed) -> params``: called with 0 and 1; a random leaf that is equal in both
        ignores its seed.

    Returns:
      Findings, by leaf in the tree's order; an empty list for a healthy model.

    Raises:
      ValueError, TypeError: bad rules, layers or leaves, as :func:`jinit.parameters.assign`.

    >>> import jax, jax.numpy as jnp
    >>> print(audit({"kernel": jnp.ones((8, 4))})[0].evidence)
    all 4 units are the same (every entry 1)
    """
    leaves = [Leaf(leaf.path, _array(leaf), leaf.layout) for leaf in _weights(params, host, layers)]
    findings = [finding for leaf in leaves for finding in _alone(leaf)]
    findings += _zeros(leaves)
    findings += _duplicates(leaves)
    if rules is not None:
        assignments = assign(params, rules, host=host, layers=layers)
        findings = unless_meant(findings, assignments)
        findings += against_rules(leaves, assignments, params, host, layers)
    if seed_fn is not None:
        findings += _seeds(seed_fn, host, layers)
    order = {leaf.path: position for position, leaf in enumerate(leaves)}
    return sorted(findings, key=lambda finding: order.get(finding.where, len(order)))


def _weights(params: PyTree, host: str, layers: Layers | None) -> list[TreeLeaf]:
    """All leaves except PRNG keys, which a model with dropout may hold."""
    return [
        leaf
        for leaf in tree_leaves(params, host, layers)
        if not (isinstance(leaf.value, jax.Array) and _is_key(leaf.value))
    ]


def _is_key(value: jax.Array) -> bool:
    return bool(jnp.issubdtype(value.dtype, jax.dtypes.prng_key))


def _array(leaf: TreeLeaf) -> np.ndarray:
    if isinstance(leaf.value, jax.ShapeDtypeStruct | jax.core.Tracer):
        raise errors.wrong_type(
            f"leaf {leaf.path!r}",
            type(leaf.value).__name__,
            "an array of initial weights",
            "pass initialized parameters: model.init(key, x)",
        )
    return np.asarray(leaf.value)


def _alone(leaf: Leaf) -> Iterator[Finding]:
    """What one leaf shows by itself."""
    kind = leaf.values.dtype
    if not np.issubdtype(kind, np.inexact) and kind.name != "bfloat16":
        return
    flat = leaf.flat
    bad = int((~np.isfinite(flat)).sum())
    if bad:
        evidence = f"{bad} of {flat.size} entries are NaN or inf"
        yield Finding("not finite", leaf.path, evidence, fix="draw it again; look at its stddev")
        return
    if leaf.layout is not None and leaf.layout.kind == "embedding" and leaf.values.ndim > 1:
        yield from _same_rows(leaf)
    if not leaf.matrix or flat.size < 2 or not flat.any():
        return
    if leaf.is_kernel and (found := _same_units(leaf)):
        yield found
        return
    if leaf.is_kernel and flat.size >= _LEAST_ENTRIES:
        yield from _mean(leaf)
        yield from _fans(leaf)


def _same_units(leaf: Leaf) -> Finding | None:
    """Units with the same incoming weights compute, and learn, the same thing for ever."""
    assert leaf.layout is not None
    kernels = leaf.layout.stacked(leaf.values)
    units = kernels.shape[-1]
    if units < 2 or leaf.layout.fan_in_one(leaf.values.shape):
        return None
    columns = np.moveaxis(kernels, -1, 1).reshape(kernels.shape[0] * units, -1)
    different = len(np.unique(columns, axis=0))
    # One repeated column may be chance in bfloat16 kernels with few inputs.
    if different > 0.75 * len(columns) or (columns.shape[1] < 4 and different > units / 2):
        return None
    constant = columns.min() == columns.max()
    value = f" (every entry {columns.flat[0]:g})" if constant else ""
    evidence = (
        f"all {units} units are the same{value}"
        if different == 1
        else f"only {different} of {len(columns)} units differ"
    )
    return Finding("symmetric", leaf.path, evidence, fix="draw it at random, e.g. 'he_normal'")


def _same_rows(leaf: Leaf) -> Iterator[Finding]:
    """Inputs with one embedding cannot be told apart before training parts them."""
    rows = leaf.flat.reshape(len(leaf.values), -1)
    if len(rows) > 1 and (rows == rows[0]).all():
        evidence = f"all {len(rows)} embeddings are the same"
        yield Finding("symmetric", leaf.path, evidence, fix="draw it at random, e.g. 'normal(1.0)'")


def _mean(leaf: Leaf) -> Iterator[Finding]:
    flat = leaf.flat
    mean, stddev = flat.mean(), flat.std()
    if abs(mean) > 0.3 * stddev and abs(mean) > 6 * stddev / math.sqrt(flat.size):
        low, high = flat.min(), flat.max()
        evidence = f"mean {mean:.3g} beside σ {stddev:.3g}, range [{low:.3g}, {high:.3g}]"
        fix = "center it: jax.nn.initializers.uniform is one-sided, use uniform_range(-a, a)"
        yield Finding("mean", leaf.path, evidence, fix=fix)


def _fans(leaf: Leaf) -> Iterator[Finding]:
    """σ against every usual rule with the true fans, then with the fans others would see."""
    assert leaf.layout is not None
    flat, shape = leaf.flat, leaf.values.shape
    fans = leaf.layout.fans(shape)
    if fans is None or fans.fan_in < 1:
        return
    sigma = math.sqrt(float(np.mean(flat**2)))
    tolerance = 6 * relative_error(flat)
    kernel = leaf.layout.kernels(shape)[1][0]
    # A transposed kernel read the wrong way round has the σ of this mode by somebody's mistake.
    turned = ("he_normal(mode=fan_out)",) if "ranspose" in leaf.layout.layer else ()
    if explain(sigma, fans, kernel, tolerance, SPECIAL + turned) is not None:
        return
    if leaf.layout.fused:
        # Gates or q, k, v drawn as one kernel: not the fans of one block, but everybody's habit.
        whole = (*kernel[:-1], sum(leaf.layout.fused))
        together = Fans(fans.fan_in, fans.fan_out * whole[-1] / kernel[-1])
        if explain(sigma, together, whole, tolerance) is not None:
            return
        # torch and Equinox: U[±1/√hidden] for every kernel of a cell.
        if abs(math.log(sigma * math.sqrt(3 * kernel[-1]))) < tolerance:
            return
    for what, wrong in host_fans(leaf.layout, shape, fans):
        found = explain(sigma, wrong, shape, tolerance, SPECIAL)
        if found is not None and not 0.67 < found.stddev_with(fans) / sigma < 1.5:
            yield _trap(leaf, found, what, wrong, fans, sigma)
            return
    if explain(sigma, fans, kernel, tolerance) is None:
        yield from _scale(leaf, sigma, fans)


def _trap(
    leaf: Leaf, found: Explanation, what: str, wrong: Fans, true: Fans, sigma: float
) -> Finding:
    factor = found.stddev_with(true) / sigma
    evidence = (
        f"σ {sigma:.3g} is {found.name} for fan_in {wrong.fan_in:g}, fan_out {wrong.fan_out:g} "
        f"({what}); the layer's are {true.fan_in:g} and {true.fan_out:g}: "
        f"{max(factor, 1 / factor):.2g}× too {'small' if factor > 1 else 'large'}"
    )
    fix = f"initialize(…, {{'{leaf.path}': '{found.name}'}}, layers=frameworks.layers(model, x))"
    return Finding("wrong fan", leaf.path, evidence, fix=fix)


def _scale(leaf: Leaf, sigma: float, fans: Fans) -> Iterator[Finding]:
    """No rule explains σ: say so where the layer changes the signal's square more than 20 times."""
    growth = sigma**2 * fans.fan_in
    if 1 / 20 <= growth <= 20:
        return
    verb = "grows" if growth > 1 else "shrinks"
    evidence = (
        f"σ {sigma:.3g} with fan_in {fans.fan_in:g}: the signal's square {verb} to {growth:.3g} of"
        f" itself in this layer, and no usual rule has this σ"
    )
    fix = f"σ = √(k/fan_in), k = 1 or 2: {math.sqrt(1 / fans.fan_in):.3g} or so"
    yield Finding("scale", leaf.path, evidence, fix=fix)


def _zeros(leaves: list[Leaf]) -> list[Finding]:
    """One zero kernel learns; zero kernels in series pass no gradient to each other."""
    kernels = [leaf for leaf in leaves if leaf.is_kernel and leaf.values.size]
    zero = [leaf for leaf in kernels if not leaf.flat.any()]
    if len(zero) < 2 or len(zero) <= len(kernels) / 2:
        return []
    evidence = f"all zero, as are {len(zero)} of {len(kernels)} kernels: no gradient reaches them"
    fix = "draw all but the last at random, e.g. 'he_normal'"
    return [Finding("zero", leaf.path, evidence, fix=fix) for leaf in zero]


def _duplicates(leaves: list[Leaf]) -> list[Finding]:
    """Random leaves that are multiples of each other as far as the smaller goes: one key, twice."""
    drawn = [leaf for leaf in leaves if leaf.matrix and _is_random(leaf.flat)]
    if not drawn:
        return []
    ways, beginnings = [], []
    for number, leaf in enumerate(drawn):
        for way, entries in enumerate(leaf.arrangements):
            ways.append((number, way))
            # A copy: a view would keep all of every leaf in memory.
            beginnings.append(entries[:_PREFIX].copy())
    starts = np.stack(beginnings)
    starts /= np.maximum(np.linalg.norm(starts, axis=1, keepdims=True), 1e-300)
    found, copies = [], set()
    for i, j in np.argwhere(np.abs(starts @ starts.T) > 0.9):
        (first, one_way), (second, other_way) = ways[i], ways[j]
        if first >= second or second in copies or first in copies:
            continue
        theirs, mine = drawn[first].arrangements[one_way], drawn[second].arrangements[other_way]
        part = "" if theirs.size == mine.size else f" for {min(theirs.size, mine.size)} entries"
        theirs, mine = theirs[: mine.size], mine[: theirs.size]
        cosine = float(mine @ theirs / math.sqrt((mine @ mine) * (theirs @ theirs)))
        if abs(cosine) > 0.99:
            copies.add(second)
            ratio = math.copysign(math.sqrt((mine @ mine) / (theirs @ theirs)), cosine)
            what = f"{ratio:.3g} × {drawn[first].path}, entry by entry{part}"
            evidence = f"{what} (cosine {cosine:.4f})"
            fix = "give every layer its own key; jinit.initialize folds in the path"
            found.append(Finding("duplicated", drawn[second].path, evidence, fix=fix))
    return found


def _is_random(flat: np.ndarray) -> bool:
    return flat.size >= _PREFIX and bool(np.isfinite(flat).all()) and not _few_values(flat)


def _few_values(flat: np.ndarray) -> bool:
    """Deterministic arrays (zeros, identities, Hadamard) may repeat without a key being reused."""
    return len(np.unique(flat[:4096])) < 8


def _seeds(seed_fn: Callable[[int], PyTree], host: str, layers: Layers | None) -> list[Finding]:
    """Random leaves that are the same for two seeds."""
    first, second = (_weights(seed_fn(seed), host, layers) for seed in (0, 1))
    paths = [[leaf.path for leaf in leaves] for leaves in (first, second)]
    if paths[0] != paths[1] or not paths[0]:
        raise errors.wrong_type(
            "seed_fn", f"{len(paths[0])} and {len(paths[1])} leaves for seeds 0 and 1",
            "seed_fn(seed) -> parameters, of one structure", "return the parameters it makes",
        )  # fmt: skip
    found = []
    for one, other in zip(first, second, strict=True):
        a, b = np.asarray(one.value), np.asarray(other.value)
        if (
            a.size > 1
            and a.shape == b.shape
            and np.array_equal(a, b)
            and not _few_values(a.ravel())
        ):
            evidence = f"{a.size} random entries are equal for seeds 0 and 1"
            found.append(
                Finding("seed", one.path, evidence, fix="pass the seed to the layer's key")
            )
    return found
