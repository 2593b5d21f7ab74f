"""Checks initial weights of any origin and reports faults with evidence and a fix.

Checks compare entries with each other, σ with the fans of the layer, and one seed with another. A
kernel is healthy if a usual rule gives its σ with the layer's true fans. If only a rule with
wrong fans gives that σ, the finding names the mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.auditing._copies import duplicates, few_values
from jinit.auditing._departures import against_rules, unless_meant
from jinit.auditing._leaves import Leaf, relative_error
from jinit.auditing._traps import SPECIAL, UsualRule, explain, mistaken_fans
from jinit.findings import Finding
from jinit.frameworks._layout import Layers
from jinit.initializers import Fans
from jinit.parameters._leaves import TreeLeaf, tree_leaves
from jinit.parameters._rules import Rules, assign
from jinit.typing import PyTree

# σ and mean of kernels with fewer entries are too noisy to judge.
_LEAST_ENTRIES = 64
# A kernel's σ agrees with a rule up to this many standard errors of log σ.
_STANDARD_ERRORS = 6
_SIGMA_SOURCE = "six standard errors of log σ from the sample's kurtosis, at least 0.5 %"


def audit(
    params: PyTree,
    *,
    host: str = "flax",
    layers: Layers | None = None,
    rules: Rules | None = None,
    seed_fn: Callable[[int], PyTree] | None = None,
) -> list[Finding]:
    """Checks initial weights and reports what is wrong with them.

    Without ``rules``, a kernel is healthy if a usual rule (LeCun, He, Glorot, fan-in uniform,
    orthogonal, …) with the layer's true fans gives its σ within six standard errors (at least
    0.5 %). If only a rule with mistaken fans does, and σ is off by a factor of 1.5 or more, the
    mistake is reported. If no rule does, σ is reported only if σ² · fan_in lies outside [1/20, 20].

    With ``rules``, a leaf must have its rule's entries if the rule is deterministic. Otherwise the
    leaf must have the rule's σ and mean (at a family-wise false-alarm rate of 10⁻³), its bounds,
    and its orthogonality.

    A parameter tree does not record layer order, so zero kernels are reported only if they are more
    than half of all kernels. (Two in a row block every gradient.) :mod:`jinit.probes` runs the
    model and finds blocked gradients in other cases.

    Args:
      params: a pytree of arrays: initial parameters, before any training.
      host: the axis order of the kernels, one of :func:`jinit.frameworks.hosts`.
      layers: the layer kinds of the leaves, preferably ``frameworks.layers(model, x)``; see
        :func:`jinit.parameters.assign`. The fans of a kernel with unknown axes are not checked.
      rules: the rules that the weights should follow, as for :func:`jinit.initialize`.
      seed_fn: ``seed_fn(seed) -> params``, called with seeds 0 and 1. A random leaf that is equal
        for both seeds is reported.

    Returns:
      A list of :class:`Finding`, in the tree's order; empty for a healthy model.

    Raises:
      ValueError, TypeError: bad rules, layers or leaves, as :func:`jinit.parameters.assign`; trees
        of ``seed_fn`` that differ in structure.

    >>> import jax, jax.numpy as jnp
    >>> print(audit({"kernel": jnp.ones((8, 4))})[0].evidence)
    all 4 units are the same (every entry 1)
    """
    leaves = [Leaf(leaf.path, _array(leaf), leaf.layout) for leaf in _weights(params, host, layers)]
    findings = [finding for leaf in leaves for finding in _leaf_findings(leaf)]
    findings += _zeros(leaves)
    findings += duplicates(leaves)
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


def _leaf_findings(leaf: Leaf) -> Iterator[Finding]:
    """The faults that show in one leaf without comparing it to others."""
    kind = leaf.values.dtype
    if not np.issubdtype(kind, np.inexact) and kind.name != "bfloat16":
        return
    flat = leaf.flat
    bad = int((~np.isfinite(flat)).sum())
    if bad:
        evidence = f"{bad} of {flat.size} entries are NaN or inf"
        yield Finding(
            "not finite",
            leaf.path,
            evidence,
            fix="check the initializer's stddev, draw the leaf again",
        )
        return
    if leaf.layout is not None and leaf.layout.kind == "embedding" and leaf.values.ndim > 1:
        yield from _same_rows(leaf)
    if not leaf.is_matrix or flat.size < 2 or not flat.any():
        return
    if leaf.is_kernel and (finding := _same_units(leaf)):
        yield finding
        return
    if leaf.is_kernel and flat.size >= _LEAST_ENTRIES:
        yield from _mean(leaf)
        yield from _fans(leaf)


def _same_units(leaf: Leaf) -> Finding | None:
    """Reports units with equal incoming weights: they compute, and learn, the same function."""
    assert leaf.layout is not None
    kernels = leaf.layout.stacked(leaf.values)
    units = kernels.shape[-1]
    if units < 2 or leaf.layout.fan_in_one(leaf.values.shape):
        return None
    columns = np.moveaxis(kernels, -1, 1).reshape(kernels.shape[0] * units, -1)
    distinct = len(np.unique(columns, axis=0))
    # In bfloat16 kernels with few inputs, a column can repeat by chance.
    if distinct > 0.75 * len(columns) or (columns.shape[1] < 4 and distinct > units / 2):
        return None
    constant = columns.min() == columns.max()
    value = f" (every entry {columns.flat[0]:g})" if constant else ""
    evidence = (
        f"all {units} units are the same{value}"
        if distinct == 1
        else f"only {distinct} of {len(columns)} units are distinct"
    )
    return Finding(
        "symmetric",
        leaf.path,
        evidence,
        threshold="more than 3/4 of the units are distinct",
        fix="draw it at random, e.g. 'he_normal'",
    )


def _same_rows(leaf: Leaf) -> Iterator[Finding]:
    """Reports an embedding that gives every input the same vector."""
    rows = leaf.flat.reshape(len(leaf.values), -1)
    if len(rows) > 1 and (rows == rows[0]).all():
        evidence = f"all {len(rows)} embeddings are the same"
        yield Finding("symmetric", leaf.path, evidence, fix="draw it at random, e.g. 'normal(1.0)'")


def _mean(leaf: Leaf) -> Iterator[Finding]:
    """Reports a kernel whose entries are not centered at 0."""
    flat = leaf.flat
    mean, stddev = flat.mean(), flat.std()
    if abs(mean) > 0.3 * stddev and abs(mean) > 6 * stddev / math.sqrt(flat.size):
        low, high = flat.min(), flat.max()
        yield Finding(
            "mean",
            leaf.path,
            f"mean {mean:.3g}, but σ {stddev:.3g}; range [{low:.3g}, {high:.3g}]",
            threshold=f"|mean| <= 0.3 σ = {0.3 * stddev:.3g}, or six standard errors of the mean",
            fix="use uniform_range(-a, a); jax.nn.initializers.uniform is one-sided",
        )


def _fans(leaf: Leaf) -> Iterator[Finding]:
    """Compares σ with every usual rule: with the true fans, then with commonly mistaken fans."""
    assert leaf.layout is not None
    flat, shape = leaf.flat, leaf.values.shape
    fans = leaf.layout.fans(shape)
    if fans is None or fans.fan_in < 1:
        return
    sigma = math.sqrt(float(np.mean(flat**2)))
    tolerance = _STANDARD_ERRORS * relative_error(flat)
    kernel = leaf.layout.kernels(shape)[1][0]
    # A transposed convolution drawn with in and out exchanged has the σ of fan_out mode, which must
    # not pass as a usual rule here.
    exchanged = ("he_normal(mode=fan_out)",) if "ranspose" in leaf.layout.layer else ()
    if explain(sigma, fans, kernel, tolerance, SPECIAL + exchanged) is not None:
        return
    if leaf.layout.fused:
        # Gates or q, k, v are usually drawn as one kernel, with the fans of all blocks together.
        whole = (*kernel[:-1], sum(leaf.layout.fused))
        together = Fans(fans.fan_in, fans.fan_out * whole[-1] / kernel[-1])
        if explain(sigma, together, whole, tolerance) is not None:
            return
        # Some frameworks draw every kernel of a cell from U[−1/√hidden, 1/√hidden].
        if abs(math.log(sigma * math.sqrt(3 * kernel[-1]))) < tolerance:
            return
    for mistake, wrong in mistaken_fans(leaf.layout, shape, fans):
        rule = explain(sigma, wrong, shape, tolerance, SPECIAL)
        if rule is not None and not 0.67 < rule.stddev(fans) / sigma < 1.5:
            evidence = (
                f"σ {sigma:.3g} is {rule.name} for fan_in {wrong.fan_in:g}, "
                f"fan_out {wrong.fan_out:g} ({mistake})"
            )
            yield _wrong_fan(leaf, rule, evidence, fans, sigma, tolerance)
            return
    if explain(sigma, fans, kernel, tolerance) is None:
        yield from _scale(leaf, sigma, fans)


def _wrong_fan(
    leaf: Leaf, rule: UsualRule, evidence: str, true: Fans, sigma: float, tolerance: float
) -> Finding:
    factor = rule.stddev(true) / sigma
    size = f"{max(factor, 1 / factor):.2g}× too {'small' if factor > 1 else 'large'}"
    return Finding(
        "wrong fan",
        leaf.path,
        f"{evidence}; the layer's are {true.fan_in:g} and {true.fan_out:g}: {size}",
        threshold=f"|log(σ / σ of the rule)| < {max(tolerance, 0.005):.2g}",
        source=_SIGMA_SOURCE,
        fix=f"initialize(…, {{'{leaf.path}': '{rule.name}'}}, layers=frameworks.layers(model, x))",
    )


def _scale(leaf: Leaf, sigma: float, fans: Fans) -> Iterator[Finding]:
    """Reports a σ that no rule gives if the layer changes E z² by more than a factor of 20."""
    growth = sigma**2 * fans.fan_in
    if 1 / 20 <= growth <= 20:
        return
    yield Finding(
        "scale",
        leaf.path,
        f"σ {sigma:.3g} with fan_in {fans.fan_in:g}: the layer multiplies the signal's mean square "
        f"by {growth:.3g}, and no usual rule has this σ",
        threshold="σ² fan_in in [1/20, 20]",
        fix=f"use σ = √(k/fan_in), k = 1 or 2: about {math.sqrt(1 / fans.fan_in):.3g}",
    )


def _zeros(leaves: list[Leaf]) -> list[Finding]:
    """Reports zero kernels if most are zero: one alone learns, two in a row get no gradient."""
    kernels = [leaf for leaf in leaves if leaf.is_kernel and leaf.values.size]
    zero = [leaf for leaf in kernels if not leaf.flat.any()]
    if len(zero) < 2 or len(zero) <= len(kernels) / 2:
        return []
    return [
        Finding(
            "zero",
            leaf.path,
            f"one of {len(zero)} zero kernels (of {len(kernels)}): no gradient reaches them",
            threshold="at most half of all kernels are zero",
            fix="draw all but the last at random, e.g. 'he_normal'",
        )
        for leaf in zero
    ]


def _seeds(seed_fn: Callable[[int], PyTree], host: str, layers: Layers | None) -> list[Finding]:
    """Reports random leaves that are equal for seeds 0 and 1."""
    first, second = (_weights(seed_fn(seed), host, layers) for seed in (0, 1))
    paths = [[leaf.path for leaf in leaves] for leaves in (first, second)]
    if paths[0] != paths[1] or not paths[0]:
        raise errors.wrong_type(
            "seed_fn",
            f"{len(paths[0])} and {len(paths[1])} leaves for seeds 0 and 1",
            "a function seed_fn(seed) that returns parameter trees of one structure",
            "return the parameters drawn for the seed",
        )
    findings = []
    for one, other in zip(first, second, strict=True):
        a, b = np.asarray(one.value), np.asarray(other.value)
        if a.size > 1 and a.shape == b.shape and np.array_equal(a, b) and not few_values(a.ravel()):
            evidence = f"{a.size} random entries are equal for seeds 0 and 1"
            fix = "derive the layer's key from the seed"
            findings.append(Finding("seed", one.path, evidence, fix=fix))
    return findings
